//! Baseline JPEG by the `jpeg-encoder` crate, most of each frame kept from the first.
//!
//! A restart marker resets the coder, so what lies between two of them depends on its own pixels alone. A background
//! is encoded once with a marker every few blocks; a frame encodes anew only the segments that its rectangle touches,
//! as a picture of their own, and puts them in place of the background's. The result is, byte for byte, what encoding
//! the whole frame with the same markers gives.

mod grid;

use std::ops::Range;

use bytes::Bytes;
use jpeg_encoder::{ColorType, Encoder};

use super::EncodeError;
use crate::frame::pool::Pool;
use crate::frame::{Frame, Rect, Size};

use grid::Grid;

const MARKER: u8 = 0xff;
/// The first of the eight restart markers, which take turns.
const RESTART: u8 = 0xd0;
const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: u8 = 0xd9;

/// A background's JPEG of one quality, and what replacing its rectangle needs.
#[derive(Clone, Debug)]
pub(super) struct PreparedJpeg {
    quality: u8,
    grid: Grid,
    /// The background's own file.
    file: Bytes,
    /// What lies in it before, between and after the region's segments of each row.
    gaps: Vec<Range<usize>>,
    /// The region's pixels in the background, RGB8.
    region: Vec<u8>,
}

impl PreparedJpeg {
    /// Encodes the background: as long as one whole frame takes.
    pub(super) fn new(frame: &Frame, rect: Rect, quality: u8) -> Result<Self, EncodeError> {
        if !(1..=100).contains(&quality) {
            return Err(EncodeError::JpegQuality(quality));
        }
        let grid = Grid::new(frame.size(), rect, quality);
        let mut file = Vec::new();
        encode(
            frame.data(),
            frame.size(),
            quality,
            grid.interval(),
            &mut file,
        )?;
        let segments = Segments::of(&file);
        let starts: Vec<usize> = segments.map(|segment| segment.start).collect();
        let mut gaps = Vec::new();
        let mut from = 0;
        for row in grid.segment_rows() {
            let range = grid.segments_of_row(row);
            // A gap ends before the marker in front of the next segment.
            let end = starts[range.start] - if range.start == 0 { 0 } else { 2 };
            gaps.push(from..end);
            from = starts
                .get(range.end)
                .map_or(file.len() - 2, |start| start - 2);
        }
        gaps.push(from..file.len());
        let region = grid.region();
        let (x, width) = (3 * region.x1() as usize, 3 * region.size().width as usize);
        let rows = (region.y1()..region.y2()).map(|y| &frame.row(y)[x..][..width]);
        Ok(Self {
            quality,
            region: rows.collect::<Vec<_>>().concat(),
            grid,
            gaps,
            file: file.into(),
        })
    }

    pub(super) fn quality(&self) -> u8 {
        self.quality
    }

    /// The background's own file: what [`splice`] makes of the background's own pixels.
    pub(super) fn file(&self) -> Bytes {
        self.file.clone()
    }

    /// Bytes of memory held.
    pub(super) fn memory_bytes(&self) -> usize {
        self.file.len() + self.region.len() + size_of_val(&*self.gaps) + size_of::<Self>()
    }
}

/// The frame's file: the background's with the region's segments encoded anew. Its first and last part are shared.
///
/// # Panics
/// If `patch` is not the rectangle's pixels.
pub(super) fn splice(
    prepared: &PreparedJpeg,
    patch: &[u8],
    buffers: &Pool<Vec<u8>>,
) -> Result<Vec<Bytes>, EncodeError> {
    let grid = &prepared.grid;
    let region = grid.region();
    let mut pixels = buffers.take();
    pixels.clear();
    pixels.extend_from_slice(&prepared.region);
    grid.paste(patch, &mut pixels);
    let mut fresh = buffers.take();
    fresh.clear();
    encode(
        &pixels,
        region.size(),
        prepared.quality,
        grid.interval(),
        &mut fresh,
    )?;

    // The pixels are not needed any more: their buffer takes the file's middle.
    let mut middle = pixels;
    middle.clear();
    let mut segments = Segments::of(&fresh);
    let (first, rest) = prepared.gaps.split_first().expect("one gap more than rows");
    for (row, gap) in grid.segment_rows().zip(rest) {
        for index in grid.segments_of_row(row) {
            if let Some(before) = index.checked_sub(1) {
                middle.extend_from_slice(&[MARKER, RESTART + (before % 8) as u8]);
            }
            middle.extend_from_slice(&fresh[segments.next().expect("a segment of the region")]);
        }
        if gap.end < prepared.file.len() {
            middle.extend_from_slice(&prepared.file[gap.clone()]);
        }
    }
    let last = rest.last().unwrap_or(first);
    Ok(vec![
        prepared.file.slice(first.clone()),
        Bytes::from_owner(middle),
        prepared.file.slice(last.clone()),
    ])
}

