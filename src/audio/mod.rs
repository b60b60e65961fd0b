//! Speech: decoding, 16 kHz mono, mel spectrogram, and the windows the networks see.
//!
//! ```text
//! file, bytes ── AudioReader ──> interleaved PCM ─┬─> the film's sound track
//!                                                 └─ SpeechResampler ─> 16 kHz mono
//! 16 kHz mono ── MelWindows ──> [80,16] ── audio encoder ──> 512 ── FeatureWindows ──> [32,16,16]
//! ```
//!
//! Every stage is a stream whose result does not depend, bit for bit, on how its input was cut; the whole-file
//! functions stand on the streams. Every stage's state is bounded, whatever the length of the audio.

pub mod file;

pub mod resample;

pub mod mel;

pub mod features;

use std::path::PathBuf;

use features::{FPS_MAX, LOOKAHEAD_MAX};
pub use file::{AudioReader, Damage, STANDARD_INPUT, SpeechFile, read_speech};

pub use features::{FeatureWindows, FrameRate, Lookahead, MelWindows, Padding};
pub use mel::{MelFrame, MelStream, mel_spectrogram};
pub use resample::{Resampler, SpeechResampler};

/// Sample rate of all speech the networks hear, in Hz.
pub const SPEECH_RATE_HZ: u32 = 16_000;

/// Lowest sample rate accepted, in Hz.
pub const RATE_HZ_MIN: u32 = 1_000;
/// Highest sample rate accepted, in Hz.
pub const RATE_HZ_MAX: u32 = 768_000;
/// Most channels accepted.
pub const CHANNELS_MAX: usize = 64;

/// What can be wrong with audio.
#[derive(Debug, thiserror::Error)]
pub enum AudioError {
    /// The file cannot be opened or read.
    #[error("cannot read audio file {name}: {source}")]
    Read {
        /// The file.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is a directory or has no bytes.
    #[error("audio file {name} is empty: give a file with speech in it")]
    Empty {
        /// The file.
        name: String,
    },
    /// A pipe that does not end.
    #[error("{name} gives more than {max_bytes} bytes: write it to a file first")]
    PipeTooLong {
        /// What is read.
        name: String,
        /// The limit, in bytes.
        max_bytes: u64,
    },
    /// A container or codec that is known and not read.
    #[error(
        "unsupported format: {name} is {found}: convert it first: ffmpeg -i {} -vn speech.wav",
        shell_word(name)
    )]
    Unsupported {
        /// The file.
        name: String,
        /// The kind of file, or the container and the codec in it.
        found: String,
    },
    /// Nothing that could be sound.
    #[error(
        "{name} is not audio this program can decode ({reason}): give WAV, MP3, M4A, OGG, WebM, FLAC, AIFF, CAF, or a film with sound"
    )]
    NotAudio {
        /// The file.
        name: String,
        /// What the decoder said.
        reason: String,
    },
    /// The container holds a track, but not one sample comes out.
    #[error("audio file {name} has no decodable samples{}", reason.as_deref().map(|r| format!(" ({r})")).unwrap_or_default())]
    NoSamples {
        /// The file.
        name: String,
        /// What the decoder said, if it said anything.
        reason: Option<String>,
    },
    /// The data ends before the header says it should.
    #[error("audio file {name} is truncated: it ends after {got_seconds:.2} s{}", expected_seconds.map(|s| format!(" of {s:.2} s")).unwrap_or_default())]
    Truncated {
        /// The file.
        name: String,
        /// Length of what could be decoded, in seconds.
        got_seconds: f64,
        /// Length by the header, in seconds, where it says one.
        expected_seconds: Option<f64>,
    },
    /// The data is broken in the middle.
    #[error("audio file {name} is damaged after {seconds:.2} s: {reason}")]
    Damaged {
        /// The file.
        name: String,
        /// Length of what was decoded before, in seconds.
        seconds: f64,
        /// What the decoder said.
        reason: String,
    },
    /// Rate or channel count change in the middle of a file.
    #[error(
        "audio file {name} changes from {before} to {after} after {seconds:.2} s: re-encode it with one format throughout"
    )]
    FormatChange {
        /// The file.
        name: String,
        /// The format so far.
        before: PcmFormat,
        /// The new one.
        after: PcmFormat,
        /// Where it changes, in seconds.
        seconds: f64,
    },
    /// A sample is NaN or infinite.
    #[error("{name}: audio sample {index} is {value}, not a finite number")]
    NonFinite {
        /// The file or stream.
        name: String,
        /// Index of the sample, counted over all channels from the start.
        index: u64,
        /// NaN or an infinity.
        value: f32,
    },
    /// The sample rate is outside [`RATE_HZ_MIN`]..=[`RATE_HZ_MAX`].
    #[error("sample rate {0} Hz is outside {RATE_HZ_MIN}..={RATE_HZ_MAX} Hz")]
    Rate(u32),
    /// The channel count is outside 1..=[`CHANNELS_MAX`].
    #[error("{0} audio channels are outside 1..={CHANNELS_MAX}")]
    Channels(usize),
    /// An interleaved stream ended inside a frame.
    #[error("audio ends inside a frame: {left} of {channels} channels in the last one")]
    PartialFrame {
        /// Samples left over.
        left: usize,
        /// Channels of the stream.
        channels: usize,
    },
    /// The resampler refused its parameters.
    #[error("cannot resample from {from} Hz to {to} Hz: {reason}")]
    Resample {
        /// Input rate, in Hz.
        from: u32,
        /// Output rate, in Hz.
        to: u32,
        /// What the resampler said.
        reason: String,
    },
    /// A frame rate outside what the mel windows allow.
    #[error("frame rate {0} is outside 1..={FPS_MAX} frames/s")]
    FrameRate(u32),
    /// A lookahead outside 0..=8.
    #[error("lookahead {0} is outside 0..={LOOKAHEAD_MAX}")]
    Lookahead(u32),
    /// The audio is longer than the caller allows to be held in memory.
    #[error("audio file {} is longer than {max_seconds} s: cut it, or raise the limit", name.display())]
    TooLong {
        /// The file.
        name: PathBuf,
        /// The limit, in seconds.
        max_seconds: u32,
    },
}

