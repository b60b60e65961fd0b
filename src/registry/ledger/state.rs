//! What one model may do next.
//!
//! ```text
//!              Begin                Loaded               Drain               Released
//!  Unloaded ──────────> Loading ─────────────> Ready ───────────> Draining ───────────> Unloaded
//!     ^  ^               │ │  ^                 │ ^
//!     │  └── Abandon ────┘ │  │ Begin           │ │  Begin: a reload; the old generation serves on.
//!     │                    │  │ (a retry)       └─┘  Loaded: the new one takes over, the old one retires.
//!     │         LoadFailed v  │                      LoadFailed, Abandon: the old one stays.
//!     └────── Forget ──── Failed{error, retry_at}
//! ```
//!
//! `Abandon` ends a load for which there was no room, or for which nobody waits any more: the model is not to blame.
//! `Forget` clears a failure when the model's config changed. Every other edge is illegal and changes nothing.

use std::mem;
use std::time::Instant;

use crate::registry::limits::Limits;
use crate::registry::loader::LoadError;

/// One model's lifecycle; each state carries its data. `G` is a loaded generation, `T` a load under way.
#[derive(Debug)]
pub(in crate::registry) enum State<G, T> {
    /// Not in memory.
    Unloaded,
    /// The first generation is on its way.
    Loading { ticket: T, failures: u32 },
    /// `current` is given to everyone who asks.
    Ready { current: G, reload: Reload<T> },
    /// `current` is given to nobody any more and goes when its last lease ends.
    Draining { current: G, reason: Reason },
    /// The last load failed.
    Failed(Failure),
}

/// The next generation of a model that is serving.
#[derive(Debug)]
pub(in crate::registry) enum Reload<T> {
    None,
    Running { ticket: T, failures: u32 },
    Failed(Failure),
}

/// A failed load and when to try again.
#[derive(Clone, Debug)]
pub(in crate::registry) struct Failure {
    pub(in crate::registry) error: LoadError,
    /// Failures in a row.
    pub(in crate::registry) failures: u32,
    pub(in crate::registry) retry_at: Instant,
}

/// Why a generation leaves memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) enum Reason {
    Evicted,
    Idle,
    Requested,
    Replaced,
    Reconfigured,
    Shutdown,
    /// It measured larger than estimated and never served.
    Refused,
}

impl Reason {
    pub(in crate::registry) fn name(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::Idle => "idle",
            Self::Requested => "requested",
            Self::Replaced => "replaced",
            Self::Reconfigured => "reconfigured",
            Self::Shutdown => "shutdown",
            Self::Refused => "refused",
        }
    }
}

/// What can happen to a model.
#[derive(Debug)]
pub(in crate::registry) enum Event<G, T> {
    Begin(T),
    Loaded(G),
    LoadFailed(LoadError),
    Abandon,
    Drain(Reason),
    Released,
    Forget,
}

impl<G, T> Event<G, T> {
    fn name(&self) -> &'static str {
        match self {
            Self::Begin(_) => "begin",
            Self::Loaded(_) => "loaded",
            Self::LoadFailed(_) => "load failed",
            Self::Abandon => "abandon",
            Self::Drain(_) => "drain",
            Self::Released => "released",
            Self::Forget => "forget",
        }
    }
}

/// What a transition left over for its caller to deal with.
#[derive(Debug)]
pub(in crate::registry) struct Left<G, T> {
    /// A generation that is no longer current: replaced (to be drained) or released (gone).
    pub(in crate::registry) generation: Option<G>,
    /// The load that has ended.
    pub(in crate::registry) ticket: Option<T>,
}

impl<G, T> Left<G, T> {
    const NOTHING: Self = Self {
        generation: None,
        ticket: None,
    };

    fn ticket(ticket: T) -> Self {
        Self {
            generation: None,
            ticket: Some(ticket),
        }
    }
}

/// An edge that does not exist. The state is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a model that is {state} cannot {event}")]
pub(in crate::registry) struct Illegal {
    state: &'static str,
    event: &'static str,
}

