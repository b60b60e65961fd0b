//! RGB to a plane of luma and two of chroma at half the size: BT.709, limited range.
//!
//! A sample of chroma stands for two by two pixels, and for their mean. At an odd side the last pixels are repeated, so
//! chroma's sides round up.

use crate::frame::Size;

/// Fixed point with 15 fractional bits.
const ONE: f64 = 32_768.0;
/// Luma weights of R, G, B (BT.709).
const KR: f64 = 0.2126;
const KB: f64 = 0.0722;
const KG: f64 = 1.0 - KR - KB;
/// Luma takes 219 steps from 16, chroma 224 around 128.
const LUMA_SPAN: f64 = 219.0 / 255.0;
const CHROMA_SPAN: f64 = 224.0 / 255.0;

const LUMA: [i32; 3] = [
    fixed(LUMA_SPAN * KR),
    fixed(LUMA_SPAN * KG),
    fixed(LUMA_SPAN * KB),
];
const CB: [i32; 3] = [
    fixed(CHROMA_SPAN * -KR / (2.0 * (1.0 - KB))),
    fixed(CHROMA_SPAN * -KG / (2.0 * (1.0 - KB))),
    fixed(CHROMA_SPAN * 0.5),
];
const CR: [i32; 3] = [
    fixed(CHROMA_SPAN * 0.5),
    fixed(CHROMA_SPAN * -KG / (2.0 * (1.0 - KR))),
    fixed(CHROMA_SPAN * -KB / (2.0 * (1.0 - KR))),
];

const fn fixed(weight: f64) -> i32 {
    let scaled = weight * ONE;
    // Rounds half away from zero; `f64::round` is not const.
    (if scaled < 0.0 {
        scaled - 0.5
    } else {
        scaled + 0.5
    }) as i32
}

/// Where a picture's planes are written: rows from the first on, each at its stride.
#[derive(Debug)]
pub(crate) struct PlanesMut<'a> {
    /// Luma.
    pub(crate) y: &'a mut [u8],
    /// Chroma, blue.
    pub(crate) cb: &'a mut [u8],
    /// Chroma, red.
    pub(crate) cr: &'a mut [u8],
    /// Bytes from one row of luma to the next.
    pub(crate) luma_stride: usize,
    /// Bytes from one row of chroma to the next.
    pub(crate) chroma_stride: usize,
}

/// Width and height of a plane of chroma.
pub(crate) fn chroma_size(size: Size) -> Size {
    Size {
        width: size.width.div_ceil(2),
        height: size.height.div_ceil(2),
    }
}

/// Converts packed RGB8 of `size`. Only the picture's own samples are written, whatever the strides.
///
/// # Panics
/// If `rgb` is not a picture of `size`, or it does not fit the planes.
pub(crate) fn convert(rgb: &[u8], size: Size, planes: &mut PlanesMut<'_>) {
    assert_eq!(rgb.len(), size.rgb_bytes(), "a picture of {size}");
    let width = size.width as usize;
    let chroma_width = chroma_size(size).width as usize;
    let mut luma = planes.y.chunks_mut(planes.luma_stride);
    let mut cb = planes.cb.chunks_mut(planes.chroma_stride);
    let mut cr = planes.cr.chunks_mut(planes.chroma_stride);
    for pair in rgb.chunks(2 * 3 * width) {
        let (upper, lower) = pair.split_at(3 * width);
        for row in [upper, lower].into_iter().filter(|row| !row.is_empty()) {
            row_luma(row, &mut luma.next().expect("a row of luma")[..width]);
        }
        // The last row of an odd height stands for its missing neighbour too.
        let lower = if lower.is_empty() { upper } else { lower };
        row_chroma(
            upper,
            lower,
            &mut cb.next().expect("a row of chroma")[..chroma_width],
            &mut cr.next().expect("a row of chroma")[..chroma_width],
        );
    }
}

/// Luma of a row of pixels: `16 + 219/255 * (KR*R + KG*G + KB*B)`.
fn row_luma(rgb: &[u8], out: &mut [u8]) {
    for (out, pixel) in out.iter_mut().zip(rgb.as_chunks::<3>().0) {
        let [r, g, b] = pixel.map(i32::from);
        let sum = LUMA[0] * r + LUMA[1] * g + LUMA[2] * b;
        *out = ((sum + (16 << 15) + (1 << 14)) >> 15) as u8;
    }
}

