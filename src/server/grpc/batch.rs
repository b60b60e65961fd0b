//! `InferBatchComposite`: everything is checked before a model is loaded, then the pipeline makes the frames.

use std::time::Duration;

use prost::Message as _;

use crate::avatar::{CropRects, Sequence};
use crate::config;
use crate::defaults::BATCH_FRAMES_MAX;
use crate::encoder::Format;
use crate::frame::network_io::{AUDIO_LEN, SharedFloats, VISUAL_LEN, Visual};
use crate::pipeline::{FrameOrder, cpu, render_batch};
use crate::registry::{ModelSpec, RegistryError};
use crate::server::admission::gate::Call;
use crate::server::grpc::convert;
use crate::server::grpc::status::{Failure, Violation};
use crate::server::grpc::zero_copy::Frames;
use crate::server::state::ServerState;
use crate::tenants::Usage;
use crate::wire::{CompositeBatchRequest, CompositeBatchResponse, Floats};

const BATCH_MAX: usize = BATCH_FRAMES_MAX as usize;

/// A request that was checked.
struct Batch {
    start: u64,
    size: usize,
    /// One tensor a frame, or none: the server makes them.
    visual: Vec<Visual>,
    /// One window a frame, or one for all.
    audio: Vec<SharedFloats>,
    format: Format,
}

/// Makes the frames of `request`; they are no part of the response yet.
///
/// # Errors
/// What is wrong with the request, the model or a frame.
pub(in crate::server) async fn infer(
    state: &ServerState,
    call: &Call,
    mut request: CompositeBatchRequest,
) -> Result<(CompositeBatchResponse, Frames), Failure> {
    let model_id = std::mem::take(&mut request.model_id);
    if model_id.is_empty() {
        return Err(Failure::invalid("model_id", "it is empty"));
    }
    let id = model_id.as_str();
    let spec = state.registry().spec(id);
    let spec = spec.filter(|_| call.caller.may_use(id));
    let spec = spec.ok_or_else(|| unknown(id))?;
    // Up to 61 MB of floats are looked at.
    let batch = cpu::run(move || check(&request)).await??;
    if let Err(failure) = call.caller.take_frames(batch.size) {
        state
            .accounts()
            .refused(call.caller.name(), failure.reason());
        return Err(failure);
    }
    check_start(state, &spec, batch.start).await?;

    let lease = state.registry().lease(id).await?;
    let avatar = lease.avatar();
    in_range(avatar.sequence(), avatar.frames(), batch.start)?;
    let format = batch.format;
    let frames = render_batch(&lease, batch.orders(call), format).await?;
    let inference: Duration = frames.iter().map(|frame| frame.timings.inference).sum();
    lease.record(frames.len() as u64, inference);
    for frame in &frames {
        state.metrics().frame(id, &frame.timings);
    }
    let load = lease.load_time();
    let bytes = frames.iter().map(|frame| frame.image.byte_len() as u64);
    let usage = Usage {
        frames: frames.len() as u64,
        inference_us: micros(inference),
        bytes: bytes.sum(),
        load_us: load.map_or(0, micros),
    };
    state.accounts().record(call.caller.name(), id, usage);
    drop(lease);
    let (response, frames) = convert::batch_response(frames, load, call.arrival.elapsed());
    let limit = state.message_bytes_max();
    match response.encoded_len() + frames.encoded_len() {
        bytes if bytes > limit => Err(Failure::AnswerTooLarge { bytes, limit }),
        _ => Ok((response, frames)),
    }
}

pub(in crate::server) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Batch {
    fn orders(self, call: &Call) -> impl Iterator<Item = FrameOrder> {
        let (flow, deadline) = (call.caller.flow, call.deadline);
        (0..self.size).map(move |frame| FrameOrder {
            index: self.start + frame as u64,
            visual: self.visual.get(frame).cloned(),
            audio: self.audio[frame.min(self.audio.len() - 1)].clone(),
            flow,
            deadline,
        })
    }
}

fn unknown(id: &str) -> Failure {
    RegistryError::UnknownModel { id: id.into() }.into()
}

/// Checks all that can be checked without the model; every wrong field is named.
fn check(request: &CompositeBatchRequest) -> Result<Batch, Failure> {
    let mut wrong = Vec::new();
    let mut complain = |field, problem| wrong.push(Violation { field, problem });

    let size = usize::try_from(request.batch_size)
        .ok()
        .filter(|size| (1..=BATCH_MAX).contains(size));
    if size.is_none() {
        let problem = format!(
            "{} is out of range: use 1 to {BATCH_MAX}",
            request.batch_size
        );
        complain("batch_size", problem);
    }
    let start = u64::try_from(request.start_frame_idx).ok();
    if start.is_none() {
        let problem = format!("{} is negative", request.start_frame_idx);
        complain("start_frame_idx", problem);
    }
    if let Some(size) = size {
        if let Some(problem) = visual_length(request.visual_frames.len(), size) {
            complain("visual_frames", problem);
        }
        if let Some(problem) = audio_length(request.audio_features.len(), size) {
            complain("audio_features", problem);
        }
    }
    for (field, floats) in [
        ("visual_frames", &request.visual_frames),
        ("audio_features", &request.audio_features),
    ] {
        if let Some(problem) = non_finite(floats) {
            complain(field, problem);
        }
    }
    let format = match convert::format(request.output_format, request.jpeg_quality) {
        Ok(format) => Some(format),
        Err(Failure::Invalid(violations)) => {
            wrong.extend(violations);
            None
        }
        Err(other) => return Err(other),
    };
    match (size, start, format) {
        (Some(size), Some(start), Some(format)) if wrong.is_empty() => Ok(Batch {
            start,
            size,
            visual: request.visual_frames.visuals(VISUAL_LEN),
            audio: request.audio_features.tensors(AUDIO_LEN),
            format,
        }),
        _ => Err(Failure::Invalid(wrong)),
    }
}

