//! The rect of a frame from the landmarks of its face, as `SyncTalk_2D` computes it.
//!
//! A `.lms` file holds 110 points, `x y` a line, perhaps fractional. The rect begins at point 1's x and point 52's y, is as
//! wide as it is to point 31's x, and square. Coordinates are cut to whole pixels first.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The points that bound the mouth's rect, counted from 0.
const LEFT: usize = 1;
const RIGHT: usize = 31;
const TOP: usize = 52;
/// Bytes of a file at most; 110 points take one thousand.
const BYTES_MAX: u64 = 1 << 20;
/// Coordinates beyond this are no pixels.
const COORDINATE_MAX: f32 = 1e6;

/// Why landmarks give no rect.
#[derive(Debug, thiserror::Error)]
pub enum LandmarksError {
    /// The folder or a file cannot be read.
    #[error("cannot read landmarks {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No file is named as one.
    #[error("no landmarks in {}: expected 0.lms, 1.lms, …", folder.display())]
    None {
        /// The folder.
        folder: PathBuf,
    },
    /// A number between others has no file.
    #[error("landmarks {}: frame {frame} is missing: they are numbered from 0 without gaps", folder.display())]
    Gap {
        /// The folder.
        folder: PathBuf,
        /// The missing frame.
        frame: usize,
    },
    /// A line is not `x y`.
    #[error("landmarks {}, line {line}: expected \"x y\", two numbers in pixels", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// There are too few lines for the points that are needed.
    #[error("landmarks {} hold {found} of 110 points", path.display())]
    Points {
        /// The file.
        path: PathBuf,
        /// How many there are.
        found: usize,
    },
    /// The points give no rect.
    #[error(
        "landmarks {} give no rect: point 1 must be left of point 31, but they are at x {left} and {right}",
        path.display()
    )]
    Inverted {
        /// The file.
        path: PathBuf,
        /// Point 1.
        left: i32,
        /// Point 31.
        right: i32,
    },
}

/// The landmark files of a folder in frame order: `0.lms`, `1.lms`, …
///
/// # Errors
/// If the folder cannot be listed, holds none, or their numbers have a gap.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>, LandmarksError> {
    let failed = |source| LandmarksError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if let Some(frame) = number(&path) {
            found.insert(frame, path);
        }
    }
    if found.is_empty() {
        return Err(LandmarksError::None {
            folder: folder.to_owned(),
        });
    }
    match (0..found.len()).find(|frame| !found.contains_key(frame)) {
        Some(frame) => Err(LandmarksError::Gap {
            folder: folder.to_owned(),
            frame,
        }),
        None => Ok(found.into_values().collect()),
    }
}

fn number(path: &Path) -> Option<usize> {
    let ending = path.extension()?.to_str()?;
    let stem = path.file_stem()?.to_str()?;
    let digits = !stem.is_empty() && stem.bytes().all(|byte| byte.is_ascii_digit());
    (ending.eq_ignore_ascii_case("lms") && digits)
        .then(|| stem.parse().ok())
        .flatten()
}

