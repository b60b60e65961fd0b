//! Preparing, keeping and finding again.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

mod video;

use super::*;
use crate::audio::Padding;
use crate::encoder::Encoder;

const FRAMES: usize = 6;

struct Scene {
    folder: tempfile::TempDir,
    model: config::Model,
    options: KeepOptions,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let frames = folder.path().join("frames");
        fs::create_dir(&frames).unwrap();
        let rects: Vec<[u32; 4]> = (0..FRAMES as u32)
            .map(|i| [8 + i, 4, 40 + 2 * i, 30])
            .collect();
        let crop_rects_path = folder.path().join("rects.json");
        fs::write(&crop_rects_path, serde_json::to_vec(&rects).unwrap()).unwrap();
        let scene = Self {
            model: config::Model {
                id: "ann".to_owned(),
                model_path: PathBuf::new(),
                background_dir: frames,
                crop_rects_path,
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
            },
            folder,
            options: KeepOptions {
                prepared_frames: 100,
                raw_frames: 100,
                threads: 2,
                disk_bytes: 1 << 30,
                disk_folder: None,
                video_bytes: 64 << 20,
            },
        };
        for frame in 0..FRAMES {
            scene.draw(frame, 0);
        }
        scene
    }

    fn draw(&self, frame: usize, seed: u32) {
        image::RgbImage::from_fn(64, 48, |x, y| {
            let noise = (x * 7 + y * 13 + seed * 5 + 3 * frame as u32) ^ (x * y);
            image::Rgb([(x * 3) as u8, (y * 4 + seed) as u8, (noise % 61) as u8])
        })
        .save(self.model.background_dir.join(format!("{frame}.png")))
        .unwrap();
    }

    fn open(&self) -> Avatar {
        Avatar::open(&self.model, &self.options).unwrap()
    }

    /// Opens it, and nothing is prepared but what is on disk.
    fn open_idle(&self) -> Avatar {
        let options = KeepOptions {
            threads: 0,
            ..self.options.clone()
        };
        Avatar::open(&self.model, &options).unwrap()
    }

    /// Opens it and waits until it is prepared.
    fn prepared(&self) -> Avatar {
        let avatar = self.open();
        avatar.prepare_from(0);
        wait_until(|| avatar.is_prepared());
        avatar
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("frames.prepared")
    }

    fn stored_files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.store()).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

