//! Crop rects from landmarks or from a file, cut at the picture's edge as the reference cuts them.

use std::path::Path;

use super::ImportError;
use super::dataset::Rects;
use crate::avatar::{CropRects, landmarks};
use crate::frame::Size;

/// Every rect of the source, not yet held against the pictures.
pub(super) fn read(source: &Rects) -> Result<Vec<[i32; 4]>, ImportError> {
    match source {
        Rects::Landmarks(folder) => {
            let files = landmarks::list(folder)?;
            let rects = files.iter().map(|file| landmarks::rect(file));
            Ok(rects.collect::<Result<_, _>>()?)
        }
        Rects::File(path) => {
            let rects = CropRects::load(path)?;
            let corners = |index| {
                let rect = rects.get(index)?;
                Some([rect.x1(), rect.y1(), rect.x2(), rect.y2()].map(|corner| corner as i32))
            };
            Ok((0..rects.len()).filter_map(corners).collect())
        }
    }
}

/// The rects as they lie in pictures of `size`, and how many had to be cut.
///
/// Where a rect leaves the picture on the right or at the bottom, numpy's slices end at the edge, so the reference uses
/// what is left. On the left and at the top a negative number means something else there, and no picture comes of it.
pub(super) fn fit(rects: &[[i32; 4]], size: Size) -> Result<(Vec<[u32; 4]>, usize), ImportError> {
    let (width, height) = (size.width as i32, size.height as i32);
    let mut cut = 0;
    let mut fitted = Vec::with_capacity(rects.len());
    for (frame, &rect) in rects.iter().enumerate() {
        let [x1, y1, x2, y2] = rect;
        let (right, bottom) = (x2.min(width), y2.min(height));
        if x1 < 0 || y1 < 0 || x1 >= right || y1 >= bottom {
            return Err(ImportError::Outside { frame, rect, size });
        }
        cut += usize::from((right, bottom) != (x2, y2));
        fitted.push([x1, y1, right, bottom].map(|corner| corner as u32));
    }
    Ok((fitted, cut))
}

/// Writes them in the flat form.
pub(super) fn write(rects: &[[u32; 4]], path: &Path) -> Result<(), ImportError> {
    let text = serde_json::json!(rects).to_string();
    std::fs::write(path, text).map_err(ImportError::write(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size {
        width: 100,
        height: 80,
    };

    #[test]
    fn rects_are_cut_on_the_right_and_at_the_bottom_only() {
        let rects = [[0, 0, 100, 80], [60, 10, 101, 51], [30, 50, 70, 90]];
        let (fitted, cut) = fit(&rects, SIZE).unwrap();
        assert_eq!(
            fitted,
            [[0, 0, 100, 80], [60, 10, 100, 51], [30, 50, 70, 80]]
        );
        assert_eq!(cut, 2);
        for rect in [
            [-1, 0, 10, 11],
            [0, -1, 10, 9],
            [100, 0, 120, 20],
            [0, 80, 20, 100],
        ] {
            let error = fit(&[rects[0], rect], SIZE).unwrap_err().to_string();
            assert!(
                error.contains("frame 1") && error.contains("100x80"),
                "{error}"
            );
        }
    }

    #[test]
    fn both_sources_give_rects() {
        let folder = tempfile::tempdir().unwrap();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/landmarks");
        for frame in 0..4 {
            let name = format!("{frame}.lms");
            std::fs::copy(golden.join(&name), folder.path().join(&name)).unwrap();
        }
        let found = read(&Rects::Landmarks(folder.path().to_owned())).unwrap();
        assert_eq!(
            found,
            [
                [532, 210, 714, 392],
                [532, 211, 714, 393],
                [535, 212, 717, 394],
                [539, 215, 720, 396]
            ]
        );
        let file = folder.path().join("rects.json");
        let (fitted, _) = fit(
            &found,
            Size {
                width: 1280,
                height: 720,
            },
        )
        .unwrap();
        write(&fitted, &file).unwrap();
        assert_eq!(read(&Rects::File(file)).unwrap(), found);
    }
}
