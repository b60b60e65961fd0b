//! What tenants have used, by model.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::journal::{Buckets, Journal, add, bucket};

/// Pairs of tenant and model that are counted apart since the start; what comes then is counted as `other`.
const PAIRS_MAX: usize = 10_000;
/// Pairs of tenant and reason, likewise.
const REFUSALS_MAX: usize = 10_000;
/// From so many buckets on, hours that are long past become days.
const BUCKETS_MAX: usize = 100_000;
/// Where the rest is counted.
const OTHER: &str = "other";

/// An amount of use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Frames made.
    pub frames: u64,
    /// Microseconds in the networks.
    pub inference_us: u64,
    /// Bytes of pictures sent.
    pub bytes: u64,
    /// Microseconds of loads that it waited for.
    pub load_us: u64,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.frames += other.frames;
        self.inference_us += other.inference_us;
        self.bytes += other.bytes;
        self.load_us += other.load_us;
    }
}

/// Usage by tenant and model.
pub type Sums = BTreeMap<(String, String), Usage>;

/// All accounts.
#[derive(Debug, Default)]
pub struct Accounts(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// All that is known, by hour.
    kept: Buckets,
    /// So many buckets are made fewer.
    merge_at: usize,
    /// Since the start.
    sums: Sums,
    refused: BTreeMap<(String, &'static str), u64>,
    journal: Option<Journal>,
    /// Whether the last line could not be written: it is said once.
    is_failing: bool,
}

impl Accounts {
    /// Accounts that go on where a journal ends.
    #[must_use]
    pub fn new(journal: Journal, kept: Buckets) -> Self {
        Self(Mutex::new(State {
            kept,
            journal: Some(journal),
            ..State::default()
        }))
    }

    /// Whether they are kept over a restart.
    #[must_use]
    pub fn are_kept(&self) -> bool {
        self.lock().journal.is_some()
    }

    /// Counts what a tenant has used of a model. It is in the journal when this returns.
    pub fn record(&self, tenant: &str, model: &str, usage: Usage) {
        let now = unix(SystemTime::now());
        let mut state = self.lock();
        let state = &mut *state;
        let mut pair = (tenant.to_owned(), model.to_owned());
        add(
            &mut state.kept,
            bucket(now, now),
            pair.0.clone(),
            pair.1.clone(),
            usage,
        );
        if state.kept.len() >= state.merge_at.max(BUCKETS_MAX) {
            state.kept = merged(&state.kept, now);
            state.merge_at = 2 * state.kept.len();
        }
        if state.sums.len() >= PAIRS_MAX && !state.sums.contains_key(&pair) {
            pair = (OTHER.to_owned(), OTHER.to_owned());
        }
        *state.sums.entry(pair).or_default() += usage;
        let Some(journal) = &mut state.journal else {
            return;
        };
        let mut written = journal.append(now, tenant, model, usage);
        if written.is_ok() && journal.is_long() {
            written = journal.sum_up(&state.kept);
        }
        match written {
            Ok(()) => state.is_failing = false,
            Err(error) if !state.is_failing => {
                state.is_failing = true;
                tracing::error!(
                    %error,
                    "usage cannot be written to server.usage_journal: it is kept in memory and tried again"
                );
            }
            Err(_) => (),
        }
    }

    /// Counts a call that was refused.
    pub fn refused(&self, tenant: &str, reason: &'static str) {
        let mut state = self.lock();
        let mut key = (tenant.to_owned(), reason);
        if state.refused.len() >= REFUSALS_MAX && !state.refused.contains_key(&key) {
            OTHER.clone_into(&mut key.0);
        }
        *state.refused.entry(key).or_default() += 1;
    }

    /// What was used since the server's start.
    #[must_use]
    pub fn since_start(&self) -> Sums {
        self.lock().sums.clone()
    }

    /// What was used since a time, by whole hours; without one, ever.
    #[must_use]
    pub fn since(&self, time: Option<SystemTime>) -> Sums {
        let now = unix(SystemTime::now());
        let from = time.map_or(0, |time| bucket(unix(time), now));
        let mut sums = Sums::new();
        for ((at, tenant, model), usage) in &self.lock().kept {
            if *at >= from {
                *sums.entry((tenant.clone(), model.clone())).or_default() += *usage;
            }
        }
        sums
    }

    /// Calls that were refused since the start, by tenant and reason.
    #[must_use]
    pub fn refusals(&self) -> Vec<(String, &'static str, u64)> {
        let state = self.lock();
        let refused = state.refused.iter();
        refused
            .map(|((tenant, reason), calls)| (tenant.clone(), *reason, *calls))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same in days where hours are long past.
fn merged(kept: &Buckets, now: u64) -> Buckets {
    let mut merged = Buckets::new();
    for ((at, tenant, model), usage) in kept {
        add(
            &mut merged,
            bucket(*at, now),
            tenant.clone(),
            model.clone(),
            *usage,
        );
    }
    merged
}

/// Seconds since 1970; a clock before that is at its beginning.
#[must_use]
pub fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_by_tenant_and_model() {
        let accounts = Accounts::default();
        let usage = Usage {
            frames: 2,
            bytes: 10,
            ..Usage::default()
        };
        for (tenant, model) in [("a", "red"), ("a", "red"), ("b", "red"), ("a", "green")] {
            accounts.record(tenant, model, usage);
        }
        let frames = |sums: &Sums, tenant: &str, model: &str| {
            sums[&(tenant.to_owned(), model.to_owned())].frames
        };
        for sums in [
            accounts.since_start(),
            accounts.since(None),
            accounts.since(Some(SystemTime::now())),
        ] {
            assert_eq!(frames(&sums, "a", "red"), 4);
            assert_eq!(frames(&sums, "b", "red"), 2);
            assert_eq!(frames(&sums, "a", "green"), 2);
        }
        let tomorrow = SystemTime::now() + std::time::Duration::from_hours(24);
        assert!(accounts.since(Some(tomorrow)).is_empty());
        accounts.refused("a", "OVERLOADED");
        accounts.refused("a", "OVERLOADED");
        assert_eq!(accounts.refusals(), [("a".to_owned(), "OVERLOADED", 2)]);
        assert!(!accounts.are_kept());
    }

    #[test]
    fn labels_are_bounded() {
        let accounts = Accounts::default();
        for number in 0..2 * PAIRS_MAX {
            accounts.record(&number.to_string(), "red", Usage::default());
            accounts.refused(&number.to_string(), "OVERLOADED");
        }
        assert!(accounts.since_start().len() <= PAIRS_MAX + 1);
        assert!(accounts.refusals().len() <= REFUSALS_MAX + 1);
    }
}
