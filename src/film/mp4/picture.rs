//! The picture track: RGB frames to H.264 samples.

use openh264::OpenH264API;
use openh264::encoder::{
    Complexity, Encoder, EncoderConfig, FrameRate, FrameType, IntraFramePeriod, Profile, QpRange,
    RateControlMode, TransferCharacteristics, UsageType, VuiConfig,
};

use super::header::PictureDescription;
use super::planes::Planes;
use super::spool::Sample;
use crate::encoder::Encoded;
use crate::film::{Clip, FilmError};

/// The quantiser of every frame: quality is the same whatever the content, and the size follows it.
const QUANTISER: u8 = 22;
/// Seconds from one frame that players can jump to, to the next.
const SECONDS_BETWEEN_KEYS: u32 = 2;
/// What the encoder accepts.
const SIDE_MIN: u32 = 16;
const LONG_SIDE_MAX: u32 = 3840;
const SHORT_SIDE_MAX: u32 = 2160;

const NAL_SPS: u8 = 7;
const NAL_PPS: u8 = 8;

/// Encodes pictures.
pub(super) struct PictureTrack {
    clip: Clip,
    encoder: Encoder,
    planes: Planes,
    sps: Vec<u8>,
    pps: Vec<u8>,
    sample: Vec<u8>,
}

impl PictureTrack {
    /// A track of frames like those of `clip`.
    pub(super) fn new(clip: Clip) -> Result<Self, FilmError> {
        let (width, height) = (clip.size.width, clip.size.height);
        let fits = width.max(height) <= LONG_SIDE_MAX
            && width.min(height) <= SHORT_SIDE_MAX
            && width.min(height) >= SIDE_MIN;
        if !fits {
            return Err(FilmError::PictureSize(clip.size));
        }
        let config = EncoderConfig::new()
            .usage_type(UsageType::CameraVideoRealTime)
            .max_frame_rate(FrameRate::from_hz(clip.fps as f32))
            // The one mode that takes the quantiser as it is and has nothing to say about it on stderr.
            .rate_control_mode(RateControlMode::Bufferbased)
            .bitrate(openh264::encoder::BitRate::from_bps(bits_per_second_max(
                clip,
            )))
            .qp(QpRange::new(QUANTISER, QUANTISER))
            .skip_frames(false)
            // "Medium" makes files 2 % smaller and takes half as long again.
            .complexity(Complexity::Low)
            .profile(Profile::High)
            .intra_frame_period(IntraFramePeriod::from_num_frames(
                clip.fps * SECONDS_BETWEEN_KEYS,
            ))
            .vui(VuiConfig::bt709().transfer_characteristics(TransferCharacteristics::Srgb))
            .num_threads(1);
        Ok(Self {
            clip,
            encoder: Encoder::with_api_config(OpenH264API::from_source(), config)
                .map_err(FilmError::Picture)?,
            planes: Planes::new(clip.size),
            sps: Vec::new(),
            pps: Vec::new(),
            sample: Vec::new(),
        })
    }

    /// Encodes the next frame, which is packed RGB8.
    pub(super) fn encode(&mut self, frame: &Encoded) -> Result<Sample<'_>, FilmError> {
        match frame.parts() {
            [rgb] => self.planes.fill(rgb),
            parts => self.planes.fill(&parts.concat()),
        }
        self.repeat()
    }

    /// Encodes the last frame once more.
    pub(super) fn repeat(&mut self) -> Result<Sample<'_>, FilmError> {
        let stream = self
            .encoder
            .encode(&self.planes)
            .map_err(FilmError::Picture)?;
        self.sample.clear();
        for layer in (0..stream.num_layers()).filter_map(|at| stream.layer(at)) {
            for nal in (0..layer.nal_count()).filter_map(|at| layer.nal_unit(at)) {
                let nal = without_start_code(nal);
                match nal.first().map(|first| first & 0x1f) {
                    // Parameters are the same in every key frame, and stand in the header once.
                    Some(NAL_SPS) => nal.clone_into(&mut self.sps),
                    Some(NAL_PPS) => nal.clone_into(&mut self.pps),
                    _ => {
                        self.sample.extend((nal.len() as u32).to_be_bytes());
                        self.sample.extend_from_slice(nal);
                    }
                }
            }
        }
        Ok(Sample {
            data: &self.sample,
            is_key: stream.frame_type() == FrameType::IDR,
        })
    }

    /// What the header says of the track.
    pub(super) fn description(&self) -> PictureDescription<'_> {
        PictureDescription {
            clip: self.clip,
            sps: &self.sps,
            pps: &self.pps,
        }
    }
}

impl std::fmt::Debug for PictureTrack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PictureTrack")
            .field("clip", &self.clip)
            .finish_non_exhaustive()
    }
}

/// A bound that the fixed quantiser does not come near: raw pictures take 12 bits a pixel.
fn bits_per_second_max(clip: Clip) -> u32 {
    let pixels = u64::from(clip.size.width) * u64::from(clip.size.height) * u64::from(clip.fps);
    u32::try_from(pixels).unwrap_or(u32::MAX).min(100_000_000)
}

/// The unit behind `00 00 01` or `00 00 00 01`.
fn without_start_code(nal: &[u8]) -> &[u8] {
    let zeros = nal.iter().take_while(|byte| **byte == 0).count();
    match nal.get(zeros) {
        Some(1) if zeros >= 2 => &nal[zeros + 1..],
        _ => nal,
    }
}
