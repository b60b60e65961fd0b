//! From PCM to the generator's speech windows: resampling, mel, the audio encoder, windows.

use std::sync::Arc;

use super::LoadedModel;
use crate::audio::{AudioError, FeatureWindows, Lookahead, MelWindows, PcmFormat, SpeechResampler};
use crate::engine::InferenceError;
use crate::frame::network_io::{MEL_WINDOW_LEN, SharedFloats};

/// Why speech cannot be turned into windows.
#[derive(Debug, thiserror::Error)]
pub enum SpeechError {
    /// The audio itself.
    #[error(transparent)]
    Audio(#[from] AudioError),
    /// The audio encoder failed.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// The model has no audio encoder.
    #[error(
        "model {model} has no audio encoder, so speech cannot drive it: set audio_encoder_path, or send ready-made features"
    )]
    NoEncoder {
        /// The model.
        model: Arc<str>,
    },
}

/// A frame of speech: its place in the utterance, from 0, and its window `[32,16,16]`.
pub type SpeechFrame = (u64, SharedFloats);

/// A stream of PCM in, the generator's audio windows out, one a video frame.
///
/// The windows do not depend, bit for bit, on how the audio was cut. All state is bounded. Methods run the audio
/// encoder and block: call them off the async threads.
#[derive(Debug)]
pub struct SpeechWindows {
    resampler: SpeechResampler,
    speech: Vec<f32>,
    mel: MelWindows,
    /// Mel windows of the chunk at hand that wait for the encoder.
    pending: Vec<[f32; MEL_WINDOW_LEN]>,
    features: FeatureWindows,
}

impl SpeechWindows {
    /// A stream of `format` for `model`.
    ///
    /// # Errors
    /// If the model has no audio encoder, or the format is outside the limits.
    pub fn new(
        model: &LoadedModel,
        format: PcmFormat,
        lookahead: Lookahead,
    ) -> Result<Self, SpeechError> {
        if !model.hears() {
            return Err(no_encoder(model));
        }
        let settings = model.speech();
        Ok(Self {
            resampler: SpeechResampler::new(format)?,
            speech: Vec::new(),
            mel: MelWindows::new(settings.rate),
            pending: Vec::new(),
            features: FeatureWindows::new(settings.padding, lookahead),
        })
    }

    /// Takes interleaved samples, cut anywhere, and appends every settled frame to `out`.
    ///
    /// # Errors
    /// If a sample is not finite or the encoder fails.
    pub fn push(
        &mut self,
        model: &LoadedModel,
        samples: &[f32],
        out: &mut Vec<SpeechFrame>,
    ) -> Result<(), SpeechError> {
        self.speech.clear();
        self.resampler.push(samples, &mut self.speech)?;
        self.take(model, out)
    }

    /// Ends the utterance: appends the frames that needed to know the end, and starts anew.
    ///
    /// # Errors
    /// If the samples were not a whole number of frames, or the encoder fails.
    pub fn finish(
        &mut self,
        model: &LoadedModel,
        out: &mut Vec<SpeechFrame>,
    ) -> Result<(), SpeechError> {
        self.speech.clear();
        self.resampler.finish(&mut self.speech)?;
        self.take(model, out)?;
        let Self { mel, pending, .. } = self;
        mel.finish(|_, window| pending.push(*window));
        self.encode(model, out)?;
        self.features
            .finish(|frame, window| out.push((frame, Arc::new(*window) as SharedFloats)));
        Ok(())
    }

    /// Forgets everything and starts anew.
    pub fn reset(&mut self) {
        self.resampler.reset();
        self.mel.reset();
        self.pending.clear();
        self.features.reset();
    }

    /// Runs what is in `speech` through mel and encoder.
    fn take(&mut self, model: &LoadedModel, out: &mut Vec<SpeechFrame>) -> Result<(), SpeechError> {
        let Self {
            speech,
            mel,
            pending,
            ..
        } = self;
        mel.push(speech, |_, window| pending.push(*window))?;
        self.encode(model, out)
    }

    fn encode(
        &mut self,
        model: &LoadedModel,
        out: &mut Vec<SpeechFrame>,
    ) -> Result<(), SpeechError> {
        for window in self.pending.drain(..) {
            let feature = model
                .encode_speech(&window)
                .ok_or_else(|| no_encoder(model))??;
            if let Some((frame, window)) = self.features.push(&feature)? {
                out.push((frame, Arc::new(*window) as SharedFloats));
            }
        }
        Ok(())
    }
}

fn no_encoder(model: &LoadedModel) -> SpeechError {
    SpeechError::NoEncoder {
        model: Arc::clone(model.avatar().id()),
    }
}
