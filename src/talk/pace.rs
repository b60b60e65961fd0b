//! A stream's clock, and how long before its slot a frame must be begun: pure arithmetic.

use std::time::Duration;

use tokio::time::Instant;

/// A frame rate's moments: slot `n` begins `n / fps` seconds after the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
    fps: u64,
}

const SECOND_NS: u128 = 1_000_000_000;

impl Clock {
    pub(super) fn new(start: Instant, fps: u32) -> Self {
        let fps = u64::from(fps.max(1));
        Self { start, fps }
    }

    /// When `slot` begins.
    pub(super) fn moment(&self, slot: u64) -> Instant {
        self.start + self.offset(slot)
    }

    /// Time from the stream's first frame to `slot`, rounded up to a nanosecond, so that it lies in the slot.
    pub(super) fn offset(&self, slot: u64) -> Duration {
        let nanos = (u128::from(slot) * SECOND_NS).div_ceil(self.fps.into());
        Duration::from_nanos(nanos as u64)
    }

    /// The slot that `now` lies in.
    pub(super) fn slot(&self, now: Instant) -> u64 {
        let nanos = now.saturating_duration_since(self.start).as_nanos();
        (nanos * u128::from(self.fps) / SECOND_NS) as u64
    }

    /// One frame's time.
    pub(super) fn frame(&self) -> Duration {
        self.offset(1)
    }
}

/// How long a frame takes from its planning to its picture, as far as one can know.
#[derive(Debug)]
pub(super) struct Lead {
    frame: Duration,
    time: Duration,
    /// Frames in a row that were late.
    late: u32,
}

/// A frame that takes longer than this is no guide to the next.
const LEAD_MAX: Duration = Duration::from_secs(2);

impl Lead {
    /// `frame` is one frame's time.
    pub(super) fn new(frame: Duration) -> Self {
        Self {
            frame,
            time: frame,
            late: 0,
        }
    }

    pub(super) fn time(&self) -> Duration {
        self.time
    }

    /// A frame took `time` from its planning to its picture.
    pub(super) fn learn(&mut self, time: Duration) {
        self.late = 0;
        self.time = (self.time * 7 + time.min(LEAD_MAX)) / 8;
    }

    /// A frame had no picture when its slot was over: the next ones need more time.
    ///
    /// A little at first, more with every one in a row: one hiccup must not cost the frames after it, and a network
    /// that is far too slow is known after a few.
    pub(super) fn learn_late(&mut self) {
        self.late += 1;
        let more = self.frame / 4 * self.late;
        self.time = (self.time + more).min(LEAD_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_lies_in_its_slot_at_every_rate() {
        let start = Instant::now();
        for fps in 1..=60 {
            let clock = Clock::new(start, fps);
            for slot in (0..200).chain([1_000_000_007]) {
                assert_eq!(clock.slot(clock.moment(slot)), slot, "{fps} {slot}");
            }
        }
    }

    #[test]
    fn the_lead_follows_what_frames_take_and_has_an_end() {
        let mut lead = Lead::new(Duration::from_millis(40));
        for _ in 0..100 {
            lead.learn(Duration::from_millis(150));
        }
        assert!((145..=150).contains(&lead.time().as_millis()));
        for _ in 0..100 {
            lead.learn_late();
        }
        assert_eq!(lead.time(), LEAD_MAX);
    }
}
