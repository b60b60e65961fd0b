//! From a background and the pixels of its crop rectangle to the bytes of a finished frame.
//!
//! Outside the rectangle a decoded PNG or RGB frame is the background, bit for bit.
//!
//! A [`Background`] of pixels alone is encoded whole: correct, but milliseconds a frame. [`PreparedPng::prepare`] does
//! once, in tens of milliseconds, what all frames of a background share; with it ([`Background::with_prepared`]) a PNG
//! frame costs a fraction of a millisecond and the pixels are not needed any more ([`Background::from_prepared`]).
//! A JPEG background prepares itself with the first frame of a quality; for raw I420, [`PreparedI420`] holds its planes.
//! Prepared pieces are bytes ([`PreparedPng::as_bytes`], [`PreparedPng::from_bytes`]), so they can be kept on disk.

mod format;
pub mod h264;
mod i420;
mod jpeg;
mod png;
#[cfg(test)]
mod tests;
pub(crate) mod yuv;

pub use format::{Format, FormatName};
pub use i420::PreparedI420;
pub(crate) use png::encode_whole as encode_png;
pub use png::{Effort, PreparedError, PreparedPng};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::frame::pool::{Pool, Pooled};
use crate::frame::{Frame, Rect, Size};

use jpeg::PreparedJpeg;

/// Why a frame could not be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The pixels around the rectangle are needed and were not kept.
    #[error("the background's pixels are not in memory: load them to encode as anything but PNG")]
    NoPixels,
    /// Not a JPEG quality.
    #[error("JPEG quality {0} is out of range: use 1 to 100")]
    JpegQuality(u8),
    /// JPEG stores sides as 16-bit numbers.
    #[error("a frame of {0} is too large for JPEG: no side may exceed 65535 pixels")]
    JpegSize(Size),
    /// The JPEG library refused.
    #[error("JPEG encoding failed: {0}")]
    Jpeg(#[source] jpeg_encoder::EncodingError),
    /// The PNG library refused.
    #[error("PNG encoding failed: {0}")]
    Png(#[source] ::png::EncodingError),
}

/// What encoding needs of one background: its pixels, its prepared pieces, or both. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Background {
    size: Size,
    rect: Rect,
    pixels: Option<Arc<Frame>>,
    prepared: Option<Arc<PreparedPng>>,
    planes: Option<Arc<PreparedI420>>,
    /// Made for the first JPEG, and anew when another quality is asked for.
    jpeg: Arc<Mutex<Option<Arc<PreparedJpeg>>>>,
}

impl Background {
    /// A background of which only the pixels are known.
    ///
    /// # Panics
    /// If the rectangle does not lie inside the frame; avatars check theirs when they load.
    #[must_use]
    pub fn new(pixels: Arc<Frame>, rect: Rect) -> Self {
        assert!(
            rect.fits(pixels.size()),
            "rect {rect} outside a frame of {}",
            pixels.size()
        );
        Self {
            size: pixels.size(),
            rect,
            pixels: Some(pixels),
            prepared: None,
            planes: None,
            jpeg: Arc::default(),
        }
    }

    /// A background without pixels: good for I420 alone.
    #[must_use]
    pub fn from_planes(planes: Arc<PreparedI420>) -> Self {
        Self {
            size: planes.size(),
            rect: planes.rect(),
            pixels: None,
            prepared: None,
            planes: Some(planes),
            jpeg: Arc::default(),
        }
    }

    /// A background without pixels: good for PNG alone.
    #[must_use]
    pub fn from_prepared(prepared: Arc<PreparedPng>) -> Self {
        Self {
            size: prepared.size(),
            rect: prepared.rect(),
            pixels: None,
            prepared: Some(prepared),
            planes: None,
            jpeg: Arc::default(),
        }
    }

