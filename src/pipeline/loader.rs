//! Loads models for the registry, and measures what they take.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use super::{LoadedModel, cpu, memory};
use crate::avatar::{Avatar, KeepOptions};
use crate::config::{self, Config, PlanChoice, Profile};
use crate::engine::{Backend, BackendOptions, Plan, PlanOptions, SessionOptions, VisualCacheLimit};
use crate::pipeline::model_facts::ModelFacts;
use crate::registry::{Load, LoadError, Loaded, ModelSpec};
use crate::shortage::Shortage;
use crate::workers::{Turns, WorkerOptions};

/// How every model is loaded.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Sessions, threads, batches and queues.
    pub workers: WorkerOptions,
    /// What of each model's pictures is kept.
    pub keep: KeepOptions,
    /// By which plan each network runs.
    pub plans: PlanOptions,
    /// Bytes per model for what its network computes from the backgrounds alone; 0: nothing is kept.
    pub visual_cache_bytes: u64,
}

impl LoadOptions {
    /// The options of `config` on `backend`: what the file leaves open follows the profile and the hardware.
    ///
    /// A CPU gains nothing from batches, so there it is as many single-thread sessions as cores; a GPU does.
    #[must_use]
    pub fn new(config: &Config, backend: &dyn Backend) -> Self {
        let onnx = &config.onnx;
        let gpu = backend.info().cuda_available();
        let cores = cpu::cores();
        let (sessions, threads) = match onnx.profile {
            _ if gpu => (1, 1),
            Profile::Throughput => (cores, 1),
            Profile::Latency => (1, cores),
        };
        let sessions = onnx
            .sessions_per_model
            .or_else(|| Some(useful_sessions(onnx.worker_count?, gpu)))
            .unwrap_or(sessions);
        let threads = onnx.intra_threads.unwrap_or(threads);
        let parallel_runs = match onnx.parallel_runs {
            Some(runs) => runs,
            None if gpu => usize::MAX,
            // A run that hangs must not stop all others, so there are two at least.
            None => (cores / threads).max(sessions).max(2),
        };
        Self {
            workers: WorkerOptions {
                sessions,
                turns: Arc::new(Turns::new(parallel_runs)),
                session: SessionOptions {
                    intra_threads: threads,
                    ..SessionOptions::default()
                },
                max_batch: onnx.max_batch.unwrap_or(if gpu { 8 } else { 1 }),
                batch_delay: onnx.batch_delay,
                queue_frames: onnx.queue_frames,
                hang_timeout: onnx.hang_timeout,
                ..WorkerOptions::default()
            },
            keep: KeepOptions::new(&config.capacity),
            plans: plan_options(onnx),
            visual_cache_bytes: onnx.visual_cache_bytes,
        }
    }
}

impl LoadOptions {
    /// How the generator's sessions of an avatar of so many backgrounds use the machine, by the file's own graph.
    #[must_use]
    pub fn session(&self, backgrounds: usize) -> SessionOptions {
        let limit = VisualCacheLimit {
            bytes: self.visual_cache_bytes,
            backgrounds,
        };
        SessionOptions {
            visual_cache: (self.visual_cache_bytes > 0).then_some(limit),
            ..self.workers.session.clone()
        }
    }
}

/// What `config.yaml` says about plans.
fn plan_options(onnx: &config::Onnx) -> PlanOptions {
    PlanOptions {
        pinned: match onnx.plan {
            PlanChoice::Auto => None,
            PlanChoice::Plain => Some(Plan::PLAIN),
            PlanChoice::Split => Some(Plan::SPLIT),
            PlanChoice::Grouped => Some(Plan::grouped(onnx.cache_bytes)),
        },
        tune: onnx.tune,
        cache_bytes: onnx.cache_bytes,
    }
}

/// The sessions that `server.worker_count` asks for, as many of them as the machine has cores for.
fn useful_sessions(worker_count: usize, gpu: bool) -> usize {
    let sessions = if gpu {
        worker_count
    } else {
        worker_count.min(cpu::cores())
    };
    if sessions < worker_count {
        tracing::info!(
            worker_count,
            sessions,
            "server.worker_count is lowered to one session a core; onnx.sessions_per_model sets any number"
        );
    }
    sessions
}

