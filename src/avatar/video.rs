//! An avatar's H.264: what is encoded once for all viewers, prepared group by group and kept in memory and on disk.
//!
//! A group of pictures is either prepared or not, and a stream over it takes either: nobody waits for preparing. The
//! thread that prepares ahead begins with the group of the frame that was asked for last, and gives way to everything
//! else.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sha1::{Digest, Sha1};

use super::prepare::{SCRATCH_FRAMES, give_way};
use super::sources::Sources;
use super::store::Key;
use super::{Avatar, BackgroundError, Kept, Sequence};
use crate::encoder::h264::{self, H264Error, Plan, Video, choose_qp, stored_qp};
use crate::frame::Frame;

/// Seconds from one frame that players can start at to the next.
const SECONDS_BETWEEN_KEYS: u32 = 2;
/// The quantiser is chosen by a few pictures; others may take more than they let expect.
const RESERVE: u64 = 2;

/// How an avatar's video is made, and what of it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VideoOptions {
    pub(super) fps: u32,
    /// What the background may take.
    pub(super) bits_per_second: u64,
    /// What is kept in memory at most; 0 for nothing.
    pub(super) memory_bytes: u64,
    /// Whether a thread prepares ahead.
    pub(super) is_ahead: bool,
}

/// Why there is no video of an avatar.
#[derive(Debug, thiserror::Error)]
pub enum VideoError {
    /// The format holds no such pictures.
    #[error(transparent)]
    Format(#[from] H264Error),
    /// A background.
    #[error(transparent)]
    Background(#[from] BackgroundError),
}

/// The video and who prepares it. Dropping it stops the thread without waiting for it.
#[derive(Debug)]
pub(super) struct AvatarVideo {
    shared: Arc<Shared>,
    is_started: AtomicBool,
}

#[derive(Debug)]
struct Shared {
    sources: Arc<Sources>,
    kept: Arc<Kept>,
    options: VideoOptions,
    /// `None` where the format holds no such pictures.
    plan: Option<Arc<Plan>>,
    memory_bytes_max: usize,
    video: OnceLock<Arc<Video>>,
    choosing: Mutex<()>,
    /// By group, held by whoever prepares it.
    preparing: Vec<Mutex<()>>,
    /// The frame from which on groups are wanted.
    from: AtomicU64,
    stop: AtomicBool,
    is_over: AtomicBool,
}

impl AvatarVideo {
    pub(super) fn new(
        sources: &Arc<Sources>,
        kept: &Arc<Kept>,
        sequence: Sequence,
        options: VideoOptions,
    ) -> Self {
        let plan = plan(sources, sequence, options.fps).ok().map(Arc::new);
        let expected = plan.as_ref().map_or(0, |plan| {
            plan.memory_bytes_max(RESERVE * options.bits_per_second)
        });
        let limit = usize::try_from(options.memory_bytes).unwrap_or(usize::MAX);
        let groups = plan.as_ref().map_or(0, |plan| plan.groups());
        Self {
            shared: Arc::new(Shared {
                sources: Arc::clone(sources),
                kept: Arc::clone(kept),
                is_over: AtomicBool::new(!options.is_ahead || limit == 0 || plan.is_none()),
                options,
                plan,
                memory_bytes_max: expected.min(limit),
                video: OnceLock::new(),
                choosing: Mutex::default(),
                preparing: (0..groups).map(|_| Mutex::default()).collect(),
                from: AtomicU64::new(0),
                stop: AtomicBool::new(false),
            }),
            is_started: AtomicBool::new(false),
        }
    }

    pub(super) fn ready(&self) -> Option<Arc<Video>> {
        self.shared.video.get().cloned()
    }

    pub(super) fn get(&self) -> Result<Arc<Video>, VideoError> {
        self.shared.video()
    }

    pub(super) fn prepare(&self, group: usize) -> Result<(), VideoError> {
        let video = self.shared.video()?;
        Ok(self.shared.prepare(&video, group)?)
    }

    /// Frames from `k` on come next.
    pub(super) fn from(&self, k: u64) {
        if self.is_over() {
            return;
        }
        self.shared.from.store(k, Ordering::Relaxed);
        if self.is_started.swap(true, Ordering::Relaxed) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("prepare-video".to_owned());
        if let Err(error) = thread.spawn(move || shared.run()) {
            tracing::warn!(%error, "no thread to prepare video: H.264 frames cost more until there is one");
            self.is_started.store(false, Ordering::Relaxed);
        }
    }

    /// Whether no more will be prepared ahead.
    pub(super) fn is_over(&self) -> bool {
        self.shared.is_over.load(Ordering::Acquire)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.ready().map_or(0, |video| video.memory_bytes())
    }

    /// What is kept, and preparing it, may take at most. Falls once all is prepared, never rises.
    pub(super) fn memory_bytes_max(&self) -> usize {
        let shared = &self.shared;
        let is_all = shared
            .video
            .get()
            .is_some_and(|video| (0..video.plan().groups()).all(|group| video.is_prepared(group)));
        let kept = if is_all {
            self.memory_bytes()
        } else {
            shared.memory_bytes_max
        };
        let scratch = SCRATCH_FRAMES * shared.sources.backgrounds().size().rgb_bytes();
        kept + if self.is_over() { 0 } else { scratch }
    }
}

impl Drop for AvatarVideo {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Avatar {
    /// What all viewers of the avatar's H.264 share, if it has been asked for before; never waits. Which groups of it
    /// are prepared is [`Video::is_prepared`]; streams take it as it is.
    #[must_use]
    pub fn ready_video(&self) -> Option<Arc<Video>> {
        self.video.ready()
    }

    /// What all viewers of the avatar's H.264 share. The first to ask has its quantiser chosen: some hundred
    /// milliseconds of CPU, unless the disk has it.
    ///
    /// # Errors
    /// If H.264 holds no such pictures, or one of the first backgrounds cannot be read.
    pub fn video(&self) -> Result<Arc<Video>, VideoError> {
        self.video.get()
    }

    /// Says that frame `k` and those after it will be shown as H.264: their groups are prepared next, by a thread that
    /// starts now if it has not. Cheap: call it for every frame.
    pub fn prepare_video_from(&self, k: u64) {
        self.video.from(k);
    }

    /// Prepares a group of the video now, or reads it from disk: about a second of CPU. It is not kept if there is no
    /// room.
    ///
    /// # Errors
    /// As [`Avatar::video`], or if another background cannot be read.
    ///
    /// # Panics
    /// If there is no such group.
    pub fn prepare_video(&self, group: usize) -> Result<(), VideoError> {
        self.video.prepare(group)
    }

    /// Whether no more of the video will be prepared ahead.
    #[must_use]
    pub fn is_video_prepared(&self) -> bool {
        self.video.is_over()
    }
}

fn plan(sources: &Sources, sequence: Sequence, fps: u32) -> Result<Plan, H264Error> {
    let rects: Vec<_> = (0..sources.backgrounds().len())
        .map(|index| sources.rect(index))
        .collect();
    let options = h264::Options {
        fps,
        group_frames: SECONDS_BETWEEN_KEYS * fps,
        ..h264::Options::default()
    };
    Plan::new(sources.backgrounds().size(), &rects, sequence, &options)
}

/// Why a background is not there.
enum Missing {
    Error(BackgroundError),
    Stopped,
}

impl Shared {
    /// The video, its quantiser chosen by whoever asks first.
    fn video(&self) -> Result<Arc<Video>, VideoError> {
        let Some(plan) = &self.plan else {
            let size = self.sources.backgrounds().size();
            let fps = self.options.fps;
            return Err(H264Error::Picture { size, fps }.into());
        };
        // Nothing is behind these locks, so a panic of an earlier holder has broken nothing.
        let _turn = self.choosing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(video) = self.video.get() {
            return Ok(Arc::clone(video));
        }
        let stored = self.stored(plan, 0)?.1;
        let stored = stored.and_then(|bytes| stored_qp(&bytes).ok());
        let qp = match stored {
            Some(qp) => qp,
            None => choose_qp(plan, self.options.bits_per_second, |i| self.frame(i))?,
        };
        let video = Video::new(Arc::clone(plan), qp).with_memory_bytes_max(self.memory_bytes_max);
        Ok(Arc::clone(self.video.get_or_init(|| Arc::new(video))))
    }

    /// Prepares a group, or reads it from disk.
    fn prepare(&self, video: &Video, group: usize) -> Result<(), BackgroundError> {
        let _turn = self.preparing[group]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if video.is_prepared(group) {
            return Ok(());
        }
        let (key, bytes) = self.stored(video.plan(), group)?;
        if let Some(bytes) = bytes {
            match video.restore(group, &bytes) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::debug!(group, %error, "a stored group of video is made again");
                }
            }
        }
        let read = |index| {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Missing::Stopped);
            }
            self.frame(index).map_err(Missing::Error)
        };
        match video.prepare(group, read) {
            Ok(()) => {}
            Err(Missing::Stopped) => return Ok(()),
            Err(Missing::Error(error)) => return Err(error),
        }
        if let (Some(store), Some(bytes)) = (self.sources.store(), video.stored(group)) {
            store.save_video(&key, &bytes);
        }
        Ok(())
    }

    /// What an earlier load left of a group, and the name under which it is kept.
    fn stored(&self, plan: &Plan, group: usize) -> Result<(Key, Option<Vec<u8>>), BackgroundError> {
        let mut hash = Sha1::new();
        hash.update(self.options.bits_per_second.to_le_bytes());
        hash.update(plan.fingerprint(group));
        for index in plan.group_backgrounds(group) {
            if self.sources.store().is_some() {
                hash.update(Sha1::digest(self.sources.read(index)?));
            }
        }
        let key = Key::from(hash);
        let bytes = self
            .sources
            .store()
            .and_then(|store| store.load_video(&key));
        Ok((key, bytes))
    }

    /// The pixels of a background, decoded unless they are in memory.
    fn frame(&self, index: usize) -> Result<Arc<Frame>, BackgroundError> {
        let raw = self.kept.raw.peek(index);
        if let Some(pixels) = raw.as_ref().and_then(|raw| raw.canvas.pixels()) {
            return Ok(Arc::clone(pixels));
        }
        let file = self.sources.read(index)?;
        Ok(Arc::new(
            self.sources.backgrounds().decode_file(index, &file)?,
        ))
    }

    fn run(&self) {
        give_way();
        match self.video() {
            Ok(video) => self.prepare_all(&video),
            Err(error) => tracing::warn!(%error, "video cannot be prepared"),
        }
        self.is_over.store(true, Ordering::Release);
    }

    fn prepare_all(&self, video: &Video) {
        let groups = video.plan().groups();
        let mut is_tried = vec![false; groups];
        loop {
            let first = video
                .plan()
                .position(self.from.load(Ordering::Relaxed))
                .group;
            let order = (first..groups).chain(0..first);
            let Some(group) = order.into_iter().find(|group| !is_tried[*group]) else {
                break;
            };
            is_tried[group] = true;
            if let Err(error) = self.prepare(video, group) {
                // Whoever asks for this frame is told; the other groups are prepared all the same.
                tracing::warn!(%error, "a group of video cannot be prepared");
            } else if !video.is_prepared(group) {
                // Stopped, or no room: the others would not find any either.
                return;
            }
        }
        tracing::debug!(
            folder = %self.sources.backgrounds().folder().display(),
            groups,
            qp = video.qp(),
            bytes = video.memory_bytes(),
            "video prepared"
        );
    }
}
