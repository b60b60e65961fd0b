//! Which prediction from the same picture a macroblock takes.

use super::predict::{self, Around, Around4, MODES_4X4, Mode};
use crate::encoder::h264::codec::entropy::bits::ue_bits;
use crate::encoder::h264::codec::inter::sad;
use crate::encoder::h264::codec::layout::{Layout, NONE, Pixels, Place, Planes};
use crate::encoder::h264::codec::macroblock::{Choice, Levels, ORDER, Site};
use crate::encoder::h264::codec::residual::{
    Quantisers, add, block_intra4, chroma, luma_intra16, rebuild_chroma, rebuild_luma16,
};
use crate::encoder::h264::codec::transform::Rounding;

/// Samples around a macroblock, of the same slice and not yet filtered.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::encoder::h264::codec) struct Surroundings {
    luma: Around<16>,
    /// Right of what is above.
    beyond: Option<[u8; 4]>,
    chroma: [Around<8>; 2],
}

impl Surroundings {
    pub(in crate::encoder::h264::codec) fn of(
        layout: &Layout,
        place: &Place,
        planes: &Planes,
    ) -> Self {
        let corner =
            |index: u32| (index != NONE).then(|| layout.corner(&layout.places[index as usize]));
        let (left, above) = (corner(place.left), corner(place.above));
        let (before, beyond) = (corner(place.above_left), corner(place.above_right));
        let width = planes.width;
        let chroma = |plane: &[u8]| {
            let stride = width / 2;
            Around {
                left: left.map(|(_, at)| std::array::from_fn(|y| plane[at + y * stride + 7])),
                above: above.map(|(_, at)| row(plane, at + 7 * stride)),
                corner: before.map(|(_, at)| plane[at + 7 * stride + 7]),
            }
        };
        let luma = &planes.luma;
        Self {
            luma: Around {
                left: left.map(|(at, _)| std::array::from_fn(|y| luma[at + y * width + 15])),
                above: above.map(|(at, _)| row(luma, at + 15 * width)),
                corner: before.map(|(at, _)| luma[at + 15 * width + 15]),
            },
            beyond: beyond.map(|(at, _)| row(luma, at + 15 * width)),
            chroma: [chroma(&planes.chroma[0]), chroma(&planes.chroma[1])],
        }
    }
}

fn row<const N: usize>(plane: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|i| plane[at + i])
}

/// One way to send a macroblock: what is sent, and what decoders see.
#[derive(Clone, Debug)]
pub(in crate::encoder::h264::codec) struct Candidate {
    pub(in crate::encoder::h264::codec) choice: Choice,
    pub(in crate::encoder::h264::codec) levels: Levels,
    pub(in crate::encoder::h264::codec) pixels: Pixels,
}

/// The mode of 16x16 blocks that differs least, and how much.
pub(in crate::encoder::h264::codec) fn best_16(
    source: &Pixels,
    around: &Surroundings,
    predicted: &mut [u8; 256],
) -> (Mode, u32) {
    let mut best = (Mode::Mean, u32::MAX);
    let mut tried = [0; 256];
    for mode in Mode::ALL {
        if predict::luma16(&around.luma, mode, &mut tried).is_some() {
            let difference = sad(&source.luma, &tried);
            if difference < best.1 {
                best = (mode, difference);
                *predicted = tried;
            }
        }
    }
    best
}

/// A macroblock predicted as 16x16 with `mode`, whose prediction is `predicted`.
pub(in crate::encoder::h264::codec) fn intra16(
    source: &Pixels,
    around: &Surroundings,
    (mode, predicted): (Mode, &[u8; 256]),
    q: &Quantisers,
) -> Candidate {
    let mut candidate = Candidate {
        choice: Choice::Intra16 {
            mode,
            chroma: Mode::Mean,
        },
        levels: Levels::ZERO,
        pixels: Pixels::ZERO,
    };
    candidate.pixels.luma = *predicted;
    luma_intra16(&source.luma, predicted, &q.luma, &mut candidate.levels);
    rebuild_luma16(&candidate.levels, &q.luma, &mut candidate.pixels.luma);
    let chroma = with_chroma(source, around, q, &mut candidate);
    candidate.choice = Choice::Intra16 { mode, chroma };
    candidate
}

/// A macroblock predicted block by block. `penalty` is what a bit is worth in absolute difference.
pub(in crate::encoder::h264::codec) fn intra4(
    source: &Pixels,
    around: &Surroundings,
    site: &Site<'_>,
    q: &Quantisers,
    penalty: u32,
) -> (Candidate, u32) {
    let mut levels = Levels::ZERO;
    let mut canvas = Canvas::new(around);
    let mut modes = [0; 16];
    let mut total = 0;
    for (x, y) in ORDER {
        let near = canvas.around(x, y);
        let expected = site.predicted_mode(&modes, x, y);
        let mut best = (u32::MAX, 0, [0; 16]);
        for mode in 0..MODES_4X4 {
            let Some(predicted) = predict::luma4(&near, mode) else {
                continue;
            };
            let bits = if mode == expected { 1 } else { 4 };
            let cost = penalty * bits + difference4(&source.luma, &predicted, 4 * x, 4 * y);
            if cost < best.0 {
                best = (cost, mode, predicted);
            }
        }
        let (cost, mode, predicted) = best;
        total += cost;
        let block = 4 * y + x;
        modes[block] = mode;
        let (coded, is_coded, residual) =
            block_intra4(&source.luma, &predicted, &q.luma, (4 * x, 4 * y));
        levels.luma[block] = coded;
        levels.luma_coded |= u16::from(is_coded) << block;
        canvas.put(x, y, &predicted, is_coded.then_some(&residual));
    }
    let mut candidate = Candidate {
        choice: Choice::Intra4 {
            modes,
            chroma: Mode::Mean,
        },
        levels,
        pixels: Pixels::ZERO,
    };
    canvas.read(&mut candidate.pixels.luma);
    let chroma = with_chroma(source, around, q, &mut candidate);
    candidate.choice = Choice::Intra4 { modes, chroma };
    (candidate, total)
}

