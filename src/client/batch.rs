//! One batch of frames: the order and the reply.

use std::time::Duration;

use bytes::Bytes;

use crate::encoder::Format;
use crate::frame::network_io::SharedFloats;
use crate::pipeline::FrameTimings;
use crate::wire::{self, CompositeBatchRequest, Floats, ImageFormat};

/// A batch of frames to make. Made once, it can be sent many times.
#[derive(Clone, Debug)]
pub struct BatchOrder {
    request: CompositeBatchRequest,
}

impl BatchOrder {
    /// The frames of `model` from `start_index` on in its endless sequence, one for each window of `audio`, with the
    /// visual tensors of `visual`, or the server's own if there are none.
    #[must_use]
    pub fn new(
        model: &str,
        start_index: u64,
        audio: &[SharedFloats],
        visual: &[SharedFloats],
        format: Format,
    ) -> Self {
        let (output_format, jpeg_quality) = image_format(format);
        Self {
            request: CompositeBatchRequest {
                model_id: model.to_owned(),
                visual_frames: joined(visual),
                audio_features: joined(audio),
                // What does not fit the wire's numbers is out of every range the server checks.
                batch_size: i32::try_from(audio.len()).unwrap_or(i32::MAX),
                start_frame_idx: i32::try_from(start_index).unwrap_or(i32::MAX),
                output_format,
                jpeg_quality,
            },
        }
    }

    /// Whose frames.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.request.model_id
    }

    pub(super) fn request(&self) -> CompositeBatchRequest {
        self.request.clone()
    }
}

fn joined(tensors: &[SharedFloats]) -> Floats {
    let mut floats = Vec::with_capacity(tensors.iter().map(|one| (**one).as_ref().len()).sum());
    for tensor in tensors {
        floats.extend_from_slice((**tensor).as_ref());
    }
    floats.into()
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
    let quality = match format {
        Format::Jpeg { quality } => quality.into(),
        Format::Png | Format::Rgb | Format::I420 => 0,
    };
    (ImageFormat::from(format.name()).into(), quality)
}

/// A time of the wire; what is no time is none.
pub(super) fn milliseconds(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default()
}
