//! Why an avatar cannot be imported, and what to do about it.

use std::path::{Path, PathBuf};

use super::network::NetworkError;
use crate::avatar::landmarks::LandmarksError;
use crate::avatar::{BackgroundError, CropRectsError};
use crate::frame::Size;

/// Why an avatar cannot be imported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error("cannot read {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot write {}: {source}", path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("there is no folder {}", path.display())]
    NoDataset { path: PathBuf },
    #[error(
        "{} has no pictures: neither full_body_img/0.jpg …, nor frames/frame_000000.jpg …, nor full_body_video.mp4",
        folder.display()
    )]
    NoPictures { folder: PathBuf },
    #[error(
        "{} has no crop rects: neither landmarks/0.lms …, nor crop_rects.json, nor cache/crop_rectangles.json",
        folder.display()
    )]
    NoRects { folder: PathBuf },
    #[error("picture {frame} is missing in {}: they are numbered without gaps", folder.display())]
    Gap { folder: PathBuf, frame: usize },
    #[error("one frame has a picture twice: {} and {}", first.display(), second.display())]
    TwoPictures { first: PathBuf, second: PathBuf },
    #[error("{} is not valid JSON: {source}", path.display())]
    Package {
        path: PathBuf,
        source: serde_json::Error,
    },
    /// The training used features that are not served.
    #[error("the avatar was trained with {mode} audio, as {} tells: only `ave` is served", told_by.display())]
    Mode { mode: String, told_by: PathBuf },
    #[error("which {what}? there is none in {}", dataset.display())]
    NoNetwork {
        what: &'static str,
        option: &'static str,
        dataset: PathBuf,
    },
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Landmarks(#[from] LandmarksError),
    #[error(transparent)]
    CropRects(#[from] CropRectsError),
    #[error(transparent)]
    Background(#[from] BackgroundError),
    #[error("the network {} keeps weights in {location:?}, which cannot be copied with it", path.display())]
    WeightsElsewhere { path: PathBuf, location: String },
    #[error("the network {} keeps weights in {location:?}, and so does the other network", path.display())]
    SameWeights { path: PathBuf, location: String },
    #[error("the film {} cannot be read: {reason}", path.display())]
    Film { path: PathBuf, reason: String },
    #[error("frame {frame}: the crop rect {rect:?} lies outside the {size} picture")]
    Outside {
        frame: usize,
        rect: [i32; 4],
        size: Size,
    },
    #[error("{} is there already, and was made of other files", folder.display())]
    Exists { folder: PathBuf },
    #[error("another import into {} is running", folder.display())]
    Busy { folder: PathBuf },
    /// The finished avatar was opened, and something is wrong with it.
    #[error("the avatar does not work: {0}")]
    Unusable(String),
}

impl ImportError {
    /// Adds the path to an error of reading it.
    pub(crate) fn read(path: &Path) -> impl Fn(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Read {
            path: path.clone(),
            source,
        }
    }

    /// Adds the path to an error of writing it.
    pub(crate) fn write(path: &Path) -> impl Fn(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Write {
            path: path.clone(),
            source,
        }
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Network(error) => return error.hint(),
            Self::NoDataset { .. } => {
                "name the folder that the avatar was trained from: dataset/NAME"
            }
            Self::NoPictures { .. } => {
                "if the pictures are in a film, name it: --film FILM; those of the training are named by number"
            }
            Self::NoRects { .. } => {
                "landmarks come from SyncTalk_2D's data_utils/process.py; copy them beside the pictures"
            }
            Self::Mode { .. } => {
                "train it with SyncTalk_2D's default, --asr ave; if it was, and the file is a left-over, remove the file"
            }
            Self::NoNetwork { option, .. } => {
                return Some(format!("name it: {option} FILE (.pth or .onnx)"));
            }
            Self::Film { path, .. } => {
                let pictures = path.with_file_name("full_body_img");
                let (film, pictures) = (path.display(), pictures.display());
                return Some(format!(
                    "make pictures of it: mkdir -p \"{pictures}\" && ffmpeg -i \"{film}\" -start_number 0 \"{pictures}/%d.png\""
                ));
            }
            Self::WeightsElsewhere { .. } | Self::SameWeights { .. } => {
                "save it in one file where onnx is: onnx.save(onnx.load(\"net.onnx\"), \"whole.onnx\")"
            }
            Self::Exists { .. } => "choose another --name, or replace it with --force",
            Self::Outside { .. } => {
                "the reference cuts rects at the right and the bottom only; crop the frames, or leave those out"
            }
            _ => return None,
        };
        Some(text.to_owned())
    }
}
