//! The pictures an avatar is painted on: found in a folder, checked by their headers, decoded when first shown.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder as _, ImageReader};

use super::jpeg;
use crate::files;
use crate::frame::{Frame, Size};

/// The files of one background folder in frame order, all of one size.
#[derive(Clone, Debug)]
pub struct Backgrounds {
    folder: PathBuf,
    files: Vec<PathBuf>,
    size: Size,
}

/// Why a background folder or one of its pictures cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackgroundError {
    /// The folder cannot be listed.
    #[error("cannot list background folder {}: {source}", folder.display())]
    List {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No file is named as a background.
    #[error(
        "no backgrounds in {}: expected frame_0000.png, frame_0001.png, … (or 0.png, 0.jpg, …)",
        folder.display()
    )]
    None {
        /// The folder.
        folder: PathBuf,
    },
    /// A number between others has no file.
    #[error(
        "background {frame} is missing in {}: frames are numbered from 0 without gaps",
        folder.display()
    )]
    Gap {
        /// The folder.
        folder: PathBuf,
        /// The missing frame.
        frame: usize,
    },
    /// Two files claim one frame.
    #[error(
        "background {frame} exists twice in {}: {first} and {second}; keep one",
        folder.display()
    )]
    Twice {
        /// The folder.
        folder: PathBuf,
        /// The frame.
        frame: usize,
        /// One file's name.
        first: String,
        /// The other's.
        second: String,
    },
    /// A picture cannot be read or decoded.
    #[error("background {frame} ({}) cannot be decoded: {reason}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// The frame.
        frame: usize,
        /// What the decoder said.
        reason: String,
    },
    /// A picture differs in size from the first.
    #[error(
        "background {frame} ({}) is {found}, but background 0 is {expected}: all must agree",
        path.display()
    )]
    Size {
        /// The file.
        path: PathBuf,
        /// The frame.
        frame: usize,
        /// Its size.
        found: Size,
        /// The size of background 0.
        expected: Size,
    },
    /// A picture has transparent pixels, which RGB frames cannot keep.
    #[error(
        "background {frame} ({}) has transparent pixels: frames are RGB, flatten it first",
        path.display()
    )]
    Transparent {
        /// The file.
        path: PathBuf,
        /// The frame.
        frame: usize,
    },
}

impl Backgrounds {
    /// Lists `folder` and reads the header of every background in it; no pixel is decoded.
    ///
    /// # Errors
    /// If the folder cannot be listed, numbers have gaps or twins, a header is unreadable, or sizes differ.
    pub fn open(folder: &Path) -> Result<Self, BackgroundError> {
        let files = list(folder)?;
        let mut size = None;
        for (frame, path) in files.iter().enumerate() {
            let found = header(path, frame)?;
            let expected = *size.get_or_insert(found);
            if found != expected {
                return Err(BackgroundError::Size {
                    path: path.clone(),
                    frame,
                    found,
                    expected,
                });
            }
        }
        match size {
            Some(size) => Ok(Self {
                folder: folder.to_owned(),
                files,
                size,
            }),
            None => Err(BackgroundError::None {
                folder: folder.to_owned(),
            }),
        }
    }

    /// Lists `folder` and takes the size of the first picture that tells one; the others are not looked at.
    pub(super) fn survey(folder: &Path) -> Result<Self, BackgroundError> {
        let files = list(folder)?;
        let mut sizes = files.iter().enumerate();
        let size = sizes.find_map(|(frame, path)| header(path, frame).ok());
        match (size, files.first()) {
            (Some(size), _) => Ok(Self {
                folder: folder.to_owned(),
                files,
                size,
            }),
            (None, first) => {
                Err(first
                    .and_then(|path| header(path, 0).err())
                    .unwrap_or_else(|| BackgroundError::None {
                        folder: folder.to_owned(),
                    }))
            }
        }
    }

    /// Keeps only the first `frames` backgrounds.
    pub fn truncate(&mut self, frames: usize) {
        self.files.truncate(frames);
    }

