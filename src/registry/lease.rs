//! The right to use one generation of a model, for as long as it is held.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::stats::Usage;

/// One generation of a model, kept in memory until this is dropped.
///
/// It may be moved to and dropped on any thread, inside or outside the runtime: dropping neither blocks nor
/// allocates, and cannot be lost.
pub struct Lease<M> {
    // Order matters: the model's reference goes before the count, so when the owner sees no lease, it holds
    // the only reference and decides on which thread the model is taken apart.
    model: Arc<M>,
    _count: CountedLease,
    usage: Arc<Usage>,
    generation: u64,
    load_time: Option<Duration>,
}

impl<M> Lease<M> {
    pub(super) fn new(
        model: Arc<M>,
        count: CountedLease,
        usage: Arc<Usage>,
        generation: u64,
        load_time: Option<Duration>,
    ) -> Self {
        Self {
            model,
            _count: count,
            usage,
            generation,
            load_time,
        }
    }

    /// Adds to the model's figures: frames really inferred, and their time in the network without queueing.
    pub fn record(&self, frames: u64, inference_time: Duration) {
        self.usage.record(frames, inference_time, Instant::now());
    }

    /// How long the model took to load if this lease caused or waited for that; `None` if it was ready.
    #[must_use]
    pub fn load_time(&self) -> Option<Duration> {
        self.load_time
    }

    /// Which load of this model this is, counted from 1.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl<M> Deref for Lease<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.model
    }
}

impl<M> fmt::Debug for Lease<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("generation", &self.generation)
            .field("load_time", &self.load_time)
            .finish_non_exhaustive()
    }
}

/// Counts the leases of one generation.
///
/// Only the owner task adds, anyone may subtract: a count the owner sees at zero stays zero until the owner
/// itself grants another lease, so "idle" cannot change under its feet. The last subtraction wakes the owner.
/// That takes no message, hence no queue that could be full: a release can neither block nor be lost, and any
/// number of wake-ups in a row are one.
#[derive(Clone, Debug)]
pub(super) struct LeaseCount {
    held: Arc<AtomicUsize>,
    owner: Arc<Notify>,
}

impl LeaseCount {
    pub(super) fn new(owner: Arc<Notify>) -> Self {
        Self {
            held: Arc::default(),
            owner,
        }
    }

    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }

    /// For the owner task only.
    pub(super) fn grant(&self) -> CountedLease {
        self.held.fetch_add(1, Ordering::Relaxed);
        CountedLease(self.clone())
    }
}

/// One unit of a [`LeaseCount`].
#[derive(Debug)]
pub(super) struct CountedLease(LeaseCount);

impl Drop for CountedLease {
    fn drop(&mut self) {
        // Release: everything done with the model happens before the owner, which reads with Acquire, lets it go.
        if self.0.held.fetch_sub(1, Ordering::Release) == 1 {
            self.0.owner.notify_one();
        }
    }
}
