//! A network's file as names and edges over its own bytes, for cutting it and for giving its tensors other names.
//!
//! Messages are read far enough to know names, edges and ports, and written as the bytes they were: what is not
//! understood here (attributes, weights, metadata, fields of later versions) reaches the engine unchanged. Tags are
//! those of onnx.proto, which keeps them for good.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Component, Path};

use prost::bytes::Buf as _;
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
};
use prost::{DecodeError, Message};

use super::GraphError;
use super::cut::Part;
use super::proto::{
    DimensionProto, NodeProto, StringStringEntryProto, TensorShapeProto, TensorTypeProto,
    TypeProto, ValueInfoProto,
};
use crate::engine::network::Dimension;
use crate::engine::tensor::Kind;

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
const NODE_INPUT: u32 = 1;
const NODE_OUTPUT: u32 = 2;
const VALUE_NAME: u32 = 1;
const TENSOR_NAME: u32 = 8;
const TENSOR_RAW_DATA: u32 = 9;
const TENSOR_EXTERNAL_DATA: u32 = 13;
const TENSOR_DATA_LOCATION: u32 = 14;
/// `TensorProto.DataLocation.EXTERNAL`.
const EXTERNAL: i32 = 1;

/// A model's graph, with the bytes of everything it is made of.
#[derive(Debug)]
pub(in crate::engine) struct Model<'a> {
    /// Fields of the model beside its graph.
    beside_graph: Vec<&'a [u8]>,
    /// Fields of the graph that every part keeps: its name, its metadata.
    in_graph: Vec<&'a [u8]>,
    pub(in crate::engine) nodes: Vec<Node<'a>>,
    pub(in crate::engine) initializers: Vec<Named<'a>>,
    pub(in crate::engine) inputs: Vec<Named<'a>>,
    pub(in crate::engine) outputs: Vec<Named<'a>>,
    value_infos: Vec<Named<'a>>,
}

/// A node: its message, and its edges.
#[derive(Debug)]
pub(in crate::engine) struct Node<'a> {
    pub(super) message: Cow<'a, [u8]>,
    pub(in crate::engine) operator: String,
    pub(in crate::engine) inputs: Vec<String>,
    pub(in crate::engine) outputs: Vec<String>,
}

/// Something with a name, and its message.
#[derive(Debug)]
pub(in crate::engine) struct Named<'a> {
    pub(super) message: Cow<'a, [u8]>,
    pub(in crate::engine) name: String,
}