    /// The folder they came from.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of background `index`.
    #[must_use]
    pub fn file(&self, index: usize) -> Option<&Path> {
        self.files.get(index).map(PathBuf::as_path)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there are none; an opened folder always has one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The size all of them have.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// Bytes of the file of background `index` if that is a PNG, whatever its name says.
    ///
    /// # Panics
    /// If `index` is not one of [`Backgrounds::len`].
    #[must_use]
    pub fn png_bytes(&self, index: usize) -> Option<u64> {
        let mut file = files::open(&self.files[index]).ok()?;
        let mut start = [0; 4];
        file.read_exact(&mut start).ok()?;
        let bytes = file.metadata().ok()?.len();
        (start == *b"\x89PNG").then_some(bytes)
    }

    /// Whether the EXIF data of background `index` turn it. One that cannot be read is not turned.
    ///
    /// # Panics
    /// If `index` is not one of [`Backgrounds::len`].
    #[must_use]
    pub fn is_turned(&self, index: usize) -> bool {
        let reader = open(&self.files[index], index).ok();
        let decoder = reader.and_then(|reader| reader.into_decoder().ok());
        decoder.is_some_and(|mut decoder| orientation(&mut decoder) != Orientation::NoTransforms)
    }

    /// Reads the file of background `index`.
    ///
    /// # Errors
    /// If it cannot be read.
    ///
    /// # Panics
    /// If `index` is not one of [`Backgrounds::len`].
    pub fn read(&self, index: usize) -> Result<Vec<u8>, BackgroundError> {
        files::read(&self.files[index]).map_err(|error| self.undecodable(index, error.to_string()))
    }

    /// Reads and decodes background `index`.
    ///
    /// # Errors
    /// As [`Backgrounds::read`] and [`Backgrounds::decode_file`].
    ///
    /// # Panics
    /// If `index` is not one of [`Backgrounds::len`].
    pub fn decode(&self, index: usize) -> Result<Frame, BackgroundError> {
        self.decode_file(index, &self.read(index)?)
    }

    /// Decodes `file`, the content of the file of background `index`, to RGB8, upright by its EXIF data. Grey becomes RGB,
    /// opaque alpha is dropped.
    ///
    /// # Errors
    /// If the file changed, is broken, or has pixels that are not opaque.
    ///
    /// # Panics
    /// If `index` is not one of [`Backgrounds::len`].
    pub fn decode_file(&self, index: usize, file: &[u8]) -> Result<Frame, BackgroundError> {
        let mut decoder = ImageReader::new(std::io::Cursor::new(file))
            .with_guessed_format()
            .map_err(|error| self.undecodable(index, error.to_string()))?
            .into_decoder()
            .map_err(|error| self.undecodable(index, error.to_string()))?;
        let orientation = orientation(&mut decoder);
        let jpeg = if jpeg::is_jpeg(file) {
            jpeg::decode(file).map_err(|reason| self.undecodable(index, reason))?
        } else {
            None
        };
        let mut picture = match jpeg {
            Some(picture) => picture,
            None => DynamicImage::from_decoder(decoder)
                .map_err(|error| self.undecodable(index, error.to_string()))?,
        };
        picture.apply_orientation(orientation);
        let size = Size {
            width: picture.width(),
            height: picture.height(),
        };
        if size != self.size {
            return Err(BackgroundError::Size {
                path: self.files[index].clone(),
                frame: index,
                found: size,
                expected: self.size,
            });
        }
        if has_transparency(&picture) {
            return Err(BackgroundError::Transparent {
                path: self.files[index].clone(),
                frame: index,
            });
        }
        Frame::from_rgb(size, picture.into_rgb8().into_raw()).ok_or_else(|| {
            self.undecodable(
                index,
                "the decoder returned a wrong number of pixels".to_owned(),
            )
        })
    }

    fn undecodable(&self, index: usize, reason: String) -> BackgroundError {
        BackgroundError::Decode {
            path: self.files[index].clone(),
            frame: index,
            reason,
        }
    }
}

/// The files named `frame_N` or `N` with a picture's ending, by number; names in between are left alone.
fn list(folder: &Path) -> Result<Vec<PathBuf>, BackgroundError> {
    let failed = |source| BackgroundError::List {
        folder: folder.to_owned(),
        source,
    };
    let mut found = BTreeMap::<usize, PathBuf>::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let Some(frame) = number(&path) else { continue };
        if let Some(first) = found.get(&frame) {
            return Err(BackgroundError::Twice {
                folder: folder.to_owned(),
                frame,
                first: name(first),
                second: name(&path),
            });
        }
        found.insert(frame, path);
    }
    if let Some(frame) = (0..found.len()).find(|frame| !found.contains_key(frame)) {
        return Err(BackgroundError::Gap {
            folder: folder.to_owned(),
            frame,
        });
    }
    Ok(found.into_values().collect())
}

