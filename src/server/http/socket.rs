//! `GET /api/talk`: one conversation over a WebSocket, for browsers.
//!
//! The client sends JSON texts, the first of them `{"type":"start","model_id":…}` with the fields of the proto file's
//! `TalkStart` (and `token`, where the server asks for one), then `{"type":"end_of_speech"}` and
//! `{"type":"interrupt"}`; binary messages are audio. The server sends a text for every event but frames. A frame is
//! a binary message: the length of its header (u32, little-endian), the header (JSON), the picture.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{SinkExt as _, Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::Code;

use crate::encoder::FormatName;
use crate::server::Peer;
use crate::server::admission::auth::{Caller, Rights};
use crate::server::admission::in_flight::Place;
use crate::server::grpc::service;
use crate::server::grpc::status::Failure;
use crate::server::grpc::talk::{START_TIMEOUT, converse, malformed};
use crate::server::state::ServerState;
use crate::talk::{Ending, Event, Frame, Input, InputError, Kind};
use crate::wire::{ImageFormat, SampleFormat, TalkStart};

/// Bytes of one message at most: a few seconds of audio.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// A message beyond the limit is read up to here, so that its sender is listening when it is told.
const READ_BYTES_MAX: usize = 4 * MESSAGE_BYTES_MAX;
/// How long a client may go on sending after its stream has failed. A connection closed over unread bytes would be reset,
/// and the client would never read why.
const LINGER: Duration = Duration::from_secs(2);

/// What a client may write in a text.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Text {
    Start(Start),
    EndOfSpeech,
    Interrupt,
}

/// The start message, with words for what is a number on the wire.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the names of the proto file")]
struct Start {
    model_id: String,
    token: Option<String>,
    sample_format: Samples,
    sample_rate_hz: i32,
    channels: i32,
    output_format: Option<FormatName>,
    jpeg_quality: i32,
    start_frame_idx: i64,
    realtime: bool,
    lookahead: Option<i32>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Samples {
    #[default]
    S16le,
    F32le,
}

impl From<Start> for TalkStart {
    fn from(start: Start) -> Self {
        let samples = match start.sample_format {
            Samples::S16le => SampleFormat::S16le,
            Samples::F32le => SampleFormat::F32le,
        };
        let picture = start.output_format.unwrap_or(FormatName::Jpeg);
        Self {
            model_id: start.model_id,
            sample_format: samples.into(),
            sample_rate_hz: start.sample_rate_hz,
            channels: start.channels,
            output_format: ImageFormat::from(picture).into(),
            jpeg_quality: start.jpeg_quality,
            start_frame_idx: start.start_frame_idx,
            realtime: start.realtime,
            lookahead: start.lookahead,
        }
    }
}

/// What the server writes in a text.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Told<'a> {
    Started {
        fps: u32,
        width: u32,
        height: u32,
        load_ms: Option<f64>,
    },
    UtteranceEnd {
        utterance: u64,
        frames: u64,
        left_out: u64,
    },
    Interrupted {
        utterance: u64,
        frames: u64,
        shown_ms: f64,
    },
    Summary {
        speech_frames: u64,
        idle_frames: u64,
        utterances: u64,
        late_frames: u64,
        skipped_frames: u64,
        first_frame_ms: Option<f64>,
        total_time_ms: f64,
    },
    Error {
        code: &'a str,
        message: Cow<'a, str>,
    },
}

/// What stands before a picture.
#[derive(Serialize)]
struct Header {
    index: u64,
    time_us: u64,
    frame_idx: u64,
    background: usize,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    utterance: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    utterance_frame: Option<u64>,
}

pub(super) async fn talk(
    State(state): State<Arc<ServerState>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !crate::server::http::origin::is_same_origin(&headers) {
        return (StatusCode::FORBIDDEN, "open the page on this server\n").into_response();
    }
    let place = match state.enter_stream() {
        Ok(place) => place,
        Err(failure) => {
            state.metrics().rejected(failure.reason());
            return (StatusCode::SERVICE_UNAVAILABLE, failure.to_string()).into_response();
        }
    };
    // Without tokens everybody may talk; where there are some, the start message brings one.
    let caller = state.settings().auth.caller(&headers, Some(peer)).ok();
    upgrade
        .max_message_size(READ_BYTES_MAX)
        .max_frame_size(READ_BYTES_MAX)
        .on_upgrade(move |socket| hold(state, caller, socket, place))
}

