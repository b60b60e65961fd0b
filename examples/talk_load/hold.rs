//! How many paced streams hold the frame rate.

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use lipsync::cli::output::table;
use lipsync::wire::talk_frame::Kind;
use lipsync::wire::talk_response::Message as Told;
use lipsync::wire::{ImageFormat, TalkStart};
use serde::Serialize;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::ServerArgs;
use crate::figures::Spread;
use crate::judge::{Came, One, judge};
use crate::stream::{self, Voice, time_of};

/// How many paced streams hold the avatar's frame rate, for one or more numbers of streams
///
/// Every stream is paced; each speaks the bundled sample (9 s) so often that it speaks for the share asked for, whole
/// sentences sent at once; the streams' utterances begin one after another, spread evenly over one round of speech and
/// silence. With a share of 1 all streams speak all the time. `on time` is the share of a stream's due frames, one
/// a slot, speech or idle, that came within a frame time (`--deadline-ms`) after their slot began; the stream's own
/// quickest frame tells when slots begin; an idle frame amid an utterance is never on time. The first seconds (`--warm-up`) do not count. A stream holds if at least
/// `--hold` of its frames were on time, a number of streams if all of them do. `late` (not made in time) and `skipped`
/// (not taken in time) are the server's own counts, warm-up included. `behind` is how much later than its slot a frame
/// came.
#[derive(Clone, Debug, Args)]
pub(crate) struct HoldArgs {
    /// Numbers of streams to try, one after another
    #[arg(long, value_delimiter = ',', default_value = "4,8,12,16,20", value_parser = clap::value_parser!(u32).range(1..=1000))]
    streams: Vec<u32>,
    /// Seconds that count, for each number of streams
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seconds before they count: the share is reached after one sample. Before all, one stream runs for as long, so
    /// that backgrounds are prepared
    #[arg(long, value_name = "SECONDS", default_value_t = 12)]
    warm_up: u64,
    /// How much of the time a stream speaks, above 0 to 1
    #[arg(long, default_value_t = 0.3)]
    share: f64,
    /// How frames are encoded
    #[arg(long, value_enum, default_value_t = Picture::Jpeg)]
    format: Picture,
    /// When a frame is too late after its slot began, in milliseconds [default: one frame time]
    #[arg(long, value_name = "MS")]
    deadline_ms: Option<f64>,
    /// The share of frames on time that a stream must reach
    #[arg(long, default_value_t = 0.99)]
    hold: f64,
}

#[derive(Clone, Copy, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Picture {
    Jpeg,
    Png,
    Rgb,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Held {
    model: String,
    format: Picture,
    speaking_share: f64,
    seconds: u64,
    hold: f64,
    steps: Vec<Step>,
    /// The largest number of streams that all held.
    largest_that_holds: Option<u32>,
}

/// One number of streams.
#[derive(Debug, Serialize)]
struct Step {
    streams: u32,
    holding: u32,
    /// Of all due frames.
    on_time: f64,
    /// Of the stream that fared worst.
    worst_on_time: f64,
    /// Of all frames that came.
    speech: f64,
    late: i64,
    skipped: i64,
    /// Later than their slots, in milliseconds.
    behind_ms: Spread,
    each: Vec<One>,
}

pub(crate) async fn run(server: &ServerArgs, args: &HoldArgs) -> Result<Held> {
    ensure!(
        args.share > 0.0 && args.share <= 1.0,
        "--share {} is not above 0 to 1",
        args.share
    );
    // What backgrounds cost once is paid before anything is counted.
    eprintln!("1 stream for {} s, not counted …", args.warm_up);
    let first = HoldArgs {
        seconds: 0,
        share: 1.0,
        ..args.clone()
    };
    step(server, &first, 1).await?;
    let mut steps = Vec::new();
    for &streams in &args.streams {
        eprintln!("{streams} streams for {} s …", args.warm_up + args.seconds);
        steps.push(step(server, args, streams).await?);
    }
    let held = steps.iter().filter(|step| step.holding == step.streams);
    let largest_that_holds = held.map(|step| step.streams).max();
    Ok(Held {
        model: server.model.clone(),
        format: args.format,
        speaking_share: args.share,
        seconds: args.seconds,
        hold: args.hold,
        steps,
        largest_that_holds,
    })
}

async fn step(server: &ServerArgs, args: &HoldArgs, streams: u32) -> Result<Step> {
    let sample = stream::sample()?;
    let round = time_of(sample.len()).div_f64(args.share);
    // One connection: what a server sends to many is the same, and this program's own threads are few.
    let channel = stream::connect(&server.server).await?;
    let talks = (0..streams).map(|number| {
        let part = f64::from(number) / f64::from(streams);
        let order = Order {
            model: server.model.clone(),
            sample: sample.clone(),
            // Slots are spread too: streams begin within one frame's time.
            begin: Duration::from_millis(40).mul_f64(part),
            offset: round.mul_f64(part),
            round,
            args: args.clone(),
        };
        tokio::spawn(talk(channel.clone(), order))
    });
    let mut each = Vec::new();
    for one in futures::future::join_all(talks).await {
        each.push(one??);
    }
    let sum = |value: fn(&One) -> u64| each.iter().map(value).sum::<u64>().max(1) as f64;
    let on_time = each
        .iter()
        .map(|one| one.on_time * one.due as f64)
        .sum::<f64>();
    Ok(Step {
        streams,
        holding: each.iter().filter(|one| one.on_time >= args.hold).count() as u32,
        on_time: on_time / sum(|one| one.due),
        worst_on_time: each.iter().map(|one| one.on_time).fold(1.0, f64::min),
        speech: sum(|one| one.speech) / sum(|one| one.came),
        late: each.iter().map(|one| one.late).sum(),
        skipped: each.iter().map(|one| one.skipped).sum(),
        behind_ms: Spread::of(each.iter().flat_map(|one| one.behind_ms.clone()).collect()),
        each,
    })
}

