//! A blueprint and its numbers become an ONNX file.
//!
//! Batch normalisation is folded into the convolution before it: in inference both are one affine function, and one
//! node fewer is what exporters write too. The arithmetic is in f64, so the result rounds once.

use std::collections::BTreeMap;

use super::blueprint::{Blueprint, Layer, Node};
use crate::engine::graph::{Attribute, GraphBuilder};

/// What torch adds to a variance.
const EPSILON: f64 = 1e-5;

type Numbers = BTreeMap<String, Vec<f32>>;

/// The file. All weights of the blueprint are there and fit.
pub(super) fn write(blueprint: &Blueprint<'_>, numbers: &Numbers) -> Vec<u8> {
    let mut graph = GraphBuilder::new(blueprint.name);
    for (name, shape) in &blueprint.inputs {
        graph.input(name, shape);
    }
    if blueprint
        .nodes
        .iter()
        .any(|node| matches!(node.layer, Layer::Upsample))
    {
        graph.constant(SCALES, &[4], &[1.0, 1.0, 2.0, 2.0]);
    }
    for node in &blueprint.nodes {
        put(&mut graph, node, blueprint, numbers);
    }
    for (name, shape) in &blueprint.outputs {
        graph.output(name, shape);
    }
    graph.finish()
}

/// How far upsampling goes.
const SCALES: &str = "scales";

fn put(graph: &mut GraphBuilder, node: &Node, blueprint: &Blueprint<'_>, numbers: &Numbers) {
    let inputs: Vec<&str> = node.inputs.iter().map(String::as_str).collect();
    let mut plain = |operator, attributes: &[(&str, Attribute<'_>)]| {
        graph.node(operator, &inputs, &node.output, attributes);
    };
    match &node.layer {
        Layer::Relu => plain("Relu", &[]),
        Layer::Sigmoid => plain("Sigmoid", &[]),
        Layer::Add => plain("Add", &[]),
        Layer::Concat => plain("Concat", &[("axis", Attribute::Int(1))]),
        Layer::Flatten => plain("Flatten", &[("axis", Attribute::Int(1))]),
        Layer::Upsample => graph.node(
            "Resize",
            &[inputs[0], "", SCALES],
            &node.output,
            &[
                (
                    "coordinate_transformation_mode",
                    Attribute::Text("align_corners"),
                ),
                ("mode", Attribute::Text("linear")),
                ("nearest_mode", Attribute::Text("floor")),
            ],
        ),
        Layer::Conv {
            weights,
            bias,
            norm,
            stride,
            padding,
            depthwise,
        } => {
            let shape = blueprint.shape(&format!("{weights}.weight"));
            let (folded, offsets) = fold(numbers, weights, *bias, norm.as_deref());
            let (weight, bias) = (format!("{weights}.weight"), format!("{weights}.bias"));
            graph.constant(&weight, &shape, &folded);
            graph.constant(&bias, &shape[..1], &offsets);
            let kernel = [shape[2] as i64, shape[3] as i64];
            let group = if *depthwise { shape[0] as i64 } else { 1 };
            // All of them are said, though ONNX has defaults: the embedded engine wants them.
            graph.node(
                "Conv",
                &[inputs[0], &weight, &bias],
                &node.output,
                &[
                    ("dilations", Attribute::Ints(&[1, 1])),
                    ("group", Attribute::Int(group)),
                    ("kernel_shape", Attribute::Ints(&kernel)),
                    ("pads", Attribute::Ints(&[*padding; 4])),
                    ("strides", Attribute::Ints(stride)),
                ],
            );
        }
    }
}

/// A convolution's weights and biases with its normalisation in them.
fn fold(numbers: &Numbers, conv: &str, bias: bool, norm: Option<&str>) -> (Vec<f32>, Vec<f32>) {
    let weight = &numbers[&format!("{conv}.weight")];
    let norm = norm.map(|norm| {
        ["weight", "bias", "running_mean", "running_var"]
            .map(|part| numbers[&format!("{norm}.{part}")].as_slice())
    });
    let bias = bias.then(|| numbers[&format!("{conv}.bias")].as_slice());
    let channels = match (norm, bias) {
        (Some([gain, ..]), _) => gain.len(),
        (None, Some(bias)) => bias.len(),
        (None, None) => unreachable!("every convolution here has a bias or a normalisation"),
    };
    let inner = weight.len() / channels;
    let (mut folded, mut offsets) = (
        Vec::with_capacity(weight.len()),
        Vec::with_capacity(channels),
    );
    for (channel, weights) in weight.chunks_exact(inner).enumerate() {
        let own = bias.map_or(0.0, |bias| f64::from(bias[channel]));
        // y = (x - mean) / sqrt(var + eps) * gain + shift, and x = w * input + own.
        let (scale, offset) = match norm {
            None => (1.0, own),
            Some([gain, shift, mean, variance]) => {
                let at = |values: &[f32]| f64::from(values[channel]);
                let scale = at(gain) / (at(variance) + EPSILON).sqrt();
                (scale, (own - at(mean)) * scale + at(shift))
            }
        };
        folded.extend(weights.iter().map(|&w| (f64::from(w) * scale) as f32));
        offsets.push(offset as f32);
    }
    (folded, offsets)
}
