//! The one separable resize of the project: source rows are asked for once, in order, and combined on the way.
//!
//! The vertical pass runs first, on three planar f32 rows per source row; its result is interleaved to four lanes
//! a pixel (R, G, B, 0) so that the horizontal pass reads four neighbouring pixels as one run of sixteen floats.
//! Weights and intermediate values are f32: within 1 of the result of `OpenCV` on far fewer bytes than its
//! own 11-bit fixed point would be.

use super::kernels::Kernels;
use super::taps::Taps;

/// Lanes of a SIMD step; rows are padded to a multiple of it.
const LANES: usize = 8;

/// One source row as planes of f32 in 0..=255: R, G, B. Each is as long as the source is wide, plus padding.
pub(crate) type PlanarRow<'a> = [&'a mut [f32]; 3];

/// Resizes to packed RGB8. `fill(y, row)` writes source row `y`; every source row is asked for, in order, once.
///
/// # Panics
/// If `out` is not `3 * width * height` bytes of the target.
pub(crate) fn resize_rows(
    kernels: Kernels,
    columns: &Taps,
    rows: &Taps,
    out: &mut [u8],
    mut fill: impl FnMut(usize, PlanarRow<'_>),
) {
    let out_row = 3 * columns.target();
    assert_eq!(out.len(), out_row * rows.target(), "output size");
    // Four columns at least, so that a tap window of a tiny source stays inside.
    let width = columns.source().max(4).next_multiple_of(LANES);
    // The last four source rows, by row number modulo 4: all a bicubic tap window ever needs.
    let mut ring = vec![0.0_f32; 4 * 3 * width];
    let mut line = vec![0.0_f32; 4 * width];
    let mut next = 0;
    let mut read_to = |end: usize, ring: &mut [f32]| {
        while next < end.min(rows.source()) {
            let (red, rest) = ring[next % 4 * 3 * width..][..3 * width].split_at_mut(width);
            let (green, blue) = rest.split_at_mut(width);
            fill(next, [red, green, blue]);
            next += 1;
        }
    };
    let outputs = rows
        .starts()
        .iter()
        .zip(rows.weights())
        .zip(out.chunks_exact_mut(out_row));
    for ((&start, weights), out) in outputs {
        let start = start as usize;
        read_to(start + 4, &mut ring);
        let window = [0, 1, 2, 3].map(|tap| &ring[(start + tap) % 4 * 3 * width..][..3 * width]);
        kernels.vertical(window, *weights, &mut line);
        kernels.horizontal(&line, columns, out);
    }
    read_to(rows.source(), &mut ring);
}
