//! What is known of each model since it was last loaded; it outlives the model.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::Plan;
use crate::frame::Size;
use crate::pipeline::LoadedModel;
use crate::workers::{WorkerStats, WorkersWatch};

/// What a model showed when it was last loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Size of its frames.
    pub size: Size,
    /// How many backgrounds it has.
    pub frames: usize,
    /// By which plan its network runs.
    pub plan: Plan,
}

/// What is known of the models loaded so far; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ModelFacts {
    entries: Arc<Mutex<HashMap<Arc<str>, Entry>>>,
}

#[derive(Debug)]
struct Entry {
    facts: Facts,
    /// The workers of generations that may still run.
    workers: Vec<WorkersWatch>,
    /// The sum of those that have ended.
    past: WorkerStats,
}

impl Entry {
    fn work(&self) -> WorkerStats {
        let mut sum = self.past;
        for workers in &self.workers {
            sum += workers.stats();
        }
        sum
    }
}

impl ModelFacts {
    /// Notes a generation that was just loaded.
    pub(super) fn record(&self, id: &Arc<str>, model: &LoadedModel) {
        let facts = Facts {
            size: model.avatar().size(),
            frames: model.avatar().frames(),
            plan: model.generator().plan(),
        };
        let mut entries = self.lock();
        let entry = entries.entry(Arc::clone(id)).or_insert_with(|| Entry {
            facts,
            workers: Vec::new(),
            past: WorkerStats::default(),
        });
        entry.facts = facts;
        for ended in entry.workers.extract_if(.., |workers| workers.has_ended()) {
            entry.past += ended.stats();
        }
        entry.past.sessions = 0;
        entry.workers.push(model.generator().watch());
    }

    /// What the model showed when it was last loaded; `None` if it never was.
    #[must_use]
    pub fn facts(&self, id: &str) -> Option<Facts> {
        self.lock().get(id).map(|entry| entry.facts)
    }

    /// What the workers of each model have done since the start, over all its generations, by name.
    #[must_use]
    pub fn work(&self) -> Vec<(Arc<str>, WorkerStats)> {
        let mut work: Vec<_> = self
            .lock()
            .iter()
            .map(|(id, entry)| (Arc::clone(id), entry.work()))
            .collect();
        work.sort_by(|(a, _), (b, _)| a.cmp(b));
        work
    }

    /// What the workers of one model have done since the start; `None` if it was never loaded.
    #[must_use]
    pub fn work_of(&self, id: &str) -> Option<WorkerStats> {
        self.lock().get(id).map(Entry::work)
    }

    /// Forgets a model.
    pub fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Entry>> {
        // Every change is a single step, so a panic elsewhere cannot have left half of one.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
