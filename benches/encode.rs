//! What a frame costs after the network: compositing and encoding, against whole-frame encoders in the same run.
//!
//! `cargo bench --bench encode [-- KIND]` prints a table. A single time says little on a shared machine, so every
//! round runs each candidate once, back to back, on one background out of many in random order: what is compared
//! met the same machine, and nothing is warm from the last round. Ratios are of medians; the least time is shown too.

#![expect(clippy::print_stdout, reason = "a bench reports on the terminal")]
#![allow(missing_docs, reason = "not a library")]

mod pictures;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use lipsync::compositor::crop::crop_328;
use lipsync::compositor::{Compositor, Geometry, Placement, composite};
use lipsync::encoder::{Background, Effort, Encoder, Format, PreparedPng};
use lipsync::frame::{Rect, Size};

use pictures::{Kind, picture, prediction};

const SIZE: Size = Size {
    width: 1280,
    height: 720,
};
/// Enough that a background is out of every cache when its turn comes again.
const BACKGROUNDS: u32 = 24;
const ROUNDS: usize = 200;
const JPEG: Format = Format::Jpeg { quality: 80 };

/// One background with everything that the candidates read.
struct Scene {
    background: Background,
    placement: Placement,
    prediction: Vec<f32>,
    patch: Vec<u8>,
    /// The whole frame's pixels with the patch in place.
    painted: Vec<u8>,
}

/// What preparing the scenes took.
#[derive(Default)]
struct Preparing {
    thorough: Times,
    quick: Times,
    png_bytes: usize,
    jpeg_bytes: usize,
}

/// The candidates, and the order in which a round runs them.
const CANDIDATES: [(&str, Candidate); 6] = [
    ("png crate, Fast, whole", Candidate::PngWhole),
    ("PNG spliced", Candidate::PngSpliced),
    ("composite", Candidate::Composite),
    ("composite + PNG spliced", Candidate::CompositePng),
    ("jpeg-encoder, whole", Candidate::JpegWhole),
    ("JPEG spliced", Candidate::JpegSpliced),
];

#[derive(Clone, Copy)]
enum Candidate {
    PngWhole,
    PngSpliced,
    Composite,
    CompositePng,
    JpegWhole,
    JpegSpliced,
}

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    println!(
        "{SIZE}, {BACKGROUNDS} backgrounds a kind in random order, {ROUNDS} rounds, one thread"
    );
    for kind in Kind::ALL {
        for side in [182, 320] {
            let name = format!("{} {side}", kind.name());
            if wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str())) {
                run(kind, side, &name);
            }
        }
    }
}

fn run(kind: Kind, side: u32, name: &str) {
    let (x, y) = (640 - side / 2 + 8, 430 - side / 2);
    let rect = Rect::new(x, y, x + side, y + side).expect("a rect");
    let mut preparing = Preparing::default();
    let scenes: Vec<Scene> = (0..BACKGROUNDS)
        .map(|seed| scene(kind, rect, seed, &mut preparing))
        .collect();
    let mut bench = Bench {
        encoder: Encoder::new(4),
        canvas: vec![0; rect.size().rgb_bytes()],
        file: Vec::new(),
    };
    let mut results = CANDIDATES.map(|_| (Times::default(), 0_usize));
    let mut random = 12345_u32;
    for _ in 0..ROUNDS {
        for ((_, candidate), (times, bytes)) in CANDIDATES.iter().zip(&mut results) {
            // Each on a background of its own: the one before has not warmed it.
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let scene = &scenes[(random >> 8) as usize % scenes.len()];
            *bytes += times.time(|| bench.run(*candidate, scene));
        }
    }
    println!("\n{name}: rect {rect}");
    for (i, (label, _)) in CANDIDATES.iter().enumerate() {
        // Everything against its format's whole-frame encoder.
        let (base, base_bytes) = if i < 4 { &results[0] } else { &results[4] };
        let (times, bytes) = &results[i];
        println!(
            "  {label:24} median {:7.3} ms ({:6.1} x)  least {:7.3} ms ({:6.1} x)  {:5} K ({:.3})",
            times.median(),
            base.median() / times.median(),
            times.least(),
            base.least() / times.least(),
            bytes / ROUNDS / 1000,
            *bytes as f64 / *base_bytes as f64,
        );
    }
    println!(
        "  a background: PNG pieces {} K, JPEG pieces {} K; prepare {:.0} ms, quick {:.0} ms (least {:.0}, {:.0})",
        preparing.png_bytes / scenes.len() / 1000,
        preparing.jpeg_bytes / scenes.len() / 1000,
        preparing.thorough.median(),
        preparing.quick.median(),
        preparing.thorough.least(),
        preparing.quick.least(),
    );
}

