//! The 4x4 integer transform, its inverse, and quantisation (H.264, 8.5).
//!
//! A block is sixteen values in rows. What decoders do is exact; how levels are chosen is free.

use super::entropy::cavlc::LEVEL_MAX;

/// One 4x4 block, row by row.
pub(super) type Block = [i16; 16];

/// The order in which coefficients are sent.
pub(super) const ZIGZAG: [usize; 16] = [0, 1, 4, 8, 5, 2, 3, 6, 9, 12, 13, 10, 7, 11, 14, 15];

/// Divisors of coefficients by QP % 6: where both coordinates are even, both odd, and the rest.
const SCALE: [[u16; 3]; 6] = [
    [13107, 5243, 8066],
    [11916, 4660, 7490],
    [10082, 4194, 6554],
    [9362, 3647, 5825],
    [8192, 3355, 5243],
    [7282, 2893, 4559],
];
/// What levels are multiplied by, likewise.
const STEP: [[u16; 3]; 6] = [
    [10, 16, 13],
    [11, 18, 14],
    [13, 20, 16],
    [14, 23, 18],
    [16, 25, 20],
    [18, 29, 23],
];

/// The quantiser of chroma by that of luma, from 30 on.
const CHROMA_QP: [u8; 22] = [
    29, 30, 31, 32, 32, 33, 34, 34, 35, 35, 36, 36, 37, 37, 37, 38, 38, 38, 39, 39, 39, 39,
];

/// The quantiser of chroma where luma has `qp`.
pub(super) fn chroma_qp(qp: u8) -> u8 {
    match qp {
        0..30 => qp,
        _ => CHROMA_QP[usize::from(qp) - 30],
    }
}

fn class(at: usize) -> usize {
    match (at / 4 % 2, at % 4 % 2) {
        (0, 0) => 0,
        (1, 1) => 1,
        _ => 2,
    }
}

/// The tables of one quantiser.
#[derive(Clone, Debug)]
pub(super) struct Quantiser {
    qp: u8,
    /// `level = (|c| + bias) * scale >> 16`, in the order of a block's rows.
    scale: [u16; 16],
    bias_intra: [u16; 16],
    bias_inter: [u16; 16],
    /// `coefficient = level * step`.
    step: [i16; 16],
}

/// How far up a value is rounded to the next level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rounding {
    /// From two thirds on.
    Intra,
    /// From five sixths on.
    Inter,
}

impl Quantiser {
    pub(super) fn new(qp: u8) -> Self {
        let (shift, rest) = (u32::from(qp / 6), usize::from(qp % 6));
        let by_place = |value: &dyn Fn(usize) -> u32| -> [u16; 16] {
            std::array::from_fn(|at| value(class(at)) as u16)
        };
        // `scale` is SCALE / 2^(15 + shift) of a whole, which has 16 bits.
        let scale = |class: usize| (u32::from(SCALE[rest][class]) << 1) >> shift;
        // A share of a level, in coefficients.
        let bias = |share: u32| {
            by_place(&|class| ((1_u64 << 16) / u64::from(share * scale(class).max(1))) as u32)
        };
        Self {
            qp,
            scale: by_place(&scale),
            bias_intra: bias(3),
            bias_inter: bias(6),
            step: by_place(&|class| u32::from(STEP[rest][class]) << shift).map(|step| step as i16),
        }
    }

    /// Coefficients to levels in place; whether any is left.
    #[inline]
    pub(super) fn quantise(&self, block: &mut Block, rounding: Rounding) -> bool {
        let bias = match rounding {
            Rounding::Intra => &self.bias_intra,
            Rounding::Inter => &self.bias_inter,
        };
        let mut any = 0;
        for at in 0..16 {
            let value = block[at];
            let magnitude = value.unsigned_abs() + bias[at];
            let level = ((u32::from(magnitude) * u32::from(self.scale[at])) >> 16) as i16;
            let level = level.min(LEVEL_MAX);
            let sign = value >> 15;
            block[at] = (level ^ sign) - sign;
            any |= level;
        }
        any != 0
    }

    /// Levels to coefficients.
    #[inline]
    pub(super) fn scaled(&self, levels: &Block) -> [i32; 16] {
        std::array::from_fn(|at| i32::from(levels[at]) * i32::from(self.step[at]))
    }

    /// The sixteen DC coefficients of a 16x16 block, in raster order, to levels in place; whether any is left.
    pub(super) fn quantise_luma_dc(&self, dc: &mut [i32; 16]) -> bool {
        hadamard4(dc);
        let mut any = false;
        for value in dc {
            // The transform's result is halved, and quantised at twice the step.
            let magnitude = u64::from(value.unsigned_abs().div_ceil(2));
            let bits = 16 + u32::from(self.qp / 6);
            let scale = u64::from(SCALE[usize::from(self.qp % 6)][0]);
            let level = (magnitude * scale + (1 << bits) / 3) >> bits;
            let level = (level as i32).min(i32::from(LEVEL_MAX));
            *value = level * value.signum();
            any |= level != 0;
        }
        any
    }

