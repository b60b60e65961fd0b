//! The part of the ONNX file format that cutting a graph needs.
//!
//! Messages are read far enough to know names and edges, and written as the bytes they were: what is not understood
//! here (attributes, weights, metadata, fields of later versions) reaches the parts unchanged. Tags are those of
//! onnx.proto, which keeps them for good.

use prost::bytes::Buf as _;
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
};
use prost::{DecodeError, Message};

use crate::engine::tensor::Kind;
use crate::engine::visual_cache::NotSplit;
use crate::engine::visual_cache::cut::Part;

/// `ModelProto.graph`.
const MODEL_GRAPH: u32 = 7;
/// `GraphProto`'s fields that a part has of its own.
const GRAPH_NODE: u32 = 1;
const GRAPH_INITIALIZER: u32 = 5;
const GRAPH_INPUT: u32 = 11;
const GRAPH_OUTPUT: u32 = 12;
const GRAPH_VALUE_INFO: u32 = 13;
/// Fields that cannot be handed to a part as they are.
const GRAPH_QUANTIZATION_ANNOTATION: u32 = 14;
const GRAPH_SPARSE_INITIALIZER: u32 = 15;
/// `TensorProto.DataLocation.EXTERNAL`.
const EXTERNAL: i32 = 1;

/// A model's graph, with the bytes of everything it is made of.
#[derive(Debug)]
pub(super) struct Model<'a> {
    /// Fields of the model beside its graph.
    beside_graph: Vec<&'a [u8]>,
    /// Fields of the graph that every part keeps: its name, its metadata.
    in_graph: Vec<&'a [u8]>,
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) initializers: Vec<Named<'a>>,
    pub(super) inputs: Vec<Named<'a>>,
    pub(super) outputs: Vec<Named<'a>>,
    value_infos: Vec<Named<'a>>,
}

/// A node: its field as it stands in the graph, and its edges.
#[derive(Debug)]
pub(super) struct Node<'a> {
    field: &'a [u8],
    pub(super) operator: String,
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
}

/// Something with a name: the payload of its field, without the key.
#[derive(Debug)]
pub(super) struct Named<'a> {
    payload: &'a [u8],
    pub(super) name: String,
}

impl<'a> Model<'a> {
    /// Reads a model.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, NotSplit> {
        let mut model = Self {
            beside_graph: Vec::new(),
            in_graph: Vec::new(),
            nodes: Vec::new(),
            initializers: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            value_infos: Vec::new(),
        };
        for field in fields(bytes) {
            let field = field?;
            if field.tag == MODEL_GRAPH {
                for field in fields(field.payload) {
                    model.read_graph_field(&field?)?;
                }
            } else {
                model.beside_graph.push(field.whole);
            }
        }
        Ok(model)
    }

    fn read_graph_field(&mut self, field: &Field<'a>) -> Result<(), NotSplit> {
        match field.tag {
            GRAPH_NODE => self.nodes.push(node(field)?),
            GRAPH_INITIALIZER => {
                let tensor = TensorProto::decode(field.payload)?;
                tensor.is_inside()?;
                self.initializers.push(Named {
                    payload: field.payload,
                    name: tensor.name,
                });
            }
            GRAPH_INPUT => self.inputs.push(value(field)?),
            GRAPH_OUTPUT => self.outputs.push(value(field)?),
            GRAPH_VALUE_INFO => self.value_infos.push(value(field)?),
            GRAPH_SPARSE_INITIALIZER => return Err(NotSplit::Sparse),
            // Names tensors that a part may not have; no engine reads it.
            GRAPH_QUANTIZATION_ANNOTATION => {}
            _ => self.in_graph.push(field.whole),
        }
        Ok(())
    }

    /// A part as a model of its own. `kinds` are what the inputs hold that this model did not have as inputs.
    pub(super) fn write(&self, part: &Part, kinds: &[(String, Kind)]) -> Vec<u8> {
        let mut graph = Vec::new();
        for field in &self.in_graph {
            graph.extend_from_slice(field);
        }
        for &index in &part.nodes {
            graph.extend_from_slice(self.nodes[index].field);
        }
        let has = |name: &str| {
            part.nodes
                .iter()
                .flat_map(|&index| &self.nodes[index].inputs)
                .any(|input| input == name)
        };
        for initializer in self.initializers.iter().filter(|named| has(&named.name)) {
            put(&mut graph, GRAPH_INITIALIZER, initializer.payload);
        }
        for name in &part.inputs {
            let own = self.inputs.iter().find(|input| input.name == *name);
            let kind = kinds.iter().find(|(known, _)| known == name);
            match (own, kind) {
                (Some(own), _) => put(&mut graph, GRAPH_INPUT, own.payload),
                (None, Some((_, kind))) => {
                    let info = ValueInfoProto::typed(name, kind).encode_to_vec();
                    put(&mut graph, GRAPH_INPUT, &info);
                }
                (None, None) => unreachable!("a part's inputs are the model's or another part's"),
            }
        }
        for name in &part.outputs {
            let known = self.outputs.iter().chain(&self.value_infos);
            match known.into_iter().find(|output| output.name == *name) {
                Some(known) => put(&mut graph, GRAPH_OUTPUT, known.payload),
                None => put(
                    &mut graph,
                    GRAPH_OUTPUT,
                    &ValueInfoProto::untyped(name).encode_to_vec(),
                ),
            }
        }
        let mut model = Vec::with_capacity(graph.len() + 1024);
        for field in &self.beside_graph {
            model.extend_from_slice(field);
        }
        put(&mut model, MODEL_GRAPH, &graph);
        model
    }
}

