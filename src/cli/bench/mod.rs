//! `lipsync bench`: how fast frames are made, in process or by a server, and how many live streams that carries.
//!
//! Every batch size is measured twice: with one caller, which tells latency and what each stage takes, and with
//! several, which tells what the machine can do. Loading the model and decoding its pictures come before.

mod measure;
mod target;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use super::Global;
use super::connect::TokenArgs;
use super::latency::Latency;
use super::output::{Output, table};
use crate::defaults::BATCH_FRAMES_MAX;
use crate::encoder::FormatName;
use crate::pipeline::cpu;
use measure::{Bound, Measured, measure, warm_up};
use target::Target;

/// Most callers at once.
const CALLERS_MAX: i64 = 256;

/// Options of `bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The avatar [default: the first one]
    #[arg(long, value_name = "ID")]
    model: Option<String>,
    /// Frames in a batch, 1-25, one measurement each
    #[arg(
        long,
        value_name = "N,…",
        value_delimiter = ',',
        default_values_t = [1, 4, 8, BATCH_FRAMES_MAX],
        value_parser = clap::value_parser!(u8).range(1..=i64::from(BATCH_FRAMES_MAX))
    )]
    batch: Vec<u8>,
    /// How long each batch size is measured
    #[arg(long, default_value_t = 4.0, value_parser = seconds)]
    seconds: f64,
    /// Batches each caller makes, instead of a time
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "seconds",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    repeat: Option<u32>,
    /// Callers at once where it is about throughput [default: as many as keep the cores busy]
    #[arg(long, value_name = "C", value_parser = clap::value_parser!(u16).range(1..=CALLERS_MAX))]
    concurrency: Option<u16>,
    /// How frames are encoded
    #[arg(long, value_enum, default_value_t = FormatName::Png)]
    format: FormatName,
    /// Measure a running server [default: in process, from the configuration]
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    #[command(flatten)]
    token: TokenArgs,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("give 0.1 to 3600 seconds".to_owned()),
    }
}

/// Measures, and prints the table.
///
/// # Errors
/// If the model cannot be opened, or a batch fails.
pub(crate) fn run(global: &Global, args: &Args, output: &Output) -> anyhow::Result<ExitCode> {
    let report = super::block_on(async {
        let target = target::open(global, args, output).await?;
        measure_all(&target, args, output).await
    })?;
    output.result(&report, || report.human())?;
    Ok(ExitCode::SUCCESS)
}

async fn measure_all(target: &Target, args: &Args, output: &Output) -> anyhow::Result<Report> {
    let bound = match args.repeat {
        Some(batches) => Bound::Batches(batches),
        None => Bound::Time(Duration::from_secs_f64(args.seconds / 2.0)),
    };
    let bar = output.steps_bar(2 * args.batch.len() as u64);
    bar.set_message("warming up");
    warm_up(target).await?;
    let mut rows = Vec::with_capacity(args.batch.len());
    for batch in args.batch.iter().copied().map(usize::from) {
        bar.set_message(format!("batch {batch}"));
        let alone = measure(target, batch, 1, bound).await?;
        bar.inc(1);
        let callers = args.concurrency.map_or_else(|| callers(batch), usize::from);
        let together = measure(target, batch, callers, bound).await?;
        bar.inc(1);
        rows.push(Row::new(batch, alone, together, target.fps));
    }
    bar.finish_and_clear();
    Ok(Report {
        version: target.version.clone(),
        engine: target.engine.clone(),
        server: args.server.clone(),
        cores: args.server.is_none().then(cpu::cores),
        model: target.model.clone(),
        width: target.width,
        height: target.height,
        fps: target.fps,
        format: args.format,
        seconds: args.repeat.is_none().then_some(args.seconds),
        repeat: args.repeat,
        rows,
    })
}

