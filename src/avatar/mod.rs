//! One avatar's pictures: backgrounds, crop rects, and what frame `k` of its speech is made from.
//!
//! ```text
//! file ──> pixels ──> what the network sees, pieces of PNG ──> kept, in memory and on disk
//!             └─────> kept for as long as another format, or a background not prepared yet, needs them:
//!                     as pixels, or as the planes of I420
//! ```
//!
//! Backgrounds are prepared ahead by threads that give way to everything else ([`Avatar::prepare_from`]); no frame
//! waits for them. Nothing that is kept exceeds [`Avatar::memory_bytes_max`].

pub mod backgrounds;
mod cache;
pub mod crop_rects;
mod inspect;
mod jpeg;
pub mod landmarks;
mod prepare;
pub mod sequence;
mod sources;
mod store;
#[cfg(test)]
mod tests;
mod video;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use backgrounds::{BackgroundError, Backgrounds};
pub use crop_rects::{CropRects, CropRectsError};
pub use inspect::{Inspection, inspect};
pub use sequence::Sequence;
pub use video::VideoError;

use crate::compositor::crop::Seen;
use cache::Cache;
use prepare::Preparation;
use sources::Sources;
use video::{AvatarVideo, VideoOptions};

use crate::compositor::{Feather, Geometry, Placement};
use crate::config;
use crate::encoder::{self, Format};
use crate::frame::{Frame, Rect, Size};

/// An opened avatar: files checked, pictures decoded and prepared as they are first shown, or ahead of that.
#[derive(Debug)]
pub struct Avatar {
    id: Arc<str>,
    sequence: Sequence,
    fps: u32,
    sources: Arc<Sources>,
    kept: Arc<Kept>,
    preparation: Preparation,
    video: AvatarVideo,
}

/// One background, ready to be painted on.
#[derive(Debug)]
pub struct Background {
    /// Its place in the avatar's sequence of backgrounds.
    pub index: usize,
    /// What the generator sees of it.
    pub seen: Arc<Seen>,
    /// The rect's own pixels.
    pub raw_rect: Frame,
    /// How a prediction gets into its rect.
    pub placement: Placement,
    /// How a prediction fades into `raw_rect`.
    pub feather: Feather,
    /// How a finished frame on it is encoded.
    pub canvas: encoder::Background,
}

/// What of an avatar's pictures is kept, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepOptions {
    /// Prepared backgrounds in memory, at most.
    pub prepared_frames: usize,
    /// Backgrounds whose pixels are in memory, at most: needed by every format but PNG, and until they are prepared.
    pub raw_frames: usize,
    /// Threads that prepare backgrounds ahead; without any, PNGs are encoded whole unless the disk has them prepared.
    pub threads: usize,
    /// Prepared backgrounds on disk: bytes at most for one folder of backgrounds; 0 for none.
    pub disk_bytes: u64,
    /// The folder they are in; `None` for one beside each folder of backgrounds.
    pub disk_folder: Option<PathBuf>,
    /// Prepared H.264 in memory, in bytes at most; 0 for none.
    pub video_bytes: u64,
}

impl KeepOptions {
    /// As `capacity` says.
    #[must_use]
    pub fn new(capacity: &config::Capacity) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            prepared_frames: capacity.background_cache_frames,
            raw_frames: capacity.raw_cache_frames,
            threads: capacity.prepare_threads.unwrap_or(cores),
            disk_bytes: capacity.prepared_cache_bytes,
            disk_folder: capacity.prepared_cache_dir.clone(),
            video_bytes: capacity.video_cache_bytes,
        }
    }
}

/// What is kept in memory.
#[derive(Debug)]
struct Kept {
    prepared: Cache<Background>,
    /// Pixels at a background's index, planes behind those of all: one limit for both.
    raw: Cache<Background>,
    /// Whether a format that needs them has asked for pixels.
    pixels_wanted: AtomicBool,
}

impl Background {
    /// Bytes of memory it holds.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let raw_rect = self.raw_rect.data().len();
        let canvas = self.canvas.memory_bytes();
        let feather = self.feather.memory_bytes();
        size_of::<Self>()
            + Seen::BYTES
            + raw_rect
            + self.placement.memory_bytes()
            + feather
            + canvas
    }
}

