//! What is queued and what runs: plain data behind the lock of [`Shared`](crate::workers::shared::Shared).

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::engine::{Cancel, InferenceError};
use crate::workers::buffers::Prediction;
use crate::workers::queue::FairQueue;
use crate::workers::turns::Turn;
use crate::workers::{FrameInput, WorkerStats};

pub(super) type FrameReply = oneshot::Sender<Result<Prediction, InferenceError>>;

/// A frame that waits.
pub(super) struct QueuedFrame {
    pub(super) frame: FrameInput,
    pub(super) reply: FrameReply,
    pub(super) queued_at: Instant,
}

impl QueuedFrame {
    pub(super) fn is_expired(&self, now: Instant) -> bool {
        self.frame.deadline.is_some_and(|deadline| deadline <= now)
    }
}

/// Who waits for one frame of a run.
pub(super) struct FrameWaiter {
    pub(super) id: u64,
    pub(super) reply: FrameReply,
    pub(super) deadline: Option<Instant>,
    pub(super) queued_at: Instant,
}

/// A run under way.
pub(super) struct Run {
    /// One entry a frame; `None` once its caller has an answer or has gone away.
    pub(super) waiters: Vec<Option<FrameWaiter>>,
    pub(super) cancel: Cancel,
    pub(super) started: Instant,
    /// Set when the run has been told to stop because it took too long: when to give the thread up.
    pub(super) give_up_at: Option<Instant>,
    /// Given back when the run has ended or its thread is given up.
    pub(super) turn: Turn,
}

impl Run {
    /// Stops the run if nobody waits for any of its frames.
    pub(super) fn stop_if_unwanted(&self) {
        if self.waiters.iter().all(Option::is_none) {
            self.cancel.cancel();
        }
    }
}

/// The place of one session. Its generation goes up when its thread is given up; a thread of an older generation
/// finds that out when it comes back, and ends.
#[derive(Default)]
pub(super) struct SessionSlot {
    pub(super) generation: u64,
    pub(super) run: Option<Run>,
    /// Why the last attempt to open a session failed, while there is none.
    pub(super) down: Option<String>,
}

pub(super) struct WorkState {
    pub(super) queue: FairQueue<QueuedFrame>,
    /// What a frame takes of a session, as of late.
    pub(super) frame_cost: Duration,
    pub(super) slots: Vec<SessionSlot>,
    pub(super) next_id: u64,
    pub(super) closing: bool,
    /// Threads that have not ended.
    pub(super) threads: usize,
    /// When the supervisor looks next by itself.
    pub(super) supervisor_wakes: Option<Instant>,
    pub(super) stats: WorkerStats,
}

/// A batch handed to a session thread.
pub(super) struct Taken {
    pub(super) frames: Vec<FrameInput>,
    pub(super) cancel: Cancel,
}

/// What a run took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RunTimes {
    /// Making and laying out its inputs.
    pub(super) visual: Duration,
    /// The network alone.
    pub(super) inference: Duration,
}

/// A slot whose thread was given up, for the supervisor to fill again.
pub(super) struct Vacancy {
    pub(super) slot: usize,
    pub(super) generation: u64,
}

impl WorkState {
    /// Why there is no session, if there is none.
    pub(super) fn no_session(&self) -> Option<String> {
        self.slots
            .iter()
            .map(|slot| slot.down.clone())
            .collect::<Option<Vec<_>>>()
            .and_then(|reasons| reasons.into_iter().next())
    }
}

/// Answers all callers of a run with the same error.
pub(super) fn fail(waiters: Vec<Option<FrameWaiter>>, error: &InferenceError) {
    for waiter in waiters.into_iter().flatten() {
        let _ = waiter.reply.send(Err(error.clone()));
    }
}
