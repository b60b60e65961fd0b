//! The end of a call that its client does not take.
//!
//! A handler's future can end itself, but an answer on its way is polled only while the client lets it flow: one that
//! gives no window keeps the answer's memory and the call's place for as long as it likes. So the task that carries a
//! call, answer included, is ended from outside: when its deadline has passed, or when a piece of its answer has not
//! been asked for in time. Dropping it resets the HTTP/2 stream.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

tokio::task_local! {
    static CALL: Arc<CallEnd>;
}

/// How often an answer is looked at that nothing else ends.
const LOOK: Duration = Duration::from_secs(1);

/// When the present call ends at the latest; known to its task and to whoever makes its answer.
#[derive(Debug, Default)]
pub(in crate::server) struct CallEnd {
    times: Mutex<Times>,
    changed: Notify,
}

#[derive(Clone, Copy, Debug, Default)]
struct Times {
    deadline: Option<Instant>,
    /// Since when a piece of the answer waits for the client, and how long it may.
    waits: Option<(Instant, Duration)>,
}

impl CallEnd {
    /// That of the call whose task this is; one that ends nothing outside of such a task.
    pub(in crate::server) fn current() -> Arc<Self> {
        CALL.try_with(Arc::clone).unwrap_or_default()
    }

    /// From here on the call ends at `deadline`.
    pub(in crate::server) fn set_deadline(&self, deadline: Instant) {
        self.with(|times| times.deadline = Some(deadline));
        self.changed.notify_one();
    }

    /// A piece of the answer was handed over; the next must be asked for within `limit`.
    pub(in crate::server) fn handed_over(&self, limit: Duration) {
        self.with(|times| times.waits = Some((Instant::now(), limit)));
    }

    /// The next piece was asked for.
    pub(in crate::server) fn asked(&self) {
        self.with(|times| times.waits = None);
    }

    fn with<T>(&self, change: impl FnOnce(&mut Times) -> T) -> T {
        change(&mut self.times.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until the call has to end.
    async fn reached(&self) {
        loop {
            let now = Instant::now();
            let times = self.with(|times| *times);
            let waits = times.waits.map(|(since, limit)| since + limit);
            let end = [times.deadline, waits].into_iter().flatten().min();
            if end.is_some_and(|end| end <= now) {
                return;
            }
            let look = now + LOOK;
            let wake = end.map_or(look, |end| end.min(look));
            tokio::select! {
                () = tokio::time::sleep_until(wake.into()) => (),
                () = self.changed.notified() => (),
            }
        }
    }
}

/// Runs the tasks of HTTP/2 calls, each until it is done or has to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calls;

impl<F> hyper::rt::Executor<F> for Calls
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, call: F) {
        tokio::spawn(async move {
            let end = Arc::new(CallEnd::default());
            let call = CALL.scope(Arc::clone(&end), call);
            tokio::select! {
                biased;
                _ = call => (),
                () = end.reached() => (),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use hyper::rt::Executor as _;
    use tokio::sync::oneshot;

    use super::*;

    /// Runs `call` as a connection does; gives whether it came to its end.
    async fn ran(call: impl Future<Output = ()> + Send + 'static) -> bool {
        let (done, is_done) = oneshot::channel();
        Calls.execute(async move {
            call.await;
            let _ = done.send(());
        });
        is_done.await.is_ok()
    }

    #[tokio::test]
    async fn a_call_without_limits_ends_by_itself() {
        assert!(ran(async { tokio::time::sleep(Duration::from_millis(5)).await }).await);
    }

    #[tokio::test]
    async fn a_deadline_that_is_set_on_the_way_ends_it() {
        let hanging = async {
            tokio::task::yield_now().await;
            CallEnd::current().set_deadline(Instant::now() + Duration::from_millis(20));
            std::future::pending::<()>().await;
        };
        assert!(!ran(hanging).await);
    }

    #[tokio::test]
    async fn an_answer_that_is_not_taken_ends_it_and_one_that_is_does_not() {
        let stuck = async {
            CallEnd::current().handed_over(Duration::from_millis(20));
            std::future::pending::<()>().await;
        };
        assert!(!ran(stuck).await);
        let slow = async {
            let end = CallEnd::current();
            end.handed_over(Duration::from_millis(1));
            end.asked();
            tokio::time::sleep(LOOK + Duration::from_millis(100)).await;
        };
        assert!(ran(slow).await);
    }
}
