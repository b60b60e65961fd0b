//! What the generator sees of a background: the crop rectangle at 328x328 and the tensor made of it.
//!
//! As `SyncTalk_2D`'s `inference_328.py`: the rectangle is resized bicubically to 328x328; its inner 320x320 goes in
//! as B, G, R divided by 255, and once more with the mouth region blacked out.

use crate::compositor::{Kernels, Taps, planes_from_rgb, resize_rows};
use crate::frame::{Frame, Rect};
use crate::inference::{ROI_SIDE, VISUAL_LEN};

/// Side of the crop, in pixels.
pub const CROP_SIDE: usize = 328;
/// Pixels between the crop's edge and the region the generator sees.
pub const CROP_MARGIN: usize = (CROP_SIDE - ROI_SIDE) / 2;

/// Columns and rows of the region that are blacked out: `cv2.rectangle(img, (5, 5, 310, 305), 0, -1)`.
const MASK_COLUMNS: std::ops::RangeInclusive<usize> = 5..=314;
const MASK_ROWS: std::ops::RangeInclusive<usize> = 5..=309;

/// The crop rectangle of one background at 328x328, RGB8.
#[derive(Clone, PartialEq, Eq)]
pub struct Crop {
    data: Box<[u8]>,
}

impl Crop {
    /// The pixels, RGB8, row by row.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }
}

impl std::fmt::Debug for Crop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Crop({CROP_SIDE}x{CROP_SIDE})")
    }
}

/// Resizes the rectangle of `frame` to 328x328 as `cv2.resize(..., interpolation=cv2.INTER_CUBIC)` does.
///
/// # Panics
/// If the rectangle does not lie inside the frame; avatars check theirs when they load.
#[must_use]
pub fn crop_328(frame: &Frame, rect: Rect) -> Crop {
    assert!(
        rect.fits(frame.size()),
        "rect {rect} outside a frame of {}",
        frame.size()
    );
    let size = rect.size();
    let columns = Taps::cubic(size.width as usize, CROP_SIDE);
    let rows = Taps::cubic(size.height as usize, CROP_SIDE);
    let mut data = vec![0; 3 * CROP_SIDE * CROP_SIDE];
    resize_rows(
        Kernels::detect(),
        &columns,
        &rows,
        &mut data,
        |y, mut planes| {
            let pixels =
                &frame.row(rect.y1() + y as u32)[3 * rect.x1() as usize..3 * rect.x2() as usize];
            planes_from_rgb(pixels, 0, &mut planes);
        },
    );
    Crop { data: data.into() }
}

/// Writes the generator's visual input, f32 `[6, 320, 320]`: B, G, R of the crop's inner region divided by 255, then
/// the same with columns 5..=314 of rows 5..=309 set to 0.
///
/// # Panics
/// If `out` is not [`VISUAL_LEN`] long.
pub fn visual_tensor(crop: &Crop, out: &mut [f32]) {
    assert_eq!(out.len(), VISUAL_LEN, "visual tensor length");
    let scale: [f32; 256] = std::array::from_fn(|value| value as f32 / 255.0);
    let (seen, masked) = out.split_at_mut(VISUAL_LEN / 2);
    let inner =
        |y: usize| &crop.data[3 * ((y + CROP_MARGIN) * CROP_SIDE + CROP_MARGIN)..][..3 * ROI_SIDE];
    for (channel, plane) in [2, 1, 0]
        .into_iter()
        .zip(seen.chunks_exact_mut(ROI_SIDE * ROI_SIDE))
    {
        for (y, row) in plane.chunks_exact_mut(ROI_SIDE).enumerate() {
            for (out, pixel) in row.iter_mut().zip(inner(y).as_chunks::<3>().0) {
                *out = scale[usize::from(pixel[channel])];
            }
        }
    }
    masked.copy_from_slice(seen);
    for plane in masked.chunks_exact_mut(ROI_SIDE * ROI_SIDE) {
        for row in plane
            .chunks_exact_mut(ROI_SIDE)
            .take(MASK_ROWS.end() + 1)
            .skip(*MASK_ROWS.start())
        {
            row[MASK_COLUMNS].fill(0.0);
        }
    }
}