fn node<'a>(field: &Field<'a>) -> Result<Node<'a>, NotSplit> {
    let node = NodeProto::decode(field.payload)?;
    for attribute in &node.attributes {
        if attribute.graph.is_some() || !attribute.graphs.is_empty() {
            return Err(NotSplit::ControlFlow {
                operator: node.operator,
            });
        }
        for tensor in attribute.tensor.iter().chain(&attribute.tensors) {
            tensor.is_inside()?;
        }
    }
    Ok(Node {
        field: field.whole,
        operator: node.operator,
        inputs: node.inputs,
        outputs: node.outputs,
    })
}

fn value<'a>(field: &Field<'a>) -> Result<Named<'a>, NotSplit> {
    Ok(Named {
        payload: field.payload,
        name: NameOnly::decode(field.payload)?.name,
    })
}

/// One field of a message.
struct Field<'a> {
    tag: u32,
    /// With its key and length.
    whole: &'a [u8],
    /// What is inside, if it has a length.
    payload: &'a [u8],
}

/// The fields of a message, in order.
fn fields(mut rest: &[u8]) -> impl Iterator<Item = Result<Field<'_>, DecodeError>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = next_field(&mut rest);
        if field.is_err() {
            rest = &[];
        }
        Some(field)
    })
}

fn next_field<'a>(rest: &mut &'a [u8]) -> Result<Field<'a>, DecodeError> {
    let start = *rest;
    let (tag, wire_type) = decode_key(rest)?;
    let mut payload: &[u8] = &[];
    if wire_type == WireType::LengthDelimited {
        let mut peek = *rest;
        let length = decode_varint(&mut peek)?;
        skip_field(wire_type, tag, rest, DecodeContext::default())?;
        // The field was whole, so its length fits.
        payload = &peek[..length as usize];
    } else {
        skip_field(wire_type, tag, rest, DecodeContext::default())?;
    }
    Ok(Field {
        tag,
        whole: &start[..start.len() - rest.remaining()],
        payload,
    })
}

/// Appends a field with a length.
fn put(message: &mut Vec<u8>, tag: u32, payload: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, message);
    encode_varint(payload.len() as u64, message);
    message.extend_from_slice(payload);
}

#[derive(Clone, PartialEq, Message)]
struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    inputs: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    outputs: Vec<String>,
    #[prost(string, tag = "4")]
    operator: String,
    #[prost(message, repeated, tag = "5")]
    attributes: Vec<AttributeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct AttributeProto {
    #[prost(message, optional, tag = "5")]
    tensor: Option<TensorProto>,
    #[prost(bytes = "vec", optional, tag = "6")]
    graph: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "10")]
    tensors: Vec<TensorProto>,
    #[prost(bytes = "vec", repeated, tag = "11")]
    graphs: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(string, tag = "8")]
    name: String,
    #[prost(int32, tag = "14")]
    data_location: i32,
}

