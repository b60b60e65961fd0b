//! Clients whose audio is late, against the real binary: a pause inside an utterance, a clock that is slow, chunks that
//! come unevenly. Whatever they do, an utterance that ends is told to have ended, a stream that is closed gets its
//! summary, and no frame is neither shown nor told to be left out.

use std::time::Duration;

use futures::future::join_all;
use lipsync::wire::lip_sync_client::LipSyncClient;
use lipsync::wire::talk_frame::Kind;
use lipsync::wire::talk_request::Message;
use lipsync::wire::talk_response::Message as Told;
use lipsync::wire::{EndOfSpeech, ImageFormat, TalkRequest, TalkStart};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;

use crate::common::avatars;
use crate::common::eventually;
use crate::common::process::Server;
use crate::setup::{PATIENCE, s16, speech, start};
use crate::socket;

/// Before the first audio: the stream is shown idle by then.
const SETTLE: Duration = Duration::from_millis(300);

/// Pieces of audio and the time each comes after the one before.
#[derive(Clone, Debug)]
struct Schedule {
    name: String,
    rate_hz: u32,
    parts: Vec<(Duration, Vec<u8>)>,
}

impl Schedule {
    /// A second, a pause, and half a second more.
    fn pause(pause: Duration) -> Self {
        let audio = s16(&speech(1.5));
        let (before, after) = audio.split_at(32_000);
        Self {
            name: format!("a pause of {pause:?}"),
            rate_hz: 16_000,
            parts: vec![(Duration::ZERO, before.to_vec()), (pause, after.to_vec())],
        }
    }

    /// Chunks of 20 ms by a clock that runs so many times slower than ours.
    fn slow(times: f64, seconds: f32) -> Self {
        let chunks = s16(&speech(seconds))
            .chunks(640)
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>();
        let wait = Duration::from_millis(20).mul_f64(times);
        Self {
            name: format!("a clock {times} times slow"),
            rate_hz: 16_000,
            parts: chunks.into_iter().map(|chunk| (wait, chunk)).collect(),
        }
    }

    /// Telephony: 8 kHz in chunks of 10 ms, each up to 4 ms early or late.
    fn telephony(seconds: f32) -> Self {
        let samples: Vec<f32> = speech(seconds).into_iter().step_by(2).collect();
        let mut seed = 1_u32;
        let mut before = 0.0;
        let mut parts = Vec::new();
        for (index, chunk) in s16(&samples).chunks(160).enumerate() {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let jitter = f64::from(seed >> 8) / f64::from(1 << 24) * 8.0;
            let at = index as f64 * 10.0 + jitter;
            parts.push((
                Duration::from_secs_f64((at - before).max(0.0) / 1000.0),
                chunk.to_vec(),
            ));
            before = at.max(before);
        }
        Self {
            name: "telephony with 4 ms of jitter".to_owned(),
            rate_hz: 8_000,
            parts,
        }
    }

    fn frames(&self) -> usize {
        let bytes: usize = self.parts.iter().map(|(_, audio)| audio.len()).sum();
        let samples = bytes as u64 / 2 * 16_000 / u64::from(self.rate_hz);
        lipsync::audio::FrameRate::TRAINED.frames_of_samples(samples) as usize
    }

    fn start(&self) -> TalkStart {
        TalkStart {
            realtime: true,
            sample_rate_hz: self.rate_hz as i32,
            output_format: ImageFormat::Jpeg.into(),
            ..start("red")
        }
    }

    /// Sends each piece when it is due, by a schedule and not by pauses that add up.
    async fn play(&self, mut send: impl AsyncFnMut(&[u8])) {
        let mut due = Instant::now() + SETTLE;
        for (wait, audio) in &self.parts {
            due += *wait;
            sleep_until(due).await;
            send(audio).await;
        }
    }
}

/// What a client heard.
#[derive(Debug, Default)]
struct Heard {
    shown: usize,
    /// Frames and frames left out, of each utterance that was told to have ended.
    ends: Vec<(usize, usize)>,
    summaries: usize,
}

impl Heard {
    fn check(&self, schedule: &Schedule, by: &str) {
        let name = format!("{} by {by}: {self:?}", schedule.name);
        assert_eq!(self.ends.len(), 1, "{name}");
        let (frames, left_out) = self.ends[0];
        assert_eq!(frames, schedule.frames(), "{name}");
        assert_eq!(self.shown + left_out, frames, "{name}");
        // How many are shown is the machine's affair; that none is missing without a word is ours.
    }
}

