//! What running the network in parts (`onnx.visual_cache_mb`) and rewritten (`onnx.plan`) gains, on every engine there is.
//!
//! `cargo bench --bench network [-- FILE...]`: the demo's generator, or those named. Every round runs each way once, so
//! that all met the same neighbours, and what counts is the time on a core, not on the clock. Asserts that the parts give
//! the bits that the whole gives, and that a rewrite moves no value by more than a fortieth of a level.

#![expect(clippy::print_stdout, reason = "a bench reports on the terminal")]
#![expect(clippy::unwrap_used, reason = "a bench may fail loudly")]
#![allow(missing_docs, reason = "not a library")]

use std::path::{Path, PathBuf};

use lipsync::engine::{
    Backend, BackendChoice, BackendOptions, Batch, Cancel, Generator, Plan, SessionOptions,
    VisualCacheLimit, select,
};
use lipsync::frame::network_io::{AUDIO_LEN, PREDICTION_LEN, VISUAL_LEN};

const ROUNDS: usize = 21;
/// The embedded engine takes its time.
const ROUNDS_EMBEDDED: usize = 5;

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
    println!("ms on a core, one thread: median (least), and how many times as fast as the first");
    for network in networks {
        println!("{}", network.display());
        if fast.info().library.is_some() {
            compare(&*fast, &network, ROUNDS);
        }
        compare(
            &*embedded.as_ref().unwrap().clone(),
            &network,
            ROUNDS_EMBEDDED,
        );
    }
}

/// A form of the network.
struct Way {
    name: String,
    session: Box<dyn Generator>,
    /// Where another frame's background or window is used on purpose.
    background: usize,
    repeats_window: bool,
    times: Vec<u64>,
}

fn options(plan: Plan, visual_cache: Option<VisualCacheLimit>) -> SessionOptions {
    SessionOptions {
        plan,
        visual_cache,
        ..SessionOptions::default()
    }
}

/// Room for all of an avatar of three.
const ALL: VisualCacheLimit = VisualCacheLimit {
    bytes: 1 << 40,
    backgrounds: 3,
};

fn compare(backend: &dyn Backend, path: &Path, rounds: usize) {
    let split = backend.open_generator(path, &options(Plan::PLAIN, Some(ALL)));
    let background_bytes = split.unwrap().visual_cache().unwrap().background_bytes;
    let full = VisualCacheLimit {
        bytes: background_bytes,
        backgrounds: 2,
    };
    let open = |name: &str, plan: Plan, cache, background, repeats_window| {
        let network = backend.open_generator(path, &options(plan, cache)).unwrap();
        Way {
            name: format!("{}, {name}", network.plan()),
            session: network.open_session().unwrap(),
            background,
            repeats_window,
            times: Vec::new(),
        }
    };
    let mut ways = vec![open("whole", Plan::PLAIN, None, 0, false)];
    let Plan { group_bytes, .. } = Plan::grouped(None);
    let groups = |by: u64| Plan {
        group_bytes: group_bytes.map(|bytes| bytes * by / 4),
        ..Plan::SPLIT
    };
    let rewrites = [Plan::SPLIT, groups(2), groups(4), groups(8)];
    ways.extend(rewrites.map(|plan| open("whole", plan, None, 0, false)));
    ways.push(open("kept", Plan::PLAIN, Some(ALL), 0, false));
    ways.extend(rewrites.map(|plan| open("kept", plan, Some(ALL), 0, false)));
    ways.push(open(
        "kept, the last window again",
        Plan::PLAIN,
        Some(ALL),
        0,
        true,
    ));
    ways.push(open("not kept", Plan::PLAIN, Some(full), 1, false));
    let (visual, still) = (noise(VISUAL_LEN, 1), noise(AUDIO_LEN, 0));
    for way in &mut ways {
        predict(&mut *way.session, &visual, &still, 0);
    }
    for round in 0..rounds {
        let audio = noise(AUDIO_LEN, round as u32 + 1);
        let mut expected = Vec::new();
        for way in &mut ways {
            if way.repeats_window {
                predict(&mut *way.session, &visual, &audio, way.background);
            }
            let started = cpu_nanoseconds();
            let output = predict(&mut *way.session, &visual, &audio, way.background);
            way.times.push(cpu_nanoseconds() - started);
            if expected.is_empty() {
                expected = output;
            } else if way.name.starts_with("plain") {
                assert!(output == expected, "{}: not the same bits", way.name);
            } else {
                let pairs = output.iter().zip(&expected);
                let far = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(far <= 1e-4, "{}: values differ by {far}", way.name);
            }
        }
    }
    println!(
        "  {}, {:.2} MB a background",
        backend.info(),
        background_bytes as f64 / 1e6
    );
    let mut base = None;
    for way in &mut ways {
        way.times.sort_unstable();
        let [median, least] = [way.times.len() / 2, 0].map(|at| way.times[at] as f64 / 1e6);
        let base = *base.get_or_insert((median, least));
        println!(
            "    {:44}{median:8.1} ({least:.1})   {:.2} x ({:.2} x)",
            way.name,
            base.0 / median,
            base.1 / least
        );
    }
}

/// One frame.
fn predict(
    session: &mut dyn Generator,
    visual: &[f32],
    audio: &[f32],
    background: usize,
) -> Vec<f32> {
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
    output
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
