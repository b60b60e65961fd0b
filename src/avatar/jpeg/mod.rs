//! JPEG to pixels as libjpeg-turbo gives them: what `OpenCV` read when the network was trained.
//!
//! Decoders agree on the coefficients and differ in the inverse transform and in how chroma is made larger; the bias of
//! another decoder is small and everywhere. The code is mozjpeg's, which decodes with libjpeg-turbo's.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::{DynamicImage, RgbImage};
use mozjpeg::{ColorSpace, Decompress};

/// Whether `file` begins as JPEGs do.
pub(super) fn is_jpeg(file: &[u8]) -> bool {
    file.starts_with(&[0xff, 0xd8, 0xff])
}

/// Decodes the whole picture, as it lies in the file: EXIF data turn nothing here. Grey becomes RGB. `None` for the
/// colours of printing, which libjpeg does not convert.
///
/// # Errors
/// Why it cannot be decoded: a file that ends before its picture is whole is no picture.
pub(super) fn decode(file: &[u8]) -> Result<Option<DynamicImage>, String> {
    let ended = Cell::new(false);
    let source = Whole {
        rest: file,
        ended: &ended,
    };
    // The library reports what it cannot decode by unwinding, without a panic's message.
    let decoded = catch_unwind(AssertUnwindSafe(|| picture(source)));
    if ended.get() {
        return Err("the file ends before the picture is whole".to_owned());
    }
    match decoded {
        Ok(picture) => picture.map_err(|error| error.to_string()),
        Err(thrown) => Err(thrown
            .downcast_ref::<String>()
            .map_or("not a JPEG that libjpeg reads", String::as_str)
            .trim_start_matches("libjpeg fatal error: ")
            .to_owned()),
    }
}

fn picture(source: Whole<'_>) -> io::Result<Option<DynamicImage>> {
    let decoder = Decompress::new_reader(source)?;
    if matches!(
        decoder.color_space(),
        ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK
    ) {
        return Ok(None);
    }
    let mut started = decoder.rgb()?;
    let (width, height) = (started.width() as u32, started.height() as u32);
    let pixels: Vec<u8> = started.read_scanlines()?;
    // What follows the last line is not asked for: a mark of the end that is missing costs no pixel.
    Ok(RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8))
}

/// The bytes of a file; one that is asked for more than there is notes so and fails. The library's own sources make up an
/// end, and the lines that are missing become grey.
struct Whole<'a> {
    rest: &'a [u8],
    ended: &'a Cell<bool>,
}

impl Read for Whole<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let count = bytes.len().min(out.len());
        out[..count].copy_from_slice(&bytes[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Whole<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.rest.is_empty() {
            self.ended.set(true);
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(self.rest)
    }

    fn consume(&mut self, count: usize) {
        self.rest = &self.rest[count..];
    }
}

#[cfg(test)]
mod tests;
