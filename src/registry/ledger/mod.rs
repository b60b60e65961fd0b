//! All that the owner knows and decides, without tasks, threads, clocks or waiting.
//!
//! Commands and finished jobs go in with the time; jobs and answers come out. [`owner`](crate::registry::owner) does the rest.
//! After every input [`Ledger::settle`] applies the rules until none has anything left to do.

mod capacity;
mod configure;
pub(super) mod entry;
pub(super) mod evict;
pub(super) mod state;
mod transitions;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use crate::registry::error::{ConfigureError, RegistryError};
use crate::registry::lease::{Lease, LeaseCount};
use crate::registry::ledger::entry::{
    Answer, Entry, Generation, Moment, Phase, Reply, Ticket, Unload, Waiter,
};
use crate::registry::ledger::state::{Event, Left, Reason, State};
use crate::registry::limits::Limits;
use crate::registry::loader::{Load, LoadError, Loaded, ModelSpec};
use crate::registry::stats::Counters;
use crate::registry::stats::megabytes;
use crate::registry::{LoadMode, LoadReport, ReconfigureReport};

/// Work for a blocking thread.
pub(in crate::registry) enum Job<L: Load> {
    Validate(Arc<ModelSpec<L::Spec>>),
    Load(Arc<ModelSpec<L::Spec>>),
    /// Taking a model apart joins threads and frees gigabytes: not on an async thread.
    Drop {
        id: Arc<str>,
        number: u64,
        model: Arc<L::Model>,
    },
}

/// A finished job.
pub(in crate::registry) enum Done<L: Load> {
    Validated {
        id: Arc<str>,
        result: Result<u64, LoadError>,
        took: Duration,
    },
    Loaded {
        id: Arc<str>,
        result: Result<Loaded<L::Model>, LoadError>,
        took: Duration,
    },
    Dropped {
        id: Arc<str>,
        number: u64,
    },
}

/// An answer on its way. Sent only after the new picture is published, so that callers read what they caused.
pub(in crate::registry) enum Outgoing<L: Load> {
    Lease(
        Reply<Lease<L::Model>>,
        Result<Lease<L::Model>, RegistryError>,
    ),
    Load(Reply<LoadReport>, Result<LoadReport, RegistryError>),
    Unload(Reply<()>, Result<(), RegistryError>),
    Reconfigured(
        oneshot::Sender<Result<ReconfigureReport, ConfigureError>>,
        Result<ReconfigureReport, ConfigureError>,
    ),
    ShutDown(oneshot::Sender<()>),
}

impl<L: Load> Outgoing<L> {
    /// A caller that has gone gets nothing; a lease for it is dropped and thereby given back.
    pub(in crate::registry) fn send(self) {
        match self {
            Self::Lease(reply, answer) => drop(reply.send(answer)),
            Self::Load(reply, answer) => drop(reply.send(answer)),
            Self::Unload(reply, answer) => drop(reply.send(answer)),
            Self::Reconfigured(reply, answer) => drop(reply.send(answer)),
            Self::ShutDown(reply) => drop(reply.send(())),
        }
    }
}

/// The whole registry.
pub(in crate::registry) struct Ledger<L: Load> {
    /// In config order, then those gone from the config.
    pub(in crate::registry) entries: Vec<Entry<L>>,
    pub(in crate::registry) limits: Limits,
    pub(in crate::registry) counters: Counters,
    /// Models whose load waits for room, first come first served.
    pub(in crate::registry) room_queue: VecDeque<Arc<str>>,
    /// Validations and loads not begun. At most one per model.
    pub(in crate::registry) jobs: VecDeque<Job<L>>,
    /// Validations and loads running.
    pub(in crate::registry) running: usize,
    /// Models to take apart. At most one per generation.
    pub(in crate::registry) drops: VecDeque<Job<L>>,
    pub(in crate::registry) outbox: Vec<Outgoing<L>>,
    /// Once asked to end: who wants to know when that is done.
    pub(in crate::registry) ending: Option<Vec<oneshot::Sender<()>>>,
    /// Grows with everything readers could see.
    pub(in crate::registry) changes: u64,
    owner: Arc<Notify>,
}

impl<L: Load> Ledger<L> {
    pub(in crate::registry) fn new(
        specs: Vec<ModelSpec<L::Spec>>,
        limits: Limits,
        owner: Arc<Notify>,
        now: Moment,
    ) -> Result<Self, ConfigureError> {
        let mut ledger = Self {
            entries: Vec::new(),
            limits: limits.clone(),
            counters: Counters::default(),
            room_queue: VecDeque::new(),
            jobs: VecDeque::new(),
            running: 0,
            drops: VecDeque::new(),
            outbox: Vec::new(),
            ending: None,
            changes: 0,
            owner,
        };
        ledger.configure(specs, limits, now)?;
        Ok(ledger)
    }