/// `name` as a shell takes it for one word.
fn shell_word(name: &str) -> std::borrow::Cow<'_, str> {
    let is_plain = |letter: char| letter.is_alphanumeric() || "/._-+,:@%=".contains(letter);
    if !name.is_empty() && name.chars().all(is_plain) {
        name.into()
    } else {
        format!("'{}'", name.replace('\'', "'\\''")).into()
    }
}

/// Sample rate and channel count of interleaved PCM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcmFormat {
    /// Frames a second.
    pub rate_hz: u32,
    /// Samples in a frame.
    pub channels: usize,
}

impl PcmFormat {
    /// The format, if both figures are within the limits of this module.
    ///
    /// # Errors
    /// [`AudioError::Rate`] or [`AudioError::Channels`].
    pub fn new(rate_hz: u32, channels: usize) -> Result<Self, AudioError> {
        if !(RATE_HZ_MIN..=RATE_HZ_MAX).contains(&rate_hz) {
            return Err(AudioError::Rate(rate_hz));
        }
        if !(1..=CHANNELS_MAX).contains(&channels) {
            return Err(AudioError::Channels(channels));
        }
        Ok(Self { rate_hz, channels })
    }
}

impl std::fmt::Display for PcmFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} Hz, {} ch", self.rate_hz, self.channels)
    }
}

/// Refuses NaN and infinities; `before` samples of the stream came earlier.
fn check_finite(name: &str, samples: &[f32], before: u64) -> Result<(), AudioError> {
    match samples.iter().position(|s| !s.is_finite()) {
        None => Ok(()),
        Some(at) => Err(AudioError::NonFinite {
            name: name.to_owned(),
            index: before + at as u64,
            value: samples[at],
        }),
    }
}
