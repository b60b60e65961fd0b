//! Packets to samples: by `symphonia`'s decoders, Opus by `opus-pure`, AAC by `fdk-aac`.

use opus_pure::{OpusDecoder, OpusMSDecoder, packet::MAX_PACKET_SAMPLES};
use symphonia::core::codecs::audio::well_known::{CODEC_ID_AAC, CODEC_ID_OPUS};
use symphonia::core::codecs::audio::{
    AudioCodecId, AudioCodecParameters, AudioDecoder, AudioDecoderOptions, well_known as codecs,
};
use symphonia::core::errors::Error;
use symphonia::core::packet::Packet;

use crate::audio::PcmFormat;

/// The rate Opus is decoded at.
pub(super) const OPUS_RATE_HZ: u32 = 48_000;
/// More samples than any AAC packet has: 2048 of 8 channels, doubled by SBR.
const AAC_SAMPLES_MAX: usize = 8 * 4_096;

/// Turns packets of one track into samples.
pub(super) enum Codec {
    Symphonia(Box<dyn AudioDecoder>),
    Opus(Box<Opus>),
    Aac(Box<Aac>),
}

/// Why a packet gives no samples.
pub(super) enum CodecError {
    /// This packet only.
    Packet(String),
    /// The rest cannot be decoded either.
    Fatal(String),
    /// Rate or channels are outside our limits.
    Format(crate::audio::AudioError),
}

impl From<Error> for CodecError {
    fn from(error: Error) -> Self {
        match error {
            Error::DecodeError(reason) => Self::Packet(reason.to_owned()),
            error => Self::Fatal(error.to_string()),
        }
    }
}

impl Codec {
    /// A decoder for `parameters`. `is_big_endian` says that an Opus header is in MP4's byte order.
    pub(super) fn new(
        parameters: &AudioCodecParameters,
        aac_config: Option<[u8; 2]>,
        is_big_endian: bool,
        gapless: bool,
    ) -> Result<Self, String> {
        match parameters.codec {
            CODEC_ID_OPUS => {
                let head = parameters.extra_data.as_deref().unwrap_or_default();
                Ok(Self::Opus(Box::new(Opus::new(head, is_big_endian)?)))
            }
            CODEC_ID_AAC => {
                let config = match &aac_config {
                    Some(config) => config,
                    None => parameters.extra_data.as_deref().unwrap_or_default(),
                };
                Ok(Self::Aac(Box::new(Aac::new(config)?)))
            }
            id => symphonia::default::get_codecs()
                .make_audio_decoder(
                    &with_sane_width(id, parameters),
                    &AudioDecoderOptions::default().gapless(gapless),
                )
                .map(Self::Symphonia)
                .map_err(|error| error.to_string()),
        }
    }

    /// Samples to leave out at the start, which no container tells.
    pub(super) fn skip(&self) -> u64 {
        match self {
            Self::Opus(opus) => opus.skip,
            Self::Symphonia(_) | Self::Aac(_) => 0,
        }
    }

    /// Decodes `packet` into `out`, interleaved.
    pub(super) fn decode(
        &mut self,
        packet: &Packet,
        out: &mut Vec<f32>,
    ) -> Result<PcmFormat, CodecError> {
        out.clear();
        match self {
            Self::Symphonia(decoder) => {
                let audio = decoder.decode(packet)?;
                let spec = audio.spec();
                let format = PcmFormat::new(spec.rate(), spec.channels().count())
                    .map_err(CodecError::Format)?;
                if !audio.is_empty() {
                    audio.copy_to_vec_interleaved(out);
                }
                Ok(format)
            }
            Self::Opus(opus) => opus.decode(&packet.data, out),
            Self::Aac(aac) => aac.decode(&packet.data, out),
        }
    }

    /// What the decoder still holds back when the packets are over.
    pub(super) fn flush(&mut self, out: &mut Vec<f32>) {
        out.clear();
        if let Self::Aac(aac) = self {
            aac.flush(out);
        }
    }
}

/// A-law and mu-law of 8 bits decode to 16, which is the width that the decoder takes.
fn with_sane_width(id: AudioCodecId, parameters: &AudioCodecParameters) -> AudioCodecParameters {
    let mut own = parameters.clone();
    if matches!(id, codecs::CODEC_ID_PCM_ALAW | codecs::CODEC_ID_PCM_MULAW) {
        own.bits_per_sample = None;
        own.bits_per_coded_sample = None;
    }
    own
}

/// Opus, one stream or several.
pub(super) struct Opus {
    decoder: OpusStreams,
    channels: usize,
    skip: u64,
    /// As a factor.
    gain: f32,
}

enum OpusStreams {
    One(Box<OpusDecoder>),
    Several(OpusMSDecoder),
}

impl Opus {
    /// Reads an `OpusHead`, whose numbers MP4 writes the other way round.
    fn new(head: &[u8], is_big_endian: bool) -> Result<Self, String> {
        let Some((b"OpusHead", [_, channels, a, b, _, _, _, _, c, d, family, ..])) =
            head.split_first_chunk()
        else {
            return Err("its Opus header is broken".to_owned());
        };
        let number = |two: [u8; 2]| {
            if is_big_endian {
                u16::from_be_bytes(two)
            } else {
                u16::from_le_bytes(two)
            }
        };
        let channels = usize::from(*channels);
        let rate = OPUS_RATE_HZ as i32;
        let decoder = if *family == 0 {
            OpusDecoder::new(rate, channels).map(|one| OpusStreams::One(Box::new(one)))
        } else {
            OpusMSDecoder::new(rate, channels, *family).map(OpusStreams::Several)
        };
        let gain_db = f32::from(number([*c, *d]) as i16) / 256.0;
        Ok(Self {
            decoder: decoder.map_err(|error| format!("Opus: {error}"))?,
            channels,
            skip: number([*a, *b]).into(),
            gain: 10f32.powf(gain_db / 20.0),
        })
    }

