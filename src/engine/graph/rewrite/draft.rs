//! A model with its nodes decoded and its edges known, and how it is changed.

use std::collections::{HashMap, HashSet};

use prost::Message as _;

use super::sizes::Sizes;
use super::values;
use crate::engine::graph::GraphError;
use crate::engine::graph::model::{Model, Node};
use crate::engine::graph::proto::{FLOAT, NodeProto, OperatorSetIdProto, TensorProto};

/// `ModelProto.opset_import`.
const MODEL_OPSET_IMPORT: u32 = 8;

/// A model that is being rewritten.
pub(super) struct Draft<'m> {
    pub(super) nodes: Vec<NodeProto>,
    pub(super) sizes: Sizes,
    model: &'m Model<'m>,
    makers: HashMap<String, usize>,
    readers: HashMap<String, Vec<usize>>,
}

/// A node that others take the place of; the last of them makes its output.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) node: usize,
    pub(super) made: Made,
}

/// New nodes, in an order in which they can run, and their weights.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) nodes: Vec<NodeProto>,
    pub(super) weights: Vec<TensorProto>,
}

/// A tensor of floats.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Floats {
    pub(super) shape: Vec<usize>,
    pub(super) data: Vec<f32>,
}

impl<'m> Draft<'m> {
    pub(super) fn of(model: &'m Model<'_>) -> Result<Self, GraphError> {
        let decode = |node: &Node<'_>| NodeProto::decode(&*node.message);
        let nodes: Vec<NodeProto> = model.nodes.iter().map(decode).collect::<Result<_, _>>()?;
        let mut makers = HashMap::new();
        let mut readers: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, node) in nodes.iter().enumerate() {
            for output in &node.output {
                makers.insert(output.clone(), index);
            }
            for input in &node.input {
                readers.entry(input.clone()).or_default().push(index);
            }
        }
        for output in &model.outputs {
            // Whoever runs the network reads it.
            let reader = readers.entry(output.name.clone()).or_default();
            reader.push(usize::MAX);
        }
        Ok(Self {
            sizes: Sizes::of(model, &nodes),
            nodes,
            model,
            makers,
            readers,
        })
    }

    /// The node that makes a tensor.
    pub(super) fn maker(&self, tensor: &str) -> Option<&NodeProto> {
        self.makers.get(tensor).map(|&index| &self.nodes[index])
    }

    /// Whether one node alone reads a tensor. What only asks for its sizes does not count: they are known.
    pub(super) fn is_read_once(&self, tensor: &str) -> bool {
        let readers = self.readers.get(tensor).map_or(&[][..], Vec::as_slice);
        let data = readers.iter().filter(|&&index| {
            let reader = self.nodes.get(index);
            reader.is_none_or(|reader| reader.op_type != "Shape")
        });
        data.count() == 1
    }

    /// A weight of floats.
    pub(super) fn floats(&self, name: &str) -> Option<Floats> {
        let found = self.model.initializers.iter().find(|w| w.name == name);
        let tensor = if let Some(named) = found {
            values::tensor(&named.message)?
        } else {
            let maker = self.maker(name).filter(|node| node.op_type == "Constant")?;
            values::attribute(maker, "value")?.t.clone()?
        };
        if tensor.data_type != FLOAT {
            return None;
        }
        let shape = values::shape(&tensor.dims)?;
        let data = if tensor.raw_data.is_empty() {
            tensor.float_data
        } else {
            let chunks = tensor.raw_data.chunks_exact(size_of::<f32>());
            let floats =
                chunks.filter_map(|bytes| Some(f32::from_le_bytes(bytes.try_into().ok()?)));
            floats.collect()
        };
        (data.len() == shape.iter().product::<usize>()).then_some(Floats { shape, data })
    }

    /// A name that the model does not have.
    pub(super) fn free(&self, name: &str) -> String {
        let mut free = name.to_owned();
        let taken = |name: &str| {
            self.makers.contains_key(name)
                || self.readers.contains_key(name)
                || self.model.initializers.iter().any(|w| w.name == name)
        };
        while taken(&free) {
            free.push('_');
        }
        free
    }
}

