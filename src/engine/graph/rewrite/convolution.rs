//! Convolutions whose weights can be taken apart.

use super::draft::{Draft, Floats};
use super::values::attribute;
use crate::engine::graph::proto::NodeProto;

/// The settings of a convolution that are understood.
const SETTINGS: [&str; 6] = [
    "auto_pad",
    "dilations",
    "group",
    "kernel_shape",
    "pads",
    "strides",
];

/// A convolution of two dimensions and its weights.
#[derive(Clone, Debug)]
pub(super) struct Convolution {
    /// `[outputs, inputs a group, height, width]`.
    pub(super) weights: Floats,
    pub(super) bias: Option<Floats>,
    pub(super) group: usize,
}

impl Convolution {
    /// Any convolution of constant weights.
    pub(super) fn of(draft: &Draft<'_>, node: &NodeProto) -> Option<Self> {
        let known = |a: &&str| SETTINGS.contains(a);
        if node.op_type != "Conv" || !node.attribute.iter().all(|a| known(&a.name.as_str())) {
            return None;
        }
        let weights = draft.floats(node.input.get(1)?)?;
        let [outputs, ..] = weights.shape[..] else {
            return None;
        };
        let bias = match node.input.get(2).filter(|name| !name.is_empty()) {
            None => None,
            Some(name) => Some(draft.floats(name).filter(|bias| bias.shape == [outputs])?),
        };
        let group = attribute(node, "group").and_then(|a| a.i).unwrap_or(1);
        (weights.shape.len() == 4).then_some(Self {
            weights,
            bias,
            group: usize::try_from(group).ok()?,
        })
    }

    /// One whose kernel is a pixel, and which keeps the picture's size.
    pub(super) fn pointwise(draft: &Draft<'_>, node: &NodeProto) -> Option<Self> {
        let all = |name: &str, value: i64| {
            let ints = attribute(node, name).map_or(&[][..], |a| &a.ints);
            ints.iter().all(|&int| int == value)
        };
        // Weights are read last: there may be megabytes of them.
        if node.op_type != "Conv"
            || !all("strides", 1)
            || !all("pads", 0)
            || !all("kernel_shape", 1)
        {
            return None;
        }
        let found = Self::of(draft, node)?;
        (found.group == 1 && found.weights.shape[2..] == [1, 1]).then_some(found)
    }

    /// Whether every channel is convolved with a kernel of its own.
    pub(super) fn is_depthwise(&self) -> bool {
        self.weights.shape[1] == 1 && self.weights.shape[0] == self.group
    }
}
