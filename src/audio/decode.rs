//! Audio files to PCM, a packet at a time: WAV, MP3, FLAC, OGG Vorbis and M4A/AAC by `symphonia`.

use std::io::{Cursor, ErrorKind};
use std::path::Path;

use symphonia::core::audio::Channels;
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;

use super::{AudioError, PcmFormat, SPEECH_RATE_HZ, SpeechResampler, check_finite};

/// A WAV whose length says this many bytes or more was written to a pipe: the figure stands for "unknown".
const WAV_BYTES_UNKNOWN: u64 = 0x7fff_0000;
/// Silence put in place of one damaged packet is never longer, in seconds.
const GAP_SECONDS_MAX: u64 = 1;

/// A file, or bytes in memory, as a stream of interleaved f32 PCM at its own rate and channel count.
///
/// Holds one packet at a time. A single undecodable packet becomes silence of its length, so that what follows keeps
/// its time ([`damaged_packets`](Self::damaged_packets) counts them); a file that ends before its header says is an
/// error, where the container says a length that can be relied on.
pub struct AudioReader {
    name: String,
    container: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    format: PcmFormat,
    /// Frames by the header, if it is to be trusted.
    expected: Option<u64>,
    /// Whether the data's end inside a packet means that the file was cut.
    strict_end: bool,
    /// Frames handed out, the current chunk included.
    frames: u64,
    chunk: Vec<f32>,
    /// The first chunk was decoded when the reader was opened and waits to be fetched.
    waiting: bool,
    damaged: u64,
    last_failure: Option<String>,
}

impl std::fmt::Debug for AudioReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AudioReader")
            .field("name", &self.name)
            .field("format", &self.format)
            .field("frames", &self.frames)
            .finish_non_exhaustive()
    }
}

