//! One configured model as the ledger sees it: its state, its generations, and who waits for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use crate::registry::LoadReport;
use crate::registry::error::RegistryError;
use crate::registry::lease::{Lease, LeaseCount};
use crate::registry::ledger::evict::{Frequency, Policy};
use crate::registry::ledger::state::{Reason, Reload, State};
use crate::registry::loader::{Load, ModelSpec};
use crate::registry::stats::{ModelStats, Usage};

/// Where an answer goes.
pub(in crate::registry) type Reply<T> = oneshot::Sender<Result<T, RegistryError>>;

/// The time as the owner's callers pass it in: one clock to reckon with, one to show.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry) struct Moment {
    pub(in crate::registry) at: Instant,
    pub(in crate::registry) wall: SystemTime,
}

/// One loaded generation.
#[derive(Debug)]
pub(in crate::registry) struct Generation<M> {
    /// `None` while a blocking thread takes it apart; its bytes count until that is done.
    pub(in crate::registry) model: Option<Arc<M>>,
    pub(in crate::registry) count: LeaseCount,
    /// Counted from 1 per model.
    pub(in crate::registry) number: u64,
    /// Of the config it was loaded from.
    pub(in crate::registry) fingerprint: u64,
    pub(in crate::registry) memory_bytes: u64,
    pub(in crate::registry) loaded_at: Instant,
    pub(in crate::registry) loaded_wall: SystemTime,
    /// The model's frames before this generation.
    pub(in crate::registry) frames_before: u64,
}

/// A load under way, from its first check to its last byte.
pub(in crate::registry) struct Ticket<L: Load> {
    pub(in crate::registry) number: u64,
    pub(in crate::registry) spec: Arc<ModelSpec<L::Spec>>,
    /// Wanted by the registry itself: a stale generation is being replaced.
    pub(in crate::registry) background: bool,
    pub(in crate::registry) callers: VecDeque<Waiter<L>>,
    pub(in crate::registry) phase: Phase<L::Model>,
    /// Time spent on blocking threads so far.
    pub(in crate::registry) work_time: Duration,
}

impl<L: Load> Ticket<L> {
    /// Whether its files may have been read already.
    pub(in crate::registry) fn begun(&self) -> bool {
        matches!(self.phase, Phase::Opening { .. } | Phase::Fitting { .. })
    }

    /// Whether anyone wants it who accepts that others are evicted for it.
    pub(in crate::registry) fn may_evict(&self) -> bool {
        self.callers.iter().any(Waiter::may_evict)
    }
}

/// How far a load is.
pub(in crate::registry) enum Phase<M> {
    /// Its files are being checked.
    Validating,
    /// It is in the queue for `need` bytes.
    Room { need: u64, since: Instant },
    /// It has its room and is being read.
    Opening { reserved: u64 },
    /// It is in memory and measured; it serves as soon as it is sure to fit.
    Fitting { generation: Generation<M> },
}

/// A caller that waits for a load.
pub(in crate::registry) struct Waiter<L: Load> {
    pub(in crate::registry) since: Instant,
    pub(in crate::registry) answer: Answer<L>,
}

/// What a waiting caller wants.
pub(in crate::registry) enum Answer<L: Load> {
    Lease(Reply<Lease<L::Model>>),
    Load(Reply<LoadReport>),
    /// A load that may not push anything out.
    Preload(Reply<LoadReport>),
}

impl<L: Load> Waiter<L> {
    pub(in crate::registry) fn gone(&self) -> bool {
        match &self.answer {
            Answer::Lease(reply) => reply.is_closed(),
            Answer::Load(reply) | Answer::Preload(reply) => reply.is_closed(),
        }
    }

    pub(in crate::registry) fn may_evict(&self) -> bool {
        !matches!(self.answer, Answer::Preload(_))
    }
}

/// An unload to be answered when no generation up to `upto` is left.
pub(in crate::registry) struct Unload {
    pub(in crate::registry) upto: u64,
    pub(in crate::registry) reply: Reply<()>,
}

