//! One batch of frames: the order and the reply.

use std::time::Duration;

use bytes::Bytes;

use crate::encoder::Format;
use crate::pipeline::FrameTimings;
use crate::wire::{self, CompositeBatchRequest, Floats, ImageFormat};

/// A batch of frames to make.
#[derive(Clone, Debug)]
pub struct BatchOrder {
    /// Whose frames.
    pub model: String,
    /// How many frames.
    pub frames: usize,
    /// Index of the first frame in the model's endless sequence.
    pub start_index: u64,
    /// The speech windows, one a frame, one after another.
    pub audio: Floats,
    /// The visual tensors, one after another; empty for the server to make them.
    pub visual: Floats,
    /// How frames are encoded.
    pub format: Format,
}

/// A finished batch.
#[derive(Clone, Debug)]
pub struct BatchReply {
    /// The encoded frames, in order.
    pub frames: Vec<Bytes>,
    /// The background each was painted on.
    pub backgrounds: Vec<usize>,
    /// The server's time in each stage, summed over the frames.
    pub timings: FrameTimings,
    /// From the request's arrival at the server to its answer.
    pub total: Duration,
    /// How long the request waited for the model to load, if it did.
    pub load: Option<Duration>,
}

impl From<&BatchOrder> for CompositeBatchRequest {
    fn from(order: &BatchOrder) -> Self {
        let (output_format, jpeg_quality) = image_format(order.format);
        Self {
            model_id: order.model.clone(),
            visual_frames: order.visual.clone(),
            audio_features: order.audio.clone(),
            // What does not fit the wire's numbers is out of every range the server checks.
            batch_size: i32::try_from(order.frames).unwrap_or(i32::MAX),
            start_frame_idx: i32::try_from(order.start_index).unwrap_or(i32::MAX),
            output_format,
            jpeg_quality,
        }
    }
}

impl From<wire::CompositeBatchResponse> for BatchReply {
    fn from(answer: wire::CompositeBatchResponse) -> Self {
        let (composite, encode) = (answer.composite_time_ms, answer.encode_time_ms);
        Self {
            frames: answer.composited_frames,
            backgrounds: answer
                .background_indices
                .into_iter()
                .map(|index| usize::try_from(index).unwrap_or(0))
                .collect(),
            timings: FrameTimings {
                visual: milliseconds(answer.visual_time_ms),
                queue: milliseconds(answer.queue_time_ms),
                inference: milliseconds(answer.inference_time_ms),
                composite: milliseconds(composite - encode),
                encode: milliseconds(encode),
            },
            total: milliseconds(answer.total_time_ms),
            load: answer
                .model_loaded
                .then(|| milliseconds(answer.model_load_time_ms)),
        }
    }
}

/// The wire's words for a format: which, and its JPEG quality.
pub(super) fn image_format(format: Format) -> (i32, i32) {
    let (format, quality) = match format {
        Format::Png => (ImageFormat::Png, 0),
        Format::Jpeg { quality } => (ImageFormat::Jpeg, quality),
        Format::Rgb => (ImageFormat::Rgb, 0),
    };
    (format.into(), quality.into())
}

/// A time of the wire; what is no time is none.
pub(super) fn milliseconds(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default()
}