impl<G, T> State<G, T> {
    /// Follows one edge of the diagram.
    pub(in crate::registry) fn step(
        &mut self,
        event: Event<G, T>,
        now: Instant,
        limits: &Limits,
    ) -> Result<Left<G, T>, Illegal> {
        let (next, left) = match (mem::replace(self, Self::Unloaded), event) {
            // ## Unloaded => Loading
            (Self::Unloaded, Event::Begin(ticket)) => {
                let failures = 0;
                (Self::Loading { ticket, failures }, Left::NOTHING)
            }
            // ## Failed => Loading: whether the back-off is over is the caller's business, an operator may ignore it.
            (Self::Failed(Failure { failures, .. }), Event::Begin(ticket)) => {
                (Self::Loading { ticket, failures }, Left::NOTHING)
            }
            // ## Failed => Unloaded
            (Self::Failed(_), Event::Forget) => (Self::Unloaded, Left::NOTHING),
            // ## Loading => (Ready | Failed | Unloaded)
            (Self::Loading { ticket, .. }, Event::Loaded(current)) => {
                let reload = Reload::None;
                (Self::Ready { current, reload }, Left::ticket(ticket))
            }
            (Self::Loading { ticket, failures }, Event::LoadFailed(error)) => {
                let failure = Failure::after(failures, error, now, limits);
                (Self::Failed(failure), Left::ticket(ticket))
            }
            (Self::Loading { ticket, .. }, Event::Abandon) => {
                (Self::Unloaded, Left::ticket(ticket))
            }
            // ## Ready => Draining, unless a reload is under way: its callers are owed an answer first.
            (
                Self::Ready {
                    current,
                    reload: Reload::None | Reload::Failed(_),
                },
                Event::Drain(reason),
            ) => (Self::Draining { current, reason }, Left::NOTHING),
            // ## Ready => Ready: the reload's course
            (Self::Ready { current, reload }, event) => {
                return self.step_reload(current, reload, event, now, limits);
            }
            // ## Draining => Unloaded
            (Self::Draining { current, .. }, Event::Released) => {
                let left = Left {
                    generation: Some(current),
                    ticket: None,
                };
                (Self::Unloaded, left)
            }
            (state, event) => return Err(self.refuse(state, &event)),
        };
        *self = next;
        Ok(left)
    }

    fn step_reload(
        &mut self,
        current: G,
        reload: Reload<T>,
        event: Event<G, T>,
        now: Instant,
        limits: &Limits,
    ) -> Result<Left<G, T>, Illegal> {
        let (current, reload, left) = match (reload, event) {
            (Reload::None, Event::Begin(ticket)) => {
                let failures = 0;
                let reload = Reload::Running { ticket, failures };
                (current, reload, Left::NOTHING)
            }
            (Reload::Failed(Failure { failures, .. }), Event::Begin(ticket)) => {
                let reload = Reload::Running { ticket, failures };
                (current, reload, Left::NOTHING)
            }
            (Reload::Failed(_), Event::Forget) => (current, Reload::None, Left::NOTHING),
            (Reload::Running { ticket, .. }, Event::Loaded(new)) => {
                let left = Left {
                    generation: Some(current),
                    ticket: Some(ticket),
                };
                (new, Reload::None, left)
            }
            (Reload::Running { ticket, failures }, Event::LoadFailed(error)) => {
                let failure = Failure::after(failures, error, now, limits);
                (current, Reload::Failed(failure), Left::ticket(ticket))
            }
            (Reload::Running { ticket, .. }, Event::Abandon) => {
                (current, Reload::None, Left::ticket(ticket))
            }
            (reload, event) => {
                return Err(self.refuse(Self::Ready { current, reload }, &event));
            }
        };
        *self = Self::Ready { current, reload };
        Ok(left)
    }

    fn refuse(&mut self, state: Self, event: &Event<G, T>) -> Illegal {
        *self = state;
        Illegal {
            state: self.name(),
            event: event.name(),
        }
    }

    /// One lower-case word.
    pub(in crate::registry) fn name(&self) -> &'static str {
        match self {
            Self::Unloaded => "unloaded",
            Self::Loading { .. } => "loading",
            Self::Ready {
                reload: Reload::Running { .. },
                ..
            } => "reloading",
            Self::Ready { .. } => "ready",
            Self::Draining { .. } => "draining",
            Self::Failed(_) => "failed",
        }
    }

    /// The load under way.
    pub(in crate::registry) fn ticket(&self) -> Option<&T> {
        match self {
            Self::Loading { ticket, .. }
            | Self::Ready {
                reload: Reload::Running { ticket, .. },
                ..
            } => Some(ticket),
            _ => None,
        }
    }

    /// The load under way.
    pub(in crate::registry) fn ticket_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Loading { ticket, .. }
            | Self::Ready {
                reload: Reload::Running { ticket, .. },
                ..
            } => Some(ticket),
            _ => None,
        }
    }

    /// The generation in memory, serving or draining.
    pub(in crate::registry) fn generation(&self) -> Option<&G> {
        match self {
            Self::Ready { current, .. } | Self::Draining { current, .. } => Some(current),
            _ => None,
        }
    }

    /// Why and until when the next load must wait.
    pub(in crate::registry) fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure)
            | Self::Ready {
                reload: Reload::Failed(failure),
                ..
            } => Some(failure),
            _ => None,
        }
    }
}

impl Failure {
    fn after(earlier: u32, error: LoadError, now: Instant, limits: &Limits) -> Self {
        let failures = earlier.saturating_add(1);
        Self {
            error,
            failures,
            retry_at: now + limits.backoff(failures),
        }
    }
}