impl<'a> Model<'a> {
    /// Reads a model.
    pub(in crate::engine) fn read(bytes: &'a [u8]) -> Result<Self, GraphError> {
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

    fn read_graph_field(&mut self, field: &Field<'a>) -> Result<(), GraphError> {
        match field.tag {
            GRAPH_NODE => self.nodes.push(node(field)?),
            GRAPH_INITIALIZER => self.initializers.push(Named {
                message: Cow::Borrowed(field.payload),
                name: TensorProto::decode(field.payload)?.name,
            }),
            GRAPH_INPUT => self.inputs.push(value(field)?),
            GRAPH_OUTPUT => self.outputs.push(value(field)?),
            GRAPH_VALUE_INFO => self.value_infos.push(value(field)?),
            GRAPH_SPARSE_INITIALIZER => return Err(GraphError::Sparse),
            // Names tensors that a part may not have; no engine reads it.
            GRAPH_QUANTIZATION_ANNOTATION => {}
            _ => self.in_graph.push(field.whole),
        }
        Ok(())
    }

    /// Whether weights are in another file.
    pub(in crate::engine) fn has_external_data(&self) -> Result<bool, GraphError> {
        for initializer in &self.initializers {
            if TensorProto::decode(&*initializer.message)?.data_location == EXTERNAL {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Brings the weights of files in `folder` into the model.
    pub(in crate::engine) fn take_in(&mut self, folder: &Path) -> Result<(), GraphError> {
        for initializer in &mut self.initializers {
            let tensor = TensorProto::decode(&*initializer.message)?;
            if tensor.data_location != EXTERNAL {
                continue;
            }
            let numbers = tensor.read_outside(folder)?;
            let mut message = Vec::with_capacity(numbers.len() + 64);
            for field in fields(&initializer.message) {
                let field = field?;
                if !matches!(
                    field.tag,
                    TENSOR_RAW_DATA | TENSOR_EXTERNAL_DATA | TENSOR_DATA_LOCATION
                ) {
                    message.extend_from_slice(field.whole);
                }
            }
            put(&mut message, TENSOR_RAW_DATA, &numbers);
            initializer.message = Cow::Owned(message);
        }
        Ok(())
    }

    /// Gives tensors other names, wherever they are named.
    pub(in crate::engine) fn rename(
        &mut self,
        names: &HashMap<String, String>,
    ) -> Result<(), GraphError> {
        let new = |name: &mut String| {
            if let Some(new) = names.get(name) {
                name.clone_from(new);
            }
        };
        for node in &mut self.nodes {
            let edges = node.inputs.iter().chain(&node.outputs);
            if edges.clone().any(|name| names.contains_key(name)) {
                node.message = renamed(&node.message, &[NODE_INPUT, NODE_OUTPUT], names)?;
                node.inputs.iter_mut().for_each(new);
                node.outputs.iter_mut().for_each(new);
            }
        }
        let values = self.inputs.iter_mut().chain(&mut self.outputs);
        for value in values.chain(&mut self.value_infos) {
            value.message = renamed(&value.message, &[VALUE_NAME], names)?;
            new(&mut value.name);
        }
        for initializer in &mut self.initializers {
            if names.contains_key(&initializer.name) {
                initializer.message = renamed(&initializer.message, &[TENSOR_NAME], names)?;
                new(&mut initializer.name);
            }
        }
        Ok(())
    }

    /// What fields of the model beside its graph hold.
    pub(super) fn beside_graph_fields(&self, tag: u32) -> impl Iterator<Item = &'a [u8]> {
        let read = self.beside_graph.iter().flat_map(|whole| fields(whole));
        read.filter_map(Result::ok)
            .filter(move |field| field.tag == tag)
            .map(|field| field.payload)
    }

    /// Adds a weight.
    pub(super) fn add_weight(&mut self, weight: &super::proto::TensorProto) {
        self.initializers.push(Named {
            message: Cow::Owned(weight.encode_to_vec()),
            name: weight.name.clone(),
        });
    }

    /// Drops the weights that are not used, and what is said of tensors that are not made.
    pub(super) fn forget(&mut self, used: impl Fn(&str) -> bool, made: impl Fn(&String) -> bool) {
        let unused = self.initializers.iter().filter(|w| !used(&w.name));
        // Old files list their weights among the inputs as well.
        let unused: HashSet<String> = unused.map(|weight| weight.name.clone()).collect();
        self.inputs.retain(|input| !unused.contains(&input.name));
        self.initializers.retain(|w| !unused.contains(&w.name));
        self.value_infos.retain(|value| made(&value.name));
    }

    /// Says that the first dimension of every input and output is 1.
    pub(in crate::engine) fn fix_batch(&mut self) -> Result<(), GraphError> {
        for port in self.inputs.iter_mut().chain(&mut self.outputs) {
            let mut value = ValueInfoProto::decode(&*port.message)?;
            let tensor = value.r#type.as_mut().and_then(|t| t.tensor_type.as_mut());
            let shape = tensor.and_then(|tensor| tensor.shape.as_mut());
            if let Some(batch) = shape.and_then(|shape| shape.dim.first_mut()) {
                *batch = DimensionProto {
                    dim_value: Some(1),
                    dim_param: None,
                };
            }
            port.message = Cow::Owned(value.encode_to_vec());
        }
        // What is said of the tensors inside names the batch as it was.
        self.value_infos.clear();
        Ok(())
    }

    /// Adds a node of our own, before all others or after them.
    pub(in crate::engine) fn add(&mut self, node: &NodeProto, place: Place) {
        let node = Node::of(node);
        match place {
            Place::First => self.nodes.insert(0, node),
            Place::Last => self.nodes.push(node),
        }
    }

    /// The whole model.
    pub(in crate::engine) fn write_whole(&self) -> Vec<u8> {
        let mut graph = Vec::new();
        for field in &self.in_graph {
            graph.extend_from_slice(field);
        }
        for node in &self.nodes {
            put(&mut graph, GRAPH_NODE, &node.message);
        }
        for (tag, named) in [
            (GRAPH_INITIALIZER, &self.initializers),
            (GRAPH_INPUT, &self.inputs),
            (GRAPH_OUTPUT, &self.outputs),
            (GRAPH_VALUE_INFO, &self.value_infos),
        ] {
            for named in named {
                put(&mut graph, tag, &named.message);
            }
        }
        self.finish(&graph)
    }

    /// The graph as a model.
    fn finish(&self, graph: &[u8]) -> Vec<u8> {
        let mut model = Vec::with_capacity(graph.len() + 1024);
        for field in &self.beside_graph {
            model.extend_from_slice(field);
        }
        put(&mut model, MODEL_GRAPH, graph);
        model
    }

    /// A part as a model of its own. `kinds` are what the inputs hold that this model did not have as inputs.
    pub(in crate::engine) fn write(&self, part: &Part, kinds: &[(String, Kind)]) -> Vec<u8> {
        let mut graph = Vec::new();
        for field in &self.in_graph {
            graph.extend_from_slice(field);
        }
        for &index in &part.nodes {
            put(&mut graph, GRAPH_NODE, &self.nodes[index].message);
        }
        let has = |name: &str| {
            part.nodes
                .iter()
                .flat_map(|&index| &self.nodes[index].inputs)
                .any(|input| input == name)
        };
        for initializer in self.initializers.iter().filter(|named| has(&named.name)) {
            put(&mut graph, GRAPH_INITIALIZER, &initializer.message);
        }
        for name in &part.inputs {
            let own = self.inputs.iter().find(|input| input.name == *name);
            let kind = kinds.iter().find(|(known, _)| known == name);
            match (own, kind) {
                (Some(own), _) => put(&mut graph, GRAPH_INPUT, &own.message),
                (None, Some((_, kind))) => {
                    let info = typed(name, kind).encode_to_vec();
                    put(&mut graph, GRAPH_INPUT, &info);
                }
                (None, None) => unreachable!("a part's inputs are the model's or another part's"),
            }
        }
        for name in &part.outputs {
            let known = self.outputs.iter().chain(&self.value_infos);
            match known.into_iter().find(|output| output.name == *name) {
                Some(known) => put(&mut graph, GRAPH_OUTPUT, &known.message),
                None => put(&mut graph, GRAPH_OUTPUT, &untyped(name).encode_to_vec()),
            }
        }
        self.finish(&graph)
    }
}

impl Node<'_> {
    /// A node of our own.
    pub(super) fn of(node: &NodeProto) -> Self {
        Self {
            message: Cow::Owned(node.encode_to_vec()),
            operator: node.op_type.clone(),
            inputs: node.input.clone(),
            outputs: node.output.clone(),
        }
    }
}

impl Named<'_> {
    /// The shape of a weight.
    pub(super) fn weight_shape(&self) -> Result<Vec<i64>, GraphError> {
        Ok(TensorProto::decode(&*self.message)?.dims)
    }

    /// Element type (`TensorProto.DataType`) and shape of an input or output; a shape that nobody knows is `None`.
    pub(in crate::engine) fn kind(&self) -> Result<(i32, Option<Vec<Dimension>>), GraphError> {
        let value = ValueInfoProto::decode(&*self.message)?;
        let tensor = value.r#type.and_then(|kind| kind.tensor_type);
        let tensor = tensor.unwrap_or_default();
        let size = |dim: &DimensionProto| dim.dim_value.and_then(|size| usize::try_from(size).ok());
        let shape = tensor.shape;
        Ok((
            tensor.elem_type,
            shape.map(|shape| shape.dim.iter().map(size).collect()),
        ))
    }

    /// Says that it has another name and elements of another type.
    pub(in crate::engine) fn set_type(
        &mut self,
        name: &str,
        element: i32,
    ) -> Result<(), GraphError> {
        let mut value = ValueInfoProto::decode(&*self.message)?;
        name.clone_into(&mut value.name);
        if let Some(tensor) = value
            .r#type
            .as_mut()
            .and_then(|kind| kind.tensor_type.as_mut())
        {
            tensor.elem_type = element;
        }
        self.message = Cow::Owned(value.encode_to_vec());
        name.clone_into(&mut self.name);
        Ok(())
    }
}

/// Where a node is added.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) enum Place {
    First,
    Last,
}

