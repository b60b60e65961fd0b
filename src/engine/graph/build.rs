//! Puts a graph together node by node.

use prost::Message as _;

use super::proto::{
    ATTRIBUTE_INT, ATTRIBUTE_INTS, ATTRIBUTE_STRING, AttributeProto, DimensionProto, FLOAT,
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TensorTypeProto, TypeProto, ValueInfoProto,
};

/// Both engines know the operators of this version as the exporters write them.
const OPSET: i64 = 17;
/// The format that goes with it.
const IR_VERSION: i64 = 8;
/// The dimension of frames: any number of them.
const BATCH: &str = "N";

/// A setting of an operator.
#[derive(Clone, Copy, Debug)]
pub enum Attribute<'a> {
    /// One integer.
    Int(i64),
    /// Several.
    Ints(&'a [i64]),
    /// Text.
    Text(&'a str),
}

impl Attribute<'_> {
    fn message(self, name: &str) -> AttributeProto {
        let mut message = AttributeProto {
            name: name.to_owned(),
            ..AttributeProto::default()
        };
        match self {
            Self::Int(value) => {
                message.i = Some(value);
                message.r#type = ATTRIBUTE_INT;
            }
            Self::Ints(values) => {
                message.ints = values.to_vec();
                message.r#type = ATTRIBUTE_INTS;
            }
            Self::Text(text) => {
                message.s = Some(text.as_bytes().to_vec());
                message.r#type = ATTRIBUTE_STRING;
            }
        }
        message
    }
}

/// A graph in the making; nodes are added in an order in which they can run.
#[derive(Debug, Default)]
pub struct GraphBuilder {
    graph: GraphProto,
}

impl GraphBuilder {
    /// An empty graph.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            graph: GraphProto {
                name: name.to_owned(),
                ..GraphProto::default()
            },
        }
    }

    /// Declares an input of floats; `shape` leaves out the first dimension, which is the batch.
    pub fn input(&mut self, name: &str, shape: &[usize]) {
        self.graph.input.push(floats(name, shape));
    }

    /// Declares an output likewise.
    pub fn output(&mut self, name: &str, shape: &[usize]) {
        self.graph.output.push(floats(name, shape));
    }

    /// Adds a constant of floats.
    ///
    /// # Panics
    /// If there are not as many values as the shape says.
    pub fn constant(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        assert_eq!(values.len(), shape.iter().product::<usize>(), "{name}");
        self.graph.initializer.push(TensorProto {
            dims: shape.iter().map(|&size| size as i64).collect(),
            data_type: FLOAT,
            name: name.to_owned(),
            raw_data: values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
            ..TensorProto::default()
        });
    }

    /// Adds an operator that makes the tensor `output`; a node is called like its output.
    pub fn node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[(&str, Attribute<'_>)],
    ) {
        let attributes = attributes.iter();
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: output.to_owned(),
            op_type: operator.to_owned(),
            attribute: attributes
                .map(|(name, value)| value.message(name))
                .collect(),
        });
    }

    /// The finished file.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        ModelProto {
            ir_version: IR_VERSION,
            producer_name: env!("CARGO_PKG_NAME").to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(self.graph),
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: OPSET,
            }],
            metadata_props: Vec::new(),
        }
        .encode_to_vec()
    }
}

/// A tensor of floats, batch first.
fn floats(name: &str, shape: &[usize]) -> ValueInfoProto {
    let batch = DimensionProto {
        dim_value: None,
        dim_param: Some(BATCH.to_owned()),
    };
    let sizes = shape.iter().map(|&size| DimensionProto {
        dim_value: Some(size as i64),
        dim_param: None,
    });
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: FLOAT,
                shape: Some(TensorShapeProto {
                    dim: std::iter::once(batch).chain(sizes).collect(),
                }),
            }),
        }),
    }
}
