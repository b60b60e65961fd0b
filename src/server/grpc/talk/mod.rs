//! The `Talk` call: audio in, frames out. The session itself is [`crate::talk`]; [`driver`] runs it for every carrier, and
//! here is the call's own part: its messages.

pub(in crate::server) mod driver;
mod start;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use tonic::{Code, Response, Status, Streaming};

use self::driver::{Conversation, Message, malformed};
use crate::server::admission::admit::Admitted;
use crate::server::admission::gate::Call;
use crate::server::state::ServerState;
use crate::talk::{self, Event, Input, InputError, Kind};
use crate::wire;
use crate::wire::talk_request::Message as Request;
use crate::wire::{TalkRequest, TalkResponse};

/// What a stream sends.
pub(in crate::server) type TalkStream = BoxStream<'static, Result<TalkResponse, Status>>;

/// Serves one stream. Its place among `max_streams` is kept by the gate until the stream has ended.
pub(in crate::server) fn talk(
    state: Arc<ServerState>,
    call: Call,
    requests: Streaming<TalkRequest>,
) -> Response<TalkStream> {
    let admitted = Admitted {
        caller: call.caller,
        place: None,
    };
    let conversation = Conversation::begin(state, call.deadline, requests.map(message), |_| {
        Ok(admitted)
    });
    let responses = futures::stream::unfold(Some(conversation), async |open| {
        let mut conversation = open?;
        if let Some(event) = conversation.next().await {
            return Some((Ok(response(event)), Some(conversation)));
        }
        let refused = conversation.ended().await.err()?;
        Some((Err(refused.failure.status(refused.rights)), None))
    });
    Response::new(responses.boxed())
}

/// What a client says.
fn message(message: Result<TalkRequest, Status>) -> Result<Message, InputError> {
    let message = message.map_err(|status| input_error(&status))?.message;
    Ok(match message {
        Some(Request::Start(start)) => Message::Start(start, None),
        Some(Request::Audio(audio)) => Message::Input(Input::Audio(audio)),
        Some(Request::EndOfSpeech(_)) => Message::Input(Input::EndOfSpeech),
        Some(Request::Interrupt(_)) => Message::Input(Input::Interrupt),
        None => {
            return Err(malformed(
                "message",
                "it is empty, or of a kind this server does not know",
            ));
        }
    })
}

/// A broken message is the client's mistake; everything else means that it is gone.
fn input_error(status: &Status) -> InputError {
    match status.code() {
        Code::Internal
        | Code::OutOfRange
        | Code::ResourceExhausted
        | Code::DeadlineExceeded
        | Code::Unimplemented => malformed("message", status.message()),
        _ => InputError::Gone,
    }
}

/// The wire's message for an event.
fn response(event: Event) -> TalkResponse {
    use wire::talk_response::Message as Response;
    let message = match event {
        Event::Started(about) => Response::Started(wire::TalkStarted {
            fps: about.fps as i32,
            width: about.size.width as i32,
            height: about.size.height as i32,
            model_loaded: about.load_time.is_some(),
            model_load_time_ms: about.load_time.map_or(0.0, milliseconds),
        }),
        Event::Frame(frame) => Response::Frame(frame_message(frame)),
        Event::UtteranceEnd {
            utterance,
            left_out,
        } => Response::UtteranceEnd(wire::UtteranceEnd {
            utterance: utterance.utterance as i64,
            frames: utterance.frames as i64,
            left_out: left_out as i64,
        }),
        Event::Interrupted(cut) => Response::Interrupted(wire::Interrupted {
            utterance: cut.shown.utterance as i64,
            frames: cut.shown.frames as i64,
            shown_ms: milliseconds(cut.time),
        }),
        Event::Summary(summary) => Response::Summary(wire::TalkSummary {
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
