//! The rect's border: the prediction fades into the background over some pixels.

use crate::frame::Size;

/// Fades `patch` into `background`, both RGB8 of `size`: a pixel `d` from the border, 0 at it, is prediction to
/// `(d + 1) / (feather + 1)`. Pixels `feather` and more from it stay, and with 0 all do.
///
/// # Panics
/// If a length is not that of `size`.
pub fn fade(patch: &mut [u8], background: &[u8], size: Size, feather: usize) {
    let bytes = size.rgb_bytes();
    assert!(patch.len() == bytes && background.len() == bytes);
    if feather == 0 {
        return;
    }
    let (width, height) = (size.width as usize, size.height as usize);
    let rows = patch
        .chunks_exact_mut(3 * width)
        .zip(background.chunks_exact(3 * width));
    for (y, (row, below)) in rows.enumerate() {
        let from_edge = y.min(height - 1 - y);
        // Columns nearer to the left or right border than the row is to the top or bottom have a share of their own.
        let own = from_edge.min(feather).min(width.div_ceil(2));
        for x in 0..own {
            let share = share(x, feather);
            for x in [x, width - 1 - x] {
                // The column in the middle of an odd width is both, and is faded once.
                mix(&mut row[3 * x..][..3], &below[3 * x..][..3], share);
                if 2 * x + 1 == width {
                    break;
                }
            }
        }
        if from_edge < feather && 2 * own < width {
            let middle = 3 * own..3 * (width - own);
            mix(
                &mut row[middle.clone()],
                &below[middle],
                share(from_edge, feather),
            );
        }
    }
}

/// How much of the prediction is seen `distance` pixels from the border, in 256ths.
fn share(distance: usize, feather: usize) -> u16 {
    (256 * (distance + 1) / (feather + 1)) as u16
}

fn mix(over: &mut [u8], below: &[u8], share: u16) {
    for (over, below) in over.iter_mut().zip(below) {
        let sum = u16::from(*over) * share + u16::from(*below) * (256 - share);
        // 255 * 256 + 128 still fits.
        *over = ((sum + 128) >> 8) as u8;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, a pixel at a time.
    fn naive(patch: &[u8], background: &[u8], size: Size, feather: usize) -> Vec<u8> {
        let (width, height) = (size.width as usize, size.height as usize);
        let faded = |at: usize| {
            let (x, y) = (at / 3 % width, at / 3 / width);
            let distance = x.min(y).min(width - 1 - x).min(height - 1 - y);
            if distance >= feather {
                return patch[at];
            }
            let share = 256 * (distance + 1) / (feather + 1);
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
            let mut faded = patch.clone();
            fade(&mut faded, &background, size, feather);
            prop_assert_eq!(faded, naive(&patch, &background, size, feather));
        }
    }
}
