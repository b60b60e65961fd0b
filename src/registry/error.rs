//! What can go wrong between a caller and the registry.

use std::sync::Arc;
use std::time::Duration;

use crate::registry::loader::LoadError;

/// Why a lease, load or unload was refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RegistryError {
    /// No such model is configured (any more).
    #[error("unknown model {id:?}; `models list` shows the configured ones")]
    UnknownModel {
        /// The name asked for.
        id: Arc<str>,
    },
    /// No room, and no idle model to evict within the configured wait.
    #[error(
        "capacity full and eviction failed: every loaded model is in use; retry in {} ms or raise capacity.max_models or capacity.max_memory_gb",
        retry_after.as_millis()
    )]
    CapacityFull {
        /// When a retry is worth while.
        retry_after: Duration,
    },
    /// The model does not fit the memory budget even alone.
    #[error(
        "model {id:?} needs {needed_bytes} bytes but capacity.max_memory_gb allows {budget_bytes}; raise the budget or lower the model's memory_estimate_mb"
    )]
    TooLarge {
        /// The model.
        id: Arc<str>,
        /// What it needs.
        needed_bytes: u64,
        /// What there is in all.
        budget_bytes: u64,
    },
    /// The load failed, now or at the last attempt less than the back-off ago.
    #[error("loading model {id:?} failed: {error}")]
    LoadFailed {
        /// The model.
        id: Arc<str>,
        /// Why.
        error: LoadError,
        /// Until then the registry answers with the same error instead of trying again.
        retry_after: Duration,
    },
    /// Too many callers wait for loads already.
    #[error("{limit} requests wait for models to load already; retry in {} ms", retry_after.as_millis())]
    TooManyWaiting {
        /// The configured bound.
        limit: usize,
        /// When a retry is worth while.
        retry_after: Duration,
    },
    /// The server is ending.
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// Why a set of models and limits was refused; nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigureError {
    /// Two models have one name.
    #[error("model {id:?} is configured twice")]
    DuplicateModel {
        /// The name.
        id: Arc<str>,
    },
    /// A limit is zero that must not be.
    #[error("{name} must be at least 1")]
    ZeroLimit {
        /// Which one.
        name: &'static str,
    },
    /// A duration or score is out of its range.
    #[error("{name} must be longer than zero")]
    ZeroDuration {
        /// Which one.
        name: &'static str,
    },
    /// The registry has been shut down.
    #[error("the server is shutting down")]
    ShuttingDown,
}
