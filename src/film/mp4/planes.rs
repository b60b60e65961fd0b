//! The planes that H.264 encodes: their sides are even.

use openh264::formats::YUVSource;

use crate::encoder::yuv::{PlanesMut, convert};
use crate::frame::Size;

/// One picture in planes. An odd side's last pixels are repeated.
#[derive(Debug)]
pub(super) struct Planes {
    rgb: Size,
    width: usize,
    height: usize,
    y: Vec<u8>,
    cb: Vec<u8>,
    cr: Vec<u8>,
}

impl Planes {
    /// Planes for pictures of `size`.
    pub(super) fn new(size: Size) -> Self {
        let (width, height) = (even(size.width), even(size.height));
        Self {
            rgb: size,
            width,
            height,
            y: vec![0; width * height],
            cb: vec![0; width * height / 4],
            cr: vec![0; width * height / 4],
        }
    }

    /// Converts packed RGB8.
    ///
    /// # Panics
    /// If `rgb` is not a picture of the size the planes were made for.
    pub(super) fn fill(&mut self, rgb: &[u8]) {
        let mut planes = PlanesMut {
            y: &mut self.y,
            cb: &mut self.cb,
            cr: &mut self.cr,
            luma_stride: self.width,
            chroma_stride: self.width / 2,
        };
        convert(rgb, self.rgb, &mut planes);
        let columns = self.rgb.width as usize;
        if columns < self.width {
            for row in self.y.chunks_exact_mut(self.width) {
                row[columns] = row[columns - 1];
            }
        }
        let rows = self.rgb.height as usize;
        if rows < self.height {
            let last = (rows - 1) * self.width;
            self.y
                .copy_within(last..last + self.width, rows * self.width);
        }
    }
}

impl YUVSource for Planes {
    fn dimensions(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    fn strides(&self) -> (usize, usize, usize) {
        (self.width, self.width / 2, self.width / 2)
    }

    fn y(&self) -> &[u8] {
        &self.y
    }

    fn u(&self) -> &[u8] {
        &self.cb
    }

    fn v(&self) -> &[u8] {
        &self.cr
    }
}

fn even(side: u32) -> usize {
    side.next_multiple_of(2) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_odd_side_repeats_its_last_pixels() {
        let size = Size {
            width: 3,
            height: 1,
        };
        let mut planes = Planes::new(size);
        planes.fill(&[255, 255, 255, 0, 0, 0, 255, 255, 255]);
        assert_eq!(planes.dimensions(), (4, 2));
        assert_eq!(planes.y(), [235, 16, 235, 235, 235, 16, 235, 235]);
        assert_eq!(planes.u(), [128, 128]);
    }
}
