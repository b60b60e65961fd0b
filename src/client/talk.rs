//! A stream of speech: audio in, frames out.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tonic::Streaming;

use super::ClientError;
use super::batch::{image_format, milliseconds};
use crate::audio::PcmFormat;
use crate::encoder::Format;
use crate::pipeline::FrameTimings;
use crate::wire::talk_request::Message as Request;
use crate::wire::talk_response::Message as Response;
use crate::wire::{self, SampleFormat, TalkRequest, TalkResponse, TalkStart};

/// A stream to open.
#[derive(Clone, Debug)]
pub struct TalkOrder {
    /// Who talks.
    pub model: String,
    /// What the samples are.
    pub audio: PcmFormat,
    /// How frames are encoded.
    pub format: Format,
    /// Index of the first frame in the model's endless sequence.
    pub start_index: u64,
    /// Frames at the model's rate, with idle ones in the silences; otherwise as fast as they are made.
    pub realtime: bool,
    /// How many features past its own a frame waits for; `None` is all.
    pub lookahead: Option<u32>,
}

/// What is sent on an open stream.
#[derive(Clone, Debug)]
pub enum TalkInput {
    /// Interleaved little-endian f32 samples, cut anywhere.
    Audio(Bytes),
    /// The utterance is over.
    EndOfSpeech,
    /// Drop everything not delivered yet.
    Interrupt,
}

/// What comes back.
#[derive(Clone, Debug)]
pub enum TalkEvent {
    /// The stream is accepted.
    Started {
        /// Frames a second.
        fps: u32,
        /// Width of every frame.
        width: u32,
        /// Height of every frame.
        height: u32,
        /// How long the stream waited for the model to load, if it did.
        load: Option<Duration>,
    },
    /// A frame.
    Frame(TalkFrame),
    /// All frames of an utterance have come.
    UtteranceEnd {
        /// How many.
        frames: u64,
    },
    /// An interrupt took effect.
    Interrupted {
        /// The utterance that was cut, counted from 0.
        utterance: u64,
        /// Its frames up to the last one that was shown.
        frames: u64,
        /// The same as time of its audio.
        shown: Duration,
    },
    /// The last message.
    Summary(TalkSummary),
}

/// A frame of a stream.
#[derive(Clone, Debug)]
pub struct TalkFrame {
    /// Index in the model's endless sequence.
    pub index: u64,
    /// The background it is painted on.
    pub background: usize,
    /// Where it stands in the speech, if the network made its mouth; otherwise it is the background as it is.
    pub speech: Option<SpeechPosition>,
    /// The encoded picture.
    pub image: Bytes,
}

/// Which frame of the speech one is. It goes with `frame / fps` to `(frame + 1) / fps` seconds of the utterance's audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpeechPosition {
    /// Which utterance of the stream, from 0.
    pub utterance: u64,
    /// Which frame of it, from 0; frames that were left out count.
    pub frame: u64,
}

/// What a stream came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TalkSummary {
    /// Frames of speech.
    pub speech_frames: u64,
    /// Frames of silence.
    pub idle_frames: u64,
    /// In real time, frames that could not be made in time.
    pub late_frames: u64,
    /// In real time, frames that were left out because they were not taken in time.
    pub skipped_frames: u64,
    /// The server's time in each stage, summed over the speech frames.
    pub timings: FrameTimings,
    /// From the first audio to its first frame's departure.
    pub first_frame: Duration,
    /// The whole stream.
    pub total: Duration,
}

/// The messages of a stream, as the wire has them.
pub(super) fn requests<S>(
    order: &TalkOrder,
    inputs: S,
) -> impl Stream<Item = TalkRequest> + Send + 'static
where
    S: Stream<Item = TalkInput> + Send + 'static,
{
    let start = Request::Start(start(order));
    let inputs = inputs.map(|input| match input {
        TalkInput::Audio(samples) => Request::Audio(samples),
        TalkInput::EndOfSpeech => Request::EndOfSpeech(wire::EndOfSpeech {}),
        TalkInput::Interrupt => Request::Interrupt(wire::Interrupt {}),
    });
    futures::stream::iter([start])
        .chain(inputs)
        .map(|message| TalkRequest {
            message: Some(message),
        })
}

