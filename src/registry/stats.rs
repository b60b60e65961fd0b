//! Figures that survive unloading, and the picture of the whole registry that readers get.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::registry::loader::LoadError;

/// What one model has done since it was first configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelStats {
    /// Frames inferred.
    pub usage_count: u64,
    /// Last lease taken, frame recorded or lease ended.
    pub last_used: Option<SystemTime>,
    /// Time inside the network, without queueing.
    pub total_inference_time: Duration,
    /// Bytes of all its generations in memory, including what is reserved for one being loaded.
    pub memory_bytes: u64,
    /// When the present generation was loaded.
    pub loaded_at: Option<SystemTime>,
    /// How long its last successful load took.
    pub last_load_time: Option<Duration>,
    /// Successful loads.
    pub load_count: u64,
}

impl ModelStats {
    /// Mean time a frame spent in the network.
    #[must_use]
    pub fn average_inference_time(&self) -> Option<Duration> {
        (self.usage_count > 0).then(|| self.total_inference_time.div_f64(self.usage_count as f64))
    }
}

/// The counters leases write while the owner reads: plain atomics, so neither ever waits.
#[derive(Debug)]
pub(super) struct Usage {
    frames: AtomicU64,
    inference_ns: AtomicU64,
    origin: Instant,
    /// Microseconds from the origin on; 0 = never. Reckoned with the clock that is not set by anybody, or a clock put
    /// back would leave a last use in the future.
    last_used_us: AtomicU64,
}

impl Default for Usage {
    fn default() -> Self {
        Self {
            frames: AtomicU64::new(0),
            inference_ns: AtomicU64::new(0),
            origin: Instant::now(),
            last_used_us: AtomicU64::new(0),
        }
    }
}

impl Usage {
    pub(super) fn record(&self, frames: u64, inference_time: Duration, now: Instant) {
        let ns = u64::try_from(inference_time.as_nanos()).unwrap_or(u64::MAX);
        self.inference_ns.fetch_add(ns, Ordering::Relaxed);
        self.frames.fetch_add(frames, Ordering::Relaxed);
        self.touch(now);
    }

    pub(super) fn touch(&self, now: Instant) {
        let since_origin = now.saturating_duration_since(self.origin);
        let us = u64::try_from(since_origin.as_micros()).unwrap_or(u64::MAX);
        let us = us.max(1);
        self.last_used_us.fetch_max(us, Ordering::Relaxed);
    }

    pub(super) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    pub(super) fn inference_time(&self) -> Duration {
        Duration::from_nanos(self.inference_ns.load(Ordering::Relaxed))
    }

    pub(super) fn last_used(&self) -> Option<SystemTime> {
        match self.last_used_us.load(Ordering::Relaxed) {
            0 => None,
            us => {
                let at = self.origin + Duration::from_micros(us);
                SystemTime::now().checked_sub(at.elapsed())
            }
        }
    }
}

/// Where in its life a model is.
#[derive(Clone, Debug)]
pub enum Status {
    /// Not in memory.
    Unloaded,
    /// Being validated, waiting for room, or being read.
    Loading,
    /// In memory; leases are granted at once.
    Ready {
        /// A new generation is being loaded to replace this one.
        reloading: bool,
    },
    /// Leaving as soon as its last lease ends.
    Draining,
    /// The last load failed.
    Failed {
        /// Why.
        error: LoadError,
        /// Loads in a row that failed.
        failures: u32,
        /// A request will try again no sooner than this.
        retry_at: SystemTime,
    },
}

impl Status {
    /// One lower-case word for tables, logs and labels.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unloaded => "unloaded",
            Self::Loading => "loading",
            Self::Ready { reloading: true } => "reloading",
            Self::Ready { reloading: false } => "ready",
            Self::Draining => "draining",
            Self::Failed { .. } => "failed",
        }
    }
}

