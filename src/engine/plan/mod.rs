//! How a network's graph is rewritten before an engine gets it.
//!
//! A [`Plan`] says which of the rewrites of [`graph::rewrite`](crate::engine::graph) are applied. Whatever it says, the
//! rewritten network is compared with the file's own on a frame of noise when it is opened ([`comparison`]). Which plan is
//! the fastest depends on the machine: [`tuning`] measures, [`store`] keeps the result for the next load.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::graph::GraphError;
use crate::engine::graph::model::Model;
use crate::engine::graph::rewrite::rewrite;
use crate::engine::network::GENERATOR;
use crate::engine::{Generator, GeneratorNetwork, InferenceError, network_file};
use comparison::{DEVIATION_MAX, Probe};

pub(in crate::engine) mod comparison;
mod cpu_cache;
mod store;
mod tuning;

pub use tuning::{PlanOptions, Tune, Tuned};

/// Which of the exact rewrites are applied. The same plan gives the same bytes; two plans differ in the last bits of the
/// floats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Plan {
    /// Convolutions of one pixel run before a Resize instead of after it.
    pub split_up: bool,
    /// Wide blocks are computed in groups of channels whose tensors have at most so many bytes.
    pub group_bytes: Option<u64>,
}

impl Plan {
    /// The file's graph as it is.
    pub const PLAIN: Self = Self {
        split_up: false,
        group_bytes: None,
    };
    /// Convolutions before a Resize, and no groups.
    pub const SPLIT: Self = Self {
        split_up: true,
        group_bytes: None,
    };

    /// Both rewrites, for a core that may count on so many bytes of cache; `None` asks the system.
    ///
    /// A group reads a tensor and writes another, and what it shares with the next group stays beside them: so a quarter.
    #[must_use]
    pub fn grouped(cache_bytes: Option<u64>) -> Self {
        let cache = cache_bytes.unwrap_or_else(cpu_cache::share_bytes);
        Self {
            split_up: true,
            group_bytes: Some((cache / 4).max(1)),
        }
    }

    /// Whether the graph stays as it is.
    #[must_use]
    pub fn is_plain(self) -> bool {
        self == Self::PLAIN
    }
}

/// `plain`, `split`, `split, groups of 4096 KiB`.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.split_up, self.group_bytes) {
            (false, None) => f.write_str("plain"),
            (true, None) => f.write_str("split"),
            (split, Some(bytes)) => {
                let split = if split { "split, " } else { "" };
                write!(f, "{split}groups of {} KiB", bytes >> 10)
            }
        }
    }
}

/// Why a network runs by the file's own graph.
#[derive(Debug, thiserror::Error)]
pub(in crate::engine) enum NotPlanned {
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error("rewritten, it gives other results: values differ by up to {by}")]
    Differs { by: f32 },
    #[error(transparent)]
    Engine(#[from] InferenceError),
}

/// The network of `path` rewritten by `plan`; `None` if the plan has nothing to do in it.
///
/// With `one_frame` its batch is fixed: ONNX Runtime fuses additions into convolutions only where it knows that both
/// sides have one shape, and a batch of any size behind a Resize it does not know.
pub(in crate::engine) fn rewritten(
    path: &std::path::Path,
    plan: Plan,
    one_frame: bool,
) -> Result<Option<Vec<u8>>, NotPlanned> {
    if plan.is_plain() {
        return Ok(None);
    }
    let bytes = network_file::complete(path, &GENERATOR)?;
    let Some(rewritten) = rewrite(&bytes, plan)? else {
        return Ok(None);
    };
    if !one_frame {
        return Ok(Some(rewritten));
    }
    let mut model = Model::read(&rewritten)?;
    model.fix_batch()?;
    Ok(Some(model.write_whole()))
}

/// Whether a session gives what the network gives by the file's own graph.
pub(in crate::engine) type Check<'a> = dyn Fn(&mut dyn Generator) -> Result<(), NotPlanned> + 'a;

/// The network as `plan` has it, if that gives what `plain` gives; otherwise `plain`, with the reason in the log.
pub(in crate::engine) fn open(
    plain: Arc<dyn GeneratorNetwork>,
    plan: Plan,
    one_frame: bool,
    open: impl FnOnce(Vec<u8>, &Check<'_>) -> Result<Arc<dyn GeneratorNetwork>, NotPlanned>,
) -> Arc<dyn GeneratorNetwork> {
    let path = plain.path().display();
    let planned = || -> Result<Option<Arc<dyn GeneratorNetwork>>, NotPlanned> {
        let Some(bytes) = rewritten(plain.path(), plan, one_frame)? else {
            return Ok(None);
        };
        let probe = Probe::new();
        // The session that is compared with is gone before the next is opened.
        let expected = probe.run(&mut *plain.open_session()?)?;
        let check = |session: &mut dyn Generator| {
            let deviation = probe.deviation(&expected, session)?;
            if deviation.is_nan() || deviation > DEVIATION_MAX {
                return Err(NotPlanned::Differs { by: deviation });
            }
            tracing::info!(network = %path, %plan, deviation, "network rewritten");
            Ok(())
        };
        open(bytes, &check).map(Some)
    };
    match planned() {
        Ok(Some(network)) => network,
        Ok(None) => plain,
        Err(reason) => {
            tracing::warn!(network = %path, %plan, %reason, "the network runs by its own graph");
            plain
        }
    }
}
