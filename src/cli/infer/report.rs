//! What a render took: the figures, as a table for people and as JSON for scripts.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::offline::Written;
use crate::cli::latency::Latency;
use crate::cli::output::table;
use crate::pipeline::{FrameTimings, RenderedFrame};

/// What a render took, wherever it ran.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// The avatar.
    pub(crate) model: String,
    /// What made the frames: an engine with its version and providers, or a server.
    pub(crate) engine: String,
    /// The film, or the folder of pictures.
    pub(crate) output: PathBuf,
    /// Columns of a frame.
    pub(crate) width: u32,
    /// Rows of a frame.
    pub(crate) height: u32,
    /// Frames a second when shown.
    pub(crate) fps: u32,
    /// Index of the first frame in the avatar's sequence.
    pub(crate) start_frame: u64,
    /// Frames made.
    pub(crate) frames: u64,
    /// Frames for which a film's last one is held, so that the picture lasts as long as the sound.
    pub(crate) held_frames: u64,
    /// Loading the model.
    pub(crate) load_seconds: f64,
    /// From the first sample of speech to the finished file.
    pub(crate) elapsed_seconds: f64,
    /// Frames made a second.
    pub(crate) frames_per_second: f64,
    /// How many times faster than it is shown.
    pub(crate) realtime_factor: f64,
    /// Mean time of a frame in each stage; stages overlap, so they add up to more than a frame takes.
    pub(crate) stages: Vec<Stage>,
    /// What each frame took, for a batch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) frame_timings: Vec<FrameRow>,
    /// What a server and the way to it took, if one made the frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<ServerSide>,
}

/// What a server and the way to it took.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ServerSide {
    /// Mean time of a call at the server, from its arrival to its answer.
    pub(crate) server_ms: f64,
    /// From the first sound to the first frame's departure, for a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_frame_ms: Option<f64>,
    /// Frames that a stream lost on the way, if it lost any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lost: Option<Lost>,
    /// From asking to having the answer, for batches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency: Option<Latency>,
}

/// Frames that did not come.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Lost {
    /// The server could not make them in time.
    pub(crate) late_frames: u64,
    /// They were not taken in time.
    pub(crate) skipped_frames: u64,
}

impl Lost {
    /// What was lost, if anything.
    pub(crate) fn any(late_frames: u64, skipped_frames: u64) -> Option<Self> {
        let lost = Self {
            late_frames,
            skipped_frames,
        };
        (late_frames + skipped_frames > 0).then_some(lost)
    }
}

impl ServerSide {
    /// For people.
    fn human(&self) -> String {
        let server = self.server_ms;
        if let Some(latency) = &self.latency {
            let Latency {
                calls,
                p50_ms,
                p90_ms,
                p99_ms,
                max_ms,
            } = latency;
            let plural = if *calls == 1 { "" } else { "s" };
            return format!(
                "{calls} call{plural}: {server:.1} ms at the server on average, here p50 {p50_ms:.1} ms, \
                 p90 {p90_ms:.1} ms, p99 {p99_ms:.1} ms, max {max_ms:.1} ms"
            );
        }
        let first = self.first_frame_ms.unwrap_or_default();
        let lost = self.lost.map_or_else(String::new, |lost| {
            let (late, skipped) = (lost.late_frames, lost.skipped_frames);
            format!("; {late} frames came too late to be shown, {skipped} were not taken in time")
        });
        format!(
            "{server:.0} ms at the server; its first frame left {first:.0} ms after the first sound{lost}"
        )
    }
}

/// One stage.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Stage {
    /// Its name.
    pub(crate) name: &'static str,
    /// Mean time of a frame in it.
    pub(crate) ms_per_frame: f64,
}

/// One frame of a batch.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FrameRow {
    /// Its index in the avatar's sequence.
    pub(crate) frame: u64,
    /// The background it is painted on.
    pub(crate) background: usize,
    /// Time in each stage, in the order of [`FrameTimings::stages`].
    pub(crate) stages_ms: Vec<f64>,
    /// All of them together.
    pub(crate) total_ms: f64,
    /// Bytes of the picture.
    pub(crate) bytes: usize,
}

