//! One avatar's pictures: backgrounds, crop rects, and what frame `k` of its speech is made from.

pub mod backgrounds;
mod cache;
pub mod crop_rects;
mod inspect;
pub mod sequence;
pub mod visual;

use std::sync::Arc;

pub use backgrounds::{BackgroundError, Backgrounds};
pub use crop_rects::{CropRects, CropRectsError};
pub use inspect::inspect;
pub use sequence::Sequence;

use cache::Cache;
use visual::Seen;

use crate::compositor::{Compositor, Geometry, Placement};
use crate::config;
use crate::encoder;
use crate::frame::{Rect, Size};

/// An opened avatar: files checked, pictures decoded as they are first shown.
#[derive(Debug)]
pub struct Avatar {
    id: Arc<str>,
    backgrounds: Backgrounds,
    rects: CropRects,
    sequence: Sequence,
    fps: u32,
    compositor: Compositor,
    cache: Cache<Background>,
}

/// One background, ready to be painted on.
#[derive(Debug)]
pub struct Background {
    /// Its place in the avatar's sequence of backgrounds.
    pub index: usize,
    /// What the generator sees of it.
    pub seen: Arc<Seen>,
    /// How a prediction gets into its rect.
    pub placement: Placement,
    /// How a finished frame on it is encoded.
    pub canvas: encoder::Background,
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
    /// Opens and checks what `model` names. No picture is decoded; at most `cache_frames` will be kept decoded.
    ///
    /// # Errors
    /// If a file is missing or broken, a rect lies outside the backgrounds, or the counts disagree.
    pub fn open(model: &config::Model, cache_frames: usize) -> Result<Self, AvatarError> {
        let rects = CropRects::load(&model.crop_rects_path)?;
        let mut backgrounds = Backgrounds::open(&model.background_dir)?;
        let frames = frame_count(model, &rects, &backgrounds)?;
        rects.check(backgrounds.size(), frames, &model.crop_rects_path)?;
        backgrounds.truncate(frames);
        Ok(Self {
            id: model.id.as_str().into(),
            rects,
            sequence: model.sequence,
            fps: model.fps,
            compositor: Compositor::new(model.compositing),
            cache: Cache::new(frames, cache_frames),
            backgrounds,
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
        self.backgrounds.len()
    }

    /// The size of every frame.
    #[must_use]
    pub fn size(&self) -> Size {
        self.backgrounds.size()
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
        self.compositor.geometry()
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
        // Opening made sure that every background has a rect.
        self.rects.get(index).expect("a rect for every background")
    }

    /// Background `index` if it is decoded already.
    #[must_use]
    pub fn ready_background(&self, index: usize) -> Option<Arc<Background>> {
        self.cache.peek(index)
    }

    /// Background `index`, decoded now if need be: some milliseconds of CPU.
    ///
    /// # Errors
    /// If the picture cannot be decoded or has changed its size.
    ///
    /// # Panics
    /// If `index` is not one of [`Avatar::frames`].
    pub fn background(&self, index: usize) -> Result<Arc<Background>, BackgroundError> {
        self.cache.get_or_make(index, || {
            let rect = self.rect(index);
            let frame = self.backgrounds.decode(index)?;
            let crop = visual::crop_328(&frame, rect);
            Ok(Background {
                index,
                placement: self.compositor.placement(&crop, rect.size()),
                seen: Arc::new(Seen::of(&crop)),
                canvas: encoder::Background::new(Arc::new(frame), rect),
            })
        })
    }

    /// Bytes the decoded backgrounds may take at most, and the rects.
    #[must_use]
    pub fn memory_bytes_max(&self) -> u64 {
        let background = self.size().rgb_bytes() + Seen::BYTES;
        let rects = self.rects.len() * size_of::<Rect>();
        (background * self.cache.limit() + rects) as u64
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
