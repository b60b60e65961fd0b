//! Motion: prediction from the picture before (H.264, 8.4.2.2), and how far two blocks differ.

use super::layout::{Pixels, Planes, Vector};

/// Rows and columns the luma filter needs around a block.
const AROUND: usize = 5;
const SIDE_MAX: usize = 16;

/// A block of a macroblock: where it lies in it, and its sides, in luma samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Part {
    pub(super) const WHOLE: Self = Self {
        x: 0,
        y: 0,
        width: 16,
        height: 16,
    };

    /// The quarter of the macroblock in which it begins.
    pub(super) fn quarter(self) -> usize {
        self.y / 8 * 2 + self.x / 8
    }

    /// Gives all its quarters a vector.
    pub(super) fn set(self, vectors: &mut [Vector; 4], vector: Vector) {
        for (quarter, out) in vectors.iter_mut().enumerate() {
            let (x, y) = (quarter % 2 * 8, quarter / 2 * 8);
            let is_inside = (self.x..self.x + self.width).contains(&x)
                && (self.y..self.y + self.height).contains(&y);
            if is_inside {
                *out = vector;
            }
        }
    }
}

/// Predicts `part` of the macroblock at (`x`, `y`) of the planes.
pub(super) fn predict(
    planes: &Planes,
    (x, y): (usize, usize),
    part: Part,
    vector: Vector,
    out: &mut Pixels,
) {
    predict_luma(planes, (x, y), part, vector, &mut out.luma);
    predict_chroma(planes, (x, y), part, vector, &mut out.chroma);
}

/// The luma of [`predict`].
pub(super) fn predict_luma(
    planes: &Planes,
    (x, y): (usize, usize),
    part: Part,
    vector: Vector,
    out: &mut [u8; 256],
) {
    let from_x = (x + part.x) as i32 + i32::from(vector.x >> 2);
    let from_y = (y + part.y) as i32 + i32::from(vector.y >> 2);
    let stride = planes.width;
    let at = |dx: i32, dy: i32| (from_y + dy) as usize * stride + (from_x + dx) as usize;
    let source = Source {
        luma: &planes.luma,
        stride,
    };
    let mut one = [0; 256];
    let size = (part.width, part.height);
    let (fx, fy) = (vector.x & 3, vector.y & 3);
    match (fx, fy) {
        (0, 0) => source.copy(at(0, 0), size, &mut one),
        (_, 0) => {
            source.across(at(0, 0), size, &mut one);
            if fx != 2 {
                source.mean(at(i32::from(fx == 3), 0), size, &mut one);
            }
        }
        (0, _) => {
            source.down(at(0, 0), size, &mut one);
            if fy != 2 {
                source.mean(at(0, i32::from(fy == 3)), size, &mut one);
            }
        }
        (2, 2) => source.both(at(0, 0), size, &mut one),
        _ => {
            let mut two = [0; 256];
            if fx == 2 {
                source.both(at(0, 0), size, &mut one);
                source.across(at(0, i32::from(fy == 3)), size, &mut two);
            } else if fy == 2 {
                source.both(at(0, 0), size, &mut one);
                source.down(at(i32::from(fx == 3), 0), size, &mut two);
            } else {
                source.across(at(0, i32::from(fy == 3)), size, &mut one);
                source.down(at(i32::from(fx == 3), 0), size, &mut two);
            }
            for (one, two) in one.iter_mut().zip(two) {
                *one = mean(*one, two);
            }
        }
    }
    for row in 0..part.height {
        let to = (part.y + row) * 16 + part.x;
        out[to..to + part.width].copy_from_slice(&one[16 * row..][..part.width]);
    }
}

fn mean(a: u8, b: u8) -> u8 {
    (u16::from(a) + u16::from(b)).div_ceil(2) as u8
}

/// The picture before; blocks are put out in rows of 16.
struct Source<'a> {
    luma: &'a [u8],
    stride: usize,
}

fn six(v: [i32; 6]) -> i32 {
    v[0] + v[5] - 5 * (v[1] + v[4]) + 20 * (v[2] + v[3])
}

fn clip(value: i32) -> u8 {
    value.clamp(0, 255) as u8
}

