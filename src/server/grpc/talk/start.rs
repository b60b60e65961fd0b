//! The start of a conversation: its message is checked whole, then its model is taken for as long as it lasts.

use std::time::Duration;

use crate::audio::{Lookahead, PcmFormat, SPEECH_RATE_HZ};
use crate::pipeline::{LoadedModel, SpeechError};
use crate::registry::{Lease, RegistryError};
use crate::server::admission::auth::Caller;
use crate::server::grpc::batch;
use crate::server::grpc::convert;
use crate::server::grpc::status::{Failure, Violation};
use crate::server::state::ServerState;
use crate::talk::{SampleFormat, TalkOptions};
use crate::wire;
use crate::wire::TalkStart;

/// The last index a stream may start at: whole numbers up to here survive every client's arithmetic.
const START_INDEX_MAX: u64 = 1 << 53;

/// The model, for as long as the stream lasts.
pub(super) async fn lease(
    state: &ServerState,
    start: &TalkStart,
    index: u64,
    caller: &Caller,
) -> Result<Lease<LoadedModel>, Failure> {
    let id = start.model_id.as_str();
    let spec = state
        .registry()
        .spec(id)
        .filter(|_| caller.may_use(id))
        .ok_or_else(|| RegistryError::UnknownModel { id: id.into() })?;
    if spec.payload.audio_encoder_path.is_none() {
        return Err(SpeechError::NoEncoder { model: id.into() }.into());
    }
    // The next stream waits for the debt of the last.
    caller.take_frames(0)?;
    batch::check_start(state, &spec, index).await?;
    let lease = state.registry().lease(id).await?;
    let avatar = lease.avatar();
    batch::in_range(avatar.sequence(), avatar.frames(), index)?;
    Ok(lease)
}

/// What the server sets for a stream, whatever its client asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) audio_bytes_max: usize,
    pub(super) drain: Duration,
    pub(super) flow: u64,
}

/// Checks the start message; every wrong field is named.
pub(super) fn check(start: &TalkStart, limits: Limits) -> Result<TalkOptions, Failure> {
    let mut wrong = Vec::new();
    if start.model_id.is_empty() {
        wrong.push(violation("model_id", "it is empty"));
    }
    let samples = match wire::SampleFormat::try_from(start.sample_format) {
        Ok(wire::SampleFormat::Unspecified | wire::SampleFormat::S16le) => SampleFormat::S16,
        Ok(wire::SampleFormat::F32le) => SampleFormat::F32,
        Err(_) => {
            let problem = format!(
                "{} is no format: use S16LE (1) or F32LE (2)",
                start.sample_format
            );
            wrong.push(violation("sample_format", problem));
            SampleFormat::S16
        }
    };
    let or_default = |value, default| {
        if value == 0 {
            Some(default)
        } else {
            u32::try_from(value).ok()
        }
    };
    let rate_hz = or_default(start.sample_rate_hz, SPEECH_RATE_HZ).unwrap_or(0);
    let channels = or_default(start.channels, 1).unwrap_or(0);
    let mut pcm = PcmFormat {
        rate_hz: SPEECH_RATE_HZ,
        channels: 1,
    };
    for (field, rate_hz, channels) in [
        ("sample_rate_hz", rate_hz, 1),
        ("channels", SPEECH_RATE_HZ, channels as usize),
    ] {
        if let Err(error) = PcmFormat::new(rate_hz, channels) {
            wrong.push(violation(field, error.to_string()));
        }
    }
    if let Ok(format) = PcmFormat::new(rate_hz, channels as usize) {
        pcm = format;
    }
    let format = match convert::format(start.output_format, start.jpeg_quality) {
        Ok(format) => format,
        Err(Failure::Invalid(violations)) => {
            wrong.extend(violations);
            crate::encoder::Format::Png
        }
        Err(other) => return Err(other),
    };
    let start_index = u64::try_from(start.start_frame_idx)
        .ok()
        .filter(|index| *index <= START_INDEX_MAX);
    if start_index.is_none() {
        let problem = format!("{} is outside 0..=2^53", start.start_frame_idx);
        wrong.push(violation("start_frame_idx", problem));
    }
    let lookahead = match start.lookahead {
        None => Lookahead::FULL,
        Some(entries) => {
            let made = u32::try_from(entries)
                .ok()
                .and_then(|entries| Lookahead::new(entries).ok());
            made.unwrap_or_else(|| {
                wrong.push(violation(
                    "lookahead",
                    format!("{entries} is outside 0..=8"),
                ));
                Lookahead::FULL
            })
        }
    };
    if !wrong.is_empty() {
        return Err(Failure::Invalid(wrong));
    }
    Ok(TalkOptions {
        samples,
        pcm,
        format,
        start_index: start_index.unwrap_or(0),
        realtime: start.realtime,
        lookahead,
        audio_bytes_max: limits.audio_bytes_max,
        drain: limits.drain,
        flow: limits.flow,
    })
}

fn violation(field: &'static str, problem: impl Into<String>) -> Violation {
    Violation {
        field,
        problem: problem.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        audio_bytes_max: 1,
        drain: Duration::ZERO,
        flow: 0,
    };

    fn fields(start: &TalkStart) -> Vec<&'static str> {
        match check(start, LIMITS) {
            Ok(_) => Vec::new(),
            Err(Failure::Invalid(violations)) => violations.iter().map(|v| v.field).collect(),
            Err(other) => panic!("{other}"),
        }
    }

    fn start() -> TalkStart {
        TalkStart {
            model_id: "bob".to_owned(),
            ..TalkStart::default()
        }
    }

    #[test]
    fn what_is_left_open_has_its_default() {
        let options = check(&start(), LIMITS).unwrap();
        assert_eq!(options.samples, SampleFormat::S16);
        assert_eq!((options.pcm.rate_hz, options.pcm.channels), (16_000, 1));
        assert_eq!(options.format, crate::encoder::Format::Png);
        assert_eq!(options.lookahead, Lookahead::FULL);
        assert!(!options.realtime);
    }

    #[test]
    fn every_wrong_field_is_named() {
        let wrong = TalkStart {
            model_id: String::new(),
            sample_format: 7,
            sample_rate_hz: 999,
            channels: 65,
            output_format: 9,
            start_frame_idx: -1,
            lookahead: Some(9),
            ..TalkStart::default()
        };
        assert_eq!(
            fields(&wrong),
            [
                "model_id",
                "sample_format",
                "sample_rate_hz",
                "channels",
                "output_format",
                "start_frame_idx",
                "lookahead"
            ]
        );
        let negative = TalkStart {
            sample_rate_hz: -16_000,
            channels: -1,
            jpeg_quality: -1,
            start_frame_idx: (1 << 53) + 1,
            lookahead: Some(-1),
            ..start()
        };
        assert_eq!(
            fields(&negative),
            [
                "sample_rate_hz",
                "channels",
                "jpeg_quality",
                "start_frame_idx",
                "lookahead"
            ]
        );
    }
}
