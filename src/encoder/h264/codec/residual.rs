//! From samples and their prediction to levels, and back to what decoders see.

use super::layout::Pixels;
use super::macroblock::Levels;
use super::transform::{Block, Quantiser, Rounding, ZIGZAG, chroma_qp, forward, inverse};

/// The quantisers of a picture.
#[derive(Clone, Debug)]
pub(super) struct Quantisers {
    pub(super) luma: Quantiser,
    pub(super) chroma: Quantiser,
}

impl Quantisers {
    pub(super) fn new(qp: u8) -> Self {
        Self {
            luma: Quantiser::new(qp),
            chroma: Quantiser::new(chroma_qp(qp)),
        }
    }
}

/// What a lone level of one is worth by the zeros before it: cheap to send where there are few.
const WORTH: [u8; 16] = [3, 2, 2, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Below these sums levels are not worth their bits: of 8x8 luma, of 16x16 luma, of a plane of chroma.
const WORTH_QUARTER: u32 = 4;
const WORTH_LUMA: u32 = 6;
const WORTH_CHROMA: u32 = 7;
const WORTH_ANYWAY: u32 = 9;

/// A block's worth: from `first` on in the order of the scan.
fn worth(block: &Block, first: usize) -> u32 {
    let (mut sum, mut run) = (0, 0);
    for at in &ZIGZAG[first..] {
        match block[*at].unsigned_abs() {
            0 => run += 1,
            1 => {
                sum += u32::from(WORTH[run]);
                run = 0;
            }
            _ => return WORTH_ANYWAY,
        }
    }
    sum
}

/// Levels of luma predicted from the picture before, those not worth their bits dropped.
pub(super) fn luma_inter(
    source: &[u8; 256],
    predicted: &[u8; 256],
    q: &Quantiser,
    levels: &mut Levels,
) {
    levels.luma_coded = 0;
    let mut total = 0;
    for quarter in 0..4 {
        let (mut coded, mut sum) = (0_u16, 0);
        for at in [0, 1, 4, 5] {
            let block = 8 * (quarter / 2) + 2 * (quarter % 2) + at;
            let out = &mut levels.luma[block];
            *out = difference(source, predicted, 16, block % 4 * 4, block / 4 * 4);
            forward(out);
            if q.quantise(out, Rounding::Inter) {
                coded |= 1 << block;
                sum += worth(out, 0);
            }
        }
        if sum >= WORTH_QUARTER {
            levels.luma_coded |= coded;
            total += sum;
        }
    }
    if total < WORTH_LUMA {
        levels.luma_coded = 0;
    }
}

/// Levels of chroma.
pub(super) fn chroma(
    source: &[[u8; 64]; 2],
    predicted: &[[u8; 64]; 2],
    q: &Quantiser,
    rounding: Rounding,
    levels: &mut Levels,
) {
    for plane in 0..2 {
        let blocks = &mut levels.chroma[plane];
        let (mut coded, mut sum) = (0, 0);
        let mut dc = [0; 4];
        for (at, out) in blocks.iter_mut().enumerate() {
            *out = difference(&source[plane], &predicted[plane], 8, at % 2 * 4, at / 2 * 4);
            forward(out);
            dc[at] = i32::from(out[0]);
            out[0] = 0;
            if q.quantise(out, rounding) {
                coded |= 1 << at;
                sum += worth(out, 1);
            }
        }
        if rounding == Rounding::Inter && sum < WORTH_CHROMA {
            coded = 0;
        }
        if coded == 0 {
            *blocks = [[0; 16]; 4];
        }
        levels.chroma_coded[plane] = coded;
        levels.chroma_dc_coded[plane] = q.quantise_chroma_dc(&mut dc, rounding);
        levels.chroma_dc[plane] = dc;
    }
}

/// Levels of a luma block predicted as 16x16 from around it.
pub(super) fn luma_intra16(
    source: &[u8; 256],
    predicted: &[u8; 256],
    q: &Quantiser,
    levels: &mut Levels,
) {
    levels.luma_coded = 0;
    for (block, out) in levels.luma.iter_mut().enumerate() {
        *out = difference(source, predicted, 16, block % 4 * 4, block / 4 * 4);
        forward(out);
        levels.luma_dc[block] = i32::from(out[0]);
        out[0] = 0;
        levels.luma_coded |= u16::from(q.quantise(out, Rounding::Intra)) << block;
    }
    q.quantise_luma_dc(&mut levels.luma_dc);
}

/// `source - predicted` of the 4x4 block at (`x`, `y`) of rows of `stride`.
#[inline]
fn difference(source: &[u8], predicted: &[u8], stride: usize, x: usize, y: usize) -> Block {
    std::array::from_fn(|i| {
        let at = (y + i / 4) * stride + x + i % 4;
        i16::from(source[at]) - i16::from(predicted[at])
    })
}

/// Adds a residual to the 4x4 block at (`x`, `y`) of rows of `stride`.
#[inline]
pub(super) fn add(residual: &[i32; 16], samples: &mut [u8], stride: usize, x: usize, y: usize) {
    for (i, residual) in residual.iter().enumerate() {
        let at = (y + i / 4) * stride + x + i % 4;
        samples[at] = (i32::from(samples[at]) + residual).clamp(0, 255) as u8;
    }
}

/// Adds what decoders make of the luma levels to the prediction.
pub(super) fn rebuild_luma(levels: &Levels, q: &Quantiser, luma: &mut [u8; 256]) {
    let mut left = levels.luma_coded;
    while left != 0 {
        let block = left.trailing_zeros() as usize;
        left &= left - 1;
        let residual = inverse(q.scaled(&levels.luma[block]));
        add(&residual, luma, 16, block % 4 * 4, block / 4 * 4);
    }
}

/// Likewise of a 16x16 block's.
pub(super) fn rebuild_luma16(levels: &Levels, q: &Quantiser, luma: &mut [u8; 256]) {
    let dc = q.scaled_luma_dc(levels.luma_dc);
    for (block, dc) in dc.into_iter().enumerate() {
        let is_coded = levels.luma_coded >> block & 1 != 0;
        if !is_coded && dc == 0 {
            continue;
        }
        let mut scaled = if is_coded {
            q.scaled(&levels.luma[block])
        } else {
            [0; 16]
        };
        scaled[0] = dc;
        add(&inverse(scaled), luma, 16, block % 4 * 4, block / 4 * 4);
    }
}

/// Likewise of chroma.
pub(super) fn rebuild_chroma(levels: &Levels, q: &Quantiser, chroma: &mut [[u8; 64]; 2]) {
    for (plane, samples) in chroma.iter_mut().enumerate() {
        if levels.chroma_coded[plane] == 0 && !levels.chroma_dc_coded[plane] {
            continue;
        }
        let dc = q.scaled_chroma_dc(levels.chroma_dc[plane]);
        for (at, dc) in dc.into_iter().enumerate() {
            let mut scaled = q.scaled(&levels.chroma[plane][at]);
            scaled[0] = dc;
            add(&inverse(scaled), samples, 8, at % 2 * 4, at / 2 * 4);
        }
    }
}

/// One 4x4 block of luma predicted by itself: levels, whether any is not zero, and the residual decoders see.
pub(super) fn block_intra4(
    source: &[u8; 256],
    predicted: &[u8; 16],
    q: &Quantiser,
    (x, y): (usize, usize),
) -> (Block, bool, [i32; 16]) {
    let mut block: Block = std::array::from_fn(|i| {
        let at = (y + i / 4) * 16 + x + i % 4;
        i16::from(source[at]) - i16::from(predicted[i])
    });
    forward(&mut block);
    let is_coded = q.quantise(&mut block, Rounding::Intra);
    let residual = if is_coded {
        inverse(q.scaled(&block))
    } else {
        [0; 16]
    };
    (block, is_coded, residual)
}

/// Whether what is left of `pixels` after prediction is nothing at all, in levels.
pub(super) fn is_nothing(levels: &Levels) -> bool {
    levels.luma_coded == 0 && levels.chroma_pattern() == 0
}

/// Source samples and a place for what decoders see.
pub(super) fn rebuild_inter(levels: &Levels, q: &Quantisers, pixels: &mut Pixels) {
    rebuild_luma(levels, &q.luma, &mut pixels.luma);
    rebuild_chroma(levels, &q.chroma, &mut pixels.chroma);
}
