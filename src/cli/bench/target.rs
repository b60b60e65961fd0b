//! What is measured: a model opened in this process, or one of a server.

use std::sync::Arc;

use anyhow::Context as _;

use super::Args;
use crate::cli::Global;
use crate::cli::connect::{about, connect, explained};
use crate::cli::infer::offline;
use crate::cli::output::{OrHint as _, Output};
use crate::client::{BatchOrder, Client};
use crate::config::Config;
use crate::encoder::Format;
use crate::frame::network_io::{AUDIO_LEN, SharedFloats};
use crate::pipeline::{FrameOrder, FrameTimings, LoadOptions, LoadedModel, render_batch};

/// Different speech windows; with fewer, an engine that keeps what it has seen would look too good.
const WINDOWS: usize = 256;

/// A model that makes batches, and what is known of it.
pub(super) struct Target {
    maker: Maker,
    windows: Vec<SharedFloats>,
    format: Format,
    /// Version of the program that makes the frames.
    pub(super) version: String,
    /// What runs the networks.
    pub(super) engine: String,
    /// The model's name.
    pub(super) model: String,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) fps: u32,
    /// Backgrounds it has.
    pub(super) num_frames: u64,
}

enum Maker {
    Here(Arc<LoadedModel>),
    Server(Arc<Client>),
}

/// A batch to make, with everything that need not be measured done.
pub(super) enum Order {
    Here(Arc<LoadedModel>, Vec<FrameOrder>, Format),
    Server(Arc<Client>, BatchOrder),
}

/// Opens what the command line names.
pub(super) async fn open(global: &Global, args: &Args, output: &Output) -> anyhow::Result<Target> {
    match &args.server {
        Some(server) => {
            let client = connect(Some(server), &args.token, global).await?;
            on_server(client, args).await
        }
        None => here(global, args, output),
    }
}

fn here(global: &Global, args: &Args, output: &Output) -> anyhow::Result<Target> {
    let config = Config::load(&global.config)?;
    let model = match &args.model {
        Some(id) => offline::model(&config, id)?,
        // A configuration has at least one.
        None => &config.models[0],
    };
    let backend = offline::open_backend(&config, output)?;
    let spinner = output.spinner();
    spinner.set_message(format!("loading {}", model.id));
    let options = LoadOptions::new(&config, &*backend);
    let opened = LoadedModel::open(&*backend, model, &options)
        .with_context(|| format!("cannot load model {}", model.id));
    spinner.finish_and_clear();
    let opened = opened?;
    let avatar = Arc::clone(opened.avatar());
    Ok(Target {
        maker: Maker::Here(Arc::new(opened)),
        windows: windows(),
        format: args.format.with_quality(None),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        engine: backend.info().to_string(),
        model: model.id.clone(),
        width: avatar.size().width,
        height: avatar.size().height,
        fps: avatar.fps(),
        num_frames: avatar.frames() as u64,
    })
}

async fn on_server(client: Client, args: &Args) -> anyhow::Result<Target> {
    let id = if let Some(id) = &args.model {
        id.clone()
    } else {
        let models = explained(client.list().await)?;
        let first = models.into_iter().next();
        first.context("the server has no models")?.id
    };
    // Its size is known once it is loaded; a batch does that, which callers without the right to load may ask for.
    let first = BatchOrder::new(&id, 0, &windows()[..1], &[], args.format.with_quality(None));
    let first = client.infer(&first).await;
    about(&client, &id, first).await?;
    let stats = explained(client.stats(Some(&id)).await)?;
    let model = stats.models.into_iter().find(|model| model.id == id);
    let model = model.with_context(|| format!("the server does not tell about model {id}"))?;
    let server = stats.server;
    Ok(Target {
        maker: Maker::Server(Arc::new(client)),
        windows: windows(),
        format: args.format.with_quality(None),
        engine: server.engine_text(),
        version: server.version,
        model: id,
        width: model.width,
        height: model.height,
        fps: model.fps,
        num_frames: u64::from(model.num_frames),
    })
}

impl Target {
    /// Whether its pictures are as ready as they will be, as far as this process can know.
    pub(super) fn is_prepared(&self) -> bool {
        match &self.maker {
            Maker::Here(model) => self.format != Format::Png || model.avatar().is_prepared(),
            Maker::Server(_) => true,
        }
    }

    /// A batch of `frames` frames from `start` on, asked for by `caller`.
    pub(super) fn order(&self, start: u64, frames: usize, caller: usize) -> Order {
        let place = start as usize + caller * 31;
        let audio = (place..place + frames).map(|place| Arc::clone(&self.windows[place % WINDOWS]));
        match &self.maker {
            Maker::Here(model) => {
                let orders = (start..).zip(audio).map(|(index, audio)| FrameOrder {
                    index,
                    visual: None,
                    audio,
                    flow: caller as u64,
                    deadline: None,
                });
                Order::Here(Arc::clone(model), orders.collect(), self.format)
            }
            Maker::Server(client) => {
                let audio: Vec<_> = audio.collect();
                let order = BatchOrder::new(&self.model, start, &audio, &[], self.format);
                Order::Server(Arc::clone(client), order)
            }
        }
    }
}

impl Order {
    /// Makes the batch and gives the time its frames spent in each stage.
    pub(super) async fn make(self) -> anyhow::Result<FrameTimings> {
        match self {
            Self::Here(model, orders, format) => {
                let frames = render_batch(&model, orders, format).await;
                let frames = frames.or_hint("fewer callers need less: see --concurrency")?;
                Ok(frames.iter().map(|frame| frame.timings).sum())
            }
            Self::Server(client, order) => Ok(explained(client.infer(&order).await)?.timings),
        }
    }
}

/// Windows of noise: what the networks take does not depend on what they hear. Always the same ones.
fn windows() -> Vec<SharedFloats> {
    let mut state = 1_u32;
    let mut noise = || {
        // Numerical Recipes' linear congruential generator; the high bits are good enough for noise.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..WINDOWS)
        .map(|_| Arc::new((0..AUDIO_LEN).map(|_| noise()).collect::<Vec<f32>>()) as SharedFloats)
        .collect()
}