    /// The same background, its PNG pieces known from now on.
    ///
    /// # Panics
    /// If they are of another size or rectangle.
    #[must_use]
    pub fn with_prepared(self, prepared: Arc<PreparedPng>) -> Self {
        assert_eq!((self.size, self.rect), (prepared.size(), prepared.rect()));
        Self {
            prepared: Some(prepared),
            ..self
        }
    }

    /// The same background, its pixels known from now on.
    ///
    /// # Panics
    /// If they are of another size.
    #[must_use]
    pub fn with_pixels(self, pixels: Arc<Frame>) -> Self {
        assert_eq!(self.size, pixels.size());
        Self {
            pixels: Some(pixels),
            ..self
        }
    }

    /// The pixels, if they are in memory.
    #[must_use]
    pub fn pixels(&self) -> Option<&Arc<Frame>> {
        self.pixels.as_ref()
    }

    /// The prepared pieces, if there are any.
    #[must_use]
    pub fn prepared(&self) -> Option<&Arc<PreparedPng>> {
        self.prepared.as_ref()
    }

    /// Whether frames of `format` can be made now: without pixels only PNG from prepared pieces, I420 from planes, and
    /// JPEG of the quality that was encoded last.
    #[must_use]
    pub fn can_encode(&self, format: Format) -> bool {
        self.pixels.is_some()
            || match format {
                Format::Png => self.prepared.is_some(),
                Format::Jpeg { quality } => self
                    .lock_jpeg()
                    .as_ref()
                    .is_some_and(|jpeg| jpeg.quality() == quality),
                Format::Rgb => false,
                Format::I420 => self.planes.is_some(),
            }
    }

    /// Bytes of memory held, pixels included.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let pixels = self.pixels.as_ref().map_or(0, |p| p.data().len());
        let prepared = self.prepared.as_ref().map_or(0, |p| p.memory_bytes());
        let planes = self.planes.as_ref().map_or(0, |p| p.memory_bytes());
        let jpeg = self.lock_jpeg().as_ref().map_or(0, |j| j.memory_bytes());
        pixels + prepared + planes + jpeg
    }

    /// The planes of this background, converted now if only its pixels are known.
    fn planes(&self) -> Result<Arc<PreparedI420>, EncodeError> {
        match (&self.planes, &self.pixels) {
            (Some(planes), _) => Ok(Arc::clone(planes)),
            (None, Some(pixels)) => Ok(Arc::new(PreparedI420::prepare(pixels, self.rect))),
            (None, None) => Err(EncodeError::NoPixels),
        }
    }

    /// The JPEG of this background at `quality`, encoded now if the last one was of another.
    fn jpeg(&self, quality: u8) -> Result<Arc<PreparedJpeg>, EncodeError> {
        let mut jpeg = self.lock_jpeg();
        if let Some(ready) = jpeg.as_ref().filter(|jpeg| jpeg.quality() == quality) {
            return Ok(Arc::clone(ready));
        }
        let pixels = self.pixels.as_ref().ok_or(EncodeError::NoPixels)?;
        let made = Arc::new(PreparedJpeg::new(pixels, self.rect, quality)?);
        *jpeg = Some(Arc::clone(&made));
        Ok(made)
    }

    // The value is replaced whole, so a panic elsewhere cannot have left it half made.
    fn lock_jpeg(&self) -> MutexGuard<'_, Option<Arc<PreparedJpeg>>> {
        self.jpeg.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Width and height of the whole frame.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// The rectangle that is replaced.
    #[must_use]
    pub fn rect(&self) -> Rect {
        self.rect
    }
}

/// The bytes of one finished frame, in parts to be sent or written one after another. Parts that do not change from
/// frame to frame are shared, not copied.
#[derive(Clone, Debug)]
pub struct Encoded {
    parts: Vec<Bytes>,
}

impl From<Vec<Bytes>> for Encoded {
    fn from(parts: Vec<Bytes>) -> Self {
        Self { parts }
    }
}

