//! Load for a running server: so many paced Talk streams for so long, each speaking the bundled sample now and then.
//!
//! ```console
//! $ cargo run --release --example talk_load -- http://127.0.0.1:50053 sanders 20 30
//! ```
//!
//! Arguments: URL, model, streams, seconds, and optionally seconds of silence after each sample (default 22: speech
//! for 30 % of the time). It prints, over all streams: frames that should have come and did, how late they were
//! against their own clock, and what the server says of late and skipped frames and of first frames.
#![allow(clippy::print_stdout, reason = "it is a command")]

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use lipsync::audio::AudioReader;
use lipsync::demo;
use lipsync::wire::lip_sync_client::LipSyncClient;
use lipsync::wire::talk_request::Message;
use lipsync::wire::talk_response::Message as Told;
use lipsync::wire::{EndOfSpeech, ImageFormat, TalkRequest, TalkStart};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// What one stream saw.
#[derive(Default)]
struct Seen {
    frames: u64,
    spoken: u64,
    missing: u64,
    /// How much later than its moment each frame came, in milliseconds; the quickest frame is on time.
    lateness_ms: Vec<f64>,
    late: i64,
    skipped: i64,
    first_frame_ms: f64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, model, streams, seconds, pause @ ..] = &arguments[..] else {
        anyhow::bail!("usage: talk_load URL MODEL STREAMS SECONDS [PAUSE_SECONDS]");
    };
    let streams: u64 = streams.parse().context("STREAMS")?;
    let length = Duration::from_secs(seconds.parse().context("SECONDS")?);
    let pause = pause.first().map_or(Ok(22), |pause| pause.parse());
    let pause = Duration::from_secs(pause.context("PAUSE_SECONDS")?);
    let sample = sample()?;
    let channel = Channel::from_shared(url.clone())?.connect().await?;
    let talks = (0..streams).map(|number| {
        // Starts are spread over one round of speech and silence, as people are.
        let round = Duration::from_secs(9) + pause;
        let offset = round.mul_f64(number as f64 / streams as f64);
        let order = Order {
            model: model.clone(),
            sample: sample.clone(),
            offset,
            pause,
            length,
        };
        tokio::spawn(talk(channel.clone(), order))
    });
    let mut all = Seen::default();
    let mut first = Vec::new();
    for seen in futures::future::join_all(talks).await {
        let seen = seen??;
        all.frames += seen.frames;
        all.spoken += seen.spoken;
        all.missing += seen.missing;
        all.late += seen.late;
        all.skipped += seen.skipped;
        all.lateness_ms.extend(seen.lateness_ms);
        first.extend((seen.first_frame_ms > 0.0).then_some(seen.first_frame_ms));
    }
    let expected = all.frames + all.missing;
    println!("streams        {streams} for {} s", length.as_secs());
    println!(
        "frames         {} of {expected} came, {} of them speech",
        all.frames, all.spoken
    );
    println!(
        "per stream     {:.2} frames/s",
        all.frames as f64 / streams as f64 / length.as_secs_f64()
    );
    println!("server         {} late, {} skipped", all.late, all.skipped);
    let late = &mut all.lateness_ms;
    println!(
        "arrival        {:.0} / {:.0} / {:.0} ms behind the quickest (p50, p95, p99)",
        at(late, 0.5),
        at(late, 0.95),
        at(late, 0.99)
    );
    println!(
        "first frame    {:.0} / {:.0} ms (p50, p95; whole audio at once)",
        at(&mut first, 0.5),
        at(&mut first, 0.95)
    );
    Ok(())
}

fn at(values: &mut [f64], quantile: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values
        .get((last as f64 * quantile).round() as usize)
        .copied()
        .unwrap_or(f64::NAN)
}

/// The bundled sample as f32 bytes, 16 kHz mono.
fn sample() -> Result<Bytes> {
    let mut reader = AudioReader::from_bytes("speech.flac", demo::speech_sample())?;
    let mut bytes = Vec::new();
    while let Some(chunk) = reader.next_chunk()? {
        bytes.extend(chunk.iter().flat_map(|sample| sample.to_le_bytes()));
    }
    Ok(bytes.into())
}

/// What one stream is to do.
struct Order {
    model: String,
    sample: Bytes,
    /// Silence before the first sample.
    offset: Duration,
    pause: Duration,
    length: Duration,
}

async fn talk(channel: Channel, order: Order) -> Result<Seen> {
    let (inputs, requests) = mpsc::channel(4);
    let start = TalkStart {
        model_id: order.model,
        sample_format: lipsync::wire::SampleFormat::F32le.into(),
        output_format: ImageFormat::Jpeg.into(),
        realtime: true,
        ..TalkStart::default()
    };
    let send = async move |message| {
        inputs
            .send(TalkRequest {
                message: Some(message),
            })
            .await
    };
    let writer = tokio::spawn(async move {
        let speak = async {
            send(Message::Start(start)).await?;
            tokio::time::sleep(order.offset).await;
            loop {
                send(Message::Audio(order.sample.clone())).await?;
                send(Message::EndOfSpeech(EndOfSpeech {})).await?;
                tokio::time::sleep(order.pause + Duration::from_secs(9)).await;
            }
            #[expect(unreachable_code, reason = "names the error's type")]
            Ok::<(), mpsc::error::SendError<TalkRequest>>(())
        };
        // Then the stream is closed: what was said is shown to its end.
        let _ = tokio::time::timeout(order.length, speak).await;
    });
    let mut told = LipSyncClient::new(channel)
        .max_decoding_message_size(64 << 20)
        .talk(ReceiverStream::new(requests))
        .await?
        .into_inner();
    let mut seen = Seen::default();
    let mut began: Option<Instant> = None;
    let mut moments = Vec::new();
    let mut next = 0;
    while let Some(message) = told.message().await? {
        match message.message {
            Some(Told::Frame(frame)) => {
                let began = *began.get_or_insert_with(Instant::now);
                seen.frames += 1;
                seen.spoken += u64::from(frame.kind() == lipsync::wire::talk_frame::Kind::Speech);
                seen.missing += (frame.frame_idx - next).max(0) as u64;
                next = frame.frame_idx + 1;
                let moment = frame.presentation_time_us as f64 / 1e3;
                moments.push(began.elapsed().as_secs_f64() * 1e3 - moment);
            }
            Some(Told::Summary(summary)) => {
                seen.late = summary.late_frames;
                seen.skipped = summary.skipped_frames;
                seen.first_frame_ms = summary.first_frame_ms;
            }
            _ => (),
        }
    }
    let quickest = moments.iter().copied().fold(f64::INFINITY, f64::min);
    seen.lateness_ms = moments.iter().map(|moment| moment - quickest).collect();
    writer.abort();
    Ok(seen)
}
