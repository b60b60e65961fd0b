//! Speech files to PCM, a packet at a time: whatever people record, download or are sent.
//!
//! ```text
//! path, "-", pipe, bytes ──> SpeechFile ── pieces ──> WAV | MP3 | OGG | ... one after another
//!                                                       │ container's reader: packets
//!                                                       └─ codec: samples ── trims ──> AudioReader
//! ```
//!
//! A file is first taken apart ([`pieces`]): files joined one behind the other are read one after another, tags are
//! skipped by their length, and sizes that cannot be true are held against the file. Then each piece is decoded.

mod codec;
mod contain;
mod matroska;
mod mp4;
mod mpeg;
mod ogg;
mod pieces;
mod riff;
mod source;
mod track;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use source::{STANDARD_INPUT, SpeechFile};

use super::{AudioError, PcmFormat, Resampler, SPEECH_RATE_HZ, SpeechResampler, check_finite};
use contain::contain;
use pieces::{Piece, PiecesError};
use track::{OpenError, Step, Track, TrackError};

/// A file, or bytes in memory, as a stream of interleaved f32 PCM at its own rate and channel count.
///
/// Holds one packet at a time. A single undecodable packet becomes silence of its length, so that what follows keeps
/// its time ([`damage`](Self::damage) counts them); a file that ends before its header says is an
/// error, where the container says a length that can be relied on. Joined files of other rates or channel counts come
/// as the first one's.
pub struct AudioReader {
    file: SpeechFile,
    pieces: std::vec::IntoIter<Piece>,
    notes: Vec<String>,
    track: Track,
    format: PcmFormat,
    /// Turns another format of the piece at hand into `format`.
    conform: Option<Conform>,
    /// Frames by the headers, if they are to be trusted.
    expected: Option<u64>,
    /// Frames handed out, the current chunk included.
    frames: u64,
    decoded: Vec<f32>,
    chunk: Vec<f32>,
    /// The first chunk was decoded when the reader was opened and waits to be fetched.
    waiting: bool,
    damage: Damage,
    last_failure: Option<String>,
}

impl std::fmt::Debug for AudioReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AudioReader")
            .field("file", &self.file)
            .field("format", &self.format)
            .field("frames", &self.frames)
            .finish_non_exhaustive()
    }
}

impl SpeechFile {
    /// A reader at the file's start, its first packet decoded.
    ///
    /// # Errors
    /// [`AudioError`], naming the file: not audio, of a kind that is not read, cut off, or without a decodable sample.
    pub fn reader(&self) -> Result<AudioReader, AudioError> {
        let found = match contain(|| pieces::find(self.bytes())) {
            Some(Ok(found)) => found,
            Some(Err(error)) => return Err(pieces_error(self.name(), error)),
            None => return Err(unreadable(self.name(), "a header that makes no sense")),
        };
        let tracks = found.all.iter().map(|piece| open(self, piece));
        let mut expected = Some(0.0);
        let mut first = None;
        // All are opened before anything is decoded: what cannot be read is told before a model is loaded.
        for track in tracks {
            let track = track?;
            expected = expected
                .zip(track.expected())
                .map(|(all, (frames, rate_hz))| all + frames as f64 / f64::from(rate_hz.max(1)));
            first.get_or_insert(track);
        }
        let Some(track) = first else {
            return Err(pieces_error(self.name(), PiecesError::Unknown));
        };
        let mut pieces = found.all.into_iter();
        pieces.next();
        let mut reader = AudioReader {
            file: self.clone(),
            pieces,
            notes: found.notes,
            track,
            format: PcmFormat {
                rate_hz: SPEECH_RATE_HZ,
                channels: 1,
            },
            conform: None,
            expected: None,
            frames: 0,
            decoded: Vec::new(),
            chunk: Vec::new(),
            waiting: false,
            damage: Damage::default(),
            last_failure: None,
        };
        if !reader.advance()? {
            return Err(AudioError::NoSamples {
                name: self.name().to_owned(),
                reason: reader.last_failure,
            });
        }
        let rate_hz = f64::from(reader.format.rate_hz);
        reader.expected = expected.map(|seconds| (seconds * rate_hz).round() as u64);
        reader.waiting = true;
        Ok(reader)
    }
}

impl AudioReader {
    /// Opens a file, or standard input if `path` is `-`, and decodes its first packet.
    ///
    /// # Errors
    /// [`AudioError`], naming the file: missing, empty, not audio, or without a decodable sample.
    pub fn open(path: &Path) -> Result<Self, AudioError> {
        SpeechFile::open(path)?.reader()
    }