/// What one stream is to do.
struct Order {
    model: String,
    sample: Bytes,
    begin: Duration,
    /// Silence before the first utterance.
    offset: Duration,
    /// From one utterance to the next.
    round: Duration,
    args: HoldArgs,
}

/// Speaks until it is dropped.
async fn speak(voice: &Voice, order: &Order) {
    let began = Instant::now() + order.offset;
    let always = order.args.share >= 1.0;
    tokio::time::sleep_until(began).await;
    // One utterance without an end is kept fed one sample ahead.
    let mut open = !always || voice.say(order.sample.clone()).await;
    for number in 0_u32.. {
        open = open && voice.say(order.sample.clone()).await;
        open = open && (always || voice.end_of_speech().await);
        if !open {
            return;
        }
        tokio::time::sleep_until(began + order.round * (number + 1)).await;
    }
}

async fn talk(channel: Channel, mut order: Order) -> Result<One> {
    if order.args.share >= 1.0 {
        order.offset = Duration::ZERO;
    }
    tokio::time::sleep(order.begin).await;
    let format = match order.args.format {
        Picture::Jpeg => ImageFormat::Jpeg,
        Picture::Png => ImageFormat::Png,
        Picture::Rgb => ImageFormat::Rgb,
    };
    let start = TalkStart {
        output_format: format.into(),
        realtime: true,
        ..stream::start(&order.model)
    };
    let (voice, mut talk) = stream::open(&channel, start).await?;
    let counted = order.args.warm_up..order.args.warm_up + order.args.seconds;
    // Some frames more than count, then the stream is closed: what was said is shown to its end, uncounted.
    let length = Duration::from_secs(counted.end + 1);
    let deadline_ms = order.args.deadline_ms;
    tokio::spawn(async move {
        let _ = tokio::time::timeout(length, speak(&voice, &order)).await;
    });
    let (mut fps, mut came, mut summary) = (25, Vec::new(), None);
    while let Some(told) = talk.next().await? {
        match told {
            Told::Started(started) => fps = started.fps.max(1) as u64,
            Told::Frame(frame) => came.push(Came {
                at: Instant::now(),
                presentation: Duration::from_micros(frame.presentation_time_us as u64),
                utterance: (frame.kind() == Kind::Speech).then_some(frame.utterance),
            }),
            Told::Summary(told) => summary = Some(told),
            _ => (),
        }
    }
    let deadline_ms = deadline_ms.unwrap_or(1e3 / fps as f64);
    let summary = summary.unwrap_or_default();
    let mut one = judge(&came, counted, fps, deadline_ms);
    (one.late, one.skipped) = (summary.late_frames, summary.skipped_frames);
    one.first_frame_ms = summary.first_frame_ms;
    Ok(one)
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

impl Held {
    pub(crate) fn human(&self) -> String {
        let header = [
            "streams",
            "hold",
            "on time",
            "worst stream",
            "speech",
            "late",
            "skipped",
            "behind: p50 ms",
            "p95",
            "p99",
        ];
        let mut steps = table(header, 0);
        for step in &self.steps {
            let behind = &step.behind_ms;
            let mut cells = vec![
                step.streams.to_string(),
                step.holding.to_string(),
                percent(step.on_time),
                percent(step.worst_on_time),
                percent(step.speech),
                step.late.to_string(),
                step.skipped.to_string(),
            ];
            cells.extend([behind.p50, behind.p95, behind.p99].map(|ms| format!("{ms:.1}")));
            steps.add_row(cells);
        }
        let each = match &self.steps[..] {
            [only] => only.human(),
            _ => String::new(),
        };
        let share = percent(self.hold);
        let verdict = match self.largest_that_holds {
            Some(streams) => format!(
                "{streams} streams all had at least {share} of their frames on time: the most of those tried"
            ),
            None => {
                format!("no number tried had at least {share} of every stream's frames on time")
            }
        };
        format!(
            "{}, {:?}: speaking {:.0} % of the time, {} s each\n{steps}\n{each}{verdict}\n",
            self.model,
            self.format,
            100.0 * self.speaking_share,
            self.seconds
        )
    }
}

impl Step {
    fn human(&self) -> String {
        let header = [
            "stream",
            "due",
            "came",
            "on time",
            "late",
            "skipped",
            "first frame ms",
        ];
        let mut each = table(header, 0);
        for (number, one) in self.each.iter().enumerate() {
            each.add_row([
                number.to_string(),
                one.due.to_string(),
                one.came.to_string(),
                percent(one.on_time),
                one.late.to_string(),
                one.skipped.to_string(),
                format!("{:.0}", one.first_frame_ms),
            ]);
        }
        format!("{each}\n")
    }
}
