//! From the network's prediction to the pixels of the crop rectangle, in one fused pass.
//!
//! A prediction is f32 `[3, 320, 320]`, channels B, G, R, in [0, 1]. It is scaled by 255, truncated to u8 and
//! resized to the rectangle's size; the result is packed RGB8. What does not depend on the prediction is prepared
//! once per background as a [`Placement`]. Every row of the prediction is read once, so checking it for NaN and
//! infinity costs nothing extra.

pub mod crop;
mod feather;
mod kernels;
mod resize;
#[cfg(target_arch = "x86_64")]
mod simd;
mod taps;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::compositor::crop::{CROP_MARGIN, CROP_SIDE, Crop};
use crate::frame::Size;
use crate::frame::network_io::{PREDICTION_LEN, ROI_SIDE};

pub use feather::{Feather, fade};
pub(crate) use kernels::Kernels;
pub(crate) use resize::{PlanarRow, resize_rows};
pub(crate) use taps::Taps;

/// How the prediction is fitted into the rectangle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Geometry {
    /// The geometry the network was trained with: the prediction replaces the inner 320x320 of the 328x328 crop,
    /// and that crop, resized bicubically, replaces the rectangle.
    #[default]
    Inset,
    /// The 320x320 prediction resized bilinearly to the whole rectangle.
    Stretch,
}

/// A prediction holds NaN or infinity; such a frame has no pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the network's output holds NaN or infinite values: check the model file and its inputs")]
pub struct NonFinite;

/// Makes [`Placement`]s of one geometry; rectangles of one size share their weights.
#[derive(Debug)]
pub struct Compositor {
    geometry: Geometry,
    scalings: Mutex<HashMap<Size, Weak<Scaling>>>,
}

/// Weights for one geometry and rectangle size.
#[derive(Debug)]
struct Scaling {
    columns: Taps,
    rows: Taps,
}

/// What compositing into one background's rectangle needs, prepared once.
#[derive(Clone, Debug)]
pub struct Placement {
    scaling: Arc<Scaling>,
    /// The crop's pixels around the prediction, for the inset geometry.
    border: Option<Border>,
}

/// RGB8 pixels of the 328x328 crop outside its inner 320x320.
#[derive(Clone, Debug)]
struct Border {
    /// The crop's first four rows, then its last four.
    caps: Box<[u8]>,
    /// For each row between: its first four pixels, then its last four.
    sides: Box<[u8]>,
}

const CAP_ROW: usize = 3 * CROP_SIDE;
const SIDE_ROW: usize = 3 * CROP_MARGIN;

impl Compositor {
    /// A compositor without weights yet; they are made as sizes appear and dropped with the last placement.
    #[must_use]
    pub fn new(geometry: Geometry) -> Self {
        Self {
            geometry,
            scalings: Mutex::default(),
        }
    }

    /// How predictions are fitted.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Prepares compositing into a rectangle of `size` whose background crop is `crop`.
    ///
    /// # Panics
    /// If `size` is empty, which the size of a [`crate::frame::Rect`] never is.
    #[must_use]
    pub fn placement(&self, crop: &Crop, size: Size) -> Placement {
        let border = match self.geometry {
            Geometry::Inset => Some(Border::of(crop)),
            Geometry::Stretch => None,
        };
        Placement {
            scaling: self.scaling(size),
            border,
        }
    }

    fn scaling(&self, size: Size) -> Arc<Scaling> {
        let mut scalings = self.scalings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scaling) = scalings.get(&size).and_then(Weak::upgrade) {
            return scaling;
        }
        scalings.retain(|_, scaling| scaling.strong_count() > 0);
        let scaling = Arc::new(Scaling::new(self.geometry, size));
        scalings.insert(size, Arc::downgrade(&scaling));
        scaling
    }
}

impl Scaling {
    fn new(geometry: Geometry, size: Size) -> Self {
        let axis = |target: u32| match geometry {
            Geometry::Inset => Taps::cubic(CROP_SIDE, target as usize),
            Geometry::Stretch => Taps::linear(ROI_SIDE, target as usize),
        };
        Self {
            columns: axis(size.width),
            rows: axis(size.height),
        }
    }
}

impl Placement {
    /// Size of the rectangle.
    #[must_use]
    pub fn size(&self) -> Size {
        let scaling = &self.scaling;
        Size {
            width: scaling.columns.target() as u32,
            height: scaling.rows.target() as u32,
        }
    }

