//! CPU work off the async threads, never more of it at once than there are cores.

use std::num::NonZero;
use std::sync::LazyLock;

use tokio::sync::Semaphore;

static PLACES: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(cores()));

/// CPUs this process may use.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// The job panicked; what it worked on is lost, nothing else is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an internal step failed: see the server's log")]
pub struct Panicked;

/// Runs `job` on a blocking thread when a core is free. Dropping the future before that drops the job unrun.
///
/// # Errors
/// [`Panicked`] if the job did, or the runtime is shutting down.
pub async fn run<T: Send + 'static>(
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Panicked> {
    // Never closed, so acquiring only fails in theory; running without a place would still be right.
    let place = PLACES.acquire().await.ok();
    let result = tokio::task::spawn_blocking(move || {
        let _place = place;
        job()
    });
    result.await.map_err(|error| {
        tracing::error!(%error, "a pipeline step panicked");
        Panicked
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_and_frees_its_place() {
        for _ in 0..=cores() {
            assert_eq!(run(|| panic!("on purpose")).await, Err::<(), _>(Panicked));
        }
        assert_eq!(run(|| 7).await, Ok(7));
    }

    #[tokio::test]
    async fn no_more_than_the_cores_run_at_once() {
        static RUNNING: AtomicUsize = AtomicUsize::new(0);
        let jobs = (0..4 * cores()).map(|_| {
            run(|| {
                let running = RUNNING.fetch_add(1, Ordering::SeqCst) + 1;
                std::thread::yield_now();
                RUNNING.fetch_sub(1, Ordering::SeqCst);
                running
            })
        });
        for running in futures::future::join_all(jobs).await {
            assert!(running.unwrap() <= cores());
        }
    }
}
