//! Which frame leaves when: slots in real time, marks in their place among frames, and the stream's figures.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::actor::{About, Actor, Note};
use super::making::Picture;
use super::pace::{Clock, Pace, Place};
use super::stage::{Cue, Planned, Stage};
use super::{Cut, Event, Frame, Kind, Progress, Summary};
use crate::engine::InferenceError;
use crate::pipeline::render::RenderFault;
use crate::pipeline::{RenderError, RenderedFrame};

/// What a stream shows, from what is planned to the event that leaves.
pub(super) struct Show {
    started: Instant,
    clock: Clock,
    /// In real time, who decides about slots; otherwise frames simply follow each other.
    pace: Option<Pace>,
    stage: Stage,
    /// The next frame without real time: the first slot without a frame.
    free: u64,
    /// The next slot to be sent.
    slot: u64,
    /// Slots to come whose speech was left out: no idle frame takes its place, or the mouth would flicker.
    left_out: VecDeque<u64>,
    idle: Option<(u64, RenderedFrame)>,
    marks: VecDeque<Event>,
    /// The utterance that is shown, and its frames so far.
    shown: Progress,
    /// When the utterances that were not shown yet began to come in.
    begun: VecDeque<(u64, Instant)>,
    /// When the last utterance was over.
    quiet_since: Instant,
    summary: Summary,
    over: bool,
}

impl Show {
    pub(super) fn new(about: About, realtime: bool) -> Self {
        let started = Instant::now();
        let clock = Clock::new(started, about.fps);
        Self {
            started,
            clock,
            pace: realtime.then(|| Pace::new(clock)),
            stage: Stage::default(),
            free: 0,
            slot: 0,
            left_out: VecDeque::new(),
            idle: None,
            marks: VecDeque::from([Event::Started(about)]),
            shown: Progress::default(),
            begun: VecDeque::new(),
            quiet_since: started,
            summary: Summary::default(),
            over: false,
        }
    }

    // What comes in.

    /// Notes when an utterance begins to come in.
    pub(super) fn begins(&mut self, utterance: u64, now: Instant) {
        self.begun.push_back((utterance, now));
    }

    /// A slot for a speech frame whose audio came at `arrived`, and until when it is of use; `None` if it is left out.
    pub(super) fn place(
        &mut self,
        first: bool,
        arrived: Instant,
        now: Instant,
    ) -> Option<(u64, Option<Instant>)> {
        let Some(pace) = &mut self.pace else {
            return Some((self.free, None));
        };
        match pace.place(first, arrived, now) {
            Place::At(slot) => Some((slot, Some(self.clock.moment(slot + 1)))),
            Place::LeftOut(slot) => {
                self.summary.late_frames += 1;
                if slot >= self.slot {
                    self.left_out.push_back(slot);
                }
                None
            }
        }
    }

    /// Puts the next cue behind the others.
    pub(super) fn plan(&mut self, cue: Cue) {
        if let Cue::Frame(planned) = &cue {
            self.free = planned.slot + 1;
        }
        self.stage.push(cue);
    }

    /// Speech frames that are planned or ready.
    pub(super) fn frames(&self) -> usize {
        self.stage.frames()
    }

    /// Whether no speech and no end of an utterance waits.
    pub(super) fn is_empty(&self) -> bool {
        self.stage.is_empty()
    }

