//! The video that viewers share: prepared behind them, kept on disk, bounded in memory.

use std::fs;

use super::{Scene, wait_until};
use crate::avatar::{Avatar, AvatarError};
use crate::encoder::h264::{Mouth, Stream};
use crate::frame::Frame;

fn with_video(scene: &Scene) -> Avatar {
    let avatar = scene.open();
    avatar.prepare_video_from(0);
    wait_until(|| avatar.is_video_prepared());
    avatar
}

/// Everything that frames without a mouth send over two rounds.
fn resting(avatar: &Avatar) -> Vec<u8> {
    let video = avatar.video().unwrap();
    let mut stream = Stream::new(video);
    let read = || -> Result<_, AvatarError> { panic!("a group is not prepared") };
    (0..20)
        .flat_map(|k| stream.encode(k, Mouth::Rest, read).unwrap().parts.concat())
        .collect()
}

fn is_all(avatar: &Avatar) -> bool {
    let video = avatar.video().unwrap();
    (0..video.plan().groups()).all(|group| video.is_prepared(group))
}

fn stored(scene: &Scene) -> Vec<std::path::PathBuf> {
    let files = scene.stored_files().into_iter();
    files
        .filter(|file| file.extension().is_some_and(|e| e == "video"))
        .collect()
}

#[test]
fn a_video_is_prepared_behind_its_viewers_and_the_next_load_reads_it() {
    let scene = Scene::new();
    let avatar = scene.open();
    assert!(avatar.ready_video().is_none());
    let avatar = with_video(&scene);
    assert!(avatar.ready_video().is_some() && is_all(&avatar));
    let groups = avatar.video().unwrap().plan().groups();
    assert_eq!(stored(&scene).len(), groups);
    // Without threads nothing is prepared but what the disk has.
    let again = scene.open_idle();
    assert!(again.is_video_prepared() && !is_all(&again));
    (0..groups).for_each(|group| again.prepare_video(group).unwrap());
    assert_eq!(resting(&again), resting(&avatar));
}

#[test]
fn what_is_damaged_or_of_other_pictures_is_made_again() {
    let scene = Scene::new();
    let first = resting(&with_video(&scene));
    for (at, change) in [(0, 1), (9, 1), (12, 1), (13, 200), (600, 4)] {
        for file in stored(&scene) {
            let mut bytes = fs::read(&file).unwrap();
            bytes[at] ^= change;
            fs::write(&file, bytes).unwrap();
        }
        assert_eq!(resting(&with_video(&scene)), first, "byte {at}");
    }
    for file in stored(&scene) {
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    }
    assert_eq!(resting(&with_video(&scene)), first, "cut off");
    scene.draw(1, 9);
    assert_ne!(resting(&with_video(&scene)), first, "another picture");
}

#[test]
fn the_disk_names_a_video_by_what_its_background_may_take() {
    let mut scene = Scene::new();
    drop(with_video(&scene));
    let before = stored(&scene).len();
    scene.model.video_kbps = 50;
    drop(with_video(&scene));
    assert!(stored(&scene).len() > before);
}

#[test]
fn memory_of_a_video_is_counted_and_bounded() {
    let mut scene = Scene::new();
    let avatar = scene.open();
    let promised = avatar.memory_bytes_max();
    let before = avatar.memory_bytes();
    avatar.prepare_video_from(3);
    wait_until(|| {
        assert!(avatar.memory_bytes() <= avatar.memory_bytes_max());
        avatar.is_video_prepared()
    });
    assert!(avatar.memory_bytes() > before);
    assert!(avatar.memory_bytes_max() < promised);
    // What does not fit is not kept, and frames are whole pictures then.
    for video_bytes in [0, 20_000] {
        scene.options.video_bytes = video_bytes;
        let avatar = with_video(&scene);
        let video = avatar.video().unwrap();
        for group in 0..video.plan().groups() {
            avatar.prepare_video(group).unwrap();
        }
        assert!(!is_all(&avatar));
        assert!(avatar.memory_bytes() <= avatar.memory_bytes_max());
        assert!(
            video.memory_bytes() as u64 <= video_bytes,
            "{}",
            video.memory_bytes()
        );
        let size = avatar.size();
        let black = || {
            Ok::<_, AvatarError>(std::sync::Arc::new(
                Frame::from_rgb(size, vec![0; size.rgb_bytes()]).unwrap(),
            ))
        };
        let mut stream = Stream::new(video);
        assert!(stream.encode(0, Mouth::Rest, black).unwrap().is_key);
    }
}
