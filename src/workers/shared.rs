//! What the callers, the session threads and the supervisor share, behind one lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::{Cancel, GeneratorNetwork, InferenceError};
use crate::workers::buffers::{Buffer, Buffers, Prediction};
use crate::workers::queue::FairQueue;
use crate::workers::state::{
    FrameWaiter, QueuedFrame, Run, RunTimes, SessionSlot, Taken, WorkState, fail,
};
use crate::workers::turns::{Line, Turn};
use crate::workers::watch::WorkersWatch;
use crate::workers::{WorkerOptions, WorkerStats};

/// What a frame is taken to cost before one has been measured.
const FRAME_COST_FIRST: Duration = Duration::from_millis(20);

/// See the module's head.
pub(super) struct Shared {
    network: Arc<dyn GeneratorNetwork>,
    options: WorkerOptions,
    max_batch: usize,
    buffers: Arc<Buffers>,
    state: Arc<Mutex<WorkState>>,
    /// Where this network stands in the list of turns.
    line: Line,
    /// Said before `work` and `line` are woken to end.
    is_closing: AtomicBool,
    /// Session threads wait here for frames.
    work: Condvar,
    /// The supervisor waits here for something earlier than it knows of.
    pub(super) watch: Condvar,
    /// `close` waits here for the threads to end, and threads without a session to try again.
    ended: Condvar,
}

impl Shared {
    pub(super) fn new(network: Arc<dyn GeneratorNetwork>, options: WorkerOptions) -> Self {
        let sessions = options.sessions.max(1);
        let max_batch = options.max_batch.min(network.max_batch()).max(1);
        let mut slots = Vec::new();
        slots.resize_with(sessions, SessionSlot::default);
        let stats = WorkerStats {
            sessions,
            ..WorkerStats::default()
        };
        Self {
            max_batch,
            // One a session being filled, and as many again on their way through the compositor.
            buffers: Buffers::new(2 * sessions + 2),
            state: Arc::new(Mutex::new(WorkState {
                queue: FairQueue::new(options.queue_frames),
                frame_cost: FRAME_COST_FIRST,
                slots,
                next_id: 0,
                closing: false,
                threads: 0,
                supervisor_wakes: None,
                stats,
            })),
            line: Line::new(Arc::clone(&options.turns)),
            is_closing: AtomicBool::new(false),
            network,
            options,
            work: Condvar::new(),
            watch: Condvar::new(),
            ended: Condvar::new(),
        }
    }

    pub(super) fn network(&self) -> &dyn GeneratorNetwork {
        &*self.network
    }

    pub(super) fn options(&self) -> &WorkerOptions {
        &self.options
    }

    pub(super) fn max_batch(&self) -> usize {
        self.max_batch
    }

    pub(super) fn buffer(&self, frames: usize) -> Buffer {
        self.buffers.take(frames)
    }

    pub(super) fn watch(&self) -> WorkersWatch {
        WorkersWatch::new(Arc::clone(&self.state))
    }

    /// No code that can panic runs under the lock, so a poisoned one still holds a consistent state.
    pub(super) fn lock(&self) -> MutexGuard<'_, WorkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a frame and gives its number.
    pub(super) fn enqueue(&self, job: QueuedFrame) -> Result<u64, InferenceError> {
        let mut state = self.lock();
        if state.closing {
            return Err(InferenceError::Cancelled);
        }
        if let Some(reason) = state.no_session() {
            return Err(self.no_worker(reason));
        }
        if job.is_expired(Instant::now()) {
            state.stats.dropped += 1;
            return Err(InferenceError::DeadlineExceeded);
        }
        let (flow, deadline) = (job.frame.flow, job.frame.deadline);
        let id = state.next_id;
        let full = || InferenceError::QueueFull {
            limit: self.options.queue_frames,
        };
        let pushed = state.queue.push(flow, id, job, |flow| self.line.rule(flow));
        if let Some(displaced) = pushed.map_err(|_| full())? {
            let _ = displaced.reply.send(Err(full()));
        }
        self.line.offer(state.queue.flows());
        state.next_id += 1;
        if let Some(deadline) = deadline {
            self.wake_supervisor(&mut state, deadline);
        }
        self.work.notify_one();
        Ok(id)
    }

