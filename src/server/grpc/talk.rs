//! The `Talk` call: audio in, frames out. The session itself is [`crate::talk`]; here are its start, its messages and
//! its end, shared by the call and the page's socket.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::{Code, Response, Status, Streaming};

use crate::audio::{Lookahead, PcmFormat, SPEECH_RATE_HZ};
use crate::pipeline::SpeechError;
use crate::registry::RegistryError;
use crate::server::admission::auth::Caller;
use crate::server::admission::gate::Call;
use crate::server::grpc::batch;
use crate::server::grpc::convert;
use crate::server::grpc::service;
use crate::server::grpc::status::{Failure, Violation};
use crate::server::state::{Phase, ServerState};
use crate::talk::{
    self, Ending, Event, Input, InputError, Kind, LeasedAvatar, Note, SampleFormat, TalkError,
    TalkOptions,
};
use crate::wire;
use crate::wire::talk_request::Message as Request;
use crate::wire::{TalkRequest, TalkResponse, TalkStart};

/// What a stream sends.
pub(in crate::server) type TalkStream = BoxStream<'static, Result<TalkResponse, Status>>;

/// How long the start message may take.
pub(in crate::server) const START_TIMEOUT: Duration = Duration::from_secs(10);
/// The last index a stream may start at: whole numbers up to here survive every client's arithmetic.
const START_INDEX_MAX: u64 = 1 << 53;
/// Part of the drain time that a stream leaves for its last messages.
const DRAIN_MARGIN: Duration = Duration::from_secs(1);

/// Serves one stream. Its place among `max_streams` is kept by the gate until the stream has ended.
pub(in crate::server) fn talk(
    state: Arc<ServerState>,
    call: Call,
    requests: Streaming<TalkRequest>,
) -> Response<TalkStream> {
    let (events, receiver) = mpsc::channel(1);
    // The task goes with the response: a client that goes away ends it at its next step.
    let mut session = JoinSet::new();
    session.spawn(async move { serve(&state, &call, requests, &events).await });
    let responses = futures::stream::unfold(Some((receiver, session)), move |open| async move {
        let (mut receiver, mut session) = open?;
        if let Some(event) = receiver.recv().await {
            return Some((Ok(response(event)), Some((receiver, session))));
        }
        let failure = match session.join_next().await? {
            Ok(Ok(_)) => return None,
            Ok(Err(failure)) => failure,
            Err(error) => {
                tracing::error!(%error, "a stream panicked");
                Failure::Panicked(crate::pipeline::cpu::Panicked)
            }
        };
        service::log(&failure);
        Some((Err(failure.status(call.caller.rights)), None))
    });
    Response::new(responses.boxed())
}

async fn serve(
    state: &ServerState,
    call: &Call,
    mut requests: Streaming<TalkRequest>,
    events: &mpsc::Sender<Event>,
) -> Result<Ending, Failure> {
    let first = tokio::time::timeout(START_TIMEOUT, requests.message()).await;
    let start = match first {
        Err(_) => return Err(no_start("it did not come within 10 s")),
        Ok(Ok(Some(TalkRequest {
            message: Some(Request::Start(start)),
        }))) => start,
        Ok(Ok(Some(_))) => return Err(no_start("another message came first")),
        Ok(Ok(None)) => return Err(no_start("the stream ended without it")),
        Ok(Err(status)) => match input_error(&status) {
            InputError::Gone => return Ok(Ending::Gone),
            malformed @ InputError::Malformed { .. } => {
                return Err(TalkError::from(malformed).into());
            }
        },
    };
    converse(
        state,
        &start,
        call.caller,
        call.deadline,
        requests.map(input),
        events,
    )
    .await
}

fn no_start(problem: &str) -> Failure {
    Failure::invalid(
        "start",
        format!("the first message must be `start`: {problem}"),
    )
}

