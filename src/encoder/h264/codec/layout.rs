//! Which macroblocks are encoded, in which slices, and where their samples lie.

use std::ops::Range;

use crate::frame::Size;

/// No such macroblock.
pub(in crate::encoder::h264) const NONE: u32 = u32::MAX;

/// Samples of one macroblock: 16x16 of luma, 8x8 of each chroma.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::encoder::h264) struct Pixels {
    pub(in crate::encoder::h264) luma: [u8; 256],
    pub(in crate::encoder::h264) chroma: [[u8; 64]; 2],
}

impl Pixels {
    /// Bytes of a macroblock's samples.
    pub(in crate::encoder::h264) const BYTES: usize = 384;

    pub(in crate::encoder::h264) const ZERO: Self = Self {
        luma: [0; 256],
        chroma: [[0; 64]; 2],
    };

    /// Luma, then both of chroma, row by row.
    pub(in crate::encoder::h264) fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let mut pixels = Self::ZERO;
        let (luma, chroma) = bytes.split_at(pixels.luma.len());
        pixels.luma.copy_from_slice(luma);
        pixels.chroma.as_flattened_mut().copy_from_slice(chroma);
        pixels
    }
}

/// A rectangle of macroblocks, half open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::encoder::h264) struct MbRect {
    pub(in crate::encoder::h264) x0: u32,
    pub(in crate::encoder::h264) y0: u32,
    pub(in crate::encoder::h264) x1: u32,
    pub(in crate::encoder::h264) y1: u32,
}

impl MbRect {
    pub(in crate::encoder::h264) fn width(self) -> u32 {
        self.x1 - self.x0
    }

    pub(in crate::encoder::h264) fn height(self) -> u32 {
        self.y1 - self.y0
    }

    /// The smallest rectangle around both.
    pub(in crate::encoder::h264) fn union(self, other: Self) -> Self {
        Self {
            x0: self.x0.min(other.x0),
            y0: self.y0.min(other.y0),
            x1: self.x1.max(other.x1),
            y1: self.y1.max(other.y1),
        }
    }
}

/// A picture's sides in macroblocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::encoder::h264) struct MbSize {
    pub(in crate::encoder::h264) width: u32,
    pub(in crate::encoder::h264) height: u32,
}

impl MbSize {
    /// The macroblocks that hold a picture.
    pub(in crate::encoder::h264) fn of(size: Size) -> Self {
        Self {
            width: size.width.div_ceil(16),
            height: size.height.div_ceil(16),
        }
    }

    pub(in crate::encoder::h264) fn count(self) -> u32 {
        self.width * self.height
    }
}

/// One macroblock to encode.
#[derive(Clone, Copy, Debug)]
pub(in crate::encoder::h264) struct Place {
    /// Its number in the picture.
    pub(in crate::encoder::h264) address: u32,
    /// Its corner in the planes, in luma samples.
    pub(super) x: u32,
    pub(super) y: u32,
    /// The places left, above, above right and above left of it if they are in the same slice, else [`NONE`].
    pub(super) left: u32,
    pub(super) above: u32,
    pub(super) above_right: u32,
    pub(super) above_left: u32,
    /// Whether it may be predicted from elsewhere than from where it is.
    pub(super) moves: bool,
}

/// All macroblocks that one encoder encodes, slice by slice.
#[derive(Clone, Debug)]
pub(in crate::encoder::h264) struct Layout {
    /// Sides of the planes in luma samples; whole macroblocks.
    pub(in crate::encoder::h264) width: usize,
    pub(in crate::encoder::h264) height: usize,
    /// In the order in which they are sent.
    pub(in crate::encoder::h264) places: Vec<Place>,
    pub(in crate::encoder::h264) slices: Vec<Range<usize>>,
    /// What vectors may point into: of the planes' macroblocks, row by row.
    reachable: Vec<bool>,
}

/// Runs of macroblock addresses: one a slice.
pub(in crate::encoder::h264) type Runs = Vec<Range<u32>>;

