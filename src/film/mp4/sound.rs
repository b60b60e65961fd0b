//! The sound track: decoded audio to AAC packets, the original's rate and channels as far as AAC has them.

use fdk_aac::enc::{
    AudioObjectType, BitRate, ChannelMode, Encoder, EncoderParams, InfoStruct, Transport,
};

use super::header::SoundDescription;
use super::spool::Sample;
use crate::audio::{AudioReader, PcmFormat, Resampler};
use crate::film::FilmError;

/// Sample rates AAC has.
const RATES_HZ: [u32; 12] = [
    8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000,
];
/// What higher rates become.
const RATE_HZ_ABOVE: u32 = 48_000;
/// Each channel beyond the second is heard on both sides, 3 dB quieter.
const SURROUND_GAIN: f32 = std::f32::consts::FRAC_1_SQRT_2;

/// Encodes sound.
pub(super) struct SoundTrack {
    reader: AudioReader,
    resampler: Resampler,
    encoder: Encoder,
    info: InfoStruct,
    rate_hz: u32,
    channels: usize,
    /// What waits to be encoded, interleaved.
    pcm: Vec<i16>,
    mixed: Vec<f32>,
    resampled: Vec<f32>,
    /// Frames (samples of one channel) decoded so far; all of them when `ended`.
    frames: u64,
    ended: bool,
    packets: u64,
    packet: Vec<u8>,
}

impl SoundTrack {
    /// A track of all that `reader` has left.
    pub(super) fn new(reader: AudioReader) -> Result<Self, FilmError> {
        let from = reader.format();
        let channels = from.channels.min(2);
        let rate_hz = rate_for(from.rate_hz);
        let encoder = Encoder::new(EncoderParams {
            bit_rate: BitRate::Cbr(bits_per_second(rate_hz, channels)),
            sample_rate: rate_hz,
            transport: Transport::Raw,
            channels: if channels == 1 {
                ChannelMode::Mono
            } else {
                ChannelMode::Stereo
            },
            audio_object_type: AudioObjectType::Mpeg4LowComplexity,
        })
        .map_err(FilmError::Sound)?;
        let info = encoder.info().map_err(FilmError::Sound)?;
        let mixed = PcmFormat { channels, ..from };
        Ok(Self {
            reader,
            resampler: Resampler::new(mixed, rate_hz)?,
            packet: vec![0; info.maxOutBufBytes as usize],
            encoder,
            info,
            rate_hz,
            channels,
            pcm: Vec::new(),
            mixed: Vec::new(),
            resampled: Vec::new(),
            frames: 0,
            ended: false,
            packets: 0,
        })
    }

    /// How far the packets made so far reach.
    pub(super) fn seconds(&self) -> f64 {
        let frames = self.packets * u64::from(self.info.frameLength);
        frames.saturating_sub(self.info.nDelay.into()) as f64 / f64::from(self.rate_hz)
    }

    /// The next packet; `None` when everything decoded is in one.
    pub(super) fn next_packet(&mut self) -> Result<Option<Sample<'_>>, FilmError> {
        let needed = self.info.frameLength as usize * self.channels;
        loop {
            while self.pcm.len() < needed && !self.ended {
                self.decode()?;
            }
            if self.ended {
                // The encoder holds back `nDelay`; silence pushes it out.
                let made = self.packets * u64::from(self.info.frameLength);
                if made >= self.frames + u64::from(self.info.nDelay) {
                    return Ok(None);
                }
                self.pcm.resize(self.pcm.len().max(needed), 0);
            }
            let done = self
                .encoder
                .encode(&self.pcm[..needed], &mut self.packet)
                .map_err(FilmError::Sound)?;
            self.pcm.drain(..done.input_consumed);
            if done.output_size > 0 {
                self.packets += 1;
                return Ok(Some(Sample {
                    data: &self.packet[..done.output_size],
                    is_key: true,
                }));
            }
        }
    }

    /// What the header says of the track.
    pub(super) fn description(&self) -> SoundDescription<'_> {
        SoundDescription {
            rate_hz: self.rate_hz,
            channels: self.channels as u16,
            packet_frames: self.info.frameLength,
            delay_frames: self.info.nDelay,
            frames: self.frames,
            config: &self.info.confBuf[..self.info.confSize as usize],
        }
    }

    /// Decodes, mixes and resamples one more chunk.
    fn decode(&mut self) -> Result<(), FilmError> {
        let from = self.reader.format().channels;
        self.resampled.clear();
        match self.reader.next_chunk()? {
            Some(chunk) if from == self.channels => {
                self.resampler.push(chunk, &mut self.resampled)?;
            }
            Some(chunk) => {
                self.mixed.clear();
                self.mixed
                    .extend(chunk.chunks_exact(from).flat_map(to_stereo));
                self.resampler.push(&self.mixed, &mut self.resampled)?;
            }
            None => {
                self.resampler.finish(&mut self.resampled)?;
                self.ended = true;
            }
        }
        self.frames += (self.resampled.len() / self.channels) as u64;
        self.pcm
            .extend(self.resampled.iter().map(|&sample| to_i16(sample)));
        Ok(())
    }
}

