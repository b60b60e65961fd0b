//! Rendering on this machine, from the configuration alone.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use indicatif::ProgressBar;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Args;
use super::report::{FrameRow, Report};
use crate::audio::{AudioReader, FrameRate, SPEECH_RATE_HZ, SpeechFile};
use crate::cli::output::{OrHint as _, Output};
use crate::cli::{self, Global};
use crate::config::{self, Config};
use crate::demo;
use crate::encoder::Encoded;
use crate::engine;
use crate::engine::{Backend, BackendInfo};
use crate::film::{Clip, Film, FilmError, Target};
use crate::pipeline::clip::{ClipOptions, first_windows, render_clip};
use crate::pipeline::loader::backend_options;
use crate::pipeline::speech::SpeechFrame;
use crate::pipeline::{FrameOrder, FrameTimings, LoadOptions, LoadedModel, memory, render_batch};

/// Finished frames that may wait for the film's encoder.
const FRAMES_AHEAD: usize = 4;

/// Speech lasts at least the inverse of this in seconds: a frame of film.
const SPEECH_MIN_FRACTION: u64 = crate::defaults::FPS as u64;

/// What to render.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// The avatar.
    pub(crate) model: String,
    /// What it says.
    pub(crate) speech: Speech,
    /// Index of the first frame in the avatar's sequence.
    pub(crate) start_frame: u64,
    /// What is written.
    pub(crate) target: Target,
}

/// What an avatar says: a file that was opened, and the notes on it told.
#[derive(Clone, Debug)]
pub(crate) struct Speech(SpeechFile);

impl Speech {
    /// The bundled sample.
    pub(crate) fn sample() -> anyhow::Result<Self> {
        let sample = SpeechFile::from_bytes("the bundled sample", demo::speech_sample())?;
        Ok(Self(sample))
    }

    /// The first seconds of the bundled sample.
    pub(crate) fn sample_start(seconds: u32) -> anyhow::Result<Self> {
        let sample = demo::speech_sample_start(seconds)?;
        let sample = SpeechFile::from_bytes("the bundled sample.wav", sample)?;
        Ok(Self(sample))
    }

    /// A reader at its start.
    pub(crate) fn open(&self) -> anyhow::Result<AudioReader> {
        let reader = self.0.reader()?;
        let rate = u64::from(reader.format().rate_hz);
        if let Some(frames) = reader.expected_frames()
            && frames * SPEECH_MIN_FRACTION < rate
        {
            let error = anyhow::anyhow!(
                "audio file {} is too short to be speech: {frames} samples at {rate} Hz",
                self.0.name()
            );
            return Err(error).or_hint("give at least a twenty-fifth of a second");
        }
        Ok(reader)
    }

    /// Two readers at its start: for the lips, and for the film's sound. Says what is worth a word about the file.
    pub(crate) fn open_twice(&self, output: &Output) -> anyhow::Result<(AudioReader, AudioReader)> {
        let (speech, sound) = (self.open()?, self.open()?);
        for note in speech.notes() {
            output.warning(format_args!("{}: {note}", self.0.name()));
        }
        Ok((speech, sound))
    }

    /// Says how many packets of it could not be decoded, if any.
    pub(crate) fn tell_damage(&self, packets: u64, output: &Output) {
        if packets > 0 {
            output.warning(format_args!(
                "{}: {packets} damaged packet{} could not be decoded: there is silence instead",
                self.0.name(),
                if packets == 1 { "" } else { "s" },
            ));
        }
    }
}

impl Args {
    /// What `--audio` names, or the sample.
    pub(super) fn speech(&self) -> anyhow::Result<Speech> {
        match &self.audio {
            Some(path) => Ok(Speech(SpeechFile::open(path)?)),
            None => Speech::sample(),
        }
    }
}

/// `infer` without a server.
pub(super) fn run(
    global: &Global,
    args: &Args,
    target: Target,
    output: &Output,
) -> anyhow::Result<Report> {
    let config = Config::load(&global.config)?;
    let job = Job {
        model: args.model.clone(),
        speech: args.speech()?,
        start_frame: args.start_frame,
        target,
    };
    match args.batch {
        Some(frames) => render_one_batch(&config, &job, usize::from(frames), output),
        None => render(&config, &job, output),
    }
}

