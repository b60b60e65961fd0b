//! One generation of a loaded model: pictures, sessions and the audio encoder, opened and closed together.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::avatar::{Avatar, AvatarError};
use crate::config;
use crate::defaults::BATCH_FRAMES_MAX;
use crate::encoder::Encoder;
use crate::engine::{AudioEncoder, Backend, InferenceError};
use crate::frame::network_io::{FEATURE_LEN, MEL_WINDOW_LEN};
use crate::frame::pool::Pool;
use crate::workers::Workers;

use super::loader::LoadOptions;

/// Everything needed to make one avatar talk.
pub struct LoadedModel {
    avatar: Arc<Avatar>,
    generator: Workers,
    audio_encoder: Option<Mutex<Box<dyn AudioEncoder>>>,
    speech: SpeechSettings,
    /// Bytes of everything but the pictures, once measured.
    networks_bytes: OnceLock<u64>,
    patches: Pool<Vec<u8>>,
    encoder: Encoder,
}

/// How speech becomes windows for this model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpeechSettings {
    /// What the windows hold past the ends of a clip.
    pub padding: crate::audio::Padding,
    /// Frames a second.
    pub rate: crate::audio::FrameRate,
}

/// Why a model cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its pictures or rects.
    #[error(transparent)]
    Avatar(#[from] AvatarError),
    /// Its networks.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// Its frame rate.
    #[error(transparent)]
    Audio(#[from] crate::audio::AudioError),
}

impl LoadedModel {
    /// Opens a model: checks its files and starts its sessions. Takes seconds; call it off the async threads.
    ///
    /// # Errors
    /// If anything `model` names is missing, broken or does not fit the rest.
    pub fn open(
        backend: &dyn Backend,
        model: &config::Model,
        options: &LoadOptions,
    ) -> Result<Self, OpenError> {
        let avatar = Avatar::open(model, &options.keep)?;
        let audio_encoder = match &model.audio_encoder_path {
            Some(path) => {
                let encoder = backend.open_audio_encoder(path, &options.workers.session)?;
                Some(Mutex::new(encoder))
            }
            None => None,
        };
        let mut workers = options.workers.clone();
        workers.session = options.session(avatar.frames());
        workers.session.plan =
            options
                .plans
                .plan(backend.info(), &model.model_path, &workers.session);
        let generator = Workers::spawn(backend, &model.model_path, workers)?;
        let in_flight = options.workers.sessions * generator.max_batch() + super::cpu::cores();
        Ok(Self {
            avatar: Arc::new(avatar),
            generator,
            audio_encoder,
            speech: SpeechSettings {
                padding: model.audio_padding,
                rate: crate::audio::FrameRate::new(model.fps)?,
            },
            networks_bytes: OnceLock::new(),
            patches: Pool::new(super::cpu::cores()),
            // A batch's frames are all held until its answer is sent.
            encoder: Encoder::new(in_flight.max(usize::from(BATCH_FRAMES_MAX))),
        })
    }

    /// The pictures.
    #[must_use]
    pub fn avatar(&self) -> &Arc<Avatar> {
        &self.avatar
    }

    /// The generator's sessions.
    #[must_use]
    pub fn generator(&self) -> &Workers {
        &self.generator
    }

    /// Bytes it may take at most when its caches are full. Falls once its backgrounds are prepared, never rises.
    #[must_use]
    pub fn memory_bytes_max(&self) -> u64 {
        let visual = self.generator.visual_cache();
        let visual = visual.map_or(0, |cache| cache.bytes_max);
        let networks = self.networks_bytes.get().copied().unwrap_or(0);
        networks + self.avatar.memory_bytes_max() + visual
    }

    /// Whether speech can drive it; without an audio encoder only ready-made windows can.
    #[must_use]
    pub fn hears(&self) -> bool {
        self.audio_encoder.is_some()
    }

    /// How speech becomes windows.
    #[must_use]
    pub fn speech(&self) -> SpeechSettings {
        self.speech
    }

    /// Sets what everything but the pictures takes, as was measured when it was loaded.
    pub(super) fn weigh(&self, networks_bytes: u64) {
        let _ = self.networks_bytes.set(networks_bytes);
    }

    /// Encodes one mel window `[80,16]`; `None` if the model has no audio encoder. Blocks for a millisecond or so.
    ///
    /// One window a run, always: the same window gives the same bits however the audio was cut.
    ///
    /// # Errors
    /// If the network fails.
    pub(super) fn encode_speech(
        &self,
        mel: &[f32; MEL_WINDOW_LEN],
    ) -> Option<Result<[f32; FEATURE_LEN], InferenceError>> {
        let encoder = self.audio_encoder.as_ref()?;
        // A session that panicked in a run holds no state that a later run reads.
        let mut encoder = encoder.lock().unwrap_or_else(PoisonError::into_inner);
        let mut feature = [0.0; FEATURE_LEN];
        Some(encoder.run(mel, 1, &mut feature).map(|()| feature))
    }

    /// Encodes finished frames.
    pub(super) fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// Buffers for the rect's pixels.
    pub(super) fn patches(&self) -> &Pool<Vec<u8>> {
        &self.patches
    }
}

impl fmt::Debug for LoadedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedModel")
            .field("id", self.avatar.id())
            .field("generator", &self.generator)
            .field("hears", &self.hears())
            .finish_non_exhaustive()
    }
}
