//! Whether the other end of a WebSocket is still there: it is asked by a ping when it has been silent for a while, as
//! HTTP/2 asks the clients of gRPC, by the same two keys.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// Ask with a ping.
    Ping,
    /// The ping was not answered in time: nobody is there.
    Lost,
}

/// Listens for signs of life.
#[derive(Debug)]
pub(super) struct Keepalive {
    /// `None`: nobody is asked.
    interval: Option<Duration>,
    timeout: Duration,
    heard: Mutex<Heard>,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    last: Instant,
    /// When the last ping was due, unless something has been heard since.
    asked: Option<Instant>,
    /// A message waits to be taken, so nothing behind it is read: silence says nothing.
    is_held_up: bool,
}

impl Keepalive {
    /// Asks after `interval` of silence, and gives up `timeout` after that.
    pub(super) fn new(interval: Option<Duration>, timeout: Duration) -> Self {
        let heard = Heard {
            last: Instant::now(),
            asked: None,
            is_held_up: false,
        };
        Self {
            interval,
            timeout,
            heard: Mutex::new(heard),
        }
    }

    /// Something came.
    pub(super) fn heard(&self) {
        self.change(|heard| {
            heard.last = Instant::now();
            heard.asked = None;
        });
    }

    /// Whether what came has to wait before more is read.
    pub(super) fn held_up(&self, is_held_up: bool) {
        self.change(|heard| {
            heard.is_held_up = is_held_up;
            heard.last = Instant::now();
            heard.asked = None;
        });
    }

    /// How long a message to the client may take to leave; `None` is for ever.
    pub(super) fn send_limit(&self) -> Option<Duration> {
        Some(self.interval? + self.timeout)
    }

    /// Waits for what is due next. Nothing is lost if this is dropped.
    pub(super) async fn beat(&self) -> Beat {
        let Some(interval) = self.interval else {
            return std::future::pending().await;
        };
        loop {
            let heard = self.change(|heard| *heard);
            let (due, beat) = match heard.asked {
                Some(asked) => (asked + self.timeout, Beat::Lost),
                None => (heard.last + interval, Beat::Ping),
            };
            let now = Instant::now();
            if now < due {
                tokio::time::sleep_until(due).await;
            } else if heard.is_held_up {
                tokio::time::sleep(interval).await;
            } else {
                if beat == Beat::Ping {
                    self.change(|heard| heard.asked = Some(now));
                }
                return beat;
            }
        }
    }

    fn change<R>(&self, change: impl FnOnce(&mut Heard) -> R) -> R {
        change(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);
    const TIMEOUT: Duration = Duration::from_secs(20);

    async fn is_quiet(keepalive: &Keepalive, time: Duration) -> bool {
        tokio::time::timeout(time, keepalive.beat()).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_asked_and_then_given_up() {
        let keepalive = Keepalive::new(Some(INTERVAL), TIMEOUT);
        let start = Instant::now();
        assert_eq!(keepalive.beat().await, Beat::Ping);
        assert_eq!(start.elapsed(), INTERVAL);
        assert_eq!(keepalive.beat().await, Beat::Lost);
        assert_eq!(start.elapsed(), INTERVAL + TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_answers_or_has_to_wait_is_kept() {
        let keepalive = Keepalive::new(Some(INTERVAL), TIMEOUT);
        assert_eq!(keepalive.beat().await, Beat::Ping);
        tokio::time::sleep(TIMEOUT / 2).await;
        keepalive.heard();
        assert!(is_quiet(&keepalive, INTERVAL / 2).await);
        keepalive.held_up(true);
        assert!(is_quiet(&keepalive, 100 * INTERVAL).await);
        keepalive.held_up(false);
        assert_eq!(keepalive.beat().await, Beat::Ping);
        let off = Keepalive::new(None, TIMEOUT);
        assert!(is_quiet(&off, 100 * INTERVAL).await);
        assert_eq!(off.send_limit(), None);
    }
}
