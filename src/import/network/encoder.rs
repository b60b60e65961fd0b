//! The audio encoder: thirteen convolutions that bring a mel window down to one place of 512 channels.

use super::blueprint::{Blueprint, Conv, Layer};
use crate::import::checkpoint::{Weights, has_prefix, without_prefix};

/// Put before every name by the program that owns the encoder.
const OWNER: &str = "audio_encoder.";

/// A block: convolution, batch normalisation, activation.
struct Block {
    kernel: u64,
    stride: [i64; 2],
    padding: i64,
    /// Whether what it is given is added before the activation.
    residual: bool,
}

const fn plain(stride: [i64; 2]) -> Block {
    Block {
        kernel: 3,
        stride,
        padding: 1,
        residual: false,
    }
}

const RESIDUAL: Block = Block {
    kernel: 3,
    stride: [1, 1],
    padding: 1,
    residual: true,
};

/// With what becomes of 80x16.
const BLOCKS: [Block; 13] = [
    plain([1, 1]),
    RESIDUAL,
    RESIDUAL,
    plain([3, 1]), // 27x16
    RESIDUAL,
    RESIDUAL,
    plain([3, 3]), // 9x6
    RESIDUAL,
    RESIDUAL,
    plain([3, 2]), // 3x3
    RESIDUAL,
    Block {
        kernel: 3,
        stride: [1, 1],
        padding: 0, // 1x1
        residual: false,
    },
    Block {
        kernel: 1,
        stride: [1, 1],
        padding: 0,
        residual: false,
    },
];

pub(super) fn define(b: &mut Blueprint<'_>) {
    b.name = "synctalk_2d_audio_encoder";
    let mut x = b.input("mel", &[1, 80, 16]);
    for (index, block) in BLOCKS.iter().enumerate() {
        let (conv, norm) = (
            format!("{index}.conv_block.0"),
            format!("{index}.conv_block.1"),
        );
        let last = index == BLOCKS.len() - 1;
        let y = b.conv(
            &x,
            Conv {
                weights: &conv,
                bias: true,
                norm: Some(&norm),
                kernel: block.kernel,
                stride: block.stride,
                padding: block.padding,
                depthwise: false,
                channels: last.then_some(512),
            },
        );
        let y = if block.residual { b.add(&x, &y) } else { y };
        x = b.relu(&y);
    }
    b.output(&x, Layer::Flatten, ("emb", &[512]));
}

/// The weights without their owner's prefix.
pub(super) fn without_owner(weights: Weights) -> Weights {
    if has_prefix(&weights, OWNER) {
        without_prefix(weights, OWNER)
    } else {
        weights
    }
}
