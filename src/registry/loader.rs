//! What the registry asks of the code that really loads a model, and what it is told about each model.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::shortage::Shortage;

/// Loads models. The registry knows nothing of networks, images or config files beyond this trait.
///
/// `validate`, `load` and `dropped` run on blocking threads and may take seconds; a panic in the first two counts as a
/// failed load. The owner calls `memory_bytes` itself, on an async thread: it must answer at once.
pub trait Load: Send + Sync + 'static {
    /// What the loader needs to know of one model: paths, geometry, options.
    type Spec: Send + Sync + 'static;
    /// One generation of a loaded model: session, rects and backgrounds together.
    type Model: Send + Sync + 'static;

    /// Checks the model's files as thoroughly as is possible without holding the model in memory, and
    /// estimates the bytes it will take (at least the size of its network file).
    ///
    /// Nothing is evicted for a model that fails here.
    ///
    /// # Errors
    /// When a file is missing, broken or does not fit the others.
    fn validate(&self, spec: &ModelSpec<Self::Spec>) -> Result<u64, LoadError>;

    /// Loads the model and measures what it takes.
    ///
    /// # Errors
    /// When the model cannot be used; whatever was allocated must be gone by the time this returns.
    fn load(&self, spec: &ModelSpec<Self::Spec>) -> Result<Loaded<Self::Model>, LoadError>;

    /// Called after a model was dropped, on the same thread: the place to give memory back to the system.
    fn dropped(&self) {}

    /// Bytes the model may take from now on, for one that needed more while it was settling in than it keeps.
    /// Only less than [`Loaded::memory_bytes`] counts: what is promised is not exceeded later.
    fn memory_bytes(model: &Self::Model) -> Option<u64> {
        let _ = model;
        None
    }
}

/// One configured model.
#[derive(Debug)]
pub struct ModelSpec<S> {
    /// The name clients use.
    pub id: Arc<str>,
    /// Changes whenever anything that matters for the loaded model changes (a hash of its config will do).
    pub fingerprint: u64,
    /// The model is counted with at least this many bytes (`memory_estimate_mb`).
    pub memory_floor_bytes: u64,
    /// Whether [`Registry::preload`](crate::registry::Registry::preload) loads it.
    pub preload: bool,
    /// The loader's own knowledge.
    pub payload: S,
}

/// A freshly loaded model.
#[derive(Debug)]
pub struct Loaded<M> {
    /// The model.
    pub model: M,
    /// What it takes, measured.
    pub memory_bytes: u64,
}

/// Why a model could not be loaded. Cheap to clone: every waiting caller gets one.
#[derive(Clone, Debug)]
pub struct LoadError {
    public: Arc<str>,
    source: Arc<dyn Error + Send + Sync>,
}

impl LoadError {
    /// `public` may be shown to any client, so it names no server path; `source` has the details for operators.
    pub fn new(
        public: impl Into<Arc<str>>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            public: public.into(),
            source: Arc::from(source.into()),
        }
    }

    /// What the process was out of, if that is why.
    #[must_use]
    pub(crate) fn shortage(&self) -> Option<Shortage> {
        Shortage::behind(&*self.source)
    }

    /// The message any client may see.
    #[must_use]
    pub fn public(&self) -> &str {
        &self.public
    }

    /// The cause with all its own causes, joined by `: `. For logs and admins: it may name server paths.
    #[must_use]
    pub fn detail(&self) -> String {
        let mut text = self.source.to_string();
        let mut cause = self.source.source();
        while let Some(error) = cause {
            let next = error.to_string();
            // Many errors repeat their cause's text in their own.
            if !text.ends_with(&next) {
                text.push_str(": ");
                text.push_str(&next);
            }
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.public)
    }
}

impl Error for LoadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detail_joins_causes_and_skips_repeats() {
        let inner = LoadError::new("inner", "disk on fire");
        let outer = LoadError::new("model bob is broken", inner);
        assert_eq!(outer.public(), "model bob is broken");
        assert_eq!(outer.to_string(), "model bob is broken");
        assert_eq!(outer.detail(), "inner: disk on fire");
        let repeated = LoadError::new("x", std::io::Error::other("no such file"));
        assert_eq!(repeated.detail(), "no such file");
    }
}