/// Predicts chroma, and puts in what is sent of it and what decoders see.
fn with_chroma(
    source: &Pixels,
    around: &Surroundings,
    q: &Quantisers,
    candidate: &mut Candidate,
) -> Mode {
    let mut best = (u32::MAX, Mode::Mean);
    let mut predicted = [[0; 64]; 2];
    for mode in Mode::ALL {
        let mut tried = [[0; 64]; 2];
        let is_there = (0..2).all(|plane| {
            predict::chroma8(&around.chroma[plane], mode, &mut tried[plane]).is_some()
        });
        if !is_there {
            continue;
        }
        let pairs = source
            .chroma
            .as_flattened()
            .iter()
            .zip(tried.as_flattened());
        let difference: u32 = pairs.map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        let cost = difference + 4 * ue_bits(mode.chroma_number());
        if cost < best.0 {
            best = (cost, mode);
            predicted = tried;
        }
    }
    candidate.pixels.chroma = predicted;
    chroma(
        &source.chroma,
        &predicted,
        &q.chroma,
        Rounding::Intra,
        &mut candidate.levels,
    );
    rebuild_chroma(&candidate.levels, &q.chroma, &mut candidate.pixels.chroma);
    best.1
}

fn difference4(source: &[u8; 256], predicted: &[u8; 16], x: usize, y: usize) -> u32 {
    (0..16)
        .map(|i| u32::from(source[(y + i / 4) * 16 + x + i % 4].abs_diff(predicted[i])))
        .sum()
}

/// A macroblock's luma while it is put together, with what lies around it.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each side is there or not, whatever the others are"
)]
struct Canvas {
    /// Rows of [`Canvas::STRIDE`]; the first is the one above.
    samples: [u8; 17 * Canvas::STRIDE],
    has_left: bool,
    has_above: bool,
    has_corner: bool,
    has_beyond: bool,
}

impl Canvas {
    const STRIDE: usize = 32;
    /// Where the macroblock begins in a row.
    const LEFT: usize = 8;

    fn new(around: &Surroundings) -> Self {
        let mut samples = [0; 17 * Self::STRIDE];
        if let Some(above) = around.luma.above {
            samples[Self::LEFT..Self::LEFT + 16].copy_from_slice(&above);
        }
        if let Some(beyond) = around.beyond {
            samples[Self::LEFT + 16..Self::LEFT + 20].copy_from_slice(&beyond);
        }
        if let Some(corner) = around.luma.corner {
            samples[Self::LEFT - 1] = corner;
        }
        for (y, left) in around.luma.left.iter().flatten().enumerate() {
            samples[(y + 1) * Self::STRIDE + Self::LEFT - 1] = *left;
        }
        Self {
            samples,
            has_left: around.luma.left.is_some(),
            has_above: around.luma.above.is_some(),
            has_corner: around.luma.corner.is_some(),
            has_beyond: around.beyond.is_some(),
        }
    }

    /// Where the 4x4 block begins.
    fn at(x: usize, y: usize) -> usize {
        (4 * y + 1) * Self::STRIDE + Self::LEFT + 4 * x
    }

    fn around(&self, x: usize, y: usize) -> Around4 {
        let at = Self::at(x, y);
        let above = at - Self::STRIDE;
        let beyond = match (x, y) {
            (3, 0) => self.has_beyond,
            (_, 0) => self.has_above,
            // Blocks that come later, or lie in the next macroblock.
            (3, _) | (1, 1 | 3) => false,
            _ => true,
        };
        let has_corner = match (x, y) {
            (0, 0) => self.has_corner,
            (0, _) => self.has_left,
            (_, 0) => self.has_above,
            _ => true,
        };
        Around4 {
            left: (x > 0 || self.has_left)
                .then(|| std::array::from_fn(|i| self.samples[at + i * Self::STRIDE - 1])),
            above: (y > 0 || self.has_above).then(|| {
                std::array::from_fn(|i| self.samples[above + if beyond { i } else { i.min(3) }])
            }),
            corner: has_corner.then(|| self.samples[above - 1]),
        }
    }

    fn put(&mut self, x: usize, y: usize, predicted: &[u8; 16], residual: Option<&[i32; 16]>) {
        let at = Self::at(x, y);
        for (i, predicted) in predicted.as_chunks::<4>().0.iter().enumerate() {
            self.samples[at + i * Self::STRIDE..][..4].copy_from_slice(predicted);
        }
        if let Some(residual) = residual {
            add(residual, &mut self.samples[at..], Self::STRIDE, 0, 0);
        }
    }

    fn read(&self, out: &mut [u8; 256]) {
        for (y, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let at = (y + 1) * Self::STRIDE + Self::LEFT;
            out.copy_from_slice(&self.samples[at..at + 16]);
        }
    }
}
