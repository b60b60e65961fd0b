//! Who gets room, and who leaves for it.
//!
//! Room is what the two budgets leave over. A load is granted its estimated bytes before it begins, in the order in
//! which validations finished; the first in the queue is served before anyone behind it is looked at, so a large
//! model cannot starve behind small ones. Nothing is evicted unless that really makes the room that is needed.

use std::sync::Arc;

use crate::registry::error::RegistryError;
use crate::registry::ledger::entry::{Entry, Moment, Phase};
use crate::registry::ledger::evict;
use crate::registry::ledger::evict::Candidate;
use crate::registry::ledger::state::{Event, Reason, State};
use crate::registry::ledger::{Job, Ledger};
use crate::registry::limits::Limits;
use crate::registry::loader::{Load, LoadError};

/// What the budgets bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) struct Usage {
    pub(in crate::registry) models: usize,
    pub(in crate::registry) bytes: u64,
}

impl Usage {
    fn fits(self, limits: &Limits) -> bool {
        self.models <= limits.max_models && self.bytes <= limits.max_memory_bytes
    }

    /// With a load of `bytes` for `entry` on top; a model already in memory takes no second place.
    fn with(self, models: usize, bytes: u64) -> Self {
        Self {
            models: self.models + models,
            bytes: self.bytes.saturating_add(bytes),
        }
    }
}

/// Which generations to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    /// All there are.
    Held,
    /// Without those on their way out that no lease holds.
    AfterDrops,
    /// Without the idle ones either, except the model asking.
    AfterEvictions { keep: usize },
}

impl<L: Load> Ledger<L> {
    /// Models and bytes in memory or reserved.
    pub(in crate::registry) fn usage(&self) -> Usage {
        self.count(Count::Held)
    }

    fn count(&self, which: Count) -> Usage {
        let mut total = Usage {
            models: 0,
            bytes: 0,
        };
        let kept = match which {
            Count::AfterEvictions { keep } => self.reserved_to_the_end(keep),
            Count::Held | Count::AfterDrops => Vec::new(),
        };
        for (index, entry) in self.entries.iter().enumerate() {
            let evictable = match which {
                Count::AfterEvictions { keep } => {
                    index != keep && entry.idle() && !kept.contains(&index)
                }
                Count::Held | Count::AfterDrops => false,
            };
            let loading = entry.loading_bytes();
            let mut resident = loading.is_some();
            total.bytes = total.bytes.saturating_add(loading.unwrap_or(0));
            let current = entry.settled().map(|g| g.number);
            for (generation, going) in entry.generations_held() {
                let going = going && which != Count::Held;
                let evicted = evictable && current == Some(generation.number);
                if !going && !evicted {
                    resident = true;
                    total.bytes = total.bytes.saturating_add(generation.memory_bytes);
                }
            }
            total.models += usize::from(resident);
        }
        total
    }

    /// Grants room to the head of the queue for as long as there is some, or some can be made.
    pub(in crate::registry) fn grant_room(&mut self, now: Moment) {
        while let Some(id) = self.room_queue.front().cloned() {
            let Some((index, need)) = self.head(&id) else {
                self.room_queue.pop_front();
                continue;
            };
            if !self.grant_head(index, need, now) {
                break;
            }
        }
    }

    fn head(&self, id: &str) -> Option<(usize, u64)> {
        let index = self.position(id)?;
        match self.entries[index].state.ticket()?.phase {
            Phase::Room { need, .. } => Some((index, need)),
            _ => None,
        }
    }

    /// Takes one step for the head of the queue; false if it has to wait.
    fn grant_head(&mut self, index: usize, need: u64, now: Moment) -> bool {
        let entry = &self.entries[index];
        let Some(ticket) = entry.state.ticket() else {
            return false;
        };
        let patient = ticket.may_evict();
        let wanted = patient || ticket.background || !ticket.callers.is_empty();
        if !wanted || ticket.spec.fingerprint != entry.spec.fingerprint || !entry.configured {
            self.send_back(index, now);
            return true;
        }
        if need > self.limits.max_memory_bytes {
            self.refuse_too_large(index, need, now);
            return true;
        }
        let models = usize::from(!entry.resident());
        if self.usage().with(models, need).fits(&self.limits) {
            self.open(index, need);
            return true;
        }
        if self.in_place_needed(index, need) {
            return self.go_in_place(index, now);
        }
        // Once generations on their way out are gone, the model may have lost the place it holds now.
        let models = usize::from(entry.generations_held().all(|(_, going)| going));
        let after_drops = self.count(Count::AfterDrops).with(models, need);
        if after_drops.fits(&self.limits) {
            return false;
        }
        if !patient {
            return self.yield_room(index, now);
        }
        let after_evictions = self.count(Count::AfterEvictions { keep: index });
        after_evictions.with(models, need).fits(&self.limits) && self.evict_one(Some(index), now)
    }