/// One model.
pub(in crate::registry) struct Entry<L: Load> {
    pub(in crate::registry) spec: Arc<ModelSpec<L::Spec>>,
    /// False once gone from the config: unknown to callers, here until its memory is free.
    pub(in crate::registry) configured: bool,
    pub(in crate::registry) state: State<Generation<L::Model>, Ticket<L>>,
    /// Generations that were replaced (or never fitted) and go when their leases end.
    pub(in crate::registry) retired: Vec<(Generation<L::Model>, Reason)>,
    /// Callers for the next load to begin.
    pub(in crate::registry) waiters: VecDeque<Waiter<L>>,
    pub(in crate::registry) unloads: Vec<Unload>,
    /// Load again, without callers, when the stale generation has gone.
    pub(in crate::registry) wanted: bool,
    /// The last generation's number.
    pub(in crate::registry) generations: u64,
    pub(in crate::registry) usage: Arc<Usage>,
    pub(in crate::registry) frequency: Frequency,
    /// Frames in `frequency` already.
    pub(in crate::registry) counted_frames: u64,
    pub(in crate::registry) last_used: Instant,
    /// Since when it has been ready without a lease, as far as the owner has seen.
    pub(in crate::registry) idle_since: Option<Instant>,
    /// What it took when last loaded: a better estimate than any other.
    pub(in crate::registry) measured_bytes: u64,
    pub(in crate::registry) last_load_time: Option<Duration>,
    pub(in crate::registry) load_count: u64,
}

impl<L: Load> Entry<L> {
    pub(in crate::registry) fn new(spec: Arc<ModelSpec<L::Spec>>, now: Instant) -> Self {
        Self {
            spec,
            configured: true,
            state: State::Unloaded,
            retired: Vec::new(),
            waiters: VecDeque::new(),
            unloads: Vec::new(),
            wanted: false,
            generations: 0,
            usage: Arc::default(),
            frequency: Frequency::default(),
            counted_frames: 0,
            last_used: now,
            idle_since: None,
            measured_bytes: 0,
            last_load_time: None,
            load_count: 0,
        }
    }

    /// The generation new leases are for, unless a reload is under way or it is not ready.
    pub(in crate::registry) fn settled(&self) -> Option<&Generation<L::Model>> {
        match &self.state {
            State::Ready {
                current,
                reload: Reload::None | Reload::Failed(_),
            } => Some(current),
            _ => None,
        }
    }

    /// Ready, without a lease and without a reload: it may be evicted.
    pub(in crate::registry) fn idle(&self) -> bool {
        self.settled()
            .is_some_and(|current| current.count.held() == 0)
    }

    /// The config has changed since the serving generation was loaded.
    pub(in crate::registry) fn stale(&self) -> bool {
        matches!(&self.state, State::Ready { current, .. } if current.fingerprint != self.spec.fingerprint)
    }

    /// Its generations in memory, and whether each is leaving without a lease, so that its room comes back by itself.
    pub(in crate::registry) fn generations_held(
        &self,
    ) -> impl Iterator<Item = (&Generation<L::Model>, bool)> {
        let draining = matches!(self.state, State::Draining { .. });
        let current = self.state.generation().map(move |g| (g, draining));
        let retired = self.retired.iter().map(|(g, _)| (g, true));
        current
            .into_iter()
            .chain(retired)
            .map(|(g, leaving)| (g, leaving && g.count.held() == 0))
    }

    /// Bytes of the load under way, reserved or measured.
    pub(in crate::registry) fn loading_bytes(&self) -> Option<u64> {
        match &self.state.ticket()?.phase {
            Phase::Validating | Phase::Room { .. } => None,
            Phase::Opening { reserved } => Some(*reserved),
            Phase::Fitting { generation } => Some(generation.memory_bytes),
        }
    }

    /// Bytes of a load that is measured and does not serve: it waits for room, or was refused and is not dropped yet.
    pub(in crate::registry) fn unplaced_bytes(&self) -> u64 {
        let waiting = match self.state.ticket().map(|ticket| &ticket.phase) {
            Some(Phase::Fitting { generation }) => generation.memory_bytes,
            _ => 0,
        };
        let refused = self.retired.iter();
        let refused = refused.filter(|(_, reason)| matches!(reason, Reason::Refused));
        waiting
            + refused
                .map(|(generation, _)| generation.memory_bytes)
                .sum::<u64>()
    }