impl AudioReader {
    /// Opens a file and decodes its first packet.
    ///
    /// # Errors
    /// [`AudioError`], naming the file: missing, empty, not audio, or without a decodable sample.
    pub fn open(path: &Path) -> Result<Self, AudioError> {
        let name = path.display().to_string();
        let failed = |source| AudioError::Read {
            name: name.clone(),
            source,
        };
        let file = std::fs::File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(ErrorKind::IsADirectory.into()));
        }
        if metadata.is_file() && metadata.len() == 0 {
            return Err(AudioError::Empty { name });
        }
        let extension = path.extension().and_then(|e| e.to_str());
        Self::start(name, extension, Box::new(file))
    }

    /// Reads a file's bytes from memory; `name` is what errors call it, its extension a hint.
    ///
    /// # Errors
    /// As [`AudioReader::open`].
    pub fn from_bytes(
        name: &str,
        bytes: impl AsRef<[u8]> + Send + Sync + 'static,
    ) -> Result<Self, AudioError> {
        if bytes.as_ref().is_empty() {
            return Err(AudioError::Empty {
                name: name.to_owned(),
            });
        }
        let extension = Path::new(name).extension().and_then(|e| e.to_str());
        Self::start(name.to_owned(), extension, Box::new(Cursor::new(bytes)))
    }

    fn start(
        name: String,
        extension: Option<&str>,
        source: Box<dyn MediaSource>,
    ) -> Result<Self, AudioError> {
        let not_audio = |reason: String| AudioError::NotAudio {
            name: name.clone(),
            reason,
        };
        let mut hint = Hint::new();
        if let Some(extension) = extension {
            hint.with_extension(extension);
        }
        let source = MediaSourceStream::new(source, MediaSourceStreamOptions::default());
        let container = symphonia::default::get_probe()
            .probe(
                &hint,
                source,
                FormatOptions::default(),
                MetadataOptions::default(),
            )
            .map_err(|error| not_audio(probe_reason(&error)))?;
        let track = container
            .first_track_known_codec(TrackType::Audio)
            .ok_or_else(|| not_audio("no audio track".to_owned()))?;
        let parameters = track
            .codec_params
            .as_ref()
            .and_then(|parameters| parameters.audio())
            .ok_or_else(|| not_audio("no audio codec".to_owned()))?;
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &AudioDecoderOptions::default())
            .map_err(|error| not_audio(error.to_string()))?;
        let kind = container.format_info().short_name;
        let trusted = match kind {
            "wave" => {
                let channels = parameters.channels.as_ref().map_or(1, Channels::count) as u64;
                let bytes = u64::from(parameters.bits_per_sample.unwrap_or(8)) / 8;
                track
                    .num_frames
                    .is_some_and(|frames| frames * channels * bytes < WAV_BYTES_UNKNOWN)
            }
            // Only the LAME tag counts samples; without it the figure is a guess from the bit rate.
            "mp3" | "mp2" | "mp1" => track.delay.is_some(),
            "flac" => true,
            _ => false,
        };
        let mut reader = Self {
            track: track.id,
            expected: track.num_frames.filter(|_| trusted),
            strict_end: match kind {
                "wave" => trusted,
                kind => matches!(kind, "flac" | "isomp4"),
            },
            name,
            container,
            decoder,
            format: PcmFormat {
                rate_hz: SPEECH_RATE_HZ,
                channels: 1,
            },
            frames: 0,
            chunk: Vec::new(),
            waiting: false,
            damaged: 0,
            last_failure: None,
        };
        if !reader.advance()? {
            return Err(AudioError::NoSamples {
                name: reader.name,
                reason: reader.last_failure,
            });
        }
        reader.waiting = true;
        Ok(reader)
    }

    /// Rate and channels of what [`next_chunk`](Self::next_chunk) gives.
    #[must_use]
    pub fn format(&self) -> PcmFormat {
        self.format
    }

    /// Length in frames by the file's header, if it says one that can be relied on.
    #[must_use]
    pub fn expected_frames(&self) -> Option<u64> {
        self.expected
    }

    /// Packets that could not be decoded so far and became silence.
    #[must_use]
    pub fn damaged_packets(&self) -> u64 {
        self.damaged
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
            let packet = match self.container.next_packet() {
                Ok(Some(packet)) if packet.track_id == self.track => packet,
                Ok(Some(_)) => continue,
                Ok(None) => return self.end().map(|()| false),
                Err(Error::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                    return if self.strict_end {
                        Err(self.truncated())
                    } else {
                        self.end().map(|()| false)
                    };
                }
                Err(Error::IoError(source)) => {
                    return Err(AudioError::Read {
                        name: self.name.clone(),
                        source,
                    });
                }
                Err(error) => return Err(self.broken(&error)),
            };
            if self.decode(&packet)? {
                return Ok(true);
            }
        }
    }

    /// Decodes one packet into `chunk`; false if it holds no samples.
    fn decode(&mut self, packet: &Packet) -> Result<bool, AudioError> {
        match self.decoder.decode(packet) {
            Ok(audio) => {
                let spec = audio.spec();
                let format = PcmFormat::new(spec.rate(), spec.channels().count())?;
                if audio.is_empty() {
                    return Ok(false);
                }
                audio.copy_to_vec_interleaved(&mut self.chunk);
                if self.frames == 0 {
                    self.format = format;
                } else if format != self.format {
                    return Err(AudioError::FormatChange {
                        name: self.name.clone(),
                        before: self.format,
                        after: format,
                        seconds: self.seconds(),
                    });
                }
                let before = self.frames * self.format.channels as u64;
                check_finite(&self.name, &self.chunk, before)?;
            }
            // What fails before the first sound has no known length; players drop it too.
            Err(Error::DecodeError(reason)) => {
                self.damaged += 1;
                self.last_failure = Some(reason.to_owned());
                let frames = if self.frames == 0 {
                    0
                } else {
                    packet
                        .dur
                        .get()
                        .min(GAP_SECONDS_MAX * u64::from(self.format.rate_hz))
                };
                self.chunk.clear();
                self.chunk
                    .resize(frames as usize * self.format.channels, 0.0);
            }
            Err(error) => return Err(self.broken(&error)),
        }
        self.frames += (self.chunk.len() / self.format.channels) as u64;
        Ok(!self.chunk.is_empty())
    }

    /// Whether the end is where the header says, up to a hundredth of a second.
    fn end(&mut self) -> Result<(), AudioError> {
        self.chunk.clear();
        match self.expected {
            Some(expected)
                if expected > self.frames + u64::from(self.format.rate_hz) / 100
                    && self.frames > 0 =>
            {
                Err(self.truncated())
            }
            _ => Ok(()),
        }
    }

    fn seconds(&self) -> f64 {
        self.frames as f64 / f64::from(self.format.rate_hz)
    }

    fn truncated(&self) -> AudioError {
        AudioError::Truncated {
            name: self.name.clone(),
            got_seconds: self.seconds(),
            expected_seconds: self
                .expected
                .map(|frames| frames as f64 / f64::from(self.format.rate_hz)),
        }
    }

    fn broken(&self, error: &Error) -> AudioError {
        AudioError::Damaged {
            name: self.name.clone(),
            seconds: self.seconds(),
            reason: error.to_string(),
        }
    }
}

fn probe_reason(error: &Error) -> String {
    match error {
        Error::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            "no known format found, or cut off in its header".to_owned()
        }
        error => error.to_string(),
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
#[path = "decode_tests.rs"]
mod tests;
