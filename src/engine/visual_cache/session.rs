//! One session of each part, run one after another.

use std::sync::Arc;

use crate::engine::graph::cut;
use crate::engine::tensor::{Sink, Tensor, View};
use crate::engine::visual_cache::cache::VisualCache;
use crate::engine::visual_cache::{Layout, Part};
use crate::engine::{Batch, Cancel, Generator, InferenceError};
use crate::frame::network_io::ROI_SIDE;

/// A session of each part.
#[derive(Debug)]
pub(super) struct Parts<P> {
    pub(super) visual: P,
    /// None if nothing depends on the audio alone.
    pub(super) audio: Option<P>,
    pub(super) joint: P,
}

impl<P: Part> Parts<P> {
    /// Sessions of the same weights, if the engine shares them.
    pub(super) fn share(&self) -> Option<Self> {
        Some(Self {
            visual: self.visual.share()?,
            audio: match &self.audio {
                Some(audio) => Some(audio.share()?),
                None => None,
            },
            joint: self.joint.share()?,
        })
    }
}

/// A session of a split network.
pub(super) struct SplitSession<P> {
    parts: Parts<P>,
    layout: Arc<Layout>,
    cache: Arc<VisualCache>,
    /// The visual part's outputs, for a background that is not kept.
    skips: Vec<Tensor>,
    /// The audio part's outputs for `window`.
    sound: Vec<Tensor>,
    /// The last window, empty if `sound` is not its.
    window: Vec<f32>,
}

impl<P: Part> SplitSession<P> {
    pub(super) fn new(parts: Parts<P>, layout: Arc<Layout>, cache: Arc<VisualCache>) -> Self {
        Self {
            skips: vec![Tensor::default(); layout.cut.visual.outputs.len()],
            sound: vec![Tensor::default(); layout.cut.audio.outputs.len()],
            window: Vec::new(),
            parts,
            layout,
            cache,
        }
    }

    pub(super) fn into_parts(self) -> Parts<P> {
        self.parts
    }

    fn run_frame(
        &mut self,
        frame: &Batch<'_>,
        output: &mut [f32],
        cancel: &Cancel,
    ) -> Result<(), InferenceError> {
        let background = frame.backgrounds.first().copied().flatten();
        let mut kept = background.and_then(|index| self.cache.get(index));
        if kept.is_none() {
            let part = &self.layout.cut.visual;
            run_part(&mut self.parts.visual, part, frame, &mut self.skips, cancel)?;
            kept = background.and_then(|index| self.cache.keep(index, &mut self.skips));
        }
        self.hear(frame, cancel)?;
        let skips = kept.as_deref().unwrap_or(&self.skips);
        let cut = &self.layout.cut;
        let made = cut
            .visual
            .outputs
            .iter()
            .zip(skips)
            .chain(cut.audio.outputs.iter().zip(&self.sound));
        let mut inputs: Vec<(&str, View<'_>)> = made
            .map(|(name, tensor)| (name.as_str(), tensor.view()))
            .collect();
        inputs.extend(own_inputs(&cut.joint, frame));
        let outputs = &mut [("output", Sink::Floats(output))];
        self.parts.joint.run(&inputs, outputs, cancel)
    }

    /// Runs the audio part, unless the window is the last one again: a batch may have one for all its frames.
    fn hear(&mut self, frame: &Batch<'_>, cancel: &Cancel) -> Result<(), InferenceError> {
        let Some(audio) = &mut self.parts.audio else {
            return Ok(());
        };
        let same = |a: &[f32], b: &[f32]| {
            bytemuck::cast_slice::<f32, u8>(a) == bytemuck::cast_slice::<f32, u8>(b)
        };
        if same(&self.window, frame.audio) {
            return Ok(());
        }
        self.window.clear();
        run_part(
            audio,
            &self.layout.cut.audio,
            frame,
            &mut self.sound,
            cancel,
        )?;
        self.window.extend_from_slice(frame.audio);
        Ok(())
    }
}

impl<P: Part> Generator for SplitSession<P> {
    fn run(
        &mut self,
        batch: &Batch<'_>,
        output: &mut [f32],
        cancel: &Cancel,
    ) -> Result<(), InferenceError> {
        batch.check(output)?;
        for (frame, output) in batch.runs(1, output) {
            self.run_frame(&frame, output, cancel)?;
        }
        Ok(())
    }
}

/// Runs a part that reads nothing but the network's own inputs.
pub(super) fn run_part<P: Part>(
    session: &mut P,
    part: &cut::Part,
    frame: &Batch<'_>,
    outputs: &mut [Tensor],
    cancel: &Cancel,
) -> Result<(), InferenceError> {
    let inputs: Vec<_> = own_inputs(part, frame).collect();
    let names = part.outputs.iter().map(String::as_str);
    let mut outputs: Vec<_> = names.zip(outputs.iter_mut().map(Sink::Tensor)).collect();
    session.run(&inputs, &mut outputs, cancel)
}

/// The network's own inputs that a part reads.
fn own_inputs<'a>(
    part: &'a cut::Part,
    frame: &Batch<'a>,
) -> impl Iterator<Item = (&'a str, View<'a>)> {
    let (visual, audio) = (frame.visual, frame.audio);
    part.inputs
        .iter()
        .filter_map(move |name| match name.as_str() {
            "input" => Some(("input", View::floats(&[1, 6, ROI_SIDE, ROI_SIDE], visual))),
            "audio" => Some(("audio", View::floats(&[1, 32, 16, 16], audio))),
            _ => None,
        })
}