    /// Heap bytes of this placement alone.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.border
            .as_ref()
            .map_or(0, |border| border.caps.len() + border.sides.len())
    }

    /// Heap bytes of the weights, shared by all placements of this size.
    #[must_use]
    pub fn shared_memory_bytes(&self) -> usize {
        self.scaling.columns.memory_bytes() + self.scaling.rows.memory_bytes()
    }
}

impl Border {
    fn of(crop: &Crop) -> Self {
        let data = crop.data();
        let (top, rest) = data.split_at(CROP_MARGIN * CAP_ROW);
        let (middle, bottom) = rest.split_at(ROI_SIDE * CAP_ROW);
        let sides = middle
            .chunks_exact(CAP_ROW)
            .flat_map(|row| row[..SIDE_ROW].iter().chain(&row[CAP_ROW - SIDE_ROW..]))
            .copied()
            .collect();
        Self {
            caps: [top, bottom].concat().into(),
            sides,
        }
    }
}

/// Turns a prediction into the rectangle's pixels: packed RGB8, `3 * width * height` bytes.
///
/// # Errors
/// [`NonFinite`] if the prediction holds NaN or infinity; `patch` is then not to be shown.
///
/// # Panics
/// If `prediction` is not [`PREDICTION_LEN`] long or `patch` not of the placement's size.
pub fn composite(
    prediction: &[f32],
    placement: &Placement,
    patch: &mut [u8],
) -> Result<(), NonFinite> {
    composite_with(Kernels::detect(), prediction, placement, patch)
}

fn composite_with(
    kernels: Kernels,
    prediction: &[f32],
    placement: &Placement,
    patch: &mut [u8],
) -> Result<(), NonFinite> {
    assert_eq!(prediction.len(), PREDICTION_LEN, "prediction length");
    let scaling = &*placement.scaling;
    let mut finite = true;
    resize_rows(kernels, &scaling.columns, &scaling.rows, patch, |y, row| {
        finite &= match &placement.border {
            Some(border) => inset_row(kernels, prediction, border, y, row),
            None => prediction_row(
                kernels,
                prediction,
                y,
                row.map(|plane| &mut plane[..ROI_SIDE]),
            ),
        };
    });
    if finite { Ok(()) } else { Err(NonFinite) }
}

/// Row `y` of the crop with the prediction in it; false if that is not finite.
fn inset_row(
    kernels: Kernels,
    prediction: &[f32],
    border: &Border,
    y: usize,
    mut row: PlanarRow<'_>,
) -> bool {
    const RIGHT: usize = CROP_MARGIN + ROI_SIDE;
    let Some(inner) = y.checked_sub(CROP_MARGIN) else {
        planes_from_rgb(&border.caps[y * CAP_ROW..][..CAP_ROW], 0, &mut row);
        return true;
    };
    if inner >= ROI_SIDE {
        let cap = inner - ROI_SIDE + CROP_MARGIN;
        planes_from_rgb(&border.caps[cap * CAP_ROW..][..CAP_ROW], 0, &mut row);
        return true;
    }
    let (left, right) = border.sides[inner * 2 * SIDE_ROW..][..2 * SIDE_ROW].split_at(SIDE_ROW);
    planes_from_rgb(left, 0, &mut row);
    planes_from_rgb(right, RIGHT, &mut row);
    prediction_row(
        kernels,
        prediction,
        inner,
        row.map(|plane| &mut plane[CROP_MARGIN..RIGHT]),
    )
}

/// Row `y` of the prediction, B, G, R planes to R, G, B; false if it is not finite.
fn prediction_row(kernels: Kernels, prediction: &[f32], y: usize, row: PlanarRow<'_>) -> bool {
    let planes = prediction.chunks_exact(ROI_SIDE * ROI_SIDE).rev();
    planes.zip(row).fold(true, |finite, (plane, out)| {
        kernels.quantise(&plane[y * ROI_SIDE..][..ROI_SIDE], out) && finite
    })
}

/// Packed RGB8 pixels to columns `x..` of planar f32.
pub(crate) fn planes_from_rgb(pixels: &[u8], x: usize, row: &mut PlanarRow<'_>) {
    for (channel, plane) in row.iter_mut().enumerate() {
        for (out, pixel) in plane[x..].iter_mut().zip(pixels.as_chunks::<3>().0) {
            *out = f32::from(pixel[channel]);
        }
    }
}
