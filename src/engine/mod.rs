//! Running the networks: one small [`Backend`] trait, two real engines, and the threads that own the sessions.
//!
//! Shapes (design: the `SyncTalk_2D` U-Net with the `ave` audio features):
//! `input` f32 `[N,6,320,320]` (BGR, then BGR masked, both /255) and `audio` f32 `[N,32,16,16]`
//! give `output` f32 `[N,3,320,320]` in `[0,1]`, channels BGR.
//! The audio encoder turns `mel` f32 `[N,1,80,16]` into `emb` f32 `[N,512]`.
//!
//! [`select`] picks the engine, [`Backend::open_generator`] reads and checks a network,
//! and [`Workers`](crate::workers::Workers) runs its frames on threads of their own:
//!
//! ```text
//! select ──> Backend ──> GeneratorNetwork ──> Generator (one session)
//!                               └── Workers: queue ──> N threads, a session each ──> Prediction
//! ```
//!
//! With [`SessionOptions::visual_cache`] the network is cut in three, and what depends on the background alone is
//! computed once a background (`visual_cache`).
//!
//! Values are not inspected here: a prediction may hold NaN, and the compositor refuses it.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use crate::frame::network_io::{AUDIO_LEN, PREDICTION_LEN, VISUAL_LEN};

mod backend;
mod cancel;
mod embedded;
#[cfg(test)]
pub(crate) mod engine_tests;
mod error;
#[cfg(test)]
pub(crate) mod fake;
pub mod graph;
mod library;
pub(crate) mod network;
mod network_file;
mod onnxruntime;
mod plan;
mod provider_failure;
mod tensor;
mod visual_cache;

pub use backend::{
    BackendChoice, BackendInfo, BackendOptions, ExecutionProvider, SkippedProvider, select,
};
pub use cancel::Cancel;
pub use error::InferenceError;
pub use plan::{Plan, PlanOptions, Tune, Tuned};
pub use visual_cache::{VisualCacheLimit, VisualCacheStats};

/// An engine that runs ONNX networks.
pub trait Backend: Send + Sync + Debug {
    /// Which engine this is and what it runs on.
    fn info(&self) -> &BackendInfo;

    /// Reads a generator and checks the names, types and shapes of its inputs and outputs.
    ///
    /// # Errors
    /// When the file cannot be read, is not an ONNX network, does not have the generator's inputs and outputs,
    /// or uses what the engine cannot run.
    fn open_generator(
        &self,
        path: &Path,
        options: &SessionOptions,
    ) -> Result<Arc<dyn GeneratorNetwork>, InferenceError>;

    /// Reads an audio encoder and checks it the same way.
    ///
    /// # Errors
    /// As [`open_generator`](Self::open_generator).
    fn open_audio_encoder(
        &self,
        path: &Path,
        options: &SessionOptions,
    ) -> Result<Box<dyn AudioEncoder>, InferenceError>;
}

/// A generator that was read and checked: the sessions' common parent.
pub trait GeneratorNetwork: Send + Sync + Debug {
    /// The file it came from.
    fn path(&self) -> &Path;

    /// Most frames one run can take: 1 for a network exported with a fixed N=1, which then runs frame by frame.
    fn max_batch(&self) -> usize;

    /// A session of its own for one thread; what the engine can share between sessions is shared.
    ///
    /// # Errors
    /// When the engine cannot make one more, or the file has changed since it was opened.
    fn open_session(&self) -> Result<Box<dyn Generator>, InferenceError>;

    /// By which plan it runs.
    fn plan(&self) -> Plan {
        Plan::PLAIN
    }

    /// What it keeps of each background; `None` if it runs whole.
    fn visual_cache(&self) -> Option<VisualCacheStats> {
        None
    }
}

/// One session of a generator, owned by one thread.
pub trait Generator: Send {
    /// Predicts `batch.frames` frames into `output`, which holds `batch.frames * PREDICTION_LEN` floats.
    ///
    /// [`Cancel`] stops a run part way where the engine can (between operators, or between frames).
    ///
    /// # Errors
    /// When the lengths do not fit, the engine fails, or `cancel` was set.
    fn run(
        &mut self,
        batch: &Batch<'_>,
        output: &mut [f32],
        cancel: &Cancel,
    ) -> Result<(), InferenceError>;
}

/// A session of an audio encoder.
pub trait AudioEncoder: Send {
    /// Encodes `windows` mel windows (`[windows,80,16]`) into `output` (`[windows,512]`).
    ///
    /// # Errors
    /// When the lengths do not fit, or the engine fails.
    fn run(
        &mut self,
        mel: &[f32],
        windows: usize,
        output: &mut [f32],
    ) -> Result<(), InferenceError>;
}

/// The inputs of consecutive frames, each tensor contiguous.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// How many frames.
    pub frames: usize,
    /// `[frames,6,320,320]`.
    pub visual: &'a [f32],
    /// `[frames,32,16,16]`.
    pub audio: &'a [f32],
    /// Which of the avatar's backgrounds each visual tensor was made from; `None`, or nothing at all, if nobody knows.
    pub backgrounds: &'a [Option<usize>],
}

impl<'a> Batch<'a> {
    /// Checks the tensors' lengths, and the output's.
    fn check(&self, output: &[f32]) -> Result<(), InferenceError> {
        network::check_length(
            "the visual tensor",
            self.visual.len(),
            self.frames * VISUAL_LEN,
        )?;
        network::check_length(
            "the audio tensor",
            self.audio.len(),
            self.frames * AUDIO_LEN,
        )?;
        network::check_length("the prediction", output.len(), self.frames * PREDICTION_LEN)
    }

    /// The same frames in runs of at most `frames_max`, each with its part of `output`.
    fn runs<'o>(
        self,
        frames_max: usize,
        output: &'o mut [f32],
    ) -> impl Iterator<Item = (Batch<'a>, &'o mut [f32])> {
        let frames_max = frames_max.clamp(1, self.frames.max(1));
        self.visual
            .chunks(frames_max * VISUAL_LEN)
            .zip(self.audio.chunks(frames_max * AUDIO_LEN))
            .zip(output.chunks_mut(frames_max * PREDICTION_LEN))
            .enumerate()
            .map(move |(run, ((visual, audio), output))| {
                let frames = visual.len() / VISUAL_LEN;
                let first = run * frames_max;
                let batch = Batch {
                    frames,
                    visual,
                    audio,
                    backgrounds: self
                        .backgrounds
                        .get(first..first + frames)
                        .unwrap_or_default(),
                };
                (batch, output)
            })
    }
}

/// How a session uses the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// Threads that work on one operator; at least 1.
    pub intra_threads: usize,
    /// Whether idle threads of the session burn CPU waiting for the next operator. Off costs little alone, and
    /// saves half the time beside another busy process.
    pub spinning: bool,
    /// Whether the session keeps the memory of a run for the next one.
    pub arena: bool,
    /// How a generator's graph is rewritten. What does not give the same is not used.
    pub plan: Plan,
    /// Cuts a generator to keep what depends on the background alone; `None` runs it whole.
    pub visual_cache: Option<VisualCacheLimit>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            intra_threads: 1,
            spinning: false,
            arena: true,
            plan: Plan::PLAIN,
            visual_cache: None,
        }
    }
}
