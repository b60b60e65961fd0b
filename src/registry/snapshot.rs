//! The picture that readers get without asking the owner.
//!
//! The owner replaces it after every change. Figures that leases write are read at the moment of asking.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::registry::lease::LeaseCount;
use crate::registry::ledger::Ledger;
use crate::registry::ledger::entry::{Entry, Moment};
use crate::registry::ledger::state::{Reload, State};
use crate::registry::loader::{Load, ModelSpec};
use crate::registry::stats::{Counters, ModelSnapshot, ModelStats, Snapshot, Status, Usage};

/// What readers see.
pub(super) struct Published<S> {
    models: Vec<Model<S>>,
    resident_models: usize,
    max_models: usize,
    memory_bytes: u64,
    unplaced_bytes: u64,
    max_memory_bytes: u64,
    waiting: usize,
    counters: Counters,
}

struct Model<S> {
    spec: Arc<ModelSpec<S>>,
    configured: bool,
    status: Status,
    stale: bool,
    generation: u64,
    leases: Vec<LeaseCount>,
    usage: Arc<Usage>,
    memory_bytes: u64,
    loaded_at: Option<SystemTime>,
    last_load_time: Option<Duration>,
    load_count: u64,
}

impl<S> Published<S> {
    pub(super) fn new<L: Load<Spec = S>>(ledger: &Ledger<L>, now: Moment) -> Self {
        let usage = ledger.usage();
        Self {
            models: ledger.entries.iter().map(|s| Model::new(s, now)).collect(),
            resident_models: usage.models,
            max_models: ledger.limits.max_models,
            memory_bytes: usage.bytes,
            unplaced_bytes: ledger.entries.iter().map(Entry::unplaced_bytes).sum(),
            max_memory_bytes: ledger.limits.max_memory_bytes,
            waiting: ledger.waiting(),
            counters: ledger.counters.clone(),
        }
    }

    pub(super) fn specs(&self) -> Vec<Arc<ModelSpec<S>>> {
        let configured = self.models.iter().filter(|model| model.configured);
        configured.map(|model| Arc::clone(&model.spec)).collect()
    }

    pub(super) fn spec(&self, id: &str) -> Option<Arc<ModelSpec<S>>> {
        let model = self.models.iter().find(|model| &*model.spec.id == id)?;
        model.configured.then(|| Arc::clone(&model.spec))
    }

    pub(super) fn model(&self, id: &str) -> Option<ModelSnapshot> {
        let model = self.models.iter().find(|model| &*model.spec.id == id)?;
        Some(model.snapshot())
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let models: Vec<_> = self.models.iter().map(Model::snapshot).collect();
        Snapshot {
            loaded_models: models.iter().filter(|model| model.loaded()).count(),
            models,
            resident_models: self.resident_models,
            max_models: self.max_models,
            memory_bytes: self.memory_bytes,
            unplaced_bytes: self.unplaced_bytes,
            max_memory_bytes: self.max_memory_bytes,
            waiting: self.waiting,
            counters: self.counters.clone(),
        }
    }
}

impl<S> Model<S> {
    fn new<L: Load<Spec = S>>(entry: &Entry<L>, now: Moment) -> Self {
        let generation = entry.state.generation();
        Self {
            spec: Arc::clone(&entry.spec),
            configured: entry.configured,
            status: status(entry, now),
            stale: entry.stale(),
            generation: generation.map_or(0, |g| g.number),
            leases: entry
                .generations_held()
                .map(|(g, _)| g.count.clone())
                .collect(),
            usage: Arc::clone(&entry.usage),
            memory_bytes: entry.memory_bytes(),
            loaded_at: generation.map(|g| g.loaded_wall),
            last_load_time: entry.last_load_time,
            load_count: entry.load_count,
        }
    }

    fn snapshot(&self) -> ModelSnapshot {
        ModelSnapshot {
            id: Arc::clone(&self.spec.id),
            status: self.status.clone(),
            leases: self.leases.iter().map(LeaseCount::held).sum(),
            generation: self.generation,
            stale: self.stale,
            stats: ModelStats {
                usage_count: self.usage.frames(),
                last_used: self.usage.last_used(),
                total_inference_time: self.usage.inference_time(),
                memory_bytes: self.memory_bytes,
                loaded_at: self.loaded_at,
                last_load_time: self.last_load_time,
                load_count: self.load_count,
            },
        }
    }
}

fn status<L: Load>(entry: &Entry<L>, now: Moment) -> Status {
    match &entry.state {
        State::Unloaded => Status::Unloaded,
        State::Loading { .. } => Status::Loading,
        State::Ready { reload, .. } => Status::Ready {
            reloading: matches!(reload, Reload::Running { .. }),
        },
        State::Draining { .. } => Status::Draining,
        State::Failed(failure) => Status::Failed {
            error: failure.error.clone(),
            failures: failure.failures,
            retry_at: now.wall + failure.retry_at.saturating_duration_since(now.at),
        },
    }
}
