//! One Talk stream, and the sample it speaks.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use lipsync::audio::{AudioReader, SPEECH_RATE_HZ};
use lipsync::demo;
use lipsync::wire::lip_sync_client::LipSyncClient;
use lipsync::wire::talk_request::Message;
use lipsync::wire::talk_response::Message as Told;
use lipsync::wire::{EndOfSpeech, SampleFormat, TalkRequest, TalkResponse, TalkStart};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

const SAMPLE_BYTES: usize = size_of::<f32>();
/// Bytes that may be on their way to one stream, and to all of a connection: some frames, also of RGB.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
/// Larger than any frame.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// The bundled sample as f32 bytes, 16 kHz mono.
pub(crate) fn sample() -> Result<Bytes> {
    let mut reader = AudioReader::from_bytes("speech.flac", demo::speech_sample())?;
    let mut bytes = Vec::new();
    while let Some(chunk) = reader.next_chunk()? {
        bytes.extend(chunk.iter().flat_map(|sample| sample.to_le_bytes()));
    }
    Ok(bytes.into())
}

/// How many bytes of the sample last so long.
pub(crate) fn bytes_of(time: Duration) -> usize {
    (time.as_secs_f64() * f64::from(SPEECH_RATE_HZ)) as usize * SAMPLE_BYTES
}

/// How long so many bytes of the sample last.
pub(crate) fn time_of(bytes: usize) -> Duration {
    Duration::from_secs_f64((bytes / SAMPLE_BYTES) as f64 / f64::from(SPEECH_RATE_HZ))
}

pub(crate) async fn connect(server: &str) -> Result<Channel> {
    let server = server.strip_prefix("http://").unwrap_or(server);
    Endpoint::from_shared(format!("http://{server}"))?
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .connect()
        .await
        .with_context(|| {
            format!("no server answers at {server}: start `lipsync serve`, or give --server")
        })
}

/// A start message for the sample.
pub(crate) fn start(model: &str) -> TalkStart {
    TalkStart {
        model_id: model.to_owned(),
        sample_format: SampleFormat::F32le.into(),
        ..TalkStart::default()
    }
}

/// The writing side of a stream; dropped, it closes the stream.
#[derive(Clone, Debug)]
pub(crate) struct Voice(mpsc::Sender<TalkRequest>);

impl Voice {
    /// Whether the stream is still open.
    pub(crate) async fn say(&self, audio: Bytes) -> bool {
        self.send(Message::Audio(audio)).await
    }

    pub(crate) async fn end_of_speech(&self) -> bool {
        self.send(Message::EndOfSpeech(EndOfSpeech {})).await
    }

    async fn send(&self, message: Message) -> bool {
        let message = Some(message);
        self.0.send(TalkRequest { message }).await.is_ok()
    }
}

/// The reading side.
#[derive(Debug)]
pub(crate) struct Talk(Streaming<TalkResponse>);

/// Opens a stream.
pub(crate) async fn open(channel: &Channel, start: TalkStart) -> Result<(Voice, Talk)> {
    let (inputs, requests) = mpsc::channel(1);
    let voice = Voice(inputs);
    voice.send(Message::Start(start)).await;
    let told = LipSyncClient::new(channel.clone())
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .talk(ReceiverStream::new(requests))
        .await?
        .into_inner();
    Ok((voice, Talk(told)))
}

impl Talk {
    /// The next message; nothing after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Told>> {
        while let Some(answer) = self.0.message().await? {
            if answer.message.is_some() {
                return Ok(answer.message);
            }
        }
        Ok(None)
    }

    /// The next message of a stream that should not be over yet.
    pub(crate) async fn more(&mut self) -> Result<Told> {
        self.next().await?.context("the server ended the stream")
    }
}