/// As many callers as keep every core busy with batches of this size, and no more frames than queues hold.
fn callers(batch: usize) -> usize {
    (2 * cpu::cores()).div_ceil(batch).clamp(2, 32)
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    /// Version of the program that made the frames.
    version: String,
    engine: String,
    /// `null` in process.
    server: Option<String>,
    /// Of this machine, in process; what a server has is not known.
    cores: Option<usize>,
    model: String,
    width: u32,
    height: u32,
    fps: u32,
    format: FormatName,
    seconds: Option<f64>,
    repeat: Option<u32>,
    rows: Vec<Row>,
}

/// One batch size.
#[derive(Debug, Serialize)]
struct Row {
    batch: usize,
    /// What each stage takes with one caller.
    stages: Vec<Stage>,
    alone: Speed,
    together: Speed,
    /// Streams at the model's rate that `together` carries.
    streams: u64,
}

#[derive(Debug, Serialize)]
struct Stage {
    name: &'static str,
    ms_per_frame: f64,
}

/// What callers got.
#[derive(Debug, Serialize)]
struct Speed {
    callers: usize,
    frames: u64,
    frames_per_second: f64,
    /// From asking for a batch to having it.
    latency: Latency,
}

impl Row {
    fn new(batch: usize, alone: Measured, together: Measured, fps: u32) -> Self {
        let frames = alone.frames.max(1) as f64;
        let stages = alone.timings.stages().map(|(name, time)| Stage {
            name,
            ms_per_frame: time.as_secs_f64() * 1e3 / frames,
        });
        let together = Speed::from(together);
        Self {
            batch,
            stages: stages.into(),
            alone: alone.into(),
            streams: (together.frames_per_second / f64::from(fps.max(1))) as u64,
            together,
        }
    }
}

impl From<Measured> for Speed {
    fn from(measured: Measured) -> Self {
        Self {
            callers: measured.callers,
            frames: measured.frames,
            frames_per_second: measured.frames as f64 / measured.elapsed.as_secs_f64().max(1e-9),
            latency: Latency::of(measured.times),
        }
    }
}

impl Report {
    fn human(&self) -> String {
        let mut text = String::new();
        let place = match (&self.server, self.cores) {
            (Some(server), _) => format!("the server at {server}"),
            (None, Some(1)) => "in process, 1 core".to_owned(),
            (None, cores) => format!("in process, {} cores", cores.unwrap_or_default()),
        };
        let _ = writeln!(text, "lipsync {} · {} · {place}", self.version, self.engine);
        let bound = match (self.repeat, self.seconds) {
            (Some(batches), _) => format!("{batches} batches a caller"),
            (None, seconds) => format!("{} s a row", seconds.unwrap_or_default()),
        };
        let _ = writeln!(
            text,
            "{} {}x{}, {} · {bound}, warm",
            self.model,
            self.width,
            self.height,
            self.format.word().to_uppercase(),
        );
        let [visual, queue, inference, composite, encode] =
            crate::pipeline::FrameTimings::default()
                .stages()
                .map(|(name, _)| name);
        let header = [
            "batch", visual, queue, inference, composite, encode, "p50", "p99", "frames/s",
            "callers", "frames/s", "streams",
        ];
        let mut table = table(header, 0);
        for row in &self.rows {
            let latency = &row.alone.latency;
            let mut cells = vec![row.batch.to_string()];
            cells.extend(
                row.stages
                    .iter()
                    .map(|one| format!("{:.2}", one.ms_per_frame)),
            );
            let percentiles = [latency.p50_ms, latency.p99_ms];
            cells.extend(percentiles.map(|ms| format!("{ms:.1}")));
            cells.push(format!("{:.1}", row.alone.frames_per_second));
            cells.push(row.together.callers.to_string());
            cells.push(format!("{:.1}", row.together.frames_per_second));
            cells.push(row.streams.to_string());
            table.add_row(cells);
        }
        let _ = writeln!(
            text,
            "{table}\nwith 1 caller: ms a frame in each stage, ms a batch (p50, p99), frames/s; then with several\n\
             streams: how many at {} fps the last frames/s carry",
            self.fps
        );
        text
    }
}
