//! Measures by which plan a model's network runs the fastest, while the model serves.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::LoadOptions;
use crate::config;
use crate::engine::{Backend, InferenceError, Plan, Tuned};

/// How far behind everything else the measuring stands, as `nice` counts. Like the threads that prepare backgrounds.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;
/// Memory of a session by the bytes of its network's file: weights in the engine's layout, and the tensors between.
const SESSION_PER_FILE: u64 = 4;
/// Sessions open at once: the plain one, and the one that is measured against it.
const SESSIONS: u64 = 2;

/// Measures networks, one at a time.
#[derive(Clone, Debug)]
pub struct Tuner {
    backend: Arc<dyn Backend>,
    options: LoadOptions,
}

/// Ends a measuring when it is dropped.
#[derive(Debug)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Tuner {
    /// Of models that are loaded with `options` on `backend`.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, options: LoadOptions) -> Self {
        Self { backend, options }
    }

    /// The plan that a load of `model` begins with now.
    #[must_use]
    pub fn plan(&self, model: &config::Model) -> Plan {
        let (options, network) = (&self.options, &model.model_path);
        let session = options.session(1);
        options.plans.plan(self.backend.info(), network, &session)
    }

    /// Whether `model` is yet to be measured.
    #[must_use]
    pub fn wants(&self, model: &config::Model) -> bool {
        let (options, network) = (&self.options, &model.model_path);
        let session = options.session(1);
        options
            .plans
            .wants_tuning(self.backend.info(), network, &session)
    }

    /// Bytes of memory that it takes to measure `model`.
    #[must_use]
    pub fn memory_bytes(model: &config::Model) -> u64 {
        let file = std::fs::metadata(&model.model_path).map_or(0, |file| file.len());
        file * SESSION_PER_FILE * SESSIONS
    }

    /// Measures `model` on a thread of low priority. Dropping the future ends it after the run under way.
    ///
    /// # Errors
    /// When the network cannot be opened any more, or the thread not started.
    pub async fn tune(&self, model: &config::Model) -> Result<Option<Tuned>, InferenceError> {
        let stop = Arc::new(AtomicBool::new(false));
        let _stop = StopOnDrop(Arc::clone(&stop));
        let (done, result) = tokio::sync::oneshot::channel();
        let (tuner, network) = (self.clone(), model.model_path.clone());
        let thread = std::thread::Builder::new().name("tune".to_owned());
        let spawned = thread.spawn(move || {
            give_way();
            let _ = done.send(tuner.measure(&network, &stop));
        });
        if let Err(error) = spawned {
            return Err(InferenceError::Engine {
                engine: "lipsync",
                reason: format!("cannot start a thread: {error}"),
            });
        }
        // A thread that panicked has measured nothing.
        result.await.unwrap_or(Ok(None))
    }

    fn measure(&self, network: &Path, stop: &AtomicBool) -> Result<Option<Tuned>, InferenceError> {
        let options = self.options.session(1);
        let plans = &self.options.plans;
        plans.tune(&*self.backend, network, &options, stop)
    }
}

/// Leaves the processor to the threads that make frames. Only Linux lets one thread do that.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "measuring at normal priority");
    }
}