impl FrameRow {
    /// The row of a frame.
    pub(crate) fn new(frame: &RenderedFrame) -> Self {
        let stages_ms: Vec<f64> = frame.timings.stages().map(|(_, time)| ms(time)).into();
        Self {
            frame: frame.index,
            background: frame.background,
            total_ms: stages_ms.iter().sum(),
            stages_ms,
            bytes: frame.image.byte_len(),
        }
    }
}

impl Report {
    /// Sets the figures that follow from the frames made and the time it took.
    pub(crate) fn set_speed(&mut self, frames: u64, elapsed: Duration) {
        self.frames = frames;
        self.elapsed_seconds = elapsed.as_secs_f64();
        self.frames_per_second = frames as f64 / self.elapsed_seconds.max(1e-9);
        self.realtime_factor = self.frames_per_second / f64::from(self.fps);
    }

    /// Sets the stages of `frames` frames that took `timings` in all.
    pub(crate) fn set_stages(&mut self, timings: &FrameTimings, frames: u64) {
        let mean = |time: Duration| ms(time) / frames.max(1) as f64;
        self.stages = timings
            .stages()
            .map(|(name, time)| Stage {
                name,
                ms_per_frame: mean(time),
            })
            .into();
    }

    /// Adds what writing took; the frames must be set.
    pub(super) fn set_written(&mut self, written: &Written) {
        self.held_frames = written.held;
        self.stages.push(Stage {
            name: "write",
            ms_per_frame: ms(written.busy) / self.frames.max(1) as f64,
        });
    }

    /// For people.
    pub(crate) fn human(&self) -> String {
        let mut text = String::new();
        let held = match self.held_frames {
            0 => String::new(),
            held => format!(", the last held {held} longer"),
        };
        let _ = writeln!(
            text,
            "{}: {} frame{} of {}x{}{held} in {:.2} s: {:.1} frames/s, {:.2} times realtime",
            self.output.display(),
            self.frames,
            if self.frames == 1 { "" } else { "s" },
            self.width,
            self.height,
            self.elapsed_seconds,
            self.frames_per_second,
            self.realtime_factor,
        );
        let load = if self.load_seconds > 0.0 {
            format!("in {:.2} s", self.load_seconds)
        } else {
            "already".to_owned()
        };
        let _ = writeln!(text, "{} on {}, loaded {load}", self.model, self.engine);
        let table = if self.frame_timings.is_empty() {
            self.stage_table()
        } else {
            self.frame_table()
        };
        let _ = writeln!(text, "{table}");
        if let Some(server) = &self.server {
            let _ = writeln!(text, "{}", server.human());
        }
        text
    }

    fn stage_table(&self) -> comfy_table::Table {
        let mut table = table(["stage", "ms a frame"], 1);
        for stage in &self.stages {
            table.add_row([stage.name.to_owned(), format!("{:.2}", stage.ms_per_frame)]);
        }
        table
    }

    /// A row a frame, and their mean; all times in milliseconds.
    fn frame_table(&self) -> comfy_table::Table {
        let [visual, queue, inference, composite, encode] =
            FrameTimings::default().stages().map(|(name, _)| name);
        let header = [
            "frame",
            "background",
            visual,
            queue,
            inference,
            composite,
            encode,
            "ms in all",
            "bytes",
        ];
        let mut table = table(header, 1);
        let times = |times: &[f64], total: f64| {
            let cells = times.iter().chain([&total]);
            cells.map(|time| format!("{time:.2}")).collect::<Vec<_>>()
        };
        for row in &self.frame_timings {
            let mut cells = vec![row.frame.to_string(), row.background.to_string()];
            cells.extend(times(&row.stages_ms, row.total_ms));
            cells.push(row.bytes.to_string());
            table.add_row(cells);
        }
        let rows = self.frame_timings.len();
        let mean: Vec<f64> = self.stages.iter().map(|stage| stage.ms_per_frame).collect();
        let mut cells = vec!["mean".to_owned(), String::new()];
        cells.extend(times(&mean, mean.iter().sum()));
        let bytes: usize = self.frame_timings.iter().map(|row| row.bytes).sum();
        cells.push((bytes / rows.max(1)).to_string());
        table.add_row(cells);
        table
    }
}

/// Milliseconds.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
