//! One stream from its start to its summary.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::actor::{Actor, Note};
use super::inbox::{Inbox, Piece};
use super::pace::{Clock, Pace, Place};
use super::pcm::PcmDecoder;
use super::stage::{Cue, Planned, Stage};
use super::{
    Ending, Event, Frame, Input, InputError, Kind, Progress, Summary, TalkError, TalkOptions,
};
use crate::inference::{InferenceError, SharedFloats};
use crate::pipeline::render::RenderFault;
use crate::pipeline::speech::SpeechFrame;
use crate::pipeline::{FrameOrder, RenderError, RenderedFrame, cpu};

/// Windows that may wait for a place: the stream listens this far ahead.
const WINDOWS_AHEAD: usize = 12;
/// Longest piece listened to in one go, in milliseconds: an interrupt waits for no more than this.
const PIECE_MS: usize = 200;

/// A pause after which it does no harm to look again.
const NEVER: Duration = Duration::from_hours(1);

/// Every stream is a flow of its own in the network's queue; requests count from 0, streams from the other end.
static FLOWS: AtomicU64 = AtomicU64::new(1 << 63);

/// Runs a stream to its end: `inputs` until they end, `drain` until it resolves (the server wants to stop).
///
/// Waits whenever `events` is full: give it room for one, so that an interrupt has little to overtake.
///
/// # Errors
/// An unusable input, unusable audio, or a frame that cannot be made. Late frames and full queues are no errors.
pub async fn talk<A: Actor>(
    actor: A,
    options: TalkOptions,
    inputs: impl Stream<Item = Result<Input, InputError>> + Send,
    drain: impl Future<Output = ()> + Send,
    events: &mpsc::Sender<Event>,
) -> Result<Ending, TalkError> {
    let actor = Arc::new(actor);
    let ears = {
        let actor = Arc::clone(&actor);
        cpu::run(move || actor.listen(options.pcm, options.lookahead)).await??
    };
    let mut session = Session::new(actor, options, ears);
    let (mut inputs, mut drain) = (pin!(inputs), pin!(drain.fuse()));
    loop {
        let now = Instant::now();
        session.advance(now);
        if session.is_over() {
            session.sum_up(now);
        }
        let next_moment = session.next_moment(now);
        tokio::select! {
            biased;
            input = inputs.next(), if session.listens() => match input {
                Some(Ok(input)) => session.take(input, Instant::now()),
                Some(Err(InputError::Gone)) => return Ok(Ending::Gone),
                Some(Err(error)) => return Err(error.into()),
                None => session.close(Instant::now()),
            },
            () = &mut drain, if session.drain_until.is_none() => session.drain(Instant::now()),
            heard = maybe(&mut session.hearing) => session.heard(heard?)?,
            Some((id, picture)) = session.making.next(), if !session.making.is_empty() => {
                session.made(id, picture, Instant::now())?;
            }
            idle = maybe(&mut session.idle_making) => {
                // What has passed meanwhile must not count against the frame that is there now.
                session.pass_slots(Instant::now());
                session.idle_making = None;
                session.idle = Some(idle?);
            }
            permit = events.reserve(), if session.has_something_to_send(now) => {
                let Ok(permit) = permit else { return Ok(Ending::Gone) };
                if let Some(event) = session.next_event(Instant::now()) {
                    let over = matches!(event, Event::Summary(_));
                    permit.send(event);
                    if over {
                        return Ok(session.ending());
                    }
                }
            }
            () = events.closed() => return Ok(Ending::Gone),
            () = sleep_until(next_moment) => (),
        }
    }
}

