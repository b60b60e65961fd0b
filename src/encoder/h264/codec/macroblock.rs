//! One macroblock: what later ones need to know of it, motion vector prediction, and its syntax (H.264, 7.3.5).

use super::entropy::bits::BitWriter;
use super::entropy::cavlc::{Context, put_block};
use super::entropy::{PATTERN_INTER, PATTERN_INTRA};
use super::inter::Part;
use super::intra::predict::{MEAN_4X4, Mode};
use super::layout::{NONE, Place, Vector};
use super::transform::{Block, ZIGZAG};

/// How a macroblock is predicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Skip,
    Inter,
    Intra16,
    Intra4,
}

/// What is remembered of a macroblock. Blocks of 4x4 samples are counted by rows.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::encoder::h264) struct MbInfo {
    pub(super) kind: Kind,
    /// Whether any of `counts` is not zero.
    pub(super) has_counts: bool,
    /// Of the four quarters, by rows.
    pub(super) vectors: [Vector; 4],
    /// Coefficients of each block of luma.
    pub(super) counts: [u8; 16],
    pub(super) chroma_counts: [[u8; 4]; 2],
    /// Modes of 4x4 blocks.
    pub(super) modes: [u8; 16],
}

impl MbInfo {
    pub(super) fn is_intra(&self) -> bool {
        matches!(self.kind, Kind::Intra16 | Kind::Intra4)
    }

    /// Whether the filter has anything to do inside.
    pub(super) fn has_inner_edges(&self) -> bool {
        self.is_intra() || self.has_counts || self.vectors != [self.vectors[0]; 4]
    }
}

/// How a macroblock is cut for motion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Whole,
    /// An upper and a lower half.
    Rows,
    /// A left and a right half.
    Columns,
    Quarters,
}

impl Shape {
    pub(super) fn parts(self) -> &'static [Part] {
        const fn part(x: usize, y: usize, width: usize, height: usize) -> Part {
            Part {
                x,
                y,
                width,
                height,
            }
        }
        const ROWS: [Part; 2] = [part(0, 0, 16, 8), part(0, 8, 16, 8)];
        const COLUMNS: [Part; 2] = [part(0, 0, 8, 16), part(8, 0, 8, 16)];
        const QUARTERS: [Part; 4] = [
            part(0, 0, 8, 8),
            part(8, 0, 8, 8),
            part(0, 8, 8, 8),
            part(8, 8, 8, 8),
        ];
        match self {
            Self::Whole => &[Part::WHOLE],
            Self::Rows => &ROWS,
            Self::Columns => &COLUMNS,
            Self::Quarters => &QUARTERS,
        }
    }

    fn number(self) -> u32 {
        match self {
            Self::Whole => 0,
            Self::Rows => 1,
            Self::Columns => 2,
            Self::Quarters => 3,
        }
    }
}

/// What is known of the motion beside a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Near {
    Missing,
    Intra,
    Moves(Vector),
}

impl Near {
    fn vector(self) -> Vector {
        match self {
            Self::Moves(vector) => vector,
            Self::Missing | Self::Intra => Vector::ZERO,
        }
    }
}

/// A macroblock among its neighbours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site<'a> {
    pub(super) place: &'a Place,
    pub(super) infos: &'a [MbInfo],
}