impl std::fmt::Debug for SoundTrack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SoundTrack")
            .field("reader", &self.reader)
            .field("rate_hz", &self.rate_hz)
            .field("channels", &self.channels)
            .finish_non_exhaustive()
    }
}

/// The rate itself if AAC has it, else the next higher one.
fn rate_for(rate_hz: u32) -> u32 {
    let higher = RATES_HZ.into_iter().find(|rate| *rate >= rate_hz);
    higher.unwrap_or(RATE_HZ_ABOVE)
}

/// Four bits a sample, which is transparent for speech at any rate, up to 96 kbit/s a channel.
///
/// Constant, because the library's variable modes drop whole packets at low rates: a click in faint noise at 11 kHz came
/// out as 93 ms of silence.
fn bits_per_second(rate_hz: u32, channels: usize) -> u32 {
    (4 * rate_hz).min(96_000) * channels as u32
}

/// Three channels or more as two: the first is left, the second right, the others both; scaled so that nothing clips.
fn to_stereo(frame: &[f32]) -> [f32; 2] {
    let (sides, others) = frame.split_at(2);
    let both: f32 = others.iter().sum::<f32>() * SURROUND_GAIN;
    let scale = 1.0 / (1.0 + others.len() as f32 * SURROUND_GAIN);
    [(sides[0] + both) * scale, (sides[1] + both) * scale]
}

fn to_i16(sample: f32) -> i16 {
    (sample * 32_767.0).round().clamp(-32_768.0, 32_767.0) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_stay_or_rise() {
        for (from, to) in [
            (16_000, 16_000),
            (44_100, 44_100),
            (6_000, 8_000),
            (37_800, 44_100),
            (192_000, 48_000),
        ] {
            assert_eq!(rate_for(from), to);
        }
    }

    #[test]
    fn surround_is_heard_on_both_sides_and_does_not_clip() {
        let loudest = to_stereo(&[1.0; 6]);
        assert!(
            loudest.iter().all(|side| (0.999..=1.0).contains(side)),
            "{loudest:?}"
        );
        let [left, right] = to_stereo(&[0.0, 0.0, 1.0]);
        assert!(left > 0.4 && (left - right).abs() < f32::EPSILON);
        let [left, right] = to_stereo(&[1.0, 0.0, 0.0]);
        assert!(left > 0.5 && right == 0.0);
    }

    #[test]
    fn samples_round_and_clip() {
        assert_eq!(
            [0.0, 1.0, -1.0, 2.0, -2.0].map(to_i16),
            [0, 32_767, -32_767, 32_767, -32_768]
        );
    }

    #[test]
    fn packets_cover_the_sound_and_the_encoders_delay() {
        let sample = crate::demo::speech_sample();
        let mut track =
            SoundTrack::new(AudioReader::from_bytes("x.flac", sample).unwrap()).unwrap();
        let mut packets = 0;
        while track.next_packet().unwrap().is_some() {
            packets += 1;
        }
        let description = track.description();
        assert_eq!(description.packet_frames, 1024);
        assert!(
            description.delay_frames >= 1024,
            "{}",
            description.delay_frames
        );
        let needed = description.frames + u64::from(description.delay_frames);
        assert_eq!(packets, needed.div_ceil(1024));
        assert!(track.next_packet().unwrap().is_none());
    }
}
