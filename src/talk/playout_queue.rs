//! What is shown in which slot: one list that is both the plan and what is shown from it.
//!
//! A stream is a row of slots of one frame each. The queue holds the slots from the next one to be shown on, and the ends
//! of utterances between them. **A slot's number is its place in the queue**: the front is the next to be shown, the
//! one behind it the next but one. No entry keeps a number of its own. Who plans can only append; who shows can only take
//! the front, and the queue moves on with it. So a frame that is planned for a slot that was shown already cannot be
//! expressed, and nothing can wait for one: every slot that is over brings every frame behind it one slot nearer.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::Progress;
use crate::pipeline::RenderedFrame;

/// Names a speech frame of a stream: its utterance and its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameId {
    pub(super) utterance: u64,
    pub(super) frame: u64,
}

/// A planned speech frame.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) id: FrameId,
    /// When it was planned.
    pub(super) since: Instant,
    /// Its picture, once it is rendered.
    pub(super) picture: Option<RenderedFrame>,
}

/// What is shown in one slot.
#[derive(Debug)]
pub(super) enum Slot {
    Speech(Planned),
    /// The slot of a speech frame that was left out. No idle frame takes its place, or the mouth would flicker.
    LeftOut,
    Idle,
}

/// The end of an utterance: how many frames it has, and how many of them were left out when they were planned.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlannedEnd {
    pub(super) utterance: Progress,
    pub(super) left_out: u64,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Cue {
    Slot(Slot),
    End(PlannedEnd),
}

/// The slots to come, in order.
#[derive(Debug, Default)]
pub(super) struct PlayoutQueue {
    /// Number of the slot at the front.
    next: u64,
    cues: VecDeque<Cue>,
    /// Slots among the cues.
    slots: u64,
    /// Speech frames among the slots.
    frames: usize,
    /// Slots that were over before the utterance's frame for them was planned.
    missed: u64,
}

impl PlayoutQueue {
    /// Number of the next slot to be shown.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Number of the first slot for which nothing is planned.
    pub(super) fn free(&self) -> u64 {
        self.next + self.slots
    }

    /// Number of the slot that the next frame of the utterance belongs in to be in step with the frames before it. It
    /// may be over.
    pub(super) fn due(&self) -> u64 {
        self.free() - self.missed
    }

    /// Speech frames that are being rendered or ready.
    pub(super) fn frames(&self) -> usize {
        self.frames
    }

    /// Ends of utterances that wait to be shown.
    pub(super) fn ends(&self) -> usize {
        self.cues.len() - self.slots as usize
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cues.is_empty()
    }

    pub(super) fn front(&self) -> Option<&Cue> {
        self.cues.front()
    }

    // Planning.

    /// Begins an utterance: its first frame is due in the first free slot.
    pub(super) fn begin_utterance(&mut self) {
        self.missed = 0;
    }

    /// Plans a frame for `slot`, with idle slots up to it, or for the first free slot if that is later; gives its number.
    pub(super) fn push_speech(&mut self, slot: u64, planned: Planned) -> u64 {
        self.missed = 0;
        while self.free() < slot {
            self.push_slot(Slot::Idle);
        }
        self.frames += 1;
        self.push_slot(Slot::Speech(planned));
        self.free() - 1
    }

    /// Leaves out the frame that is due.
    pub(super) fn push_left_out(&mut self) {
        if self.missed > 0 {
            self.missed -= 1;
        } else {
            self.push_slot(Slot::LeftOut);
        }
    }

    fn push_slot(&mut self, slot: Slot) {
        self.slots += 1;
        self.cues.push_back(Cue::Slot(slot));
    }

    pub(super) fn push_end(&mut self, end: PlannedEnd) {
        self.cues.push_back(Cue::End(end));
    }

    /// Gives a frame its picture; tells when it was planned, or nothing if it is not wanted any more.
    pub(super) fn arrive(&mut self, id: FrameId, picture: RenderedFrame) -> Option<Instant> {
        let planned = self.cues.iter_mut().find_map(|cue| match cue {
            Cue::Slot(Slot::Speech(planned)) if planned.id == id => Some(planned),
            _ => None,
        })?;
        planned.picture = Some(picture);
        Some(planned.since)
    }

    // Showing.

    /// Takes what comes next. With a slot, the queue moves on by one; behind the last one all slots are idle.
    pub(super) fn take(&mut self) -> Cue {
        let cue = self.cues.pop_front();
        match &cue {
            Some(Cue::End(_)) => (),
            Some(Cue::Slot(slot)) => {
                self.slots -= 1;
                self.frames -= usize::from(matches!(slot, Slot::Speech(_)));
                self.next += 1;
            }
            None => {
                self.missed += 1;
                self.next += 1;
            }
        }
        cue.unwrap_or(Cue::Slot(Slot::Idle))
    }

    /// Drops everything that is planned.
    pub(super) fn clear(&mut self) {
        self.cues.clear();
        self.slots = 0;
        self.frames = 0;
        self.missed = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Begin,
        Speech { ahead: i64 },
        LeaveOut,
        End,
        Take,
        Clear,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            1 => Just(Step::Begin),
            4 => (-3..6_i64).prop_map(|ahead| Step::Speech { ahead }),
            1 => Just(Step::LeaveOut),
            1 => Just(Step::End),
            6 => Just(Step::Take),
            1 => Just(Step::Clear),
        ]
    }

    proptest! {
        /// Whatever slot is asked for, a frame comes out in the slot it was told, and never in one that is over.
        #[test]
        fn a_frame_is_shown_in_the_slot_it_was_given(steps in prop::collection::vec(step(), 0..200)) {
            let mut queue = PlayoutQueue::default();
            let mut promised = VecDeque::new();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Begin => queue.begin_utterance(),
                    Step::Speech { ahead } => {
                        let id = FrameId { utterance: 0, frame: number as u64 };
                        let wanted = queue.due().saturating_add_signed(ahead);
                        let planned = Planned { id, since: Instant::now(), picture: None };
                        let slot = queue.push_speech(wanted, planned);
                        prop_assert!(slot >= queue.next() && slot >= wanted);
                        promised.push_back((slot, id));
                    }
                    Step::LeaveOut => queue.push_left_out(),
                    Step::End => {
                        let utterance = Progress::default();
                        queue.push_end(PlannedEnd { utterance, left_out: 0 });
                    }
                    Step::Take => {
                        let slot = queue.next();
                        if let Cue::Slot(Slot::Speech(planned)) = queue.take() {
                            prop_assert_eq!(promised.pop_front(), Some((slot, planned.id)));
                        }
                    }
                    Step::Clear => {
                        queue.clear();
                        promised.clear();
                    }
                }
                prop_assert_eq!(queue.frames(), promised.len());
                prop_assert!(promised.iter().all(|(slot, _)| *slot >= queue.next()));
            }
        }
    }
}