impl Source<'_> {
    fn copy(&self, at: usize, (width, height): (usize, usize), out: &mut [u8; 256]) {
        for row in 0..height {
            out[16 * row..][..width].copy_from_slice(&self.luma[at + row * self.stride..][..width]);
        }
    }

    fn mean(&self, at: usize, (width, height): (usize, usize), out: &mut [u8; 256]) {
        for row in 0..height {
            let samples = &self.luma[at + row * self.stride..][..width];
            for (out, sample) in out[16 * row..][..width].iter_mut().zip(samples) {
                *out = mean(*out, *sample);
            }
        }
    }

    /// Half a sample to the right.
    fn across(&self, at: usize, (width, height): (usize, usize), out: &mut [u8; 256]) {
        for row in 0..height {
            let line = &self.luma[at + row * self.stride - 2..][..width + AROUND];
            let out = &mut out[16 * row..][..width];
            for (x, out) in out.iter_mut().enumerate() {
                let v = std::array::from_fn(|i| i32::from(line[x + i]));
                *out = clip((six(v) + 16) >> 5);
            }
        }
    }

    /// Half a sample down.
    fn down(&self, at: usize, (width, height): (usize, usize), out: &mut [u8; 256]) {
        for row in 0..height {
            let lines: [&[u8]; 6] = std::array::from_fn(|i| {
                &self.luma[at + (row + i) * self.stride - 2 * self.stride..][..width]
            });
            let out = &mut out[16 * row..][..width];
            for (x, out) in out.iter_mut().enumerate() {
                let v = std::array::from_fn(|i| i32::from(lines[i][x]));
                *out = clip((six(v) + 16) >> 5);
            }
        }
    }

    /// Half a sample to the right and down.
    fn both(&self, at: usize, (width, height): (usize, usize), out: &mut [u8; 256]) {
        let mut sums = [[0_i32; SIDE_MAX]; SIDE_MAX + AROUND];
        for (row, sums) in sums[..height + AROUND].iter_mut().enumerate() {
            let line = &self.luma[at + row * self.stride - 2 * self.stride - 2..][..width + AROUND];
            for (x, sum) in sums[..width].iter_mut().enumerate() {
                *sum = six(std::array::from_fn(|i| i32::from(line[x + i])));
            }
        }
        for row in 0..height {
            let out = &mut out[16 * row..][..width];
            for (x, out) in out.iter_mut().enumerate() {
                let v = std::array::from_fn(|i| sums[row + i][x]);
                *out = clip((six(v) + 512) >> 10);
            }
        }
    }
}

fn predict_chroma(
    planes: &Planes,
    (x, y): (usize, usize),
    part: Part,
    vector: Vector,
    out: &mut [[u8; 64]; 2],
) {
    let stride = planes.width / 2;
    let from_x = (x / 2 + part.x / 2) as i32 + i32::from(vector.x >> 3);
    let from_y = (y / 2 + part.y / 2) as i32 + i32::from(vector.y >> 3);
    let at = from_y as usize * stride + from_x as usize;
    let (fx, fy) = (
        u32::from((vector.x & 7) as u16),
        u32::from((vector.y & 7) as u16),
    );
    let (width, height) = (part.width / 2, part.height / 2);
    for (plane, out) in planes.chroma.iter().zip(out) {
        for row in 0..height {
            let out = &mut out[(part.y / 2 + row) * 8 + part.x / 2..][..width];
            let upper = &plane[at + row * stride..];
            if fx == 0 && fy == 0 {
                out.copy_from_slice(&upper[..width]);
                continue;
            }
            // A sample without weight may lie outside the planes.
            let (right, down) = (usize::from(fx != 0), stride * usize::from(fy != 0));
            let lower = &upper[down..];
            for (x, out) in out.iter_mut().enumerate() {
                let sum = (8 - fx) * (8 - fy) * u32::from(upper[x])
                    + fx * (8 - fy) * u32::from(upper[x + right])
                    + (8 - fx) * fy * u32::from(lower[x])
                    + fx * fy * u32::from(lower[x + right]);
                *out = ((sum + 32) >> 6) as u8;
            }
        }
    }
}

/// Sum of absolute differences of a block of `part` against whole samples of the picture before.
#[inline]
pub(super) fn sad_at(source: &[u8; 256], part: Part, luma: &[u8], stride: usize, at: usize) -> u32 {
    if part == Part::WHOLE {
        let mut sum = 0;
        for (row, source) in source.as_chunks::<16>().0.iter().enumerate() {
            let there: &[u8; 16] = luma[at + row * stride..]
                .first_chunk()
                .expect("inside the planes");
            sum += sad16(source, there);
        }
        return sum;
    }
    (0..part.height)
        .map(|row| {
            let source = &source[(part.y + row) * 16 + part.x..][..part.width];
            let there = &luma[at + row * stride..][..part.width];
            let pairs = source.iter().zip(there);
            pairs.map(|(a, b)| u32::from(a.abs_diff(*b))).sum::<u32>()
        })
        .sum()
}

#[inline]
fn sad16(a: &[u8; 16], b: &[u8; 16]) -> u32 {
    let mut sum = 0;
    for at in 0..16 {
        sum += u32::from(a[at].abs_diff(b[at]));
    }
    sum
}

/// Sum of absolute differences.
#[inline]
pub(super) fn sad(a: &[u8; 256], b: &[u8; 256]) -> u32 {
    let rows = a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0);
    rows.map(|(a, b)| sad16(a, b)).sum()
}
