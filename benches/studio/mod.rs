//! An avatar to measure with, and how times are taken.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lipsync::audio::Padding;
use lipsync::avatar::{Avatar, KeepOptions, Sequence};
use lipsync::compositor::Geometry;
use lipsync::config;
use lipsync::frame::Size;

use super::pictures::{Kind, picture};

pub(crate) const SIZE: Size = Size {
    width: 1280,
    height: 720,
};
pub(crate) const RECT: [u32; 4] = [557, 339, 739, 521];
pub(crate) const BACKGROUNDS: usize = 24;

pub(crate) fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

pub(crate) fn timed(times: &mut Vec<Duration>, run: impl FnOnce()) {
    let started = Instant::now();
    run();
    times.push(started.elapsed());
}

/// Writes an avatar of `kind` and gives its configuration.
pub(crate) fn avatar(folder: &Path, kind: Kind) -> config::Model {
    let frames = folder.join("frames");
    std::fs::create_dir(&frames).unwrap();
    for seed in 0..BACKGROUNDS {
        let frame = picture(kind, SIZE, seed as u32);
        let pixels =
            image::RgbImage::from_raw(SIZE.width, SIZE.height, frame.data().to_vec()).unwrap();
        pixels.save(frames.join(format!("{seed}.png"))).unwrap();
    }
    let rects = folder.join("rects.json");
    std::fs::write(&rects, format!("{:?}", vec![RECT; BACKGROUNDS])).unwrap();
    config::Model {
        id: "ann".to_owned(),
        model_path: PathBuf::new(),
        background_dir: frames,
        crop_rects_path: rects,
        audio_encoder_path: None,
        num_frames: None,
        preload: false,
        memory_estimate_bytes: 0,
        audio_padding: Padding::Edge,
        compositing: Geometry::Inset,
        compositing_feather: 0,
        rects: config::RectPolicy::Strict,
        sequence: Sequence::PingPong,
        fps: 25,
        video_kbps: 2000,
    }
}

pub(crate) fn keep(threads: usize, disk_bytes: u64) -> KeepOptions {
    KeepOptions {
        prepared_frames: BACKGROUNDS,
        raw_frames: 1,
        threads,
        disk_bytes,
        disk_folder: None,
        video_bytes: 64 << 20,
    }
}

/// Opens an avatar and waits until all of it is prepared.
pub(crate) fn prepared(model: &config::Model, threads: usize, disk_bytes: u64) -> Avatar {
    let avatar = Avatar::open(model, &keep(threads, disk_bytes)).unwrap();
    avatar.prepare_from(0);
    while !avatar.is_prepared() {
        std::thread::sleep(Duration::from_micros(200));
    }
    avatar
}
