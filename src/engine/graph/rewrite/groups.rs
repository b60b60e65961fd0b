//! Channels that nothing mixes are computed in groups, so that a group's tensors stay in the cache.
//!
//! ```text
//! expand (1x1) ──> ReLU ──> depthwise ──> ReLU ──> project (1x1)
//! ```
//!
//! Between the two pointwise convolutions every operator works on each channel alone. So the block is computed for some
//! channels at a time, and the projection becomes a sum of as many small ones: the same products, added in another
//! order. The wide tensors in between, 52 MB in the last block of a full-size network, are never whole.

use std::ops::Range;

use super::convolution::Convolution;
use super::draft::{Change, Draft, Floats, Made};
use super::values::{attribute, integer};
use crate::engine::graph::proto::NodeProto;

/// Groups hold a multiple of so many channels: engines compute on blocks of 8 or 16.
const BLOCK: usize = 16;
/// Most groups of one block: more cost more nodes than they save.
const GROUPS_MAX: usize = 32;
/// Operators that work on each value alone.
const ELEMENTWISE: [&str; 5] = ["Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh"];

/// Every block whose widest tensor is larger than `bytes`, in groups that are not.
pub(super) fn changes(draft: &Draft<'_>, bytes: u64) -> Vec<Change> {
    let found = draft.nodes.iter().enumerate();
    found
        .filter_map(|(node, projection)| {
            Some(Change {
                node,
                made: group(draft, projection, bytes)?,
            })
        })
        .collect()
}

/// What lies between two pointwise convolutions.
#[derive(Clone, Copy, Debug)]
struct Inside {
    /// Values a channel in the largest of its tensors.
    pixels: usize,
    depthwise: bool,
}

impl Inside {
    fn and(self, other: Self) -> Self {
        Self {
            pixels: self.pixels.max(other.pixels),
            depthwise: self.depthwise || other.depthwise,
        }
    }
}

fn group(draft: &Draft<'_>, node: &NodeProto, bytes: u64) -> Option<Made> {
    if node.op_type != "Conv" {
        return None;
    }
    let [channels, ..] = draft.sizes.picture(node.input.first()?)?;
    let inside = inside(draft, &node.input[0], channels)?;
    let widest = (channels * inside.pixels * size_of::<f32>()) as u64;
    if !inside.depthwise || widest <= bytes.max(1) {
        return None;
    }
    let groups = usize::try_from(widest.div_ceil(bytes.max(1))).unwrap_or(usize::MAX);
    let size = channels
        .div_ceil(groups.min(GROUPS_MAX))
        .next_multiple_of(BLOCK);
    if size >= channels {
        return None;
    }
    let projection = Convolution::pointwise(draft, node)?;
    if projection.weights.shape[1] != channels {
        return None;
    }
    let output = &node.output[0];
    let mut made = Made::default();
    let mut bias = projection.bias.clone();
    let mut sums = Vec::new();
    for first in (0..channels).step_by(size) {
        let part = Part {
            draft,
            channels: first..channels.min(first + size),
        };
        let input = part.of(&node.input[0], &mut made)?;
        let name = |what: &str| draft.free(&format!("{output}/{what}{first}"));
        let mut inputs = vec![input, name("weights")];
        made.weight(
            &inputs[1],
            &projection.weights.columns(part.channels.clone()),
        );
        if let Some(bias) = bias.take() {
            inputs.push(name("bias"));
            made.weight(&inputs[2], &bias);
        }
        let projected = name("part");
        made.node(node, inputs, &projected);
        sums.push(projected);
    }
    made.sum(&sums, output, |step| {
        draft.free(&format!("{output}/sum{step}"))
    });
    Some(made)
}

/// What makes a tensor of so many channels, back to the convolutions that mix them; `None` if it cannot be had in groups.
fn inside(draft: &Draft<'_>, tensor: &str, channels: usize) -> Option<Inside> {
    let node = draft.maker(tensor).filter(|_| draft.is_read_once(tensor))?;
    let [found, height, width] = draft.sizes.picture(tensor)?;
    let here = Inside {
        pixels: height * width,
        depthwise: false,
    };
    if found != channels {
        return None;
    }
    let before = match node.op_type.as_str() {
        op if ELEMENTWISE.contains(&op) => inside(draft, &node.input[0], channels)?,
        "Add" => {
            let other = inside(draft, node.input.get(1)?, channels)?;
            inside(draft, &node.input[0], channels)?.and(other)
        }
        "Resize" if keeps_channels(draft, node) => inside(draft, &node.input[0], channels)?,
        // Here the channels are mixed: a group begins.
        "Conv" if integer(node, "group").unwrap_or(1) == 1 => {
            return Convolution::of(draft, node).map(|_| here);
        }
        "Conv" if Convolution::of(draft, node)?.is_depthwise() => Inside {
            depthwise: true,
            ..inside(draft, &node.input[0], channels)?
        },
        _ => return None,
    };
    Some(here.and(before))
}

/// Whether a Resize says nothing of the number of channels.
fn keeps_channels(draft: &Draft<'_>, node: &NodeProto) -> bool {
    let scales = node.input.get(2).and_then(|name| draft.sizes.value(name));
    let text = |name: &str| attribute(node, name).and_then(|a| a.s.as_deref());
    node.input.get(3).is_none_or(String::is_empty)
        && attribute(node, "axes").is_none()
        && text("coordinate_transformation_mode") != Some(b"tf_crop_and_resize")
        && scales.is_some_and(|scales| scales.len() == 4 && scales[..2] == [1.0, 1.0])
}

/// Some channels of a block.
struct Part<'d, 'm> {
    draft: &'d Draft<'m>,
    channels: Range<usize>,
}

impl Part<'_, '_> {
    /// Makes these channels of a tensor, whose making [`inside`] has looked at; gives their name.
    fn of(&self, tensor: &str, made: &mut Made) -> Option<String> {
        let node = self.draft.maker(tensor)?;
        let mut inputs = node.input.clone();
        let mut like = node.clone();
        match node.op_type.as_str() {
            "Conv" => {
                let convolution = Convolution::of(self.draft, node)?;
                inputs[1] = self.rows(&node.input[1], &convolution.weights, made);
                if let Some(bias) = &convolution.bias {
                    inputs[2] = self.rows(&node.input[2], bias, made);
                }
                if convolution.group > 1 {
                    inputs[0] = self.of(&node.input[0], made)?;
                    let group = like.attribute.iter_mut().find(|a| a.name == "group")?;
                    group.i = Some(self.channels.len() as i64);
                }
            }
            "Add" => {
                inputs[0] = self.of(&node.input[0], made)?;
                inputs[1] = self.of(&node.input[1], made)?;
            }
            _ => inputs[0] = self.of(&node.input[0], made)?,
        }
        let output = self.name(tensor);
        made.node(&like, inputs, &output);
        Some(output)
    }

    fn rows(&self, name: &str, weights: &Floats, made: &mut Made) -> String {
        let name = self.name(name);
        // Two convolutions may share their weights.
        if made.weights.iter().all(|weight| weight.name != name) {
            made.weight(&name, &weights.rows(self.channels.clone()));
        }
        name
    }

    fn name(&self, of: &str) -> String {
        self.draft
            .free(&format!("{of}/from{}", self.channels.start))
    }
}
