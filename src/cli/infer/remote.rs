//! `infer --server`: the same, made by a server.
//!
//! Speech goes through the `Talk` stream: the server needs nothing but the sound. A batch goes through
//! `InferBatchComposite`, whose callers bring the speech windows: they are made here, by the configuration's own copy
//! of the model.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

use super::Args;
use super::offline::{self, finish, frames_bar, write_frames};
use super::report::{Lost, Report, ServerSide, ms};
use crate::audio::{AudioError, AudioReader, FrameRate};
use crate::cli::connect::{TokenArgs, about, connect, explained};
use crate::cli::latency::Latency;
use crate::cli::output::{Output, usage};
use crate::cli::{self, Global};
use crate::client::{BatchOrder, BatchReply, Client, Talk, TalkEvent, TalkInput, TalkOrder};
use crate::config::Config;
use crate::film::{Clip, Target};
use crate::frame::Size;
use crate::frame::network_io::{SharedFloats, VISUAL_LEN};
use crate::pipeline::{FrameTimings, LoadOptions, LoadedModel};

/// Chunks of sound that may wait to be sent.
const CHUNKS_AHEAD: usize = 4;

/// Options of rendering on a server.
#[derive(Debug, clap::Args)]
pub(crate) struct RemoteArgs {
    /// Render on this server, as http://HOST:PORT, instead of here
    #[arg(
        long,
        value_name = "URL",
        env = "LIPSYNC_SERVER",
        hide_env_values = true
    )]
    pub(super) server: Option<String>,
    #[command(flatten)]
    token: TokenArgs,
    /// With --server and --batch: make the visual tensors here, of the configuration's copy of the model
    #[arg(long, requires_all = ["server", "batch"])]
    client_visuals: bool,
    /// With --server and --batch: ask for the batch N times, and show how long the calls took
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        requires_all = ["server", "batch"],
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    repeat: u32,
    /// With --repeat: so many calls at once
    #[arg(
        long,
        value_name = "C",
        default_value_t = 1,
        requires_all = ["server", "batch"],
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    concurrency: u16,
}

/// Renders on the server at `url`. Stops at Ctrl-C; then, or when anything fails, nothing is left under the final name.
pub(super) fn render(
    global: &Global,
    args: &Args,
    url: &str,
    target: &Target,
    output: &Output,
) -> anyhow::Result<Report> {
    cli::block_on(cli::until_stopped(async {
        match args.batch {
            Some(frames) => {
                let frames = usize::from(frames);
                one_batch(global, args, url, target, frames, output).await
            }
            None => talk(global, args, url, target, output).await,
        }
    }))
}

/// All of the speech, through a stream.
async fn talk(
    global: &Global,
    args: &Args,
    url: &str,
    target: &Target,
    output: &Output,
) -> anyhow::Result<Report> {
    let speech = args.speech()?;
    let (reader, sound) = speech.open_twice(output)?;
    let damage = reader.damage();
    let client = connect(Some(url), &args.remote.token, global).await?;
    let mut report = report(&client, args, target).await?;
    let bar = output.frames_bar(0);
    let started = Instant::now();
    let order = TalkOrder {
        model: args.model.clone(),
        audio: reader.format(),
        format: target.format(),
        start_index: args.start_frame,
        realtime: false,
        lookahead: None,
    };
    let samples = reader.expected_frames();
    let rate_hz = reader.format().rate_hz;
    let (inputs, sending) = send(reader);
    let talk = client.talk(&order, ReceiverStream::new(inputs)).await;
    let mut talk = about(&client, &args.model, talk).await?;
    let first = talk.next().await;
    let Some(TalkEvent::Started {
        fps,
        width,
        height,
        load,
    }) = about(&client, &args.model, first).await?
    else {
        anyhow::bail!(
            "the server at {} began the stream with a frame",
            client.server()
        );
    };
    (report.width, report.height, report.fps) = (width, height, fps);
    report.load_seconds = load.unwrap_or_default().as_secs_f64();
    frames_bar(&bar, samples, rate_hz, FrameRate::new(fps)?);
    let clip = Clip {
        size: Size { width, height },
        fps,
    };
    let (frames, writer) = write_frames(target.create(clip, Some(sound))?);
    let received = receive(&mut talk, args.start_frame, |image| {
        bar.inc(1);
        frames.send(vec![image].into())
    })
    .await;
    drop((talk, frames));
    // What is wrong with the sound, or with the film, is the reason for whatever the server then said. A film that is
    // not finished leaves nothing behind.
    sending.await.context("reading the speech failed")??;
    let summary = match received {
        Ok(summary) => summary,
        Err(error) => {
            writer.await.context("writing the film failed")??;
            return Err(error);
        }
    };
    let written = finish(writer).await?;
    bar.finish_and_clear();
    speech.tell_damage(damage.packets(), output);
    report.set_speed(summary.frames, started.elapsed());
    report.set_stages(&summary.timings, summary.frames);
    report.set_written(&written);
    report.server = Some(ServerSide {
        server_ms: ms(summary.total),
        first_frame_ms: Some(ms(summary.first_frame)),
        lost: summary.lost,
        latency: None,
    });
    Ok(report)
}

