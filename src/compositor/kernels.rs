//! The three inner loops of compositing, over plain slices, and the choice between their two versions.
//!
//! Both versions do the same arithmetic in the same order, without fused multiply-add, so they agree bit for bit
//! and a frame does not depend on the machine that made it.

use super::taps::Taps;

/// Which version of the kernels runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernels {
    /// Safe Rust, vectorised by the compiler for the target's baseline.
    Portable,
    /// AVX2 intrinsics.
    #[cfg(target_arch = "x86_64")]
    Avx2(super::simd::Avx2),
}

impl Kernels {
    /// The fastest version this machine can run.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = super::simd::Avx2::detect() {
            return Self::Avx2(token);
        }
        Self::Portable
    }

    /// `plane[i] = trunc(clamp(prediction[i] * 255, 0, 255))`; false if any prediction is not finite.
    ///
    /// # Panics
    /// If the lengths differ.
    #[must_use]
    pub(crate) fn quantise(self, prediction: &[f32], plane: &mut [f32]) -> bool {
        assert_eq!(prediction.len(), plane.len());
        match self {
            Self::Portable => quantise(prediction, plane),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(token) => token.quantise(prediction, plane),
        }
    }

    /// One row of the vertical pass: `line[4x + c] = sum over k of weights[k] * rows[k][c * width + x]`, lane 3 zero.
    ///
    /// # Panics
    /// If a row is not three planes of a common width that is a multiple of 8, or `line` not four lanes of it.
    pub(crate) fn vertical(self, rows: [&[f32]; 4], weights: [f32; 4], line: &mut [f32]) {
        let width = line.len() / 4;
        assert!(width.is_multiple_of(8) && line.len() == 4 * width);
        assert!(rows.iter().all(|row| row.len() == 3 * width));
        match self {
            Self::Portable => vertical(rows, weights, line),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(token) => token.vertical(rows, weights, line),
        }
    }

    /// One row of the horizontal pass, rounded to nearest even and clamped:
    /// `out[3x + c] = sum over k of weights[x][k] * line[4 * (starts[x] + k) + c]`.
    ///
    /// # Panics
    /// If `out` is not three bytes a target pixel or `line` too short for the source.
    pub(crate) fn horizontal(self, line: &[f32], columns: &Taps, out: &mut [u8]) {
        assert_eq!(out.len(), 3 * columns.target());
        assert!(line.len() >= 4 * columns.source().max(4));
        match self {
            Self::Portable => horizontal(line, columns, out),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(token) => token.horizontal(line, columns, out),
        }
    }
}

/// Portable [`Kernels::quantise`].
pub(super) fn quantise(prediction: &[f32], plane: &mut [f32]) -> bool {
    let mut finite = true;
    for (&value, out) in prediction.iter().zip(plane) {
        finite &= value.is_finite();
        *out = f32::from((value * 255.0) as u8);
    }
    finite
}

/// Portable [`Kernels::vertical`].
pub(super) fn vertical(rows: [&[f32]; 4], weights: [f32; 4], line: &mut [f32]) {
    let width = line.len() / 4;
    for channel in 0..3 {
        let [a, b, c, d] = rows.map(|row| &row[channel * width..][..width]);
        let [wa, wb, wc, wd] = weights;
        for (x, pixel) in line.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            pixel[channel] = (a[x] * wa + b[x] * wb) + (c[x] * wc + d[x] * wd);
        }
    }
}

/// Portable [`Kernels::horizontal`].
pub(super) fn horizontal(line: &[f32], columns: &Taps, out: &mut [u8]) {
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer, ties to even, as the SIMD conversion does.
    const ROUND: f32 = 12_582_912.0;
    let outputs = columns
        .starts()
        .iter()
        .zip(columns.weights())
        .zip(out.as_chunks_mut::<3>().0);
    for ((&start, w), out) in outputs {
        let p = &line[4 * start as usize..][..16];
        for (channel, out) in out.iter_mut().enumerate() {
            let even = p[channel] * w[0] + p[channel + 8] * w[2];
            let odd = p[channel + 4] * w[1] + p[channel + 12] * w[3];
            *out = (((even + odd) + ROUND) - ROUND) as u8;
        }
    }
}
