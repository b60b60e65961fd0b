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

use lipsync::avatar::visual::crop_328;
use lipsync::compositor::{Compositor, Geometry, Placement, composite};
use lipsync::encoder::{Background, Effort, Encoder, Format, PreparedPng};
use lipsync::frame::{Frame, Rect, Size};

use pictures::{Kind, picture, prediction};

const SIZE: Size = Size {
    width: 1280,
    height: 720,
};
/// Enough that a background is out of every cache when its turn comes again.
const BACKGROUNDS: u32 = 24;
const ROUNDS: usize = 200;
const JPEG: Format = Format::Jpeg { quality: 80 };

struct Scene {
    prepared: Background,
    whole: Arc<Frame>,
    placement: Placement,
    prediction: Vec<f32>,
    patch: Vec<u8>,
    painted: Vec<u8>,
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
    let compositor = Compositor::new(Geometry::Inset);
    let mut preparing = Times::default();
    let mut preparing_quick = Times::default();
    let (mut memory, mut jpeg_memory) = (0, 0);
    let scenes: Vec<Scene> = (0..BACKGROUNDS)
        .map(|seed| {
            let whole = Arc::new(picture(kind, SIZE, seed));
            let placement = compositor.placement(&crop_328(&whole, rect), rect.size());
            let [representative, patch] = [seed + 50, seed].map(|seed| {
                let mut patch = vec![0; rect.size().rgb_bytes()];
                composite(&prediction(kind, rect, seed), &placement, &mut patch).expect("finite");
                patch
            });
            let prepared = preparing.time(|| {
                PreparedPng::prepare(&whole, rect, Some(&representative), Effort::Thorough)
            });
            preparing_quick.time(|| {
                black_box(PreparedPng::prepare(
                    &whole,
                    rect,
                    Some(&representative),
                    Effort::Quick,
                ));
            });
            memory += prepared.memory_bytes();
            let prepared = Background::new(Arc::clone(&whole), rect).with_prepared(Arc::new(prepared));
            let before = prepared.memory_bytes();
            Encoder::new(1).encode(&prepared, &patch, JPEG).expect("JPEG");
            jpeg_memory += prepared.memory_bytes() - before;
            let painted = Encoder::new(1)
                .encode(
                    &Background::new(Arc::clone(&whole), rect),
                    &patch,
                    Format::Rgb,
                )
                .expect("RGB");
            Scene {
                prepared,
                whole,
                placement,
                prediction: prediction(kind, rect, seed),
                patch,
                painted: painted.into_bytes().to_vec(),
            }
        })
        .collect();
    let encoder = Encoder::new(4);
    let mut canvas = vec![0; rect.size().rgb_bytes()];
    let mut file = Vec::new();
    let mut times: [Times; 6] = Default::default();
    let mut sizes = [0_usize; 4];
    let mut random = 12345_u32;
    for _ in 0..ROUNDS {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let scene = &scenes[(random >> 8) as usize % scenes.len()];
        let [whole, spliced, composited, both, jpeg, jpeg_spliced] = &mut times;
        whole.time(|| png_fast(&scene.painted, &mut file));
        sizes[0] += file.len();
        // What comes next in a server is another frame: let the last one's traces go.
        black_box(
            scenes[(random >> 12) as usize % scenes.len()]
                .whole
                .data()
                .iter()
                .map(|&b| u64::from(b))
                .sum::<u64>(),
        );
        both.time(|| {
            composite(&scene.prediction, &scene.placement, &mut canvas).expect("finite");
            black_box(
                encoder
                    .encode(&scene.prepared, &canvas, Format::Png)
                    .expect("PNG"),
            )
        });
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let scene = &scenes[(random >> 8) as usize % scenes.len()];
        composited.time(|| {
            composite(&scene.prediction, &scene.placement, &mut canvas).expect("finite");
        });
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let scene = &scenes[(random >> 8) as usize % scenes.len()];
        let encoded = spliced.time(|| {
            encoder
                .encode(&scene.prepared, &scene.patch, Format::Png)
                .expect("PNG")
        });
        sizes[1] += encoded.byte_len();
        jpeg.time(|| jpeg_whole(&scene.painted, &mut file));
        sizes[2] += file.len();
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let scene = &scenes[(random >> 8) as usize % scenes.len()];
        let encoded = jpeg_spliced.time(|| {
            encoder.encode(&scene.prepared, &scene.patch, JPEG).expect("JPEG")
        });
        sizes[3] += encoded.byte_len();
    }
    println!("\n{name}: rect {rect}");
    let labels = [
        "png crate, Fast, whole",
        "spliced",
        "composite",
        "composite + spliced",
    ];
    let base = times[0].median();
    for (label, times) in labels.iter().zip(&mut times) {
        println!(
            "  {label:24} median {:7.3} ms  least {:7.3} ms  {:6.1} x",
            times.median(),
            times.least(),
            base / times.median()
        );
    }
    println!(
        "  bytes: whole {} K, spliced {} K, ratio {:.3}; memory {} K; prepare {:.0} ms, quick {:.0} ms (least {:.0}, {:.0})",
        sizes[0] / ROUNDS / 1000,
        sizes[1] / ROUNDS / 1000,
        sizes[1] as f64 / sizes[0] as f64,
        memory / scenes.len() / 1000,
        preparing.median(),
        preparing_quick.median(),
        preparing.least(),
        preparing_quick.least(),
    );
    println!("  JPEG bytes: whole {} K, spliced {} K; memory {} K", sizes[2] / ROUNDS / 1000, sizes[3] / ROUNDS / 1000, jpeg_memory / scenes.len() / 1000);
}

fn png_fast(rgb: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut encoder = png::Encoder::new(&mut *out, SIZE.width, SIZE.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header().expect("a header");
    writer.write_image_data(rgb).expect("pixels");
    writer.finish().expect("an end");
}

fn jpeg_whole(rgb: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let Format::Jpeg { quality } = JPEG else {
        unreachable!("the bench's JPEG is one")
    };
    jpeg_encoder::Encoder::new(out, quality)
        .encode(rgb, SIZE.width as u16, SIZE.height as u16, jpeg_encoder::ColorType::Rgb)
        .expect("JPEG");
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

    fn median(&mut self) -> f64 {
        self.0.sort_by(f64::total_cmp);
        self.0[self.0.len() / 2]
    }

    fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }
}
