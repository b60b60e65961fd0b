//! What a folder of a trained avatar holds, in any of the layouts that occur.
//!
//! ```text
//! dataset/NAME/full_body_img/0.jpg …   landmarks/0.lms …            as SyncTalk_2D trains from it
//! NAME/frames/frame_000001.jpg …       cache/crop_rectangles.json   as packages have it
//! NAME/full_body_video.mp4             crop_rects.json              package_info.json, checkpoint/model_best.onnx
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::ImportError;
use crate::avatar::backgrounds;

/// Folders that hold the pictures, the first that is there.
const PICTURE_FOLDERS: [&str; 4] = ["full_body_img", "frames", "full_body_frames", "backgrounds"];
/// Films that hold them.
const FILMS: [&str; 1] = ["full_body_video.mp4"];
/// Files of rects.
const RECT_FILES: [&str; 4] = [
    "crop_rects.json",
    "cache/crop_rectangles.json",
    "crop_rectangles.json",
    "cache/crop_rects.json",
];
/// Networks of packages, and what the reference's tree has beside `dataset/NAME`.
const GENERATORS: [&str; 4] = [
    "checkpoint/model_best.onnx",
    "models/generator.onnx",
    "generator.onnx",
    "unet_328.onnx",
];
const ENCODERS: [&str; 6] = [
    "checkpoint/audio_encoder.onnx",
    "models/audio_encoder.onnx",
    "audio_encoder.onnx",
    "../audio_encoder.onnx",
    "../../model/checkpoints/audio_visual_encoder.pth",
    "audio_visual_encoder.pth",
];
/// Features that other modes of the training leave.
const OTHER_FEATURES: [(&str, &str); 3] = [
    ("aud_hu.npy", "hubert"),
    ("aud_hubert.npy", "hubert"),
    ("aud_wenet.npy", "wenet"),
];

/// Where the backgrounds come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pictures {
    /// Files in frame order.
    Files(Vec<PathBuf>),
    /// A film.
    Film(PathBuf),
}

/// Where the rects come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rects {
    /// A folder of landmarks.
    Landmarks(PathBuf),
    /// A file of either form.
    File(PathBuf),
}

/// What a folder of a trained avatar holds.
#[derive(Clone, Debug)]
pub(crate) struct Dataset {
    pub(crate) pictures: Pictures,
    pub(crate) rects: Rects,
    /// Its generator, if it has one.
    pub(crate) generator: Option<PathBuf>,
    /// Its audio encoder, likewise.
    pub(crate) encoder: Option<PathBuf>,
    /// What the user should know of.
    pub(crate) notes: Vec<String>,
}

impl Dataset {
    /// Looks at `folder`; `film` is where the pictures are if not there.
    pub(crate) fn find(folder: &Path, film: Option<&Path>) -> Result<Self, ImportError> {
        if !folder.is_dir() {
            return Err(ImportError::NoDataset {
                path: folder.to_owned(),
            });
        }
        let package = Package::read(folder)?;
        refuse_other_modes(folder, package.as_ref())?;
        let mut notes = Vec::new();
        let pictures = match film {
            Some(film) => Pictures::Film(film.to_owned()),
            None => find_pictures(folder, package.as_ref(), &mut notes)?,
        };
        let landmarks = folder.join("landmarks");
        let rects = if landmarks.is_dir() {
            Rects::Landmarks(landmarks)
        } else {
            let file = first(folder, &RECT_FILES, Path::is_file);
            Rects::File(file.ok_or_else(|| ImportError::NoRects {
                folder: folder.to_owned(),
            })?)
        };
        let named = package.and_then(|package| package.generator);
        let named = named.map(|file| folder.join(file));
        Ok(Self {
            pictures,
            rects,
            generator: named
                .filter(|path| path.is_file())
                .or_else(|| first(folder, &GENERATORS, Path::is_file))
                .or_else(|| trained(folder)),
            encoder: first(folder, &ENCODERS, Path::is_file),
            notes,
        })
    }
}

/// The first of these below `folder` that is there.
fn first(folder: &Path, names: &[&str], is_there: fn(&Path) -> bool) -> Option<PathBuf> {
    let mut paths = names.iter().map(|name| folder.join(name));
    paths.find(|path| is_there(path))
}