    /// The next work to begin, within the limit of parallel loads.
    pub(in crate::registry) fn next_job(&mut self) -> Option<Job<L>> {
        if let Some(job) = self.drops.pop_front() {
            return Some(job);
        }
        if self.running >= self.limits.max_parallel_loads {
            return None;
        }
        let job = self.jobs.pop_front()?;
        self.running += 1;
        Some(job)
    }

    pub(in crate::registry) fn waiting(&self) -> usize {
        self.entries.iter().map(Entry::waiting).sum()
    }

    pub(in crate::registry) fn lease(
        &mut self,
        id: &Arc<str>,
        reply: Reply<Lease<L::Model>>,
        now: Moment,
    ) {
        let index = match self.admit(id) {
            Ok(index) => index,
            Err(error) => return self.answer_error(Answer::Lease(reply), error),
        };
        if let Some(lease) = self.entries[index].grant(None, now) {
            return self.outbox.push(Outgoing::Lease(reply, Ok(lease)));
        }
        self.wait(index, LoadMode::IfAbsent, Answer::Lease(reply), now);
    }

    /// `answer` is a load or a preload.
    pub(in crate::registry) fn load(
        &mut self,
        id: &Arc<str>,
        mode: LoadMode,
        answer: Answer<L>,
        now: Moment,
    ) {
        let index = match self.admit(id) {
            Ok(index) => index,
            Err(error) => return self.answer_error(answer, error),
        };
        let ready = matches!(self.entries[index].state, State::Ready { .. });
        if ready && mode == LoadMode::IfAbsent {
            return self.answer_ready(index, answer, None, now);
        }
        self.wait(index, mode, answer, now);
    }

    pub(in crate::registry) fn unload(&mut self, id: &Arc<str>, reply: Reply<()>) {
        let Some(index) = self.find(id) else {
            let error = RegistryError::UnknownModel { id: Arc::clone(id) };
            return self.outbox.push(Outgoing::Unload(reply, Err(error)));
        };
        let Some(upto) = self.entries[index].newest() else {
            return self.outbox.push(Outgoing::Unload(reply, Ok(())));
        };
        if let Err(error) = self.bound_waiting() {
            return self.outbox.push(Outgoing::Unload(reply, Err(error)));
        }
        self.entries[index].unloads.push(Unload { upto, reply });
        self.changes += 1;
    }

    pub(in crate::registry) fn reconfigure(
        &mut self,
        specs: Vec<ModelSpec<L::Spec>>,
        limits: Limits,
        reply: oneshot::Sender<Result<ReconfigureReport, ConfigureError>>,
        now: Moment,
    ) {
        let answer = if self.ending.is_some() {
            Err(ConfigureError::ShuttingDown)
        } else {
            self.configure(specs, limits, now)
        };
        self.outbox.push(Outgoing::Reconfigured(reply, answer));
    }

    pub(in crate::registry) fn shut_down(&mut self, reply: Option<oneshot::Sender<()>>) {
        self.ending.get_or_insert_default().extend(reply);
        self.changes += 1;
    }

    pub(in crate::registry) fn finished(&mut self, done: Done<L>, now: Moment) {
        match done {
            Done::Validated { id, result, took } => {
                self.running -= 1;
                self.validated(&id, result, took, now);
            }
            Done::Loaded { id, result, took } => {
                self.running -= 1;
                self.loaded(&id, result, took, now);
            }
            Done::Dropped { id, number } => self.dropped(&id, number, now),
        }
    }

    fn validated(
        &mut self,
        id: &Arc<str>,
        result: Result<u64, LoadError>,
        took: Duration,
        now: Moment,
    ) {
        let Some(index) = self.position(id) else {
            return;
        };
        let entry = &mut self.entries[index];
        let remembered = entry.measured_bytes;
        let Some(ticket) = entry.state.ticket_mut() else {
            return;
        };
        ticket.work_time += took;
        match result {
            Ok(estimate) => {
                // What it really took last time counts only for the same files and options.
                let same = ticket.spec.fingerprint == entry.spec.fingerprint;
                let need = estimate.max(ticket.spec.memory_floor_bytes).max(if same {
                    remembered
                } else {
                    0
                });
                let since = now.at;
                ticket.phase = Phase::Room { need, since };
                self.room_queue.push_back(Arc::clone(id));
                self.changes += 1;
            }
            Err(error) => self.load_failed(index, &error, now),
        }
    }

