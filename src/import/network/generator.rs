//! The generator: `SyncTalk_2D`'s U-Net at 328 pixels with `ave` audio features.
//!
//! Five levels down by stride 2, the audio branch joined at the bottom, five levels up by bilinear upsampling with skip
//! connections. The reference pads what it upsampled to the skip's size; at 320 pixels, which halve five times without a
//! remainder, there is nothing to pad, so the graph has no shapes to compute and any batch runs.

use super::blueprint::{Blueprint, Conv, Layer, Value};

const LEVELS: usize = 5;

pub(super) fn define(b: &mut Blueprint<'_>) {
    b.name = "synctalk_2d_generator";
    let picture = b.input("input", &[6, 320, 320]);
    let audio = b.input("audio", &[32, 16, 16]);

    let mut levels = vec![inverted(b, &picture, "inc.inconv.0", 1)];
    for level in 1..=LEVELS {
        let above = &levels[level - 1];
        let down = double(b, above, &format!("down{level}.maxpool_conv.0"), 2);
        levels.push(down);
    }
    let heard = audio_branch(b, &audio);
    let seen = &levels[LEVELS];
    let mut x = b.concat(seen, &heard);
    for half in ["fuse_conv.0", "fuse_conv.1"] {
        x = double(b, &x, half, 1);
    }
    for level in 1..=LEVELS {
        let low = b.upsample(&x);
        let joined = b.concat(&low, &levels[LEVELS - level]);
        x = double(b, &joined, &format!("up{level}.conv"), 1);
    }
    let out = b.conv(
        &x,
        Conv {
            bias: true,
            channels: Some(3),
            ..pointwise("outc.conv")
        },
    );
    b.output(&out, Layer::Sigmoid, ("output", &[3, 320, 320]));
}

/// `[N,32,16,16]` to what the bottom of the U-Net has, 10x10: 16 pixels and 3 on either side, by stride 2.
fn audio_branch(b: &mut Blueprint<'_>, audio: &Value) -> Value {
    let x = inverted(b, audio, "audio_model.conv1", 1);
    let x = inverted(b, &x, "audio_model.conv2", 1);
    let x = dense(b, &x, "audio_model.conv3", "audio_model.bn3", 1, 1);
    let x = residual(b, &x, "audio_model.conv4");
    let x = dense(b, &x, "audio_model.conv5", "audio_model.bn5", 2, 3);
    let x = residual(b, &x, "audio_model.conv6");
    residual(b, &x, "audio_model.conv7")
}

/// Two inverted residuals: the first may halve the picture, the second adds what it is given.
fn double(b: &mut Blueprint<'_>, x: &Value, key: &str, stride: i64) -> Value {
    let x = inverted(b, x, &format!("{key}.double_conv.0"), stride);
    residual(b, &x, &format!("{key}.double_conv.1"))
}

fn residual(b: &mut Blueprint<'_>, x: &Value, key: &str) -> Value {
    let y = inverted(b, x, key, 1);
    b.add(x, &y)
}

/// Pointwise up, depthwise, pointwise down, each with batch normalisation; no activation at the end.
fn inverted(b: &mut Blueprint<'_>, x: &Value, key: &str, stride: i64) -> Value {
    let layer = |index: usize| format!("{key}.conv.{index}");
    let wide = b.conv(
        x,
        Conv {
            norm: Some(&layer(1)),
            ..pointwise(&layer(0))
        },
    );
    let wide = b.relu(&wide);
    let filtered = b.conv(
        &wide,
        Conv {
            norm: Some(&layer(4)),
            kernel: 3,
            stride: [stride; 2],
            padding: 1,
            depthwise: true,
            ..pointwise(&layer(3))
        },
    );
    let filtered = b.relu(&filtered);
    b.conv(
        &filtered,
        Conv {
            norm: Some(&layer(7)),
            ..pointwise(&layer(6))
        },
    )
}

/// A convolution over all channels, normalised and activated.
fn dense(
    b: &mut Blueprint<'_>,
    x: &Value,
    key: &str,
    norm: &str,
    stride: i64,
    padding: i64,
) -> Value {
    let y = b.conv(
        x,
        Conv {
            bias: true,
            norm: Some(norm),
            kernel: 3,
            stride: [stride; 2],
            padding,
            ..pointwise(key)
        },
    );
    b.relu(&y)
}

fn pointwise(weights: &str) -> Conv<'_> {
    Conv {
        weights,
        bias: false,
        norm: None,
        kernel: 1,
        stride: [1, 1],
        padding: 0,
        depthwise: false,
        channels: None,
    }
}
