//! Which frame leaves when: slots in real time, answers in their place among frames, and the stream's figures.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::avatar::{AvatarInfo, LiveAvatar, Note};
use super::pace::{Clock, Lead};
use super::playout_queue::{Cue, FrameId, Planned, PlannedEnd, PlayoutQueue, Slot};
use super::rendering::Picture;
use super::{Cut, Event, Frame, Kind, Progress, Summary};
use crate::engine::InferenceError;
use crate::pipeline::render::RenderFault;
use crate::pipeline::{RenderError, RenderedFrame};

/// Answers that may wait for the client; beyond them, nothing that would be answered is taken in.
const ANSWERS_MAX: usize = 64;
/// An utterance of which nothing could be shown in time for so long is moved, as if its audio had come late.
const LEFT_OUT_MAX: Duration = Duration::from_secs(1);

/// What a stream shows, from what is planned to the event that leaves.
pub(super) struct Playout {
    started: Instant,
    clock: Clock,
    /// In real time, what decides about slots; otherwise frames simply follow each other.
    pacing: Option<Pacing>,
    queue: PlayoutQueue,
    /// An idle frame that is ready, and the slot it was rendered for.
    idle: Option<(u64, RenderedFrame)>,
    answers: VecDeque<Event>,
    /// The utterance that is shown, and its frames so far.
    shown: Progress,
    /// Frames of it that were planned and not shown.
    not_shown: u64,
    /// Frames left out of the utterance that is planned.
    left_out: u64,
    /// When the utterances that were not shown yet began to come in.
    begun: VecDeque<(u64, Instant)>,
    /// When the last utterance was over.
    quiet_since: Instant,
    summary: Summary,
}

/// What real time asks of the planning.
struct Pacing {
    lead: Lead,
    /// Since when every frame has been left out.
    left_out_since: Option<Instant>,
}

/// Where a planned frame is shown, and until when it is of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) slot: u64,
    pub(super) deadline: Option<Instant>,
}

impl Playout {
    pub(super) fn new(info: AvatarInfo, realtime: bool) -> Self {
        let started = Instant::now();
        let clock = Clock::new(started, info.fps);
        Self {
            started,
            clock,
            pacing: realtime.then(|| Pacing {
                lead: Lead::new(clock.frame()),
                left_out_since: None,
            }),
            queue: PlayoutQueue::default(),
            idle: None,
            answers: VecDeque::from([Event::Started(info)]),
            shown: Progress::default(),
            not_shown: 0,
            left_out: 0,
            begun: VecDeque::new(),
            quiet_since: started,
            summary: Summary::default(),
        }
    }

    // Planning.

    /// Notes when an utterance begins to come in.
    pub(super) fn begins(&mut self, utterance: u64, now: Instant) {
        self.begun.push_back((utterance, now));
    }

    /// Plans the next speech frame, whose audio came at `arrived`; gives its place, or nothing if it is left out.
    pub(super) fn plan(&mut self, id: FrameId, arrived: Instant, now: Instant) -> Option<Place> {
        if id.frame == 0 {
            self.queue.begin_utterance();
        }
        let Some(slot) = self.slot_for(id.frame == 0, arrived, now) else {
            self.left_out += 1;
            self.summary.late_frames += 1;
            self.queue.push_left_out();
            return None;
        };
        let planned = Planned {
            id,
            since: now,
            picture: None,
        };
        let slot = self.queue.push_speech(slot, planned);
        let deadline = self
            .pacing
            .is_some()
            .then(|| self.clock.moment(slot.saturating_add(1)));
        Some(Place { slot, deadline })
    }