impl Site<'_> {
    fn info(&self, index: u32) -> Option<&MbInfo> {
        (index != NONE).then(|| &self.infos[index as usize])
    }

    /// Motion at a quarter counted from this macroblock's first one; `own` are its vectors as far as they are known.
    fn near(&self, own: &[Vector; 4], x: i32, y: i32) -> Near {
        let there = match (x, y) {
            (..0, ..0) => self.place.above_left,
            (2.., ..0) => self.place.above_right,
            (_, ..0) => self.place.above,
            (..0, _) => self.place.left,
            (2.., _) => NONE,
            _ => return Near::Moves(own[(2 * y + x) as usize]),
        };
        match self.info(there) {
            None => Near::Missing,
            Some(info) if info.is_intra() => Near::Intra,
            Some(info) => Near::Moves(info.vectors[(2 * (y & 1) + (x & 1)) as usize]),
        }
    }

    /// The vector that is inferred for `part` (8.4.1.3).
    pub(super) fn predicted(&self, own: &[Vector; 4], shape: Shape, part: Part) -> Vector {
        let (x, y) = (part.x as i32 / 8, part.y as i32 / 8);
        let left = self.near(own, x - 1, y);
        let above = self.near(own, x, y - 1);
        let beyond = match (shape, x, y) {
            // The last quarter's comes later.
            (Shape::Quarters, 1, 1) => Near::Missing,
            _ => self.near(own, x + part.width as i32 / 8, y - 1),
        };
        let beyond = match beyond {
            Near::Missing => self.near(own, x - 1, y - 1),
            there => there,
        };
        match (shape, x, y) {
            (Shape::Rows, _, 0) if let Near::Moves(vector) = above => return vector,
            (Shape::Rows, _, 1) | (Shape::Columns, 0, _) if let Near::Moves(vector) = left => {
                return vector;
            }
            (Shape::Columns, 1, _) if let Near::Moves(vector) = beyond => return vector,
            _ => {}
        }
        if above == Near::Missing && beyond == Near::Missing {
            return left.vector();
        }
        let all = [left, above, beyond];
        let mut moving = all.iter().filter(|near| matches!(near, Near::Moves(_)));
        if let (Some(only), None) = (moving.next(), moving.next()) {
            return only.vector();
        }
        let [a, b, c] = all.map(Near::vector);
        Vector {
            x: median(a.x, b.x, c.x),
            y: median(a.y, b.y, c.y),
        }
    }

    /// The vector of a skipped macroblock (8.4.1.1).
    pub(super) fn skipped(&self) -> Vector {
        let own = [Vector::ZERO; 4];
        let still = |near: Near| matches!(near, Near::Missing | Near::Moves(Vector::ZERO));
        if still(self.near(&own, -1, 0)) || still(self.near(&own, 0, -1)) {
            return Vector::ZERO;
        }
        self.predicted(&own, Shape::Whole, Part::WHOLE)
    }

    /// The mode inferred for a 4x4 block (8.3.1.1); `own` are this macroblock's modes as far as they are known.
    pub(super) fn predicted_mode(&self, own: &[u8; 16], x: usize, y: usize) -> u8 {
        let mode = |there: u32, at: usize| {
            self.info(there).map(|info| match info.kind {
                Kind::Intra4 => info.modes[at],
                _ => MEAN_4X4,
            })
        };
        let left = match x {
            0 => mode(self.place.left, 4 * y + 3),
            _ => Some(own[4 * y + x - 1]),
        };
        let above = match y {
            0 => mode(self.place.above, 12 + x),
            _ => Some(own[4 * (y - 1) + x]),
        };
        match (left, above) {
            (Some(left), Some(above)) => left.min(above),
            _ => MEAN_4X4,
        }
    }

    /// What decides the table of a luma block.
    fn luma_context(&self, own: &[u8; 16], x: usize, y: usize) -> Context {
        let left = match x {
            0 => self
                .info(self.place.left)
                .map(|info| info.counts[4 * y + 3]),
            _ => Some(own[4 * y + x - 1]),
        };
        let above = match y {
            0 => self.info(self.place.above).map(|info| info.counts[12 + x]),
            _ => Some(own[4 * (y - 1) + x]),
        };
        context(left, above)
    }

    fn chroma_context(&self, own: [u8; 4], plane: usize, x: usize, y: usize) -> Context {
        let left = match x {
            0 => self
                .info(self.place.left)
                .map(|info| info.chroma_counts[plane][2 * y + 1]),
            _ => Some(own[2 * y]),
        };
        let above = match y {
            0 => self
                .info(self.place.above)
                .map(|info| info.chroma_counts[plane][2 + x]),
            _ => Some(own[x]),
        };
        context(left, above)
    }
}

fn context(left: Option<u8>, above: Option<u8>) -> Context {
    Context::Neighbours(match (left, above) {
        (Some(left), Some(above)) => (left + above).div_ceil(2),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => 0,
    })
}

fn median(a: i16, b: i16, c: i16) -> i16 {
    a.max(b).min(a.min(b).max(c))
}

/// The 4x4 blocks of a macroblock as (column, row), in the order in which they are sent.
pub(super) const ORDER: [(usize, usize); 16] = [
    (0, 0),
    (1, 0),
    (0, 1),
    (1, 1),
    (2, 0),
    (3, 0),
    (2, 1),
    (3, 1),
    (0, 2),
    (1, 2),
    (0, 3),
    (1, 3),
    (2, 2),
    (3, 2),
    (2, 3),
    (3, 3),
];

/// The levels of a macroblock. Blocks are counted by rows.
#[derive(Clone, Debug)]
pub(super) struct Levels {
    pub(super) luma: [Block; 16],
    /// A bit for each block of `luma` with a level other than zero.
    pub(super) luma_coded: u16,
    /// Of 16x16 blocks, by rows.
    pub(super) luma_dc: [i32; 16],
    pub(super) chroma_dc: [[i32; 4]; 2],
    pub(super) chroma: [[Block; 4]; 2],
    pub(super) chroma_coded: [u8; 2],
    pub(super) chroma_dc_coded: [bool; 2],
}

impl Levels {
    pub(super) const ZERO: Self = Self {
        luma: [[0; 16]; 16],
        luma_coded: 0,
        luma_dc: [0; 16],
        chroma_dc: [[0; 4]; 2],
        chroma: [[[0; 16]; 4]; 2],
        chroma_coded: [0; 2],
        chroma_dc_coded: [false; 2],
    };

    /// Which quarters of luma have levels, by rows.
    pub(super) fn luma_pattern(&self) -> u32 {
        let bits = u32::from(self.luma_coded);
        [0x0033, 0x00cc, 0x3300, 0xcc00]
            .iter()
            .enumerate()
            .map(|(at, mask)| u32::from(bits & mask != 0) << at)
            .sum()
    }