/// Renders all of the speech. Stops at Ctrl-C; then, or when anything fails, nothing is left under the final name.
///
/// # Errors
/// Whatever is wrong with the model, the speech or the place to write to.
pub(crate) fn render(config: &Config, job: &Job, output: &Output) -> anyhow::Result<Report> {
    // Before the model, which takes seconds: what is wrong with the files should be said at once.
    let (reader, sound) = job.speech.open_twice(output)?;
    let damage = reader.damage();
    let studio = Studio::open(config, job, output)?;
    cli::block_on(cli::until_stopped(async {
        let film = studio.film(job, Some(sound))?;
        let bar = output.frames_bar(0);
        let (samples, rate_hz) = (reader.expected_frames(), reader.format().rate_hz);
        frames_bar(&bar, samples, rate_hz, studio.model.speech().rate);
        let started = Instant::now();
        let options = ClipOptions {
            start_index: job.start_frame,
            format: film.format(),
        };
        let (frames, writer) = write_frames(film);
        let summary = render_clip(&studio.model, reader, options, async |frame| {
            bar.inc(1);
            match frames.send(frame.image).await {
                Ok(()) => ControlFlow::Continue(()),
                // The writer has failed and says why below.
                Err(_) => ControlFlow::Break(()),
            }
        })
        .await;
        drop(frames);
        let summary = summary?;
        let written = finish(writer).await?;
        bar.finish_and_clear();
        job.speech.tell_damage(damage.packets(), output);
        let mut report = studio.report(job);
        report.set_speed(summary.frames, started.elapsed());
        report.set_stages(&summary.timings, summary.frames);
        report.set_written(&written);
        Ok(report)
    }))
}

/// Renders the first `count` frames as one batch, and keeps what each took.
fn render_one_batch(
    config: &Config,
    job: &Job,
    count: usize,
    output: &Output,
) -> anyhow::Result<Report> {
    let mut reader = job.speech.open()?;
    let studio = Studio::open(config, job, output)?;
    let windows = windows(&studio.model, &mut reader, count)?;
    cli::block_on(cli::until_stopped(async {
        let film = studio.film(job, None)?;
        let format = film.format();
        let orders = windows.into_iter().map(|(frame, audio)| FrameOrder {
            index: job.start_frame + frame,
            visual: None,
            audio,
            flow: 0,
            deadline: None,
        });
        let started = Instant::now();
        let rendered = render_batch(&studio.model, orders, format).await?;
        let elapsed = started.elapsed();
        let mut report = studio.report(job);
        report.set_speed(rendered.len() as u64, elapsed);
        let timings: FrameTimings = rendered.iter().map(|frame| frame.timings).sum();
        report.set_stages(&timings, rendered.len() as u64);
        report.frame_timings = rendered.iter().map(FrameRow::new).collect();
        let (frames, writer) = write_frames(film);
        for frame in rendered {
            if frames.send(frame.image).await.is_err() {
                break;
            }
        }
        drop(frames);
        finish(writer).await?;
        Ok(report)
    }))
}

/// The windows of the speech's first `count` frames.
pub(crate) fn windows(
    model: &LoadedModel,
    reader: &mut AudioReader,
    count: usize,
) -> anyhow::Result<Vec<SpeechFrame>> {
    let windows = first_windows(model, reader, count)?;
    if windows.len() < count {
        let found = windows.len();
        let error =
            anyhow::anyhow!("the speech is too short: it makes {found} frames, not {count}");
        return Err(error).or_hint(format!("ask for --batch {found}, or give longer speech"));
    }
    Ok(windows)
}

/// Tells `bar` how many frames the speech will make, as far as its header tells.
pub(super) fn frames_bar(bar: &ProgressBar, samples: Option<u64>, rate_hz: u32, rate: FrameRate) {
    match samples {
        Some(samples) => {
            let samples = u128::from(samples) * u128::from(SPEECH_RATE_HZ);
            bar.set_length(rate.frames_of_samples(samples.div_ceil(rate_hz.into()) as u64));
        }
        None => bar.unset_length(),
    }
}

/// An opened model and what runs it.
struct Studio {
    model: Arc<LoadedModel>,
    engine: String,
    load: Duration,
}