/// The future in `slot`, or one that never ends.
async fn maybe<T>(slot: &mut Option<BoxFuture<'static, T>>) -> T {
    match slot {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Listening that has finished.
struct Heard<E> {
    ears: Ears<E>,
    piece: Piece,
    frames: Vec<SpeechFrame>,
    result: Result<(), TalkError>,
}

/// All state of listening; travels to a blocking thread and back.
struct Ears<E> {
    decoder: PcmDecoder,
    windows: E,
    samples: Vec<f32>,
}

/// A window that waits for its place, or the end of its utterance.
enum Window {
    Frame {
        utterance: u64,
        frame: u64,
        audio: SharedFloats,
        arrived: Instant,
    },
    End {
        utterance: u64,
        frames: u64,
    },
}

type Picture = Result<RenderedFrame, RenderError>;

struct Session<A: Actor> {
    actor: Arc<A>,
    options: TalkOptions,
    flow: u64,
    started: Instant,
    clock: Clock,
    /// In real time, who decides about slots; otherwise frames simply follow each other.
    pace: Option<Pace>,

    inbox: Inbox,
    closed: bool,
    drain_until: Option<Instant>,

    /// Away while a piece is listened to.
    ears: Option<Ears<A::Ears>>,
    hearing: Option<BoxFuture<'static, Result<Heard<A::Ears>, TalkError>>>,
    /// Pieces before this utterance are not wanted any more.
    wanted: u64,
    /// Frames heard of the utterance that is listened to.
    heard_frames: u64,
    windows: VecDeque<Window>,

    making: FuturesUnordered<BoxFuture<'static, (u64, Picture)>>,
    next_id: u64,
    stage: Stage,
    /// The next frame without real time: the first slot without a frame.
    free: u64,

    /// The next slot to be sent.
    slot: u64,
    /// The idle frame in the making, and its slot. It is made even if its slot passes: late is better than never.
    idle_making: Option<BoxFuture<'static, Result<(u64, RenderedFrame), RenderError>>>,
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

impl<A: Actor> Session<A> {
    fn new(actor: Arc<A>, options: TalkOptions, windows: A::Ears) -> Self {
        let about = actor.about();
        let started = Instant::now();
        let clock = Clock::new(started, about.fps);
        Self {
            options,
            flow: FLOWS.fetch_add(1, Ordering::Relaxed),
            started,
            clock,
            pace: options.realtime.then(|| Pace::new(clock)),
            inbox: Inbox::new(options.audio_bytes_max),
            closed: false,
            drain_until: None,
            ears: Some(Ears {
                decoder: PcmDecoder::new(options.samples),
                windows,
                samples: Vec::new(),
            }),
            hearing: None,
            wanted: 0,
            heard_frames: 0,
            windows: VecDeque::new(),
            making: FuturesUnordered::new(),
            next_id: 0,
            stage: Stage::default(),
            free: 0,
            slot: 0,
            idle_making: None,
            idle: None,
            marks: VecDeque::from([Event::Started(about)]),
            shown: Progress::default(),
            begun: VecDeque::new(),
            quiet_since: started,
            summary: Summary::default(),
            over: false,
            actor,
        }
    }

    // Inputs.

    /// Whether inputs are read now: not beyond the inbox's room, and in a drain only to the utterance's end.
    fn listens(&self) -> bool {
        let wanted = self.drain_until.is_none() || self.inbox.is_open();
        !self.closed && !self.over && wanted && self.inbox.has_room()
    }

    fn take(&mut self, input: Input, now: Instant) {
        match input {
            Input::Audio(audio) => {
                let utterance = self.inbox.utterance();
                let known = self.begun.back().is_some_and(|last| last.0 == utterance);
                if !audio.is_empty() && !known && !self.inbox.is_open() {
                    self.begun.push_back((utterance, now));
                }
                self.inbox.audio(audio, now);
            }
            Input::EndOfSpeech => self.inbox.end(now),
            Input::Interrupt => self.interrupt(now),
        }
    }

    /// Drops everything that was not sent.
    fn interrupt(&mut self, now: Instant) {
        self.drop_speech();
        self.quiet_since = now;
        self.marks.push_back(Event::Interrupted(self.shown));
        self.shown = Progress {
            utterance: self.wanted,
            frames: 0,
        };
    }

    fn drop_speech(&mut self) {
        self.inbox.interrupt();
        self.wanted = self.inbox.utterance();
        self.heard_frames = 0;
        if let Some(ears) = &mut self.ears {
            ears.decoder.finish();
            self.actor.forget(&mut ears.windows);
        }
        self.windows.clear();
        self.begun.clear();
        self.making.clear();
        self.stage.clear();
        self.free = self.slot;
        if let Some(pace) = &mut self.pace {
            pace.interrupt(self.slot);
        }
    }

    /// The client sends no more; what it began is its last utterance.
    fn close(&mut self, now: Instant) {
        self.closed = true;
        if self.inbox.is_open() {
            self.inbox.end(now);
        }
    }

    fn drain(&mut self, now: Instant) {
        self.drain_until = Some(now + self.options.drain);
    }

    // Listening.

    /// Everything that can be done without waiting.
    fn advance(&mut self, now: Instant) {
        if self.drain_until.is_some_and(|until| until <= now) && !self.over {
            self.drop_speech();
            self.closed = true;
        }
        self.pass_slots(now);
        self.hear();
        self.plan(now);
        self.prepare_idle(now);
    }

    fn hear(&mut self) {
        if self.windows.len() >= WINDOWS_AHEAD || self.ears.is_none() {
            return;
        }
        let bytes = self.options.samples.bytes() * self.options.pcm.channels;
        let max = (self.options.pcm.rate_hz as usize * PIECE_MS / 1000).max(1) * bytes;
        let Some(piece) = self.inbox.next(max) else {
            return;
        };
        let Some(ears) = self.ears.take() else { return };
        let (actor, samples) = (Arc::clone(&self.actor), self.options.samples);
        let job = cpu::run(move || listen_to(&*actor, ears, piece, samples.bytes()));
        self.hearing = Some(async move { Ok(job.await?) }.boxed());
    }

    fn heard(&mut self, heard: Heard<A::Ears>) -> Result<(), TalkError> {
        self.hearing = None;
        let Heard {
            mut ears,
            piece,
            frames,
            result,
        } = heard;
        if piece.utterance < self.wanted {
            ears.decoder.finish();
            self.actor.forget(&mut ears.windows);
            self.ears = Some(ears);
            return Ok(());
        }
        self.ears = Some(ears);
        result?;
        for (frame, audio) in frames {
            self.heard_frames = frame + 1;
            self.windows.push_back(Window::Frame {
                utterance: piece.utterance,
                frame,
                audio,
                arrived: piece.arrived,
            });
        }
        if piece.last {
            self.windows.push_back(Window::End {
                utterance: piece.utterance,
                frames: std::mem::take(&mut self.heard_frames),
            });
        }
        Ok(())
    }

    // Making frames.

    fn plan(&mut self, now: Instant) {
        let ahead = self.actor.frames_ahead();
        while self.stage.frames() < ahead && self.making.len() < 2 * ahead {
            match self.windows.pop_front() {
                None => return,
                Some(Window::End { utterance, frames }) => {
                    self.stage.push(Cue::End { utterance, frames });
                }
                Some(Window::Frame {
                    utterance,
                    frame,
                    audio,
                    arrived,
                }) => {
                    let place = match &mut self.pace {
                        Some(pace) => pace.place(frame == 0, arrived, now),
                        None => Place::At(self.free),
                    };
                    match place {
                        Place::At(slot) => self.make(slot, (utterance, frame), audio, now),
                        Place::LeftOut => self.summary.late_frames += 1,
                    }
                }
            }
        }
    }

    fn make(
        &mut self,
        slot: u64,
        (utterance, frame): (u64, u64),
        audio: SharedFloats,
        now: Instant,
    ) {
        let (id, actor, format) = (self.next_id, Arc::clone(&self.actor), self.options.format);
        self.next_id += 1;
        self.free = slot + 1;
        let deadline = self.pace.as_ref().map(|_| self.clock.moment(slot + 1));
        let order = FrameOrder {
            index: self.options.start_index + slot,
            visual: None,
            audio,
            flow: self.flow,
            deadline: deadline.map(Instant::into_std),
        };
        self.stage.push(Cue::Frame(Planned {
            id,
            slot,
            utterance,
            frame,
            since: now,
            picture: None,
        }));
        let making = async move { (id, actor.speak(order, format).await) };
        self.making.push(making.boxed());
    }

    fn made(&mut self, id: u64, picture: Picture, now: Instant) -> Result<(), TalkError> {
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
            Err(error) => Err(error.into()),
        }
    }

    // Real time.

    /// Leaves behind the slots that are over and were not sent.
    fn pass_slots(&mut self, now: Instant) {
        if self.pace.is_none() {
            return;
        }
        let current = self.clock.slot(now);
        while self.slot < current {
            if self.stage.at_end() {
                // Said before any later frame, however late.
                self.end_utterance(now);
                continue;
            }
            if self.stage.next_slot() == Some(self.slot) {
                if let Some(Cue::Frame(planned)) = self.stage.pop() {
                    if planned.picture.is_some() {
                        self.summary.skipped_frames += 1;
                    } else {
                        self.summary.late_frames += 1;
                        if let Some(pace) = &mut self.pace {
                            pace.learn_late();
                        }
                    }
                }
            } else if self.idle.take().is_some() {
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
            && !self.stage.at_end()
    }

    fn prepare_idle(&mut self, now: Instant) {
        if !self.is_idle(now) || self.idle.is_some() || self.idle_making.is_some() {
            return;
        }
        let (actor, format) = (Arc::clone(&self.actor), self.options.format);
        let (slot, index) = (self.slot, self.options.start_index + self.slot);
        let making = async move { Ok((slot, actor.rest(index, format).await?)) };
        self.idle_making = Some(making.boxed());
    }

    /// When something may be due without anything having happened.
    fn next_moment(&self, now: Instant) -> Instant {
        let slot = match self.clock.moment(self.slot) {
            begin if begin > now => begin,
            _ => self.clock.moment(self.slot + 1),
        };
        let never = now + NEVER;
        let slot = if self.pace.is_some() { slot } else { never };
        slot.min(self.drain_until.filter(|_| !self.over).unwrap_or(never))
    }

    // Events.

    fn has_something_to_send(&self, now: Instant) -> bool {
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

    /// What to send now, looked at only when there is room for it.
    fn next_event(&mut self, now: Instant) -> Option<Event> {
        self.pass_slots(now);
        if let Some(mark) = self.marks.pop_front() {
            return Some(mark);
        }
        if !self.has_something_to_send(now) {
            return None;
        }
        if self.stage.at_end() {
            self.end_utterance(now);
            return self.marks.pop_front();
        }
        if self.pace.is_none() || self.stage.next_slot() == Some(self.slot) {
            let Some(Cue::Frame(planned)) = self.stage.pop() else {
                return None;
            };
            let Planned {
                slot,
                utterance,
                frame,
                picture,
                ..
            } = planned;
            return picture.map(|picture| self.speech_frame(slot, utterance, frame, picture, now));
        }
        let (slot, picture) = self.idle.take()?;
        self.summary.idle_frames += 1;
        Some(self.frame(slot, Kind::Idle, picture))
    }

    fn speech_frame(
        &mut self,
        slot: u64,
        utterance: u64,
        frame: u64,
        picture: RenderedFrame,
        now: Instant,
    ) -> Event {
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
                self.actor.note(Note::FirstFrame(took));
            }
        }
        self.frame(slot, Kind::Speech { utterance, frame }, picture)
    }

    fn frame(&mut self, slot: u64, kind: Kind, picture: RenderedFrame) -> Event {
        self.slot = self.slot.max(slot + 1);
        // An idle frame of an earlier slot is out of its turn now.
        self.idle_making = None;
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

    /// Moves the end of an utterance from the stage to the marks.
    fn end_utterance(&mut self, now: Instant) {
        if let Some(Cue::End { utterance, frames }) = self.stage.pop() {
            self.quiet_since = now;
            self.summary.utterances += 1;
            self.marks
                .push_back(Event::UtteranceEnd(Progress { utterance, frames }));
            self.shown = Progress {
                utterance: utterance + 1,
                frames: 0,
            };
        }
    }

    // The end.

    /// Whether nothing can follow.
    fn is_over(&self) -> bool {
        let no_more = self.closed || (self.drain_until.is_some() && !self.inbox.is_open());
        no_more
            && self.inbox.is_empty()
            && self.hearing.is_none()
            && self.windows.is_empty()
            && self.stage.is_empty()
    }

    fn sum_up(&mut self, now: Instant) {
        if self.over {
            return;
        }
        self.over = true;
        self.summary.elapsed = now - self.started;
        self.marks.push_back(Event::Summary(self.summary));
    }

    fn ending(&self) -> Ending {
        if self.drain_until.is_some() {
            Ending::Drained
        } else {
            Ending::Closed
        }
    }
}

/// Listens to one piece, on a blocking thread.
fn listen_to<A: Actor>(
    actor: &A,
    mut ears: Ears<A::Ears>,
    piece: Piece,
    sample_bytes: usize,
) -> Heard<A::Ears> {
    let mut frames = Vec::new();
    ears.samples.clear();
    ears.decoder.push(&piece.audio, &mut ears.samples);
    let left = if piece.last { ears.decoder.finish() } else { 0 };
    let result = if left > 0 {
        Err(TalkError::PartialSample {
            utterance: piece.utterance,
            left,
            size: sample_bytes,
        })
    } else {
        actor
            .hear(&mut ears.windows, &ears.samples, piece.last, &mut frames)
            .map_err(TalkError::from)
    };
    Heard {
        ears,
        piece,
        frames,
        result,
    }
}

impl<A: Actor> std::fmt::Debug for Session<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("flow", &self.flow)
            .field("slot", &self.slot)
            .field("shown", &self.shown)
            .finish_non_exhaustive()
    }
}
