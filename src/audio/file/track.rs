//! One piece of a file, opened: packets out of its container, samples out of them, trimmed as the container says.

use std::io::ErrorKind;

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::CODEC_ID_NULL_AUDIO;
use symphonia::core::errors::{Error, Result};
use symphonia::core::formats::{FormatOptions, FormatReader, Track as ContainerTrack, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::packet::Packet;
use symphonia::default::formats;

use super::SpeechFile;
use super::codec::{self, Codec, CodecError};
use super::mpeg::Coding;
use super::pieces::{Container, Piece};
use super::source::Span;
use super::{matroska, mp4};
use crate::audio::{AudioError, PcmFormat};

/// Silence put in place of one damaged packet is never longer, in seconds.
const GAP_SECONDS_MAX: u64 = 1;
/// Padding at the end is never longer, in seconds.
const PADDING_SECONDS_MAX: f64 = 1.0;
const NS_PER_SECOND: f64 = 1e9;

/// A piece being read.
pub(super) struct Track {
    container: Box<dyn FormatReader>,
    kind: Container,
    codec: Codec,
    id: u32,
    /// Seconds of one tick of the container's clock.
    tick_s: f64,
    trim: Trim,
    /// Samples of one channel handed out.
    frames: u64,
    /// Those of the last packet.
    packet_frames: u64,
    /// Of the last packet.
    format: Option<PcmFormat>,
    /// Samples by a header that can be relied on.
    promised: Option<u64>,
    is_cut: bool,
    is_flushed: bool,
    /// What waits because it may be padding.
    held: Vec<f32>,
}

/// What is left out at both ends.
#[derive(Clone, Copy, Debug, Default)]
struct Trim {
    skip: u64,
    keep: Option<u64>,
    /// At the end, where its length is told and the whole's is not.
    padding: u64,
    /// Set aside until the sample rate is known.
    edit: Option<mp4::Edit>,
    padding_s: f64,
    /// Whether times below zero are to be left out.
    by_time: bool,
}

/// What a step gave.
pub(super) enum Step {
    Samples(PcmFormat),
    /// A packet that could not be decoded, and why; silence stands for it, if its length is known.
    Damaged(String),
    End,
}

/// Why a piece cannot be read on.
pub(super) enum TrackError {
    Read(std::io::Error),
    Cut,
    Damaged(String),
    Format(AudioError),
}

/// Why a piece cannot be opened.
pub(super) enum OpenError {
    Read(std::io::Error),
    /// The container's own reader cannot make sense of it.
    Container(String),
    /// The container's own reader knows that it cannot read it.
    Unsupported(String),
    /// There is no sound in it.
    NoSound,
    /// Nothing here decodes the codec.
    Codec(String),
}

impl Track {
    /// Opens `piece` of `file`.
    pub(super) fn open(file: &SpeechFile, piece: &Piece) -> std::result::Result<Self, OpenError> {
        let bytes = file.bytes();
        let span = piece.span.clone();
        let source = Span::new(bytes, piece.head.clone(), span.start, span.end).stream();
        if let Some(codec) = piece.foreign_codec {
            return Err(OpenError::Codec(codec.to_owned()));
        }
        let container = reader(&piece.container, source).map_err(|error| match error {
            Error::IoError(error) if error.kind() != ErrorKind::UnexpectedEof => {
                OpenError::Read(error)
            }
            Error::IoError(_) => OpenError::Container("it ends in its header".to_owned()),
            Error::Unsupported(reason) if reason.ends_with("missing moov atom") => {
                let reason = "its index is missing, as in a recording that was not finished";
                OpenError::Container(reason.to_owned())
            }
            Error::Unsupported(reason) => OpenError::Unsupported(reason.to_owned()),
            error => OpenError::Container(error.to_string()),
        })?;
        let track = sound_track(container.as_ref()).ok_or(OpenError::NoSound)?;
        let Some(CodecParameters::Audio(parameters)) = &track.codec_params else {
            return Err(OpenError::NoSound);
        };
        if parameters.codec == CODEC_ID_NULL_AUDIO {
            return Err(OpenError::Codec("an unknown codec".to_owned()));
        }
        let aac_config = match piece.container {
            Container::Adts(run) => match run.header.stream.coding {
                Coding::Aac(config) => Some(config),
                Coding::Layer(_) => None,
            },
            _ => None,
        };
        let gapless = !matches!(piece.container, Container::Mpeg(_));
        let is_big_endian = matches!(piece.container, Container::Mp4);
        let codec = Codec::new(parameters, aac_config, is_big_endian, gapless)
            .map_err(|_| OpenError::Codec(codec::name(parameters.codec)))?;
        let mut trim = Trim {
            skip: codec.skip(),
            ..Trim::default()
        };
        let mut promised = None;
        match piece.container {
            Container::Wave { frames } | Container::Aiff { frames } => trim.keep = Some(frames),
            Container::Mpeg(run) => (trim.skip, trim.keep) = run.trim(),
            Container::Flac => promised = track.num_frames.filter(|frames| *frames > 0),
            Container::Caf if track.delay.is_some() || track.padding.is_some() => {
                trim.skip = track.delay.unwrap_or(0).into();
                trim.keep = track.num_frames;
            }
            Container::Mp4 => {
                let edit = mp4::edit(bytes, span.start, span.end, track.id);
                trim.edit = edit.map_err(OpenError::Read)?;
            }
            Container::Matroska => {
                let padding = matroska::padding_ns(bytes, span.start, span.end);
                trim.padding_s = padding.map_err(OpenError::Read)? as f64 / NS_PER_SECOND;
                trim.by_time = trim.skip == 0;
            }
            Container::Adts(_) | Container::Ogg | Container::Caf => {}
        }
        let tick_s = track.time_base.map_or(0.0, |base| {
            f64::from(base.numer.get()) / f64::from(base.denom.get())
        });
        Ok(Self {
            id: track.id,
            tick_s,
            container,
            kind: piece.container,
            codec,
            trim,
            frames: 0,
            packet_frames: 0,
            format: None,
            promised,
            is_cut: piece.is_cut,
            is_flushed: false,
            held: Vec::new(),
        })
    }

    /// Samples of one channel that come out in all, where that is told and can be relied on.
    pub(super) fn expected(&self) -> Option<(u64, u32)> {
        let track = sound_track(self.container.as_ref())?;
        let rate_hz = track.codec_params.as_ref()?.audio()?.sample_rate?;
        let frames = match self.kind {
            Container::Mpeg(run) => {
                let all = run.samples.saturating_sub(self.trim.skip);
                self.trim.keep.unwrap_or(all)
            }
            Container::Mp4 => match self.trim.edit.and_then(|edit| edit.keep) {
                Some((keep, clock)) => scale(keep, f64::from(rate_hz) / f64::from(clock)),
                None => scale(track.duration?.get(), self.tick_s * f64::from(rate_hz)),
            },
            _ => self.trim.keep.or(self.promised)?,
        };
        Some((frames, rate_hz)).filter(|(frames, _)| *frames > 0)
    }

    /// Decodes on into `out`, which may stay empty.
    pub(super) fn step(&mut self, out: &mut Vec<f32>) -> std::result::Result<Step, TrackError> {
        out.clear();
        let packet = loop {
            match self.container.next_packet() {
                Ok(Some(packet)) if packet.track_id == self.id => break packet,
                Ok(Some(_)) => {}
                Ok(None) => return self.end(out),
                Err(Error::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                    let is_strict = matches!(self.kind, Container::Flac | Container::Mp4);
                    return if is_strict {
                        Err(TrackError::Cut)
                    } else {
                        self.end(out)
                    };
                }
                Err(Error::IoError(error)) => return Err(TrackError::Read(error)),
                Err(error) => return Err(TrackError::Damaged(error.to_string())),
            }
        };
        match self.codec.decode(&packet, out) {
            Ok(format) => {
                self.packet_frames = (out.len() / format.channels) as u64;
                if self.format.is_none() {
                    self.settle(format, &packet);
                }
                self.format = Some(format);
                if matches!(self.kind, Container::Ogg) && matches!(self.codec, Codec::Opus(_)) {
                    let end = packet.trim_end.get() as usize * format.channels;
                    out.truncate(out.len().saturating_sub(end));
                }
                self.cut(format, out);
                Ok(Step::Samples(format))
            }
            Err(CodecError::Packet(reason)) => {
                self.codec_failed(&packet, out);
                Ok(Step::Damaged(reason))
            }
            Err(CodecError::Fatal(reason)) => Err(TrackError::Damaged(reason)),
            Err(CodecError::Format(error)) => Err(TrackError::Format(error)),
        }
    }

    /// Turns what is trimmed into samples, now that their rate is known.
    fn settle(&mut self, format: PcmFormat, first: &Packet) {
        let rate_hz = f64::from(format.rate_hz);
        if let Some(edit) = self.trim.edit.take()
            && edit.timescale > 0
        {
            self.trim.skip = scale(edit.skip, rate_hz / f64::from(edit.timescale));
            self.trim.keep = edit
                .keep
                .map(|(keep, clock)| scale(keep, rate_hz / f64::from(clock)));
        }
        if std::mem::take(&mut self.trim.by_time) {
            let before = first.pts.get().min(0).unsigned_abs();
            self.trim.skip = scale(before, self.tick_s * rate_hz);
        }
        let padding_s = self.trim.padding_s.min(PADDING_SECONDS_MAX);
        self.trim.padding = (padding_s * rate_hz).round() as u64;
    }

    /// Leaves out what is to be left out of the samples in `out`.
    fn cut(&mut self, format: PcmFormat, out: &mut Vec<f32>) {
        let frames = (out.len() / format.channels) as u64;
        let skipped = self.trim.skip.min(frames);
        self.trim.skip -= skipped;
        out.drain(..skipped as usize * format.channels);
        if self.trim.padding > 0 {
            self.held.append(out);
            let padding = self.trim.padding as usize * format.channels;
            let ready = self.held.len().saturating_sub(padding);
            out.extend(self.held.drain(..ready));
        }
        let frames = (out.len() / format.channels) as u64;
        if let Some(keep) = &mut self.trim.keep {
            let kept = frames.min(*keep);
            *keep -= kept;
            out.truncate(kept as usize * format.channels);
        }
        self.frames += (out.len() / format.channels) as u64;
    }

    /// Puts silence in the place of a packet. What fails before the first sound has no known length; players drop it too.
    fn codec_failed(&mut self, packet: &Packet, out: &mut Vec<f32>) {
        out.clear();
        let Some(format) = self.format.filter(|_| self.frames > 0) else {
            return;
        };
        let rate_hz = f64::from(format.rate_hz);
        let told = scale(packet.dur.get(), self.tick_s * rate_hz);
        let frames = if told > 0 { told } else { self.packet_frames };
        let frames = frames.min(GAP_SECONDS_MAX * u64::from(format.rate_hz));
        out.resize(frames as usize * format.channels, 0.0);
        self.cut(format, out);
    }

    /// The end: what the decoder held back, and whether all was there.
    fn end(&mut self, out: &mut Vec<f32>) -> std::result::Result<Step, TrackError> {
        if !std::mem::replace(&mut self.is_flushed, true) {
            self.codec.flush(out);
            if let Some(format) = self.format.filter(|_| !out.is_empty()) {
                self.cut(format, out);
                return Ok(Step::Samples(format));
            }
        }
        out.clear();
        let is_short = |promised: u64| {
            let rate_hz = self.format.map_or(0, |format| format.rate_hz);
            self.frames > 0 && promised > self.frames + u64::from(rate_hz) / 100
        };
        if self.is_cut || self.promised.is_some_and(is_short) {
            return Err(TrackError::Cut);
        }
        Ok(Step::End)
    }
}

/// The container's own reader.
fn reader(
    container: &Container,
    source: MediaSourceStream<'static>,
) -> Result<Box<dyn FormatReader>> {
    let options = FormatOptions::default();
    Ok(match container {
        Container::Wave { .. } => Box::new(formats::WavReader::try_new(source, options)?),
        Container::Aiff { .. } => Box::new(formats::AiffReader::try_new(source, options)?),
        Container::Mpeg(_) => Box::new(formats::MpaReader::try_new(source, options)?),
        Container::Adts(_) => Box::new(formats::AdtsReader::try_new(source, options)?),
        Container::Flac => Box::new(formats::FlacReader::try_new(source, options)?),
        Container::Ogg => Box::new(formats::OggReader::try_new(source, options)?),
        Container::Mp4 => Box::new(formats::IsoMp4Reader::try_new(source, options)?),
        Container::Matroska => Box::new(formats::MkvReader::try_new(source, options)?),
        Container::Caf => Box::new(formats::CafReader::try_new(source, options)?),
    })
}

/// The sound that a player would choose.
fn sound_track(container: &dyn FormatReader) -> Option<&ContainerTrack> {
    container
        .default_track(TrackType::Audio)
        .or_else(|| container.first_track(TrackType::Audio))
}

/// `count` in another unit.
fn scale(count: u64, factor: f64) -> u64 {
    (count as f64 * factor).round() as u64
}
