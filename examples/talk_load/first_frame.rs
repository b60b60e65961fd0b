//! How long a speaker waits for the first frame, at the speed of speech.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use lipsync::cli::output::table;
use lipsync::wire::talk_frame::Kind;
use lipsync::wire::talk_response::Message as Told;
use lipsync::wire::{ImageFormat, TalkStart};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic::transport::Channel;

use crate::ServerArgs;
use crate::figures::Spread;
use crate::stream::{self, bytes_of};

/// How long from the first sample of speech sent to the first speech frame received, for each lookahead
///
/// The sample is sent in chunks of 20 ms, one every 20 ms, as a microphone has them. The clock starts when the first
/// chunk is sent (the speaker began to speak 20 ms earlier) and stops when the first speech frame has come whole.
/// `as made`: the frame leaves when it is made. `paced`: it waits for its slot, as in a conversation; those runs begin
/// at different moments of a slot. `saved` is p50 against the largest lookahead measured.
#[derive(Clone, Debug, Args)]
pub(crate) struct FirstFrameArgs {
    /// Lookaheads to measure
    #[arg(long, value_delimiter = ',', default_value = "8,6,4,2,0", value_parser = clap::value_parser!(i32).range(0..=8))]
    lookahead: Vec<i32>,
    /// Utterances for each lookahead and pace
    #[arg(long, default_value_t = 20)]
    runs: u32,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct FirstFrames {
    model: String,
    lookaheads: Vec<FirstFrame>,
}

/// One lookahead.
#[derive(Debug, Serialize)]
struct FirstFrame {
    lookahead: i32,
    as_made_ms: Spread,
    paced_ms: Spread,
}

const CHUNK: Duration = Duration::from_millis(20);
/// Idle frames before a paced utterance: the stream has found its pace.
const IDLE_FRAMES: u32 = 12;

pub(crate) async fn run(server: &ServerArgs, args: &FirstFrameArgs) -> Result<FirstFrames> {
    let channel = stream::connect(&server.server).await?;
    // The model is loaded and its first backgrounds are there.
    for realtime in [false, true] {
        once(&channel, &server.model, 8, realtime, Duration::ZERO).await?;
    }
    let mut times: Vec<[Vec<f64>; 2]> = vec![<[Vec<f64>; 2]>::default(); args.lookahead.len()];
    // Interleaved, so that what else the machine does meets all of them alike.
    for run in 0..args.runs {
        let phase = Duration::from_millis(40) * run / args.runs;
        for (lookahead, times) in args.lookahead.iter().zip(&mut times) {
            for (realtime, times) in [false, true].into_iter().zip(times) {
                let took = once(&channel, &server.model, *lookahead, realtime, phase).await?;
                times.push(took.as_secs_f64() * 1e3);
            }
        }
    }
    let lookaheads = args.lookahead.iter().zip(times);
    Ok(FirstFrames {
        model: server.model.clone(),
        lookaheads: lookaheads
            .map(|(&lookahead, [as_made, paced])| FirstFrame {
                lookahead,
                as_made_ms: Spread::of(as_made),
                paced_ms: Spread::of(paced),
            })
            .collect(),
    })
}

/// One utterance, until its first frame.
async fn once(
    channel: &Channel,
    model: &str,
    lookahead: i32,
    realtime: bool,
    phase: Duration,
) -> Result<Duration> {
    let start = TalkStart {
        output_format: ImageFormat::Jpeg.into(),
        lookahead: Some(lookahead),
        realtime,
        ..stream::start(model)
    };
    let (voice, mut talk) = stream::open(channel, start).await?;
    let mut idle = 0;
    while !matches!(talk.more().await?, Told::Started(_)) {}
    while realtime && idle < IDLE_FRAMES {
        idle += u32::from(matches!(talk.more().await?, Told::Frame(_)));
    }
    tokio::time::sleep(phase).await;
    let sample = stream::sample()?;
    let (began, first) = oneshot::channel();
    let speaking = tokio::spawn(async move {
        let mut ticks = interval(CHUNK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut began = Some(began);
        let mut rest = sample;
        while !rest.is_empty() {
            ticks.tick().await;
            let chunk = rest.split_to(bytes_of(CHUNK).min(rest.len()));
            if let Some(began) = began.take() {
                // Nobody listens only if the stream has failed.
                let _ = began.send(Instant::now());
            }
            if !voice.say(chunk).await {
                return;
            }
        }
        voice.end_of_speech().await;
    });
    let received = loop {
        match talk.more().await? {
            Told::Frame(frame) if frame.kind() == Kind::Speech => break Instant::now(),
            Told::UtteranceEnd(_) => anyhow::bail!("an utterance without a frame"),
            _ => (),
        }
    };
    speaking.abort();
    let began = first.await?;
    ensure!(began < received, "a frame came before its audio");
    Ok(received - began)
}

impl FirstFrames {
    pub(crate) fn human(&self) -> String {
        let header = [
            "lookahead",
            "as made: p50 ms",
            "p95",
            "max",
            "saved",
            "paced: p50 ms",
            "p95",
            "max",
            "saved",
        ];
        let mut table = table(header, 0);
        let longest = self.lookaheads.iter().max_by_key(|first| first.lookahead);
        for first in &self.lookaheads {
            let mut cells = vec![first.lookahead.to_string()];
            let of: [fn(&FirstFrame) -> &Spread; 2] = [|f| &f.as_made_ms, |f| &f.paced_ms];
            for spread in of {
                let (own, full) = (
                    spread(first),
                    longest.map_or(0.0, |first| spread(first).p50),
                );
                cells.extend(
                    [own.p50, own.p95, own.max, full - own.p50].map(|ms| format!("{ms:.0}")),
                );
            }
            table.add_row(cells);
        }
        let runs = longest.map_or(0, |first| first.paced_ms.count);
        format!(
            "{}: first sample sent to first speech frame received, {runs} utterances each, 20 ms chunks in real time\n{table}\n",
            self.model
        )
    }
}
