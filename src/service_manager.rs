//! What systemd is told of a server's life: ready, reloading, stopping, and that it is still alive.
//!
//! It is asked for by the environment (`NOTIFY_SOCKET`, `WATCHDOG_USEC`), as `Type=notify` and `WatchdogSec` set it;
//! elsewhere nothing happens. See `man sd_notify`.

#[cfg(target_os = "linux")]
use std::time::Duration;

/// A turn of a server's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It serves; what is to be loaded at start is loaded.
    Ready,
    /// It reads its configuration again.
    Reloading,
    /// It ends its calls, and then itself.
    Stopping,
}

/// Says it. A service manager that cannot be told is a line in the log, and nothing else.
#[cfg(target_os = "linux")]
pub fn tell(state: State) {
    use sd_notify::NotifyState;
    let states = match state {
        State::Ready => vec![NotifyState::Ready],
        // The time tells systemd which READY ends this reload.
        State::Reloading => NotifyState::monotonic_usec_now()
            .map_or_else(|_| Vec::new(), |now| vec![NotifyState::Reloading, now]),
        State::Stopping => vec![NotifyState::Stopping],
    };
    if let Err(error) = sd_notify::notify(&states) {
        tracing::warn!(%error, ?state, "the service manager cannot be told");
    }
}

/// Says it, where there is something to say it to.
#[cfg(not(target_os = "linux"))]
pub fn tell(_state: State) {}

/// Says "alive" for ever, twice as often as the service manager asks for. A runtime that is stuck says nothing, and
/// is restarted.
#[cfg(target_os = "linux")]
pub async fn stay_alive() {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    let mut beat = tokio::time::interval((limit / 2).max(Duration::from_millis(1)));
    loop {
        beat.tick().await;
        if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]) {
            tracing::warn!(%error, "the service manager's watchdog cannot be told");
        }
    }
}

/// Says "alive", where there is something to say it to.
#[cfg(not(target_os = "linux"))]
pub async fn stay_alive() {
    std::future::pending().await
}