/// One conversation, from its start message to its end.
///
/// # Errors
/// What is wrong with the start, the model, an input or a frame; or the server ends.
pub(in crate::server) async fn converse(
    state: &ServerState,
    start: &TalkStart,
    caller: Caller,
    deadline: Option<Instant>,
    inputs: impl Stream<Item = Result<Input, InputError>> + Send,
    events: &mpsc::Sender<Event>,
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
        let lease = lease(state, start, options.start_index).await?;
        let draining = state.reached(Phase::Draining);
        let avatar = LeasedAvatar::new(lease, {
            let (metrics, id) = (state.metrics().clone(), start.model_id.clone());
            move |note| match note {
                Note::Frame(timings) => metrics.frame(&id, timings),
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
        () = events.closed() => Ok(Ending::Gone),
    }
}

/// The model, for as long as the stream lasts.
async fn lease(
    state: &ServerState,
    start: &TalkStart,
    index: u64,
) -> Result<crate::registry::Lease<crate::pipeline::LoadedModel>, Failure> {
    let id = start.model_id.as_str();
    let spec = state
        .registry()
        .spec(id)
        .ok_or_else(|| RegistryError::UnknownModel { id: id.into() })?;
    if spec.payload.audio_encoder_path.is_none() {
        return Err(SpeechError::NoEncoder { model: id.into() }.into());
    }
    batch::check_start(state, &spec, index).await?;
    let lease = state.registry().lease(id).await?;
    let avatar = lease.avatar();
    batch::in_range(avatar.sequence(), avatar.frames(), index)?;
    Ok(lease)
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// What the server sets for a stream, whatever its client asks for.
#[derive(Clone, Copy, Debug)]
struct Limits {
    audio_bytes_max: usize,
    drain: Duration,
    flow: u64,
}

/// Checks the start message; every wrong field is named.
fn check(start: &TalkStart, limits: Limits) -> Result<TalkOptions, Failure> {
    let mut wrong = Vec::new();
    if start.model_id.is_empty() {
        wrong.push(violation("model_id", "it is empty"));
    }
    let samples = match wire::SampleFormat::try_from(start.sample_format) {
        Ok(wire::SampleFormat::Unspecified | wire::SampleFormat::S16le) => SampleFormat::S16,
        Ok(wire::SampleFormat::F32le) => SampleFormat::F32,
        Err(_) => {
            let problem = format!(
                "{} is no format: use S16LE (1) or F32LE (2)",
                start.sample_format
            );
            wrong.push(violation("sample_format", problem));
            SampleFormat::S16
        }
    };
    let or_default = |value, default| {
        if value == 0 {
            Some(default)
        } else {
            u32::try_from(value).ok()
        }
    };
    let rate_hz = or_default(start.sample_rate_hz, SPEECH_RATE_HZ).unwrap_or(0);
    let channels = or_default(start.channels, 1).unwrap_or(0);
    let mut pcm = PcmFormat {
        rate_hz: SPEECH_RATE_HZ,
        channels: 1,
    };
    for (field, rate_hz, channels) in [
        ("sample_rate_hz", rate_hz, 1),
        ("channels", SPEECH_RATE_HZ, channels as usize),
    ] {
        if let Err(error) = PcmFormat::new(rate_hz, channels) {
            wrong.push(violation(field, error.to_string()));
        }
    }
    if let Ok(format) = PcmFormat::new(rate_hz, channels as usize) {
        pcm = format;
    }
    let format = match convert::format(start.output_format, start.jpeg_quality) {
        Ok(format) => format,
        Err(Failure::Invalid(violations)) => {
            wrong.extend(violations);
            crate::encoder::Format::Png
        }
        Err(other) => return Err(other),
    };
    let start_index = u64::try_from(start.start_frame_idx)
        .ok()
        .filter(|index| *index <= START_INDEX_MAX);
    if start_index.is_none() {
        let problem = format!("{} is outside 0..=2^53", start.start_frame_idx);
        wrong.push(violation("start_frame_idx", problem));
    }
    let lookahead = match start.lookahead {
        None => Lookahead::FULL,
        Some(entries) => {
            let made = u32::try_from(entries)
                .ok()
                .and_then(|entries| Lookahead::new(entries).ok());
            made.unwrap_or_else(|| {
                wrong.push(violation(
                    "lookahead",
                    format!("{entries} is outside 0..=8"),
                ));
                Lookahead::FULL
            })
        }
    };
    if !wrong.is_empty() {
        return Err(Failure::Invalid(wrong));
    }
    Ok(TalkOptions {
        samples,
        pcm,
        format,
        start_index: start_index.unwrap_or(0),
        realtime: start.realtime,
        lookahead,
        audio_bytes_max: limits.audio_bytes_max,
        drain: limits.drain,
        flow: limits.flow,
    })
}

fn violation(field: &'static str, problem: impl Into<String>) -> Violation {
    Violation {
        field,
        problem: problem.into(),
    }
}

/// What a client says after the start.
fn input(message: Result<TalkRequest, Status>) -> Result<Input, InputError> {
    let message = message.map_err(|status| input_error(&status))?.message;
    match message {
        Some(Request::Audio(audio)) => Ok(Input::Audio(audio)),
        Some(Request::EndOfSpeech(_)) => Ok(Input::EndOfSpeech),
        Some(Request::Interrupt(_)) => Ok(Input::Interrupt),
        Some(Request::Start(_)) => Err(malformed(
            "start",
            "the stream has started; open another one",
        )),
        None => Err(malformed(
            "message",
            "it is empty, or of a kind this server does not know",
        )),
    }
}

pub(in crate::server) fn malformed(field: &'static str, reason: impl Into<String>) -> InputError {
    InputError::Malformed {
        field,
        reason: reason.into(),
    }
}

/// A broken message is the client's mistake; everything else means that it is gone.
fn input_error(status: &Status) -> InputError {
    match status.code() {
        Code::Internal | Code::OutOfRange | Code::ResourceExhausted | Code::Unimplemented => {
            malformed("message", status.message())
        }
        _ => InputError::Gone,
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

/// The wire's message for an event.
fn response(event: Event) -> TalkResponse {
    use wire::talk_response::Message;
    let message = match event {
        Event::Started(about) => Message::Started(wire::TalkStarted {
            fps: about.fps as i32,
            width: about.size.width as i32,
            height: about.size.height as i32,
            model_loaded: about.load_time.is_some(),
            model_load_time_ms: about.load_time.map_or(0.0, milliseconds),
        }),
        Event::Frame(frame) => Message::Frame(frame_message(frame)),
        Event::UtteranceEnd {
            utterance,
            left_out,
        } => Message::UtteranceEnd(wire::UtteranceEnd {
            utterance: utterance.utterance as i64,
            frames: utterance.frames as i64,
            left_out: left_out as i64,
        }),
        Event::Interrupted(cut) => Message::Interrupted(wire::Interrupted {
            utterance: cut.shown.utterance as i64,
            frames: cut.shown.frames as i64,
            shown_ms: milliseconds(cut.time),
        }),
        Event::Summary(summary) => Message::Summary(wire::TalkSummary {
            speech_frames: summary.speech_frames as i64,
            idle_frames: summary.idle_frames as i64,
            utterances: summary.utterances as i64,
            visual_time_ms: milliseconds(summary.timings.visual),
            queue_time_ms: milliseconds(summary.timings.queue),
            inference_time_ms: milliseconds(summary.timings.inference),
            composite_time_ms: milliseconds(summary.timings.composite),
            encode_time_ms: milliseconds(summary.timings.encode),
            first_frame_ms: summary.first_frame.map_or(0.0, milliseconds),
            late_frames: summary.late_frames as i64,
            total_time_ms: milliseconds(summary.elapsed),
            skipped_frames: summary.skipped_frames as i64,
        }),
    };
    TalkResponse {
        message: Some(message),
    }
}

fn frame_message(frame: talk::Frame) -> wire::TalkFrame {
    let (kind, utterance, utterance_frame) = match frame.kind {
        Kind::Speech { utterance, frame } => (wire::talk_frame::Kind::Speech, utterance, frame),
        Kind::Idle => (wire::talk_frame::Kind::Idle, 0, 0),
    };
    wire::TalkFrame {
        index: frame.index as i64,
        presentation_time_us: frame.presentation.as_micros() as i64,
        frame_idx: frame.frame_index as i64,
        background_index: frame.background as i32,
        kind: kind.into(),
        image: frame.image.into_bytes(),
        utterance: utterance as i64,
        utterance_frame: utterance_frame as i64,
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        audio_bytes_max: 1,
        drain: Duration::ZERO,
        flow: 0,
    };

    fn fields(start: &TalkStart) -> Vec<&'static str> {
        match check(start, LIMITS) {
            Ok(_) => Vec::new(),
            Err(Failure::Invalid(violations)) => violations.iter().map(|v| v.field).collect(),
            Err(other) => panic!("{other}"),
        }
    }

    fn start() -> TalkStart {
        TalkStart {
            model_id: "bob".to_owned(),
            ..TalkStart::default()
        }
    }

    #[test]
    fn what_is_left_open_has_its_default() {
        let options = check(&start(), LIMITS).unwrap();
        assert_eq!(options.samples, SampleFormat::S16);
        assert_eq!((options.pcm.rate_hz, options.pcm.channels), (16_000, 1));
        assert_eq!(options.format, crate::encoder::Format::Png);
        assert_eq!(options.lookahead, Lookahead::FULL);
        assert!(!options.realtime);
    }

    #[test]
    fn every_wrong_field_is_named() {
        let wrong = TalkStart {
            model_id: String::new(),
            sample_format: 7,
            sample_rate_hz: 999,
            channels: 65,
            output_format: 9,
            start_frame_idx: -1,
            lookahead: Some(9),
            ..TalkStart::default()
        };
        assert_eq!(
            fields(&wrong),
            [
                "model_id",
                "sample_format",
                "sample_rate_hz",
                "channels",
                "output_format",
                "start_frame_idx",
                "lookahead"
            ]
        );
        let negative = TalkStart {
            sample_rate_hz: -16_000,
            channels: -1,
            jpeg_quality: -1,
            start_frame_idx: (1 << 53) + 1,
            lookahead: Some(-1),
            ..start()
        };
        assert_eq!(
            fields(&negative),
            [
                "sample_rate_hz",
                "channels",
                "jpeg_quality",
                "start_frame_idx",
                "lookahead"
            ]
        );
    }
}