/// Chroma of two rows of pixels: of the mean of every four, `128 + 224/255 * (B - Y) / (2 - 2*KB)` and likewise for R.
fn row_chroma(upper: &[u8], lower: &[u8], cb: &mut [u8], cr: &mut [u8]) {
    let mut put = |at: usize, sums: [i32; 3]| {
        let chroma = |weights: [i32; 3]| {
            let sum: i32 = weights.iter().zip(sums).map(|(w, s)| w * s).sum();
            ((sum + (128 << 17) + (1 << 16)) >> 17).clamp(0, 255) as u8
        };
        cb[at] = chroma(CB);
        cr[at] = chroma(CR);
    };
    let (upper, rest) = upper.as_chunks::<6>();
    let (lower, rest_lower) = lower.as_chunks::<6>();
    for (at, (u, l)) in upper.iter().zip(lower).enumerate() {
        let sum = |channel: usize| {
            [u[channel], u[channel + 3], l[channel], l[channel + 3]]
                .map(i32::from)
                .iter()
                .sum()
        };
        put(at, [sum(0), sum(1), sum(2)]);
    }
    // The last column of an odd width stands for its missing neighbour too.
    if let (&[r, g, b], &[r2, g2, b2]) = (rest, rest_lower) {
        let sum = |one: u8, two: u8| 2 * (i32::from(one) + i32::from(two));
        put(upper.len(), [sum(r, r2), sum(g, g2), sum(b, b2)]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The formulas of BT.709 as written, for one pixel.
    fn naive([r, g, b]: [f64; 3]) -> [f64; 3] {
        let y = KR * r + KG * g + KB * b;
        [
            16.0 + LUMA_SPAN * y,
            128.0 + CHROMA_SPAN * (b - y) / (2.0 * (1.0 - KB)),
            128.0 + CHROMA_SPAN * (r - y) / (2.0 * (1.0 - KR)),
        ]
    }

    /// The planes of a picture, at strides wider than it; what lies between must stay as it is.
    fn planes(size: Size, rgb: &[u8]) -> [Vec<u8>; 3] {
        const GAP: usize = 3;
        const UNTOUCHED: u8 = 1;
        let chroma = chroma_size(size);
        let (luma_stride, chroma_stride) = (size.width as usize + GAP, chroma.width as usize + GAP);
        let mut y = vec![UNTOUCHED; luma_stride * size.height as usize];
        let mut cb = vec![UNTOUCHED; chroma_stride * chroma.height as usize];
        let mut cr = cb.clone();
        let mut planes = PlanesMut {
            y: &mut y,
            cb: &mut cb,
            cr: &mut cr,
            luma_stride,
            chroma_stride,
        };
        convert(rgb, size, &mut planes);
        [(y, luma_stride), (cb, chroma_stride), (cr, chroma_stride)].map(|(plane, stride)| {
            let rows = plane.chunks(stride).flat_map(|row| {
                let (row, gap) = row.split_at(stride - GAP);
                assert_eq!(gap, [UNTOUCHED; GAP]);
                row.to_vec()
            });
            rows.collect()
        })
    }

    #[test]
    fn known_colours() {
        let size = Size {
            width: 2,
            height: 2,
        };
        // White, black, and the primaries as tables of BT.709 give them.
        for (rgb, yuv) in [
            ([255, 255, 255], [235, 128, 128]),
            ([0, 0, 0], [16, 128, 128]),
            ([255, 0, 0], [63, 102, 240]),
            ([0, 255, 0], [173, 42, 26]),
            ([0, 0, 255], [32, 240, 118]),
        ] {
            let [y, cb, cr] = planes(size, &rgb.repeat(4));
            assert_eq!([y[3], cb[0], cr[0]], yuv, "{rgb:?}");
        }
    }

    proptest! {
        #[test]
        fn every_size_and_pixel_is_within_one_of_the_formulas(
            (width, height, rgb) in (1u32..12, 1u32..12).prop_flat_map(|(w, h)| {
                (Just(w), Just(h), prop::collection::vec(any::<u8>(), (3 * w * h) as usize))
            }),
        ) {
            let size = Size { width, height };
            let [luma_plane, cb_plane, cr_plane] = planes(size, &rgb);
            let chroma = chroma_size(size);
            let pixel = |x: usize, y: usize| {
                let x = x.min(width as usize - 1);
                let y = y.min(height as usize - 1);
                [0, 1, 2].map(|c| f64::from(rgb[3 * (y * width as usize + x) + c]))
            };
            for y in 0..height as usize {
                for x in 0..width as usize {
                    let luma = naive(pixel(x, y))[0];
                    prop_assert!((f64::from(luma_plane[y * width as usize + x]) - luma).abs() < 0.6);
                }
            }
            for y in 0..chroma.height as usize {
                for x in 0..chroma.width as usize {
                    let four = [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(i, j)| pixel(2 * x + i, 2 * y + j));
                    let mean = [0, 1, 2].map(|c| four.iter().map(|p| p[c]).sum::<f64>() / 4.0);
                    let [_, cb, cr] = naive(mean);
                    let at = y * chroma.width as usize + x;
                    prop_assert!((f64::from(cb_plane[at]) - cb).abs() < 0.6);
                    prop_assert!((f64::from(cr_plane[at]) - cr).abs() < 0.6);
                }
            }
        }
    }
}
