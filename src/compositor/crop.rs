//! What the generator sees of a background: the crop rectangle at 328x328 and the tensor made of it.
//!
//! As `SyncTalk_2D`'s `inference_328.py`: the rectangle is resized bicubically to 328x328; its inner 320x320 goes in
//! as B, G, R divided by 255, and once more with the mouth region blacked out.

use crate::compositor::{Kernels, Taps, planes_from_rgb, resize_rows};
use crate::frame::network_io::{ROI_SIDE, VISUAL_LEN, VisualSource};
use crate::frame::{Frame, Rect};

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

/// What the generator sees of one background: the crop's inner 320x320 as planes of B, G and R, 8 bits a sample.
///
/// This is what is kept of a background, not the tensor: making that takes less time than fetching its 2.4 MB from
/// memory would (docs/performance.md).
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    planes: Box<[u8]>,
}

impl Seen {
    /// Bytes of the planes.
    pub const BYTES: usize = VISUAL_LEN / 2;

    /// The inner region of `crop`.
    #[must_use]
    pub fn of(crop: &Crop) -> Self {
        let rows = crop.data.chunks_exact(3 * CROP_SIDE);
        let rows = rows.skip(CROP_MARGIN).take(ROI_SIDE);
        let planes = [2, 1, 0].into_iter().flat_map(|channel| {
            rows.clone().flat_map(move |row| {
                let pixels = row[3 * CROP_MARGIN..][..3 * ROI_SIDE].as_chunks::<3>().0;
                pixels.iter().map(move |pixel| pixel[channel])
            })
        });
        Self {
            planes: planes.collect(),
        }
    }

    /// Writes the generator's visual input, f32 `[6, 320, 320]`: the planes divided by 255, then the same with
    /// columns 5..=314 of rows 5..=309 set to 0.
    ///
    /// # Panics
    /// If `out` is not [`VISUAL_LEN`] long.
    pub fn write(&self, out: &mut [f32]) {
        assert_eq!(out.len(), VISUAL_LEN, "visual tensor length");
        let (seen, masked) = out.split_at_mut(VISUAL_LEN / 2);
        for (out, &sample) in seen.iter_mut().zip(&self.planes) {
            *out = f32::from(sample) / 255.0;
        }
        let rows = masked
            .chunks_exact_mut(ROI_SIDE)
            .zip(seen.chunks_exact(ROI_SIDE));
        for (row, (masked, seen)) in rows.enumerate() {
            if MASK_ROWS.contains(&(row % ROI_SIDE)) {
                let (left, right) = (*MASK_COLUMNS.start(), MASK_COLUMNS.end() + 1);
                masked[..left].copy_from_slice(&seen[..left]);
                masked[left..right].fill(0.0);
                masked[right..].copy_from_slice(&seen[right..]);
            } else {
                masked.copy_from_slice(seen);
            }
        }
    }
}

impl VisualSource for Seen {
    fn write(&self, out: &mut [f32]) {
        Self::write(self, out);
    }
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Seen({ROI_SIDE}x{ROI_SIDE})")
    }
}
