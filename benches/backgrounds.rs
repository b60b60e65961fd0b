//! What loading an avatar's backgrounds costs, what they take in memory, and how much of a frame is hidden behind the
//! network.
//!
//! `cargo bench --bench backgrounds [-- PART]`, where PART is `load` or `overlap`. `LIPSYNC_NETWORK` names the
//! generator for `overlap` (default: the tests' small one). Every round runs each candidate once, back to back, so
//! that what is compared met the same machine; figures are medians.

#![expect(clippy::print_stdout, reason = "a bench reports on the terminal")]
#![expect(clippy::unwrap_used, reason = "a bench may fail loudly")]
#![allow(missing_docs, reason = "not a library")]

#[allow(dead_code, reason = "other benches use the rest")]
mod pictures;
#[allow(dead_code, reason = "other benches use the rest")]
mod studio;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lipsync::avatar::Avatar;
use lipsync::config;
use lipsync::encoder::Format;
use lipsync::engine::{BackendOptions, select};
use lipsync::frame::network_io::{AUDIO_LEN, SharedFloats, VISUAL_LEN};
use lipsync::pipeline::{FrameOrder, LoadOptions, LoadedModel, render_batch};
use lipsync::workers::{FrameInput, WorkerOptions};

use pictures::Kind;
use studio::{BACKGROUNDS, SIZE, avatar, keep, median, prepared, timed};

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let parts: [(&str, fn()); 2] = [("load", load), ("overlap", overlap)];
    for (name, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            part();
        }
    }
}

fn load() {
    println!("loading {BACKGROUNDS} backgrounds of {SIZE}, rect 182x182, ms a background");
    for kind in Kind::ALL {
        let folder = tempfile::tempdir().unwrap();
        let model = avatar(folder.path(), kind);
        drop(prepared(&model, 2, 1 << 30));
        let [mut one, mut two, mut warm, mut first] = [const { Vec::new() }; 4];
        for _ in 0..5 {
            timed(&mut one, || drop(prepared(&model, 1, 0)));
            timed(&mut two, || drop(prepared(&model, 2, 0)));
            timed(&mut warm, || drop(prepared(&model, 2, 1 << 30)));
            timed(&mut first, || {
                let avatar = Avatar::open(&model, &keep(0, 0)).unwrap();
                black_box(avatar.background(0, Format::Png).unwrap());
            });
        }
        let bytes = prepared(&model, 2, 1 << 30).memory_bytes() / BACKGROUNDS as u64;
        let [one, two, warm, first] = [one, two, warm, first].map(median);
        let each = BACKGROUNDS as f64;
        println!(
            "  {:10}  cold, 1 thread {:6.1}  2 threads {:6.1} ({:.2} x)  from disk {:5.2} ({:.0} x)  \
             first frame of a cold avatar after {first:.1} ms  memory {:.2} MB (RGBA: 3.69)",
            kind.name(),
            one / each,
            two / each,
            one / two,
            warm / each,
            two / warm,
            bytes as f64 / 1e6,
        );
    }
}

fn overlap() {
    const BATCH: usize = 25;
    let network = std::env::var_os("LIPSYNC_NETWORK").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/networks/generator.onnx"),
        PathBuf::from,
    );
    let folder = tempfile::tempdir().unwrap();
    let model = config::Model {
        model_path: network,
        ..avatar(folder.path(), Kind::Video)
    };
    let backend = select(&BackendOptions::default()).unwrap();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let options = LoadOptions {
        plans: lipsync::engine::PlanOptions::default(),
        workers: WorkerOptions {
            sessions: cores,
            ..WorkerOptions::default()
        },
        keep: keep(cores, 0),
        visual_cache_bytes: 0,
    };
    let model = LoadedModel::open(&*backend, &model, &options).unwrap();
    model.avatar().prepare_from(0);
    while !model.avatar().is_prepared() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let audio: SharedFloats = Arc::new(vec![0.1_f32; AUDIO_LEN]);
    let visual: SharedFloats = Arc::new(vec![0.5_f32; VISUAL_LEN]);
    let [mut alone, mut whole] = [const { Vec::new() }; 2];
    for round in 0..12 {
        timed(&mut alone, || {
            runtime.block_on(async {
                let tickets: Vec<_> = (0..BATCH)
                    .map(|_| FrameInput::new(Arc::clone(&visual), Arc::clone(&audio)))
                    .map(|input| model.generator().submit(input).unwrap())
                    .collect();
                for ticket in tickets {
                    black_box(ticket.await.unwrap());
                }
            });
        });
        timed(&mut whole, || {
            let orders = (0..BATCH).map(|frame| FrameOrder {
                index: (round * BATCH + frame) as u64,
                visual: None,
                audio: Arc::clone(&audio),
                flow: 0,
                deadline: None,
            });
            black_box(runtime.block_on(render_batch(&model, orders, Format::Png))).unwrap();
        });
    }
    let [alone, whole] = [alone, whole].map(|times| median(times) / BATCH as f64);
    println!(
        "batches of {BATCH} on {}: network alone {alone:.2} ms a frame, finished PNGs {whole:.2} ({:+.1} %)",
        backend.info(),
        100.0 * (whole / alone - 1.0)
    );
}