impl Studio {
    /// Opens the model of `job` and says which engine runs it.
    fn open(config: &Config, job: &Job, output: &Output) -> anyhow::Result<Self> {
        let entry = model(config, &job.model)?;
        let backend = open_backend(config, output)?;
        let spinner = output.spinner();
        spinner.set_message(format!("loading {}", job.model));
        let started = Instant::now();
        let options = LoadOptions::new(config, &*backend);
        let model = LoadedModel::open(&*backend, entry, &options)
            .with_context(|| format!("cannot load model {}", entry.id));
        spinner.finish_and_clear();
        let model = Arc::new(model?);
        if let Some(end) = model.avatar().sequence().end(model.avatar().frames())
            && job.start_frame >= end
        {
            let last = end - 1;
            let error = anyhow::anyhow!("--start-frame {} is past the last frame", job.start_frame);
            return Err(error).or_hint(format!(
                "model {} ends at frame {last} (sequence: clamp)",
                entry.id
            ));
        }
        Ok(Self {
            model,
            engine: backend.info().to_string(),
            load: started.elapsed(),
        })
    }

    /// Starts the film of `job`.
    fn film(&self, job: &Job, sound: Option<AudioReader>) -> Result<Box<dyn Film>, FilmError> {
        let clip = Clip {
            size: self.model.avatar().size(),
            fps: self.model.avatar().fps(),
        };
        job.target.create(clip, sound)
    }

    /// A report without its times.
    fn report(&self, job: &Job) -> Report {
        let avatar = self.model.avatar();
        Report {
            model: job.model.clone(),
            engine: self.engine.clone(),
            output: job.target.path().to_owned(),
            width: avatar.size().width,
            height: avatar.size().height,
            fps: avatar.fps(),
            start_frame: job.start_frame,
            frames: 0,
            held_frames: 0,
            load_seconds: self.load.as_secs_f64(),
            elapsed_seconds: 0.0,
            frames_per_second: 0.0,
            realtime_factor: 0.0,
            stages: Vec::new(),
            frame_timings: Vec::new(),
            server: None,
        }
    }
}

/// The model called `id` in `config`.
pub(crate) fn model<'a>(config: &'a Config, id: &str) -> anyhow::Result<&'a config::Model> {
    config.model(id).map_or_else(
        || {
            let error = anyhow::anyhow!("no model {id} in {}", config.path.display());
            Err(error).or_hint(config.model_hint(id))
        },
        Ok,
    )
}

/// Chooses the engine and says which one it is.
pub(crate) fn open_backend(config: &Config, output: &Output) -> anyhow::Result<Arc<dyn Backend>> {
    let backend = engine::select(&backend_options(&config.onnx))?;
    if backend.info().library.is_none() {
        memory::share_arenas(2);
        memory::suit(backend.info());
    }
    introduce(backend.info(), output);
    Ok(backend)
}

/// Says which engine runs, what it could not have, and what would be faster.
fn introduce(info: &BackendInfo, output: &Output) {
    output.status(format_args!("engine: {info}"));
    for skipped in &info.skipped {
        output.detail(format_args!(
            "not used: {}: {}",
            skipped.provider, skipped.reason
        ));
    }
    if let Some(note) = &info.note {
        output.hint(note);
    }
}

/// A film on a thread of its own, and the channel to it: encoding a film overlaps with making its frames.
pub(super) type Writer = JoinHandle<Result<(Box<dyn Film>, Duration), FilmError>>;

pub(super) fn write_frames(mut film: Box<dyn Film>) -> (mpsc::Sender<Encoded>, Writer) {
    let (sender, mut frames) = mpsc::channel::<Encoded>(FRAMES_AHEAD);
    let writer = tokio::task::spawn_blocking(move || {
        let mut busy = Duration::ZERO;
        while let Some(frame) = frames.blocking_recv() {
            let started = Instant::now();
            film.push(&frame)?;
            busy += started.elapsed();
        }
        Ok((film, busy))
    });
    (sender, writer)
}

/// How a film was written.
pub(super) struct Written {
    /// What writing took in all.
    pub(super) busy: Duration,
    /// Frames for which the last one is held, to the end of the sound.
    pub(super) held: u64,
}

/// Waits for the last frame and gives the film its name.
pub(super) async fn finish(writer: Writer) -> anyhow::Result<Written> {
    let (film, busy) = writer.await.context("writing the film failed")??;
    let started = Instant::now();
    let held = tokio::task::spawn_blocking(move || film.finish())
        .await
        .context("writing the film failed")??;
    Ok(Written {
        busy: busy + started.elapsed(),
        held,
    })
}
