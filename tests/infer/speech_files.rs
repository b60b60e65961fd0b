//! Speech as it comes: sizes that are not true, joined files, films, standard input and pipes; and what is said of it.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use super::common::wav;
use super::studio::Studio;

fn golden(name: &str) -> Vec<u8> {
    fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden/speech")
            .join(name),
    )
    .unwrap()
}

/// Frames are compared as decoded: those of a background that was prepared meanwhile are packed otherwise.
fn pixels(picture: &Path) -> Vec<u8> {
    image::open(picture).unwrap().into_rgb8().into_raw()
}

fn frames(studio: &Studio, file: &str) -> Vec<Vec<u8>> {
    let run = studio.run(&["--audio", file, "--out", "pictures"]);
    run.assert_done();
    let folder = studio.path("pictures");
    let mut names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    names.iter().map(|name| pixels(name)).collect()
}

#[test]
fn wavs_with_untrue_sizes_make_the_same_frames() {
    let studio = Studio::new("");
    let tone: Vec<f32> = (0..6_400).map(|n| (n as f32 / 9.0).sin() * 0.3).collect();
    let whole = wav(16_000, 1, &tone);
    studio.write("control.wav", &whole);
    let expected = frames(&studio, "control.wav");
    // T+2 of 0.4 s.
    assert_eq!(expected.len(), 9);
    let data = whole.len() as u32 - 44;
    for (riff, claimed) in [
        (0, 0),
        (36, 0),
        (0, data),
        (u32::MAX, u32::MAX),
        (u32::MAX, 0),
        (36 + data, u32::MAX),
        (0x4000_0024, 0x4000_0000),
        (0x7fff_ffff, 0x7fff_ffff),
        (2_000_000_036, 2_000_000_000),
        (36 + data, data + 2),
        (36 + data, data - 2),
        (28 + data, data),
    ] {
        let mut file = whole.clone();
        file[4..8].copy_from_slice(&riff.to_le_bytes());
        file[40..44].copy_from_slice(&claimed.to_le_bytes());
        studio.write("untrue.wav", &file);
        assert!(
            frames(&studio, "untrue.wav") == expected,
            "{riff}, {claimed}"
        );
    }
}

#[test]
fn joined_files_and_films_are_rendered_to_their_end_without_a_word() {
    let studio = Studio::new("");
    studio.write("joined.mp3", &golden("mono.mp3").repeat(3));
    studio.write("film.mov", &golden("film.mov"));
    studio.write("recording.webm", &golden("opus_live.webm"));
    for (file, seconds) in [
        ("joined.mp3", 2.7),
        ("film.mov", 0.9),
        ("recording.webm", 0.9),
    ] {
        let run = studio.run(&["--audio", file, "--out", "talk.mp4", "--json"]);
        run.assert_done();
        let figures: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
        let shown = figures["frames"].as_u64().unwrap() + figures["held_frames"].as_u64().unwrap();
        let needed = (seconds * 25.0f64).ceil() as u64;
        assert!(
            (needed..=needed + 1).contains(&shown),
            "{file}: {shown} of {needed}"
        );
        // Nothing but our own lines, and no warning, about a file that is as it should be.
        for word in ["warning", "junk", ".rs", "symphonia", "panicked"] {
            assert!(!run.stderr.contains(word), "{file}: {}", run.stderr);
        }
    }
}

#[test]
fn what_cannot_be_read_is_said_before_the_model_is_loaded() {
    let studio = Studio::with_network("missing.onnx", "");
    for (file, words) in [
        (
            "transport.ts",
            "unsupported format: transport.ts is an MPEG transport stream",
        ),
        ("ac3.mkv", "Matroska/WebM with AC-3"),
        ("speex.ogg", "ffmpeg -i speex.ogg"),
    ] {
        studio.write(file, &golden(file));
        let run = studio.run(&["--audio", file, "--out", "talk.mp4"]);
        run.assert_failed(1, &[words]);
        for word in ["missing.onnx", "engine:", ".rs", "WARN"] {
            assert!(!run.stderr.contains(word), "{file}: {}", run.stderr);
        }
    }
}

#[test]
fn standard_input_and_pipes_are_files_like_any_other() {
    let studio = Studio::new("");
    studio.write("film.mp4", &golden("film.mp4"));
    let expected = frames(&studio, "film.mp4");
    let mut child = studio
        .command(&["--audio", "-", "--out", "pictures"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&golden("film.mp4"))
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let last = format!("pictures/render_{:06}.png", expected.len() - 1);
    assert!(Some(&pixels(&studio.path(&last))) == expected.last());
    assert_eq!(
        fs::read_dir(studio.path("pictures")).unwrap().count(),
        expected.len()
    );

    #[cfg(unix)]
    {
        let pipe = studio.path("pipe");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        let writer = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::write(pipe, golden("film.mp4"))
        });
        assert!(frames(&studio, pipe.to_str().unwrap()) == expected);
        writer.join().unwrap().unwrap();
    }

    let mut child = studio
        .command(&["--audio", "-", "--out", "talk.mp4"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert!(said.contains("standard input is empty"), "{said}");
}