fn wait_until(condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_mins(2);
    while !condition() {
        assert!(Instant::now() < end, "waited for nothing");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn is_prepared(avatar: &Avatar, index: usize) -> bool {
    let background = avatar.background(index, Format::Png).unwrap();
    background.canvas.prepared().is_some()
}

/// A frame's pixels, by way of `format`.
fn shown(avatar: &Avatar, index: usize, format: Format) -> Vec<u8> {
    let background = avatar.background(index, format).unwrap();
    let patch: Vec<u8> = (0..background.raw_rect.data().len())
        .map(|i| (i * 31 + index) as u8)
        .collect();
    let encoded = Encoder::new(1)
        .encode(&background.canvas, &patch, format)
        .unwrap()
        .into_bytes();
    match format {
        Format::Rgb => encoded.to_vec(),
        _ => image::load_from_memory(&encoded)
            .unwrap()
            .into_rgb8()
            .into_raw(),
    }
}

#[test]
fn a_prepared_background_makes_the_same_frames_as_its_pixels() {
    let scene = Scene::new();
    let (prepared, idle) = (scene.prepared(), scene.open_idle());
    for index in 0..FRAMES {
        assert!(is_prepared(&prepared, index));
        let expected = shown(&idle, index, Format::Rgb);
        assert_eq!(shown(&prepared, index, Format::Png), expected);
        assert_eq!(shown(&prepared, index, Format::Rgb), expected);
        let [ours, theirs] = [&prepared, &idle].map(|avatar| {
            let background = avatar.background(index, Format::Rgb).unwrap();
            (Arc::clone(&background.seen), background.raw_rect.clone())
        });
        assert_eq!(ours, theirs);
    }
}

#[test]
fn nothing_waits_for_what_is_not_prepared() {
    let mut scene = Scene::new();
    scene.options.disk_bytes = 0;
    let avatar = scene.open_idle();
    assert!(!is_prepared(&avatar, 3));
    let pixels = shown(&avatar, 3, Format::Png);
    assert_eq!(pixels, shown(&avatar, 3, Format::Rgb));
    assert_eq!(avatar.prepared_frames(), 0);
}

#[test]
fn the_next_load_finds_it_on_disk() {
    let scene = Scene::new();
    assert!(!is_prepared(&scene.open_idle(), 2));
    drop(scene.prepared());
    assert_eq!(scene.stored_files().len(), FRAMES);
    let avatar = scene.open_idle();
    for index in 0..FRAMES {
        assert!(is_prepared(&avatar, index));
    }
    // The folder may go at any time.
    fs::remove_dir_all(scene.store()).unwrap();
    assert!(!is_prepared(&scene.open_idle(), 2));
    drop(scene.prepared());
    assert!(is_prepared(&scene.open_idle(), 2));
}

#[test]
fn a_changed_picture_or_rect_is_prepared_anew() {
    let scene = Scene::new();
    drop(scene.prepared());
    scene.draw(1, 9);
    let changed = scene.open_idle();
    assert!(is_prepared(&changed, 0) && !is_prepared(&changed, 1));
    let rects = [[9, 4, 40, 30]; FRAMES];
    fs::write(
        &scene.model.crop_rects_path,
        serde_json::to_vec(&rects).unwrap(),
    )
    .unwrap();
    assert!(!is_prepared(&scene.open_idle(), 0));
}

#[test]
fn a_damaged_file_is_found_and_made_anew() {
    let scene = Scene::new();
    drop(scene.prepared());
    let files = scene.stored_files();
    let damage: [fn(&mut Vec<u8>); FRAMES] = [
        |bytes| bytes[0] ^= 1,
        |bytes| bytes[20] ^= 1,
        |bytes| bytes[50] ^= 1,
        |bytes| *bytes.last_mut().unwrap() ^= 1,
        |bytes| bytes.truncate(bytes.len() / 2),
        Vec::clear,
    ];
    for (file, damage) in files.iter().zip(damage) {
        let mut bytes = fs::read(file).unwrap();
        damage(&mut bytes);
        fs::write(file, bytes).unwrap();
    }
    let idle = scene.open_idle();
    for index in 0..FRAMES {
        assert!(!is_prepared(&idle, index), "background {index}");
    }
    assert_eq!(scene.stored_files(), Vec::<PathBuf>::new());
    drop(scene.prepared());
    let again = scene.open_idle();
    for index in 0..FRAMES {
        assert!(is_prepared(&again, index));
        assert_eq!(
            shown(&again, index, Format::Png),
            shown(&again, index, Format::Rgb)
        );
    }
}

#[test]
fn a_folder_that_cannot_be_written_to_costs_nothing_but_the_next_load() {
    let mut scene = Scene::new();
    let file = scene.folder.path().join("a-file");
    fs::write(&file, b"").unwrap();
    scene.options.disk_folder = Some(file.join("inside"));
    let avatar = scene.prepared();
    assert_eq!(avatar.prepared_frames(), FRAMES);
    assert!(!is_prepared(&scene.open_idle(), 0));
}

#[test]
fn the_disk_holds_no_more_than_it_may() {
    let mut scene = Scene::new();
    drop(scene.prepared());
    let largest = scene.stored_files().iter().map(bytes).max().unwrap();
    fs::remove_dir_all(scene.store()).unwrap();
    scene.options.disk_bytes = 3 * largest;
    drop(scene.prepared());
    let held: u64 = scene.stored_files().iter().map(bytes).sum();
    assert!(held <= 3 * largest && held > largest, "{held} of {largest}");
}

fn bytes(path: &PathBuf) -> u64 {
    fs::metadata(path).unwrap().len()
}

#[test]
fn what_is_unused_or_unfinished_is_tidied_up_and_nothing_else() {
    let scene = Scene::new();
    fs::create_dir(scene.store()).unwrap();
    let day = Duration::from_hours(24);
    for (name, age) in [
        ("old.background", 31 * day),
        ("recent.background", 29 * day),
        ("old.unfinished", day),
        ("recent.unfinished", Duration::ZERO),
        ("notes.txt", 300 * day),
    ] {
        let path = scene.store().join(name);
        fs::write(&path, b"x").unwrap();
        let file = fs::File::options().append(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }
    drop(scene.prepared());
    for (name, stays) in [
        ("old.background", false),
        ("recent.background", true),
        ("old.unfinished", false),
        ("recent.unfinished", true),
        ("notes.txt", true),
    ] {
        assert_eq!(scene.store().join(name).exists(), stays, "{name}");
    }
}

#[test]
fn memory_is_counted_and_bounded() {
    let mut scene = Scene::new();
    scene.options.video_bytes = 0;
    let avatar = scene.open();
    let promised = avatar.memory_bytes_max();
    avatar.prepare_from(4);
    wait_until(|| {
        assert!(avatar.memory_bytes() <= avatar.memory_bytes_max());
        avatar.is_prepared()
    });
    let settled = avatar.memory_bytes_max();
    assert!(settled < promised, "{settled} < {promised}");
    for index in 0..FRAMES {
        avatar.background(index, Format::Rgb).unwrap();
    }
    // All that can be kept is: what is promised is exact but for the sizes of the borders of the rects.
    assert_eq!(avatar.memory_bytes_max(), settled);
    assert_eq!(avatar.memory_bytes(), settled);
}

#[test]
fn pixels_are_let_go_once_prepared_unless_a_format_needs_them() {
    let scene = Scene::new();
    let avatar = scene.open();
    avatar.background(2, Format::Png).unwrap();
    assert_eq!(avatar.kept.raw.held().count, 1);
    avatar.prepare_from(0);
    wait_until(|| avatar.is_prepared());
    assert_eq!(avatar.kept.raw.held().count, 0);
    avatar.background(2, Format::Rgb).unwrap();
    assert_eq!(avatar.kept.raw.held().count, 1);
    assert!(avatar.ready_background(2, Format::Rgb).is_some());
    assert!(avatar.ready_background(3, Format::Rgb).is_none());
}

#[test]
fn planes_are_made_once_without_pixels_and_within_the_same_limit() {
    let scene = Scene::new();
    let avatar = scene.prepared();
    let limit = avatar.memory_bytes_max();
    let (bare, from_pixels) = (1, 2);
    avatar.background(from_pixels, Format::Rgb).unwrap();
    for index in [bare, from_pixels] {
        assert!(avatar.ready_background(index, Format::I420).is_none());
        let planes = avatar.background(index, Format::I420).unwrap();
        assert!(planes.canvas.pixels().is_none());
        let again = avatar.ready_background(index, Format::I420).unwrap();
        assert!(Arc::ptr_eq(&planes, &again));
        let pixels = avatar.background(index, Format::Rgb).unwrap();
        assert_eq!(planes.seen, pixels.seen);
        let patch = pixels.raw_rect.data();
        let [of_planes, of_pixels] = [&planes, &pixels].map(|background| {
            let encoded = Encoder::new(1).encode(&background.canvas, patch, Format::I420);
            encoded.unwrap().into_bytes()
        });
        assert!(of_planes == of_pixels);
    }
    for index in 0..FRAMES {
        for format in [Format::I420, Format::Rgb, Format::Png] {
            avatar.background(index, format).unwrap();
            assert!(avatar.memory_bytes() <= limit);
        }
    }
    assert_eq!(avatar.memory_bytes_max(), limit);
}

#[test]
fn no_more_is_prepared_than_there_is_room_for() {
    let mut scene = Scene::new();
    scene.options.prepared_frames = 2;
    scene.options.raw_frames = 1;
    scene.options.disk_bytes = 0;
    let avatar = scene.prepared();
    assert_eq!(avatar.prepared_frames(), 2);
    for k in 0..30 {
        let index = avatar.background_index(k);
        assert_eq!(
            shown(&avatar, index, Format::Png),
            shown(&avatar, index, Format::Rgb)
        );
        assert!(avatar.memory_bytes() <= avatar.memory_bytes_max());
    }
}

#[test]
fn an_avatar_that_is_dropped_is_gone_while_it_is_being_prepared() {
    let scene = Scene::new();
    let avatar = scene.open();
    let sources = Arc::downgrade(&avatar.sources);
    let kept = Arc::downgrade(&avatar.kept);
    avatar.prepare_from(0);
    drop(avatar);
    // The threads end with the background they are at.
    wait_until(|| sources.strong_count() == 0 && kept.strong_count() == 0);
}

#[test]
fn a_picture_that_cannot_be_decoded_is_the_only_one_missing() {
    let scene = Scene::new();
    let file = scene.model.background_dir.join("3.png");
    let avatar = scene.open();
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    avatar.prepare_from(0);
    wait_until(|| avatar.is_prepared());
    assert_eq!(avatar.prepared_frames(), FRAMES - 1);
    let error = avatar.background(3, Format::Png).unwrap_err().to_string();
    assert!(error.contains("background 3"), "{error}");
}
