//! What is known of a graph's tensors without running it: shapes, and the numbers that are computed from shapes.
//!
//! Everything is worked out for two batch sizes, and what differs between them is not known.

use std::collections::HashMap;

use super::values::{self, Value, attribute, integer};
use crate::engine::graph::model::Model;
use crate::engine::graph::proto::NodeProto;

/// Sizes of a graph's tensors.
#[derive(Debug)]
pub(super) struct Sizes {
    shapes: HashMap<String, Vec<Option<usize>>>,
    values: HashMap<String, Vec<f64>>,
}

impl Sizes {
    /// Of a model whose nodes are `nodes`.
    pub(super) fn of(model: &Model<'_>, nodes: &[NodeProto]) -> Self {
        let (one, two) = (Known::of(model, nodes, 1), Known::of(model, nodes, 2));
        let mut shapes = HashMap::new();
        for (name, shape) in one.shapes {
            let Some(other) = two.shapes.get(&name).filter(|o| o.len() == shape.len()) else {
                continue;
            };
            let pairs = shape.iter().zip(other);
            let same = pairs.map(|(a, b)| (a == b).then_some(*a)).collect();
            shapes.insert(name, same);
        }
        let values = one.values.into_iter().filter_map(|(name, value)| {
            let same = two.values.get(&name).is_some_and(|other| *other == value);
            same.then_some((name, value.data))
        });
        Self {
            shapes,
            values: values.collect(),
        }
    }

    /// Channels, height and width of a picture.
    pub(super) fn picture(&self, tensor: &str) -> Option<[usize; 3]> {
        match self.shapes.get(tensor)?[..] {
            [_, Some(channels), Some(height), Some(width)] => Some([channels, height, width]),
            _ => None,
        }
    }

    /// The numbers of a small tensor.
    pub(super) fn value(&self, tensor: &str) -> Option<&[f64]> {
        self.values.get(tensor).map(Vec::as_slice)
    }
}

/// What is known for one batch size.
#[derive(Debug, Default)]
struct Known {
    shapes: HashMap<String, Vec<usize>>,
    values: HashMap<String, Value>,
}

impl Known {
    fn of(model: &Model<'_>, nodes: &[NodeProto], batch: usize) -> Self {
        let mut known = Self::default();
        for input in &model.inputs {
            let Ok((_, Some(shape))) = input.kind() else {
                continue;
            };
            // Only the first dimension may be open.
            let sizes = shape.iter().enumerate().map(|(axis, size)| match size {
                None if axis == 0 => Some(batch),
                size => *size,
            });
            if let Some(shape) = sizes.collect() {
                known.shapes.insert(input.name.clone(), shape);
            }
        }
        for weights in &model.initializers {
            let dims = weights.weight_shape().unwrap_or_default();
            let Some(shape) = values::shape(&dims) else {
                continue;
            };
            if shape.len() <= 1 {
                let value = values::tensor(&weights.message).and_then(|t| Value::read(&t));
                if let Some(value) = value {
                    known.values.insert(weights.name.clone(), value);
                }
            }
            known.shapes.insert(weights.name.clone(), shape);
        }
        for node in nodes {
            known.add(node);
        }
        known
    }

    fn add(&mut self, node: &NodeProto) {
        let Some(output) = node.output.first() else {
            return;
        };
        let value = match node.op_type.as_str() {
            "Constant" => Value::constant(node),
            "Shape" => self.shape_of(node),
            _ => {
                let inputs: Vec<_> = node
                    .input
                    .iter()
                    .map(|name| self.values.get(name))
                    .collect();
                Value::compute(node, &inputs)
            }
        };
        let shape = match &value {
            Some(value) => Some(value.shape.clone()),
            None => self.shape_after(node),
        };
        if let Some(shape) = shape {
            self.shapes.insert(output.clone(), shape);
        }
        if let Some(value) = value {
            self.values.insert(output.clone(), value);
        }
    }

    fn shape_of(&self, node: &NodeProto) -> Option<Value> {
        let shape = self.shape(node, 0)?;
        let len = shape.len() as i64;
        let place = |name, default| {
            let at = integer(node, name).unwrap_or(default);
            (if at < 0 { at + len } else { at }).clamp(0, len) as usize
        };
        let (start, end) = (place("start", 0), place("end", len));
        Some(Value::sizes(shape.get(start..end)?))
    }

