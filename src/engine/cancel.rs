//! A flag that stops a run, with a hook for engines that must be told.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Asks a run to stop. Clones share the flag; once set it stays set.
#[derive(Clone, Default)]
pub struct Cancel {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    cancelled: AtomicBool,
    hook: Mutex<Option<Hook>>,
}

type Hook = Box<dyn Fn() + Send>;

impl Cancel {
    /// A flag that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the flag and calls the engine's hook, if a run is under way.
    pub fn cancel(&self) {
        // The lock orders this against `while_running`: the hook is called here or not installed there.
        let hook = self
            .inner
            .hook
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !self.inner.cancelled.swap(true, Ordering::AcqRel)
            && let Some(hook) = hook.as_ref()
        {
            hook();
        }
    }

    /// Whether the flag is set.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.inner.cancelled.load(Ordering::Acquire)
    }

    /// Runs `run` with `hook` installed: a cancel during it calls the hook once.
    ///
    /// Returns `None` without running if the flag is already set.
    pub(crate) fn while_running<T>(
        &self,
        hook: impl Fn() + Send + 'static,
        run: impl FnOnce() -> T,
    ) -> Option<T> {
        {
            let mut slot = self
                .inner
                .hook
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if self.is_cancelled() {
                return None;
            }
            *slot = Some(Box::new(hook));
        }
        let _uninstall = Uninstall(self);
        Some(run())
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cancel").field(&self.is_cancelled()).finish()
    }
}

/// Takes the hook away again, also when the run panics.
struct Uninstall<'a>(&'a Cancel);

impl Drop for Uninstall<'_> {
    fn drop(&mut self) {
        *self
            .0
            .inner
            .hook
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn a_cancel_during_a_run_calls_its_hook_once() {
        let cancel = Cancel::new();
        let calls = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&calls);
        let result = cancel.while_running(
            move || {
                seen.fetch_add(1, Ordering::Relaxed);
            },
            || {
                cancel.cancel();
                cancel.cancel();
                7
            },
        );
        assert_eq!(result, Some(7));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_cancel_before_a_run_prevents_it() {
        let cancel = Cancel::new();
        cancel.cancel();
        assert_eq!(cancel.while_running(|| (), || 7), None);
    }

    #[test]
    fn a_cancel_after_a_run_does_not_call_its_hook() {
        let cancel = Cancel::new();
        let calls = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&calls);
        cancel.while_running(
            move || {
                seen.fetch_add(1, Ordering::Relaxed);
            },
            || (),
        );
        cancel.cancel();
        assert_eq!(calls.load(Ordering::Relaxed), 0);
    }
}