/// One model in a [`Snapshot`].
#[derive(Clone, Debug)]
pub struct ModelSnapshot {
    /// The model's name.
    pub id: Arc<str>,
    /// Where in its life it is.
    pub status: Status,
    /// Leases held now, on all generations.
    pub leases: usize,
    /// Which load of this model is serving, counted from 1; 0 before the first.
    pub generation: u64,
    /// The config changed since this generation was loaded; it is replaced when next idle.
    pub stale: bool,
    /// Its figures.
    pub stats: ModelStats,
}

impl ModelSnapshot {
    /// Whether requests are served without a load.
    #[must_use]
    pub fn loaded(&self) -> bool {
        matches!(self.status, Status::Ready { .. })
    }
}

/// Things counted since the start, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Successful loads.
    pub loads: u64,
    /// Failed validations and loads.
    pub load_failures: u64,
    /// Models that left memory, by reason.
    pub unloads: UnloadCounts,
    /// Callers refused, by reason.
    pub rejections: RejectionCounts,
}

/// Why models left memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnloadCounts {
    /// To make room.
    pub evicted: u64,
    /// Idle for too long.
    pub idle: u64,
    /// Asked for.
    pub requested: u64,
    /// A newer generation took over.
    pub replaced: u64,
    /// Changed in the config or gone from it.
    pub reconfigured: u64,
    /// The server ends.
    pub shutdown: u64,
}

/// Why callers were refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RejectionCounts {
    /// No room and nobody to evict.
    pub capacity_full: u64,
    /// Larger than the whole budget.
    pub too_large: u64,
    /// The queue of waiting callers was full.
    pub too_many_waiting: u64,
    /// The model's load failed, now or within the back-off.
    pub load_failed: u64,
    /// No such model.
    pub unknown_model: u64,
    /// The server ends.
    pub shutting_down: u64,
}

/// The whole registry at one moment. Making one never waits for a load.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// All configured models in config order, then those gone from the config that still drain.
    pub models: Vec<ModelSnapshot>,
    /// Models ready to serve.
    pub loaded_models: usize,
    /// Models that hold or reserve memory: what `max_models` bounds.
    pub resident_models: usize,
    /// The bound on resident models.
    pub max_models: usize,
    /// Bytes held and reserved: what `max_memory_bytes` bounds, but for `unplaced_bytes`.
    pub memory_bytes: u64,
    /// Of these, bytes of loads that measured larger than their estimate. They are there before anybody can decide
    /// about them, so they may pass the bound: until room comes back for them, or until they are dropped.
    pub unplaced_bytes: u64,
    /// The bound on bytes.
    pub max_memory_bytes: u64,
    /// Callers waiting for a load, an unload or room.
    pub waiting: usize,
    /// Counts since the start.
    pub counters: Counters,
}

impl Snapshot {
    /// The model of that name.
    #[must_use]
    pub fn model(&self, id: &str) -> Option<&ModelSnapshot> {
        self.models.iter().find(|model| &*model.id == id)
    }
}

/// Logs one line for the registry and one for each model that is loaded or was used.
pub fn log_report(snapshot: &Snapshot) {
    tracing::info!(
        loaded = snapshot.loaded_models,
        max_models = snapshot.max_models,
        memory_mb = megabytes(snapshot.memory_bytes),
        max_memory_mb = megabytes(snapshot.max_memory_bytes),
        waiting = snapshot.waiting,
        loads = snapshot.counters.loads,
        load_failures = snapshot.counters.load_failures,
        evictions = snapshot.counters.unloads.evicted,
        "registry report"
    );
    let now = SystemTime::now();
    for model in &snapshot.models {
        let stats = &model.stats;
        if !model.loaded() && stats.usage_count == 0 {
            continue;
        }
        let idle = stats.last_used.and_then(|at| now.duration_since(at).ok());
        let average = stats.average_inference_time();
        tracing::info!(
            model = %model.id,
            status = model.status.name(),
            leases = model.leases,
            memory_mb = megabytes(stats.memory_bytes),
            usage = stats.usage_count,
            last_used_seconds_ago = idle.map(|idle| idle.as_secs_f64()),
            average_inference_ms = average.map(|time| time.as_secs_f64() * 1e3),
            "model report"
        );
    }
}

/// Bytes as whole MiB, for people.
pub(super) fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}
