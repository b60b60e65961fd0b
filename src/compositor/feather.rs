//! The prediction's border: it fades into the background over some pixels.
//!
//! A network that pads with zeros is worst at its output's border: there it is off by several levels, and a step of two
//! is seen as a line on an even background. In the `inset` geometry that border lies inside the rect, behind the margin of
//! the crop; so the fade begins there, and not at the rect's own border, which is background in any case.

use super::Geometry;
use super::crop::{CROP_MARGIN, CROP_SIDE};
use crate::frame::Size;

/// Pixels of the crop that bicubic resizing reaches over.
const BICUBIC_REACH: usize = 2;

/// How the predictions of one background fade into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feather {
    /// How much of the prediction is seen in a pixel so far from the rect's border, in 256ths; thrice, once a channel.
    shares: Vec<u16>,
    /// The same from the inside to the border.
    mirrored: Vec<u16>,
}

impl Feather {
    /// A fade over `width` pixels from where the prediction of a rect of `size` begins; with 0 none at all.
    ///
    /// Pixel `d` of it, from 0, is prediction to `3t^2 - 2t^3` with `t = (d + 1) / (width + 1)`.
    #[must_use]
    pub fn new(width: usize, geometry: Geometry, size: Size) -> Self {
        let margin = match geometry {
            _ if width == 0 => 0,
            Geometry::Stretch => 0,
            Geometry::Inset => {
                let side = size.width.max(size.height) as usize;
                (side * (CROP_MARGIN + BICUBIC_REACH)).div_ceil(CROP_SIDE)
            }
        };
        let smooth = |d: usize| {
            let t = 256 * (d + 1) / (width + 1);
            ((t * t * (3 * 256 - 2 * t)) >> 16) as u16
        };
        let shares = std::iter::repeat_n(0, margin).chain((0..width).map(smooth));
        let shares: Vec<u16> = shares.flat_map(|share| [share; 3]).collect();
        let mirrored = shares.iter().rev().copied().collect();
        Self { shares, mirrored }
    }

    /// How many pixels from the border are not the prediction alone.
    fn len(&self) -> usize {
        self.shares.len() / 3
    }

    /// Bytes it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.shares) + size_of_val(&*self.mirrored)
    }
}

/// Fades `patch` into `background`, both RGB8 of `size`.
///
/// # Panics
/// If a length is not that of `size`.
pub fn fade(patch: &mut [u8], background: &[u8], size: Size, feather: &Feather) {
    let bytes = size.rgb_bytes();
    assert!(patch.len() == bytes && background.len() == bytes);
    if feather.len() == 0 {
        return;
    }
    let (width, height) = (size.width as usize, size.height as usize);
    let rows = patch
        .chunks_exact_mut(3 * width)
        .zip(background.chunks_exact(3 * width));
    for (y, (row, below)) in rows.enumerate() {
        let from_edge = y.min(height - 1 - y);
        // Columns nearer to the left or right border than the row is to the top or bottom have a share of their own. The
        // column in the middle of an odd width is counted to the left.
        let own = from_edge.min(feather.len());
        let left = 3 * own.min(width.div_ceil(2));
        let right = 3 * (width - own.min(width / 2));
        mix(&mut row[..left], &below[..left], &feather.shares);
        let mirrored = &feather.mirrored[feather.mirrored.len() - (3 * width - right)..];
        mix(&mut row[right..], &below[right..], mirrored);
        if from_edge < feather.len() && left < right {
            let share = feather.shares[3 * from_edge];
            for (over, below) in row[left..right].iter_mut().zip(&below[left..right]) {
                *over = mixed(*over, *below, share);
            }
        }
    }
}

fn mix(over: &mut [u8], below: &[u8], shares: &[u16]) {
    for ((over, below), share) in over.iter_mut().zip(below).zip(shares) {
        *over = mixed(*over, *below, *share);
    }
}

fn mixed(over: u8, below: u8, share: u16) -> u8 {
    // 255 * 256 + 128 still fits.
    ((u16::from(over) * share + u16::from(below) * (256 - share) + 128) >> 8) as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, a pixel at a time.
    fn naive(
        patch: &[u8],
        background: &[u8],
        size: Size,
        margin: usize,
        feather: usize,
    ) -> Vec<u8> {
        let (width, height) = (size.width as usize, size.height as usize);
        let faded = |at: usize| {
            let (x, y) = (at / 3 % width, at / 3 / width);
            let distance = x.min(y).min(width - 1 - x).min(height - 1 - y);
            if feather == 0 || distance >= margin + feather {
                return patch[at];
            }
            if distance < margin {
                return background[at];
            }
            let t = 256 * (distance - margin + 1) / (feather + 1);
            let share = t * t * (768 - 2 * t) / 65_536;
            let sum = usize::from(patch[at]) * share + usize::from(background[at]) * (256 - share);
            ((sum + 128) / 256) as u8
        };
        (0..patch.len()).map(faded).collect()
    }

    proptest! {
        #[test]
        fn every_pixel_is_as_defined(
            width in 1..40_u32,
            height in 1..40_u32,
            feather in 0..24_usize,
            seed in any::<u32>(),
        ) {
            let size = Size { width, height };
            let noise = |salt: u32| -> Vec<u8> {
                (0..size.rgb_bytes() as u32)
                    .map(|at| ((at ^ seed).wrapping_mul(salt) >> 13) as u8)
                    .collect()
            };
            let (patch, background) = (noise(0x9e37_79b1), noise(0x85eb_ca6b));
            for geometry in [Geometry::Inset, Geometry::Stretch] {
                let margin = match geometry {
                    Geometry::Inset => (width.max(height) as usize * 6).div_ceil(328),
                    Geometry::Stretch => 0,
                };
                let mut faded = patch.clone();
                fade(&mut faded, &background, size, &Feather::new(feather, geometry, size));
                let expected = naive(&patch, &background, size, margin, feather);
                prop_assert_eq!(faded, expected);
            }
        }
    }
}
