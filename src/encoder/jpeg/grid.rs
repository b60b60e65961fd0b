//! Where restart markers go, and which segments between them a rectangle touches.

use std::ops::Range;

use jpeg_encoder::SamplingFactor;

use crate::frame::{Rect, Size};

/// A segment costs about five bytes: its marker, the padding before it, and colours that start anew. Segments of at
/// least so many units keep that to a few percent of a file.
const INTERVAL_MIN: u32 = 5;

/// How colour is stored: at half resolution both ways below quality 90, in full from there on.
pub(super) fn sampling(quality: u8) -> SamplingFactor {
    if quality < 90 {
        SamplingFactor::F_2_2
    } else {
        SamplingFactor::F_1_1
    }
}

/// A frame cut into segments: each a number of coding units of one row, and the same number in every row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    rect: Rect,
    /// Units of a segment.
    interval: u32,
    /// Segments of a row.
    per_row: u32,
    /// The segments that the rectangle touches: columns and rows of segments.
    touched: Rect,
    /// Their pixels.
    region: Rect,
}

impl Grid {
    /// The cut that has the least to encode for `rect`.
    ///
    /// # Panics
    /// If the rectangle does not lie inside.
    pub(super) fn new(size: Size, rect: Rect, quality: u8) -> Self {
        assert!(rect.fits(size), "rect {rect} outside a frame of {size}");
        let unit = match sampling(quality) {
            SamplingFactor::F_2_2 => 16,
            _ => 8,
        };
        let columns = size.width.div_ceil(unit);
        let cuts = (1..=columns).filter(|interval| columns.is_multiple_of(*interval));
        cuts.filter(|&interval| interval >= INTERVAL_MIN.min(columns))
            .map(|interval| Self::cut(size, rect, unit, interval))
            .min_by_key(|grid| (grid.region.size().width, grid.per_row))
            .expect("one segment a row is always possible")
    }

    fn cut(size: Size, rect: Rect, unit: u32, interval: u32) -> Self {
        let width = unit * interval;
        let touched = Rect::new(
            rect.x1() / width,
            rect.y1() / unit,
            rect.x2().div_ceil(width),
            rect.y2().div_ceil(unit),
        );
        let touched = touched.expect("a rectangle is never empty");
        let region = Rect::new(
            touched.x1() * width,
            touched.y1() * unit,
            (touched.x2() * width).min(size.width),
            (touched.y2() * unit).min(size.height),
        );
        Self {
            rect,
            interval,
            per_row: size.width.div_ceil(width),
            touched,
            region: region.expect("segments around a rectangle"),
        }
    }

    /// Coding units from one restart marker to the next.
    pub(super) fn interval(&self) -> u16 {
        // A JPEG is at most 65535 pixels wide; wider frames are refused before the markers matter.
        u16::try_from(self.interval).unwrap_or(u16::MAX)
    }

    /// The pixels of all touched segments.
    pub(super) fn region(&self) -> Rect {
        self.region
    }

    /// Rows of segments that are touched.
    pub(super) fn segment_rows(&self) -> Range<u32> {
        self.touched.y1()..self.touched.y2()
    }

    /// The touched segments of a row, by their place in the file.
    pub(super) fn segments_of_row(&self, row: u32) -> Range<usize> {
        let first = (row * self.per_row) as usize;
        first + self.touched.x1() as usize..first + self.touched.x2() as usize
    }

    /// Puts the rectangle's pixels where they belong in the region's.
    pub(super) fn paste(&self, patch: &[u8], region: &mut [u8]) {
        assert_eq!(patch.len(), self.rect.size().rgb_bytes(), "patch size");
        let left = 3 * (self.rect.x1() - self.region.x1()) as usize;
        let width = 3 * self.rect.size().width as usize;
        let top = (self.rect.y1() - self.region.y1()) as usize;
        let rows = region.chunks_exact_mut(3 * self.region.size().width as usize);
        for (row, patch) in rows.skip(top).zip(patch.chunks_exact(width)) {
            row[left..left + width].copy_from_slice(patch);
        }
    }
}