/// A message with the texts of these fields replaced.
fn renamed<'a>(
    message: &[u8],
    tags: &[u32],
    names: &HashMap<String, String>,
) -> Result<Cow<'a, [u8]>, GraphError> {
    let mut new = Vec::with_capacity(message.len());
    for field in fields(message) {
        let field = field?;
        let name = std::str::from_utf8(field.payload).ok();
        match name
            .filter(|_| tags.contains(&field.tag))
            .and_then(|name| names.get(name))
        {
            Some(name) => put(&mut new, field.tag, name.as_bytes()),
            None => new.extend_from_slice(field.whole),
        }
    }
    Ok(Cow::Owned(new))
}

fn node<'a>(field: &Field<'a>) -> Result<Node<'a>, GraphError> {
    let node = NodeEdges::decode(field.payload)?;
    for attribute in &node.attributes {
        if attribute.graph.is_some() || !attribute.graphs.is_empty() {
            return Err(GraphError::ControlFlow {
                operator: node.operator,
            });
        }
        for tensor in attribute.tensor.iter().chain(&attribute.tensors) {
            tensor.is_inside()?;
        }
    }
    Ok(Node {
        message: Cow::Borrowed(field.payload),
        operator: node.operator,
        inputs: node.inputs,
        outputs: node.outputs,
    })
}