    /// 0 for no level of chroma, 1 for DC alone, 2 for others.
    pub(super) fn chroma_pattern(&self) -> u32 {
        if self.chroma_coded == [0; 2] {
            u32::from(self.chroma_dc_coded != [false; 2])
        } else {
            2
        }
    }
}

/// How a macroblock that is not skipped is sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Choice {
    Inter { shape: Shape, vectors: [Vector; 4] },
    Intra16 { mode: Mode, chroma: Mode },
    Intra4 { modes: [u8; 16], chroma: Mode },
}

/// Writes a macroblock and gives what is remembered of it. `is_p`: the slice's types count from those of P slices.
pub(super) fn put_macroblock(
    bits: &mut BitWriter,
    site: &Site<'_>,
    choice: &Choice,
    levels: &Levels,
    is_p: bool,
) -> MbInfo {
    let (luma, chroma) = (levels.luma_pattern(), levels.chroma_pattern());
    let pattern = luma | chroma << 4;
    let first_intra = if is_p { 5 } else { 0 };
    let mut info = MbInfo::default();
    match choice {
        Choice::Inter { shape, vectors } => {
            info.kind = Kind::Inter;
            info.vectors = *vectors;
            bits.put_ue(shape.number());
            if *shape == Shape::Quarters {
                // Four times a quarter that is not cut again.
                bits.put(4, 0b1111);
            }
            for part in shape.parts() {
                let vector = vectors[part.quarter()];
                let predicted = site.predicted(vectors, *shape, *part);
                bits.put_se(i32::from(vector.x - predicted.x));
                bits.put_se(i32::from(vector.y - predicted.y));
            }
            bits.put_ue(u32::from(PATTERN_INTER[pattern as usize]));
        }
        Choice::Intra16 {
            mode,
            chroma: chroma_mode,
        } => {
            info.kind = Kind::Intra16;
            let number = 1 + mode.luma_number() + 4 * chroma + 12 * u32::from(luma != 0);
            bits.put_ue(first_intra + number);
            bits.put_ue(chroma_mode.chroma_number());
        }
        Choice::Intra4 {
            modes,
            chroma: chroma_mode,
        } => {
            info.kind = Kind::Intra4;
            info.modes = *modes;
            bits.put_ue(first_intra);
            for (x, y) in ORDER {
                put_mode(bits, modes[4 * y + x], site.predicted_mode(modes, x, y));
            }
            bits.put_ue(chroma_mode.chroma_number());
            bits.put_ue(u32::from(PATTERN_INTRA[pattern as usize]));
        }
    }
    let is_16 = info.kind == Kind::Intra16;
    if pattern != 0 || is_16 {
        // The quantiser stays.
        bits.put_se(0);
        put_residual(bits, site, levels, is_16, &mut info);
    }
    info
}

fn put_mode(bits: &mut BitWriter, mode: u8, predicted: u8) {
    if mode == predicted {
        bits.put(1, 1);
    } else {
        // One bit 0, then which of the others.
        bits.put(4, u32::from(mode - u8::from(mode > predicted)));
    }
}

fn put_residual(
    bits: &mut BitWriter,
    site: &Site<'_>,
    levels: &Levels,
    is_16: bool,
    info: &mut MbInfo,
) {
    let (luma, chroma) = (levels.luma_pattern(), levels.chroma_pattern());
    if is_16 {
        let dc = scan(&levels.luma_dc.map(|level| level as i16));
        put_block(bits, &dc, site.luma_context(&info.counts, 0, 0));
    }
    for (at, (x, y)) in ORDER.into_iter().enumerate() {
        // A 16x16 block's patterns are all or nothing.
        let is_sent = if is_16 {
            luma != 0
        } else {
            luma >> (at / 4) & 1 != 0
        };
        if !is_sent {
            continue;
        }
        let context = site.luma_context(&info.counts, x, y);
        let block = 4 * y + x;
        if levels.luma_coded >> block & 1 == 0 {
            put_block(bits, &[0; 16][usize::from(is_16)..], context);
            continue;
        }
        let scanned = scan(&levels.luma[block]);
        info.counts[block] = put_block(bits, &scanned[usize::from(is_16)..], context);
        info.has_counts = true;
    }
    if chroma == 0 {
        return;
    }
    for dc in &levels.chroma_dc {
        put_block(bits, &dc.map(|level| level as i16), Context::ChromaDc);
    }
    if chroma == 1 {
        return;
    }
    for (plane, blocks) in levels.chroma.iter().enumerate() {
        for (at, block) in blocks.iter().enumerate() {
            let context = site.chroma_context(info.chroma_counts[plane], plane, at % 2, at / 2);
            let count = put_block(bits, &scan(block)[1..], context);
            info.chroma_counts[plane][at] = count;
        }
    }
}

#[inline]
fn scan(block: &Block) -> Block {
    ZIGZAG.map(|at| block[at])
}
