//! Drives a conversation, whatever brings its messages: the `Talk` call and the page's socket are two such carriers.
//!
//! A carrier turns what comes in into [`Message`]s, says who may begin, and sends what [`Conversation::next`] gives.
//! The rest is here: the wait for the start message, limits, the model's lease, a panic, a stop, a token that is
//! revoked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::start::{Limits, check, lease};
use crate::pipeline::SpeechError;
use crate::pipeline::cpu::Panicked;
use crate::server::admission::admit::{Admitted, Refused};
use crate::server::admission::auth::{Caller, Rights};
use crate::server::admission::gate::passed;
use crate::server::grpc::batch::micros;
use crate::server::grpc::status::Failure;
use crate::server::state::{Phase, ServerState};
use crate::talk::{self, Ending, Event, Input, InputError, LeasedAvatar, Note, TalkError};
use crate::tenants::Usage;
use crate::wire::TalkStart;

/// How long the start message may take.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Part of the drain time that a stream leaves for its last messages.
const DRAIN_MARGIN: Duration = Duration::from_secs(1);

/// What a client says.
#[derive(Debug)]
pub(in crate::server) enum Message {
    /// The first message, with a token where the carrier's headers can have none.
    Start(TalkStart, Option<String>),
    /// Anything after it.
    Input(Input),
}

/// A conversation under way. Dropping it ends it at its next step.
#[derive(Debug)]
pub(in crate::server) struct Conversation {
    events: mpsc::Receiver<Event>,
    session: JoinSet<Result<Ending, Refused>>,
    /// Bytes of pictures that have left, until they are counted with the next frame.
    sent: Arc<AtomicU64>,
}

impl Conversation {
    /// Waits for the start message, asks `admit` with its token who begins and by which right, and goes on to the end.
    pub(in crate::server) fn begin(
        state: Arc<ServerState>,
        deadline: Option<Instant>,
        messages: impl Stream<Item = Result<Message, InputError>> + Send + 'static,
        admit: impl FnOnce(Option<&str>) -> Result<Admitted, Refused> + Send + 'static,
    ) -> Self {
        let (events, receiver) = mpsc::channel(1);
        let mut session = JoinSet::new();
        let sent = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&sent);
        session.spawn(
            async move { serve(&state, deadline, messages, admit, &events, &counted).await },
        );
        Self {
            sent,
            events: receiver,
            session,
        }
    }

    /// What the client is to be told next; `None` when it is over. Nothing is lost if this is dropped.
    pub(in crate::server) async fn next(&mut self) -> Option<Event> {
        let event = self.events.recv().await;
        if let Some(Event::Frame(frame)) = &event {
            let bytes = frame.image.byte_len() as u64;
            self.sent.fetch_add(bytes, Ordering::Relaxed);
        }
        event
    }

    /// How it ended, once [`Conversation::next`] gives nothing more.
    ///
    /// # Errors
    /// Why it failed, and in whose words that is told. It was logged.
    pub(in crate::server) async fn ended(mut self) -> Result<Ending, Refused> {
        let ended = match self.session.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => {
                tracing::error!(%error, "a stream panicked");
                Err(Refused::new(Failure::Panicked(Panicked), Rights::Use))
            }
            None => Ok(Ending::Gone),
        };
        if let Err(refused) = &ended {
            crate::server::grpc::service::log(&refused.failure);
        }
        ended
    }
}

async fn serve(
    state: &ServerState,
    deadline: Option<Instant>,
    messages: impl Stream<Item = Result<Message, InputError>> + Send,
    admit: impl FnOnce(Option<&str>) -> Result<Admitted, Refused>,
    events: &mpsc::Sender<Event>,
    sent: &Arc<AtomicU64>,
) -> Result<Ending, Refused> {
    let mut messages = std::pin::pin!(messages);
    let refuse = |failure| Refused::new(failure, Rights::Use);
    let (start, token) = match tokio::time::timeout(START_TIMEOUT, messages.next()).await {
        Ok(Some(Ok(Message::Start(start, token)))) => (start, token),
        Ok(Some(Ok(Message::Input(_)))) => {
            return Err(refuse(no_start("another message came first")));
        }
        Ok(Some(Err(InputError::Gone))) => return Ok(Ending::Gone),
        Ok(Some(Err(malformed))) => return Err(refuse(TalkError::from(malformed).into())),
        Ok(None) => return Err(refuse(no_start("the stream ended without it"))),
        Err(_) => return Err(refuse(no_start("it did not come within 10 s"))),
    };
    let Admitted { caller, place } = admit(token.as_deref())?;
    let inputs = messages.map(|message| match message? {
        Message::Input(input) => Ok(input),
        Message::Start(..) => Err(malformed(
            "start",
            "the stream has started; open another one",
        )),
    });
    let ending = converse(state, &start, &caller, deadline, inputs, events, sent).await;
    drop(place);
    ending.map_err(|failure| Refused::new(failure, caller.rights))
}

