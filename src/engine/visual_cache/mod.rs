//! A generator in three parts, so that what depends on the background alone is computed once a background.
//!
//! ```text
//! input ──> visual part ──> skip tensors ──┬──> joint part ──> output
//!               (kept by background)       │
//! audio ──> audio part ────────────────────┘
//!               (kept for the last window)
//! ```
//!
//! The file's graph is cut by what each node depends on ([`cut`]) and written as three models in memory.
//! Each session holds one of each; the kept tensors ([`cache`]) are shared by the sessions of a network and die with
//! it. Opening a split network runs a frame through the whole one too and compares.

use std::fmt::{self, Debug};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::graph::GraphError;
use crate::engine::graph::cut::{self, Cut};
use crate::engine::graph::model::Model;
use crate::engine::graph::rewrite::rewrite;
use crate::engine::network::{self, Fingerprint};
use crate::engine::network_file;
use crate::engine::plan::comparison::{self, Probe};
use crate::engine::tensor::{Kind, Sink, Tensor, View};
use crate::engine::{Cancel, Generator, GeneratorNetwork, InferenceError, Plan};

mod cache;
mod session;
#[cfg(test)]
mod tests;

pub use cache::{VisualCacheLimit, VisualCacheStats};

use cache::VisualCache;
use session::{Parts, SplitSession};

/// Most that any value of the output may move by cutting. Engines fuse operators, and a cut may part two they would
/// have fused: the sum is the same, its rounding need not be.
const DEVIATION_MAX: f32 = 1e-3;

/// What the split needs of an engine: sessions of models in memory.
pub(super) trait Engine: Debug + Send + Sync + 'static {
    /// A session of a part.
    type Part: Part + 'static;

    /// Opens one.
    fn open_part(&self, model: Vec<u8>) -> Result<Self::Part, InferenceError>;
}