fn visual_length(found: usize, size: usize) -> Option<String> {
    let expected = size * VISUAL_LEN;
    (found != 0 && found != expected).then(|| {
        format!(
            "{found} floats; {size} tensors of 6x320x320 are {expected}, and none lets the server make them"
        )
    })
}

fn audio_length(found: usize, size: usize) -> Option<String> {
    let expected = size * AUDIO_LEN;
    (found != AUDIO_LEN && found != expected).then(|| {
        format!(
            "{found} floats; one window of 32x16x16 for all frames is {AUDIO_LEN}, one for each of {size} is {expected}"
        )
    })
}

fn non_finite(floats: &Floats) -> Option<String> {
    let place = floats.first_non_finite()?;
    Some(format!("float {place} is not finite"))
}

/// Refuses a start past the end of a `clamp` sequence, before the model is loaded for it.
pub(in crate::server) async fn check_start(
    state: &ServerState,
    spec: &ModelSpec<config::Model>,
    start: u64,
) -> Result<(), Failure> {
    let model = &spec.payload;
    if model.sequence != Sequence::Clamp {
        return Ok(());
    }
    let known = state.catalog().facts(&spec.id).map(|facts| facts.frames);
    let frames = if let Some(frames) = known.or(model.num_frames) {
        Some(frames)
    } else {
        let path = model.crop_rects_path.clone();
        // What is wrong with the file is the load's to tell.
        cpu::run(move || CropRects::load(&path).ok().map(|rects| rects.len())).await?
    };
    match frames {
        Some(frames) => in_range(model.sequence, frames, start),
        None => Ok(()),
    }
}

/// Whether the sequence has a frame `start`.
pub(in crate::server) fn in_range(
    sequence: Sequence,
    frames: usize,
    start: u64,
) -> Result<(), Failure> {
    match sequence.end(frames) {
        Some(end) if start >= end => Err(Failure::PastEnd { start, frames }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(size: i32) -> CompositeBatchRequest {
        CompositeBatchRequest {
            batch_size: size,
            audio_features: vec![0.5; AUDIO_LEN].into(),
            ..CompositeBatchRequest::default()
        }
    }

    fn fields(request: &CompositeBatchRequest) -> Vec<&'static str> {
        match check(request) {
            Ok(_) => Vec::new(),
            Err(Failure::Invalid(violations)) => violations.iter().map(|v| v.field).collect(),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn one_window_serves_all_frames_and_many_one_each() {
        let batch = check(&request(25)).unwrap();
        assert_eq!(
            (batch.size, batch.audio.len(), batch.visual.len()),
            (25, 1, 0)
        );
        let each: Vec<f32> = (0..3).flat_map(|i| vec![i as f32; AUDIO_LEN]).collect();
        let batch = check(&CompositeBatchRequest {
            audio_features: each.into(),
            ..request(3)
        })
        .unwrap();
        assert!((*batch.audio[2]).as_ref().iter().all(|&float| float > 1.5));
    }

    #[test]
    fn every_wrong_field_is_named() {
        assert!(fields(&request(1)).is_empty());
        for size in [0, -1, 26, i32::MAX] {
            assert_eq!(fields(&request(size)), ["batch_size"]);
        }
        let wrong = CompositeBatchRequest {
            start_frame_idx: -1,
            visual_frames: vec![0.0; 7].into(),
            audio_features: vec![f32::NAN; 3 * AUDIO_LEN].into(),
            output_format: 9,
            ..request(2)
        };
        assert_eq!(
            fields(&wrong),
            [
                "start_frame_idx",
                "visual_frames",
                "audio_features",
                "audio_features",
                "output_format"
            ]
        );
        for quality in [-1, 101] {
            let wrong = CompositeBatchRequest {
                jpeg_quality: quality,
                ..request(1)
            };
            assert_eq!(fields(&wrong), ["jpeg_quality"]);
        }
        let empty = CompositeBatchRequest {
            audio_features: Floats::default(),
            ..request(1)
        };
        assert_eq!(fields(&empty), ["audio_features"]);
    }

    #[test]
    fn only_clamp_ends() {
        assert!(in_range(Sequence::Clamp, 3, 2).is_ok());
        assert!(matches!(
            in_range(Sequence::Clamp, 3, 3),
            Err(Failure::PastEnd {
                start: 3,
                frames: 3
            })
        ));
        for endless in [Sequence::PingPong, Sequence::Wrap] {
            assert!(in_range(endless, 3, u64::MAX).is_ok());
        }
    }
}