async fn by_grpc(address: std::net::SocketAddr, schedule: Schedule) {
    let mut client = LipSyncClient::connect(format!("http://{address}"))
        .await
        .unwrap();
    let (inputs, requests) = mpsc::channel(1);
    let request = |message| TalkRequest {
        message: Some(message),
    };
    inputs
        .send(request(Message::Start(schedule.start())))
        .await
        .unwrap();
    let told = client.talk(ReceiverStream::new(requests)).await.unwrap();
    let mut told = told.into_inner();
    let listen = async {
        let mut heard = Heard::default();
        while let Some(message) = told.message().await.unwrap() {
            match message.message.unwrap() {
                Told::Frame(frame) => heard.shown += usize::from(frame.kind() == Kind::Speech),
                Told::UtteranceEnd(end) => {
                    heard
                        .ends
                        .push((end.frames as usize, end.left_out as usize));
                }
                Told::Summary(_) => heard.summaries += 1,
                Told::Started(_) | Told::Interrupted(_) => (),
            }
        }
        heard
    };
    let speak = async {
        schedule
            .play(async |audio| {
                let audio = Message::Audio(audio.to_vec().into());
                inputs.send(request(audio)).await.unwrap();
            })
            .await;
        let end = Message::EndOfSpeech(EndOfSpeech {});
        inputs.send(request(end)).await.unwrap();
        drop(inputs);
    };
    let both = async { tokio::join!(listen, speak).0 };
    let heard = tokio::time::timeout(PATIENCE, both).await;
    let heard = heard.unwrap_or_else(|_| panic!("{} by gRPC hangs", schedule.name));
    heard.check(&schedule, "gRPC");
    assert_eq!(heard.summaries, 1, "{}", schedule.name);
}

async fn by_socket(address: std::net::SocketAddr, schedule: Schedule) {
    let stream = socket::open(address).await;
    let (mut incoming, mut outgoing) = stream.into_split();
    let start = format!(
        r#"{{"type":"start","model_id":"red","realtime":true,"sample_rate_hz":{},"output_format":"jpeg"}}"#,
        schedule.rate_hz
    );
    let listen = async {
        let mut heard = Heard::default();
        while heard.ends.is_empty() {
            let (kind, payload) = socket::read(&mut incoming).await;
            match kind {
                socket::BINARY => {
                    let length = u32::from_le_bytes(payload[..4].try_into().unwrap()) as usize;
                    let header: serde_json::Value =
                        serde_json::from_slice(&payload[4..4 + length]).unwrap();
                    heard.shown += usize::from(header["kind"] == "speech");
                }
                socket::TEXT => {
                    let told: serde_json::Value = serde_json::from_slice(&payload).unwrap();
                    if told["type"] == "utterance_end" {
                        let number = |key: &str| told[key].as_u64().unwrap() as usize;
                        heard.ends.push((number("frames"), number("left_out")));
                    }
                    assert_ne!(told["type"], "error", "{told}");
                }
                // A ping after a long silence; what is said next answers it.
                socket::PING => (),
                kind => panic!("a message of kind {kind}"),
            }
        }
        heard
    };
    let speak = async {
        outgoing
            .write_all(&socket::message(socket::TEXT, start.as_bytes()))
            .await
            .unwrap();
        schedule
            .play(async |audio| {
                let audio = socket::message(socket::BINARY, audio);
                outgoing.write_all(&audio).await.unwrap();
            })
            .await;
        let end = socket::message(socket::TEXT, br#"{"type":"end_of_speech"}"#);
        outgoing.write_all(&end).await.unwrap();
    };
    let both = async { tokio::join!(listen, speak).0 };
    let heard = tokio::time::timeout(PATIENCE, both).await;
    let heard = heard.unwrap_or_else(|_| panic!("{} by WebSocket hangs", schedule.name));
    heard.check(&schedule, "WebSocket");
}

/// Plays all of them at once, each by gRPC and by WebSocket, and sees that nothing is left of them.
async fn play(schedules: Vec<Schedule>) {
    let folder = avatars::plain(&["red"]);
    let server = Server::start(&folder);
    let clients = schedules.into_iter().map(async |schedule| {
        let grpc = by_grpc(server.grpc, schedule.clone());
        tokio::join!(grpc, by_socket(server.http, schedule));
    });
    join_all(clients).await;
    eventually("no stream is open and no lease is held", async || {
        let streams = server.metric("lipsync_streams_open")?;
        let leases = server.metric("lipsync_model_leases{model=\"red\"}")?;
        (streams == 0 && leases == 0).then_some(())
    })
    .await;
    server.stop();
}

#[tokio::test]
async fn a_pause_of_any_length_inside_an_utterance() {
    let pauses = (540..=690).step_by(10);
    play(
        pauses
            .map(|ms| Schedule::pause(Duration::from_millis(ms)))
            .collect(),
    )
    .await;
}

#[tokio::test]
async fn a_clock_that_is_slow_and_chunks_that_come_unevenly() {
    play(vec![
        Schedule::slow(1.0, 14.0),
        Schedule::slow(1.005, 14.0),
        Schedule::slow(1.01, 14.0),
        Schedule::slow(1.03, 14.0),
        Schedule::telephony(14.0),
    ])
    .await;
}