/// What a stream came to.
struct Received {
    frames: u64,
    timings: FrameTimings,
    first_frame: Duration,
    lost: Option<Lost>,
    total: Duration,
}

/// Takes the frames of one utterance, hands them on, and returns the stream's summary.
async fn receive<F>(
    talk: &mut Talk,
    start_frame: u64,
    mut take: impl FnMut(Bytes) -> F,
) -> anyhow::Result<Received>
where
    F: Future<Output = Result<(), mpsc::error::SendError<crate::encoder::Encoded>>>,
{
    let mut frames = 0;
    while let Some(event) = explained(talk.next().await)? {
        match event {
            TalkEvent::Frame(frame) if frame.speech.is_some() => {
                let expected = start_frame + frames;
                ensure!(
                    frame.index == expected,
                    "the server sent frame {} instead of frame {expected}",
                    frame.index
                );
                frames += 1;
                // The writer has failed, and says why when it is waited for.
                take(frame.image).await.context("the film is closed")?;
            }
            TalkEvent::Summary(summary) => {
                ensure!(
                    summary.speech_frames == frames,
                    "the server made {} frames, but {frames} arrived",
                    summary.speech_frames
                );
                return Ok(Received {
                    frames,
                    timings: summary.timings,
                    first_frame: summary.first_frame,
                    lost: Lost::any(summary.late_frames, summary.skipped_frames),
                    total: summary.total,
                });
            }
            TalkEvent::Started { .. }
            | TalkEvent::Frame(_)
            | TalkEvent::UtteranceEnd { .. }
            | TalkEvent::Interrupted { .. } => {}
        }
    }
    anyhow::bail!("the server ended the stream after {frames} frames, before the speech was over")
}

/// Reads the speech on a thread of its own, as far ahead as the server takes it.
fn send(
    mut reader: AudioReader,
) -> (
    mpsc::Receiver<TalkInput>,
    JoinHandle<Result<(), AudioError>>,
) {
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let sending = tokio::task::spawn_blocking(move || {
        while let Some(samples) = reader.next_chunk()? {
            let bytes: Vec<u8> = samples.iter().flat_map(|one| one.to_le_bytes()).collect();
            // A closed channel: the stream has ended, and says why.
            if sender
                .blocking_send(TalkInput::Audio(bytes.into()))
                .is_err()
            {
                return Ok(());
            }
        }
        let _ = sender.blocking_send(TalkInput::EndOfSpeech);
        Ok(())
    });
    (receiver, sending)
}