impl Encoded {
    /// The parts, in order.
    #[must_use]
    pub fn parts(&self) -> &[Bytes] {
        &self.parts
    }

    /// The parts, in order.
    #[must_use]
    pub fn into_parts(self) -> Vec<Bytes> {
        self.parts
    }

    /// Bytes in all.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    /// All bytes as one buffer; copies only if there is more than one part.
    #[must_use]
    pub fn into_bytes(mut self) -> Bytes {
        match self.parts.len() {
            1 => self.parts.remove(0),
            _ => self.parts.concat().into(),
        }
    }
}

/// Encodes frames, reusing its buffers: one returns when the last [`Encoded`] made of it is dropped.
#[derive(Clone, Debug)]
pub struct Encoder {
    buffers: Pool<Vec<u8>>,
}

impl Encoder {
    /// An encoder that keeps at most `idle_buffers` unused buffers of about one frame each.
    #[must_use]
    pub fn new(idle_buffers: usize) -> Self {
        Self {
            buffers: Pool::new(idle_buffers),
        }
    }

    /// Encodes `background` with its rectangle replaced by `patch`, packed RGB8 as [`crate::compositor::composite`]
    /// makes it.
    ///
    /// # Errors
    /// If the format cannot hold the frame; see [`EncodeError`].
    ///
    /// # Panics
    /// If `patch` is not `3 * width * height` bytes of the rectangle.
    pub fn encode(
        &self,
        background: &Background,
        patch: &[u8],
        format: Format,
    ) -> Result<Encoded, EncodeError> {
        assert_eq!(
            patch.len(),
            background.rect.size().rgb_bytes(),
            "patch size"
        );
        let parts = match (format, &background.prepared) {
            (Format::Png, Some(prepared)) => png::splice(prepared, patch, self.buffers.take()),
            (Format::Png, None) => {
                let pixels = self.pasted(background, patch)?;
                let mut out = self.buffers.take();
                out.clear();
                png::encode_whole(&pixels, background.size, &mut out)?;
                vec![Bytes::from_owner(out)]
            }
            (Format::Jpeg { quality }, _) => {
                jpeg::splice(&*background.jpeg(quality)?, patch, &self.buffers)?
            }
            (Format::Rgb, _) => vec![Bytes::from_owner(self.pasted(background, patch)?)],
            (Format::I420, _) => vec![background.planes()?.splice(patch, &self.buffers)],
        };
        Ok(Encoded { parts })
    }

    /// Encodes `background` as it is; `own` are its pixels of the rectangle. The bytes are those of
    /// [`Encoder::encode`]; a JPEG's and an I420's were made for its other frames already, and are shared.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    ///
    /// # Panics
    /// As [`Encoder::encode`].
    pub fn encode_unchanged(
        &self,
        background: &Background,
        own: &[u8],
        format: Format,
    ) -> Result<Encoded, EncodeError> {
        match format {
            Format::Jpeg { quality } => Ok(vec![background.jpeg(quality)?.file()].into()),
            Format::I420 => Ok(vec![background.planes()?.planes()].into()),
            Format::Png | Format::Rgb => self.encode(background, own, format),
        }
    }

    /// The whole frame's pixels with the patch in place.
    fn pasted(
        &self,
        background: &Background,
        patch: &[u8],
    ) -> Result<Pooled<Vec<u8>>, EncodeError> {
        let whole = background.pixels.as_ref().ok_or(EncodeError::NoPixels)?;
        let mut pixels = self.buffers.take();
        pixels.clear();
        pixels.extend_from_slice(whole.data());
        let rect = background.rect;
        let (left, width) = (3 * rect.x1() as usize, 3 * rect.size().width as usize);
        let rows = pixels.chunks_exact_mut(3 * background.size().width as usize);
        for (row, patch) in rows.skip(rect.y1() as usize).zip(patch.chunks_exact(width)) {
            row[left..left + width].copy_from_slice(patch);
        }
        Ok(pixels)
    }
}