    /// Reads a file's bytes from memory; `name` is what errors call it.
    ///
    /// # Errors
    /// As [`AudioReader::open`].
    pub fn from_bytes(
        name: &str,
        bytes: impl AsRef<[u8]> + Send + Sync + 'static,
    ) -> Result<Self, AudioError> {
        SpeechFile::from_bytes(name, bytes)?.reader()
    }

    /// Rate and channels of what [`next_chunk`](Self::next_chunk) gives.
    #[must_use]
    pub fn format(&self) -> PcmFormat {
        self.format
    }

    /// Length in frames by the file's headers, if they say one that can be relied on.
    #[must_use]
    pub fn expected_frames(&self) -> Option<u64> {
        self.expected
    }

    /// What the user should know about the file although it is read.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The count of packets that cannot be decoded and become silence; it goes on counting while the reader is used.
    #[must_use]
    pub fn damage(&self) -> Damage {
        self.damage.clone()
    }

    /// The next samples, interleaved, whole frames; `None` at the end.
    ///
    /// # Errors
    /// [`AudioError`], naming the file: truncated, damaged, changing its format, or a sample that is not finite.
    pub fn next_chunk(&mut self) -> Result<Option<&[f32]>, AudioError> {
        if std::mem::take(&mut self.waiting) || self.advance()? {
            Ok(Some(&self.chunk))
        } else {
            Ok(None)
        }
    }

    /// Decodes on until there are samples in `chunk`; false at the end.
    fn advance(&mut self) -> Result<bool, AudioError> {
        loop {
            self.chunk.clear();
            let (track, decoded) = (&mut self.track, &mut self.decoded);
            let step = contain(|| track.step(decoded)).unwrap_or_else(|| {
                let reason = "the decoder failed".to_owned();
                Err(TrackError::Damaged(reason))
            });
            match step.map_err(|error| self.track_error(error))? {
                Step::Samples(format) => self.take(format)?,
                Step::Damaged(reason) => {
                    self.damage.0.fetch_add(1, Ordering::Relaxed);
                    self.last_failure = Some(reason);
                    let format = self.conform.as_ref().map_or(self.format, |it| it.from);
                    if self.frames > 0 {
                        self.take(format)?;
                    }
                }
                Step::End => {
                    if let Some(conform) = &mut self.conform {
                        conform.finish(&mut self.chunk)?;
                    }
                    self.conform = None;
                    if !self.open_next()? && self.chunk.is_empty() {
                        return Ok(false);
                    }
                }
            }
            if !self.chunk.is_empty() {
                self.frames += (self.chunk.len() / self.format.channels) as u64;
                return Ok(true);
            }
        }
    }

    /// Takes decoded samples, in the format of the whole.
    fn take(&mut self, format: PcmFormat) -> Result<(), AudioError> {
        if self.decoded.is_empty() {
            return Ok(());
        }
        let before = self.frames * self.format.channels as u64;
        check_finite(self.file.name(), &self.decoded, before)?;
        if self.frames == 0 {
            self.format = format;
        }
        if self.conform.as_ref().is_none_or(|it| it.from != format) {
            if let Some(mut last) = self.conform.take() {
                last.finish(&mut self.chunk)?;
            }
            if format != self.format {
                let conform = Conform::new(format, self.format)?;
                self.conform = Some(conform.ok_or_else(|| AudioError::FormatChange {
                    name: self.file.name().to_owned(),
                    before: self.format,
                    after: format,
                    seconds: self.seconds(),
                })?);
            }
        }
        if let Some(conform) = &mut self.conform {
            conform.push(&self.decoded, &mut self.chunk)
        } else {
            self.chunk.append(&mut self.decoded);
            Ok(())
        }
    }

    /// Goes on to the next piece; false if there is none.
    fn open_next(&mut self) -> Result<bool, AudioError> {
        let Some(piece) = self.pieces.next() else {
            return Ok(false);
        };
        self.track = open(&self.file, &piece)?;
        Ok(true)
    }

    fn seconds(&self) -> f64 {
        self.frames as f64 / f64::from(self.format.rate_hz)
    }

    fn track_error(&self, error: TrackError) -> AudioError {
        let name = self.file.name().to_owned();
        match error {
            TrackError::Read(source) => AudioError::Read { name, source },
            TrackError::Format(error) => error,
            TrackError::Damaged(reason) => AudioError::Damaged {
                name,
                seconds: self.seconds(),
                reason,
            },
            TrackError::Cut => AudioError::Truncated {
                name,
                got_seconds: self.seconds(),
                expected_seconds: self
                    .expected
                    .map(|frames| frames as f64 / f64::from(self.format.rate_hz)),
            },
        }
    }
}

/// How many packets of a file could not be decoded so far.
#[derive(Clone, Debug, Default)]
pub struct Damage(Arc<AtomicU64>);

