//! Whole-frame PNG by the `png` crate: what a background is encoded with until it is prepared.

use super::super::EncodeError;
use crate::frame::Size;

/// Encodes packed RGB8 pixels onto the end of `out`.
pub(crate) fn encode(rgb: &[u8], size: Size, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let mut encoder = png::Encoder::new(out, size.width, size.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header().map_err(EncodeError::Png)?;
    writer.write_image_data(rgb).map_err(EncodeError::Png)?;
    writer.finish().map_err(EncodeError::Png)
}