/// The frame that a picture shows by its name: `frame_0007.png`, `7.jpg`.
pub(crate) fn number(path: &Path) -> Option<usize> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    if !matches!(ending.as_str(), "png" | "jpg" | "jpeg") {
        return None;
    }
    let stem = path.file_stem()?.to_str()?;
    let digits = stem.strip_prefix("frame_").unwrap_or(stem);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn open(
    path: &Path,
    frame: usize,
) -> Result<ImageReader<std::io::BufReader<std::fs::File>>, BackgroundError> {
    // By content, not by name: training sets hold JPEGs named .png.
    files::open(path)
        .map(|file| ImageReader::new(std::io::BufReader::new(file)))
        .and_then(ImageReader::with_guessed_format)
        .map_err(|error| BackgroundError::Decode {
            path: path.to_owned(),
            frame,
            reason: error.to_string(),
        })
}

fn header(path: &Path, frame: usize) -> Result<Size, BackgroundError> {
    let mut decoder =
        open(path, frame)?
            .into_decoder()
            .map_err(|error| BackgroundError::Decode {
                path: path.to_owned(),
                frame,
                reason: error.to_string(),
            })?;
    let (width, height) = decoder.dimensions();
    let (width, height) = match orientation(&mut decoder) {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => (height, width),
        _ => (width, height),
    };
    Ok(Size { width, height })
}

/// How the picture is to be turned by its EXIF data. The rects come from pictures that `OpenCV` has turned so.
fn orientation(decoder: &mut impl image::ImageDecoder) -> Orientation {
    // EXIF data that cannot be read turns nothing, there as here.
    decoder.orientation().unwrap_or(Orientation::NoTransforms)
}

