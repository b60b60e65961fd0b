//! `GET /api/talk`: one conversation over a WebSocket, for browsers.
//!
//! The client sends JSON texts, the first of them `{"type":"start","model_id":…}` with the fields of the proto file's
//! `TalkStart` (and `token`, where the server asks for one), then `{"type":"end_of_speech"}` and
//! `{"type":"interrupt"}`; binary messages are audio. The server sends a text for every event but frames. A frame is
//! a binary message: the length of its header (u32, little-endian), the header (JSON), the picture.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::keepalive::{Beat, Keepalive};

use crate::encoder::FormatName;
use crate::server::admission::admit::{Admitted, Refused, admit};
use crate::server::admission::rpc::Rpc;
use crate::server::admission::tally::Tally;
use crate::server::connections::Peer;
use crate::server::grpc::status::Failure;
use crate::server::grpc::talk::driver::{Conversation, Message as Said, malformed};
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
    let tally = Tally::new(Rpc::TALK, state.metrics().clone());
    let entry = match enter(&state, &headers, peer) {
        Ok(entry) => entry,
        Err(refused) => {
            let status = match refused.failure {
                Failure::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
            tally.ends_with(refused.failure.code());
            return (status, refused.failure.message(refused.rights)).into_response();
        }
    };
    upgrade
        .max_message_size(READ_BYTES_MAX)
        .max_frame_size(READ_BYTES_MAX)
        .on_upgrade(async move |socket| hold(state, entry, socket, tally).await)
}

/// Whose socket it is.
enum Entry {
    /// The headers said so.
    In(Admitted),
    /// The start message has to bring a token.
    Asked,
}

fn enter(state: &ServerState, headers: &HeaderMap, peer: SocketAddr) -> Result<Entry, Refused> {
    let caller = state.settings().auth.caller_so_far(headers, Some(peer));
    match caller.transpose() {
        None => Ok(Entry::Asked),
        Some(caller) => admit(state, Rpc::TALK, caller).map(Entry::In),
    }
}

impl Entry {
    fn with_token(self, state: &ServerState, token: Option<&str>) -> Result<Admitted, Refused> {
        if let Self::In(admitted) = self {
            return Ok(admitted);
        }
        let caller = match token {
            Some(token) => state.settings().auth.holder(token.as_bytes()),
            None => Err(Failure::Unauthenticated(
                "a token is needed: send `token` in the start message",
            )),
        };
        admit(state, Rpc::TALK, caller)
    }
}

/// Runs the conversation, and tells the client how it ended.
async fn hold(state: Arc<ServerState>, entry: Entry, socket: WebSocket, tally: Tally) {
    let (mut sink, mut source) = socket.split();
    let keepalive = {
        let server = &state.settings().config.server;
        Keepalive::new(server.keepalive, server.keepalive_timeout)
    };
    let too_large = AtomicBool::new(false);
    let (messages, receiver) = mpsc::channel(1);
    let conversation = Conversation::begin(
        Arc::clone(&state),
        None,
        ReceiverStream::new(receiver),
        move |token| entry.with_token(&state, token),
    );
    let ended = tokio::select! {
        ended = tell(&mut sink, conversation, &keepalive) => ended,
        never = hear(&mut source, messages, &keepalive, &too_large) => match never {},
    };
    let refused = match ended {
        // The tally says that the client went away.
        Ok(Ending::Gone) => return,
        Ok(Ending::Closed | Ending::Drained) => {
            tally.ends_with(Code::Ok);
            close(&mut sink, close_code::NORMAL).await;
            return;
        }
        Err(refused) => refused,
    };
    let code = refused.failure.code();
    tally.ends_with(code);
    let error = Told::Error {
        code: refused.failure.reason(),
        message: refused.failure.message(refused.rights).into(),
    };
    let told = async {
        // What cannot be said to a client that is gone need not be.
        let _ = sink.send(text(&error)).await;
        let code = match code {
            _ if too_large.load(Ordering::Relaxed) => close_code::SIZE,
            Code::Unavailable => close_code::AWAY,
            Code::Internal => close_code::ERROR,
            _ => close_code::POLICY,
        };
        close(&mut sink, code).await;
    };
    // Whoever has heard it closes the connection; what comes until then is read and dropped.
    let rest = async {
        told.await;
        source.for_each(async |_| ()).await;
        // Behind a message that is far too large nothing can be read, and the client's end cannot be seen.
        tokio::time::sleep(LINGER).await;
    };
    let _ = tokio::time::timeout(LINGER, rest).await;
}