pub(in crate::server) fn no_start(problem: &str) -> Failure {
    Failure::invalid(
        "start",
        format!("the first message must be `start`: {problem}"),
    )
}

pub(in crate::server) fn malformed(field: &'static str, reason: impl Into<String>) -> InputError {
    InputError::Malformed {
        field,
        reason: reason.into(),
    }
}

/// One conversation, from its start message to its end.
///
/// # Errors
/// What is wrong with the start, the model, an input or a frame; or the server ends.
async fn converse(
    state: &ServerState,
    start: &TalkStart,
    caller: &Caller,
    deadline: Option<Instant>,
    inputs: impl Stream<Item = Result<Input, InputError>> + Send,
    events: &mpsc::Sender<Event>,
    sent: &Arc<AtomicU64>,
) -> Result<Ending, Failure> {
    let options = {
        let server = &state.settings().config.server;
        let limits = Limits {
            audio_bytes_max: server.stream_audio_bytes,
            drain: server.drain.saturating_sub(DRAIN_MARGIN),
            flow: caller.flow,
        };
        check(start, limits)?
    };
    let conversation = async {
        let lease = lease(state, start, options.start_index, caller).await?;
        if let Some(load) = lease.load_time() {
            let usage = Usage {
                load_us: micros(load),
                ..Usage::default()
            };
            let name = caller.name();
            state.accounts().record(name, &start.model_id, usage);
        }
        let draining = state.reached(Phase::Draining);
        let avatar = LeasedAvatar::new(lease, {
            let (metrics, id) = (state.metrics().clone(), start.model_id.clone());
            let sent = Arc::clone(sent);
            let (caller, accounts) = (caller.clone(), Arc::clone(state.accounts()));
            move |note| match note {
                Note::Frame(timings) => {
                    caller.charge_frames(1);
                    let usage = Usage {
                        frames: 1,
                        inference_us: micros(timings.inference),
                        bytes: sent.swap(0, Ordering::Relaxed),
                        ..Usage::default()
                    };
                    accounts.record(caller.name(), &id, usage);
                    metrics.frame(&id, timings);
                }
                Note::FirstFrame(took) => metrics.first_frame(took),
                Note::Stalled => {
                    tracing::warn!(
                        model = id,
                        "a stream has had speech to show for 2 s and shown none"
                    );
                    metrics.stalled(&id);
                }
            }
        });
        Ok::<_, Failure>(talk::talk(avatar, options, inputs, draining, events).await?)
    };
    tokio::select! {
        biased;
        ending = conversation => match ending? {
            Ending::Drained => Err(Failure::Draining),
            ending => Ok(ending),
        },
        () = passed(deadline) => Err(Failure::DeadlineExceeded),
        () = state.reached(Phase::Stopped) => Err(Failure::Stopped),
        () = state.revoked(caller) => Err(Failure::Unauthenticated(
            "the token has been revoked",
        )),
        () = events.closed() => Ok(Ending::Gone),
    }
}

impl From<TalkError> for Failure {
    fn from(error: TalkError) -> Self {
        match error {
            TalkError::Input(InputError::Malformed { field, reason }) => {
                Self::invalid(field, reason)
            }
            // Nobody is left to be told.
            TalkError::Input(InputError::Gone) => Self::Stopped,
            TalkError::Speech(SpeechError::Audio(error)) => {
                Self::invalid("audio", error.to_string())
            }
            TalkError::Speech(error) => Self::Speech(error),
            error @ TalkError::PartialSample { .. } => Self::invalid("audio", error.to_string()),
            TalkError::Render(error) => Self::Render(error),
            TalkError::Panicked(error) => Self::Panicked(error),
        }
    }
}