/// Runs the conversation, and tells the client how it ended.
async fn hold(state: Arc<ServerState>, caller: Option<Caller>, socket: WebSocket, place: Place) {
    let (mut sink, source) = socket.split();
    let (events, mut receiver) = mpsc::channel(1);
    let mut session = JoinSet::new();
    session.spawn(async move {
        let mut source = source;
        let ended = serve(&state, caller, &mut source, &events).await;
        (ended, source)
    });
    while let Some(event) = receiver.recv().await {
        if sink.send(message(event)).await.is_err() {
            // Gone; the session goes with the set.
            return;
        }
    }
    let (ended, source) = match session.join_next().await {
        Some(Ok((ended, source))) => (ended, Some(source)),
        Some(Err(error)) => {
            tracing::error!(%error, "a stream panicked");
            let failure = Failure::Panicked(crate::pipeline::cpu::Panicked);
            (Err(Refused::new(failure, Rights::Use)), None)
        }
        None => (Ok(Ending::Gone), None),
    };
    let failed = ended.is_err();
    let code = match ended {
        Ok(Ending::Gone) => return,
        Ok(Ending::Closed | Ending::Drained) => close_code::NORMAL,
        Err(Refused {
            failure,
            rights,
            too_large,
        }) => {
            service::log(&failure);
            let code = failure.code();
            let error = Told::Error {
                code: failure.reason(),
                message: failure.message(rights).into(),
            };
            // What cannot be said to a client that is gone need not be.
            let _ = sink.send(text(&error)).await;
            match code {
                _ if too_large => close_code::SIZE,
                Code::Unavailable => close_code::AWAY,
                Code::Internal => close_code::ERROR,
                _ => close_code::POLICY,
            }
        }
    };
    let close = CloseFrame {
        code,
        reason: "".into(),
    };
    let _ = sink.send(Message::Close(Some(close))).await;
    drop(place);
    if failed && let Some(source) = source {
        // Whoever has heard it closes the connection; what comes until then is read and dropped.
        let rest = async {
            source.for_each(async |_| ()).await;
            // Behind a message that is far too large nothing can be read, and the client's end cannot be seen.
            tokio::time::sleep(LINGER).await;
        };
        let _ = tokio::time::timeout(LINGER, rest).await;
    }
}

/// Why a stream failed, and in whose words it is told.
struct Refused {
    failure: Failure,
    rights: Rights,
    /// Whether a message was larger than allowed.
    too_large: bool,
}

impl Refused {
    fn new(failure: Failure, rights: Rights) -> Self {
        Self {
            failure,
            rights,
            too_large: false,
        }
    }

    fn too_large(rights: Rights) -> Self {
        let failure = Failure::invalid("message", TOO_LARGE);
        Self {
            failure,
            rights,
            too_large: true,
        }
    }
}

const TOO_LARGE: &str = "it is larger than 1 MB: cut the audio into smaller messages";

/// Whether a message is larger than allowed.
fn is_too_large(message: &Result<Message, axum::Error>) -> bool {
    match message {
        Ok(Message::Text(text)) => text.len() > MESSAGE_BYTES_MAX,
        Ok(Message::Binary(bytes)) => bytes.len() > MESSAGE_BYTES_MAX,
        Ok(_) => false,
        Err(error) => std::error::Error::source(error)
            .and_then(|error| error.downcast_ref())
            .is_some_and(|error| matches!(error, tungstenite::Error::Capacity(_))),
    }
}

async fn serve(
    state: &ServerState,
    caller: Option<Caller>,
    mut source: impl Stream<Item = Result<Message, axum::Error>> + Send + Unpin,
    events: &mpsc::Sender<Event>,
) -> Result<Ending, Refused> {
    let first = tokio::time::timeout(START_TIMEOUT, source.next()).await;
    let refuse = |failure| Refused::new(failure, Rights::Use);
    let start = match first {
        Ok(Some(message)) if is_too_large(&message) => {
            return Err(Refused::too_large(Rights::Use));
        }
        Ok(Some(Ok(Message::Text(text)))) => match serde_json::from_str(&text) {
            Ok(Text::Start(start)) => start,
            Ok(_) => return Err(refuse(no_start("another message came first"))),
            Err(error) => return Err(refuse(no_start(&error.to_string()))),
        },
        Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) => return Ok(Ending::Gone),
        Ok(Some(Ok(_))) => return Err(refuse(no_start("another message came first"))),
        Err(_) => return Err(refuse(no_start("it did not come within 10 s"))),
    };
    let caller = match (caller, &start.token) {
        (Some(caller), _) => caller,
        (None, Some(token)) => {
            let settings = state.settings();
            settings.auth.holder(token.as_bytes()).map_err(refuse)?
        }
        (None, None) => {
            return Err(refuse(Failure::Unauthenticated(
                "a token is needed: send `token` in the start message",
            )));
        }
    };
    let too_large = AtomicBool::new(false);
    let inputs = source.filter_map(async |message| {
        if is_too_large(&message) {
            too_large.store(true, Ordering::Relaxed);
            return Some(Err(malformed("message", TOO_LARGE)));
        }
        input(message).transpose()
    });
    converse(state, &start.into(), caller, None, inputs, events)
        .await
        .map_err(|failure| Refused {
            failure,
            rights: caller.rights,
            too_large: too_large.load(Ordering::Relaxed),
        })
}

fn no_start(problem: &str) -> Failure {
    Failure::invalid(
        "start",
        format!("the first message must be `start`: {problem}"),
    )
}

