//! The one owner of every lifecycle.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::error::{ConfigureError, RegistryError};
use super::lease::Lease;
use super::limits::Limits;
use super::load::{Load, ModelSpec};
use super::stats::{Counters, ModelSnapshot, Snapshot};
use super::{LoadMode, LoadReport, ReconfigureReport};

pub(super) type Reply<T> = oneshot::Sender<Result<T, RegistryError>>;

/// What callers ask of the owner.
pub(super) enum Command<L: Load> {
    Lease {
        id: Arc<str>,
        reply: Reply<Lease<L::Model>>,
    },
    Load {
        id: Arc<str>,
        mode: LoadMode,
        reply: Reply<LoadReport>,
    },
    Preload {
        id: Arc<str>,
        reply: Reply<LoadReport>,
    },
    Unload {
        id: Arc<str>,
        reply: Reply<()>,
    },
    Reconfigure {
        specs: Vec<ModelSpec<L::Spec>>,
        limits: Limits,
        reply: oneshot::Sender<Result<ReconfigureReport, ConfigureError>>,
    },
    Shutdown {
        reply: oneshot::Sender<()>,
    },
}

/// What readers see.
pub(super) struct Published<S> {
    specs: Vec<Arc<ModelSpec<S>>>,
    limits: Limits,
}

impl<S> Published<S> {
    pub(super) fn specs(&self) -> Vec<Arc<ModelSpec<S>>> {
        self.specs.clone()
    }

    pub(super) fn spec(&self, id: &str) -> Option<Arc<ModelSpec<S>>> {
        self.specs.iter().find(|spec| &*spec.id == id).cloned()
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            models: Vec::new(),
            loaded_models: 0,
            resident_models: 0,
            max_models: self.limits.max_models,
            memory_bytes: 0,
            max_memory_bytes: self.limits.max_memory_bytes,
            waiting: 0,
            counters: Counters::default(),
        }
    }

    pub(super) fn model(&self, id: &str) -> Option<ModelSnapshot> {
        self.snapshot().model(id).cloned()
    }
}

/// Starts the owner task.
pub(super) fn start<L: Load>(
    _loader: Arc<L>,
    specs: Vec<ModelSpec<L::Spec>>,
    limits: Limits,
    mut mailbox: mpsc::Receiver<Command<L>>,
    _owner: Arc<Notify>,
) -> Result<watch::Receiver<Arc<Published<L::Spec>>>, ConfigureError> {
    limits.validate()?;
    let specs = specs.into_iter().map(Arc::new).collect();
    let (publish, published) = watch::channel(Arc::new(Published { specs, limits }));
    tokio::spawn(async move {
        let _publish = publish;
        while mailbox.recv().await.is_some() {}
    });
    Ok(published)
}
