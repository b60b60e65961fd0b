//! One stream from its start to its summary: what comes in goes to the speech input, its windows get their slots and are
//! rendered, and what is shown leaves.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::avatar::{LiveAvatar, Note};
use super::playout::Playout;
use super::playout_queue::FrameId;
use super::rendering::{Rendered, Rendering};
use super::speech_input::{SpeechInput, Window};
use super::watchdog::Watchdog;
use super::{Ending, Event, Input, InputError, TalkError, TalkOptions};
use crate::pipeline::cpu;

/// A pause after which it does no harm to look again.
const NEVER: Duration = Duration::from_hours(1);

/// Runs a stream to its end: `inputs` until they end, `drain` until it resolves (the server wants to stop).
///
/// Waits whenever `events` is full: give it room for one, so that an interrupt has little to overtake.
///
/// # Errors
/// An unusable input, unusable audio, or a frame that cannot be rendered. Late frames and full queues are no errors.
pub async fn talk<A: LiveAvatar>(
    avatar: A,
    options: TalkOptions,
    inputs: impl Stream<Item = Result<Input, InputError>> + Send,
    drain: impl Future<Output = ()> + Send,
    events: &mpsc::Sender<Event>,
) -> Result<Ending, TalkError> {
    let avatar = Arc::new(avatar);
    let speech_input = {
        let avatar = Arc::clone(&avatar);
        cpu::run(move || SpeechInput::new(avatar, &options)).await??
    };
    let mut session = Session {
        speech_input,
        rendering: Rendering::new(Arc::clone(&avatar), &options),
        playout: Playout::new(avatar.info(), options.realtime),
        watchdog: Watchdog::default(),
        avatar,
        phase: Phase::Open,
    };
    let (mut inputs, mut drain) = (pin!(inputs), pin!(drain.fuse()));
    loop {
        let now = Instant::now();
        session.advance(now);
        session.watch(events.capacity() == 0, now);
        let next_moment = session.next_moment(now);
        tokio::select! {
            biased;
            input = inputs.next(), if session.listens() => match input {
                Some(Ok(input)) => session.take(input, Instant::now()),
                Some(Err(InputError::Gone)) => return Ok(Ending::Gone),
                Some(Err(error)) => return Err(error.into()),
                None => session.close(Instant::now()),
            },
            () = &mut drain, if !session.drains() => session.drain(Instant::now() + options.drain),
            heard = session.speech_input.heard() => heard?,
            rendered = session.rendering.next() => match rendered {
                Rendered::Speech(id, picture) => session.playout.speech(id, picture, Instant::now())?,
                Rendered::Idle(slot, picture) => session.playout.idle(slot, picture, Instant::now())?,
            },
            permit = events.reserve(), if session.playout.is_ready(now) => {
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

/// How far a stream has come.
///
/// ```text
/// Open ──────────────────────────────────────> Finishing ──> Over
///   └──> Draining (until the utterance's end) ──┘
/// ```
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Inputs are read.
    Open,
    /// The server drains: inputs are read to the end of the utterance that has begun, until a time at most.
    Draining { until: Instant },
    /// No more inputs are read; what has come in is shown, in a drain until a time at most.
    Finishing { until: Option<Instant> },
    /// The summary was written.
    Over { drained: bool },
}

struct Session<A: LiveAvatar> {
    avatar: Arc<A>,
    speech_input: SpeechInput<A>,
    rendering: Rendering<A>,
    playout: Playout,
    watchdog: Watchdog,
    phase: Phase,
}

impl<A: LiveAvatar> Session<A> {
    /// Whether inputs are read now: not beyond the room for audio and for answers.
    fn listens(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Draining { .. })
            && self.speech_input.has_room()
            && self.playout.has_room()
    }

    fn take(&mut self, input: Input, now: Instant) {
        match input {
            Input::Audio(audio) => {
                if let Some(utterance) = self.speech_input.audio(audio, now) {
                    self.playout.begins(utterance, now);
                }
            }
            Input::EndOfSpeech => self.speech_input.end(now),
            Input::Interrupt => {
                let next = self.drop_speech();
                self.playout.interrupted(next, now);
            }
        }
    }

    /// Drops everything that was not sent; gives the number of the next utterance.
    fn drop_speech(&mut self) -> u64 {
        self.rendering.drop_speech();
        self.playout.drop_speech();
        self.watchdog.progress();
        self.speech_input.interrupt()
    }

    /// The client sends no more; what it began is its last utterance.
    fn close(&mut self, now: Instant) {
        if self.speech_input.is_open() {
            self.speech_input.end(now);
        }
        self.phase = Phase::Finishing {
            until: self.drain_until(),
        };
    }

    /// The server wants to stop.
    fn drain(&mut self, until: Instant) {
        self.phase = match self.phase {
            Phase::Open => Phase::Draining { until },
            Phase::Finishing { .. } => Phase::Finishing { until: Some(until) },
            Phase::Draining { .. } => self.phase,
            Phase::Over { .. } => Phase::Over { drained: true },
        };
    }

    fn drains(&self) -> bool {
        self.drain_until().is_some() || matches!(self.phase, Phase::Over { drained: true })
    }

    fn drain_until(&self) -> Option<Instant> {
        match self.phase {
            Phase::Draining { until } => Some(until),
            Phase::Finishing { until } => until,
            Phase::Open | Phase::Over { .. } => None,
        }
    }

    /// Everything that can be done without waiting.
    fn advance(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Over { .. }) {
            return;
        }
        if self.drain_until().is_some_and(|until| until <= now) {
            self.drop_speech();
            // Nothing is left to be cut.
            let until = Some(now + NEVER);
            self.phase = Phase::Finishing { until };
        }
        if let Phase::Draining { until } = self.phase
            && !self.speech_input.is_open()
        {
            self.phase = Phase::Finishing { until: Some(until) };
        }
        self.playout.pass_slots(now);
        self.speech_input.advance();
        self.plan(now);
        if let Phase::Finishing { until } = self.phase
            && self.speech_input.is_empty()
            && self.playout.is_empty()
        {
            self.playout.end(now);
            let drained = until.is_some();
            self.phase = Phase::Over { drained };
        } else if let Some(slot) = self.playout.wants_idle(now) {
            self.rendering.begin_idle(slot);
        }
    }

    /// Gives windows their places and begins their frames.
    fn plan(&mut self, now: Instant) {
        while self.rendering.has_room(self.playout.frames()) && self.playout.has_room() {
            match self.speech_input.next() {
                None => return,
                Some(Window::End(end)) => self.playout.plan_end(end),
                Some(Window::Frame {
                    utterance,
                    frame,
                    audio,
                    arrived,
                }) => {
                    self.watchdog.frame(now);
                    let id = FrameId { utterance, frame };
                    if let Some(place) = self.playout.plan(id, arrived, now) {
                        self.rendering.begin_speech(id, place, audio);
                    }
                }
            }
        }
    }

    /// Counts a stall; `blocked` if the client has not taken the last event.
    fn watch(&mut self, blocked: bool, now: Instant) {
        self.watchdog.audio(!self.speech_input.is_empty(), now);
        if self.watchdog.has_stalled(blocked, now) {
            self.avatar.note(Note::Stalled);
        }
    }

    /// When something may be due without anything having happened.
    fn next_moment(&self, now: Instant) -> Instant {
        let moments = [
            self.playout.next_moment(now),
            self.drain_until(),
            self.watchdog.moment(),
        ];
        moments
            .into_iter()
            .flatten()
            .min()
            .unwrap_or_else(|| now + NEVER)
    }

    fn next_event(&mut self, now: Instant) -> Option<Event> {
        let event = self.playout.next(&*self.avatar, now)?;
        match &event {
            Event::Frame(frame) => {
                // Its slot is behind now.
                self.rendering.drop_idle();
                if frame.kind != super::Kind::Idle {
                    self.watchdog.progress();
                }
            }
            Event::UtteranceEnd { .. } => self.watchdog.progress(),
            Event::Started(_) | Event::Interrupted(_) | Event::Summary(_) => (),
        }
        Some(event)
    }

    fn ending(&self) -> Ending {
        match self.phase {
            Phase::Over { drained: true } => Ending::Drained,
            _ => Ending::Closed,
        }
    }
}
