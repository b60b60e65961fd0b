//! PNG's five row filters, over lines that carry one pixel of context on their left.

/// How a row's bytes are predicted from their neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Filter {
    None,
    Sub,
    Up,
    Average,
    Paeth,
}

/// Every filter, at the index that names it in a file.
pub(super) const FILTERS: [Filter; 5] = [
    Filter::None,
    Filter::Sub,
    Filter::Up,
    Filter::Average,
    Filter::Paeth,
];

/// Bytes of one RGB pixel.
pub(super) const PIXEL: usize = 3;

/// The residuals of `line` under `filter`: `out[i]` is `line[i + 3]` minus its prediction. `above` is the row above;
/// both lines begin with the pixel to the left of the first one filtered.
///
/// # Panics
/// If the lines differ in length or `out` is not one pixel shorter.
pub(super) fn filter(filter: Filter, above: &[u8], line: &[u8], out: &mut [u8]) {
    assert!(above.len() == line.len() && line.len() == out.len() + PIXEL);
    let n = out.len();
    let (x, a) = (&line[PIXEL..][..n], &line[..n]);
    let (b, c) = (&above[PIXEL..][..n], &above[..n]);
    match filter {
        Filter::None => out.copy_from_slice(x),
        Filter::Sub => (0..n).for_each(|i| out[i] = x[i].wrapping_sub(a[i])),
        Filter::Up => (0..n).for_each(|i| out[i] = x[i].wrapping_sub(b[i])),
        Filter::Average => (0..n).for_each(|i| out[i] = x[i].wrapping_sub(a[i].midpoint(b[i]))),
        Filter::Paeth => (0..n).for_each(|i| out[i] = x[i].wrapping_sub(paeth(a[i], b[i], c[i]))),
    }
}

/// Whichever of left, above and above left is nearest to `a + b - c`; ties in that order.
#[inline]
fn paeth(a: u8, b: u8, c: u8) -> u8 {
    let [wide_a, wide_b, wide_c] = [a, b, c].map(i16::from);
    let (to_a, to_b) = (wide_b - wide_c, wide_a - wide_c);
    let (near_a, near_b, near_c) = (to_a.abs(), to_b.abs(), (to_a + to_b).abs());
    let b_or_c = if near_b <= near_c { b } else { c };
    if near_a <= near_b && near_a <= near_c {
        a
    } else {
        b_or_c
    }
}

/// The sum of the residuals' magnitudes as signed bytes: small where a filter predicts well.
pub(super) fn magnitude(residuals: &[u8]) -> u64 {
    residuals
        .iter()
        .map(|&r| u64::from(r.cast_signed().unsigned_abs()))
        .sum()
}
