//! Finished frames become a film or numbered pictures.
//!
//! ```text
//! encoded frames ─┬─> Pictures: a folder of PNG or JPEG files
//! AudioReader ────┴─> Mp4: H.264 and AAC, by the libraries compiled in
//!                 └─> Ffmpeg: whatever the installed program writes
//! ```
//!
//! A film's last frame stays until its sound has ended.
//!
//! Everything is written beside its final place under a temporary name and moved there whole at the end. A film that
//! is dropped before it is finished leaves nothing behind.

mod ffmpeg;
mod mp4;
mod pictures;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

pub use ffmpeg::Ffmpeg;
pub use mp4::Mp4;
pub use pictures::Pictures;

use crate::audio::{AudioError, AudioReader};
use crate::encoder::{Encoded, Format};
use crate::frame::Size;

/// What is written, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An MP4 by the libraries compiled in.
    Mp4(PathBuf),
    /// A film by the installed ffmpeg; the name's ending says of which kind.
    Ffmpeg(PathBuf),
    /// A folder of pictures, without sound.
    Pictures {
        /// The folder.
        folder: PathBuf,
        /// The format of the pictures.
        format: Format,
    },
}

/// What all frames of a film have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clip {
    /// Width and height.
    pub size: Size,
    /// Frames a second.
    pub fps: u32,
}

impl Target {
    /// Starts the film; `sound` becomes its sound track, where there is one.
    ///
    /// # Errors
    /// If the place cannot be written to, or the format cannot hold the frames.
    pub fn create(
        &self,
        clip: Clip,
        sound: Option<AudioReader>,
    ) -> Result<Box<dyn Film>, FilmError> {
        match self {
            Self::Mp4(path) => Ok(Box::new(Mp4::create(path, clip, sound)?)),
            Self::Ffmpeg(path) => Ok(Box::new(Ffmpeg::create(path, clip, sound)?)),
            Self::Pictures { folder, format } => Ok(Box::new(Pictures::create(folder, *format)?)),
        }
    }

    /// How its frames are to be encoded.
    #[must_use]
    pub fn format(&self) -> Format {
        match self {
            Self::Mp4(_) | Self::Ffmpeg(_) => Format::Rgb,
            Self::Pictures { format, .. } => *format,
        }
    }

    /// The film, or the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Mp4(path) | Self::Ffmpeg(path) | Self::Pictures { folder: path, .. } => path,
        }
    }
}

/// Something that takes finished frames one after another.
pub trait Film: Send {
    /// How it wants its frames encoded.
    fn format(&self) -> Format;

    /// Takes the next frame.
    ///
    /// # Errors
    /// If it cannot be written; the film cannot be finished then.
    fn push(&mut self, frame: &Encoded) -> Result<(), FilmError>;

    /// Writes what is left and gives the film its final name; tells for how many frames more the last one is held, so
    /// that the picture lasts as long as the sound.
    ///
    /// # Errors
    /// If it cannot be written; nothing is left under the final name then.
    fn finish(self: Box<Self>) -> Result<u64, FilmError>;
}

/// Why a film cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum FilmError {
    /// The place to write to.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder holds something that is not an earlier render.
    #[error(
        "{} holds files that are not frames of an earlier render, such as {found}: name an empty or a new folder",
        folder.display()
    )]
    Occupied {
        /// The folder.
        folder: PathBuf,
        /// One of the files.
        found: String,
    },
    /// Frames that the compiled-in encoder does not take.
    #[error(
        "frames of {0} cannot become H.264 here (16x16 to 3840x2160): write pictures, or add --encoder ffmpeg"
    )]
    PictureSize(Size),
    /// No frame was pushed.
    #[error("there is not one frame to make a film of: the speech is too short")]
    NoFrames,
    /// The compiled-in H.264 encoder failed.
    #[error("the H.264 encoder failed: {0}")]
    Picture(#[source] openh264::Error),
    /// The compiled-in AAC encoder failed.
    #[error("the AAC encoder failed: {0}")]
    Sound(fdk_aac::enc::EncoderError),
    /// The header of an MP4 cannot be written.
    #[error("the MP4 header cannot be written: {0}")]
    Container(#[source] mp4_atom::Error),
    /// The program was asked for and is not there.
    #[error("ffmpeg is not installed, or not on the PATH: install it, or leave --encoder out")]
    NoFfmpeg,
    /// The program failed.
    #[error("ffmpeg cannot write {} ({status}): {said}", path.display())]
    Ffmpeg {
        /// The film.
        path: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        said: String,
    },
    /// The sound track.
    #[error(transparent)]
    Audio(#[from] AudioError),
}

impl FilmError {
    /// For `map_err` on whatever fails at `path`.
    fn write(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |source| Self::Write {
            path: path.to_owned(),
            source,
        }
    }
}

/// Frames of a picture that lasts at least as long as `samples` of sound at `rate_hz`.
fn frames_covering(samples: u64, rate_hz: u32, fps: u32) -> u64 {
    (u128::from(samples) * u128::from(fps)).div_ceil(rate_hz.into()) as u64
}

/// The folder a file or folder of that name is made in.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes a temporary file or folder beside `path`, with the same ending: hidden, and telling what it is if it is ever
/// left behind. `mode` is what the system's own programs ask for; the umask takes from it.
fn beside<T>(
    path: &Path,
    mode: u32,
    make: impl FnOnce(&mut tempfile::Builder<'_, '_>) -> io::Result<T>,
) -> io::Result<T> {
    let text = |part: Option<&OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let prefix = format!(".{}.unfinished-", text(path.file_stem()));
    let suffix = path
        .extension()
        .map(|ending| format!(".{}", text(Some(ending))));
    let mut builder = tempfile::Builder::new();
    builder
        .prefix(&prefix)
        .suffix(suffix.as_deref().unwrap_or_default());
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    let _ = mode;
    make(&mut builder)
}