fn value<'a>(field: &Field<'a>) -> Result<Named<'a>, GraphError> {
    Ok(Named {
        message: Cow::Borrowed(field.payload),
        name: ValueInfoProto::decode(field.payload)?.name,
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
struct NodeEdges {
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
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(message, repeated, tag = "13")]
    external_data: Vec<StringStringEntryProto>,
    #[prost(int32, tag = "14")]
    data_location: i32,
}

impl TensorProto {
    /// A setting of where its numbers are.
    fn setting(&self, key: &str) -> Option<&str> {
        let found = self.external_data.iter().find(|entry| entry.key == key);
        found.map(|entry| entry.value.as_str())
    }

    fn outside(&self, reason: String) -> GraphError {
        GraphError::ExternalData {
            tensor: self.name.clone(),
            location: self.setting("location").unwrap_or_default().to_owned(),
            reason,
        }
    }

    /// Its numbers, from the file beside the network.
    fn read_outside(&self, folder: &Path) -> Result<Vec<u8>, GraphError> {
        let location = Path::new(self.setting("location").unwrap_or_default());
        let inside = location
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !inside || location.as_os_str().is_empty() {
            return Err(self.outside("is no file beside the network".to_owned()));
        }
        let number = |key: &str| match self.setting(key) {
            None => Ok(None),
            Some(text) => text
                .parse::<u64>()
                .map(Some)
                .map_err(|_| self.outside(format!("has no {key} {text:?}"))),
        };
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = crate::files::open(&folder.join(location))?;
            let there = file.metadata()?.len().saturating_sub(offset);
            let length = length.unwrap_or(there);
            if length > there {
                return Err(std::io::Error::other(format!(
                    "it is cut short: {length} bytes from byte {offset} on are needed, {there} are there"
                )));
            }
            file.seek(SeekFrom::Start(offset))?;
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(length as usize)?;
            bytes.resize(length as usize, 0);
            file.read_exact(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|error| self.outside(format!("cannot be read: {error}")))
    }

    /// An error if its numbers are in another file.
    fn is_inside(&self) -> Result<(), GraphError> {
        if self.data_location == EXTERNAL {
            return Err(self.outside("is not read for a constant inside a node".to_owned()));
        }
        Ok(())
    }
}

/// A value whose type the engine works out.
fn untyped(name: &str) -> ValueInfoProto {
    ValueInfoProto {
        name: name.to_owned(),
        r#type: None,
    }
}

/// With its shape: without one, ONNX Runtime plans other kernels, and rounds otherwise than in the whole network.
fn typed(name: &str, kind: &Kind) -> ValueInfoProto {
    let dimensions = kind.shape.iter().map(|&size| DimensionProto {
        dim_value: Some(size as i64),
        dim_param: None,
    });
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: kind.element,
                shape: Some(TensorShapeProto {
                    dim: dimensions.collect(),
                }),
            }),
        }),
    }
}

/// Models made by hand, for the tests of this module's neighbours.
#[cfg(test)]
pub(in crate::engine) mod testing {
    use super::*;

    /// A node's message.
    pub(in crate::engine) fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> Vec<u8> {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        NodeEdges {
            inputs: owned(inputs),
            outputs: owned(outputs),
            operator: operator.to_owned(),
            attributes: Vec::new(),
        }
        .encode_to_vec()
    }

    /// Gives a message a field of a later version.
    pub(in crate::engine) fn put_unknown(message: &mut Vec<u8>, payload: &[u8]) {
        put(message, 999, payload);
    }

    /// Gives a node an attribute that holds a graph.
    pub(in crate::engine) fn put_attribute_graph(node: &mut Vec<u8>) {
        let attribute = AttributeProto {
            graph: Some(Vec::new()),
            ..AttributeProto::default()
        };
        put(node, 5, &attribute.encode_to_vec());
    }

    /// A model of these nodes with the generator's inputs and output.
    pub(in crate::engine) fn model(nodes: &[Vec<u8>]) -> Vec<u8> {
        model_with(nodes, &[])
    }

    /// The same with weights in another file.
    pub(in crate::engine) fn model_with_external_weights(nodes: &[Vec<u8>]) -> Vec<u8> {
        let location = StringStringEntryProto {
            key: "location".to_owned(),
            value: "w.data".to_owned(),
        };
        let tensor = TensorProto {
            name: "w".to_owned(),
            external_data: vec![location],
            data_location: EXTERNAL,
            ..TensorProto::default()
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
            put(&mut graph, tag, &untyped(name).encode_to_vec());
        }
        let mut model = Vec::new();
        put(&mut model, MODEL_GRAPH, &graph);
        model
    }
}
