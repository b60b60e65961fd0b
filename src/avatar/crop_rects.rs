//! The rect of every frame in which the mouth is painted, read from either of the two JSON forms that occur.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::landmarks::{self, LandmarksError};
use crate::config::RectPolicy;
use crate::frame::{Rect, Size};

/// Some editors begin a file of UTF-8 with it.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// One rect a frame, in frame order, in pixels of the background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CropRects {
    rects: Vec<Rect>,
}

/// Why a crop rect file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CropRectsError {
    /// The file cannot be read.
    #[error("cannot read crop rects {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not JSON.
    #[error("crop rects {} are not valid JSON: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why, by line and column.
        source: serde_json::Error,
    },
    /// The JSON is neither of the two forms, or has no frames.
    #[error("crop rects {}: {reason}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// One frame's rect is unusable.
    #[error("crop rects {}, frame {frame}: {reason}", path.display())]
    Frame {
        /// The file.
        path: PathBuf,
        /// The frame's index.
        frame: usize,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A folder of landmarks.
    #[error(transparent)]
    Landmarks(#[from] LandmarksError),
}

impl CropRects {
    /// Reads `path`, a folder of landmarks or a file: `{"0":{"rect":[x1,y1,x2,y2],…},…}` or `[[x1,y1,x2,y2],…]`.
    ///
    /// # Errors
    /// If the file cannot be read, is of neither form, has a gap, or holds a rect that is empty, inverted or negative.
    pub fn load(path: &Path) -> Result<Self, CropRectsError> {
        Self::of(&read(path)?, path)
    }

    /// Reads the same from memory; `path` only names the source in errors.
    ///
    /// # Errors
    /// As [`CropRects::load`].
    pub fn parse(text: &[u8], path: &Path) -> Result<Self, CropRectsError> {
        Self::of(&entries(text, path)?, path)
    }

    fn of(entries: &[Value], path: &Path) -> Result<Self, CropRectsError> {
        let rects = entries
            .iter()
            .enumerate()
            .map(|(frame, entry)| rect_of(frame, entry, path))
            .collect::<Result<_, _>>()?;
        Ok(Self { rects })
    }

    /// Everything wrong with the file at `path`: all unusable rects, and of the first `frames` all that do not lie in
    /// backgrounds of `size`, where that is known.
    pub(super) fn faults(
        path: &Path,
        size: Option<Size>,
        frames: usize,
        policy: RectPolicy,
    ) -> Vec<CropRectsError> {
        let entries = match read(path) {
            Ok(entries) => entries,
            Err(fault) => return vec![fault],
        };
        let fault = |(frame, entry): (usize, &Value)| match rect_of(frame, entry, path) {
            Err(fault) => Some(fault),
            Ok(rect) => size
                .filter(|size| frame < frames && !within(rect, *size, policy).fits(*size))
                .map(|size| outside(frame, rect, size, path)),
        };
        entries.iter().enumerate().filter_map(fault).collect()
    }

    /// Treats rects that leave backgrounds of `size` as `policy` says.
    pub fn apply(&mut self, policy: RectPolicy, size: Size) {
        for rect in &mut self.rects {
            *rect = within(*rect, size, policy);
        }
    }

    /// Checks that the first `frames` rects lie inside backgrounds of `size`; `path` names the source in errors.
    ///
    /// # Errors
    /// Names the first frame whose rect does not fit.
    pub fn check(&self, size: Size, frames: usize, path: &Path) -> Result<(), CropRectsError> {
        match self.rects.iter().take(frames).position(|r| !r.fits(size)) {
            None => Ok(()),
            Some(frame) => Err(outside(frame, self.rects[frame], size, path)),
        }
    }

    /// The rect of frame `index`, if there is one.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Rect> {
        self.rects.get(index).copied()
    }

    /// How many frames have a rect.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rects.len()
    }

    /// Whether there are none; a loaded file always has one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rects.is_empty()
    }
}

/// The frames at `path`, in order, not yet looked at.
fn read(path: &Path) -> Result<Vec<Value>, CropRectsError> {
    if path.is_dir() {
        let files = landmarks::list(path)?;
        let rects = files.iter().map(|file| Ok(landmarks::rect(file)?.into()));
        return rects.collect();
    }
    let text = crate::files::read(path).map_err(|source| CropRectsError::Read {
        path: path.to_owned(),
        source,
    })?;
    entries(&text, path)
}

/// The rect as `policy` has it in a picture of `size`: one that begins outside stays as it is.
fn within(rect: Rect, size: Size, policy: RectPolicy) -> Rect {
    let (x2, y2) = (rect.x2().min(size.width), rect.y2().min(size.height));
    match policy {
        RectPolicy::Strict => rect,
        RectPolicy::Clip => Rect::new(rect.x1(), rect.y1(), x2, y2).unwrap_or(rect),
    }
}

