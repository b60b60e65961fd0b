//! AVX2 versions of the compositing kernels: the only unsafe code of the library's pixel path.
//!
//! Every function does exactly what its twin in `kernels.rs` does, operation for operation.

#![expect(
    unsafe_code,
    reason = "SIMD loads and stores; the portable twins are the oracle in the tests"
)]

use std::arch::x86_64::{
    __m128, __m128i, __m256, _CMP_LT_OQ, _mm_add_ps, _mm_cvtps_epi32, _mm_loadu_ps,
    _mm_packs_epi32, _mm_packus_epi16, _mm_setr_epi8, _mm_shuffle_epi8, _mm_storeu_si128,
    _mm256_add_ps, _mm256_and_ps, _mm256_castpd_ps, _mm256_castps_pd, _mm256_castps128_ps256,
    _mm256_castps256_ps128, _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_cvtepi32_ps,
    _mm256_cvttps_epi32, _mm256_extractf128_ps, _mm256_insertf128_ps, _mm256_loadu_ps,
    _mm256_max_ps, _mm256_min_ps, _mm256_movemask_ps, _mm256_mul_ps, _mm256_permute2f128_ps,
    _mm256_permutevar_ps, _mm256_set1_ps, _mm256_setr_epi32, _mm256_setzero_ps, _mm256_storeu_ps,
    _mm256_unpackhi_pd, _mm256_unpackhi_ps, _mm256_unpacklo_pd, _mm256_unpacklo_ps,
};

use super::kernels;
use super::taps::Taps;

/// Proof that the machine has AVX2: only [`Avx2::detect`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx2(());

#[expect(
    clippy::unused_self,
    reason = "`self` is the proof that the call is sound"
)]
impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    #[must_use]
    pub(super) fn quantise(self, prediction: &[f32], plane: &mut [f32]) -> bool {
        // SAFETY: `self` exists, so the machine has AVX2.
        unsafe { quantise(prediction, plane) }
    }

    pub(super) fn vertical(self, rows: [&[f32]; 4], weights: [f32; 4], line: &mut [f32]) {
        // SAFETY: `self` exists, so the machine has AVX2.
        unsafe { vertical(rows, weights, line) }
    }

    pub(super) fn horizontal(self, line: &[f32], columns: &Taps, out: &mut [u8]) {
        // SAFETY: `self` exists, so the machine has AVX2.
        unsafe { horizontal(line, columns, out) }
    }
}

#[target_feature(enable = "avx2")]
fn load8(values: &[f32; 8]) -> __m256 {
    // SAFETY: the reference covers the 32 bytes read; unaligned loads are allowed.
    unsafe { _mm256_loadu_ps(values.as_ptr()) }
}

#[target_feature(enable = "avx2")]
fn store8(values: &mut [f32; 8], vector: __m256) {
    // SAFETY: the reference covers the 32 bytes written; unaligned stores are allowed.
    unsafe { _mm256_storeu_ps(values.as_mut_ptr(), vector) }
}

#[target_feature(enable = "avx2")]
fn quantise(prediction: &[f32], plane: &mut [f32]) -> bool {
    let (blocks, rest) = prediction.as_chunks::<8>();
    let (out_blocks, out_rest) = plane.as_chunks_mut::<8>();
    let magnitude = _mm256_castsi256_ps(std::arch::x86_64::_mm256_set1_epi32(0x7fff_ffff));
    let infinity = _mm256_set1_ps(f32::INFINITY);
    let mut finite = _mm256_cmp_ps::<_CMP_LT_OQ>(_mm256_setzero_ps(), infinity);
    for (block, out) in blocks.iter().zip(out_blocks) {
        let value = load8(block);
        // |x| < inf is false for infinities and, the comparison being ordered, for NaN.
        let ok = _mm256_cmp_ps::<_CMP_LT_OQ>(_mm256_and_ps(value, magnitude), infinity);
        finite = _mm256_and_ps(finite, ok);
        let scaled = _mm256_mul_ps(value, _mm256_set1_ps(255.0));
        let clamped = _mm256_min_ps(
            _mm256_max_ps(scaled, _mm256_setzero_ps()),
            _mm256_set1_ps(255.0),
        );
        store8(out, _mm256_cvtepi32_ps(_mm256_cvttps_epi32(clamped)));
    }
    let rest_finite = kernels::quantise(rest, out_rest);
    rest_finite && _mm256_movemask_ps(finite) == 0xff
}