/// A session of a part of a network.
pub(super) trait Part: Send + Sized {
    /// Runs it.
    fn run(
        &mut self,
        inputs: &[(&str, View<'_>)],
        outputs: &mut [(&str, Sink<'_>)],
        cancel: &Cancel,
    ) -> Result<(), InferenceError>;

    /// Another session with the same weights in memory, if the engine can.
    fn share(&self) -> Option<Self>;
}

/// Why a network runs whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotSplit {
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(
        "it holds {fit} of the avatar's {backgrounds} backgrounds, and pays from half of them on; all take {} MB",
        (background_bytes * *backgrounds as u64).div_ceil(1 << 20)
    )]
    NoRoom {
        fit: usize,
        backgrounds: usize,
        background_bytes: u64,
    },
    #[error("cut, it gives other results: values differ by up to {by}")]
    Differs { by: f32 },
    #[error(transparent)]
    Engine(#[from] InferenceError),
}

/// The network in parts, each rewritten by `plan`, with a cache of at most `limit`; or `whole` back, with the reason in
/// the log.
pub(super) fn open<E: Engine + Clone>(
    whole: Arc<dyn GeneratorNetwork>,
    engine: E,
    limit: VisualCacheLimit,
    plan: Plan,
) -> Result<Arc<dyn GeneratorNetwork>, Arc<dyn GeneratorNetwork>> {
    let path = whole.path().display();
    let mut split = SplitNetwork::open(&*whole, engine.clone(), limit, plan);
    if let (Err(NotSplit::Differs { by }), false) = (&split, plan.is_plain()) {
        tracing::warn!(network = %path, %plan, by, "rewritten, the network gives other results: it runs by its own graph");
        split = SplitNetwork::open(&*whole, engine, limit, Plan::PLAIN);
    }
    match split {
        Ok(split) => Ok(Arc::new(split)),
        Err(reason) => {
            tracing::warn!(
                network = %path,
                %reason,
                "visual_cache_mb has no effect: the network runs whole"
            );
            Err(whole)
        }
    }
}

/// A generator in parts.
struct SplitNetwork<E: Engine> {
    engine: E,
    path: PathBuf,
    fingerprint: Fingerprint,
    plan: Plan,
    layout: Arc<Layout>,
    cache: Arc<VisualCache>,
    /// The parts that were opened for the check: shared with every session, or taken by the first.
    first: Mutex<Option<Parts<E::Part>>>,
}

/// The visual and the audio part's outputs, by name, in this order.
type Crossing = Vec<(String, Kind)>;

/// Where the network was cut, and what crosses the cuts.
#[derive(Debug)]
struct Layout {
    cut: Cut,
    crossing: Crossing,
}

impl<E: Engine> SplitNetwork<E> {
    fn open(
        whole: &dyn GeneratorNetwork,
        engine: E,
        limit: VisualCacheLimit,
        plan: Plan,
    ) -> Result<Self, NotSplit> {
        let path = whole.path().to_path_buf();
        let fingerprint = Fingerprint::of(&path)?;
        let bytes = network_file::complete(&path, &network::GENERATOR)?;
        let model = Model::read(&bytes)?;
        let cut = Cut::of(&model)?;
        let probe = Probe::new();
        let (parts, crossing) = open_parts(&engine, &model, &cut, plan, &probe)?;
        let background_bytes = crossing[..cut.visual.outputs.len()]
            .iter()
            .map(|(_, kind)| kind.bytes())
            .sum();
        let layout = Arc::new(Layout { cut, crossing });
        let cache = Arc::new(VisualCache::new(limit, background_bytes));
        let fit = cache.backgrounds_max();
        // A frame whose background is not kept costs more than in the whole network: the tensors are copied out and in.
        if 2 * fit < limit.backgrounds {
            return Err(NotSplit::NoRoom {
                fit,
                backgrounds: limit.backgrounds,
                background_bytes,
            });
        }
        let mut session = SplitSession::new(parts, Arc::clone(&layout), Arc::clone(&cache));
        let expected = probe.run(&mut *whole.open_session()?)?;
        let deviation = probe.deviation(&expected, &mut session)?;
        let deviation_max = if plan.is_plain() {
            DEVIATION_MAX
        } else {
            comparison::DEVIATION_MAX
        };
        if deviation.is_nan() || deviation > deviation_max {
            return Err(NotSplit::Differs { by: deviation });
        }
        tracing::info!(
            network = %path.display(),
            nodes = model.nodes.len(),
            visual_nodes = layout.cut.visual.nodes.len(),
            audio_nodes = layout.cut.audio.nodes.len(),
            background_bytes,
            backgrounds_kept = fit,
            backgrounds = limit.backgrounds,
            %plan,
            deviation,
            "network split: what depends on the background alone is computed once a background"
        );
        Ok(Self {
            engine,
            path,
            fingerprint,
            plan,
            layout,
            cache,
            first: Mutex::new(Some(session.into_parts())),
        })
    }

    fn session(&self, parts: Parts<E::Part>) -> SplitSession<E::Part> {
        SplitSession::new(parts, Arc::clone(&self.layout), Arc::clone(&self.cache))
    }

    /// The parts anew, from the file.
    fn reopen(&self) -> Result<Parts<E::Part>, InferenceError> {
        self.fingerprint.still_of(&self.path)?;
        let bytes = network_file::complete(&self.path, &network::GENERATOR)?;
        let model = Model::read(&bytes).map_err(|_| InferenceError::Changed {
            path: self.path.clone(),
        })?;
        let Layout { cut, crossing } = &*self.layout;
        let open = |part| open_part(&self.engine, model.write(part, crossing), self.plan);
        Ok(Parts {
            visual: open(&cut.visual)?,
            audio: if cut.audio.nodes.is_empty() {
                None
            } else {
                Some(open(&cut.audio)?)
            },
            joint: open(&cut.joint)?,
        })
    }
}

impl<E: Engine> GeneratorNetwork for SplitNetwork<E> {
    fn path(&self) -> &Path {
        &self.path
    }

    /// One: what is kept is kept by background, and on a CPU a batch wins nothing.
    fn max_batch(&self) -> usize {
        1
    }

    fn open_session(&self) -> Result<Box<dyn Generator>, InferenceError> {
        let shared = {
            let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
            match first.as_ref().and_then(Parts::share) {
                Some(shared) => Some(shared),
                None => first.take(),
            }
        };
        let parts = match shared {
            Some(parts) => parts,
            None => self.reopen()?,
        };
        Ok(Box::new(self.session(parts)))
    }

    fn plan(&self) -> Plan {
        self.plan
    }

    fn visual_cache(&self) -> Option<VisualCacheStats> {
        Some(self.cache.stats())
    }
}

impl<E: Engine> fmt::Debug for SplitNetwork<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SplitNetwork")
            .field("path", &self.path)
            .field("cache", &self.cache.stats())
            .finish_non_exhaustive()
    }
}

impl<E: Engine> Drop for SplitNetwork<E> {
    fn drop(&mut self) {
        let stats = self.cache.stats();
        if stats.hits + stats.misses > 0 {
            tracing::info!(
                network = %self.path.display(),
                frames = stats.hits + stats.misses,
                hit_rate = stats.hit_rate(),
                backgrounds = stats.backgrounds,
                bytes = stats.bytes,
                "visual cache freed"
            );
        }
    }
}

/// A session of a part, rewritten by `plan` where that has something to do.
///
/// The network is cut first and its parts are rewritten: what a rewrite computes from a background would be larger than
/// what is kept of it.
fn open_part<E: Engine>(engine: &E, part: Vec<u8>, plan: Plan) -> Result<E::Part, InferenceError> {
    // What was cut from a graph can be read as one.
    let rewritten = rewrite(&part, plan).unwrap_or(None);
    engine.open_part(rewritten.unwrap_or(part))
}

/// Opens the parts and runs them as far as it takes to know what crosses the cuts.
fn open_parts<E: Engine>(
    engine: &E,
    model: &Model<'_>,
    cut: &Cut,
    plan: Plan,
    probe: &Probe,
) -> Result<(Parts<E::Part>, Crossing), InferenceError> {
    let mut crossing = Vec::new();
    let mut open = |part: &cut::Part| {
        let mut session = open_part(engine, model.write(part, &[]), plan)?;
        let mut outputs = vec![Tensor::default(); part.outputs.len()];
        session::run_part(
            &mut session,
            part,
            &probe.batch(),
            &mut outputs,
            &Cancel::new(),
        )?;
        let names = part.outputs.iter().cloned();
        crossing.extend(names.zip(outputs.iter().map(Tensor::kind)));
        Ok::<_, InferenceError>(session)
    };
    let visual = open(&cut.visual)?;
    let audio = if cut.audio.nodes.is_empty() {
        None
    } else {
        Some(open(&cut.audio)?)
    };
    let joint = open_part(engine, model.write(&cut.joint, &crossing), plan)?;
    let parts = Parts {
        visual,
        audio,
        joint,
    };
    Ok((parts, crossing))
}