fn find_pictures(
    folder: &Path,
    package: Option<&Package>,
    notes: &mut Vec<String>,
) -> Result<Pictures, ImportError> {
    if let Some(pictures) = first(folder, &PICTURE_FOLDERS, Path::is_dir) {
        return files(&pictures, notes).map(Pictures::Files);
    }
    let named = package
        .and_then(|package| package.film.as_ref())
        .map(|film| folder.join(film))
        .filter(|film| film.is_file());
    named
        .or_else(|| first(folder, &FILMS, Path::is_file))
        .map(Pictures::Film)
        .ok_or_else(|| ImportError::NoPictures {
            folder: folder.to_owned(),
        })
}

/// The pictures of a folder in frame order. ffmpeg counts from 1, everybody else from 0.
fn files(folder: &Path, notes: &mut Vec<String>) -> Result<Vec<PathBuf>, ImportError> {
    let entries = std::fs::read_dir(folder).map_err(ImportError::read(folder))?;
    let mut found = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(ImportError::read(folder))?.path();
        if let Some(frame) = backgrounds::number(&path)
            && let Some(other) = found.insert(frame, path.clone())
        {
            return Err(ImportError::TwoPictures {
                first: other,
                second: path,
            });
        }
    }
    let Some(&start) = found.keys().next() else {
        return Err(ImportError::NoPictures {
            folder: folder.to_owned(),
        });
    };
    if start == 1 {
        notes.push(format!(
            "the pictures in {} are numbered from 1: the first is taken for frame 0",
            folder.display()
        ));
    }
    let start = start.min(1);
    match (start..start + found.len()).find(|frame| !found.contains_key(frame)) {
        Some(frame) => Err(ImportError::Gap {
            folder: folder.to_owned(),
            frame,
        }),
        None => Ok(found.into_values().collect()),
    }
}

/// The latest checkpoint of the training that has made `dataset/NAME`: `checkpoint/NAME/N.pth`.
fn trained(folder: &Path) -> Option<PathBuf> {
    let folder = folder.canonicalize().ok()?;
    let checkpoints = folder
        .ancestors()
        .nth(2)?
        .join("checkpoint")
        .join(folder.file_name()?);
    latest(&checkpoints)
}

/// The file `N.pth` of a folder with the highest number, which the reference takes too.
pub(crate) fn latest(folder: &Path) -> Option<PathBuf> {
    let epoch = |path: &Path| -> Option<u64> {
        (path.extension()? == "pth").then(|| path.file_stem()?.to_str()?.parse().ok())?
    };
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let files = entries.map(|entry| entry.path());
    files
        .filter(|path| epoch(path).is_some())
        .max_by_key(|path| epoch(path))
}

/// An error if the dataset was made for another kind of audio.
fn refuse_other_modes(folder: &Path, package: Option<&Package>) -> Result<(), ImportError> {
    let mode = |mode: &str, told_by: PathBuf| ImportError::Mode {
        mode: mode.to_owned(),
        told_by,
    };
    if let Some(package) = package
        && let Some(other) = package.mode.as_deref().filter(|mode| *mode != "ave")
    {
        return Err(mode(other, folder.join(PACKAGE)));
    }
    if folder.join("aud_ave.npy").is_file() {
        return Ok(());
    }
    let mut others = OTHER_FEATURES.iter();
    match others.find(|(file, _)| folder.join(file).is_file()) {
        Some((file, other)) => Err(mode(other, folder.join(file))),
        None => Ok(()),
    }
}

const PACKAGE: &str = "package_info.json";

/// What `package_info.json` says.
#[derive(Debug, Default)]
struct Package {
    film: Option<String>,
    generator: Option<String>,
    mode: Option<String>,
}

