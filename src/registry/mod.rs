//! Which models are in memory, and who may use them.
//!
//! ```text
//!  callers ── lease / load / unload ──> mailbox (bounded) ──> owner task ──> blocking threads: validate, load, drop
//!     │                                                         │    ^
//!     │                  published picture (never waits) <──────┘    └── one wake-up when a last lease ends
//!     └── Lease: one generation of a model, kept in memory until dropped
//! ```
//!
//! One task owns every lifecycle. `actor` moves messages and threads. `ledger` decides by the rules of `settle` and
//! `room`, following the edges that `state` allows one model, and `evict` names who leaves first: all of them pure,
//! with the time as an argument.
//!
//! # What holds
//! - A lease is never broken: eviction, unload, idle unload and reload wait for it.
//! - Count and bytes never exceed the [`Limits`], reserved room included. A model is validated and its size
//!   estimated before anything is evicted for it; if it measures larger than estimated, more idle models leave or
//!   the load fails. Until then it is in memory and counted ([`Snapshot::unplaced_bytes`]): the one case in which the
//!   bytes pass the limit. Lowered limits are met as soon as leases end.
//! - Loads are single-flight; different models load in parallel. Callers are served first come, first served.
//! - A reload keeps the old generation until the new one is ready, and keeps it for good when the reload fails.
//!   One exception: if both can never fit the budget together, the old one is drained first, after validation.
//! - A caller that stops waiting holds nothing. A load that nobody waits for any more is finished and kept if it
//!   has begun to read, and given up (before it evicts anything) if it still waits for room.

mod error;
mod lease;
mod ledger;
mod limits;
mod loader;
mod owner;
mod snapshot;
mod stats;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};

pub use error::{ConfigureError, RegistryError};
pub use lease::Lease;
pub use ledger::evict::Policy;
pub use limits::{Limits, Reservation};
pub use loader::{Load, LoadError, Loaded, ModelSpec};
pub use stats::{
    Counters, ModelSnapshot, ModelStats, RejectionCounts, Snapshot, Status, UnloadCounts,
    log_report,
};

use owner::Command;
use snapshot::Published;

/// Messages the owner may be behind. It never waits for anything but the next message, so this is a few
/// microseconds of work; senders beyond it wait their turn.
const MAILBOX: usize = 1024;

/// What to do when the model is loaded already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadMode {
    /// Nothing: succeed at once.
    IfAbsent,
    /// Load a new generation and let it take over; also ignores the back-off after a failure.
    Replace,
}

/// What a load did.
#[derive(Clone, Debug)]
pub struct LoadReport {
    /// The model.
    pub id: Arc<str>,
    /// The load this call caused or joined; `None` if the model was there already.
    pub load_time: Option<Duration>,
    /// The model's figures afterwards.
    pub stats: ModelStats,
}

/// How one model's preload went.
#[derive(Clone, Debug)]
pub struct PreloadReport {
    /// The model.
    pub id: Arc<str>,
    /// What happened.
    pub outcome: Result<LoadReport, RegistryError>,
}

/// What [`Registry::reconfigure`] changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReconfigureReport {
    /// Models that are new.
    pub added: Vec<Arc<str>>,
    /// Models that are gone; loaded ones leave when their leases end.
    pub removed: Vec<Arc<str>>,
    /// Models whose fingerprint changed; loaded ones are replaced when next idle.
    pub changed: Vec<Arc<str>>,
    /// Whether any limit changed.
    pub limits_changed: bool,
}

/// A handle to the registry; cheap to clone.
pub struct Registry<L: Load> {
    commands: mpsc::Sender<Command<L>>,
    published: watch::Receiver<Arc<Published<L::Spec>>>,
    owner: Arc<Notify>,
}

