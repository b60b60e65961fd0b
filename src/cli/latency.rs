//! How long calls took: the figures that commands which make many of them report.

use std::time::Duration;

use serde::Serialize;

/// The times of many calls, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Latency {
    /// How many calls.
    pub(crate) calls: usize,
    /// Half of them took at most this.
    pub(crate) p50_ms: f64,
    /// Nine of ten.
    pub(crate) p90_ms: f64,
    /// 99 of 100.
    pub(crate) p99_ms: f64,
    /// All of them.
    pub(crate) max_ms: f64,
}

impl Latency {
    /// The figures of `times`, by nearest rank: each is a time that a call really took.
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let rank = |percent: usize| {
            let index = (times.len() * percent).div_ceil(100).saturating_sub(1);
            let time = times.get(index).copied().unwrap_or_default();
            time.as_secs_f64() * 1e3
        };
        Self {
            calls: times.len(),
            p50_ms: rank(50),
            p90_ms: rank(90),
            p99_ms: rank(99),
            max_ms: rank(100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times = |count: u64| (1..=count).rev().map(Duration::from_millis).collect();
        let ranks = |count| {
            let of = Latency::of(times(count));
            [of.p50_ms, of.p90_ms, of.p99_ms, of.max_ms]
        };
        let near = |found: [f64; 4], expected: [f64; 4]| {
            let same = found
                .iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-9);
            assert!(same, "{found:?}, not {expected:?}");
        };
        near(ranks(0), [0.0; 4]);
        near(ranks(1), [1.0; 4]);
        near(ranks(2), [1.0, 2.0, 2.0, 2.0]);
        near(ranks(10), [5.0, 9.0, 10.0, 10.0]);
        near(ranks(200), [100.0, 180.0, 198.0, 200.0]);
    }
}
