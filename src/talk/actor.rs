//! What a stream needs of its avatar. The real one is a leased model; tests script another.

use std::sync::Arc;
use std::time::Duration;

use crate::audio::{Lookahead, PcmFormat};
use crate::encoder::Format;
use crate::frame::Size;
use crate::inference::InferenceError;
use crate::pipeline::render::{RenderFault, render_idle};
use crate::pipeline::speech::SpeechFrame;
use crate::pipeline::{
    FrameOrder, LoadedModel, RenderError, RenderedFrame, SpeechError, SpeechWindows, cpu,
    render_frame,
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

/// An avatar that listens and speaks.
pub trait Actor: Send + Sync + 'static {
    /// The state of listening to one stream.
    type Ears: Send + 'static;

    /// What clients are told.
    fn about(&self) -> About;

    /// Frames that may be in the making at once for one stream.
    fn frames_ahead(&self) -> usize;

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

    /// Makes an idle frame: the background of frame `index` as it is.
    fn rest(
        &self,
        index: u64,
        format: Format,
    ) -> impl Future<Output = Result<RenderedFrame, RenderError>> + Send;
}

/// A model for as long as it is leased.
#[derive(Debug)]
pub struct Leased(Arc<Lease<LoadedModel>>);

impl Leased {
    /// An actor that gives the lease back when it is dropped.
    #[must_use]
    pub fn new(lease: Lease<LoadedModel>) -> Self {
        Self(Arc::new(lease))
    }
}

/// The pause before a frame is offered again to a full queue: a tenth of a frame's time.
const QUEUE_RETRY: Duration = Duration::from_millis(4);

impl Actor for Leased {
    type Ears = SpeechWindows;

    fn about(&self) -> About {
        About {
            fps: self.0.avatar().fps(),
            size: self.0.avatar().size(),
            load_time: self.0.load_time(),
        }
    }

    fn frames_ahead(&self) -> usize {
        let generator = self.0.generator();
        generator.stats().sessions * generator.max_batch() + cpu::cores()
    }

    fn listen(&self, pcm: PcmFormat, lookahead: Lookahead) -> Result<SpeechWindows, SpeechError> {
        SpeechWindows::new(&self.0, pcm, lookahead)
    }

    fn hear(
        &self,
        ears: &mut SpeechWindows,
        samples: &[f32],
        last: bool,
        out: &mut Vec<SpeechFrame>,
    ) -> Result<(), SpeechError> {
        ears.push(&self.0, samples, out)?;
        if last {
            ears.finish(&self.0, out)?;
        }
        Ok(())
    }

    fn forget(&self, ears: &mut SpeechWindows) {
        ears.reset();
    }

    async fn speak(&self, order: FrameOrder, format: Format) -> Result<RenderedFrame, RenderError> {
        loop {
            match render_frame(&self.0, order.clone(), format).await {
                // A request is refused then; a stream waits its turn, until the frame's deadline.
                Err(RenderError {
                    source: RenderFault::Inference(InferenceError::QueueFull { .. }),
                    ..
                }) => tokio::time::sleep(QUEUE_RETRY).await,
                Ok(frame) => {
                    self.0.record(1, frame.timings.inference);
                    return Ok(frame);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn rest(&self, index: u64, format: Format) -> Result<RenderedFrame, RenderError> {
        render_idle(&self.0, index, format).await
    }
}