impl Layout {
    /// The whole picture but for what `live` runs hold, in slices of `runs`: planes are the whole picture.
    pub(in crate::encoder::h264) fn around(size: MbSize, runs: &Runs) -> Self {
        let at = |address: u32| Some((address % size.width, address / size.width, true));
        Self::build(size, size, runs, &at)
    }

    /// The whole picture in one slice.
    pub(in crate::encoder::h264) fn whole(size: MbSize) -> Self {
        Self::around(size, &std::iter::once(0..size.count()).collect())
    }

    /// The slices `runs` of a hole. Its planes are the hole, and rows below it for the macroblocks that `runs` hold
    /// beside it; those are predicted from their own place alone.
    pub(in crate::encoder::h264) fn inside(size: MbSize, hole: MbRect, runs: &Runs) -> Self {
        let inside = |address: u32| {
            let (x, y) = (address % size.width, address / size.width);
            (x >= hole.x0 && x < hole.x1 && y >= hole.y0 && y < hole.y1)
                .then(|| (x - hole.x0, y - hole.y0))
        };
        let beside: Vec<u32> = runs
            .iter()
            .flat_map(Clone::clone)
            .filter(|&address| inside(address).is_none())
            .collect();
        let width = hole.width();
        let planes = MbSize {
            width,
            height: hole.height() + (beside.len() as u32).div_ceil(width),
        };
        let at = |address: u32| {
            if let Some((x, y)) = inside(address) {
                return Some((x, y, true));
            }
            let index = beside.binary_search(&address).ok()? as u32;
            Some((index % width, hole.height() + index / width, false))
        };
        Self::build(size, planes, runs, &at)
    }

    /// The macroblocks of each slice, by their number in the picture.
    pub(in crate::encoder::h264) fn runs(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        self.slices.iter().map(|slice| {
            let places = &self.places[slice.clone()];
            places[0].address..places[places.len() - 1].address + 1
        })
    }

    fn build(
        size: MbSize,
        planes: MbSize,
        runs: &Runs,
        at: &dyn Fn(u32) -> Option<(u32, u32, bool)>,
    ) -> Self {
        let mut layout = Self {
            width: 16 * planes.width as usize,
            height: 16 * planes.height as usize,
            places: Vec::new(),
            slices: Vec::new(),
            reachable: vec![false; planes.count() as usize],
        };
        for run in runs {
            let first = layout.places.len();
            for address in run.clone() {
                let (x, y, moves) = at(address).expect("every macroblock of a run has a place");
                layout.reachable[(y * planes.width + x) as usize] = moves;
                let column = address % size.width;
                let index = |there: Option<u32>| match there {
                    Some(there) if there >= run.start => first as u32 + there - run.start,
                    _ => NONE,
                };
                let above = address.checked_sub(size.width);
                let beside = |step: i64, exists: bool| {
                    above
                        .filter(|_| exists)
                        .map(|above| (i64::from(above) + step) as u32)
                };
                layout.places.push(Place {
                    address,
                    x: 16 * x,
                    y: 16 * y,
                    left: index(address.checked_sub(1).filter(|_| column > 0)),
                    above: index(above),
                    above_right: index(beside(1, column + 1 < size.width)),
                    above_left: index(beside(-1, column > 0)),
                    moves,
                });
            }
            layout.slices.push(first..layout.places.len());
        }
        layout
    }

    /// Whether a block of `side` samples at (`x`, `y`) of the planes may be predicted with a vector in quarter
    /// samples: whether all samples that this reads are encoded here.
    pub(super) fn allows(&self, (x, y): (i32, i32), side: (i32, i32), vector: Vector) -> bool {
        let (x0, x1) = reach(x, side.0, i32::from(vector.x));
        let (y0, y1) = reach(y, side.1, i32::from(vector.y));
        if x0 < 0 || y0 < 0 || x1 > self.width as i32 || y1 > self.height as i32 {
            return false;
        }
        let columns = self.width / 16;
        let (x0, x1) = (x0 as usize / 16, (x1 as usize).div_ceil(16));
        let (y0, y1) = (y0 as usize / 16, (y1 as usize).div_ceil(16));
        (y0..y1).all(|row| {
            self.reachable[row * columns + x0..row * columns + x1]
                .iter()
                .all(|&r| r)
        })
    }

