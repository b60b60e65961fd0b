//! What running the network in parts gains (`onnx.visual_cache_mb`), on every engine there is.
//!
//! `cargo bench --bench network [-- FILE...]`: the demo's generator, or those named. Every round runs each way once, so
//! that all met the same neighbours, and what counts is the time on a core, not on the clock. Asserts that the parts give
//! the bits that the whole gives.

#![expect(clippy::print_stdout, reason = "a bench reports on the terminal")]
#![expect(clippy::unwrap_used, reason = "a bench may fail loudly")]
#![allow(missing_docs, reason = "not a library")]

use std::path::{Path, PathBuf};

use lipsync::engine::{
    Backend, BackendChoice, BackendOptions, Batch, Cancel, Generator, SessionOptions,
    VisualCacheLimit, select,
};
use lipsync::frame::network_io::{AUDIO_LEN, PREDICTION_LEN, VISUAL_LEN};

const ROUNDS: usize = 21;

fn main() {
    let mut networks: Vec<PathBuf> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .map(PathBuf::from)
        .collect();
    if networks.is_empty() {
        networks.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/demo/assets/unet.onnx"));
    }
    let fast = select(&BackendOptions::default()).unwrap();
    let embedded = select(&BackendOptions {
        choice: BackendChoice::Embedded,
        ..BackendOptions::default()
    });
    println!("ms on a core, one thread: median (least)");
    for network in networks {
        println!("{}", network.display());
        if fast.info().library.is_some() {
            compare(&*fast, &network);
        }
        compare(&*embedded.as_ref().unwrap().clone(), &network);
    }
}

/// Room for `backgrounds` of an avatar of three; 0 runs the network whole.
fn options(bytes: u64, backgrounds: usize) -> SessionOptions {
    SessionOptions {
        visual_cache: (bytes > 0).then_some(VisualCacheLimit { bytes, backgrounds }),
        ..SessionOptions::default()
    }
}

fn compare(backend: &dyn Backend, path: &Path) {
    const PLENTY: u64 = 1 << 40;
    let whole = backend.open_generator(path, &options(0, 0)).unwrap();
    let split = backend.open_generator(path, &options(PLENTY, 3)).unwrap();
    let one = split.visual_cache().unwrap().background_bytes;
    let full = backend.open_generator(path, &options(one, 2)).unwrap();
    let (mut whole, mut hit) = (whole.open_session().unwrap(), split.open_session().unwrap());
    let mut miss = full.open_session().unwrap();
    let (visual, still) = (noise(VISUAL_LEN, 1), noise(AUDIO_LEN, 0));
    for session in [&mut whole, &mut hit, &mut miss] {
        predict(&mut **session, &visual, &still, 0);
    }
    let mut times = [const { Vec::<u64>::new() }; 4];
    for round in 0..ROUNDS {
        let audio = noise(AUDIO_LEN, round as u32 + 1);
        let mut time = |way: usize, session: &mut dyn Generator, background| {
            let started = cpu_nanoseconds();
            let output = predict(session, &visual, &audio, background);
            times[way].push(cpu_nanoseconds() - started);
            output
        };
        let expected = time(0, &mut *whole, 0);
        assert!(time(1, &mut *hit, 0) == expected, "kept");
        time(2, &mut *hit, 0);
        assert!(time(3, &mut *miss, 1) == expected, "not kept");
    }
    let [whole, kept, same_window, not_kept] = times.map(|mut times| {
        times.sort_unstable();
        [times.len() / 2, 0].map(|at| times[at] as f64 / 1e6)
    });
    println!(
        "  {}, {:.2} MB a background",
        backend.info(),
        one as f64 / 1e6
    );
    for (name, [median, least]) in [
        ("whole", whole),
        ("background kept", kept),
        ("and the last window again", same_window),
        ("background not kept", not_kept),
    ] {
        println!(
            "    {name:26}{median:8.1} ({least:.1})   {:.2} x",
            whole[1] / least
        );
    }
}

/// The bits of one frame.
fn predict(
    session: &mut dyn Generator,
    visual: &[f32],
    audio: &[f32],
    background: usize,
) -> Vec<u32> {
    let batch = Batch {
        frames: 1,
        visual,
        audio,
        backgrounds: &[Some(background)],
    };
    let mut output = vec![0.0; PREDICTION_LEN];
    session
        .run(&batch, &mut output, &Cancel::default())
        .unwrap();
    output.into_iter().map(f32::to_bits).collect()
}

/// Floats from 0 to 1 in no order.
fn noise(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 24) as f32
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Time that the threads of this process spent on a core so far.
fn cpu_nanoseconds() -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux");
    let time = |thread: std::fs::DirEntry| -> Option<u64> {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    threads.flatten().filter_map(time).sum()
}