    /// Reserves the room and queues the load.
    fn open(&mut self, index: usize, need: u64) {
        let entry = &mut self.entries[index];
        if let Some(ticket) = entry.state.ticket_mut() {
            ticket.phase = Phase::Opening { reserved: need };
            self.jobs.push_back(Job::Load(Arc::clone(&ticket.spec)));
        }
        self.room_queue.pop_front();
        self.changes += 1;
    }

    /// A load whose config changed or went while it waited, or that nobody wants any more.
    fn send_back(&mut self, index: usize, now: Moment) {
        self.abandon(index, now);
        if !self.entries[index].configured {
            self.refuse_unknown(index);
        }
    }

    /// Callers waiting for a load of a model that has gone from the config.
    pub(in crate::registry) fn refuse_unknown(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        let id = Arc::clone(&entry.spec.id);
        for waiter in std::mem::take(&mut entry.waiters) {
            let id = Arc::clone(&id);
            self.answer_error(waiter.answer, RegistryError::UnknownModel { id });
        }
    }

    fn refuse_too_large(&mut self, index: usize, needed_bytes: u64, now: Moment) {
        let id = Arc::clone(&self.entries[index].spec.id);
        let budget_bytes = self.limits.max_memory_bytes;
        tracing::warn!(model = %id, needed_bytes, budget_bytes, "model is larger than the whole memory budget");
        self.room_queue.retain(|queued| *queued != id);
        let background = self.entries[index]
            .state
            .ticket()
            .is_some_and(|t| t.background);
        let event = if background {
            // Nobody is told, so the pause of a failure is what keeps this from being tried over and over.
            let cause = format!("{needed_bytes} bytes needed, {budget_bytes} allowed");
            let public = format!("model {id:?} is larger than the whole memory budget");
            Event::LoadFailed(LoadError::new(public, cause))
        } else {
            Event::Abandon
        };
        let left = self.step(index, event, now);
        let callers = left.and_then(|left| left.ticket).map(|t| t.callers);
        for waiter in callers.into_iter().flatten() {
            let refusal = RegistryError::TooLarge {
                id: Arc::clone(&id),
                needed_bytes,
                budget_bytes,
            };
            self.answer_error(waiter.answer, refusal);
        }
    }

    /// A reload that can never fit beside the generation it replaces.
    fn in_place_needed(&self, index: usize, need: u64) -> bool {
        match &self.entries[index].state {
            State::Ready { current, .. } => {
                current.memory_bytes.saturating_add(need) > self.limits.max_memory_bytes
            }
            _ => false,
        }
    }

    /// Drains the old generation, which the new one, now known to be valid, then follows.
    fn go_in_place(&mut self, index: usize, now: Moment) -> bool {
        let entry = &self.entries[index];
        let background = entry.state.ticket().is_some_and(|t| t.background);
        self.abandon(index, now);
        let entry = &mut self.entries[index];
        // Nobody asked for this one: if it is in use again, it is tried again when next idle.
        if !background || entry.idle() || !entry.waiters.is_empty() {
            entry.wanted = background;
            let reason = if background {
                Reason::Reconfigured
            } else {
                Reason::Replaced
            };
            self.drain(index, reason, now);
        }
        true
    }

    /// A load that may not push anyone out gives up its turn.
    fn yield_room(&mut self, index: usize, now: Moment) -> bool {
        let entry = &mut self.entries[index];
        let Some(ticket) = entry.state.ticket_mut() else {
            return false;
        };
        let background = ticket.background;
        let preloads = std::mem::take(&mut ticket.callers);
        for waiter in preloads {
            self.refuse_for_capacity(waiter.answer);
        }
        let reload = matches!(self.entries[index].state, State::Ready { .. });
        if background && reload {
            return self.go_in_place(index, now);
        }
        self.abandon(index, now);
        true
    }

    /// Whether an idle model stays although `asking` needs room: whoever reserved it has no more than it reserved.
    fn is_reserved(&self, index: usize, asking: usize) -> bool {
        let id = |index: usize| &*self.entries[index].spec.id;
        self.limits.reservations.iter().any(|reservation| {
            let resident = |entry: &&Entry<L>| {
                matches!(entry.state, State::Ready { .. }) && reservation.covers(&entry.spec.id)
            };
            reservation.covers(id(index))
                && !reservation.covers(id(asking))
                && self.entries.iter().filter(resident).count() <= reservation.count
        })
    }