    /// Where a macroblock's samples begin in planes of luma and of chroma.
    pub(in crate::encoder::h264) fn corner(&self, place: &Place) -> (usize, usize) {
        let (x, y) = (place.x as usize, place.y as usize);
        (y * self.width + x, y / 2 * (self.width / 2) + x / 2)
    }
}

/// The samples read along one axis: luma's filter takes two before and three behind where the vector has a fraction,
/// and chroma, at half the size, one more behind where it has one there.
fn reach(at: i32, side: i32, vector: i32) -> (i32, i32) {
    let from = at + (vector >> 2);
    if vector & 3 != 0 {
        (from - 2, from + side + 3)
    } else if vector & 7 != 0 {
        // Of chroma, (from - 1) / 2 to (from + side + 1) / 2.
        (from - 1, from + side + 1)
    } else {
        (from, from + side)
    }
}

/// A motion vector in quarter samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::encoder::h264) struct Vector {
    pub(super) x: i16,
    pub(super) y: i16,
}

impl Vector {
    pub(super) const ZERO: Self = Self { x: 0, y: 0 };
}

/// A picture, or a part of one, in planes of whole macroblocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::encoder::h264) struct Planes {
    pub(in crate::encoder::h264) width: usize,
    pub(in crate::encoder::h264) luma: Vec<u8>,
    pub(in crate::encoder::h264) chroma: [Vec<u8>; 2],
}

impl Planes {
    pub(in crate::encoder::h264) fn new(width: usize, height: usize) -> Self {
        let chroma = vec![0; width * height / 4];
        Self {
            width,
            luma: vec![0; width * height],
            chroma: [chroma.clone(), chroma],
        }
    }

    /// Gives the planes other sides. What is in them then is of no use.
    pub(super) fn resize(&mut self, width: usize, height: usize) {
        self.width = width;
        self.luma.resize(width * height, 0);
        for chroma in &mut self.chroma {
            chroma.resize(width * height / 4, 0);
        }
    }

    /// The samples of the macroblock at the given corners, see [`Layout::corner`].
    pub(in crate::encoder::h264) fn read(&self, (luma, chroma): (usize, usize), out: &mut Pixels) {
        copy_out(&self.luma[luma..], self.width, 16, &mut out.luma);
        for (plane, out) in self.chroma.iter().zip(&mut out.chroma) {
            copy_out(&plane[chroma..], self.width / 2, 8, out);
        }
    }

    /// The samples of the macroblock in a column and a row.
    pub(in crate::encoder::h264) fn read_at(&self, column: u32, row: u32, out: &mut Pixels) {
        let (x, y) = (column as usize, row as usize);
        let chroma = 8 * y * (self.width / 2) + 8 * x;
        self.read((16 * y * self.width + 16 * x, chroma), out);
    }

    pub(super) fn write(&mut self, (luma, chroma): (usize, usize), pixels: &Pixels) {
        copy_in(&pixels.luma, &mut self.luma[luma..], self.width, 16);
        for (plane, pixels) in self.chroma.iter_mut().zip(&pixels.chroma) {
            copy_in(pixels, &mut plane[chroma..], self.width / 2, 8);
        }
    }
}

fn copy_out(plane: &[u8], stride: usize, side: usize, out: &mut [u8]) {
    for (row, out) in plane.chunks(stride).zip(out.chunks_exact_mut(side)) {
        out.copy_from_slice(&row[..side]);
    }
}

fn copy_in(pixels: &[u8], plane: &mut [u8], stride: usize, side: usize) {
    for (row, pixels) in plane.chunks_mut(stride).zip(pixels.chunks_exact(side)) {
        row[..side].copy_from_slice(pixels);
    }
}
