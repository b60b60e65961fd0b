//! The rules by which one model moves on, applied after every input until none has anything left to do.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::registry::error::RegistryError;
use crate::registry::ledger::entry::{Answer, Entry, Moment, Phase, Ticket, Waiter};
use crate::registry::ledger::state::{Event, Reason, Reload, State};
use crate::registry::ledger::{Job, Ledger, Outgoing};
use crate::registry::loader::Load;
use crate::registry::stats::megabytes;

impl<L: Load> Ledger<L> {
    /// Applies all rules. Every one either changes a state, which the others must see, or does nothing.
    pub(in crate::registry) fn settle(&mut self, now: Moment) {
        for entry in &mut self.entries {
            if entry.remeasure() {
                self.changes += 1;
            }
        }
        loop {
            let before = self.changes;
            for index in 0..self.entries.len() {
                self.settle_slot(index, now);
            }
            self.trim(now);
            self.fit_loaded(now);
            self.grant_room(now);
            for index in 0..self.entries.len() {
                self.expire(index, now);
            }
            self.entries
                .retain(|entry| entry.configured || !entry.gone());
            if self.changes == before {
                break;
            }
        }
        if self.entries.iter().all(Entry::gone)
            && let Some(waiting) = &mut self.ending
        {
            self.outbox
                .extend(waiting.drain(..).map(Outgoing::ShutDown));
        }
    }

    /// Whether the owner's work is over.
    pub(in crate::registry) fn ended(&self) -> bool {
        self.ending.is_some() && self.entries.iter().all(Entry::gone)
    }

    /// When time alone will next change something.
    pub(in crate::registry) fn next_wake(&self) -> Option<Instant> {
        let mut wake: Option<Instant> = None;
        let mut at = |instant: Option<Instant>| {
            wake = [wake, instant].into_iter().flatten().min();
        };
        for entry in &self.entries {
            for since in waiting_for_room(entry) {
                at(since.checked_add(self.limits.eviction_wait));
            }
            if !entry.idle() {
                continue;
            }
            at(self.idle_end(entry));
            if entry.stale() {
                at(entry.state.failure().map(|failure| failure.retry_at));
            }
        }
        wake
    }

    fn idle_end(&self, entry: &Entry<L>) -> Option<Instant> {
        entry.idle_since?.checked_add(self.limits.idle_unload?)
    }

    fn settle_slot(&mut self, index: usize, now: Moment) {
        let policy = self.limits.policy;
        let entry = &mut self.entries[index];
        if entry.forget_gone_callers() {
            self.changes += 1;
        }
        entry.observe(policy, now);
        self.take_apart(index);
        let entry = &self.entries[index];
        match &entry.state {
            State::Unloaded | State::Failed(_) => {
                let background = entry.wanted && entry.configured && self.ending.is_none();
                if background || !entry.waiters.is_empty() {
                    self.begin(index, background, now);
                }
            }
            State::Ready {
                reload: Reload::None | Reload::Failed(_),
                ..
            } => self.settle_ready(index, now),
            State::Ready { .. } | State::Loading { .. } | State::Draining { .. } => {}
        }
        self.answer_unloads(index);
    }

    /// A model is ready and no reload is under way: should it leave, or be replaced?
    fn settle_ready(&mut self, index: usize, now: Moment) {
        let entry = &self.entries[index];
        let Some(current) = entry.settled() else {
            return;
        };
        let number = current.number;
        let retry_due = entry
            .state
            .failure()
            .is_none_or(|failure| failure.retry_at <= now.at);
        let ending = self.ending.is_some();
        if entry.unloads.iter().any(|unload| unload.upto >= number) {
            self.drain(index, Reason::Requested, now);
        } else if !entry.configured {
            self.drain(index, Reason::Reconfigured, now);
        } else if !entry.waiters.is_empty() {
            self.begin(index, false, now);
        } else if ending {
            self.drain(index, Reason::Shutdown, now);
        } else if entry.stale() && entry.idle() && retry_due {
            self.begin(index, true, now);
        } else if entry.idle() && self.idle_end(entry).is_some_and(|end| end <= now.at) {
            self.log_idle(index, now);
            self.drain(index, Reason::Idle, now);
        }
    }

    pub(in crate::registry) fn drain(&mut self, index: usize, reason: Reason, now: Moment) {
        self.step(index, Event::Drain(reason), now);
    }

    /// Generations that are leaving and have no lease go to a blocking thread.
    fn take_apart(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        let draining = match &mut entry.state {
            State::Draining { current, .. } => Some(current),
            _ => None,
        };
        let retired = entry.retired.iter_mut().map(|(generation, _)| generation);
        for generation in draining.into_iter().chain(retired) {
            if generation.count.held() == 0
                && let Some(model) = generation.model.take()
            {
                self.drops.push_back(Job::Drop {
                    id: Arc::clone(&entry.spec.id),
                    number: generation.number,
                    model,
                });
            }
        }
    }

