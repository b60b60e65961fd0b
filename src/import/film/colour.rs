//! Planes of luma and chroma to RGB.

use mp4_atom::Colr;

use crate::frame::{Frame, Size};

/// How a film's numbers stand for colours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Colours {
    /// Luma weights of red and blue.
    kr: f32,
    kb: f32,
    is_full_range: bool,
}

/// What is taken where a film does not say, as `OpenCV` does, with which the reference reads films.
const BT601: Colours = Colours {
    kr: 0.299,
    kb: 0.114,
    is_full_range: false,
};

impl Colours {
    /// As the film's tag says; numbers are those of ITU-T H.273.
    pub(super) fn of(tag: Option<&Colr>) -> Self {
        let (matrix, is_full_range) = match tag {
            Some(Colr::Nclx {
                matrix_coefficients,
                full_range_flag,
                ..
            }) => (*matrix_coefficients, *full_range_flag),
            Some(Colr::Nclc {
                matrix_coefficients,
                ..
            }) => (*matrix_coefficients, false),
            _ => (0, false),
        };
        let (kr, kb) = match matrix {
            1 => (0.2126, 0.0722),
            9 | 10 => (0.2627, 0.0593),
            _ => (BT601.kr, BT601.kb),
        };
        Self {
            kr,
            kb,
            is_full_range,
        }
    }
}

/// The planes of a picture; chroma has half its width and height.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planes<'a> {
    pub(super) y: &'a [u8],
    pub(super) u: &'a [u8],
    pub(super) v: &'a [u8],
    /// Bytes from one row to the next.
    pub(super) strides: (usize, usize, usize),
}

/// The picture as RGB; each sample of chroma counts for its four pixels, as `OpenCV` has it. `None` without a size.
pub(super) fn to_rgb(
    planes: &Planes<'_>,
    width: usize,
    height: usize,
    colours: Colours,
) -> Option<Frame> {
    let size = Size {
        width: u32::try_from(width).ok()?,
        height: u32::try_from(height).ok()?,
    };
    let Colours {
        kr,
        kb,
        is_full_range,
    } = colours;
    let kg = 1.0 - kr - kb;
    // Luma takes 219 steps from 16, chroma 224 around 128; or both take all.
    let (black, luma, chroma) = if is_full_range {
        (0.0, 1.0, 1.0)
    } else {
        (16.0, 255.0 / 219.0, 255.0 / 224.0)
    };
    let (red_v, blue_u) = (2.0 * (1.0 - kr) * chroma, 2.0 * (1.0 - kb) * chroma);
    let (green_u, green_v) = (blue_u * kb / kg, red_v * kr / kg);
    let mut rgb = Vec::with_capacity(size.rgb_bytes());
    let (y_stride, u_stride, v_stride) = planes.strides;
    for row in 0..height {
        let y = planes.y.get(row * y_stride..)?.get(..width)?;
        let half = width.div_ceil(2);
        let u = planes.u.get(row / 2 * u_stride..)?.get(..half)?;
        let v = planes.v.get(row / 2 * v_stride..)?.get(..half)?;
        for (column, &y) in y.iter().enumerate() {
            let y = (f32::from(y) - black) * luma;
            let u = f32::from(u[column / 2]) - 128.0;
            let v = f32::from(v[column / 2]) - 128.0;
            let pixel = [y + red_v * v, y - green_u * u - green_v * v, y + blue_u * u];
            rgb.extend(pixel.map(|value| (value + 0.5) as u8));
        }
    }
    Frame::from_rgb(size, rgb)
}
