//! Prediction from samples of the same picture (H.264, 8.3).

/// What lies around a square of `N` samples, as far as it is in the same slice.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::encoder::h264::codec) struct Around<const N: usize>
where
    [u8; N]: Default,
{
    pub(in crate::encoder::h264::codec) left: Option<[u8; N]>,
    pub(in crate::encoder::h264::codec) above: Option<[u8; N]>,
    pub(in crate::encoder::h264::codec) corner: Option<u8>,
}

/// How a 16x16 or a chroma block is predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::encoder::h264::codec) enum Mode {
    Vertical,
    Horizontal,
    Mean,
    Plane,
}

impl Mode {
    pub(in crate::encoder::h264::codec) const ALL: [Self; 4] =
        [Self::Mean, Self::Horizontal, Self::Vertical, Self::Plane];

    /// As a 16x16 block's type counts them.
    pub(in crate::encoder::h264::codec) fn luma_number(self) -> u32 {
        match self {
            Self::Vertical => 0,
            Self::Horizontal => 1,
            Self::Mean => 2,
            Self::Plane => 3,
        }
    }

    /// As `intra_chroma_pred_mode` counts them.
    pub(in crate::encoder::h264::codec) fn chroma_number(self) -> u32 {
        match self {
            Self::Mean => 0,
            Self::Horizontal => 1,
            Self::Vertical => 2,
            Self::Plane => 3,
        }
    }
}

/// A 16x16 block, if what the mode takes is there.
pub(in crate::encoder::h264::codec) fn luma16(
    around: &Around<16>,
    mode: Mode,
    out: &mut [u8; 256],
) -> Option<()> {
    match mode {
        Mode::Vertical => fill_rows(&around.above?, out),
        Mode::Horizontal => fill_columns(&around.left?, out),
        Mode::Mean => out.fill(mean(around.left.as_ref(), around.above.as_ref())),
        Mode::Plane => {
            let (left, above) = (around.left?, around.above?);
            plane(&left, &above, around.corner?, (5, 6), out);
        }
    }
    Some(())
}

/// An 8x8 block of chroma, if what the mode takes is there.
pub(in crate::encoder::h264::codec) fn chroma8(
    around: &Around<8>,
    mode: Mode,
    out: &mut [u8; 64],
) -> Option<()> {
    match mode {
        Mode::Vertical => fill_rows(&around.above?, out),
        Mode::Horizontal => fill_columns(&around.left?, out),
        Mode::Mean => chroma_mean(around, out),
        Mode::Plane => {
            let (left, above) = (around.left?, around.above?);
            plane(&left, &above, around.corner?, (34, 6), out);
        }
    }
    Some(())
}

fn fill_rows<const N: usize>(above: &[u8; N], out: &mut [u8]) {
    for row in out.as_chunks_mut::<N>().0 {
        *row = *above;
    }
}

fn fill_columns<const N: usize>(left: &[u8; N], out: &mut [u8]) {
    for (row, left) in out.as_chunks_mut::<N>().0.iter_mut().zip(left) {
        row.fill(*left);
    }
}

/// The mean of what is there, 128 if nothing is.
fn mean<const N: usize>(left: Option<&[u8; N]>, above: Option<&[u8; N]>) -> u8 {
    let sum = |side: &[u8; N]| side.iter().map(|v| u32::from(*v)).sum::<u32>();
    let n = N as u32;
    (match (left, above) {
        (Some(left), Some(above)) => (sum(left) + sum(above) + n) / (2 * n),
        (Some(side), None) | (None, Some(side)) => (sum(side) + n / 2) / n,
        (None, None) => 128,
    }) as u8
}

/// Each quarter of a chroma block has a mean of its own, two of them of the nearer side alone.
fn chroma_mean(around: &Around<8>, out: &mut [u8; 64]) {
    let half = |side: Option<[u8; 8]>, at: usize| {
        side.map(|side| -> [u8; 4] { std::array::from_fn(|i| side[4 * at + i]) })
    };
    for (y, x) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let (left, above) = (half(around.left, y), half(around.above, x));
        let value = match (y, x) {
            (0, 1) if above.is_some() => mean(None, above.as_ref()),
            (1, 0) if left.is_some() => mean(left.as_ref(), None),
            _ => mean(left.as_ref(), above.as_ref()),
        };
        for row in 0..4 {
            out[(4 * y + row) * 8 + 4 * x..][..4].fill(value);
        }
    }
}

