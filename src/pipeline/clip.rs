//! Whole clips: a speech file in, its frames out in order, with bounded memory however long it is.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::speech::SpeechFrame;
use super::{
    FrameOrder, FrameTimings, LoadedModel, RenderError, RenderedFrame, SpeechError, SpeechWindows,
    cpu, render_frame,
};
use crate::audio::{AudioError, AudioReader, Lookahead};
use crate::encoder::Format;

/// Speech windows that may wait for the network: half a second.
const WINDOWS_AHEAD: usize = 12;

/// What to make of a clip.
#[derive(Clone, Copy, Debug)]
pub struct ClipOptions {
    /// Index of the first frame in the avatar's endless sequence.
    pub start_index: u64,
    /// How frames are encoded.
    pub format: Format,
}

/// What a clip took.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClipSummary {
    /// Frames made.
    pub frames: u64,
    /// Time in each stage, summed over the frames; stages overlap, so the sum may exceed `elapsed`.
    pub timings: FrameTimings,
    /// From the first sample to the last frame.
    pub elapsed: std::time::Duration,
}

/// Why a clip could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    /// The speech.
    #[error(transparent)]
    Speech(#[from] SpeechError),
    /// A frame.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// A step panicked.
    #[error(transparent)]
    Panicked(#[from] cpu::Panicked),
}

impl From<AudioError> for ClipError {
    fn from(error: AudioError) -> Self {
        Self::Speech(error.into())
    }
}

/// Renders all speech of `reader` and hands every frame to `on_frame`, in order; `Break` ends the clip early.
///
/// A slow `on_frame` slows the rendering: only a few frames are ever in flight.
///
/// # Errors
/// If the audio cannot be decoded or a frame cannot be made.
pub async fn render_clip(
    model: &Arc<LoadedModel>,
    reader: AudioReader,
    options: ClipOptions,
    mut on_frame: impl AsyncFnMut(RenderedFrame) -> ControlFlow<()>,
) -> Result<ClipSummary, ClipError> {
    let started = Instant::now();
    let windows = speech_frames(Arc::clone(model), reader);
    let in_flight =
        model.generator().stats().sessions * model.generator().max_batch() + cpu::cores();
    let mut frames = std::pin::pin!(
        ReceiverStream::new(windows)
            .map(|speech| async move {
                let (frame, audio) = speech?;
                let order = FrameOrder {
                    index: options.start_index + frame,
                    visual: None,
                    audio,
                    flow: 0,
                    deadline: None,
                };
                Ok::<_, ClipError>(render_frame(model, order, options.format).await?)
            })
            .buffered(in_flight)
    );
    let mut summary = ClipSummary::default();
    while let Some(frame) = frames.next().await {
        let frame = frame?;
        summary.frames += 1;
        summary.timings += frame.timings;
        if on_frame(frame).await.is_break() {
            break;
        }
    }
    summary.elapsed = started.elapsed();
    Ok(summary)
}

/// Decodes and encodes the speech on a blocking thread, as far ahead as the receiver lets it.
fn speech_frames(
    model: Arc<LoadedModel>,
    mut reader: AudioReader,
) -> mpsc::Receiver<Result<SpeechFrame, ClipError>> {
    let (sender, receiver) = mpsc::channel(WINDOWS_AHEAD);
    tokio::task::spawn_blocking(move || {
        // A closed channel means nobody wants the rest.
        let result = read(&model, &mut reader, |frame| {
            match sender.blocking_send(Ok(frame)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        });
        if let Err(error) = result {
            let _ = sender.blocking_send(Err(error));
        }
    });
    receiver
}

fn read(
    model: &LoadedModel,
    reader: &mut AudioReader,
    mut emit: impl FnMut(SpeechFrame) -> ControlFlow<()>,
) -> Result<(), ClipError> {
    let mut windows = SpeechWindows::new(model, reader.format(), Lookahead::FULL)?;
    let mut ready = Vec::new();
    while let Some(chunk) = reader.next_chunk()? {
        windows.push(model, chunk, &mut ready)?;
        for frame in ready.drain(..) {
            if emit(frame).is_break() {
                return Ok(());
            }
        }
    }
    windows.finish(model, &mut ready)?;
    for frame in ready {
        if emit(frame).is_break() {
            break;
        }
    }
    Ok(())
}

/// The speech windows of the first `count` frames of `reader`, for a single batch.
///
/// # Errors
/// If the audio cannot be decoded or is shorter than `count` frames.
pub fn first_windows(
    model: &LoadedModel,
    reader: &mut AudioReader,
    count: usize,
) -> Result<Vec<SpeechFrame>, ClipError> {
    let mut frames = Vec::with_capacity(count);
    read(model, reader, |frame| {
        frames.push(frame);
        if frames.len() == count {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    Ok(frames)
}
