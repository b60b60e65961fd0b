//! A convolution of one pixel commutes with making a picture larger.
//!
//! ```text
//! Conv(Concat(Resize(a), b)) == Resize(Conv_a(a)) + Conv_b(b)
//! ```
//!
//! with the weights split along their inputs and the bias in the second: the first convolution then runs on the small
//! picture, and the concatenated tensor is never made. Resizing is linear in the values, and every channel has the same
//! weights, so the order makes no difference but for rounding.

use super::convolution::Convolution;
use super::draft::{Change, Draft, Floats, Made};
use super::values::{attribute, integer};
use crate::engine::graph::proto::NodeProto;

/// Every such place of the graph, rewritten.
pub(super) fn changes(draft: &Draft<'_>) -> Vec<Change> {
    let found = draft.nodes.iter().enumerate();
    found
        .filter_map(|(node, convolution)| {
            Some(Change {
                node,
                made: split(draft, convolution)?,
            })
        })
        .collect()
}

/// An input of the concatenation.
enum Part<'d> {
    /// `Resize(small)`.
    Resized {
        small: &'d str,
        resize: &'d NodeProto,
    },
    Plain(&'d str),
}

fn split(draft: &Draft<'_>, node: &NodeProto) -> Option<Made> {
    let convolution = Convolution::pointwise(draft, node)?;
    let concat = draft.maker(&node.input[0])?;
    if concat.op_type != "Concat"
        || integer(concat, "axis") != Some(1)
        || !draft.is_read_once(&node.input[0])
    {
        return None;
    }
    let parts: Vec<Part<'_>> = concat.input.iter().map(|name| part(draft, name)).collect();
    let resized = parts
        .iter()
        .filter(|part| matches!(part, Part::Resized { .. }));
    let resized = resized.count();
    // The bias needs a part that is not resized.
    if resized == 0 || resized == parts.len() {
        return None;
    }
    let output = &node.output[0];
    let mut made = Made::default();
    let mut bias = convolution.bias.clone();
    let (mut sums, mut first) = (Vec::new(), 0);
    for (index, (part, input)) in parts.iter().zip(&concat.input).enumerate() {
        let [channels, ..] = draft.sizes.picture(input)?;
        if first + channels > convolution.weights.shape[1] {
            return None;
        }
        let weights = convolution.weights.columns(first..first + channels);
        first += channels;
        let name = |what: &str| draft.free(&format!("{output}/{what}{index}"));
        let mut convolve = |from: &str, bias: Option<Floats>| {
            let output = name("part");
            let mut inputs = vec![from.to_owned(), name("weights")];
            made.weight(&inputs[1], &weights);
            if let Some(bias) = bias {
                inputs.push(name("bias"));
                made.weight(&inputs[2], &bias);
            }
            made.node(node, inputs, &output);
            output
        };
        let part = match part {
            Part::Plain(from) => convolve(from, bias.take()),
            Part::Resized { small, resize } => {
                let convolved = convolve(small, None);
                let mut inputs = vec![convolved, resize.input.get(1).cloned().unwrap_or_default()];
                if resize.input.get(3).is_none_or(String::is_empty) {
                    inputs.push(resize.input.get(2)?.clone());
                } else {
                    // Sizes would name the channels there were.
                    let scales = scales(draft, small, &resize.output[0])?;
                    inputs.push(name("scales"));
                    made.weight(&inputs[2], &scales);
                }
                let output = name("resized");
                made.node(resize, inputs, &output);
                output
            }
        };
        sums.push(part);
    }
    if first != convolution.weights.shape[1] {
        return None;
    }
    made.sum(&sums, output, |step| {
        draft.free(&format!("{output}/sum{step}"))
    });
    Some(made)
}

/// What an input of the concatenation is.
fn part<'d>(draft: &'d Draft<'_>, name: &'d str) -> Part<'d> {
    let resized = || -> Option<Part<'d>> {
        let mut maker = draft.maker(name).filter(|_| draft.is_read_once(name))?;
        // SyncTalk pads what it resized to the skip's size: by nothing, where the sizes are even.
        if maker.op_type == "Pad" {
            let pads = draft.sizes.value(maker.input.get(1)?)?;
            if pads.iter().any(|&pad| pad != 0.0) || maker.input.len() > 3 {
                return None;
            }
            let padded = &maker.input[0];
            maker = draft.maker(padded).filter(|_| draft.is_read_once(padded))?;
        }
        let small = maker.input.first().filter(|_| enlarges(draft, maker))?;
        Some(Part::Resized {
            small,
            resize: maker,
        })
    };
    resized().unwrap_or(Part::Plain(name))
}

/// Whether a node is a Resize that gives more pixels and treats every channel alike.
fn enlarges(draft: &Draft<'_>, node: &NodeProto) -> bool {
    let text = |name: &str| attribute(node, name).and_then(|a| a.s.as_deref());
    let sizes = || {
        let from = draft.sizes.picture(node.input.first()?)?;
        let to = draft.sizes.picture(node.output.first()?)?;
        Some((from, to))
    };
    node.op_type == "Resize"
        && text("coordinate_transformation_mode") != Some(b"tf_crop_and_resize")
        && attribute(node, "axes").is_none()
        && integer(node, "antialias").unwrap_or(0) == 0
        && sizes().is_some_and(|(from, to)| from[0] == to[0] && from[1] * from[2] < to[1] * to[2])
}

/// The factors between two pictures.
fn scales(draft: &Draft<'_>, small: &str, large: &str) -> Option<Floats> {
    let ([_, height, width], [_, tall, wide]) =
        (draft.sizes.picture(small)?, draft.sizes.picture(large)?);
    let by = |from: usize, to: usize| to as f32 / from as f32;
    Some(Floats {
        shape: vec![4],
        data: vec![1.0, 1.0, by(height, tall), by(width, wide)],
    })
}
