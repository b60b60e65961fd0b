//! Every bound of the registry.

use std::sync::Arc;
use std::time::Duration;

use super::error::ConfigureError;
use super::ledger::evict::Policy;

/// The bounds the registry keeps; all may change while it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Most models in memory at once (`capacity.max_models`). Both generations of a model being reloaded count as one.
    pub max_models: usize,
    /// Most bytes of all generations together (`capacity.max_memory_gb`).
    pub max_memory_bytes: u64,
    /// Who leaves first (`capacity.eviction_policy`).
    pub policy: Policy,
    /// A model without a lease for this long is unloaded (`capacity.idle_unload_minutes`); `None` never.
    pub idle_unload: Option<Duration>,
    /// Longest wait for room before "capacity full".
    pub eviction_wait: Duration,
    /// Most validations and loads running at the same time.
    pub max_parallel_loads: usize,
    /// Most callers waiting for loads, unloads and room.
    pub max_waiting: usize,
    /// Pause after the first failed load; doubles with each further one.
    pub backoff_first: Duration,
    /// Longest pause after a failed load.
    pub backoff_max: Duration,
    /// Models that do not make room for others.
    pub reservations: Vec<Reservation>,
    /// Whether loads, evictions and unloads are logged (`logging.log_model_operations`). Failures always are.
    pub log_model_operations: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_models: 3,
            max_memory_bytes: 4 << 30,
            policy: Policy::Lru,
            idle_unload: Some(Duration::from_mins(30)),
            eviction_wait: Duration::from_secs(5),
            max_parallel_loads: 2,
            max_waiting: 256,
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_mins(1),
            reservations: Vec::new(),
            log_model_operations: true,
        }
    }
}

/// So many of these models stay in memory when another model needs room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// By id.
    pub models: Vec<Arc<str>>,
    /// How many of them.
    pub count: usize,
}

impl Reservation {
    /// Whether it holds for the model.
    #[must_use]
    pub fn covers(&self, id: &str) -> bool {
        self.models.iter().any(|model| **model == *id)
    }
}

impl Limits {
    /// Refuses limits under which nothing could ever load.
    ///
    /// # Errors
    /// Names the first limit that is zero.
    pub fn validate(&self) -> Result<(), ConfigureError> {
        for (name, value) in [
            ("max_models", self.max_models as u64),
            ("max_memory_bytes", self.max_memory_bytes),
            ("max_parallel_loads", self.max_parallel_loads as u64),
            ("max_waiting", self.max_waiting as u64),
        ] {
            if value == 0 {
                return Err(ConfigureError::ZeroLimit { name });
            }
        }
        let half_life = match self.policy {
            Policy::Lru => None,
            Policy::Lfu { half_life } => Some(half_life),
        };
        for (name, value) in [
            ("idle_unload", self.idle_unload),
            ("backoff_first", Some(self.backoff_first)),
            ("backoff_max", Some(self.backoff_max)),
            ("half_life", half_life),
        ] {
            if value == Some(Duration::ZERO) {
                return Err(ConfigureError::ZeroDuration { name });
            }
        }
        Ok(())
    }

    /// The pause after the `failures`-th failed load in a row (1 = first): `first * 2^(failures-1)`, at most `max`.
    #[must_use]
    pub fn backoff(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.backoff_first
            .saturating_mul(1 << doublings)
            .min(self.backoff_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_limit() {
        let limits = Limits {
            backoff_first: Duration::from_millis(100),
            backoff_max: Duration::from_secs(1),
            ..Limits::default()
        };
        let pauses: Vec<_> = [1, 2, 3, 4, 5, 40, u32::MAX]
            .map(|n| limits.backoff(n).as_millis())
            .into();
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000, 1000]);
    }

    #[test]
    fn limits_that_allow_nothing_are_refused() {
        assert_eq!(Limits::default().validate(), Ok(()));
        let none = Limits {
            max_models: 0,
            ..Limits::default()
        };
        assert_eq!(
            none.validate().unwrap_err().to_string(),
            "max_models must be at least 1"
        );
        let instant = Limits {
            idle_unload: Some(Duration::ZERO),
            ..Limits::default()
        };
        assert_eq!(
            instant.validate().unwrap_err().to_string(),
            "idle_unload must be longer than zero"
        );
    }
}