    /// The slot to show the next frame in.
    ///
    /// Within an utterance, frames have consecutive slots, so pictures and sound stay together: a frame that cannot be
    /// rendered in time, though its audio came early enough, is left out (`None`). When the audio itself comes too late,
    /// there is nothing to show in its slot, and the rest of the utterance moves to the next slot that can be met. So
    /// it does when the server has kept up with nothing for [`LEFT_OUT_MAX`]: late speech is better than none.
    fn slot_for(&mut self, first: bool, arrived: Instant, now: Instant) -> Option<u64> {
        let due = self.queue.due();
        let Some(pacing) = &mut self.pacing else {
            return Some(due);
        };
        let lead = pacing.lead.time();
        // The first slot whose frame can be ready when the slot begins.
        let earliest = self.clock.slot(now + lead) + 1;
        let (begin, end) = (self.clock.moment(due), self.clock.moment(due + 1));
        let to_come = due >= self.queue.next();
        let slot = if first {
            due.max(earliest)
        } else if to_come && now + lead <= end {
            due
        } else {
            // Early enough: with one frame's time for listening, its picture would have been ready for its slot.
            let audio_in_time = arrived + self.clock.frame() + lead <= begin;
            let since = pacing.left_out_since.get_or_insert(now);
            if audio_in_time && now - *since < LEFT_OUT_MAX {
                return None;
            }
            earliest
        };
        pacing.left_out_since = None;
        Some(slot)
    }

    /// Plans the end of the utterance whose frames have been planned.
    pub(super) fn plan_end(&mut self, utterance: Progress) {
        let left_out = std::mem::take(&mut self.left_out);
        self.queue.push_end(PlannedEnd {
            utterance,
            left_out,
        });
    }

    /// Speech frames that are planned or ready.
    pub(super) fn frames(&self) -> usize {
        self.queue.frames()
    }

    /// Whether more may come that will be answered.
    pub(super) fn has_room(&self) -> bool {
        self.answers.len() + self.queue.ends() < ANSWERS_MAX
    }