/// What a message asks for; nothing for what only keeps the connection alive.
fn input(message: Result<Message, axum::Error>) -> Result<Option<Input>, InputError> {
    match message {
        Ok(Message::Binary(audio)) => Ok(Some(Input::Audio(audio))),
        Ok(Message::Text(text)) => match serde_json::from_str(&text) {
            Ok(Text::EndOfSpeech) => Ok(Some(Input::EndOfSpeech)),
            Ok(Text::Interrupt) => Ok(Some(Input::Interrupt)),
            Ok(Text::Start(_)) => Err(malformed("start", "the stream has started")),
            Err(error) => Err(malformed("message", error.to_string())),
        },
        Ok(Message::Ping(_) | Message::Pong(_)) => Ok(None),
        // A browser that closes its socket listens no more.
        Ok(Message::Close(_)) | Err(_) => Err(InputError::Gone),
    }
}

fn message(event: Event) -> Message {
    let milliseconds = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    text(&match event {
        Event::Frame(frame) => return Message::Binary(frame_bytes(&frame)),
        Event::Started(about) => Told::Started {
            fps: about.fps,
            width: about.size.width,
            height: about.size.height,
            load_ms: about.load_time.map(milliseconds),
        },
        Event::UtteranceEnd {
            utterance,
            left_out,
        } => Told::UtteranceEnd {
            utterance: utterance.utterance,
            frames: utterance.frames,
            left_out,
        },
        Event::Interrupted(cut) => Told::Interrupted {
            utterance: cut.shown.utterance,
            frames: cut.shown.frames,
            shown_ms: milliseconds(cut.time),
        },
        Event::Summary(summary) => Told::Summary {
            speech_frames: summary.speech_frames,
            idle_frames: summary.idle_frames,
            utterances: summary.utterances,
            late_frames: summary.late_frames,
            skipped_frames: summary.skipped_frames,
            first_frame_ms: summary.first_frame.map(milliseconds),
            total_time_ms: milliseconds(summary.elapsed),
        },
    })
}

fn text(told: &Told<'_>) -> Message {
    // Numbers and strings only: it cannot fail.
    Message::Text(serde_json::to_string(told).unwrap_or_default().into())
}

fn frame_bytes(frame: &Frame) -> Bytes {
    let (kind, utterance, utterance_frame) = match frame.kind {
        Kind::Speech { utterance, frame } => ("speech", Some(utterance), Some(frame)),
        Kind::Idle => ("idle", None, None),
    };
    let header = Header {
        index: frame.index,
        time_us: frame.presentation.as_micros() as u64,
        frame_idx: frame.frame_index,
        background: frame.background,
        kind,
        utterance,
        utterance_frame,
    };
    let header = serde_json::to_vec(&header).unwrap_or_default();
    let mut bytes = BytesMut::with_capacity(4 + header.len() + frame.image.byte_len());
    bytes.put_u32_le(header.len() as u32);
    bytes.put_slice(&header);
    for part in frame.image.parts() {
        bytes.put_slice(part);
    }
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_message_has_the_protos_fields_and_no_others() {
        let start = r#"{"type":"start","model_id":"bob","sample_format":"f32le","sample_rate_hz":48000,"realtime":true,"lookahead":3}"#;
        let Ok(Text::Start(start)) = serde_json::from_str(start) else {
            panic!("not read")
        };
        let start = TalkStart::from(start);
        assert_eq!(
            (start.model_id.as_str(), start.sample_rate_hz),
            ("bob", 48_000)
        );
        assert_eq!(start.output_format(), ImageFormat::Jpeg);
        assert_eq!(start.sample_format(), SampleFormat::F32le);
        assert_eq!(start.lookahead, Some(3));
        let planes = r#"{"type":"start","output_format":"i420"}"#;
        let Ok(Text::Start(planes)) = serde_json::from_str(planes) else {
            panic!("not read")
        };
        assert_eq!(TalkStart::from(planes).output_format(), ImageFormat::I420);
        for wrong in [
            r#"{"type":"start","model":"bob"}"#,
            r#"{"type":"begin"}"#,
            r#"{"type":"start","output_format":"gif"}"#,
            "[]",
        ] {
            assert!(serde_json::from_str::<Text>(wrong).is_err(), "{wrong}");
        }
        assert!(matches!(
            serde_json::from_str(r#"{"type":"end_of_speech"}"#),
            Ok(Text::EndOfSpeech)
        ));
    }

    #[test]
    fn messages_are_sorted_into_inputs() {
        assert!(matches!(
            input(Ok(Message::Binary(Bytes::from_static(&[1])))),
            Ok(Some(Input::Audio(_)))
        ));
        assert!(matches!(input(Ok(Message::Ping(Bytes::new()))), Ok(None)));
        assert!(matches!(
            input(Ok(Message::Close(None))),
            Err(InputError::Gone)
        ));
        assert!(matches!(
            input(Ok(Message::Text(r#"{"type":"start"}"#.into()))),
            Err(InputError::Malformed { field: "start", .. })
        ));
    }
}