impl TensorProto {
    /// An error if its numbers are in another file.
    fn is_inside(&self) -> Result<(), NotSplit> {
        if self.data_location == EXTERNAL {
            return Err(NotSplit::ExternalData {
                tensor: self.name.clone(),
            });
        }
        Ok(())
    }
}

#[derive(Clone, PartialEq, Message)]
struct NameOnly {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfoProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value_type: Option<TypeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TypeProto {
    #[prost(message, optional, tag = "1")]
    tensor: Option<TensorTypeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorTypeProto {
    #[prost(int32, tag = "1")]
    element: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<ShapeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct ShapeProto {
    #[prost(message, repeated, tag = "1")]
    dimensions: Vec<DimensionProto>,
}

#[derive(Clone, PartialEq, Message)]
struct DimensionProto {
    #[prost(int64, optional, tag = "1")]
    size: Option<i64>,
}

impl ValueInfoProto {
    fn untyped(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            value_type: None,
        }
    }

    /// With its shape: without one, ONNX Runtime plans other kernels, and rounds otherwise than in the whole network.
    fn typed(name: &str, kind: &Kind) -> Self {
        let dimensions = kind.shape.iter().map(|&size| DimensionProto {
            size: Some(size as i64),
        });
        Self {
            name: name.to_owned(),
            value_type: Some(TypeProto {
                tensor: Some(TensorTypeProto {
                    element: kind.element,
                    shape: Some(ShapeProto {
                        dimensions: dimensions.collect(),
                    }),
                }),
            }),
        }
    }
}

/// Models made by hand, for the tests of this module's neighbours.
#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// A node's message.
    pub(in crate::engine::visual_cache) fn node(
        operator: &str,
        inputs: &[&str],
        outputs: &[&str],
    ) -> Vec<u8> {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        NodeProto {
            inputs: owned(inputs),
            outputs: owned(outputs),
            operator: operator.to_owned(),
            attributes: Vec::new(),
        }
        .encode_to_vec()
    }

    /// Gives a message a field of a later version.
    pub(in crate::engine::visual_cache) fn put_unknown(message: &mut Vec<u8>, payload: &[u8]) {
        put(message, 999, payload);
    }

    /// Gives a node an attribute that holds a graph.
    pub(in crate::engine::visual_cache) fn put_attribute_graph(node: &mut Vec<u8>) {
        let attribute = AttributeProto {
            graph: Some(Vec::new()),
            ..AttributeProto::default()
        };
        put(node, 5, &attribute.encode_to_vec());
    }

    /// A model of these nodes with the generator's inputs and output.
    pub(in crate::engine::visual_cache) fn model(nodes: &[Vec<u8>]) -> Vec<u8> {
        model_with(nodes, &[])
    }

    /// The same with weights in another file.
    pub(in crate::engine::visual_cache) fn model_with_external_weights(
        nodes: &[Vec<u8>],
    ) -> Vec<u8> {
        let tensor = TensorProto {
            name: "w".to_owned(),
            data_location: EXTERNAL,
        };
        model_with(nodes, &[tensor])
    }

    fn model_with(nodes: &[Vec<u8>], initializers: &[TensorProto]) -> Vec<u8> {
        let mut graph = Vec::new();
        for node in nodes {
            put(&mut graph, GRAPH_NODE, node);
        }
        for tensor in initializers {
            put(&mut graph, GRAPH_INITIALIZER, &tensor.encode_to_vec());
        }
        for (tag, name) in [
            (GRAPH_INPUT, "input"),
            (GRAPH_INPUT, "audio"),
            (GRAPH_OUTPUT, "output"),
        ] {
            put(
                &mut graph,
                tag,
                &ValueInfoProto::untyped(name).encode_to_vec(),
            );
        }
        let mut model = Vec::new();
        put(&mut model, MODEL_GRAPH, &graph);
        model
    }
}
