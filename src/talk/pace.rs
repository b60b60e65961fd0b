//! Which slot a frame is shown in: pure arithmetic of a stream's clock.

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

/// Where a speech frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is shown in this slot.
    At(u64),
    /// The moment of its slot has come too near to make it: it is left out, and what follows keeps its time.
    LeftOut(u64),
}

/// Gives speech frames their slots in real time.
///
/// Within an utterance, frames have consecutive slots, so pictures and sound stay together whatever happens:
/// a frame that cannot be made in time is left out. When the audio itself comes too late, there is nothing to show
/// in its slot, and the rest of the utterance is moved to the next slot that can be met.
#[derive(Debug)]
pub(super) struct Pace {
    clock: Clock,
    /// First slot that no frame was planned for.
    free: u64,
    /// How long a frame takes from its planning to its picture, smoothed.
    lead: Duration,
    /// Frames in a row that were late.
    late: u32,
}

impl Pace {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            free: 0,
            lead: clock.frame(),
            late: 0,
        }
    }

    /// A place for the next frame: the first of its utterance or not, its audio complete at `arrived`.
    pub(super) fn place(&mut self, first: bool, arrived: Instant, now: Instant) -> Place {
        // In time for the slot's end, if its making begins at `from`.
        let end = self.clock.moment(self.free + 1);
        let in_time = |from: Instant| from + self.lead <= end;
        if in_time(now) && !(first && self.free < self.earliest(now)) {
            return self.take(self.free);
        }
        if !first && in_time(arrived) {
            let slot = self.free;
            self.free += 1;
            return Place::LeftOut(slot);
        }
        self.take(self.free.max(self.earliest(now)))
    }

    fn take(&mut self, slot: u64) -> Place {
        self.free = slot + 1;
        Place::At(slot)
    }

    /// The first slot whose frame can be ready when the slot begins.
    fn earliest(&self, now: Instant) -> u64 {
        self.clock.slot(now + self.lead) + 1
    }

    /// A frame took `time` from its planning to its picture.
    pub(super) fn learn(&mut self, time: Duration) {
        let time = time.min(LEAD_MAX);
        self.late = 0;
        self.lead = (self.lead * 7 + time) / 8;
    }

    /// A frame had no picture when its slot was over: the next ones need more time.
    ///
    /// A little at first, more with every one in a row: one hiccup must not cost the frames after it, and a network
    /// that is far too slow is known after a few.
    pub(super) fn learn_late(&mut self) {
        self.late += 1;
        let more = self.clock.frame() / 4 * self.late;
        self.lead = (self.lead + more).min(LEAD_MAX);
    }

    /// Forgets what was planned from `slot` on.
    pub(super) fn interrupt(&mut self, slot: u64) {
        self.free = slot;
    }
}

/// A frame that takes longer than this is no guide to the next.
const LEAD_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

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

    fn pace() -> (Pace, Instant) {
        let start = Instant::now();
        (Pace::new(Clock::new(start, 25)), start)
    }

    #[test]
    fn an_utterance_begins_when_its_first_frame_can_be_ready_and_runs_on() {
        let (mut pace, start) = pace();
        let now = start + ms(405);
        assert_eq!(pace.place(true, now, now), Place::At(12));
        for slot in 13..30 {
            assert_eq!(pace.place(false, now, now), Place::At(slot));
        }
        // The next utterance follows at once.
        assert_eq!(pace.place(true, now, now), Place::At(30));
    }

    #[test]
    fn a_frame_that_cannot_be_made_in_time_is_left_out() {
        let (mut pace, start) = pace();
        assert_eq!(pace.place(true, start, start), Place::At(2));
        let late = start + ms(200);
        assert_eq!(pace.place(false, start, late), Place::LeftOut(3));
        assert_eq!(pace.place(false, start, late), Place::LeftOut(4));
        assert_eq!(pace.place(false, start, late), Place::At(5));
    }

    #[test]
    fn late_audio_moves_the_rest_of_its_utterance() {
        let (mut pace, start) = pace();
        assert_eq!(pace.place(true, start, start), Place::At(2));
        let late = start + ms(400);
        assert_eq!(pace.place(false, late, late), Place::At(12));
        assert_eq!(pace.place(false, late, late), Place::At(13));
    }

    #[test]
    fn a_slow_network_plans_further_ahead() {
        let (mut pace, start) = pace();
        for _ in 0..100 {
            pace.learn(ms(150));
        }
        assert_eq!(pace.place(true, start, start), Place::At(4));
    }

    #[test]
    fn after_an_interrupt_the_next_utterance_may_begin_at_once() {
        let (mut pace, start) = pace();
        for _ in 0..50 {
            pace.place(false, start, start);
        }
        pace.interrupt(1);
        assert_eq!(pace.place(true, start, start), Place::At(2));
    }
}
