//! RGB to what H.264 encodes: a plane of luma and two of chroma at half the size, BT.709, limited range.

use openh264::formats::YUVSource;

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

/// One picture in planes, its sides even.
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
    /// Planes for pictures of `size`; odd sides become even.
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

    /// Converts packed RGB8. An odd side's last pixels are repeated.
    ///
    /// # Panics
    /// If `rgb` is not a picture of the size the planes were made for.
    pub(super) fn fill(&mut self, rgb: &[u8]) {
        assert_eq!(rgb.len(), self.rgb.rgb_bytes(), "a picture of {}", self.rgb);
        let row_bytes = 3 * self.rgb.width as usize;
        let row = |y: usize| &rgb[y.min(self.rgb.height as usize - 1) * row_bytes..][..row_bytes];
        let chroma = self
            .cb
            .chunks_exact_mut(self.width / 2)
            .zip(self.cr.chunks_exact_mut(self.width / 2));
        for (pair, (luma, (cb, cr))) in self
            .y
            .chunks_exact_mut(2 * self.width)
            .zip(chroma)
            .enumerate()
        {
            let (upper, lower) = (row(2 * pair), row(2 * pair + 1));
            let (luma_upper, luma_lower) = luma.split_at_mut(self.width);
            row_luma(upper, luma_upper);
            row_luma(lower, luma_lower);
            row_chroma(upper, lower, cb, cr);
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

/// Luma of a row of pixels, `out` at most one longer: `16 + 219/255 * (KR*R + KG*G + KB*B)`.
fn row_luma(rgb: &[u8], out: &mut [u8]) {
    let pixels = rgb.as_chunks::<3>().0;
    for (out, pixel) in out.iter_mut().zip(pixels) {
        let [r, g, b] = pixel.map(i32::from);
        let sum = LUMA[0] * r + LUMA[1] * g + LUMA[2] * b;
        *out = ((sum + (16 << 15) + (1 << 14)) >> 15) as u8;
    }
    if out.len() > pixels.len() {
        out[pixels.len()] = out[pixels.len() - 1];
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

    fn planes(size: Size, rgb: &[u8]) -> Planes {
        let mut planes = Planes::new(size);
        planes.fill(rgb);
        planes
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
            let planes = planes(size, &rgb.repeat(4));
            assert_eq!([planes.y[3], planes.cb[0], planes.cr[0]], yuv, "{rgb:?}");
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
            let planes = planes(size, &rgb);
            let pixel = |x: usize, y: usize| {
                let x = x.min(width as usize - 1);
                let y = y.min(height as usize - 1);
                [0, 1, 2].map(|c| f64::from(rgb[3 * (y * width as usize + x) + c]))
            };
            for y in 0..planes.height {
                for x in 0..planes.width {
                    let luma = naive(pixel(x, y))[0];
                    prop_assert!((f64::from(planes.y[y * planes.width + x]) - luma).abs() < 0.6);
                }
            }
            for y in 0..planes.height / 2 {
                for x in 0..planes.width / 2 {
                    let four = [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(i, j)| pixel(2 * x + i, 2 * y + j));
                    let mean = [0, 1, 2].map(|c| four.iter().map(|p| p[c]).sum::<f64>() / 4.0);
                    let [_, cb, cr] = naive(mean);
                    let at = y * planes.width / 2 + x;
                    prop_assert!((f64::from(planes.cb[at]) - cb).abs() < 0.6);
                    prop_assert!((f64::from(planes.cr[at]) - cr).abs() < 0.6);
                }
            }
        }
    }
}
