//! The thread that keeps time: deadlines of frames, and sessions that do not come back.

use std::sync::Arc;
use std::thread;

use super::shared::Shared;
use super::thread::start_replacement;
use crate::inference::InferenceError;

/// Starts it; it ends when the workers close.
pub(super) fn start(shared: &Arc<Shared>) -> Result<(), InferenceError> {
    let guard = shared.thread_starts();
    let shared = Arc::clone(shared);
    thread::Builder::new()
        .name("infer-watch".to_owned())
        .spawn(move || {
            let _guard = guard;
            while let Some(vacancies) = shared.supervise() {
                for vacancy in vacancies {
                    tracing::error!(
                        network = %shared.network().path().display(),
                        slot = vacancy.slot,
                        "an inference session hangs; replacing it"
                    );
                    start_replacement(&shared, &vacancy);
                }
            }
        })
        .map_err(|source| InferenceError::Thread {
            source: Arc::new(source),
        })?;
    Ok(())
}