    fn loaded(
        &mut self,
        id: &Arc<str>,
        result: Result<Loaded<L::Model>, LoadError>,
        took: Duration,
        now: Moment,
    ) {
        let Some(index) = self.position(id) else {
            return;
        };
        let count = LeaseCount::new(Arc::clone(&self.owner));
        let entry = &mut self.entries[index];
        let frames_before = entry.usage.frames();
        let Some(ticket) = entry.state.ticket_mut() else {
            return;
        };
        ticket.work_time += took;
        match result {
            Ok(loaded) => {
                let memory_bytes = loaded.memory_bytes.max(ticket.spec.memory_floor_bytes);
                let generation = Generation {
                    model: Some(Arc::new(loaded.model)),
                    count,
                    number: ticket.number,
                    fingerprint: ticket.spec.fingerprint,
                    memory_bytes,
                    loaded_at: now.at,
                    loaded_wall: now.wall,
                    frames_before,
                };
                ticket.phase = Phase::Fitting { generation };
                entry.measured_bytes = memory_bytes;
                self.changes += 1;
            }
            Err(error) => self.load_failed(index, &error, now),
        }
    }

    fn load_failed(&mut self, index: usize, error: &LoadError, now: Moment) {
        let entry = &mut self.entries[index];
        let outdated = entry
            .state
            .ticket()
            .is_some_and(|ticket| ticket.spec.fingerprint != entry.spec.fingerprint);
        if outdated && entry.configured {
            // The failure is of a config that is gone; the callers get a load of the present one.
            return self.abandon(index, now);
        }
        let id = Arc::clone(&entry.spec.id);
        let Some(left) = self.step(index, Event::LoadFailed(error.clone()), now) else {
            return;
        };
        self.counters.load_failures += 1;
        let failure = self.entries[index].state.failure();
        let retry_after = failure.map_or(Duration::ZERO, |failure| {
            failure.retry_at.saturating_duration_since(now.at)
        });
        tracing::warn!(
            model = %id,
            %error,
            detail = %error.detail(),
            retry_seconds = retry_after.as_secs_f64(),
            "loading model failed"
        );
        for waiter in left.ticket.into_iter().flat_map(|ticket| ticket.callers) {
            let refusal = RegistryError::LoadFailed {
                id: Arc::clone(&id),
                error: error.clone(),
                retry_after,
            };
            self.answer_error(waiter.answer, refusal);
        }
    }

    fn dropped(&mut self, id: &Arc<str>, number: u64, now: Moment) {
        let Some(index) = self.position(id) else {
            return;
        };
        let entry = &mut self.entries[index];
        let retired = entry.retired.iter().position(|(g, _)| g.number == number);
        let (generation, reason) = if let Some(place) = retired {
            entry.retired.remove(place)
        } else if let State::Draining { current, reason } = &entry.state
            && current.number == number
        {
            let reason = *reason;
            let left = self.step(index, Event::Released, now);
            let Some(generation) = left.and_then(|left| left.generation) else {
                return;
            };
            (generation, reason)
        } else {
            return;
        };
        self.changes += 1;
        let counts = &mut self.counters.unloads;
        match reason {
            Reason::Evicted => counts.evicted += 1,
            Reason::Idle => counts.idle += 1,
            Reason::Requested => counts.requested += 1,
            Reason::Replaced => counts.replaced += 1,
            Reason::Reconfigured => counts.reconfigured += 1,
            Reason::Shutdown => counts.shutdown += 1,
            Reason::Refused => return,
        }
        if self.limits.log_model_operations {
            let active = now.at.saturating_duration_since(generation.loaded_at);
            let used = self.entries[index].usage.frames() - generation.frames_before;
            tracing::info!(
                model = %id,
                reason = reason.name(),
                active_seconds = active.as_secs_f64(),
                used_frames = used,
                memory_mb = megabytes(generation.memory_bytes),
                "unloaded model"
            );
        }
    }

    /// Follows an edge. An illegal one is a bug of the rules, changes nothing and is logged.
    pub(in crate::registry) fn step(
        &mut self,
        index: usize,
        event: Event<Generation<L::Model>, Ticket<L>>,
        now: Moment,
    ) -> Option<Left<Generation<L::Model>, Ticket<L>>> {
        let entry = &mut self.entries[index];
        match entry.state.step(event, now.at, &self.limits) {
            Ok(left) => {
                self.changes += 1;
                Some(left)
            }
            Err(error) => {
                debug_assert!(false, "{error}");
                tracing::error!(model = %entry.spec.id, %error, "illegal lifecycle step");
                None
            }
        }
    }

    /// Ends a load that got no room; its callers, if any are left, wait for the next.
    pub(in crate::registry) fn abandon(&mut self, index: usize, now: Moment) {
        let left = self.step(index, Event::Abandon, now);
        let entry = &mut self.entries[index];
        if let Some(ticket) = left.and_then(|left| left.ticket) {
            // They came before anyone who waits already.
            for waiter in ticket.callers.into_iter().rev() {
                entry.waiters.push_front(waiter);
            }
        }
        let id = &entry.spec.id;
        self.room_queue.retain(|queued| queued != id);
    }