#[target_feature(enable = "avx2")]
fn vertical(rows: [&[f32]; 4], weights: [f32; 4], line: &mut [f32]) {
    let width = line.len() / 4;
    let weights = weights.map(|w| _mm256_set1_ps(w));
    let planes =
        [0, 1, 2].map(|channel| rows.map(|row| row[channel * width..][..width].as_chunks::<8>().0));
    let zero = _mm256_setzero_ps();
    for (block, out) in line.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let [red, green, blue] = planes.map(|[a, b, c, d]| {
            let ab = _mm256_add_ps(
                _mm256_mul_ps(load8(&a[block]), weights[0]),
                _mm256_mul_ps(load8(&b[block]), weights[1]),
            );
            let cd = _mm256_add_ps(
                _mm256_mul_ps(load8(&c[block]), weights[2]),
                _mm256_mul_ps(load8(&d[block]), weights[3]),
            );
            _mm256_add_ps(ab, cd)
        });
        // Planes to pixels, within 128-bit halves first: pixel k beside pixel k + 4.
        let rg_low = _mm256_castps_pd(_mm256_unpacklo_ps(red, green));
        let rg_high = _mm256_castps_pd(_mm256_unpackhi_ps(red, green));
        let b_low = _mm256_castps_pd(_mm256_unpacklo_ps(blue, zero));
        let b_high = _mm256_castps_pd(_mm256_unpackhi_ps(blue, zero));
        let p04 = _mm256_castpd_ps(_mm256_unpacklo_pd(rg_low, b_low));
        let p15 = _mm256_castpd_ps(_mm256_unpackhi_pd(rg_low, b_low));
        let p26 = _mm256_castpd_ps(_mm256_unpacklo_pd(rg_high, b_high));
        let p37 = _mm256_castpd_ps(_mm256_unpackhi_pd(rg_high, b_high));
        let [o0, o1, o2, o3] = out.as_chunks_mut::<8>().0 else {
            unreachable!("32 floats are four blocks of 8")
        };
        store8(o0, _mm256_permute2f128_ps::<0x20>(p04, p15));
        store8(o1, _mm256_permute2f128_ps::<0x20>(p26, p37));
        store8(o2, _mm256_permute2f128_ps::<0x31>(p04, p15));
        store8(o3, _mm256_permute2f128_ps::<0x31>(p26, p37));
    }
}

/// The four lanes of one output pixel, before rounding.
#[target_feature(enable = "avx2")]
fn pixel(line: &[f32], start: u32, weights: &[f32; 4]) -> __m128 {
    let taps = &line[4 * start as usize..][..16];
    let (Some(low), Some(high)) = (taps.first_chunk(), taps.last_chunk()) else {
        unreachable!("16 floats have two blocks of 8")
    };
    // SAFETY: the reference covers the 16 bytes read.
    let weights = unsafe { _mm_loadu_ps(weights.as_ptr()) };
    let weights = _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(weights), weights);
    let w01 = _mm256_permutevar_ps(weights, _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1));
    let w23 = _mm256_permutevar_ps(weights, _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3));
    // Low half: taps 0 and 2; high half: taps 1 and 3.
    let sum = _mm256_add_ps(
        _mm256_mul_ps(load8(low), w01),
        _mm256_mul_ps(load8(high), w23),
    );
    _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum))
}

#[target_feature(enable = "avx2")]
fn horizontal(line: &[f32], columns: &Taps, out: &mut [u8]) {
    let compact = _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
    let (starts, starts_rest) = columns.starts().as_chunks::<4>();
    let (weights, weights_rest) = columns.weights().as_chunks::<4>();
    let mut written = 0;
    for (s, w) in starts.iter().zip(weights) {
        let p0 = _mm_cvtps_epi32(pixel(line, s[0], &w[0]));
        let p1 = _mm_cvtps_epi32(pixel(line, s[1], &w[1]));
        let p2 = _mm_cvtps_epi32(pixel(line, s[2], &w[2]));
        let p3 = _mm_cvtps_epi32(pixel(line, s[3], &w[3]));
        let bytes = _mm_packus_epi16(_mm_packs_epi32(p0, p1), _mm_packs_epi32(p2, p3));
        store12(&mut out[written..], _mm_shuffle_epi8(bytes, compact));
        written += 12;
    }
    for ((&start, w), out) in starts_rest
        .iter()
        .zip(weights_rest)
        .zip(out[written..].as_chunks_mut::<3>().0)
    {
        let p = _mm_cvtps_epi32(pixel(line, start, w));
        let bytes = _mm_packus_epi16(_mm_packs_epi32(p, p), _mm_packs_epi32(p, p));
        let mut lanes = [0; 16];
        store16(&mut lanes, bytes);
        out.copy_from_slice(&lanes[..3]);
    }
}

#[target_feature(enable = "avx2")]
fn store16(out: &mut [u8; 16], bytes: __m128i) {
    // SAFETY: the reference covers the 16 bytes written; unaligned stores are allowed.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), bytes) }
}

/// Writes the first 12 bytes to the front of `out`; up to 4 bytes after them are overwritten if they exist.
#[target_feature(enable = "avx2")]
fn store12(out: &mut [u8], bytes: __m128i) {
    if let Some(out) = out.first_chunk_mut() {
        store16(out, bytes);
    } else {
        let mut lanes = [0; 16];
        store16(&mut lanes, bytes);
        out[..12].copy_from_slice(&lanes[..12]);
    }
}
