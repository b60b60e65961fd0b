//! Whole-frame JPEG: baseline, by the `jpeg-encoder` crate.

use jpeg_encoder::{ColorType, Encoder};

use super::EncodeError;
use crate::frame::Size;

/// Encodes packed RGB8 pixels onto the end of `out`.
pub(super) fn encode(
    rgb: &[u8],
    size: Size,
    quality: u8,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    if !(1..=100).contains(&quality) {
        return Err(EncodeError::JpegQuality(quality));
    }
    let side = |pixels: u32| u16::try_from(pixels).map_err(|_| EncodeError::JpegSize(size));
    let (width, height) = (side(size.width)?, side(size.height)?);
    Encoder::new(out, quality)
        .encode(rgb, width, height, ColorType::Rgb)
        .map_err(EncodeError::Jpeg)
}