/// The frames of the file, in order, not yet looked at. A byte order mark is no part of the text.
fn entries(text: &[u8], path: &Path) -> Result<Vec<Value>, CropRectsError> {
    let text = text.strip_prefix(BOM).unwrap_or(text);
    let value: Value = serde_json::from_slice(text).map_err(|source| CropRectsError::Json {
        path: path.to_owned(),
        source,
    })?;
    let form = |reason: &str| CropRectsError::Form {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let entries = match value {
        Value::Array(list) => list,
        Value::Object(map) => keyed(map, path)?,
        _ => {
            return Err(form(
                "expected a list of [x1, y1, x2, y2] or an object of frames",
            ));
        }
    };
    if entries.is_empty() {
        return Err(form("no frames: at least one rect is needed"));
    }
    Ok(entries)
}

/// The rect of one frame.
fn rect_of(frame: usize, entry: &Value, path: &Path) -> Result<Rect, CropRectsError> {
    rect(entry).map_err(|reason| CropRectsError::Frame {
        path: path.to_owned(),
        frame,
        reason,
    })
}

/// A rect that does not lie in its background.
fn outside(frame: usize, rect: Rect, size: Size, path: &Path) -> CropRectsError {
    CropRectsError::Frame {
        path: path.to_owned(),
        frame,
        reason: format!(
            "rect {rect} reaches outside the {size} background; `rects: clip` cuts it at the right and at the bottom, as SyncTalk_2D does"
        ),
    }
}

/// Orders `{"0": …, "1": …}` by number and refuses gaps.
fn keyed(map: serde_json::Map<String, Value>, path: &Path) -> Result<Vec<Value>, CropRectsError> {
    let mut entries = Vec::with_capacity(map.len());
    for (key, value) in map {
        let Ok(index) = key.parse::<usize>() else {
            return Err(CropRectsError::Form {
                path: path.to_owned(),
                reason: format!("key {key:?} is not a frame number"),
            });
        };
        entries.push((index, value));
    }
    entries.sort_by_key(|(index, _)| *index);
    for (expected, (index, _)) in entries.iter().enumerate() {
        if *index != expected {
            let reason = if *index < expected {
                "the frame appears twice"
            } else {
                "the frame is missing: frames are numbered from 0 without gaps"
            };
            return Err(CropRectsError::Frame {
                path: path.to_owned(),
                frame: expected.min(*index),
                reason: reason.to_owned(),
            });
        }
    }
    Ok(entries.into_iter().map(|(_, value)| value).collect())
}

fn rect(entry: &Value) -> Result<Rect, String> {
    let list = match entry {
        Value::Object(fields) => fields
            .get("rect")
            .ok_or("no \"rect\" in this frame's object")?,
        other => other,
    };
    let list = list
        .as_array()
        .ok_or("expected a rect [x1, y1, x2, y2] of four numbers")?;
    if list.len() != 4 {
        return Err(format!(
            "expected a rect of four numbers [x1, y1, x2, y2], found {}",
            list.len()
        ));
    }
    let mut corners = [0u32; 4];
    for (corner, value) in corners.iter_mut().zip(list) {
        *corner = pixel(value).ok_or_else(|| {
            format!("{value} is not a pixel coordinate: expected a whole number of at least 0")
        })?;
    }
    let [x1, y1, x2, y2] = corners;
    Rect::new(x1, y1, x2, y2).ok_or_else(|| {
        format!(
            "rect [{x1}, {y1}, {x2}, {y2}] is empty or inverted: x1 < x2 and y1 < y2 are needed"
        )
    })
}

/// A whole, non-negative number; numpy exports write `3.0` for `3`.
fn pixel(value: &Value) -> Option<u32> {
    match value.as_u64() {
        Some(whole) => u32::try_from(whole).ok(),
        None => value
            .as_f64()
            .filter(|f| f.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(f))
            .map(|f| f as u32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<CropRects, String> {
        CropRects::parse(text.as_bytes(), Path::new("rects.json")).map_err(|e| e.to_string())
    }

    #[test]
    fn both_forms_load_alike() {
        let flat = parse("[[1,2,3,4],[5,6,7,8]]").unwrap();
        let keyed =
            parse(r#"{"1":{"rect":[5,6,7,8]},"0":{"rect":[1.0,2,3,4],"more":true}}"#).unwrap();
        assert_eq!(flat, keyed);
        assert_eq!(flat.get(1), Rect::new(5, 6, 7, 8));
        assert_eq!((flat.len(), flat.get(2)), (2, None));
    }

    #[test]
    fn a_changed_file_is_answered() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/crop_rects");
        let file = |name: &str| std::fs::read(golden.join(name)).unwrap();
        let corpus = [
            b"[[1,2,3,4],[5,6,7,8]]".to_vec(),
            br#"{"1":{"rect":[5,6,7,8]},"0":{"rect":[1.0,2,3e0,4],"more":true}}"#.to_vec(),
            file("crop_rects_flat.json"),
            file("crop_rectangles.json"),
        ];
        let path = Path::new("rects.json");
        let size = Size {
            width: 1280,
            height: 720,
        };
        crate::mutations::each(&corpus, |text| {
            if let Ok(mut rects) = CropRects::parse(text, path) {
                rects.apply(RectPolicy::Clip, size);
                // What passes lies inside the picture.
                if rects.check(size, rects.len(), path).is_ok() {
                    for index in 0..rects.len() {
                        let rect = rects.get(index).unwrap();
                        assert!(rect.x2() <= size.width && rect.y2() <= size.height);
                    }
                }
            }
        });
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_file() {
        assert_eq!(parse("\u{feff}[[1,2,3,4]]").unwrap().len(), 1);
    }

    #[test]
    fn a_folder_of_landmarks_gives_the_rects() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/landmarks");
        let folder = tempfile::tempdir().unwrap();
        for frame in 0..4 {
            let name = format!("{frame}.lms");
            std::fs::copy(golden.join(&name), folder.path().join(name)).unwrap();
        }
        let rects = CropRects::load(folder.path()).unwrap();
        assert_eq!(rects.len(), 4);
        let expected = landmarks::rect(&golden.join("3.lms")).unwrap();
        let [x1, y1, x2, y2] = expected.map(|pixel| u32::try_from(pixel).unwrap());
        assert_eq!(rects.get(3), Rect::new(x1, y1, x2, y2));
    }

    #[test]
    fn clipping_cuts_at_the_right_and_at_the_bottom() {
        let size = Size {
            width: 10,
            height: 8,
        };
        let mut rects = parse("[[1,2,12,9],[1,2,3,4],[10,2,12,4]]").unwrap();
        rects.apply(RectPolicy::Strict, size);
        let error = rects.check(size, 3, Path::new("r.json")).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("frame 0") && error.contains("rects: clip"));
        rects.apply(RectPolicy::Clip, size);
        assert_eq!(rects.get(0), Rect::new(1, 2, 10, 8));
        assert_eq!(rects.get(1), Rect::new(1, 2, 3, 4));
        let error = rects.check(size, 3, Path::new("r.json")).unwrap_err();
        assert!(error.to_string().contains("frame 2"));
    }

    #[test]
    fn the_two_forms_of_a_real_avatar_are_equal() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/crop_rects");
        let keyed = CropRects::load(&folder.join("crop_rectangles.json")).unwrap();
        let flat = CropRects::load(&folder.join("crop_rects_flat.json")).unwrap();
        assert_eq!(keyed, flat);
        assert_eq!(keyed.len(), 523);
        let size = Size {
            width: 1280,
            height: 720,
        };
        keyed.check(size, 523, &folder).unwrap();
    }

    #[test]
    fn every_broken_file_is_an_error_that_names_the_frame() {
        for (text, expected) in [
            ("[", "not valid JSON"),
            ("3", "expected a list"),
            ("[]", "no frames"),
            ("{}", "no frames"),
            (r#"{"a":{"rect":[1,2,3,4]}}"#, "\"a\" is not a frame number"),
            (
                r#"{"0":{"rect":[1,2,3,4]},"2":{"rect":[1,2,3,4]}}"#,
                "frame 1: the frame is missing",
            ),
            (
                r#"{"0":{"rect":[1,2,3,4]},"00":{"rect":[1,2,3,4]}}"#,
                "frame 0: the frame appears twice",
            ),
            (r#"{"0":{"box":[1,2,3,4]}}"#, "frame 0: no \"rect\""),
            ("[[1,2,3]]", "frame 0: expected a rect of four"),
            (
                "[[1,2,3,4],[3,2,1,4]]",
                "frame 1: rect [3, 2, 1, 4] is empty or inverted",
            ),
            ("[[1,2,1,4]]", "empty or inverted"),
            ("[[-1,2,3,4]]", "frame 0: -1 is not a pixel"),
            ("[[1,2,3.5,4]]", "frame 0: 3.5 is not a pixel"),
            ("[[1,2,99999999999,4]]", "is not a pixel"),
            (r#"[[1,2,"3",4]]"#, "is not a pixel"),
            ("[7]", "frame 0: expected a rect"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(error.contains("rects.json"), "{text}: {error}");
        }
    }

    #[test]
    fn a_rect_outside_the_background_names_its_frame() {
        let rects = parse("[[0,0,10,10],[0,0,11,10]]").unwrap();
        let size = Size {
            width: 10,
            height: 10,
        };
        let error = rects.check(size, 2, Path::new("r.json")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "crop rects r.json, frame 1: rect [0, 0, 11, 10] reaches outside the 10x10 background; `rects: clip` cuts it at the right and at the bottom, as SyncTalk_2D does"
        );
        rects.check(size, 1, Path::new("r.json")).unwrap();
    }
}