    fn decode(&mut self, packet: &[u8], out: &mut Vec<f32>) -> Result<PcmFormat, CodecError> {
        // An empty packet means a lost one to the decoder; in a file it is nothing.
        if packet.is_empty() {
            return Err(CodecError::Packet("an empty packet".to_owned()));
        }
        out.resize(MAX_PACKET_SAMPLES * self.channels, 0.0);
        let decoded = match &mut self.decoder {
            OpusStreams::One(decoder) => decoder.decode(packet, MAX_PACKET_SAMPLES, out),
            OpusStreams::Several(decoder) => decoder.decode(packet, MAX_PACKET_SAMPLES, out),
        };
        let samples = decoded.map_err(|error| CodecError::Packet(error.to_string()))?;
        out.truncate(samples * self.channels);
        if (self.gain - 1.0).abs() > f32::EPSILON {
            for sample in out.iter_mut() {
                *sample *= self.gain;
            }
        }
        Ok(PcmFormat {
            rate_hz: OPUS_RATE_HZ,
            channels: self.channels,
        })
    }
}

/// AAC with up to eight channels, with SBR and parametric stereo.
pub(super) struct Aac {
    decoder: fdk_aac::dec::Decoder,
    pcm: Vec<i16>,
    /// The last packet, which pushes out what the decoder's limiter holds back.
    last: Vec<u8>,
    /// Frames still to leave out, which the limiter put before the first.
    delay: Option<usize>,
    channels: usize,
}

impl Aac {
    fn new(config: &[u8]) -> Result<Self, String> {
        let mut decoder = fdk_aac::dec::Decoder::new(fdk_aac::dec::Transport::Raw);
        decoder
            .config_raw(config)
            .map_err(|error| format!("AAC: {error}"))?;
        Ok(Self {
            decoder,
            pcm: vec![0; AAC_SAMPLES_MAX],
            last: Vec::new(),
            delay: None,
            channels: 1,
        })
    }

    fn decode(&mut self, packet: &[u8], out: &mut Vec<f32>) -> Result<PcmFormat, CodecError> {
        let failed = |error: fdk_aac::dec::DecoderError| CodecError::Packet(error.to_string());
        self.decoder.fill(packet).map_err(failed)?;
        self.decoder.decode_frame(&mut self.pcm).map_err(failed)?;
        packet.clone_into(&mut self.last);
        let info = self.decoder.stream_info();
        let (rate, channels, frames, delay) = (
            info.sampleRate,
            info.numChannels,
            info.frameSize,
            info.outputDelay,
        );
        let format = PcmFormat::new(
            u32::try_from(rate).unwrap_or(0),
            usize::try_from(channels).unwrap_or(0),
        )
        .map_err(CodecError::Format)?;
        let frames = usize::try_from(frames).unwrap_or(0);
        let samples = &self.pcm[..(frames * format.channels).min(AAC_SAMPLES_MAX)];
        let delay = self.delay.get_or_insert(delay as usize);
        let left_out = (*delay).min(frames);
        *delay -= left_out;
        self.channels = format.channels;
        let samples = &samples[left_out * format.channels..];
        out.extend(samples.iter().map(|&sample| f32::from(sample) / 32_768.0));
        Ok(format)
    }

    fn flush(&mut self, out: &mut Vec<f32>) {
        let delay = self.decoder.stream_info().outputDelay as usize;
        let last = std::mem::take(&mut self.last);
        let wanted = delay * self.channels;
        while !last.is_empty() && out.len() < wanted {
            let before = out.len();
            match self.decode(&last, out) {
                Ok(format) if format.channels * delay == wanted && out.len() > before => {}
                _ => {
                    out.clear();
                    break;
                }
            }
        }
        out.truncate(wanted);
        self.last.clear();
    }
}

/// What people call a codec.
pub(super) fn name(id: AudioCodecId) -> String {
    let known = match id {
        codecs::CODEC_ID_AC3 => "AC-3",
        codecs::CODEC_ID_EAC3 => "E-AC-3",
        codecs::CODEC_ID_AC4 => "AC-4",
        codecs::CODEC_ID_DCA => "DTS",
        codecs::CODEC_ID_TRUEHD => "TrueHD",
        codecs::CODEC_ID_SPEEX => "Speex",
        codecs::CODEC_ID_MUSEPACK => "Musepack",
        codecs::CODEC_ID_WAVPACK => "WavPack",
        codecs::CODEC_ID_TTA => "True Audio",
        codecs::CODEC_ID_WMA => "Windows Media Audio",
        codecs::CODEC_ID_ADPCM_G722 => "G.722",
        codecs::CODEC_ID_ADPCM_G726 | codecs::CODEC_ID_ADPCM_G726LE => "G.726",
        codecs::CODEC_ID_ADPCM_IMA_QT => "QuickTime IMA ADPCM",
        codecs::CODEC_ID_ATRAC1
        | codecs::CODEC_ID_ATRAC3
        | codecs::CODEC_ID_ATRAC3PLUS
        | codecs::CODEC_ID_ATRAC9 => "ATRAC",
        codecs::CODEC_ID_OPUS => "Opus",
        codecs::CODEC_ID_AAC => "AAC",
        codecs::CODEC_ID_VORBIS => "Vorbis",
        codecs::CODEC_ID_ALAC => "ALAC",
        codecs::CODEC_ID_FLAC => "FLAC",
        codecs::CODEC_ID_MP3 => "MP3",
        _ => return format!("an unusual codec ({id})"),
    };
    known.to_owned()
}