/// The first frames of the speech, as a batch, asked for as often as the command line wants.
async fn one_batch(
    global: &Global,
    args: &Args,
    url: &str,
    target: &Target,
    count: usize,
    output: &Output,
) -> anyhow::Result<Report> {
    let (mut reader, sound) = args.speech()?.open_twice(output)?;
    let client = connect(Some(url), &args.remote.token, global).await?;
    let mut report = report(&client, args, target).await?;
    let model = local_copy(global, args, output)?;
    let windows = offline::windows(&model, &mut reader, count)?;
    let audio: Vec<_> = windows.into_iter().map(|(_, window)| window).collect();
    let visual = if args.remote.client_visuals {
        visuals(&model, args.start_frame, count)?
    } else {
        Vec::new()
    };
    let order = BatchOrder::new(
        &args.model,
        args.start_frame,
        &audio,
        &visual,
        target.format(),
    );
    let avatar = Arc::clone(model.avatar());
    // The server may be on this machine: it should not have to share it.
    drop(model);
    let clip = Clip {
        size: avatar.size(),
        fps: avatar.fps(),
    };
    (report.width, report.height, report.fps) = (clip.size.width, clip.size.height, clip.fps);
    let started = Instant::now();
    let calls = ask(&client, &order, &args.remote, output).await?;
    let elapsed = started.elapsed();
    let first = calls.first().context("no call was made")?;
    ensure!(
        first.reply.frames.len() == count,
        "the server sent {} frames instead of {count}",
        first.reply.frames.len()
    );
    let (frames, writer) = write_frames(target.create(clip, Some(sound))?);
    for image in &first.reply.frames {
        if frames.send(vec![image.clone()].into()).await.is_err() {
            break;
        }
    }
    drop(frames);
    finish(writer).await?;
    let made = (calls.len() * count) as u64;
    report.load_seconds = first.reply.load.unwrap_or_default().as_secs_f64();
    report.set_speed(made, elapsed);
    let timings = calls.iter().map(|call| call.reply.timings).sum();
    report.set_stages(&timings, made);
    let total: Duration = calls.iter().map(|call| call.reply.total).sum();
    report.server = Some(ServerSide {
        server_ms: ms(total) / calls.len() as f64,
        first_frame_ms: None,
        lost: None,
        latency: Some(Latency::of(calls.iter().map(|call| call.took).collect())),
    });
    Ok(report)
}

/// One call and how long it took for its caller.
struct Call {
    reply: BatchReply,
    took: Duration,
}

/// Asks for the same batch again and again, several at once. Only the first reply keeps its frames.
async fn ask(
    client: &Client,
    order: &BatchOrder,
    args: &RemoteArgs,
    output: &Output,
) -> anyhow::Result<Vec<Call>> {
    let bar = output.steps_bar(args.repeat.into());
    bar.set_message("calls");
    let calls = futures::stream::iter(0..args.repeat).map(async |number| {
        let asked = Instant::now();
        let reply = client.infer(order).await;
        let mut reply = about(client, order.model(), reply).await?;
        if number > 0 {
            reply.frames.clear();
        }
        bar.inc(1);
        Ok::<_, anyhow::Error>(Call {
            reply,
            took: asked.elapsed(),
        })
    });
    let calls = calls.buffered(args.concurrency.into()).try_collect().await;
    bar.finish_and_clear();
    calls
}

/// The configuration's own copy of the model, for what a caller of a batch brings.
fn local_copy(global: &Global, args: &Args, output: &Output) -> anyhow::Result<LoadedModel> {
    let config = Config::load(&global.config)
        .context("a batch needs the speech windows, which the model's audio encoder makes here")?;
    let model = offline::model(&config, &args.model)?;
    if model.audio_encoder_path.is_none() {
        return Err(usage(format!(
            "model {} has no audio_encoder_path in {}: without it no speech windows can be made here",
            model.id,
            config.path.display()
        )));
    }
    let backend = offline::open_backend(&config, output)?;
    let mut options = LoadOptions::new(&config, &*backend);
    options.workers.sessions = 1;
    LoadedModel::open(&*backend, model, &options)
        .with_context(|| format!("cannot load model {}", model.id))
}

/// The visual tensors of `count` frames from `start` on.
fn visuals(model: &LoadedModel, start: u64, count: usize) -> anyhow::Result<Vec<SharedFloats>> {
    (start..)
        .take(count)
        .map(|frame| {
            let avatar = model.avatar();
            let background =
                avatar.background(avatar.background_index(frame), crate::encoder::Format::Png)?;
            let mut tensor = vec![0.0; VISUAL_LEN];
            background.seen.write(&mut tensor);
            Ok(Arc::new(tensor) as SharedFloats)
        })
        .collect()
}

/// A report that knows the server, and nothing of the frames.
async fn report(client: &Client, args: &Args, target: &Target) -> anyhow::Result<Report> {
    let server = explained(client.info().await)?;
    Ok(Report {
        model: args.model.clone(),
        engine: format!("{} at {}", server.engine_text(), client.server()),
        output: target.path().to_owned(),
        width: 0,
        height: 0,
        fps: 0,
        start_frame: args.start_frame,
        frames: 0,
        held_frames: 0,
        load_seconds: 0.0,
        elapsed_seconds: 0.0,
        frames_per_second: 0.0,
        realtime_factor: 0.0,
        stages: Vec::new(),
        frame_timings: Vec::new(),
        server: None,
    })
}