/// A slope through the sides.
fn plane<const N: usize>(
    left: &[u8; N],
    above: &[u8; N],
    corner: u8,
    (factor, shift): (i32, i32),
    out: &mut [u8],
) {
    let half = N / 2;
    let slope = |side: &[u8; N]| -> i32 {
        (0..half)
            .map(|i| {
                let before = match (half - 1).checked_sub(i + 1) {
                    Some(at) => side[at],
                    None => corner,
                };
                (i as i32 + 1) * (i32::from(side[half + i]) - i32::from(before))
            })
            .sum()
    };
    let gradient = |slope: i32| (factor * slope + (1 << (shift - 1))) >> shift;
    let (b, c) = (gradient(slope(above)), gradient(slope(left)));
    let a = 16 * (i32::from(left[N - 1]) + i32::from(above[N - 1]));
    for (y, row) in out.as_chunks_mut::<N>().0.iter_mut().enumerate() {
        for (x, out) in row.iter_mut().enumerate() {
            let (dx, dy) = (x as i32 - half as i32 + 1, y as i32 - half as i32 + 1);
            *out = ((a + b * dx + c * dy + 16) >> 5).clamp(0, 255) as u8;
        }
    }
}

/// What lies around a 4x4 block: 0 to 3 above, 4 to 7 above right.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::encoder::h264::codec) struct Around4 {
    pub(in crate::encoder::h264::codec) left: Option<[u8; 4]>,
    pub(in crate::encoder::h264::codec) above: Option<[u8; 8]>,
    pub(in crate::encoder::h264::codec) corner: Option<u8>,
}

/// Modes of 4x4 blocks, by their number.
pub(in crate::encoder::h264::codec) const MODES_4X4: u8 = 9;
/// The mode that needs nothing.
pub(in crate::encoder::h264::codec) const MEAN_4X4: u8 = 2;

/// A 4x4 block, row by row, if what the mode takes is there.
pub(in crate::encoder::h264::codec) fn luma4(around: &Around4, mode: u8) -> Option<[u8; 16]> {
    let at = |f: &dyn Fn(i32, i32) -> u8| -> [u8; 16] {
        std::array::from_fn(|i| f(i as i32 % 4, i as i32 / 4))
    };
    match mode {
        0 => around.above.map(|above| at(&|x, _| above[x as usize])),
        1 => around.left.map(|left| at(&|_, y| left[y as usize])),
        MEAN_4X4 => {
            let above = around.above.map(|a| [a[0], a[1], a[2], a[3]]);
            Some([mean(around.left.as_ref(), above.as_ref()); 16])
        }
        3 | 7 => {
            let above = around.above?;
            let t = |i: i32| u32::from(above[i.min(7) as usize]);
            let three = |i: i32| ((t(i) + 2 * t(i + 1) + t(i + 2) + 2) >> 2) as u8;
            let two = |i: i32| ((t(i) + t(i + 1) + 1) >> 1) as u8;
            Some(if mode == 3 {
                at(&|x, y| three(x + y))
            } else {
                at(&|x, y| {
                    let i = x + y / 2;
                    if y % 2 == 0 { two(i) } else { three(i) }
                })
            })
        }
        8 => {
            let left = around.left?;
            let l = |i: i32| u32::from(left[i.min(3) as usize]);
            Some(at(&|x, y| {
                let z = x + 2 * y;
                let i = y + x / 2;
                if z > 5 {
                    left[3]
                } else if z % 2 == 0 {
                    ((l(i) + l(i + 1) + 1) >> 1) as u8
                } else {
                    ((l(i) + 2 * l(i + 1) + l(i + 2) + 2) >> 2) as u8
                }
            }))
        }
        _ => {
            let (left, above, corner) = (around.left?, around.above?, around.corner?);
            // From the left side's end over the corner along the top: the corner is 0.
            let p = |i: i32| {
                u32::from(match i {
                    0 => corner,
                    1.. => above[i as usize - 1],
                    _ => left[-i as usize - 1],
                })
            };
            let three = |i: i32| ((p(i - 1) + 2 * p(i) + p(i + 1) + 2) >> 2) as u8;
            let two = |i: i32| ((p(i) + p(i + 1) + 1) >> 1) as u8;
            Some(match mode {
                4 => at(&|x, y| three(x - y)),
                5 => at(&|x, y| match 2 * x - y {
                    z if z < -1 => three(1 - y),
                    z if z % 2 == 0 => two(x - y / 2),
                    -1 => three(0),
                    _ => three(x - y / 2),
                }),
                6 => at(&|x, y| match 2 * y - x {
                    z if z < -1 => three(x - 1),
                    z if z % 2 == 0 => two(x / 2 - y - 1),
                    -1 => three(0),
                    _ => three(x / 2 - y),
                }),
                _ => return None,
            })
        }
    }
}