    /// The caller of a frame went away.
    pub(super) fn abandon(&self, flow: u64, id: u64) {
        let mut state = self.lock();
        if state.queue.remove(flow, id).is_some() {
            state.stats.dropped += 1;
            self.line.offer(state.queue.flows());
            return;
        }
        for run in state.slots.iter_mut().filter_map(|slot| slot.run.as_mut()) {
            for waiter in &mut run.waiters {
                if waiter.as_ref().is_some_and(|waiter| waiter.id == id) {
                    *waiter = None;
                    run.stop_if_unwanted();
                    return;
                }
            }
        }
    }

    /// Waits for frames and starts a run with them; `None` when the thread must end.
    pub(super) fn take(&self, slot: usize, generation: u64) -> Option<Taken> {
        let mut state = self.lock();
        loop {
            if state.closing || state.slots[slot].generation != generation {
                return None;
            }
            let now = Instant::now();
            match self.batch_is_due_at(&state) {
                None => {
                    state = self
                        .work
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                Some(due) if due > now => {
                    let wait = due - now;
                    state = self
                        .work
                        .wait_timeout(state, wait)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                }
                Some(_) => {
                    drop(state);
                    let turn = self.line.wait(|| self.is_closing.load(Ordering::Acquire));
                    state = self.lock();
                    let is_over = state.closing || state.slots[slot].generation != generation;
                    if let Some(turn) = turn
                        && !is_over
                        && let Some(taken) = self.start_run(&mut state, slot, turn)
                    {
                        return Some(taken);
                    }
                }
            }
        }
    }

    /// When what is queued should run: at once if it fills a batch, else when its oldest frame has waited enough.
    fn batch_is_due_at(&self, state: &WorkState) -> Option<Instant> {
        let oldest = state.queue.fronts().map(|job| job.queued_at).min()?;
        if self.max_batch == 1 || state.queue.len() >= self.max_batch {
            Some(oldest)
        } else {
            Some(oldest + self.options.batch_delay)
        }
    }

    /// Moves up to a batch of frames from the queue into the slot; `None` if all of them had expired.
    fn start_run(&self, state: &mut WorkState, slot: usize, turn: Turn) -> Option<Taken> {
        let now = Instant::now();
        let cost = state.frame_cost;
        let mut frames = Vec::with_capacity(self.max_batch);
        let mut waiters = Vec::with_capacity(self.max_batch);
        while frames.len() < self.max_batch
            && let Some((flow, id, job)) = state.queue.pop(|flow| self.line.start(flow))
        {
            if job.is_expired(now) {
                state.stats.dropped += 1;
                let _ = job.reply.send(Err(InferenceError::DeadlineExceeded));
                continue;
            }
            self.line.charge(flow, cost);
            waiters.push(Some(FrameWaiter {
                id,
                reply: job.reply,
                deadline: job.frame.deadline,
                queued_at: job.queued_at,
            }));
            frames.push(job.frame);
        }
        self.line.offer(state.queue.flows());
        if frames.is_empty() {
            return None;
        }
        let cancel = Cancel::new();
        state.slots[slot].run = Some(Run {
            waiters,
            cancel: cancel.clone(),
            started: now,
            give_up_at: None,
            turn,
        });
        self.wake_supervisor(state, now + self.options.hang_timeout);
        Some(Taken { frames, cancel })
    }

    /// Answers the callers of a run. `false` when the thread was given up meanwhile and must end.
    pub(super) fn finish(
        &self,
        slot: usize,
        generation: u64,
        outcome: Result<Buffer, InferenceError>,
        times: RunTimes,
    ) -> bool {
        let visual_cache = self.network.visual_cache();
        let mut state = self.lock();
        state.stats.visual_cache = visual_cache.unwrap_or_default();
        let place = &mut state.slots[slot];
        if place.generation != generation {
            return false;
        }
        let Some(run) = place.run.take() else {
            return true;
        };
        if matches!(outcome, Err(InferenceError::WorkerPanicked { .. })) {
            state.stats.replaced += 1;
        }
        let Run {
            waiters,
            started,
            give_up_at,
            turn,
            ..
        } = run;
        drop(turn);
        let frames = waiters.len();
        if outcome.is_ok() {
            state.stats.frames += frames as u64;
            state.stats.batches += 1;
            state.stats.inference += times.inference;
            let cost = (times.visual + times.inference) / u32::try_from(frames).unwrap_or(u32::MAX);
            state.frame_cost = (state.frame_cost * 7 + cost) / 8;
        }
        drop(state);
        match outcome {
            Ok(buffer) => {
                let buffer = Arc::new(buffer);
                let share = u32::try_from(frames).unwrap_or(u32::MAX);
                for (index, waiter) in waiters.into_iter().enumerate() {
                    if let Some(waiter) = waiter {
                        let queued = started.saturating_duration_since(waiter.queued_at);
                        let buffer = Arc::clone(&buffer);
                        let mut prediction = Prediction::new(buffer, index);
                        prediction.visual = times.visual / share;
                        prediction.inference = times.inference / share;
                        prediction.queued = queued;
                        let _ = waiter.reply.send(Ok(prediction));
                    }
                }
            }
            Err(InferenceError::Cancelled) if give_up_at.is_some() => {
                fail(waiters, &self.hung());
            }
            Err(error) => fail(waiters, &error),
        }
        true
    }

    /// Says that a slot has no session (`Some(reason)`) or has one again. With no session at all, what is queued
    /// fails now instead of waiting for a session that may never come.
    pub(super) fn set_down(&self, slot: usize, generation: u64, reason: Option<String>) {
        let mut state = self.lock();
        if state.slots[slot].generation != generation {
            return;
        }
        state.slots[slot].down = reason;
        if let Some(reason) = state.no_session() {
            let error = self.no_worker(reason);
            for job in state.queue.take_if(|_| true) {
                let _ = job.reply.send(Err(error.clone()));
            }
            self.line.offer(std::iter::empty());
        }
    }

    /// Waits before the next attempt to open a session; `false` when the thread must end.
    pub(super) fn wait_to_retry(&self, slot: usize, generation: u64, delay: Duration) -> bool {
        let until = Instant::now() + delay;
        let mut state = self.lock();
        loop {
            if state.closing || state.slots[slot].generation != generation {
                return false;
            }
            let now = Instant::now();
            if now >= until {
                return true;
            }
            state = self
                .ended
                .wait_timeout(state, until - now)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Tells the list of turns whose frames wait.
    pub(super) fn offer(&self, state: &WorkState) {
        self.line.offer(state.queue.flows());
    }

    fn wake_supervisor(&self, state: &mut WorkState, at: Instant) {
        if state.supervisor_wakes.is_none_or(|known| at < known) {
            state.supervisor_wakes = Some(at);
            self.watch.notify_one();
        }
    }

    /// Counts a thread before it starts; the guard uncounts it when it has ended.
    pub(super) fn thread_starts(self: &Arc<Self>) -> ThreadGuard {
        self.lock().threads += 1;
        ThreadGuard(Arc::clone(self))
    }

    /// Fails what waits, stops what runs, and waits for the threads.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        self.is_closing.store(true, Ordering::Release);
        for job in state.queue.take_if(|_| true) {
            let _ = job.reply.send(Err(InferenceError::Cancelled));
        }
        for run in state.slots.iter().filter_map(|slot| slot.run.as_ref()) {
            run.cancel.cancel();
        }
        self.line.offer(std::iter::empty());
        self.work.notify_all();
        self.watch.notify_all();
        self.ended.notify_all();
        let left = self
            .ended
            .wait_timeout_while(state, self.options.stop_timeout, |state| state.threads > 0)
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .threads;
        if left > 0 {
            tracing::warn!(
                network = %self.network.path().display(),
                threads = left,
                "inference threads did not end in time; they end with their runs"
            );
        }
    }

    pub(super) fn hung(&self) -> InferenceError {
        InferenceError::WorkerHung {
            path: self.network.path().to_path_buf(),
            timeout: self.options.hang_timeout,
        }
    }

    fn no_worker(&self, reason: String) -> InferenceError {
        InferenceError::NoWorker {
            path: self.network.path().to_path_buf(),
            reason,
        }
    }
}

/// A counted thread.
pub(super) struct ThreadGuard(Arc<Shared>);

impl Drop for ThreadGuard {
    fn drop(&mut self) {
        self.0.lock().threads -= 1;
        self.0.ended.notify_all();
    }
}