    /// Begins a load for everyone who waits for one.
    pub(in crate::registry) fn begin(&mut self, index: usize, background: bool, now: Moment) {
        let entry = &mut self.entries[index];
        entry.generations += 1;
        entry.wanted = false;
        let spec = Arc::clone(&entry.spec);
        let ticket = Ticket {
            number: entry.generations,
            spec: Arc::clone(&spec),
            background,
            callers: std::mem::take(&mut entry.waiters),
            phase: Phase::Validating,
            work_time: Duration::ZERO,
        };
        if self.step(index, Event::Begin(ticket), now).is_some() {
            self.jobs.push_back(Job::Validate(spec));
        }
    }

    /// Finds the model for new work, unless there is to be none.
    fn admit(&self, id: &Arc<str>) -> Result<usize, RegistryError> {
        if self.ending.is_some() {
            return Err(RegistryError::ShuttingDown);
        }
        self.find(id)
            .ok_or_else(|| RegistryError::UnknownModel { id: Arc::clone(id) })
    }

    pub(in crate::registry) fn find(&self, id: &str) -> Option<usize> {
        self.position(id)
            .filter(|index| self.entries[*index].configured)
    }

    pub(in crate::registry) fn position(&self, id: &str) -> Option<usize> {
        self.entries.iter().position(|entry| &*entry.spec.id == id)
    }

    fn wait(&mut self, index: usize, mode: LoadMode, answer: Answer<L>, now: Moment) {
        let entry = &mut self.entries[index];
        if let (State::Failed(failure), LoadMode::IfAbsent) = (&entry.state, mode)
            && failure.retry_at > now.at
        {
            let refusal = RegistryError::LoadFailed {
                id: Arc::clone(&entry.spec.id),
                error: failure.error.clone(),
                retry_after: failure.retry_at - now.at,
            };
            return self.answer_error(answer, refusal);
        }
        if let Err(error) = self.bound_waiting() {
            return self.answer_error(answer, error);
        }
        let since = now.at;
        let waiter = Waiter { since, answer };
        let entry = &mut self.entries[index];
        match entry.state.ticket_mut() {
            // Files may have changed since a load began to read them: a forced one joins only before that.
            Some(ticket) if mode == LoadMode::IfAbsent || !ticket.begun() => {
                ticket.callers.push_back(waiter);
            }
            _ => entry.waiters.push_back(waiter),
        }
        self.changes += 1;
    }

    fn bound_waiting(&mut self) -> Result<(), RegistryError> {
        let limit = self.limits.max_waiting;
        if self.waiting() >= limit {
            for entry in &mut self.entries {
                entry.forget_gone_callers();
            }
        }
        if self.waiting() < limit {
            return Ok(());
        }
        Err(RegistryError::TooManyWaiting {
            limit,
            retry_after: self.limits.eviction_wait,
        })
    }

    /// Answers a caller whose model is ready.
    pub(in crate::registry) fn answer_ready(
        &mut self,
        index: usize,
        answer: Answer<L>,
        load_time: Option<Duration>,
        now: Moment,
    ) {
        let entry = &mut self.entries[index];
        match answer {
            Answer::Lease(reply) => {
                // A caller that has gone must not mark the model as used.
                if !reply.is_closed()
                    && let Some(lease) = entry.grant(load_time, now)
                {
                    self.outbox.push(Outgoing::Lease(reply, Ok(lease)));
                }
            }
            Answer::Load(reply) | Answer::Preload(reply) => {
                let report = LoadReport {
                    id: Arc::clone(&entry.spec.id),
                    load_time,
                    stats: entry.stats(),
                };
                self.outbox.push(Outgoing::Load(reply, Ok(report)));
            }
        }
    }

    pub(in crate::registry) fn answer_error(&mut self, answer: Answer<L>, error: RegistryError) {
        let counts = &mut self.counters.rejections;
        match &error {
            RegistryError::UnknownModel { .. } => counts.unknown_model += 1,
            RegistryError::CapacityFull { .. } => counts.capacity_full += 1,
            RegistryError::TooLarge { .. } => counts.too_large += 1,
            RegistryError::LoadFailed { .. } => counts.load_failed += 1,
            RegistryError::TooManyWaiting { .. } => counts.too_many_waiting += 1,
            RegistryError::ShuttingDown => counts.shutting_down += 1,
        }
        self.changes += 1;
        self.outbox.push(match answer {
            Answer::Lease(reply) => Outgoing::Lease(reply, Err(error)),
            Answer::Load(reply) | Answer::Preload(reply) => Outgoing::Load(reply, Err(error)),
        });
    }
}
