//! One frame, from its speech window to encoded bytes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::try_join_all;

use super::cpu::{self, Panicked};
use super::{FrameTimings, LoadedModel};
use crate::avatar::{Background, BackgroundError};
use crate::compositor::{self, NonFinite};
use crate::encoder::{EncodeError, Encoded, Encoder, Format};
use crate::engine::InferenceError;
use crate::frame::network_io::{SharedFloats, Visual, VisualSource};
use crate::workers::{FrameInput, Prediction};

/// One frame to make.
#[derive(Clone)]
pub struct FrameOrder {
    /// Its index `k` in the endless sequence of frames.
    pub index: u64,
    /// The visual tensor, `[6,320,320]`; `None` to make it from the background and its rect.
    pub visual: Option<Visual>,
    /// The speech window, `[32,16,16]`.
    pub audio: SharedFloats,
    /// Whose frame it is: flows take turns in the network.
    pub flow: u64,
    /// When its result is of no use any more.
    pub deadline: Option<Instant>,
}

impl std::fmt::Debug for FrameOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameOrder")
            .field("index", &self.index)
            .field("flow", &self.flow)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// One finished frame.
#[derive(Debug)]
pub struct RenderedFrame {
    /// Its index `k` in the endless sequence of frames.
    pub index: u64,
    /// The background it was painted on.
    pub background: usize,
    /// The encoded picture.
    pub image: Encoded,
    /// What each stage took.
    pub timings: FrameTimings,
}

/// Why a frame could not be made.
#[derive(Debug, thiserror::Error)]
#[error("frame {frame}: {source}")]
pub struct RenderError {
    /// Which frame.
    pub frame: u64,
    /// Why.
    #[source]
    pub source: RenderFault,
}

/// What went wrong in which stage.
#[derive(Debug, thiserror::Error)]
pub enum RenderFault {
    /// The background cannot be decoded.
    #[error(transparent)]
    Background(#[from] BackgroundError),
    /// The network failed, or the frame was dropped before it.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// The network's output is not finite.
    #[error(transparent)]
    NonFinite(#[from] NonFinite),
    /// The picture cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A step panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

/// Makes one frame. Dropping the future drops the frame wherever it is.
///
/// # Errors
/// Names the frame and what failed; other frames are not affected.
pub async fn render_frame(
    model: &LoadedModel,
    order: FrameOrder,
    format: Format,
) -> Result<RenderedFrame, RenderError> {
    let frame = order.index;
    render(model, order, format)
        .await
        .map_err(|source| RenderError { frame, source })
}

/// Makes several frames at once and gives them back in the order they were asked for: while one is in the network,
/// others are composited and encoded.
///
/// # Errors
/// The first failure; the other frames are dropped.
pub async fn render_batch(
    model: &LoadedModel,
    orders: impl IntoIterator<Item = FrameOrder>,
    format: Format,
) -> Result<Vec<RenderedFrame>, RenderError> {
    let frames = orders
        .into_iter()
        .map(|order| render_frame(model, order, format));
    try_join_all(frames).await
}

async fn render(
    model: &LoadedModel,
    order: FrameOrder,
    format: Format,
) -> Result<RenderedFrame, RenderFault> {
    let started = Instant::now();
    let index = model.avatar().background_index(order.index);
    let background = background(model, order.index, format).await?;
    // A tensor that a client made says nothing about the background.
    let known = order.visual.is_none().then_some(index);
    let visual = match order.visual {
        Some(visual) => visual,
        None => Visual::Made(Arc::clone(&background.seen) as Arc<dyn VisualSource>),
    };
    let fetched = started.elapsed();
    let input = FrameInput {
        visual,
        audio: order.audio,
        background: known,
        flow: order.flow,
        deadline: order.deadline,
    };
    let prediction = model.generator().infer(input).await?;
    let mut timings = FrameTimings {
        visual: fetched + prediction.visual,
        queue: prediction.queued,
        inference: prediction.inference,
        ..FrameTimings::default()
    };
    let (patches, encoder) = (model.patches().clone(), model.encoder().clone());
    // The buffers are taken when a core is free, so that no more are in use than there are cores.
    let (image, composite, encode) = cpu::run(move || {
        finish(
            &prediction,
            &background,
            &mut patches.take(),
            &encoder,
            format,
        )
    })
    .await??;
    timings.composite = composite;
    timings.encode = encode;
    Ok(RenderedFrame {
        index: order.index,
        background: index,
        image,
        timings,
    })
}

/// Frame `index` without speech: its background as it is, encoded.
///
/// # Errors
/// Names the frame and what failed.
pub async fn render_idle(
    model: &LoadedModel,
    index: u64,
    format: Format,
) -> Result<RenderedFrame, RenderError> {
    idle(model, index, format)
        .await
        .map_err(|source| RenderError {
            frame: index,
            source,
        })
}

async fn idle(
    model: &LoadedModel,
    index: u64,
    format: Format,
) -> Result<RenderedFrame, RenderFault> {
    let shown = model.avatar().background_index(index);
    let background = background(model, index, format).await?;
    let encoder = model.encoder().clone();
    let started = Instant::now();
    let image = cpu::run(move || {
        encoder.encode_unchanged(&background.canvas, background.raw_rect.data(), format)
    })
    .await??;
    Ok(RenderedFrame {
        index,
        background: shown,
        image,
        timings: FrameTimings {
            encode: started.elapsed(),
            ..FrameTimings::default()
        },
    })
}

/// The background of frame `k`, which tells those who prepare backgrounds where frames are shown.
async fn background(
    model: &LoadedModel,
    k: u64,
    format: Format,
) -> Result<Arc<Background>, RenderFault> {
    if format == Format::Png {
        model.avatar().prepare_from(k);
    }
    let index = model.avatar().background_index(k);
    if let Some(ready) = model.avatar().ready_background(index, format) {
        return Ok(ready);
    }
    let avatar = Arc::clone(model.avatar());
    Ok(cpu::run(move || avatar.background(index, format)).await??)
}

/// Composites and encodes; gives the picture and what the two steps took.
fn finish(
    prediction: &Prediction,
    background: &Background,
    patch: &mut Vec<u8>,
    encoder: &Encoder,
    format: Format,
) -> Result<(Encoded, Duration, Duration), RenderFault> {
    let started = Instant::now();
    patch.resize(background.placement.size().rgb_bytes(), 0);
    compositor::composite(prediction, &background.placement, patch)?;
    let raw = &background.raw_rect;
    compositor::fade(patch, raw.data(), raw.size(), &background.feather);
    let composited = Instant::now();
    let image = encoder.encode(&background.canvas, patch, format)?;
    Ok((image, composited - started, composited.elapsed()))
}