impl Damage {
    /// The count.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Turns PCM of one format into another's channels and rate.
struct Conform {
    from: PcmFormat,
    channels: usize,
    resampler: Resampler,
    mixed: Vec<f32>,
}

impl Conform {
    /// `None` if the channels of one do not stand for those of the other.
    fn new(from: PcmFormat, to: PcmFormat) -> Result<Option<Self>, AudioError> {
        if from.channels != to.channels && from.channels != 1 && to.channels != 1 {
            return Ok(None);
        }
        let mixed = PcmFormat {
            channels: to.channels,
            ..from
        };
        Ok(Some(Self {
            from,
            channels: to.channels,
            resampler: Resampler::new(mixed, to.rate_hz)?,
            mixed: Vec::new(),
        }))
    }

    fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) -> Result<(), AudioError> {
        self.mixed.clear();
        for frame in samples.chunks_exact(self.from.channels) {
            if self.from.channels == self.channels {
                self.mixed.extend(frame);
            } else {
                let mean = frame.iter().sum::<f32>() / frame.len() as f32;
                self.mixed.extend(std::iter::repeat_n(mean, self.channels));
            }
        }
        self.resampler.push(&self.mixed, out)
    }

    fn finish(&mut self, out: &mut Vec<f32>) -> Result<(), AudioError> {
        self.resampler.finish(out)
    }
}

/// Opens a piece, and says what is wrong with it in the user's words.
fn open(file: &SpeechFile, piece: &Piece) -> Result<Track, AudioError> {
    let opened = contain(|| Track::open(file, piece)).unwrap_or_else(|| {
        let reason = "its header makes no sense".to_owned();
        Err(OpenError::Container(reason))
    });
    let name = file.name();
    let container = piece.container.name();
    opened.map_err(|error| match error {
        OpenError::Read(source) => AudioError::Read {
            name: name.to_owned(),
            source,
        },
        OpenError::Container(reason) => {
            let cut = if piece.is_cut {
                ", and it is cut off"
            } else {
                ""
            };
            AudioError::NotAudio {
                name: name.to_owned(),
                reason: format!("{container} that cannot be read: {reason}{cut}"),
            }
        }
        OpenError::Unsupported(reason) => unsupported(
            name,
            &format!("{container} of a kind that is not read ({reason})"),
        ),
        OpenError::NoSound => AudioError::NotAudio {
            name: name.to_owned(),
            reason: format!("{container} without a sound track"),
        },
        OpenError::Codec(codec) => unsupported(name, &format!("{container} with {codec}")),
    })
}

fn pieces_error(name: &str, error: PiecesError) -> AudioError {
    let name_owned = name.to_owned();
    match error {
        PiecesError::Io(source) => AudioError::Read {
            name: name_owned,
            source,
        },
        PiecesError::Foreign(kind) => unsupported(name, kind),
        PiecesError::Unknown => AudioError::NotAudio {
            name: name_owned,
            reason: "no known format found, or cut off in its header".to_owned(),
        },
        PiecesError::Broken(container, reason) => AudioError::NotAudio {
            name: name_owned,
            reason: format!("{} that cannot be read: {reason}", container.name()),
        },
        PiecesError::Cut { got_s, claimed_s } => AudioError::Truncated {
            name: name_owned,
            got_seconds: got_s,
            expected_seconds: Some(claimed_s),
        },
        PiecesError::TooMany => unreadable(name, "more joined files than any speech has"),
    }
}

fn unsupported(name: &str, found: &str) -> AudioError {
    AudioError::Unsupported {
        name: name.to_owned(),
        found: found.to_owned(),
    }
}

fn unreadable(name: &str, reason: &str) -> AudioError {
    AudioError::NotAudio {
        name: name.to_owned(),
        reason: reason.to_owned(),
    }
}

/// A whole file as 16 kHz mono, at most `max_seconds` of it.
///
/// # Errors
/// [`AudioError`], naming the file; [`AudioError::TooLong`] beyond the limit.
pub fn read_speech(path: &Path, max_seconds: u32) -> Result<Vec<f32>, AudioError> {
    let mut reader = AudioReader::open(path)?;
    let mut resampler = SpeechResampler::new(reader.format())?;
    let mut speech = Vec::new();
    while let Some(chunk) = reader.next_chunk()? {
        resampler.push(chunk, &mut speech)?;
        if speech.len() as u64 > u64::from(max_seconds) * u64::from(SPEECH_RATE_HZ) {
            return Err(AudioError::TooLong {
                name: path.to_owned(),
                max_seconds,
            });
        }
    }
    resampler.finish(&mut speech)?;
    Ok(speech)
}

#[cfg(test)]
mod tests;