impl<L: Load> Registry<L> {
    /// Starts the owner task on the current runtime. Nothing is loaded yet.
    ///
    /// # Errors
    /// When two models have one name or a limit allows nothing.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(
        loader: L,
        specs: Vec<ModelSpec<L::Spec>>,
        limits: Limits,
    ) -> Result<Self, ConfigureError> {
        let (commands, mailbox) = mpsc::channel(MAILBOX);
        let owner = Arc::new(Notify::new());
        let published = owner::start(loader, specs, limits, mailbox, Arc::clone(&owner))?;
        Ok(Self {
            commands,
            published,
            owner,
        })
    }

    /// Takes a lease on a model, loading it first if need be. Dropping the future gives up the place in the queue.
    ///
    /// # Errors
    /// Unknown model, failed load, no room within the configured wait, too many waiting, shutdown.
    pub async fn lease(&self, id: &str) -> Result<Lease<L::Model>, RegistryError> {
        let id = Arc::from(id);
        self.ask(|reply| Command::Lease { id, reply }).await?
    }

    /// Loads a model; returns when it is ready.
    ///
    /// # Errors
    /// As [`lease`](Self::lease). With [`LoadMode::Replace`] an error leaves the old generation serving.
    pub async fn load(&self, id: &str, mode: LoadMode) -> Result<LoadReport, RegistryError> {
        let id = Arc::from(id);
        self.ask(|reply| Command::Load { id, mode, reply }).await?
    }

    /// Unloads a model; returns when its leases have ended and its memory is free. Requests that come meanwhile
    /// wait and cause a fresh load.
    ///
    /// # Errors
    /// Unknown model.
    pub async fn unload(&self, id: &str) -> Result<(), RegistryError> {
        let id = Arc::from(id);
        self.ask(|reply| Command::Unload { id, reply }).await?
    }

    /// Loads the models marked `preload`, one after the other in config order. A preload never evicts anything.
    pub async fn preload(&self) -> Vec<PreloadReport> {
        let mut reports = Vec::new();
        for spec in self.specs().iter().filter(|spec| spec.preload) {
            let id = Arc::clone(&spec.id);
            let outcome = self
                .ask(|reply| Command::Preload {
                    id: Arc::clone(&id),
                    reply,
                })
                .await
                .and_then(|answer| answer);
            if let Err(error) = &outcome {
                tracing::warn!(model = %id, %error, "preload failed");
            }
            reports.push(PreloadReport { id, outcome });
        }
        reports
    }

    /// Replaces the set of models and the limits, all or nothing.
    ///
    /// New models are known at once. Changed ones are replaced when next idle. Removed ones are unknown at once and
    /// leave when their leases end. Figures of models that stay are kept.
    ///
    /// # Errors
    /// When two models have one name or a limit allows nothing; then nothing has changed.
    pub async fn reconfigure(
        &self,
        specs: Vec<ModelSpec<L::Spec>>,
        limits: Limits,
    ) -> Result<ReconfigureReport, ConfigureError> {
        self.ask(|reply| Command::Reconfigure {
            specs,
            limits,
            reply,
        })
        .await
        .map_err(|_| ConfigureError::ShuttingDown)?
    }

    /// Refuses everything new, waits for all leases to end and all memory to be free. Bound it with a timeout:
    /// leases are never broken here either.
    pub async fn shutdown(&self) {
        // Err means the owner has ended already, which is what was wanted.
        let _ = self.ask(|reply| Command::Shutdown { reply }).await;
    }

    /// The whole registry now. Never waits.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.published.borrow().snapshot()
    }

    /// One model now. Never waits.
    #[must_use]
    pub fn model(&self, id: &str) -> Option<ModelSnapshot> {
        self.published.borrow().model(id)
    }

    /// The configured models in config order. Never waits.
    #[must_use]
    pub fn specs(&self) -> Vec<Arc<ModelSpec<L::Spec>>> {
        self.published.borrow().specs()
    }

    /// One configured model. Never waits.
    #[must_use]
    pub fn spec(&self, id: &str) -> Option<Arc<ModelSpec<L::Spec>>> {
        self.published.borrow().spec(id)
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command<L>,
    ) -> Result<T, RegistryError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(command(reply)).await;
        sent.map_err(|_| RegistryError::ShuttingDown)?;
        let mut waiting = Waiting {
            owner: &self.owner,
            answered: false,
        };
        let answer = answer.await;
        waiting.answered = true;
        answer.map_err(|_| RegistryError::ShuttingDown)
    }
}

impl<L: Load> Clone for Registry<L> {
    fn clone(&self) -> Self {
        Self {
            commands: self.commands.clone(),
            published: self.published.clone(),
            owner: Arc::clone(&self.owner),
        }
    }
}

impl<L: Load> fmt::Debug for Registry<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registry").field(&self.snapshot()).finish()
    }
}

/// Tells the owner when a caller stops waiting, so that it does not hold up those behind it.
struct Waiting<'a> {
    owner: &'a Notify,
    answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.owner.notify_one();
        }
    }
}

#[cfg(test)]
mod lifecycle_tests;
#[cfg(test)]
mod property_tests;