    /// Counts what the ready generation takes by now, if that has become less.
    pub(in crate::registry) fn remeasure(&mut self) -> bool {
        let floor = self.spec.memory_floor_bytes;
        let State::Ready { current, .. } = &mut self.state else {
            return false;
        };
        let measured = current.model.as_deref().and_then(L::memory_bytes);
        let Some(bytes) = measured.map(|bytes| bytes.max(floor)) else {
            return false;
        };
        let less = bytes < current.memory_bytes;
        if less {
            current.memory_bytes = bytes;
        }
        less
    }

    pub(in crate::registry) fn memory_bytes(&self) -> u64 {
        let held: u64 = self.generations_held().map(|(g, _)| g.memory_bytes).sum();
        held + self.loading_bytes().unwrap_or(0)
    }

    /// Whether it counts against the number of models.
    pub(in crate::registry) fn resident(&self) -> bool {
        self.generations_held().next().is_some() || self.loading_bytes().is_some()
    }

    /// The lowest number of a generation in memory or on its way.
    pub(in crate::registry) fn oldest(&self) -> Option<u64> {
        let held = self.generations_held().map(|(g, _)| g.number);
        held.chain(self.state.ticket().map(|ticket| ticket.number))
            .min()
    }

    /// The highest number of a generation in memory or on its way.
    pub(in crate::registry) fn newest(&self) -> Option<u64> {
        let held = self.generations_held().map(|(g, _)| g.number);
        held.chain(self.state.ticket().map(|ticket| ticket.number))
            .max()
    }

    pub(in crate::registry) fn waiting(&self) -> usize {
        let callers = self.state.ticket().map_or(0, |ticket| ticket.callers.len());
        self.waiters.len() + callers + self.unloads.len()
    }

    /// Whether nothing of it is left in memory or under way.
    pub(in crate::registry) fn gone(&self) -> bool {
        self.oldest().is_none() && self.waiting() == 0
    }

    /// Lets callers go that have stopped waiting; says whether there were any.
    pub(in crate::registry) fn forget_gone_callers(&mut self) -> bool {
        let before = self.waiting();
        self.waiters.retain(|waiter| !waiter.gone());
        self.unloads.retain(|unload| !unload.reply.is_closed());
        if let Some(ticket) = self.state.ticket_mut() {
            ticket.callers.retain(|waiter| !waiter.gone());
        }
        self.waiting() != before
    }

    /// Takes note of what leases have done since the owner last looked.
    pub(in crate::registry) fn observe(&mut self, policy: Policy, now: Moment) {
        let frames = self.usage.frames();
        if frames > self.counted_frames {
            let half_life = match policy {
                Policy::Lfu { half_life } => half_life,
                // Counted under LRU too, so that a change of policy does not start blind.
                Policy::Lru => Policy::DEFAULT_HALF_LIFE,
            };
            let new = frames - self.counted_frames;
            self.frequency.add(new, now.at, half_life);
            self.counted_frames = frames;
        }
        let idle = match &self.state {
            State::Ready { current, .. } => current.count.held() == 0,
            _ => false,
        };
        if !idle {
            self.idle_since = None;
        } else if self.idle_since.is_none() {
            self.idle_since = Some(now.at);
            self.last_used = now.at;
            self.usage.touch(now.at);
        }
    }

    /// Hands out a lease on the current generation, if there is one to hand out.
    pub(in crate::registry) fn grant(
        &mut self,
        load_time: Option<Duration>,
        now: Moment,
    ) -> Option<Lease<L::Model>> {
        let State::Ready { current, .. } = &self.state else {
            return None;
        };
        let model = Arc::clone(current.model.as_ref()?);
        self.usage.touch(now.at);
        self.last_used = now.at;
        self.idle_since = None;
        Some(Lease::new(
            model,
            current.count.grant(),
            Arc::clone(&self.usage),
            current.number,
            load_time,
        ))
    }

    pub(in crate::registry) fn stats(&self) -> ModelStats {
        ModelStats {
            usage_count: self.usage.frames(),
            last_used: self.usage.last_used(),
            total_inference_time: self.usage.inference_time(),
            memory_bytes: self.memory_bytes(),
            loaded_at: self.state.generation().map(|g| g.loaded_wall),
            last_load_time: self.last_load_time,
            load_count: self.load_count,
        }
    }
}
