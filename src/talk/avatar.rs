//! What a stream needs of its avatar. The real one is a leased model; tests script another.

use std::time::Duration;

use crate::audio::{Lookahead, PcmFormat};
use crate::encoder::Format;
use crate::engine::InferenceError;
use crate::frame::Size;
use crate::pipeline::render::{RenderFault, render_idle};
use crate::pipeline::speech::SpeechFrame;
use crate::pipeline::{
    FrameOrder, FrameTimings, LoadedModel, RenderError, RenderedFrame, SpeechError, SpeechWindows,
    cpu, render_frame,
};
use crate::registry::Lease;

/// What a client is told before the first frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvatarInfo {
    /// Frames a second.
    pub fps: u32,
    /// Width and height of the frames.
    pub size: Size,
    /// How long the model took to load, if the stream caused or waited for that.
    pub load_time: Option<Duration>,
}

/// What happened on a stream, for the server's figures.
#[derive(Clone, Copy, Debug)]
pub enum Note<'a> {
    /// A speech frame was rendered.
    Frame(&'a FrameTimings),
    /// The first frame of an utterance left, so long after its first audio came.
    FirstFrame(Duration),
    /// The stream has had speech to show for two seconds and shown none.
    Stalled,
}

/// An avatar that is driven live.
pub trait LiveAvatar: Send + Sync + 'static {
    /// The state of one stream's speech, between two pieces of audio.
    type Speech: Send + 'static;

    /// What clients are told.
    fn info(&self) -> AvatarInfo;

    /// Frames that may be rendered at once for one stream.
    fn frames_at_once(&self) -> usize;

    /// The state before the first audio. Blocks.
    ///
    /// # Errors
    /// If the avatar has no audio encoder.
    fn open_speech(
        &self,
        pcm: PcmFormat,
        lookahead: Lookahead,
    ) -> Result<Self::Speech, SpeechError>;

    /// Takes interleaved samples and appends the frames they settle; `last` ends the utterance. Blocks.
    ///
    /// # Errors
    /// If the audio is unusable or the network fails.
    fn push_speech(
        &self,
        speech: &mut Self::Speech,
        samples: &[f32],
        last: bool,
        out: &mut Vec<SpeechFrame>,
    ) -> Result<(), SpeechError>;

    /// Forgets the utterance.
    fn reset_speech(&self, speech: &mut Self::Speech);

    /// Renders a frame of speech. Dropping the future drops the frame.
    fn render_speech(
        &self,
        order: FrameOrder,
        format: Format,
    ) -> impl Future<Output = Result<RenderedFrame, RenderError>> + Send;

    /// Told of what the figures are made of.
    fn note(&self, note: Note<'_>);

    /// Renders an idle frame: the background of frame `index` as it is.
    fn render_idle(
        &self,
        index: u64,
        format: Format,
    ) -> impl Future<Output = Result<RenderedFrame, RenderError>> + Send;
}

/// A model for as long as it is leased.
pub struct LeasedAvatar {
    model: Lease<LoadedModel>,
    noted: Box<dyn Fn(Note<'_>) + Send + Sync>,
}

impl LeasedAvatar {
    /// An avatar that gives the lease back when it is dropped. `noted` is told of what happens.
    #[must_use]
    pub fn new(
        model: Lease<LoadedModel>,
        noted: impl Fn(Note<'_>) + Send + Sync + 'static,
    ) -> Self {
        let noted = Box::new(noted);
        Self { model, noted }
    }
}

impl std::fmt::Debug for LeasedAvatar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeasedAvatar")
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

/// The pause before a frame is offered again to a full queue: a tenth of a frame's time.
const QUEUE_RETRY: Duration = Duration::from_millis(4);

impl LiveAvatar for LeasedAvatar {
    type Speech = SpeechWindows;

    fn info(&self) -> AvatarInfo {
        AvatarInfo {
            fps: self.model.avatar().fps(),
            size: self.model.avatar().size(),
            load_time: self.model.load_time(),
        }
    }

    fn frames_at_once(&self) -> usize {
        let generator = self.model.generator();
        generator.stats().sessions * generator.max_batch() + cpu::cores()
    }

    fn open_speech(
        &self,
        pcm: PcmFormat,
        lookahead: Lookahead,
    ) -> Result<SpeechWindows, SpeechError> {
        SpeechWindows::new(&self.model, pcm, lookahead)
    }

    fn push_speech(
        &self,
        speech: &mut SpeechWindows,
        samples: &[f32],
        last: bool,
        out: &mut Vec<SpeechFrame>,
    ) -> Result<(), SpeechError> {
        speech.push(&self.model, samples, out)?;
        if last {
            speech.finish(&self.model, out)?;
        }
        Ok(())
    }

    fn reset_speech(&self, speech: &mut SpeechWindows) {
        speech.reset();
    }

    async fn render_speech(
        &self,
        order: FrameOrder,
        format: Format,
    ) -> Result<RenderedFrame, RenderError> {
        loop {
            match render_frame(&self.model, order.clone(), format).await {
                // A request is refused then; a stream waits its turn, until the frame's deadline.
                Err(RenderError {
                    source: RenderFault::Inference(InferenceError::QueueFull { .. }),
                    ..
                }) => tokio::time::sleep(QUEUE_RETRY).await,
                Ok(frame) => {
                    self.model.record(1, frame.timings.inference);
                    self.note(Note::Frame(&frame.timings));
                    return Ok(frame);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn note(&self, note: Note<'_>) {
        (self.noted)(note);
    }

    async fn render_idle(&self, index: u64, format: Format) -> Result<RenderedFrame, RenderError> {
        render_idle(&self.model, index, format).await
    }
}