/// Encodes packed RGB8 pixels onto the end of `out`, with a restart marker every `interval` blocks.
fn encode(
    rgb: &[u8],
    size: Size,
    quality: u8,
    interval: u16,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let side = |pixels: u32| u16::try_from(pixels).map_err(|_| EncodeError::JpegSize(size));
    let (width, height) = (side(size.width)?, side(size.height)?);
    let mut encoder = Encoder::new(out, quality);
    encoder.set_sampling_factor(grid::sampling(quality));
    encoder.set_restart_interval(interval);
    encoder
        .encode(rgb, width, height, ColorType::Rgb)
        .map_err(EncodeError::Jpeg)
}

/// Walks the entropy-coded segments of a file, without their markers.
struct Segments<'a> {
    file: &'a [u8],
    /// Where the next segment begins; past the end when there is none.
    at: usize,
}

impl<'a> Segments<'a> {
    /// # Panics
    /// If `file` is not a JPEG; ours always are.
    fn of(file: &'a [u8]) -> Self {
        // After the two bytes of the start marker: marker, two bytes of length that count themselves, content.
        let mut at = 2;
        loop {
            let [MARKER, kind, high, low, ..] = file[at..] else {
                panic!("a marker at byte {at} of a JPEG")
            };
            at += 2 + usize::from(u16::from_be_bytes([high, low]));
            if kind == START_OF_SCAN {
                return Self { file, at };
            }
        }
    }
}

impl Iterator for Segments<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        let mut at = start;
        loop {
            at += self
                .file
                .get(at..)?
                .iter()
                .position(|&byte| byte == MARKER)?;
            // A zero follows every such byte of the data itself.
            match self.file.get(at + 1)? {
                0 => at += 2,
                &END_OF_IMAGE => {
                    self.at = self.file.len();
                    return Some(start..at);
                }
                _ => {
                    self.at = at + 2;
                    return Some(start..at);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encoder::tests::{naive_paste, picture};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn spliced_is_whole_byte_for_byte(
            (width, height) in (1_u32..300, 1_u32..120),
            (x1, y1, x2, y2) in (0_u32..300, 0_u32..120, 0_u32..300, 0_u32..120),
            quality in 1_u8..=100,
            seed in 0_u32..1000,
        ) {
            let size = Size { width, height };
            let (x1, y1) = (x1 % width, y1 % height);
            let rect = Rect::new(x1, y1, x1 + 1 + x2 % (width - x1), y1 + 1 + y2 % (height - y1)).unwrap();
            let frame = picture(size, seed);
            let patch = picture(rect.size(), seed + 1);
            let prepared = PreparedJpeg::new(&frame, rect, quality).unwrap();
            let painted = naive_paste(&frame, rect, patch.data());
            let buffers = Pool::new(4);
            let spliced = splice(&prepared, patch.data(), &buffers).unwrap().concat();
            let mut whole = Vec::new();
            encode(&painted, size, quality, prepared.grid.interval(), &mut whole).unwrap();
            prop_assert!(spliced == whole, "{rect} of {size}");
            // Markers do not change a pixel.
            let mut plain = Vec::new();
            encode(&painted, size, quality, 0, &mut plain).unwrap();
            prop_assert!(decode(&spliced) == decode(&plain));
        }
    }

    fn decode(file: &[u8]) -> Vec<u8> {
        let decoded = image::load_from_memory_with_format(file, image::ImageFormat::Jpeg);
        decoded.unwrap().into_rgb8().into_raw()
    }

    #[test]
    fn a_720p_frame_encodes_a_fraction() {
        let size = Size {
            width: 1280,
            height: 720,
        };
        let rect = Rect::new(549, 300, 731, 482).unwrap();
        let grid = Grid::new(size, rect, 80);
        let region = grid.region().size();
        assert!(
            region.width * region.height < size.width * size.height / 12,
            "{region}"
        );
    }
}