    /// Takes a speech frame.
    pub(super) fn speech(
        &mut self,
        id: u64,
        picture: Picture,
        now: Instant,
    ) -> Result<(), RenderError> {
        self.pass_slots(now);
        match picture {
            Ok(picture) => {
                let since = self.stage.arrive(id, picture);
                if let (Some(pace), Some(since)) = (&mut self.pace, since) {
                    pace.learn(now - since);
                }
                Ok(())
            }
            // It stays on the stage without a picture, until its slot has passed.
            Err(RenderError {
                source: RenderFault::Inference(InferenceError::DeadlineExceeded),
                ..
            }) if self.pace.is_some() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes an idle frame.
    pub(super) fn idle(
        &mut self,
        slot: u64,
        picture: Picture,
        now: Instant,
    ) -> Result<(), RenderError> {
        // What has passed meanwhile must not count against the frame that is there now.
        self.pass_slots(now);
        self.idle = Some((slot, picture?));
        Ok(())
    }

    /// Drops all speech.
    pub(super) fn drop_speech(&mut self) {
        self.begun.clear();
        self.stage.clear();
        self.left_out.clear();
        self.free = self.slot;
        if let Some(pace) = &mut self.pace {
            pace.interrupt(self.slot);
        }
    }

    /// Tells that all speech was dropped; `utterance` is the next.
    pub(super) fn interrupted(&mut self, utterance: u64, now: Instant) {
        self.quiet_since = now;
        self.marks.push_back(Event::Interrupted(Cut {
            shown: self.shown,
            time: self.clock.offset(self.shown.frames),
        }));
        self.shown = Progress {
            utterance,
            frames: 0,
        };
    }

    /// Nothing follows but the summary.
    pub(super) fn end(&mut self, now: Instant) {
        if self.over {
            return;
        }
        self.over = true;
        self.summary.elapsed = now - self.started;
        self.marks.push_back(Event::Summary(self.summary));
    }

    /// Whether the stream was summed up.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    // Real time.

    /// Leaves behind the slots that are over and were not sent.
    pub(super) fn pass_slots(&mut self, now: Instant) {
        if self.pace.is_none() {
            return;
        }
        let current = self.clock.slot(now);
        while self.slot < current {
            if let Some(end) = self.stage.pop_end() {
                // Said before any later frame, however late.
                self.end_utterance(end, now);
                continue;
            }
            if self
                .left_out
                .pop_front_if(|slot| *slot == self.slot)
                .is_some()
            {
                // Counted when it was left out.
                self.slot += 1;
                continue;
            }
            let was_ready = if self.stage.next_slot() == Some(self.slot) {
                let planned = self.stage.pop_frame();
                let was_ready = planned.is_some_and(|planned| planned.picture.is_some());
                if let (false, Some(pace)) = (was_ready, &mut self.pace) {
                    pace.learn_late();
                }
                was_ready
            } else {
                self.idle.take().is_some()
            };
            if was_ready {
                self.summary.skipped_frames += 1;
            } else {
                self.summary.late_frames += 1;
            }
            self.slot += 1;
        }
    }

    /// Whether the slot at hand has begun and no speech is planned for it.
    fn is_idle(&self, now: Instant) -> bool {
        self.pace.is_some()
            && !self.over
            && self.clock.moment(self.slot) <= now
            && self.stage.next_slot() != Some(self.slot)
            && self.left_out.front() != Some(&self.slot)
            && !self.stage.at_end()
    }

    /// The slot that an idle frame is to be made for, if one is.
    pub(super) fn wants_idle(&self, now: Instant) -> Option<u64> {
        (self.is_idle(now) && self.idle.is_none()).then_some(self.slot)
    }

    /// In real time, when something may be due without anything having happened.
    pub(super) fn next_moment(&self, now: Instant) -> Option<Instant> {
        self.pace.as_ref()?;
        let begin = self.clock.moment(self.slot);
        Some(if begin > now {
            begin
        } else {
            self.clock.moment(self.slot + 1)
        })
    }

    // Events.

    /// Whether there is something to send now.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        if !self.marks.is_empty() || self.stage.at_end() {
            return true;
        }
        if self.pace.is_none() {
            return self.stage.is_ready();
        }
        if self.clock.moment(self.slot) > now {
            return false;
        }
        if self.stage.next_slot() == Some(self.slot) {
            self.stage.is_ready()
        } else {
            self.idle.is_some() && self.is_idle(now)
        }
    }

    /// What to send now, looked at only when there is room for it. `actor` is told of first frames.
    pub(super) fn next<A: Actor>(&mut self, actor: &A, now: Instant) -> Option<Event> {
        self.pass_slots(now);
        if let Some(mark) = self.marks.pop_front() {
            return Some(mark);
        }
        if !self.is_ready(now) {
            return None;
        }
        if let Some(end) = self.stage.pop_end() {
            self.end_utterance(end, now);
            return self.marks.pop_front();
        }
        if self.pace.is_none() || self.stage.next_slot() == Some(self.slot) {
            let planned = self.stage.pop_frame()?;
            return self.speech_frame(planned, actor, now);
        }
        let (slot, picture) = self.idle.take()?;
        self.summary.idle_frames += 1;
        Some(self.frame(slot, Kind::Idle, picture))
    }

    fn speech_frame<A: Actor>(
        &mut self,
        planned: Planned,
        actor: &A,
        now: Instant,
    ) -> Option<Event> {
        let Planned {
            slot,
            utterance,
            frame,
            picture,
            ..
        } = planned;
        let picture = picture?;
        self.shown = Progress {
            utterance,
            frames: frame + 1,
        };
        self.summary.speech_frames += 1;
        self.summary.timings += picture.timings;
        while let Some((begun, since)) = self.begun.front().copied()
            && begun <= utterance
        {
            self.begun.pop_front();
            if begun == utterance {
                // An utterance that waited for the one before it is not slow.
                let took = now - since.max(self.quiet_since);
                self.summary.first_frame.get_or_insert(took);
                actor.note(Note::FirstFrame(took));
            }
        }
        Some(self.frame(slot, Kind::Speech { utterance, frame }, picture))
    }

    fn frame(&mut self, slot: u64, kind: Kind, picture: RenderedFrame) -> Event {
        self.slot = self.slot.max(slot + 1);
        // An idle frame of an earlier slot is out of its turn now.
        self.idle = None;
        let sent = self.summary.speech_frames + self.summary.idle_frames;
        Event::Frame(Frame {
            index: sent - 1,
            presentation: self.clock.offset(slot),
            frame_index: picture.index,
            background: picture.background,
            kind,
            image: picture.image,
        })
    }

    /// Puts the end of an utterance among the marks.
    fn end_utterance(&mut self, end: Progress, now: Instant) {
        self.quiet_since = now;
        self.summary.utterances += 1;
        self.marks.push_back(Event::UtteranceEnd(end));
        self.shown = Progress {
            utterance: end.utterance + 1,
            frames: 0,
        };
    }
}