fn has_transparency(picture: &DynamicImage) -> bool {
    if !picture.color().has_alpha() {
        return false;
    }
    match picture {
        DynamicImage::ImageRgba8(pixels) => pixels.pixels().any(|p| p.0[3] != u8::MAX),
        DynamicImage::ImageLumaA8(pixels) => pixels.pixels().any(|p| p.0[1] != u8::MAX),
        other => other.to_rgba16().pixels().any(|p| p.0[3] != u16::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, width: u32, height: u32) {
        image::RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 7]))
            .save(folder.join(name))
            .unwrap();
    }

    fn error(folder: &Path) -> String {
        Backgrounds::open(folder).unwrap_err().to_string()
    }

    #[test]
    fn both_namings_and_formats_load_in_numeric_order() {
        for names in [
            ["frame_0000.png", "frame_0001.png", "frame_0002.png"],
            ["0.jpg", "1.jpeg", "2.png"],
        ] {
            let folder = tempfile::tempdir().unwrap();
            for name in names {
                write(folder.path(), name, 8, 6);
            }
            std::fs::write(folder.path().join("notes.txt"), "left alone").unwrap();
            let backgrounds = Backgrounds::open(folder.path()).unwrap();
            assert_eq!(backgrounds.len(), 3);
            assert_eq!(
                backgrounds.size(),
                Size {
                    width: 8,
                    height: 6
                }
            );
            assert_eq!(name(backgrounds.file(2).unwrap()), names[2]);
            let frame = backgrounds.decode(2).unwrap();
            assert_eq!(frame.row(5)[3 * 7..], [7, 5, 7]);
        }
    }

    /// Pictures of all eight orientations, and what `OpenCV` reads of each: `tools/golden_exif.py`.
    #[test]
    fn pictures_are_turned_as_opencv_turns_them() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/exif");
        for (ending, tolerance) in [("png", 0), ("jpg", 2)] {
            for turn in 1..=8 {
                let folder = tempfile::tempdir().unwrap();
                let name = format!("{turn}.{ending}");
                std::fs::copy(
                    golden.join(&name),
                    folder.path().join(format!("0.{ending}")),
                )
                .unwrap();
                let backgrounds = Backgrounds::open(folder.path()).unwrap();
                let frame = backgrounds.decode(0).unwrap();
                let expected = image::open(golden.join(format!("{turn}_{ending}_upright.png")));
                let expected = expected.unwrap().into_rgb8();
                assert_eq!(
                    (frame.size().width, frame.size().height),
                    expected.dimensions(),
                    "{name}"
                );
                let mut pairs = frame.data().iter().zip(expected.as_raw());
                assert!(pairs.all(|(a, b)| a.abs_diff(*b) <= tolerance), "{name}");
            }
        }
    }

    #[test]
    fn ten_comes_after_nine() {
        let folder = tempfile::tempdir().unwrap();
        for frame in 0..11 {
            write(folder.path(), &format!("{frame}.png"), 2, 2);
        }
        let backgrounds = Backgrounds::open(folder.path()).unwrap();
        assert_eq!(name(backgrounds.file(10).unwrap()), "10.png");
    }

    #[test]
    fn every_broken_folder_is_an_error_that_names_the_frame() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert!(error(&path.join("missing")).contains("cannot list"));
        assert!(error(path).contains("no backgrounds"));
        write(path, "0.png", 4, 4);
        write(path, "2.png", 4, 4);
        assert!(error(path).contains("background 1 is missing"));
        write(path, "1.png", 4, 5);
        assert!(error(path).contains("background 1"));
        assert!(error(path).contains("is 4x5, but background 0 is 4x4"));
        write(path, "1.png", 4, 4);
        write(path, "frame_0001.png", 4, 4);
        assert!(error(path).contains("background 1 exists twice"));
        std::fs::remove_file(path.join("frame_0001.png")).unwrap();
        std::fs::write(path.join("1.png"), b"not a picture").unwrap();
        assert!(error(path).contains("background 1"));
    }

    #[test]
    fn a_truncated_picture_is_found_when_decoded() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "0.png", 64, 64);
        let file = folder.path().join("0.png");
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
        let backgrounds = Backgrounds::open(folder.path()).unwrap();
        let error = backgrounds.decode(0).unwrap_err().to_string();
        assert!(error.contains("background 0"), "{error}");
    }

    #[test]
    fn grey_becomes_rgb_opaque_alpha_is_dropped_and_real_alpha_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        image::GrayImage::from_pixel(3, 3, image::Luma([9]))
            .save(path.join("0.png"))
            .unwrap();
        image::RgbaImage::from_pixel(3, 3, image::Rgba([1, 2, 3, 255]))
            .save(path.join("1.png"))
            .unwrap();
        image::RgbaImage::from_pixel(3, 3, image::Rgba([1, 2, 3, 254]))
            .save(path.join("2.png"))
            .unwrap();
        let backgrounds = Backgrounds::open(path).unwrap();
        assert_eq!(backgrounds.decode(0).unwrap().row(0)[..3], [9, 9, 9]);
        assert_eq!(backgrounds.decode(1).unwrap().row(0)[..3], [1, 2, 3]);
        let error = backgrounds.decode(2).unwrap_err().to_string();
        assert!(error.contains("background 2"), "{error}");
        assert!(error.contains("transparent"), "{error}");
    }
}
