//! What a polite tenant feels of greedy ones: its times alone and beside them, in a table.
//!
//! ```text
//! tenant_load --server http://127.0.0.1:50053 --polite KEY --greedy KEY[,KEY…] --models anna,bob [--seconds 10]
//!             [--connections 40]
//! ```
//!
//! The polite tenant asks for one frame after another, with a pause as long as the frame took: at most half of its share.
//! The greedy ones ask for batches of 25 without a pause, hold streams that are fed without a pause, or both, over as many
//! connections as said; with "many models" each connection has a model of its own, as far as there are some.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "an example's table"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lipsync::audio::PcmFormat;
use lipsync::client::{BatchOrder, Client, ClientOptions, TalkInput, TalkOrder};
use lipsync::encoder::Format;
use lipsync::frame::network_io::{AUDIO_LEN, SharedFloats};
use tokio::task::JoinSet;

#[derive(Clone)]
struct Options {
    server: String,
    polite: String,
    greedy: Vec<String>,
    models: Vec<String>,
    seconds: f64,
    connections: usize,
}

#[derive(Clone, Copy)]
enum Greed {
    Batches,
    Streams,
    Mixed,
    ManyModels,
}

#[tokio::main]
async fn main() {
    let options = options();
    // Loaded before anything is measured, and no run pays for it.
    for model in &options.models {
        frame(&connect(&options, &options.polite).await, model)
            .await
            .unwrap();
    }
    println!(
        "| others ask for | median ms | x alone | p99 ms | x alone | polite refused | polite frames | others' frames |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (name, greed) in [
        ("batches", Greed::Batches),
        ("streams", Greed::Streams),
        ("mixed", Greed::Mixed),
        ("many models", Greed::ManyModels),
    ] {
        let alone = polite(&options).await;
        let mut others = JoinSet::new();
        for connection in 0..options.connections {
            others.spawn(greedy(options.clone(), greed, connection));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = total(&options).await;
        let beside = polite(&options).await;
        let frames = total(&options).await - before;
        others.shutdown().await;
        println!(
            "| nothing | {:.1} | | {:.1} | | {} | {} | |",
            alone.at(0.5),
            alone.at(0.99),
            alone.refused,
            alone.times.len()
        );
        println!(
            "| {name} | {:.1} | {:.2} | {:.1} | {:.2} | {} | {} | {} |",
            beside.at(0.5),
            beside.at(0.5) / alone.at(0.5),
            beside.at(0.99),
            beside.at(0.99) / alone.at(0.99),
            beside.refused,
            beside.times.len(),
            frames.saturating_sub(beside.times.len() as u64),
        );
        // What is still under way comes to its end.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

struct Times {
    times: Vec<f64>,
    refused: usize,
}

impl Times {
    fn at(&self, part: f64) -> f64 {
        let index = (self.times.len() as f64 * part) as usize;
        self.times
            .get(index.min(self.times.len() - 1))
            .copied()
            .unwrap()
    }
}

async fn polite(options: &Options) -> Times {
    let client = connect(options, &options.polite).await;
    let mut times = Times {
        times: Vec::new(),
        refused: 0,
    };
    let end = Instant::now() + Duration::from_secs_f64(options.seconds);
    while Instant::now() < end || times.times.is_empty() {
        let began = Instant::now();
        if frame(&client, &options.models[0]).await.is_err() {
            times.refused += 1;
        } else {
            times.times.push(began.elapsed().as_secs_f64() * 1e3);
        }
        tokio::time::sleep(began.elapsed()).await;
    }
    times.times.sort_by(f64::total_cmp);
    times
}

async fn frame(client: &Client, model: &str) -> Result<(), lipsync::client::ClientError> {
    client.infer(&order(model, 1)).await.map(drop)
}

fn order(model: &str, frames: usize) -> BatchOrder {
    let window: SharedFloats = Arc::new(vec![0.1_f32; AUDIO_LEN]);
    BatchOrder::new(
        model,
        0,
        &vec![window; frames],
        &[],
        Format::Jpeg { quality: 90 },
    )
}

async fn greedy(options: Options, greed: Greed, connection: usize) {
    let key = &options.greedy[connection % options.greedy.len()];
    let client = connect(&options, key).await;
    let model = match greed {
        Greed::ManyModels => &options.models[connection % options.models.len()],
        _ => &options.models[0],
    };
    let streams = match greed {
        Greed::Batches | Greed::ManyModels => false,
        Greed::Streams => true,
        Greed::Mixed => connection % 2 == 1,
    };
    loop {
        if streams {
            stream(&client, model).await;
        } else {
            // Served or refused, it comes again at once.
            let _ = client.infer(&order(model, 25)).await;
        }
    }
}

async fn stream(client: &Client, model: &str) {
    let order = TalkOrder {
        model: model.to_owned(),
        audio: PcmFormat::new(16_000, 1).unwrap(),
        format: Format::Jpeg { quality: 90 },
        start_index: 0,
        realtime: false,
        lookahead: None,
    };
    // A tenth of a second of a tone each, for ever.
    let samples = (0..1600).flat_map(|n| (0.3 * (n as f32 / 8.0).sin()).to_le_bytes());
    let chunk = Bytes::from(samples.collect::<Vec<u8>>());
    let inputs = futures::stream::repeat_with(move || TalkInput::Audio(chunk.clone()));
    if let Ok(mut talk) = client.talk(&order, inputs).await {
        while let Ok(Some(_)) = talk.next().await {}
    }
}

async fn total(options: &Options) -> u64 {
    let client = connect(options, &options.polite).await;
    client.info().await.unwrap().frames
}

async fn connect(options: &Options, key: &str) -> Client {
    let client = ClientOptions {
        token: Some(key.to_owned()),
        ..ClientOptions::default()
    };
    Client::connect(&options.server, &client).await.unwrap()
}

fn options() -> Options {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name);
        place.and_then(|place| arguments.get(place + 1)).cloned()
    };
    let list = |text: String| text.split(',').map(str::to_owned).collect();
    let number =
        |name: &str, otherwise: f64| value(name).map_or(otherwise, |text| text.parse().unwrap());
    Options {
        server: value("--server").unwrap_or_else(|| "http://127.0.0.1:50053".to_owned()),
        polite: value("--polite").expect("--polite KEY"),
        greedy: list(value("--greedy").expect("--greedy KEY[,KEY…]")),
        models: list(value("--models").expect("--models MODEL[,MODEL…]")),
        seconds: number("--seconds", 10.0),
        connections: number("--connections", 40.0) as usize,
    }
}