/// Why an avatar cannot be opened or shown.
#[derive(Debug, thiserror::Error)]
pub enum AvatarError {
    /// The crop rects.
    #[error(transparent)]
    CropRects(#[from] CropRectsError),
    /// The backgrounds.
    #[error(transparent)]
    Background(#[from] BackgroundError),
    /// Rects and backgrounds disagree about the number of frames.
    #[error(
        "{rects} crop rects in {} but {backgrounds} backgrounds in {}: they must be equal, or set num_frames to how many to use",
        rects_path.display(),
        folder.display()
    )]
    Count {
        /// Rects in the file.
        rects: usize,
        /// The file.
        rects_path: std::path::PathBuf,
        /// Pictures in the folder.
        backgrounds: usize,
        /// The folder.
        folder: std::path::PathBuf,
    },
    /// `num_frames` asks for more than there is.
    #[error("num_frames is {wanted}, but there are only {found} {what} in {}", path.display())]
    NumFrames {
        /// What was configured.
        wanted: usize,
        /// What there is.
        found: usize,
        /// Rects or backgrounds.
        what: &'static str,
        /// Where.
        path: std::path::PathBuf,
    },
}

impl Avatar {
    /// Opens and checks what `model` names. No picture is decoded.
    ///
    /// # Errors
    /// If a file is missing or broken, a rect lies outside the backgrounds, or the counts disagree.
    pub fn open(model: &config::Model, options: &KeepOptions) -> Result<Self, AvatarError> {
        let mut rects = CropRects::load(&model.crop_rects_path)?;
        let mut backgrounds = Backgrounds::open(&model.background_dir)?;
        let frames = frame_count(model, &rects, &backgrounds)?;
        rects.apply(model.rects, backgrounds.size());
        rects.check(backgrounds.size(), frames, &model.crop_rects_path)?;
        backgrounds.truncate(frames);
        let feather = model.compositing_feather as usize;
        let sources = Sources::new(backgrounds, rects, model.compositing, feather, options);
        let kept = Arc::new(Kept {
            prepared: Cache::new(
                frames,
                sources.prepared_limit(options.prepared_frames),
                Background::memory_bytes,
            ),
            raw: Cache::new(
                2 * frames,
                sources.raw_limit(options.raw_frames),
                Background::memory_bytes,
            ),
            pixels_wanted: AtomicBool::new(false),
        });
        let sources = Arc::new(sources);
        let video = VideoOptions {
            fps: model.fps,
            bits_per_second: 1000 * u64::from(model.video_kbps),
            memory_bytes: options.video_bytes,
            is_ahead: options.threads > 0,
        };
        Ok(Self {
            id: model.id.as_str().into(),
            sequence: model.sequence,
            fps: model.fps,
            preparation: Preparation::new(&sources, &kept, model.sequence, options.threads),
            video: AvatarVideo::new(&sources, &kept, model.sequence, video),
            sources,
            kept,
        })
    }