async fn close(sink: &mut SplitSink<WebSocket, Message>, code: u16) {
    let close = CloseFrame {
        code,
        reason: "".into(),
    };
    let _ = sink.send(Message::Close(Some(close))).await;
}

/// Sends what happens, and asks a silent client whether it is there, until the conversation is over.
async fn tell(
    sink: &mut SplitSink<WebSocket, Message>,
    mut conversation: Conversation,
    keepalive: &Keepalive,
) -> Result<Ending, Refused> {
    loop {
        let message = tokio::select! {
            event = conversation.next() => match event {
                Some(event) => message(event),
                None => return conversation.ended().await,
            },
            beat = keepalive.beat() => match beat {
                Beat::Ping => Message::Ping(Bytes::new()),
                Beat::Lost => return Ok(Ending::Gone),
            },
        };
        let sent = sink.send(message);
        let sent = match keepalive.send_limit() {
            Some(limit) => tokio::time::timeout(limit, sent).await.ok(),
            None => Some(sent.await),
        };
        // Gone, or as good as gone; the conversation goes with this.
        if !matches!(sent, Some(Ok(()))) {
            return Ok(Ending::Gone);
        }
    }
}

/// Takes what comes for as long as the socket is held.
async fn hear(
    source: &mut SplitStream<WebSocket>,
    messages: mpsc::Sender<Result<Said, InputError>>,
    keepalive: &Keepalive,
    too_large: &AtomicBool,
) -> Infallible {
    while let Some(message) = source.next().await {
        keepalive.heard();
        let said = if is_too_large(&message) {
            too_large.store(true, Ordering::Relaxed);
            Err(malformed("message", TOO_LARGE))
        } else {
            match said(message).transpose() {
                Some(said) => said,
                None => continue,
            }
        };
        keepalive.held_up(true);
        let is_over = messages.send(said).await.is_err();
        keepalive.held_up(false);
        if is_over {
            break;
        }
    }
    // Whoever closes a socket listens no more.
    let _ = messages.send(Err(InputError::Gone)).await;
    std::future::pending().await
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

/// What a message says; nothing for what only keeps the connection alive.
fn said(message: Result<Message, axum::Error>) -> Result<Option<Said>, InputError> {
    let said = match message {
        Ok(Message::Binary(audio)) => Said::Input(Input::Audio(audio)),
        Ok(Message::Text(text)) => match serde_json::from_str(&text) {
            Ok(Text::EndOfSpeech) => Said::Input(Input::EndOfSpeech),
            Ok(Text::Interrupt) => Said::Input(Input::Interrupt),
            Ok(Text::Start(mut start)) => {
                let token = start.token.take();
                Said::Start(start.into(), token)
            }
            Err(error) => return Err(malformed("message", error.to_string())),
        },
        Ok(Message::Ping(_) | Message::Pong(_)) => return Ok(None),
        // A browser that closes its socket listens no more.
        Ok(Message::Close(_)) | Err(_) => return Err(InputError::Gone),
    };
    Ok(Some(said))
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
    fn messages_are_sorted() {
        assert!(matches!(
            said(Ok(Message::Binary(Bytes::from_static(&[1])))),
            Ok(Some(Said::Input(Input::Audio(_))))
        ));
        assert!(matches!(said(Ok(Message::Ping(Bytes::new()))), Ok(None)));
        assert!(matches!(
            said(Ok(Message::Close(None))),
            Err(InputError::Gone)
        ));
        assert!(matches!(
            said(Ok(Message::Text(r#"{"type":"start","token":"t"}"#.into()))),
            Ok(Some(Said::Start(_, Some(_))))
        ));
    }
}