fn start(order: &TalkOrder) -> TalkStart {
    let (output_format, jpeg_quality) = image_format(order.format);
    TalkStart {
        model_id: order.model.clone(),
        sample_format: SampleFormat::F32le.into(),
        // Rates and channels are within PcmFormat's limits.
        sample_rate_hz: order.audio.rate_hz as i32,
        channels: order.audio.channels as i32,
        output_format,
        jpeg_quality,
        start_frame_idx: i64::try_from(order.start_index).unwrap_or(i64::MAX),
        realtime: order.realtime,
        lookahead: order.lookahead.map(|frames| frames as i32),
    }
}

/// An open stream. Dropping it ends it, and what the server was doing for it.
#[derive(Debug)]
pub struct Talk {
    server: String,
    answers: Streaming<TalkResponse>,
}

impl Talk {
    pub(super) fn new(server: String, answers: Streaming<TalkResponse>) -> Self {
        Self { server, answers }
    }

    /// The next thing the server has to say; `None` after the summary. What is not taken slows the server.
    ///
    /// # Errors
    /// If the connection breaks or the server ends the stream.
    pub async fn next(&mut self) -> Result<Option<TalkEvent>, ClientError> {
        loop {
            match self.answers.message().await {
                Err(status) => return Err(ClientError::from_status(&self.server, &status)),
                Ok(None) => return Ok(None),
                // A kind of message that is newer than this program.
                Ok(Some(TalkResponse { message: None })) => {}
                Ok(Some(TalkResponse {
                    message: Some(message),
                })) => return Ok(Some(message.into())),
            }
        }
    }
}

impl From<Response> for TalkEvent {
    fn from(message: Response) -> Self {
        match message {
            Response::Started(started) => Self::Started {
                fps: u32::try_from(started.fps).unwrap_or(0),
                width: u32::try_from(started.width).unwrap_or(0),
                height: u32::try_from(started.height).unwrap_or(0),
                load: started
                    .model_loaded
                    .then(|| milliseconds(started.model_load_time_ms)),
            },
            Response::Frame(frame) => Self::Frame(TalkFrame {
                index: u64::try_from(frame.frame_idx).unwrap_or(0),
                background: usize::try_from(frame.background_index).unwrap_or(0),
                speech: (frame.kind() == wire::talk_frame::Kind::Speech).then(|| SpeechPosition {
                    utterance: u64::try_from(frame.utterance).unwrap_or(0),
                    frame: u64::try_from(frame.utterance_frame).unwrap_or(0),
                }),
                image: frame.image,
            }),
            Response::UtteranceEnd(end) => Self::UtteranceEnd {
                frames: u64::try_from(end.frames).unwrap_or(0),
            },
            Response::Interrupted(cut) => Self::Interrupted {
                utterance: u64::try_from(cut.utterance).unwrap_or(0),
                frames: u64::try_from(cut.frames).unwrap_or(0),
                shown: milliseconds(cut.shown_ms),
            },
            Response::Summary(summary) => Self::Summary(summary.into()),
        }
    }
}

impl From<wire::TalkSummary> for TalkSummary {
    fn from(summary: wire::TalkSummary) -> Self {
        Self {
            speech_frames: u64::try_from(summary.speech_frames).unwrap_or(0),
            idle_frames: u64::try_from(summary.idle_frames).unwrap_or(0),
            late_frames: u64::try_from(summary.late_frames).unwrap_or(0),
            skipped_frames: u64::try_from(summary.skipped_frames).unwrap_or(0),
            timings: FrameTimings {
                visual: milliseconds(summary.visual_time_ms),
                queue: milliseconds(summary.queue_time_ms),
                inference: milliseconds(summary.inference_time_ms),
                composite: milliseconds(summary.composite_time_ms),
                encode: milliseconds(summary.encode_time_ms),
            },
            first_frame: milliseconds(summary.first_frame_ms),
            total: milliseconds(summary.total_time_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_keeps_its_figures_apart() {
        let summary = TalkSummary::from(wire::TalkSummary {
            speech_frames: 1,
            idle_frames: 2,
            late_frames: 3,
            skipped_frames: 4,
            first_frame_ms: 5.0,
            total_time_ms: 6.0,
            ..wire::TalkSummary::default()
        });
        let expected = TalkSummary {
            speech_frames: 1,
            idle_frames: 2,
            late_frames: 3,
            skipped_frames: 4,
            timings: FrameTimings::default(),
            first_frame: Duration::from_millis(5),
            total: Duration::from_millis(6),
        };
        assert_eq!(summary, expected);
    }
}