/// What `config.yaml` says about the engine.
#[must_use]
pub fn backend_options(onnx: &config::Onnx) -> BackendOptions {
    BackendOptions {
        choice: onnx.backend,
        library_path: onnx.library_path.clone(),
        execution_providers: Some(onnx.execution_providers.clone()),
        cuda: onnx.cuda_enabled.then_some(true),
        cuda_device: onnx.cuda_device,
        fallback_to_cpu: onnx.fallback == config::Fallback::Cpu,
    }
}

/// Loads the models of a configuration on one backend.
#[derive(Debug)]
pub struct Loader {
    backend: Arc<dyn Backend>,
    options: LoadOptions,
    catalog: ModelFacts,
}

impl Loader {
    /// A loader.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, options: LoadOptions) -> Self {
        Self {
            backend,
            options,
            catalog: ModelFacts::default(),
        }
    }

    /// What is known of the models it has loaded; filled as they are.
    #[must_use]
    pub fn catalog(&self) -> &ModelFacts {
        &self.catalog
    }

    /// The registry's view of the configured models, in config order.
    #[must_use]
    pub fn specs(config: &Config) -> Vec<ModelSpec<config::Model>> {
        config.models.iter().map(spec).collect()
    }
}

fn spec(model: &config::Model) -> ModelSpec<config::Model> {
    let mut hasher = DefaultHasher::new();
    model.hash(&mut hasher);
    ModelSpec {
        id: model.id.as_str().into(),
        fingerprint: hasher.finish(),
        memory_floor_bytes: model.memory_estimate_bytes,
        preload: model.preload,
        payload: model.clone(),
    }
}

impl Load for Loader {
    type Spec = config::Model;
    type Model = LoadedModel;

    fn validate(&self, spec: &ModelSpec<config::Model>) -> Result<u64, LoadError> {
        let model = &spec.payload;
        let avatar =
            Avatar::open(model, &self.options.keep).map_err(|error| refused(model, error))?;
        let mut networks = 0;
        for path in std::iter::once(&model.model_path).chain(&model.audio_encoder_path) {
            networks += file_bytes(path).map_err(|error| refused(model, error))?;
        }
        Ok(networks * self.options.workers.sessions as u64 + avatar.memory_bytes_max())
    }

    fn load(&self, spec: &ModelSpec<config::Model>) -> Result<Loaded<LoadedModel>, LoadError> {
        let config = &spec.payload;
        let before = resident_bytes();
        let model = LoadedModel::open(&*self.backend, config, &self.options)
            .map_err(|error| refused(config, error))?;
        let gained = resident_bytes().saturating_sub(before);
        let files = file_bytes(&config.model_path).unwrap_or(0);
        model.weigh(gained.max(files));
        let memory_bytes = model.memory_bytes_max();
        // Nobody waits for this, and it makes way for whatever else there is to do.
        model.avatar().prepare_from(0);
        self.catalog.record(&spec.id, &model);
        Ok(Loaded {
            model,
            memory_bytes,
        })
    }

    fn memory_bytes(model: &LoadedModel) -> Option<u64> {
        Some(model.memory_bytes_max())
    }

    fn dropped(&self) {
        memory::give_back();
    }
}

/// What clients are told names no path; operators get the cause.
fn refused(
    model: &config::Model,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> LoadError {
    let cause = cause.into();
    if let Some(shortage) = Shortage::behind(&*cause) {
        return LoadError::new(
            format!(
                "model {} cannot be loaded now: the server is out of {}; its files may be in order",
                model.id,
                shortage.what()
            ),
            cause,
        );
    }
    LoadError::new(
        format!(
            "model {} cannot be loaded: its files are missing or broken, see the server's log",
            model.id
        ),
        cause,
    )
}

fn file_bytes(path: &Path) -> Result<u64, String> {
    let unreadable =
        |problem: &dyn std::fmt::Display| format!("cannot read {}: {problem}", path.display());
    let data = std::fs::metadata(path).map_err(|error| unreadable(&error))?;
    // A pipe or a device would be read for ever.
    if !data.is_file() {
        return Err(unreadable(&"it is not a file"));
    }
    Ok(data.len())
}

/// Bytes of memory this process holds; 0 where the system does not say.
fn resident_bytes() -> u64 {
    memory_stats::memory_stats().map_or(0, |stats| stats.physical_mem as u64)
}