/// The rect `[x1, y1, x2, y2]` of the landmarks in `path`. It may leave the picture.
///
/// # Errors
/// If the file cannot be read, a line is not `x y`, points are missing, or the rect is empty.
pub fn rect(path: &Path) -> Result<[i32; 4], LandmarksError> {
    use std::io::Read as _;
    let failed = |source| LandmarksError::Read {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    let file = crate::files::open(path).map_err(failed)?;
    file.take(BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(failed)?;
    rect_of(&text, path)
}

/// The same from the text of a file; `path` is for errors.
fn rect_of(text: &str, path: &Path) -> Result<[i32; 4], LandmarksError> {
    let mut points = Vec::new();
    for (index, line) in text.trim_end().lines().enumerate() {
        let point = point(line).ok_or_else(|| LandmarksError::Line {
            path: path.to_owned(),
            line: index + 1,
        })?;
        points.push(point);
    }
    let (Some(&(left, _)), Some(&(right, _)), Some(&(_, top))) =
        (points.get(LEFT), points.get(RIGHT), points.get(TOP))
    else {
        return Err(LandmarksError::Points {
            path: path.to_owned(),
            found: points.len(),
        });
    };
    if left >= right {
        return Err(LandmarksError::Inverted {
            path: path.to_owned(),
            left,
            right,
        });
    }
    Ok([left, top, right, top + (right - left)])
}

/// A point in whole pixels. The reference reads it in single precision and cuts it towards zero.
fn point(line: &str) -> Option<(i32, i32)> {
    let mut numbers = line.split_whitespace().map(|number| {
        let number: f32 = number.parse().ok()?;
        // NaN is in no range.
        (-COORDINATE_MAX..=COORDINATE_MAX)
            .contains(&number)
            .then_some(number as i32)
    });
    let point = (numbers.next()??, numbers.next()??);
    numbers.next().is_none().then_some(point)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Landmarks of ten frames of a real avatar, and the rects that were made of them.
    fn golden() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/landmarks")
    }

    #[test]
    fn a_changed_file_is_answered() {
        let corpus =
            [0, 50, 522].map(|frame| std::fs::read(golden().join(format!("{frame}.lms"))).unwrap());
        crate::mutations::each(&corpus, |text| {
            if let Ok([x1, y1, x2, y2]) =
                rect_of(&String::from_utf8_lossy(text), Path::new("0.lms"))
            {
                assert!(x1 < x2 && y1 < y2, "{x1},{y1},{x2},{y2}");
            }
        });
    }

    #[test]
    fn real_landmarks_give_the_rects_that_the_reference_made_of_them() {
        let text = std::fs::read_to_string(golden().join("rects.json")).unwrap();
        let rects: BTreeMap<usize, [i32; 4]> = serde_json::from_str(&text).unwrap();
        assert_eq!(rects.len(), 10);
        for (frame, expected) in rects {
            assert_eq!(
                rect(&golden().join(format!("{frame}.lms"))).unwrap(),
                expected
            );
        }
    }

    #[test]
    fn a_folder_with_a_gap_names_the_frame() {
        let error = list(&golden()).unwrap_err().to_string();
        assert!(error.contains("frame 4 is missing"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let error = list(folder.path()).unwrap_err().to_string();
        assert!(error.contains("expected 0.lms"), "{error}");
        for name in ["0.lms", "1.lms", "10.lms", "2.lms", "notes.txt"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert!(matches!(
            list(folder.path()),
            Err(LandmarksError::Gap { frame: 3, .. })
        ));
        for frame in 3..10 {
            std::fs::write(folder.path().join(format!("{frame}.lms")), "").unwrap();
        }
        let files = list(folder.path()).unwrap();
        assert_eq!(files.len(), 11);
        assert!(files[10].ends_with("10.lms"));
    }

    /// Points 0 to 109 at `(index, 1000 + index)`, with some others.
    fn text(others: &[(usize, &str)]) -> String {
        let line = |index: usize| {
            let other = others.iter().find(|(place, _)| *place == index);
            other.map_or_else(
                || format!("{index} {}", 1000 + index),
                |(_, line)| (*line).to_owned(),
            )
        };
        (0..110).map(line).collect::<Vec<_>>().join("\n")
    }

    fn found(others: &[(usize, &str)]) -> Result<[i32; 4], String> {
        rect_of(&text(others), Path::new("7.lms")).map_err(|error| error.to_string())
    }

    #[test]
    fn fractions_are_cut_before_anything_is_computed() {
        assert_eq!(found(&[]).unwrap(), [1, 1052, 31, 1082]);
        let others = [(1, "10.99 5"), (31, "110.01 5"), (52, "7 20.999")];
        assert_eq!(found(&others).unwrap(), [10, 20, 110, 120]);
        // Towards zero, as a cast does.
        assert_eq!(
            found(&[(1, "-3.7 0"), (52, "0 -0.5")]).unwrap(),
            [-3, 0, 31, 34]
        );
    }

    #[test]
    fn what_gives_no_rect_says_why() {
        for (line, reason) in [
            ("1", "line 4"),
            ("a b", "line 4"),
            ("1 2 3", "line 4"),
            ("nan 1", "line 4"),
            ("1e9 1", "line 4"),
        ] {
            let error = found(&[(3, line)]).unwrap_err();
            assert!(error.contains("7.lms") && error.contains(reason), "{error}");
        }
        assert!(found(&[(31, "1 1")]).unwrap_err().contains("x 1 and 1"));
        let error = rect_of("1 2\n3 4\n", Path::new("7.lms"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("hold 2 of 110 points"), "{error}");
    }
}
