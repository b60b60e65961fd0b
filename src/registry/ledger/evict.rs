//! Who leaves first when room is needed: pure arithmetic over what the owner knows.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

/// How a victim is chosen among the idle models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Least recently used: the oldest end of a lease.
    Lru,
    /// Least frequently used, with ageing: the lowest [`Frequency`]; ties go to the least recently used.
    Lfu {
        /// After this long a frame counts half.
        half_life: Duration,
    },
}

impl Policy {
    /// Ten minutes: long enough to span the pauses of a chat, short enough to forget a busy morning by noon.
    pub const DEFAULT_HALF_LIFE: Duration = Duration::from_mins(10);

    /// LFU with the default half-life.
    pub const LFU: Self = Self::Lfu {
        half_life: Self::DEFAULT_HALF_LIFE,
    };

    /// The name used in the config and in logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lru => "lru",
            Self::Lfu { .. } => "lfu",
        }
    }
}

/// A count that forgets: `f(now) = sum over frames of 2^(-(now - t_frame) / half_life)`.
///
/// Kept as one number: `f(t1) = f(t0) * 2^(-(t1 - t0) / half_life)`, so nothing has to be remembered per frame.
/// Without ageing, a model that was busy yesterday would stay for ever and push out all that are busy today.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::registry) struct Frequency {
    value: f64,
    at: Option<Instant>,
}

impl Frequency {
    /// Counts `frames` inferred at `now`.
    pub(in crate::registry) fn add(&mut self, frames: u64, now: Instant, half_life: Duration) {
        self.value = self.at(now, half_life) + frames as f64;
        self.at = Some(now);
    }

    /// The aged count at `now`.
    #[must_use]
    pub(in crate::registry) fn at(&self, now: Instant, half_life: Duration) -> f64 {
        let Some(at) = self.at else { return self.value };
        let age = now.saturating_duration_since(at).as_secs_f64();
        self.value * (-age / half_life.as_secs_f64()).exp2()
    }
}

/// An idle model, as the policy sees it.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry) struct Candidate<K> {
    /// Whatever names the model.
    pub(in crate::registry) key: K,
    /// End of its last lease, or its load.
    pub(in crate::registry) last_used: Instant,
    /// How often it is used.
    pub(in crate::registry) frequency: Frequency,
}

/// The one to evict; `None` without candidates. Full ties go to the first.
pub(in crate::registry) fn victim<K>(
    policy: Policy,
    now: Instant,
    candidates: impl IntoIterator<Item = Candidate<K>>,
) -> Option<K> {
    candidates
        .into_iter()
        .min_by(|a, b| compare(policy, now, a, b))
        .map(|candidate| candidate.key)
}

fn compare<K>(policy: Policy, now: Instant, a: &Candidate<K>, b: &Candidate<K>) -> Ordering {
    let by_use = match policy {
        Policy::Lru => Ordering::Equal,
        Policy::Lfu { half_life } => {
            let frequency = |c: &Candidate<K>| c.frequency.at(now, half_life);
            frequency(a).total_cmp(&frequency(b))
        }
    };
    by_use.then_with(|| a.last_used.cmp(&b.last_used))
}