    fn answer_unloads(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        let oldest = entry.oldest();
        let done = entry.unloads.extract_if(.., |unload| {
            oldest.is_none_or(|oldest| oldest > unload.upto)
        });
        let before = self.outbox.len();
        self.outbox
            .extend(done.map(|unload| Outgoing::Unload(unload.reply, Ok(()))));
        if self.outbox.len() > before {
            self.changes += 1;
        }
    }

    /// Puts a loaded generation that is sure to fit into service.
    pub(in crate::registry) fn serve(&mut self, index: usize, now: Moment) {
        let entry = &mut self.entries[index];
        let Some(ticket) = entry.state.ticket_mut() else {
            return;
        };
        let generation = match std::mem::replace(&mut ticket.phase, Phase::Validating) {
            Phase::Fitting { generation } => generation,
            other => {
                ticket.phase = other;
                return;
            }
        };
        let Some(left) = self.step(index, Event::Loaded(generation), now) else {
            return;
        };
        let Some(ticket) = left.ticket else { return };
        self.counters.loads += 1;
        let entry = &mut self.entries[index];
        entry.load_count += 1;
        entry.last_load_time = Some(ticket.work_time);
        entry.idle_since = Some(now.at);
        entry.last_used = now.at;
        let reload = left.generation.is_some();
        if let Some(old) = left.generation {
            entry.retired.push((old, Reason::Replaced));
        }
        self.log_loaded(index, &ticket, reload);
        for waiter in ticket.callers {
            self.answer_ready(index, waiter.answer, Some(ticket.work_time), now);
        }
    }

    /// Refuses callers that have waited for room for as long as is configured.
    fn expire(&mut self, index: usize, now: Moment) {
        let wait = self.limits.eviction_wait;
        let entry = &mut self.entries[index];
        let due = |waiter: &Waiter<L>, since: Instant| {
            waiter
                .since
                .max(since)
                .checked_add(wait)
                .is_some_and(|end| end <= now.at)
        };
        let expired = match &mut entry.state {
            State::Draining { .. } => take_if(&mut entry.waiters, |w| due(w, w.since)),
            state => match state.ticket_mut() {
                Some(Ticket {
                    callers,
                    phase: Phase::Room { since, .. },
                    ..
                }) => take_if(callers, |w| due(w, *since)),
                _ => return,
            },
        };
        for waiter in expired {
            self.refuse_for_capacity(waiter.answer);
        }
        if waits_for_nobody(&self.entries[index]) {
            self.abandon(index, now);
        }
    }

    pub(in crate::registry) fn refuse_for_capacity(&mut self, answer: Answer<L>) {
        let retry_after = self.limits.eviction_wait.max(Duration::from_millis(100));
        self.answer_error(answer, RegistryError::CapacityFull { retry_after });
    }

    fn log_loaded(&self, index: usize, ticket: &Ticket<L>, reload: bool) {
        if !self.limits.log_model_operations {
            return;
        }
        let callers = &ticket.callers;
        let preload = |w: &Waiter<L>| matches!(w.answer, Answer::Preload(_));
        let lease = |w: &Waiter<L>| matches!(w.answer, Answer::Lease(_));
        let message = if reload {
            "reloaded model"
        } else if callers.iter().any(lease) {
            "loaded model on demand"
        } else if callers.iter().any(preload) {
            "preloaded model"
        } else {
            "loaded model"
        };
        let entry = &self.entries[index];
        tracing::info!(
            model = %entry.spec.id,
            seconds = ticket.work_time.as_secs_f64(),
            memory_mb = megabytes(entry.measured_bytes),
            generation = ticket.number,
            "{message}"
        );
    }

    fn log_idle(&self, index: usize, now: Moment) {
        if !self.limits.log_model_operations {
            return;
        }
        let entry = &self.entries[index];
        let idle = entry
            .idle_since
            .map(|since| now.at.saturating_duration_since(since));
        tracing::info!(
            model = %entry.spec.id,
            idle_seconds = idle.map(|idle| idle.as_secs_f64()),
            "auto-unloading idle model"
        );
    }
}

/// Those whose patience runs out, and since when they wait for room or for a drain that frees it.
fn waiting_for_room<L: Load>(entry: &Entry<L>) -> impl Iterator<Item = Instant> {
    let draining = matches!(entry.state, State::Draining { .. }).then_some(&entry.waiters);
    let draining = draining.into_iter().flatten().map(|waiter| waiter.since);
    let queued = entry.state.ticket().and_then(|ticket| match ticket.phase {
        Phase::Room { since, .. } => Some(ticket.callers.iter().map(move |w| w.since.max(since))),
        _ => None,
    });
    draining.chain(queued.into_iter().flatten())
}

fn waits_for_nobody<L: Load>(entry: &Entry<L>) -> bool {
    entry.state.ticket().is_some_and(|ticket| {
        matches!(ticket.phase, Phase::Room { .. })
            && ticket.callers.is_empty()
            && !ticket.background
    })
}

/// Takes out what matches; both parts keep their order.
fn take_if<T>(queue: &mut VecDeque<T>, taken: impl Fn(&T) -> bool) -> VecDeque<T> {
    let (out, stay) = queue.drain(..).partition(|item| taken(item));
    *queue = stay;
    out
}
