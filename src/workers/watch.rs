//! Looking at workers from outside, for metrics: also after they have ended.

use std::fmt;
use std::ops::AddAssign;
use std::sync::{Arc, Mutex, PoisonError};

use crate::workers::WorkerStats;
use crate::workers::state::WorkState;

/// Reads the figures of workers; keeps neither their threads nor their network alive.
#[derive(Clone)]
pub struct WorkersWatch {
    state: Arc<Mutex<WorkState>>,
}

impl WorkersWatch {
    pub(super) fn new(state: Arc<Mutex<WorkState>>) -> Self {
        Self { state }
    }

    /// What the workers have done and are doing.
    #[must_use]
    pub fn stats(&self) -> WorkerStats {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        WorkerStats {
            busy: state.slots.iter().filter(|slot| slot.run.is_some()).count(),
            queued: state.queue.len(),
            visual_cache: if state.closing {
                state.stats.visual_cache.freed()
            } else {
                state.stats.visual_cache
            },
            ..state.stats
        }
    }

    /// Whether their threads have ended, so that the figures are final.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closing && state.threads == 0
    }
}

impl fmt::Debug for WorkersWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WorkersWatch").field(&self.stats()).finish()
    }
}

/// Adds up the workers of several generations.
impl AddAssign for WorkerStats {
    fn add_assign(&mut self, other: Self) {
        self.sessions += other.sessions;
        self.busy += other.busy;
        self.queued += other.queued;
        self.frames += other.frames;
        self.batches += other.batches;
        self.inference += other.inference;
        self.dropped += other.dropped;
        self.replaced += other.replaced;
        self.visual_cache += other.visual_cache;
    }
}
