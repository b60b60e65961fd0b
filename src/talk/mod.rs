//! A live conversation with one avatar: audio comes in, frames go out, with one context from the first word to the last.
//!
//! ```text
//! inputs ──> SpeechInput: bounded bytes, PCM, mel, windows ──> Playout: which slot ──> Rendering ──> Playout ──> events
//!   interrupt: all of it is emptied at once                        idle frames fill the other slots (realtime) ──┘
//! ```
//!
//! [`talk`] is the whole of it: one future without a task of its own, between a stream of [`Input`]s and a channel of
//! [`Event`]s. It knows neither gRPC nor `WebSocket`s; [`crate::server`] puts it behind both. Dropping it drops
//! everything: queued frames, frames in the network, the lease.
//!
//! # What holds
//! - Windows, hence pictures, are those of the whole-file path, however the audio is cut.
//! - One frame index runs through the stream, over speech and silence: the head never jumps.
//! - Everything is bounded. A slow reader slows its own stream, or loses frames in real time; a writer that is too fast
//!   is no longer read from.
//! - Utterances are numbered by the marks the client sends, whatever the timing.
//!
//! The protocol, the pacing rules and the latency: `docs/talk.md`.

mod avatar;
mod inbox;
mod pace;
mod pcm;
mod playout;
mod playout_queue;
mod rendering;
mod session;
mod speech_input;
#[cfg(test)]
mod tests;
mod watchdog;

use std::time::Duration;

use bytes::Bytes;

pub use avatar::{AvatarInfo, LeasedAvatar, LiveAvatar, Note};
pub use pcm::SampleFormat;
pub use session::talk;

use crate::audio::{Lookahead, PcmFormat};
use crate::encoder::{Encoded, Format};
use crate::pipeline::cpu::Panicked;
use crate::pipeline::{FrameTimings, RenderError, SpeechError};

/// How a stream is to be.
#[derive(Clone, Copy, Debug)]
pub struct TalkOptions {
    /// How a sample is written.
    pub samples: SampleFormat,
    /// Rate and channels of the audio.
    pub pcm: PcmFormat,
    /// How frames are encoded.
    pub format: Format,
    /// Index of the stream's first frame in the avatar's endless sequence.
    pub start_index: u64,
    /// Frames at the avatar's rate, with idle frames in the silences; otherwise speech only, as fast as it is made.
    pub realtime: bool,
    /// How far a frame looks ahead.
    pub lookahead: Lookahead,
    /// Bytes of audio the stream may hold that it has not listened to yet; then it reads no more until there is room.
    pub audio_bytes_max: usize,
    /// How long an utterance may go on after the server began to drain.
    pub drain: Duration,
    /// Whose stream it is: flows take turns in the network.
    pub flow: u64,
}

/// What a client says, after the start. The end of the inputs ends the stream, its last utterance first.
#[derive(Clone, Debug)]
pub enum Input {
    /// More of the utterance, cut anywhere.
    Audio(Bytes),
    /// The utterance is over.
    EndOfSpeech,
    /// Drop everything not sent yet.
    Interrupt,
}

/// Why an input cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum InputError {
    /// It is not what the protocol asks for.
    #[error("{field}: {reason}")]
    Malformed {
        /// The field at fault.
        field: &'static str,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The client went away.
    #[error("the client went away")]
    Gone,
}

/// What the client is told.
#[derive(Debug)]
pub enum Event {
    /// The stream is open.
    Started(AvatarInfo),
    /// The next frame.
    Frame(Frame),
    /// All frames of an utterance have been sent.
    UtteranceEnd {
        /// The utterance and its frames.
        utterance: Progress,
        /// How many of them were left out in real time.
        left_out: u64,
    },
    /// Nothing of this utterance or an earlier one follows.
    Interrupted(Cut),
    /// The stream is over.
    Summary(Summary),
}

/// An utterance and how many frames it has had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Which utterance of the stream, from 0.
    pub utterance: u64,
    /// Its frames; with those that were left out in real time.
    pub frames: u64,
}

/// How much of an utterance was shown when an interrupt cut it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The utterance, and its frames up to the last one that was sent.
    pub shown: Progress,
    /// The same as time of the utterance's audio.
    pub time: Duration,
}

/// One frame of a stream.
#[derive(Debug)]
pub struct Frame {
    /// Frames of the stream sent before this one.
    pub index: u64,
    /// When to show it, from the stream's first frame on.
    pub presentation: Duration,
    /// Its index in the avatar's endless sequence.
    pub frame_index: u64,
    /// The background it is painted on.
    pub background: usize,
    /// Whether it shows speech.
    pub kind: Kind,
    /// The encoded picture.
    pub image: Encoded,
}

/// What a frame shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The network's mouth.
    Speech {
        /// Which utterance of the stream, from 0.
        utterance: u64,
        /// Which frame of it, from 0.
        frame: u64,
    },
    /// The background as it is.
    Idle,
}

/// What a stream was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Speech frames sent.
    pub speech_frames: u64,
    /// Idle frames sent.
    pub idle_frames: u64,
    /// Utterances that were shown to their end.
    pub utterances: u64,
    /// Real time: frames that could not be made in time; speech is left out then, an idle frame comes late.
    pub late_frames: u64,
    /// Real time: frames that were left out because the client did not take them in time.
    pub skipped_frames: u64,
    /// Time in each stage, summed over the speech frames.
    pub timings: FrameTimings,
    /// From the first audio's arrival to the departure of the first speech frame, of the first utterance shown.
    pub first_frame: Option<Duration>,
    /// From start to end.
    pub elapsed: Duration,
}

/// How a stream ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client closed it, and everything was sent.
    Closed,
    /// The server is draining; utterances that had begun were sent.
    Drained,
    /// Nobody listens any more.
    Gone,
}

/// Why a stream failed.
#[derive(Debug, thiserror::Error)]
pub enum TalkError {
    /// An input.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The speech.
    #[error(transparent)]
    Speech(#[from] SpeechError),
    /// The utterance ended inside a sample.
    #[error("the audio of utterance {utterance} ends inside a sample: {left} of its {size} bytes")]
    PartialSample {
        /// Which utterance.
        utterance: u64,
        /// Bytes of the unfinished sample.
        left: usize,
        /// Bytes a sample has.
        size: usize,
    },
    /// A frame.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// A step panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}