    /// The idle models that stay when all others have been evicted for `asking`: of each reservation the largest, so
    /// that no more room is hoped for than there will be.
    fn reserved_to_the_end(&self, asking: usize) -> Vec<usize> {
        let mut kept = Vec::new();
        for reservation in &self.limits.reservations {
            if reservation.covers(&self.entries[asking].spec.id) {
                continue;
            }
            let of = |entry: &Entry<L>| {
                matches!(entry.state, State::Ready { .. }) && reservation.covers(&entry.spec.id)
            };
            let all = self
                .entries
                .iter()
                .enumerate()
                .filter(|(_, entry)| of(entry));
            let (idle, busy): (Vec<_>, Vec<_>) = all.partition(|(_, entry)| entry.idle());
            let mut idle: Vec<_> = idle
                .into_iter()
                .map(|(index, entry)| (entry.settled().map_or(0, |g| g.memory_bytes), index))
                .collect();
            idle.sort_unstable_by(|a, b| b.cmp(a));
            let stay = reservation.count.saturating_sub(busy.len());
            kept.extend(idle.into_iter().take(stay).map(|(_, index)| index));
        }
        kept
    }

    /// Evicts the policy's choice among the idle models.
    fn evict_one(&mut self, keep: Option<usize>, now: Moment) -> bool {
        let candidates = self.entries.iter().enumerate();
        let candidates = candidates
            .filter(|(index, entry)| Some(*index) != keep && entry.idle())
            .filter(|(index, _)| keep.is_none_or(|asking| !self.is_reserved(*index, asking)))
            .map(|(key, entry)| Candidate {
                key,
                last_used: entry.last_used,
                frequency: entry.frequency,
            });
        let Some(victim) = evict::victim(self.limits.policy, now.at, candidates) else {
            return false;
        };
        self.log_eviction(&self.entries[victim], now);
        self.drain(victim, Reason::Evicted, now);
        true
    }

    /// After limits were lowered, or a load measured larger than estimated: idle models leave until all fits.
    pub(in crate::registry) fn trim(&mut self, now: Moment) {
        while !self.count(Count::AfterDrops).fits(&self.limits) {
            if !self.evict_one(None, now) {
                break;
            }
        }
    }

    /// Loads that have finished serve if they fit, wait for room that is coming back, or fail.
    pub(in crate::registry) fn fit_loaded(&mut self, now: Moment) {
        for index in 0..self.entries.len() {
            let ticket = self.entries[index].state.ticket();
            let Some(Phase::Fitting { generation }) = ticket.map(|ticket| &ticket.phase) else {
                continue;
            };
            let bytes = generation.memory_bytes;
            let budget = self.limits.max_memory_bytes;
            if self.usage().bytes <= budget {
                self.serve(index, now);
            } else if self.count(Count::AfterDrops).bytes > budget {
                self.refuse_fitting(index, bytes, now);
            }
        }
    }

    /// Lets a generation go that turned out larger than the room there is.
    fn refuse_fitting(&mut self, index: usize, bytes: u64, now: Moment) {
        let entry = &mut self.entries[index];
        let Some(ticket) = entry.state.ticket_mut() else {
            return;
        };
        match std::mem::replace(&mut ticket.phase, Phase::Validating) {
            Phase::Fitting { generation } => entry.retired.push((generation, Reason::Refused)),
            other => ticket.phase = other,
        }
        tracing::warn!(
            model = %entry.spec.id,
            measured_bytes = bytes,
            "model measured larger than estimated and does not fit; set its memory_estimate_mb"
        );
        if bytes > self.limits.max_memory_bytes {
            return self.refuse_too_large(index, bytes, now);
        }
        let left = self.step(index, Event::Abandon, now);
        let callers = left.and_then(|left| left.ticket).map(|t| t.callers);
        for waiter in callers.into_iter().flatten() {
            self.refuse_for_capacity(waiter.answer);
        }
    }

    fn log_eviction(&self, victim: &Entry<L>, now: Moment) {
        if !self.limits.log_model_operations {
            return;
        }
        let unused = now.at.saturating_duration_since(victim.last_used);
        tracing::info!(
            model = %victim.spec.id,
            policy = self.limits.policy.name(),
            usage = victim.usage.frames(),
            last_used_seconds_ago = unused.as_secs_f64(),
            "evicting model"
        );
    }
}