impl Package {
    fn read(folder: &Path) -> Result<Option<Self>, ImportError> {
        let path = folder.join(PACKAGE);
        if !path.is_file() {
            return Ok(None);
        }
        let text = std::fs::read(&path).map_err(ImportError::read(&path))?;
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
        let info: serde_json::Value =
            serde_json::from_slice(text).map_err(|source| ImportError::Package {
                path: path.clone(),
                source,
            })?;
        // A name that leads out of the package is none of its files.
        let inside = |pointer: &str| {
            let text = info.pointer(pointer)?.as_str()?.replace('\\', "/");
            let is_inside = Path::new(&text).components().all(|part| {
                matches!(
                    part,
                    std::path::Component::Normal(_) | std::path::Component::CurDir
                )
            });
            is_inside.then_some(text)
        };
        Ok(Some(Self {
            film: inside("/videos/full_body_img/video_file"),
            generator: inside("/onnx/file"),
            mode: info
                .pointer("/onnx/asr_mode")
                .and_then(|mode| mode.as_str())
                .map(str::to_owned),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these empty files.
    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        folder
    }

    fn find(files: &[&str]) -> Result<(Dataset, tempfile::TempDir), String> {
        let folder = folder(files);
        let found = Dataset::find(folder.path(), None);
        found
            .map(|found| (found, folder))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_trainings_tree_is_recognised() {
        let tree = folder(&[
            "dataset/anna/full_body_img/0.jpg",
            "dataset/anna/full_body_img/1.jpg",
            "dataset/anna/landmarks/0.lms",
            "dataset/anna/aud_ave.npy",
            "dataset/anna/aud_hu.npy",
            "checkpoint/anna/9.pth",
            "checkpoint/anna/100.pth",
            "checkpoint/anna/best.pth",
            "model/checkpoints/audio_visual_encoder.pth",
        ]);
        let found = Dataset::find(&tree.path().join("dataset/anna"), None).unwrap();
        assert!(matches!(&found.pictures, Pictures::Files(files) if files.len() == 2));
        assert!(matches!(&found.rects, Rects::Landmarks(_)));
        assert!(
            found
                .generator
                .unwrap()
                .ends_with("checkpoint/anna/100.pth")
        );
        assert!(found.encoder.unwrap().ends_with("audio_visual_encoder.pth"));
        assert_eq!(found.notes, Vec::<String>::new());
    }

    #[test]
    fn packages_are_recognised() {
        let (found, folder) = find(&[
            "frames/frame_000001.jpg",
            "frames/frame_000002.jpg",
            "cache/crop_rectangles.json",
            "checkpoint/model_best.onnx",
        ])
        .unwrap();
        assert!(
            matches!(&found.pictures, Pictures::Files(files) if files[1].ends_with("frame_000002.jpg"))
        );
        assert!(
            matches!(&found.rects, Rects::File(path) if path.ends_with("crop_rectangles.json"))
        );
        assert!(
            found.notes[0].contains("numbered from 1"),
            "{:?}",
            found.notes
        );
        let path = folder.path();
        std::fs::remove_dir_all(path.join("frames")).unwrap();
        std::fs::write(path.join("film.mp4"), "").unwrap();
        std::fs::write(path.join("net.onnx"), "").unwrap();
        let info = r#"{"videos":{"full_body_img":{"video_file":"film.mp4"}},"onnx":{"file":".\\net.onnx","asr_mode":"ave"}}"#;
        std::fs::write(path.join(PACKAGE), info).unwrap();
        let found = Dataset::find(path, None).unwrap();
        assert_eq!(found.pictures, Pictures::Film(path.join("film.mp4")));
        assert!(found.generator.unwrap().ends_with("net.onnx"));
        // A name that leads out of the package is not followed.
        let info = info.replace("film.mp4", "../film.mp4");
        std::fs::write(path.join(PACKAGE), info).unwrap();
        assert!(matches!(
            Dataset::find(path, None),
            Err(ImportError::NoPictures { .. })
        ));
    }

    #[test]
    fn what_is_missing_says_where_it_was_looked_for() {
        let error = Dataset::find(Path::new("nowhere"), None)
            .unwrap_err()
            .to_string();
        assert!(error.contains("no folder nowhere"), "{error}");
        assert!(
            find(&["landmarks/0.lms"])
                .unwrap_err()
                .contains("full_body_img")
        );
        assert!(find(&["frames/0.jpg"]).unwrap_err().contains("landmarks"));
        assert!(
            find(&["frames/0.jpg", "frames/2.jpg", "landmarks/0.lms"])
                .unwrap_err()
                .contains("picture 1 is missing")
        );
        assert!(
            find(&["frames/0.jpg", "frames/0.png", "landmarks/0.lms"])
                .unwrap_err()
                .contains("twice")
        );
    }

    #[test]
    fn datasets_of_other_audio_are_refused_in_the_users_words() {
        let error = find(&["frames/0.jpg", "landmarks/0.lms", "aud_hu.npy"]).unwrap_err();
        assert!(error.contains("trained with hubert audio"), "{error}");
        let folder = folder(&["frames/0.jpg", "landmarks/0.lms"]);
        std::fs::write(
            folder.path().join(PACKAGE),
            r#"{"onnx":{"asr_mode":"wenet"}}"#,
        )
        .unwrap();
        let error = Dataset::find(folder.path(), None).unwrap_err();
        assert!(error.to_string().contains("wenet"), "{error}");
        std::fs::write(folder.path().join(PACKAGE), "{").unwrap();
        let error = Dataset::find(folder.path(), None).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("package_info.json is not valid JSON"),
            "{error}"
        );
    }
}