fn scene(kind: Kind, rect: Rect, seed: u32, preparing: &mut Preparing) -> Scene {
    let whole = Arc::new(picture(kind, SIZE, seed));
    let placement =
        Compositor::new(Geometry::Inset).placement(&crop_328(&whole, rect), rect.size());
    // What the code is made for is another output than those that are encoded.
    let [representative, patch] = [seed + 50, seed].map(|seed| {
        let mut patch = vec![0; rect.size().rgb_bytes()];
        composite(&prediction(kind, rect, seed), &placement, &mut patch).expect("finite");
        patch
    });
    let prepared = preparing
        .thorough
        .time(|| PreparedPng::prepare(&whole, rect, Some(&representative), Effort::Thorough));
    preparing
        .quick
        .time(|| black_box(PreparedPng::prepare(&whole, rect, None, Effort::Quick)));
    preparing.png_bytes += prepared.memory_bytes();
    let background = Background::new(whole, rect).with_prepared(Arc::new(prepared));
    let encoder = Encoder::new(1);
    let painted = encoder
        .encode(&background, &patch, Format::Rgb)
        .expect("RGB");
    let before = background.memory_bytes();
    encoder.encode(&background, &patch, JPEG).expect("JPEG");
    preparing.jpeg_bytes += background.memory_bytes() - before;
    Scene {
        background,
        placement,
        prediction: prediction(kind, rect, seed),
        patch,
        painted: painted.into_bytes().to_vec(),
    }
}

/// What is kept from frame to frame, as a server does.
struct Bench {
    encoder: Encoder,
    canvas: Vec<u8>,
    file: Vec<u8>,
}

impl Bench {
    /// Runs one candidate; gives the bytes of the frame it made.
    fn run(&mut self, candidate: Candidate, scene: &Scene) -> usize {
        match candidate {
            Candidate::PngWhole => png_fast(&scene.painted, &mut self.file),
            Candidate::JpegWhole => jpeg_whole(&scene.painted, &mut self.file),
            Candidate::PngSpliced => self.encode(scene, &scene.patch, Format::Png),
            Candidate::JpegSpliced => self.encode(scene, &scene.patch, JPEG),
            Candidate::Composite => {
                composite(&scene.prediction, &scene.placement, &mut self.canvas).expect("finite");
                black_box(&mut self.canvas).len()
            }
            Candidate::CompositePng => {
                composite(&scene.prediction, &scene.placement, &mut self.canvas).expect("finite");
                self.encode(scene, &self.canvas, Format::Png)
            }
        }
    }

    fn encode(&self, scene: &Scene, patch: &[u8], format: Format) -> usize {
        let encoded = self.encoder.encode(&scene.background, patch, format);
        black_box(encoded.expect("a frame")).byte_len()
    }
}

fn png_fast(rgb: &[u8], out: &mut Vec<u8>) -> usize {
    out.clear();
    let mut encoder = png::Encoder::new(&mut *out, SIZE.width, SIZE.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header().expect("a header");
    writer.write_image_data(rgb).expect("pixels");
    writer.finish().expect("an end");
    out.len()
}

fn jpeg_whole(rgb: &[u8], out: &mut Vec<u8>) -> usize {
    out.clear();
    let Format::Jpeg { quality } = JPEG else {
        unreachable!("the bench's JPEG is one")
    };
    jpeg_encoder::Encoder::new(&mut *out, quality)
        .encode(
            rgb,
            SIZE.width as u16,
            SIZE.height as u16,
            jpeg_encoder::ColorType::Rgb,
        )
        .expect("JPEG");
    out.len()
}

/// Milliseconds of every round.
#[derive(Default)]
struct Times(Vec<f64>);

impl Times {
    fn time<T>(&mut self, run: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let made = run();
        self.0.push(started.elapsed().as_secs_f64() * 1e3);
        made
    }

    fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }

    fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }
}
