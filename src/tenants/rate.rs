//! Frames a second, with room for a burst.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A bucket of frames that fills by the second.
///
/// What a stream shows is taken whether or not there is something left: a debt has to be paid before a batch or another
/// stream begins.
#[derive(Debug)]
pub struct FrameRate {
    per_second: f64,
    burst: f64,
    level: Mutex<(f64, Instant)>,
}

impl FrameRate {
    /// A full bucket.
    #[must_use]
    pub fn new(per_second: f64, burst: f64, now: Instant) -> Self {
        Self {
            per_second,
            burst,
            level: Mutex::new((burst, now)),
        }
    }

    /// Takes frames that are there.
    ///
    /// # Errors
    /// How long it takes until they are.
    pub fn take(&self, frames: usize, now: Instant) -> Result<(), Duration> {
        let frames = frames as f64;
        self.change(now, |level| {
            // More than ever fits is let through when the bucket is full.
            let missing = frames.min(self.burst) - *level;
            if missing > 0.0 {
                return Err(Duration::from_secs_f64(missing / self.per_second));
            }
            *level -= frames;
            Ok(())
        })
    }

    /// Takes frames that were made.
    pub fn charge(&self, frames: usize, now: Instant) {
        self.change(now, |level| *level -= frames as f64);
    }

    fn change<R>(&self, now: Instant, change: impl FnOnce(&mut f64) -> R) -> R {
        let mut state = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let (level, last) = &mut *state;
        let passed = now.saturating_duration_since(*last);
        *level = (*level + passed.as_secs_f64() * self.per_second).min(self.burst);
        *last = now.max(*last);
        change(level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_followed_by_the_rate() {
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let rate = FrameRate::new(10.0, 20.0, start);
        assert_eq!(rate.take(20, start), Ok(()));
        assert_eq!(rate.take(5, start), Err(Duration::from_millis(500)));
        assert_eq!(rate.take(5, at(0.5)), Ok(()));
        rate.charge(10, at(0.5));
        assert_eq!(rate.take(1, at(0.5)), Err(Duration::from_millis(1100)));
        // A clock that goes back gives nothing.
        assert!(rate.take(1, start).is_err());
        // More than the burst waits for a full bucket, and leaves a debt.
        assert_eq!(rate.take(25, at(100.0)), Ok(()));
        assert_eq!(rate.take(1, at(100.0)), Err(Duration::from_millis(600)));
    }
}
