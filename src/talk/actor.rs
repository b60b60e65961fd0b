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
pub struct About {
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
    /// A speech frame was made.
    Frame(&'a FrameTimings),
    /// The first frame of an utterance left, so long after its first audio came.
    FirstFrame(Duration),
}

/// An avatar that listens and speaks.
pub trait Actor: Send + Sync + 'static {
    /// The state of listening to one stream.
    type Ears: Send + 'static;

    /// What clients are told.
    fn about(&self) -> About;

    /// Frames that may be in the making at once for one stream.
    fn frames_at_once(&self) -> usize;

    /// Begins to listen. Blocks.
    ///
    /// # Errors
    /// If the avatar cannot hear.
    fn listen(&self, pcm: PcmFormat, lookahead: Lookahead) -> Result<Self::Ears, SpeechError>;

    /// Takes interleaved samples and appends the frames they settle; `last` ends the utterance. Blocks.
    ///
    /// # Errors
    /// If the audio is unusable or the network fails.
    fn hear(
        &self,
        ears: &mut Self::Ears,
        samples: &[f32],
        last: bool,
        out: &mut Vec<SpeechFrame>,
    ) -> Result<(), SpeechError>;

    /// Makes the ears forget the utterance.
    fn forget(&self, ears: &mut Self::Ears);

    /// Makes a frame of speech. Dropping the future drops the frame.
    fn speak(
        &self,
        order: FrameOrder,
        format: Format,
    ) -> impl Future<Output = Result<RenderedFrame, RenderError>> + Send;

    /// Told of what the figures are made of.
    fn note(&self, note: Note<'_>);

    /// Makes an idle frame: the background of frame `index` as it is.
    fn rest(
        &self,
        index: u64,
        format: Format,
    ) -> impl Future<Output = Result<RenderedFrame, RenderError>> + Send;
}

/// A model for as long as it is leased.
pub struct Leased {
    model: Lease<LoadedModel>,
    noted: Box<dyn Fn(Note<'_>) + Send + Sync>,
}

impl Leased {
    /// An actor that gives the lease back when it is dropped. `noted` is told of what happens.
    #[must_use]
    pub fn new(
        model: Lease<LoadedModel>,
        noted: impl Fn(Note<'_>) + Send + Sync + 'static,
    ) -> Self {
        let noted = Box::new(noted);
        Self { model, noted }
    }
}

impl std::fmt::Debug for Leased {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leased")
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

/// The pause before a frame is offered again to a full queue: a tenth of a frame's time.
const QUEUE_RETRY: Duration = Duration::from_millis(4);

impl Actor for Leased {
    type Ears = SpeechWindows;

    fn about(&self) -> About {
        About {
            fps: self.model.avatar().fps(),
            size: self.model.avatar().size(),
            load_time: self.model.load_time(),
        }
    }

    fn frames_at_once(&self) -> usize {
        let generator = self.model.generator();
        generator.stats().sessions * generator.max_batch() + cpu::cores()
    }

    fn listen(&self, pcm: PcmFormat, lookahead: Lookahead) -> Result<SpeechWindows, SpeechError> {
        SpeechWindows::new(&self.model, pcm, lookahead)
    }

    fn hear(
        &self,
        ears: &mut SpeechWindows,
        samples: &[f32],
        last: bool,
        out: &mut Vec<SpeechFrame>,
    ) -> Result<(), SpeechError> {
        ears.push(&self.model, samples, out)?;
        if last {
            ears.finish(&self.model, out)?;
        }
        Ok(())
    }

    fn forget(&self, ears: &mut SpeechWindows) {
        ears.reset();
    }

    async fn speak(&self, order: FrameOrder, format: Format) -> Result<RenderedFrame, RenderError> {
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

    async fn rest(&self, index: u64, format: Format) -> Result<RenderedFrame, RenderError> {
        render_idle(&self.model, index, format).await
    }
}
