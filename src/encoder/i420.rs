//! Raw I420: the planes Y, U and V one after another, packed, BT.709 limited range as films have it.
//!
//! A background is converted once. A frame is a copy of its planes in which only the rectangle is converted anew,
//! extended to even sides with pixels of the background, because a sample of chroma stands for two by two pixels.

use bytes::Bytes;

use super::yuv::{PlanesMut, chroma_size, convert};
use crate::frame::pool::Pool;
use crate::frame::{Frame, Rect, Size};

/// Bytes of one I420 frame.
pub(super) fn frame_bytes(size: Size) -> usize {
    let chroma = chroma_size(size);
    area(size) + 2 * area(chroma)
}

/// A background's planes, and what replacing its rectangle needs.
#[derive(Debug)]
pub struct PreparedI420 {
    size: Size,
    rect: Rect,
    /// The rectangle extended to whole samples of chroma.
    region: Rect,
    /// The region's pixels in the background, RGB8.
    pixels: Vec<u8>,
    planes: Bytes,
}

impl PreparedI420 {
    /// Converts the background.
    ///
    /// # Panics
    /// If the rectangle does not lie inside.
    #[must_use]
    pub fn prepare(frame: &Frame, rect: Rect) -> Self {
        let size = frame.size();
        assert!(rect.fits(size), "rect {rect} outside a frame of {size}");
        let region = Rect::new(
            rect.x1() & !1,
            rect.y1() & !1,
            rect.x2().next_multiple_of(2).min(size.width),
            rect.y2().next_multiple_of(2).min(size.height),
        )
        .expect("no smaller than the rect");
        let mut planes = vec![0; frame_bytes(size)];
        let whole = Rect::new(0, 0, size.width, size.height).expect("the rect is not empty");
        convert(frame.data(), size, &mut part(&mut planes, size, whole));
        Self {
            size,
            rect,
            region,
            pixels: frame.cut(region).into_rgb(),
            planes: planes.into(),
        }
    }

    pub(super) fn size(&self) -> Size {
        self.size
    }

    pub(super) fn rect(&self) -> Rect {
        self.rect
    }

    /// The background as it is.
    pub(super) fn planes(&self) -> Bytes {
        self.planes.clone()
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        Self::memory_bytes_of(self.size, self.region.size())
    }

    /// Bytes of memory that a background of `size` with `rect` takes at most.
    #[must_use]
    pub fn memory_bytes_max(size: Size, rect: Rect) -> usize {
        let Size { width, height } = rect.size();
        let region = Size {
            width: width + 2,
            height: height + 2,
        };
        Self::memory_bytes_of(size, region)
    }

    fn memory_bytes_of(size: Size, region: Size) -> usize {
        frame_bytes(size) + region.rgb_bytes() + size_of::<Self>()
    }

    /// The frame with `patch`, the rectangle's pixels, in its place.
    pub(super) fn splice(&self, patch: &[u8], buffers: &Pool<Vec<u8>>) -> Bytes {
        let mut pixels = buffers.take();
        pixels.clear();
        pixels.extend_from_slice(&self.pixels);
        self.paste(patch, &mut pixels);
        let mut frame = buffers.take();
        frame.clear();
        frame.extend_from_slice(&self.planes);
        let region = &mut part(&mut frame, self.size, self.region);
        convert(&pixels, self.region.size(), region);
        Bytes::from_owner(frame)
    }

    /// Puts the rectangle's pixels among the region's.
    fn paste(&self, patch: &[u8], pixels: &mut [u8]) {
        let columns = 3 * self.rect.size().width as usize;
        let left = 3 * (self.rect.x1() - self.region.x1()) as usize;
        let top = (self.rect.y1() - self.region.y1()) as usize;
        let rows = pixels.chunks_exact_mut(3 * self.region.size().width as usize);
        for (row, patch) in rows.skip(top).zip(patch.chunks_exact(columns)) {
            row[left..left + columns].copy_from_slice(patch);
        }
    }
}

/// The part of a packed frame of `size` from the corner of `region` on, which must be even, as planes.
fn part(frame: &mut [u8], size: Size, region: Rect) -> PlanesMut<'_> {
    let (x, y) = (region.x1() as usize, region.y1() as usize);
    let chroma = chroma_size(size);
    let (luma_stride, chroma_stride) = (size.width as usize, chroma.width as usize);
    let (luma, colours) = frame.split_at_mut(area(size));
    let (cb, cr) = colours.split_at_mut(area(chroma));
    let corner = y / 2 * chroma_stride + x / 2;
    PlanesMut {
        y: &mut luma[y * luma_stride + x..],
        cb: &mut cb[corner..],
        cr: &mut cr[corner..],
        luma_stride,
        chroma_stride,
    }
}

fn area(size: Size) -> usize {
    size.width as usize * size.height as usize
}
