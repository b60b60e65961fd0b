//! The rows and columns of a frame that a changed rectangle touches, and their walk row by row.

use super::filter::{FILTERS, Filter, PIXEL, filter};
use crate::frame::{Frame, Rect, Size};

/// A frame's size and the rectangle in it that changes, as the PNG stream sees them.
///
/// A residual depends on a pixel and its neighbours to the left, above and above left, whatever the filter. So the
/// residuals that change are those of the rectangle and of one more column and row; they are the holes in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Band {
    size: Size,
    rect: Rect,
}

impl Band {
    /// `None` if the rectangle does not lie inside.
    pub(super) fn new(size: Size, rect: Rect) -> Option<Self> {
        rect.fits(size).then_some(Self { size, rect })
    }

    pub(super) fn size(self) -> Size {
        self.size
    }

    pub(super) fn rect(self) -> Rect {
        self.rect
    }

    /// Bytes of one row in the stream: the filter's number, then the residuals.
    pub(super) fn row_bytes(self) -> usize {
        1 + PIXEL * self.size.width as usize
    }

    /// Bytes of the whole stream.
    pub(super) fn stream_bytes(self) -> u64 {
        self.row_bytes() as u64 * u64::from(self.size.height)
    }

    /// First row of the band.
    pub(super) fn top(self) -> usize {
        self.rect.y1() as usize
    }

    /// One past the last row of the band.
    pub(super) fn bottom(self) -> usize {
        self.size.height.min(self.rect.y2() + 1) as usize
    }

    /// Rows of the band.
    pub(super) fn rows(self) -> usize {
        self.bottom() - self.top()
    }

    /// Whether a column right of the rectangle belongs to the holes.
    pub(super) fn has_right(self) -> bool {
        self.rect.x2() < self.size.width
    }

    /// Whether a row below the rectangle belongs to the band.
    pub(super) fn has_below(self) -> bool {
        self.rect.y2() < self.size.height
    }

    /// Where a hole begins in its row of the stream.
    pub(super) fn hole_start(self) -> usize {
        1 + PIXEL * self.rect.x1() as usize
    }

    /// Bytes of a hole.
    pub(super) fn hole_bytes(self) -> usize {
        PIXEL * (self.rect.size().width as usize + usize::from(self.has_right()))
    }

    /// Bytes of the stream after the hole of band row `k`.
    pub(super) fn after_hole(self, k: usize) -> u64 {
        let end = (self.top() + k) as u64 * self.row_bytes() as u64;
        self.stream_bytes() - end - (self.hole_start() + self.hole_bytes()) as u64
    }
}

/// The pixels around the rectangle that its residuals depend on, and how each row of the band is filtered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings<'a> {
    /// The row above, from one pixel left of the rectangle to the end of the holes.
    pub(super) above: &'a [u8],
    /// The pixel left of the rectangle in every row of the band.
    pub(super) left: &'a [u8],
    /// The pixel right of every row of the rectangle, if there is one.
    pub(super) right: &'a [u8],
    /// The row below, as wide as the holes, if there is one.
    pub(super) below: &'a [u8],
    /// The filter of every row of the band.
    pub(super) filters: &'a [u8],
}

/// Lengths of the parts of [`Surroundings`], in its order.
pub(super) fn surroundings_lengths(band: Band) -> [usize; 5] {
    let (rows, height) = (band.rows(), band.rect.size().height as usize);
    [
        PIXEL + band.hole_bytes(),
        PIXEL * rows,
        if band.has_right() { PIXEL * height } else { 0 },
        if band.has_below() {
            band.hole_bytes()
        } else {
            0
        },
        rows,
    ]
}

/// Cuts the first four parts of [`Surroundings`] out of a frame, one after another. Outside the frame is black, as
/// PNG has it.
pub(super) fn cut_surroundings(band: Band, frame: &Frame) -> [Vec<u8>; 4] {
    let (x, hole) = (PIXEL * band.rect.x1() as usize, band.hole_bytes());
    let left_of = |row: &[u8]| match x.checked_sub(PIXEL) {
        Some(start) => [row[start], row[start + 1], row[start + 2]],
        None => [0; PIXEL],
    };
    let above = match band.rect.y1().checked_sub(1) {
        Some(y) => [&left_of(frame.row(y))[..], &frame.row(y)[x..][..hole]].concat(),
        None => vec![0; PIXEL + hole],
    };
    let rows = band.top() as u32..band.bottom() as u32;
    let left = rows.flat_map(|y| left_of(frame.row(y))).collect();
    let (mut right, mut below) = (Vec::new(), Vec::new());
    if band.has_right() {
        let end = PIXEL * band.rect.x2() as usize;
        for y in band.rect.y1()..band.rect.y2() {
            right.extend_from_slice(&frame.row(y)[end..][..PIXEL]);
        }
    }
    if band.has_below() {
        below.extend_from_slice(&frame.row(band.rect.y2())[x..][..hole]);
    }
    [above, left, right, below]
}

/// Filters the holes with `patch` in the rectangle and gives each row's residuals to `each`, top to bottom.
///
/// # Panics
/// If a length is not what the band's geometry makes it, or a filter's number not one of the five.
pub(super) fn for_each_hole(
    band: Band,
    around: Surroundings<'_>,
    patch: &[u8],
    mut each: impl FnMut(usize, &[u8]),
) {
    let hole = band.hole_bytes();
    let width = PIXEL * band.rect.size().width as usize;
    assert_eq!(patch.len(), band.rect.size().rgb_bytes(), "patch size");
    assert_eq!(around.above.len(), PIXEL + hole);
    let mut above = around.above.to_vec();
    let mut line = vec![0; PIXEL + hole];
    let mut residuals = vec![0; hole];
    for k in 0..band.rows() {
        line[..PIXEL].copy_from_slice(&around.left[PIXEL * k..][..PIXEL]);
        match patch.get(width * k..width * (k + 1)) {
            Some(row) => {
                line[PIXEL..][..width].copy_from_slice(row);
                if band.has_right() {
                    line[PIXEL + width..].copy_from_slice(&around.right[PIXEL * k..][..PIXEL]);
                }
            }
            None => line[PIXEL..].copy_from_slice(around.below),
        }
        let kind: Filter = FILTERS[around.filters[k] as usize];
        filter(kind, &above, &line, &mut residuals);
        each(k, &residuals);
        std::mem::swap(&mut above, &mut line);
    }
}