    /// Whether no speech and no end of an utterance waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes a rendered speech frame.
    pub(super) fn speech(
        &mut self,
        id: FrameId,
        picture: Picture,
        now: Instant,
    ) -> Result<(), RenderError> {
        self.pass_slots(now);
        match picture {
            Ok(picture) => {
                let since = self.queue.arrive(id, picture);
                if let (Some(pacing), Some(since)) = (&mut self.pacing, since) {
                    pacing.lead.learn(now - since);
                }
                Ok(())
            }
            // It stays in the queue without a picture, until its slot has passed.
            Err(RenderError {
                source: RenderFault::Inference(InferenceError::DeadlineExceeded),
                ..
            }) if self.pacing.is_some() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes a rendered idle frame.
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
        self.queue.clear();
        (self.left_out, self.not_shown) = (0, 0);
        if let Some(pacing) = &mut self.pacing {
            pacing.left_out_since = None;
        }
    }

    /// Tells that all speech was dropped; `utterance` is the next.
    pub(super) fn interrupted(&mut self, utterance: u64, now: Instant) {
        self.quiet_since = now;
        self.answers.push_back(Event::Interrupted(Cut {
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
        self.summary.elapsed = now - self.started;
        self.answers.push_back(Event::Summary(self.summary));
    }

    // Real time.

    /// Leaves behind the slots that are over and were not shown.
    pub(super) fn pass_slots(&mut self, now: Instant) {
        if self.pacing.is_none() {
            return;
        }
        let current = self.clock.slot(now);
        while self.queue.next() < current {
            let was_ready = match self.queue.take() {
                // Said before any later frame, however late.
                Cue::End(end) => {
                    self.end_utterance(end, now);
                    continue;
                }
                // Counted when it was left out.
                Cue::Slot(Slot::LeftOut) => continue,
                Cue::Slot(Slot::Idle) => self.idle.take().is_some(),
                Cue::Slot(Slot::Speech(planned)) => {
                    self.not_shown += 1;
                    let was_ready = planned.picture.is_some();
                    if let (false, Some(pacing)) = (was_ready, &mut self.pacing) {
                        pacing.lead.learn_late();
                    }
                    was_ready
                }
            };
            if was_ready {
                self.summary.skipped_frames += 1;
            } else {
                self.summary.late_frames += 1;
            }
        }
    }

    /// The slot that an idle frame is to be rendered for, if one is.
    pub(super) fn wants_idle(&self, now: Instant) -> Option<u64> {
        let slot = self.queue.next();
        let idle = matches!(self.queue.front(), None | Some(Cue::Slot(Slot::Idle)));
        let wanted = self.pacing.is_some() && idle && self.idle.is_none();
        (wanted && self.clock.moment(slot) <= now).then_some(slot)
    }

    /// In real time, when something may be due without anything having happened.
    pub(super) fn next_moment(&self, now: Instant) -> Option<Instant> {
        self.pacing.as_ref()?;
        let begin = self.clock.moment(self.queue.next());
        Some(if begin > now {
            begin
        } else {
            self.clock.moment(self.queue.next() + 1)
        })
    }

    // Events.

    /// Whether there is something to send now.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        if !self.answers.is_empty() {
            return true;
        }
        let has_begun = match self.pacing {
            Some(_) => self.clock.moment(self.queue.next()) <= now,
            None => true,
        };
        match self.queue.front() {
            Some(Cue::End(_)) => true,
            Some(Cue::Slot(Slot::Speech(planned))) => has_begun && planned.picture.is_some(),
            Some(Cue::Slot(Slot::LeftOut)) => false,
            Some(Cue::Slot(Slot::Idle)) | None => has_begun && self.idle.is_some(),
        }
    }

    /// What to send now, looked at only when there is room for it. `avatar` is told of first frames.
    pub(super) fn next<A: LiveAvatar>(&mut self, avatar: &A, now: Instant) -> Option<Event> {
        self.pass_slots(now);
        if let Some(answer) = self.answers.pop_front() {
            return Some(answer);
        }
        if !self.is_ready(now) {
            return None;
        }
        let slot = self.queue.next();
        match self.queue.front() {
            Some(Cue::Slot(Slot::Idle)) | None => {
                let (of, picture) = self.idle.take()?;
                // One that comes late is shown beside the frame of the slot at hand, not instead of it.
                if of == slot {
                    self.queue.take();
                }
                self.summary.idle_frames += 1;
                Some(self.frame(of, Kind::Idle, picture))
            }
            Some(_) => match self.queue.take() {
                Cue::End(end) => {
                    self.end_utterance(end, now);
                    self.answers.pop_front()
                }
                Cue::Slot(Slot::Speech(planned)) => self.speech_frame(slot, planned, avatar, now),
                Cue::Slot(_) => None,
            },
        }
    }

    fn speech_frame<A: LiveAvatar>(
        &mut self,
        slot: u64,
        planned: Planned,
        avatar: &A,
        now: Instant,
    ) -> Option<Event> {
        let picture = planned.picture?;
        let FrameId { utterance, frame } = planned.id;
        self.shown = Progress {
            utterance,
            frames: frame + 1,
        };
        self.summary.speech_frames += 1;
        self.summary.timings += picture.timings;
        if let Some(since) = self.first_of(utterance) {
            // An utterance that waited for the one before it is not slow.
            let took = now - since.max(self.quiet_since);
            self.summary.first_frame.get_or_insert(took);
            avatar.note(Note::FirstFrame(took));
        }
        Some(self.frame(slot, Kind::Speech { utterance, frame }, picture))
    }

    /// When `utterance` began to come in, asked for the first time.
    fn first_of(&mut self, utterance: u64) -> Option<Instant> {
        let mut first = None;
        while let Some((begun, since)) = self.begun.pop_front_if(|(begun, _)| *begun <= utterance) {
            first = (begun == utterance).then_some(since);
        }
        first
    }

    fn frame(&mut self, slot: u64, kind: Kind, picture: RenderedFrame) -> Event {
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

    /// Puts the end of an utterance among the answers.
    fn end_utterance(&mut self, end: PlannedEnd, now: Instant) {
        let PlannedEnd {
            utterance,
            left_out,
        } = end;
        self.first_of(utterance.utterance);
        self.quiet_since = now;
        self.summary.utterances += 1;
        let left_out = left_out + std::mem::take(&mut self.not_shown);
        self.answers.push_back(Event::UtteranceEnd {
            utterance,
            left_out,
        });
        self.shown = Progress {
            utterance: utterance.utterance + 1,
            frames: 0,
        };
    }
}