    /// The model's name.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// How many backgrounds there are.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.sources.backgrounds().len()
    }

    /// The size of every frame.
    #[must_use]
    pub fn size(&self) -> Size {
        self.sources.backgrounds().size()
    }

    /// Frames a second of speech.
    #[must_use]
    pub fn fps(&self) -> u32 {
        self.fps
    }

    /// How frame indices walk over the backgrounds.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// How predictions are fitted into the rects.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.sources.geometry()
    }

    /// The background that frame `k` shows.
    #[must_use]
    pub fn background_index(&self, k: u64) -> usize {
        self.sequence.background(k, self.frames())
    }

    /// The rect of background `index`.
    ///
    /// # Panics
    /// If `index` is not one of [`Avatar::frames`].
    #[must_use]
    pub fn rect(&self, index: usize) -> Rect {
        self.sources.rect(index)
    }

    /// Background `index` if it is in memory and can be encoded as `format`; never waits.
    #[must_use]
    pub fn ready_background(&self, index: usize, format: Format) -> Option<Arc<Background>> {
        let prepared = || self.kept.prepared.peek(index);
        let raw = || self.kept.raw.peek(index);
        match format {
            Format::Png => prepared().or_else(raw),
            Format::Jpeg { .. } | Format::Rgb => raw(),
            Format::I420 => self.kept.raw.peek(self.planes_slot(index)),
        }
    }

    /// Background `index`, fit for `format`, read or decoded now if need be: some milliseconds of CPU.
    ///
    /// # Errors
    /// If the picture cannot be decoded or has changed its size.
    ///
    /// # Panics
    /// If `index` is not one of [`Avatar::frames`].
    pub fn background(
        &self,
        index: usize,
        format: Format,
    ) -> Result<Arc<Background>, BackgroundError> {
        if let Some(ready) = self.ready_background(index, format) {
            return Ok(ready);
        }
        if format == Format::Png {
            let file = self.sources.read(index)?;
            if let Some(stored) = self.sources.stored(index, &file) {
                let background = Arc::new(stored);
                self.kept.prepared.insert(index, Arc::clone(&background));
                return Ok(background);
            }
            return self
                .kept
                .raw
                .get_or_make(index, || self.sources.decode(index, &file));
        }
        if format == Format::I420 {
            let pixels = self.kept.raw.peek(index);
            return self.kept.raw.get_or_make(self.planes_slot(index), || {
                if let Some(pixels) = pixels.as_ref().and_then(|raw| raw.canvas.pixels()) {
                    return Ok(self.sources.planes(index, pixels));
                }
                let file = self.sources.read(index)?;
                let frame = self.sources.backgrounds().decode_file(index, &file)?;
                Ok(self.sources.planes(index, &frame))
            });
        }
        self.kept.pixels_wanted.store(true, Ordering::Relaxed);
        self.kept.raw.get_or_make(index, || {
            let file = self.sources.read(index)?;
            self.sources.decode(index, &file)
        })
    }

    /// Where the planes of background `index` are kept.
    fn planes_slot(&self, index: usize) -> usize {
        self.frames() + index
    }

    /// Says that frame `k` and those after it will be shown as PNG: their backgrounds are prepared next, by threads
    /// that start now if they have not. Cheap: call it for every frame.
    pub fn prepare_from(&self, k: u64) {
        self.preparation.from(k);
    }

    /// Whether preparing is over: everything is prepared that can be, and that there is room for.
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        self.preparation.is_over()
    }

    /// How many backgrounds are in memory prepared.
    #[must_use]
    pub fn prepared_frames(&self) -> usize {
        self.kept.prepared.held().count
    }

    /// Bytes that what is kept takes now, without the files' names.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let rects = self.sources.rects_bytes();
        let kept = self.kept.prepared.held().bytes + self.kept.raw.held().bytes;
        (kept + rects + self.video.memory_bytes()) as u64
    }

    /// Bytes that what is kept, and preparing it, may take at most. Falls once all is prepared, never rises.
    #[must_use]
    pub fn memory_bytes_max(&self) -> u64 {
        let kept = self.kept.prepared.limit().bytes + self.kept.raw.limit().bytes;
        (kept
            + self.sources.rects_bytes()
            + self.preparation.memory_bytes_max()
            + self.video.memory_bytes_max()) as u64
    }
}

/// How many frames are used: `num_frames`, or all if rects and backgrounds agree.
fn frame_count(
    model: &config::Model,
    rects: &CropRects,
    backgrounds: &Backgrounds,
) -> Result<usize, AvatarError> {
    let Some(wanted) = model.num_frames else {
        return if rects.len() == backgrounds.len() {
            Ok(rects.len())
        } else {
            Err(AvatarError::Count {
                rects: rects.len(),
                rects_path: model.crop_rects_path.clone(),
                backgrounds: backgrounds.len(),
                folder: model.background_dir.clone(),
            })
        };
    };
    for (found, what, path) in [
        (rects.len(), "crop rects", &model.crop_rects_path),
        (backgrounds.len(), "backgrounds", &model.background_dir),
    ] {
        if found < wanted {
            return Err(AvatarError::NumFrames {
                wanted,
                found,
                what,
                path: path.clone(),
            });
        }
    }
    Ok(wanted)
}
