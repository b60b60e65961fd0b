//! Small avatars, a server in this process, and a client that says what it wants message by message.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test's helper fails the test it helps"
)]

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lipsync::config::Config;
use lipsync::server::Server;
use lipsync::wire::lip_sync_client::LipSyncClient;
use lipsync::wire::talk_request::Message;
use lipsync::wire::talk_response::Message as Told;
use lipsync::wire::{
    EndOfSpeech, Interrupt, TalkFrame, TalkRequest, TalkResponse, TalkStart, TalkSummary,
};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Longer than anything takes on a busy machine; reached only when something hangs.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// Waits until `is_so` gives something.
pub async fn eventually<T>(what: &str, mut is_so: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = is_so().await {
            return value;
        }
        assert!(Instant::now() < end, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A folder with avatars of one colour, tiny networks and a configuration.
pub struct Folder(TempDir);

impl Folder {
    /// Avatars, and lines for the sections `server` and `capacity`.
    pub fn new(ids: &[&str], server: &str, capacity: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let networks = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/networks");
        let mut text =
            "server:\n  port: 127.0.0.1:0\n  http_port: 127.0.0.1:0\n  metrics_port: 127.0.0.1:0\n"
                .to_owned();
        let indented = |text: &mut String, lines: &str| {
            lines
                .lines()
                .for_each(|line| writeln!(text, "  {line}").unwrap());
        };
        indented(&mut text, server);
        if !capacity.is_empty() {
            text += "capacity:\n";
            indented(&mut text, capacity);
        }
        // The embedded engine: there on every machine, the same bits everywhere.
        text += "onnx:\n  backend: embedded\nmodels:\n";
        for (number, id) in ids.iter().enumerate() {
            folder.draw(id, number);
            write!(
                text,
                "  {id}:\n    model_path: '{0}/generator.onnx'\n    audio_encoder_path: '{0}/audio_encoder.onnx'\n    background_dir: {id}\n    crop_rects_path: {id}.json\n",
                networks.display()
            )
            .unwrap();
        }
        std::fs::write(folder.0.path().join("config.yaml"), text).unwrap();
        folder
    }

    fn draw(&self, id: &str, colour: usize) {
        let frames = self.0.path().join(id);
        std::fs::create_dir_all(&frames).unwrap();
        for frame in 0..3_u8 {
            let mut pixel = [30 + 20 * frame; 3];
            pixel[colour % 3] = 200;
            image::RgbImage::from_pixel(96, 64, image::Rgb(pixel))
                .save(frames.join(format!("frame_{frame:04}.png")))
                .unwrap();
        }
        let rects = "[[20,10,60,50],[21,10,61,50],[22,10,62,50]]";
        std::fs::write(self.0.path().join(format!("{id}.json")), rects).unwrap();
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn config(&self) -> Config {
        Config::load(&self.0.path().join("config.yaml")).unwrap()
    }

    pub async fn serve(&self) -> Server {
        let server = Server::start(self.config()).await.unwrap();
        server.preload().await;
        server
    }
}

/// Something like speech: a voice that rises and falls, 16 kHz.
pub fn speech(seconds: f32) -> Vec<f32> {
    (0..(seconds * 16_000.0) as usize)
        .map(|n| {
            let t = n as f32 / 16_000.0;
            let pitch = 140.0 + 40.0 * (3.0 * t).sin();
            (0.5 + 0.5 * (11.0 * t).sin()) * 0.4 * (std::f32::consts::TAU * pitch * t).sin()
        })
        .collect()
}

/// How many frames so much speech has.
pub fn frames_of(seconds: f32) -> usize {
    let samples = (seconds * 16_000.0) as u64;
    lipsync::audio::FrameRate::TRAINED.frames_of_samples(samples) as usize
}

/// The samples as little-endian 16-bit integers.
pub fn s16(samples: &[f32]) -> Vec<u8> {
    let integers = samples.iter().map(|sample| (sample * 32_767.0) as i16);
    integers.flat_map(i16::to_le_bytes).collect()
}

/// The same samples as a WAV file.
pub fn wav(samples: &[f32]) -> Vec<u8> {
    let data = s16(samples);
    let mut file = Vec::new();
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&(36 + data.len() as u32).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend_from_slice(&16_000_u32.to_le_bytes());
    file.extend_from_slice(&32_000_u32.to_le_bytes());
    file.extend_from_slice(b"\x02\0\x10\0data");
    file.extend_from_slice(&(data.len() as u32).to_le_bytes());
    file.extend_from_slice(&data);
    file
}

/// A start message: 16 kHz mono s16, PNG, as fast as frames are made.
pub fn start(model: &str) -> TalkStart {
    TalkStart {
        model_id: model.to_owned(),
        ..TalkStart::default()
    }
}

/// The writing side of a stream.
#[derive(Clone)]
pub struct Sender(mpsc::Sender<TalkRequest>);

impl Sender {
    pub async fn send(&self, message: Message) {
        let message = Some(message);
        // A server that has refused the stream listens no more.
        let _ = self.0.send(TalkRequest { message }).await;
    }

    pub async fn say(&self, audio: Bytes) {
        self.send(Message::Audio(audio)).await;
    }
}

/// An open stream.
pub struct Conversation {
    inputs: Option<Sender>,
    told: Streaming<TalkResponse>,
}

impl Conversation {
    pub async fn open(server: &Server, start: TalkStart) -> Self {
        Self::try_open(server, start).await.unwrap()
    }

    pub async fn try_open(server: &Server, start: TalkStart) -> Result<Self, Status> {
        let url = format!("http://{}", server.grpc_address());
        let mut client = LipSyncClient::connect(url).await.unwrap();
        let (inputs, requests) = mpsc::channel(1);
        let inputs = Sender(inputs);
        let begin = inputs.clone();
        tokio::spawn(async move { begin.send(Message::Start(start)).await });
        let told = client.talk(ReceiverStream::new(requests)).await?;
        Ok(Self {
            inputs: Some(inputs),
            told: told.into_inner(),
        })
    }

    pub fn sender(&self) -> Sender {
        self.inputs.clone().unwrap()
    }

    pub async fn send(&self, message: Message) {
        self.inputs.as_ref().unwrap().send(message).await;
    }

    pub async fn say(&self, audio: &[u8]) {
        self.send(Message::Audio(Bytes::copy_from_slice(audio)))
            .await;
    }

    pub async fn end_of_speech(&self) {
        self.send(Message::EndOfSpeech(EndOfSpeech {})).await;
    }

    pub async fn interrupt(&self) {
        self.send(Message::Interrupt(Interrupt {})).await;
    }

    /// Says that no more comes.
    pub fn close(&mut self) {
        self.inputs = None;
    }

    pub async fn next(&mut self) -> Result<Option<Told>, Status> {
        let told = tokio::time::timeout(PATIENCE, self.told.message()).await;
        let told = told.expect("an answer")?;
        Ok(told.map(|told| told.message.unwrap()))
    }

    /// The next frame; marks are passed over.
    pub async fn frame(&mut self) -> TalkFrame {
        loop {
            if let Told::Frame(frame) = self.next().await.unwrap().expect("a frame") {
                return frame;
            }
        }
    }

    /// Everything to the end: how many frames, and the summary.
    pub async fn rest(mut self) -> (usize, Option<TalkSummary>) {
        let (mut frames, mut summary) = (0, None);
        while let Some(told) = self.next().await.unwrap() {
            match told {
                Told::Frame(_) => frames += 1,
                Told::Summary(told) => summary = Some(told),
                _ => (),
            }
        }
        (frames, summary)
    }
}
