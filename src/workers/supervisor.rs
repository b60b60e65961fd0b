//! The thread that keeps time: deadlines of frames, and sessions that do not come back.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crate::engine::InferenceError;
use crate::workers::shared::Shared;
use crate::workers::state::{FrameWaiter, Vacancy, WorkState, fail};
use crate::workers::thread::start_replacement;

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

impl Shared {
    /// One look of the supervisor: answers expired frames, stops runs that take too long, gives up threads that do
    /// not stop, then waits until there may be more to do. `None` when it must end.
    fn supervise(&self) -> Option<Vec<Vacancy>> {
        let mut state = self.lock();
        if state.closing {
            return None;
        }
        let now = Instant::now();
        let expired = state.queue.take_if(|job| job.is_expired(now));
        state.stats.dropped += expired.len() as u64;
        if !expired.is_empty() {
            self.offer(&state);
        }
        for job in expired {
            let _ = job.reply.send(Err(InferenceError::DeadlineExceeded));
        }
        let mut vacancies = Vec::new();
        for slot in 0..state.slots.len() {
            if self.check_run(&mut state, slot, now) {
                let generation = state.slots[slot].generation;
                vacancies.push(Vacancy { slot, generation });
            }
        }
        if vacancies.is_empty() {
            state.supervisor_wakes = self.next_event(&state);
            let wait = state
                .supervisor_wakes
                .map(|at| at.saturating_duration_since(now));
            // Either way it looks again from the start, so a spurious wake-up is harmless.
            match wait {
                Some(wait) => drop(self.watch.wait_timeout(state, wait)),
                None => drop(self.watch.wait(state)),
            }
        }
        Some(vacancies)
    }

    /// `true` if the slot's thread was given up.
    fn check_run(&self, state: &mut WorkState, slot: usize, now: Instant) -> bool {
        let place = &mut state.slots[slot];
        let Some(run) = &mut place.run else {
            return false;
        };
        for waiter in &mut run.waiters {
            let is_expired = |waiter: &mut FrameWaiter| waiter.deadline.is_some_and(|at| at <= now);
            if let Some(waiter) = waiter.take_if(is_expired) {
                state.stats.dropped += 1;
                let _ = waiter.reply.send(Err(InferenceError::DeadlineExceeded));
            }
        }
        run.stop_if_unwanted();
        match run.give_up_at {
            None if run.started + self.options().hang_timeout <= now => {
                run.cancel.cancel();
                run.give_up_at = Some(now + self.options().stop_timeout);
                false
            }
            Some(at) if at <= now => {
                place.generation += 1;
                state.stats.replaced += 1;
                if let Some(run) = place.run.take() {
                    fail(run.waiters, &self.hung());
                }
                true
            }
            _ => false,
        }
    }

    /// The earliest deadline, hang or give-up.
    fn next_event(&self, state: &WorkState) -> Option<Instant> {
        let queued = state.queue.iter().filter_map(|job| job.frame.deadline);
        let running = state
            .slots
            .iter()
            .filter_map(|slot| slot.run.as_ref())
            .flat_map(|run| {
                let hang = run
                    .give_up_at
                    .unwrap_or(run.started + self.options().hang_timeout);
                let deadlines = run.waiters.iter().flatten().filter_map(|w| w.deadline);
                deadlines.chain([hang])
            });
        queued.chain(running).min()
    }
}