impl Made {
    /// Adds a weight.
    pub(super) fn weight(&mut self, name: &str, floats: &Floats) {
        self.weights.push(TensorProto {
            dims: floats.shape.iter().map(|&size| size as i64).collect(),
            data_type: FLOAT,
            name: name.to_owned(),
            raw_data: floats.data.iter().flat_map(|x| x.to_le_bytes()).collect(),
            ..TensorProto::default()
        });
    }

    /// Adds a node like `like`, which reads and makes other tensors.
    pub(super) fn node(&mut self, like: &NodeProto, input: Vec<String>, output: &str) {
        self.nodes.push(NodeProto {
            input,
            output: vec![output.to_owned()],
            name: output.to_owned(),
            ..like.clone()
        });
    }

    /// Adds an addition.
    pub(super) fn add(&mut self, a: &str, b: &str, output: &str) {
        self.nodes.push(NodeProto {
            input: vec![a.to_owned(), b.to_owned()],
            output: vec![output.to_owned()],
            name: output.to_owned(),
            op_type: "Add".to_owned(),
            attribute: Vec::new(),
        });
    }

    /// Adds up tensors; the sum is called `output`.
    pub(super) fn sum(&mut self, parts: &[String], output: &str, step: impl Fn(usize) -> String) {
        let Some((first, rest)) = parts.split_first() else {
            return;
        };
        let mut sum = first.clone();
        for (index, part) in rest.iter().enumerate() {
            let next = if index + 1 == rest.len() {
                output.to_owned()
            } else {
                step(index)
            };
            self.add(&sum, part, &next);
            sum = next;
        }
    }
}

impl Floats {
    /// Some of its rows, along the first axis.
    pub(super) fn rows(&self, rows: std::ops::Range<usize>) -> Self {
        let row = self.data.len() / self.shape[0].max(1);
        let mut shape = self.shape.clone();
        shape[0] = rows.len();
        Self {
            shape,
            data: self.data[rows.start * row..rows.end * row].to_vec(),
        }
    }

    /// Some of its columns, along the second axis, of a matrix whose further axes are ones.
    pub(super) fn columns(&self, columns: std::ops::Range<usize>) -> Self {
        let mut shape = self.shape.clone();
        shape[1] = columns.len();
        let rows = self.data.chunks_exact(self.shape[1].max(1));
        Self {
            shape,
            data: rows
                .flat_map(|row| &row[columns.clone()])
                .copied()
                .collect(),
        }
    }
}

impl Model<'_> {
    /// Version of ONNX's own operators that the nodes are of.
    pub(super) fn opset(&self) -> i64 {
        let sets = self.beside_graph_fields(MODEL_OPSET_IMPORT);
        let sets = sets.filter_map(|set| OperatorSetIdProto::decode(set).ok());
        sets.filter(|set| set.domain.is_empty() || set.domain == "ai.onnx")
            .map(|set| set.version)
            .max()
            .unwrap_or(0)
    }

    /// Puts new nodes in the place of others, and drops what nothing reads any more.
    pub(super) fn apply(&mut self, changes: Vec<Change>) {
        let mut changes: HashMap<usize, Made> = changes
            .into_iter()
            .map(|change| (change.node, change.made))
            .collect();
        let mut nodes = Vec::new();
        for (index, node) in std::mem::take(&mut self.nodes).into_iter().enumerate() {
            match changes.remove(&index) {
                None => nodes.push(node),
                Some(made) => {
                    nodes.extend(made.nodes.iter().map(Node::of));
                    for weight in &made.weights {
                        self.add_weight(weight);
                    }
                }
            }
        }
        let mut used: HashSet<String> = self.outputs.iter().map(|o| o.name.clone()).collect();
        let mut kept = Vec::new();
        for node in nodes.into_iter().rev() {
            if node.outputs.iter().any(|output| used.contains(output)) {
                used.extend(node.inputs.iter().cloned());
                kept.push(node);
            }
        }
        kept.reverse();
        let made: HashSet<&String> = kept.iter().flat_map(|node| &node.outputs).collect();
        self.forget(|name| used.contains(name), |name| made.contains(name));
        self.nodes = kept;
    }
}
