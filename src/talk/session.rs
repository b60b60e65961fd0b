//! One stream from its start to its summary: what comes in goes to the listener, its windows get their slots and are
//! made, and what is shown leaves.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::actor::Actor;
use super::listener::{Listener, Window};
use super::making::{Made, Making};
use super::show::Show;
use super::stage::{Cue, Planned};
use super::{Ending, Event, Input, InputError, TalkError, TalkOptions};
use crate::pipeline::cpu;

/// A pause after which it does no harm to look again.
const NEVER: Duration = Duration::from_hours(1);

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
    let listener = {
        let actor = Arc::clone(&actor);
        cpu::run(move || Listener::new(actor, &options)).await??
    };
    let mut session = Session {
        listener,
        making: Making::new(Arc::clone(&actor), &options),
        show: Show::new(actor.about(), options.realtime),
        actor,
        drain: options.drain,
        drain_until: None,
        closed: false,
    };
    let (mut inputs, mut drain) = (pin!(inputs), pin!(drain.fuse()));
    loop {
        let now = Instant::now();
        session.advance(now);
        if session.is_over() {
            session.show.end(now);
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
            () = &mut drain, if session.drain_until.is_none() => {
                session.drain_until = Some(Instant::now() + session.drain);
            }
            heard = session.listener.heard() => heard?,
            made = session.making.next() => match made {
                Made::Speech(id, picture) => session.show.speech(id, picture, Instant::now())?,
                Made::Idle(slot, picture) => session.show.idle(slot, picture, Instant::now())?,
            },
            permit = events.reserve(), if session.show.is_ready(now) => {
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

struct Session<A: Actor> {
    actor: Arc<A>,
    listener: Listener<A>,
    making: Making<A>,
    show: Show,
    /// How long an utterance may go on in a drain.
    drain: Duration,
    drain_until: Option<Instant>,
    /// Whether the client sends no more.
    closed: bool,
}

impl<A: Actor> Session<A> {
    /// Whether inputs are read now: not beyond the listener's room, and in a drain only to the utterance's end.
    fn listens(&self) -> bool {
        let wanted = self.drain_until.is_none() || self.listener.is_open();
        !self.closed && !self.show.is_over() && wanted && self.listener.has_room()
    }

    fn take(&mut self, input: Input, now: Instant) {
        match input {
            Input::Audio(audio) => {
                if let Some(utterance) = self.listener.audio(audio, now) {
                    self.show.begins(utterance, now);
                }
            }
            Input::EndOfSpeech => self.listener.end(now),
            Input::Interrupt => {
                let next = self.drop_speech();
                self.show.interrupted(next, now);
            }
        }
    }

    /// Drops everything that was not sent; gives the number of the next utterance.
    fn drop_speech(&mut self) -> u64 {
        self.making.drop_speech();
        self.show.drop_speech();
        self.listener.interrupt()
    }

    /// The client sends no more; what it began is its last utterance.
    fn close(&mut self, now: Instant) {
        self.closed = true;
        if self.listener.is_open() {
            self.listener.end(now);
        }
    }

    /// Everything that can be done without waiting.
    fn advance(&mut self, now: Instant) {
        if self.drain_until.is_some_and(|until| until <= now) && !self.show.is_over() {
            self.drop_speech();
            self.closed = true;
        }
        self.show.pass_slots(now);
        self.listener.advance();
        self.plan(now);
        if let Some(slot) = self.show.wants_idle(now) {
            self.making.rest(slot);
        }
    }

    /// Gives windows their places and begins their frames.
    fn plan(&mut self, now: Instant) {
        while self.making.has_room(self.show.frames()) {
            match self.listener.next() {
                None => return,
                Some(Window::End(end)) => self.show.plan(Cue::End(end)),
                Some(Window::Frame {
                    utterance,
                    frame,
                    audio,
                    arrived,
                }) => {
                    let Some((slot, deadline)) = self.show.place(frame == 0, arrived, now) else {
                        continue;
                    };
                    self.show.plan(Cue::Frame(Planned {
                        id: self.making.speak(slot, audio, deadline),
                        slot,
                        utterance,
                        frame,
                        since: now,
                        picture: None,
                    }));
                }
            }
        }
    }

    /// When something may be due without anything having happened.
    fn next_moment(&self, now: Instant) -> Instant {
        let drain = self.drain_until.filter(|_| !self.show.is_over());
        let moments = [self.show.next_moment(now), drain];
        moments
            .into_iter()
            .flatten()
            .min()
            .unwrap_or_else(|| now + NEVER)
    }

    fn next_event(&mut self, now: Instant) -> Option<Event> {
        let event = self.show.next(&*self.actor, now)?;
        if let Event::Frame(_) = event {
            // Its slot is behind now.
            self.making.drop_idle();
        }
        Some(event)
    }

    /// Whether nothing can follow.
    fn is_over(&self) -> bool {
        let no_more = self.closed || (self.drain_until.is_some() && !self.listener.is_open());
        no_more && self.listener.is_empty() && self.show.is_empty()
    }

    fn ending(&self) -> Ending {
        if self.drain_until.is_some() {
            Ending::Drained
        } else {
            Ending::Closed
        }
    }
}