    /// The levels of [`Quantiser::quantise_luma_dc`] to DC coefficients.
    pub(super) fn scaled_luma_dc(&self, mut levels: [i32; 16]) -> [i32; 16] {
        hadamard4(&mut levels);
        let step = i32::from(STEP[usize::from(self.qp % 6)][0]) * 16;
        let shift = u32::from(self.qp / 6);
        levels.map(|value| {
            if shift >= 6 {
                (value * step) << (shift - 6)
            } else {
                (value * step + (1 << (5 - shift))) >> (6 - shift)
            }
        })
    }

    /// The four DC coefficients of a chroma block to levels in place; whether any is left.
    #[inline]
    pub(super) fn quantise_chroma_dc(&self, dc: &mut [i32; 4], rounding: Rounding) -> bool {
        *dc = hadamard2(*dc);
        let share = match rounding {
            Rounding::Intra => 3,
            Rounding::Inter => 6,
        };
        let bits = 16 + u32::from(self.qp / 6);
        let scale = u32::from(SCALE[usize::from(self.qp % 6)][0]);
        let mut any = false;
        for value in dc {
            let level = (u64::from(value.unsigned_abs()) * u64::from(scale)
                + (1_u64 << bits) / share)
                >> bits;
            let level = (level as i32).min(i32::from(LEVEL_MAX));
            *value = level * value.signum();
            any |= level != 0;
        }
        any
    }

    /// The levels of [`Quantiser::quantise_chroma_dc`] to DC coefficients.
    #[inline]
    pub(super) fn scaled_chroma_dc(&self, levels: [i32; 4]) -> [i32; 4] {
        let step = i32::from(STEP[usize::from(self.qp % 6)][0]) * 16;
        hadamard2(levels).map(|value| ((value * step) << (self.qp / 6)) >> 5)
    }
}

/// Rows and columns of `x` by 1, 2, 1, 1: the core transform (8-330 the other way round).
#[inline]
pub(super) fn forward(block: &mut Block) {
    for y in 0..4 {
        let at = 4 * y;
        let [a, b, c, d] = [block[at], block[at + 1], block[at + 2], block[at + 3]];
        let (s, t, u, v) = (a + d, b + c, a - d, b - c);
        block[at] = s + t;
        block[at + 1] = 2 * u + v;
        block[at + 2] = s - t;
        block[at + 3] = u - 2 * v;
    }
    for x in 0..4 {
        let [a, b, c, d] = [block[x], block[x + 4], block[x + 8], block[x + 12]];
        let (s, t, u, v) = (a + d, b + c, a - d, b - c);
        block[x] = s + t;
        block[x + 4] = 2 * u + v;
        block[x + 8] = s - t;
        block[x + 12] = u - 2 * v;
    }
}

/// The residual of scaled coefficients (8.5.12.2).
#[inline]
pub(super) fn inverse(mut d: [i32; 16]) -> [i32; 16] {
    for y in 0..4 {
        let at = 4 * y;
        let (e, f) = (d[at] + d[at + 2], d[at] - d[at + 2]);
        let (g, h) = ((d[at + 1] >> 1) - d[at + 3], d[at + 1] + (d[at + 3] >> 1));
        (d[at], d[at + 1], d[at + 2], d[at + 3]) = (e + h, f + g, f - g, e - h);
    }
    for x in 0..4 {
        let (e, f) = (d[x] + d[x + 8], d[x] - d[x + 8]);
        let (g, h) = ((d[x + 4] >> 1) - d[x + 12], d[x + 4] + (d[x + 12] >> 1));
        d[x] = (e + h + 32) >> 6;
        d[x + 4] = (f + g + 32) >> 6;
        d[x + 8] = (f - g + 32) >> 6;
        d[x + 12] = (e - h + 32) >> 6;
    }
    d
}

fn hadamard4(d: &mut [i32; 16]) {
    for step in [1, 4] {
        for line in 0..4 {
            let at = |i: usize| line * (5 - step) + i * step;
            let [a, b, c, e] = [d[at(0)], d[at(1)], d[at(2)], d[at(3)]];
            let (s, t, u, v) = (a + b, c + e, a - b, c - e);
            (d[at(0)], d[at(1)], d[at(2)], d[at(3)]) = (s + t, s - t, u - v, u + v);
        }
    }
}

fn hadamard2([a, b, c, d]: [i32; 4]) -> [i32; 4] {
    [a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d]
}