    fn shape(&self, node: &NodeProto, input: usize) -> Option<&Vec<usize>> {
        self.shapes.get(node.input.get(input)?)
    }

    fn numbers(&self, node: &NodeProto, input: usize) -> Option<&[f64]> {
        let name = node.input.get(input).filter(|name| !name.is_empty())?;
        self.values.get(name).map(|value| value.data.as_slice())
    }

    /// The shape that an operator on data gives; `None` for one that is not of the family.
    fn shape_after(&self, node: &NodeProto) -> Option<Vec<usize>> {
        let first = self.shape(node, 0)?;
        match node.op_type.as_str() {
            "Relu" | "LeakyRelu" | "PRelu" | "Sigmoid" | "Tanh" | "Clip" | "Identity" | "Cast"
            | "BatchNormalization" | "QuantizeLinear" | "DequantizeLinear" | "Dropout" => {
                Some(first.clone())
            }
            "Add" | "Sub" | "Mul" | "Div" => broadcast(first, self.shape(node, 1)?),
            "Conv" => convolved(node, first, self.shape(node, 1)?),
            "Concat" => {
                let axis = usize::try_from(integer(node, "axis")?).ok()?;
                let mut shape = first.clone();
                for input in 1..node.input.len() {
                    *shape.get_mut(axis)? += self.shape(node, input)?.get(axis)?;
                }
                Some(shape)
            }
            "Resize" => {
                if let Some(sizes) = self.numbers(node, 3) {
                    return (sizes.len() == first.len())
                        .then(|| sizes.iter().map(|&size| size as usize).collect());
                }
                let scales = self.numbers(node, 2)?;
                let pairs = first.iter().zip(scales);
                let sizes = pairs.map(|(&size, scale)| (size as f64 * scale).floor() as usize);
                (scales.len() == first.len()).then(|| sizes.collect())
            }
            "Pad" => {
                let pads = self.numbers(node, 1)?;
                let (before, after) = pads.split_at_checked(first.len())?;
                let pads = before.iter().zip(after).map(|(a, b)| a + b);
                let sizes = first.iter().zip(pads).map(|(&size, pad)| size as f64 + pad);
                (after.len() == first.len()).then(|| sizes.map(|size| size as usize).collect())
            }
            _ => None,
        }
    }
}

/// Shapes aligned at their ends, ones stretched.
fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    let mut shape = long.to_vec();
    let ahead = long.len() - short.len();
    for (size, &other) in shape[ahead..].iter_mut().zip(short) {
        *size = match (*size, other) {
            (size, 1) => size,
            (1, other) => other,
            (size, other) if size == other => size,
            _ => return None,
        };
    }
    Some(shape)
}

fn convolved(node: &NodeProto, input: &[usize], weights: &[usize]) -> Option<Vec<usize>> {
    let ([batch, _, height, width], [channels, _, kernel_y, kernel_x]) = (input, weights) else {
        return None;
    };
    let list = |name: &str, default: [i64; 2]| -> Option<[usize; 2]> {
        let ints = attribute(node, name).map_or(&default[..], |a| &a.ints);
        let [y, x] = ints else { return None };
        Some([usize::try_from(*y).ok()?, usize::try_from(*x).ok()?])
    };
    let (strides, dilations) = (list("strides", [1, 1])?, list("dilations", [1, 1])?);
    let pads = match attribute(node, "pads").map(|a| &a.ints[..]) {
        None => [0; 2],
        Some(&[top, left, bottom, right]) => [top + bottom, left + right],
        Some(_) => return None,
    };
    let automatic = attribute(node, "auto_pad").and_then(|a| a.s.as_deref());
    if !matches!(automatic, None | Some(b"NOTSET")) {
        return None;
    }
    let size = |size: usize, pad: i64, kernel: usize, stride: usize, dilation: usize| {
        let padded = size + usize::try_from(pad).ok()?;
        let room = padded.checked_sub(dilation * (kernel.checked_sub(1)?) + 1)?;
        Some(room.checked_div(stride)? + 1)
    };
    Some(vec![
        *batch,
        *channels,
        size(*height, pads[0], *kernel_y, strides[0], dilations[0])?,
        size(*width, pads[1], *kernel_x, strides[1], dilations[1])?,
    ])
}
