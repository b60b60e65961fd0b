//! Long clips: bounded memory, and an end before the end.
#![cfg(target_os = "linux")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::common::{click_track, ffprobe, has_ffmpeg, wav};
use super::studio::Studio;

/// The most memory a render of `seconds` of speech takes, in bytes.
fn peak_bytes(studio: &Studio, seconds: f64) -> u64 {
    studio.write(
        "speech.wav",
        &wav(16_000, 1, &click_track(16_000, seconds, 1.0)),
    );
    let mut child = studio
        .command(&["--audio", "speech.wav", "--out", "talk.mp4", "--quiet"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // The high-water mark only grows, so the last one that could be read is the peak.
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let mark = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(mark) = mark {
            peak_kib = mark.trim_end_matches("kB").trim().parse().unwrap();
        }
        match child.try_wait().unwrap() {
            Some(status) => {
                assert!(status.success());
                return peak_kib * 1024;
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

#[test]
fn ten_minutes_take_no_more_memory_than_half_a_minute() {
    // One frame a second: what could pile up over ten minutes of sound would, and the network has little to do.
    let studio = Studio::new("fps: 1");
    let short = peak_bytes(&studio, 30.0);
    let long = peak_bytes(&studio, 600.0);
    // The whole speech would be 38 MB as decoded, the film's frames 136 MB.
    assert!(
        long < short + 20_000_000,
        "{short} bytes for 30 s, {long} for 600 s"
    );
    if has_ffmpeg() {
        let film = studio.path("talk.mp4");
        let duration = &ffprobe(film.to_str().unwrap(), "a:0", "stream=duration")[0];
        assert!(
            (duration.parse::<f64>().unwrap() - 600.0).abs() < 0.1,
            "{duration}"
        );
    }
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    let studio = Studio::new("");
    studio.write(
        "speech.wav",
        &wav(16_000, 1, &click_track(16_000, 300.0, 1.0)),
    );
    for out in ["talk.mp4", "pictures"] {
        let mut child = studio
            .command(&["--audio", "speech.wav", "--out", out])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The unfinished film appears beside its final place.
        let deadline = Instant::now() + Duration::from_mins(2);
        while studio.left(&["speech.wav"]).is_empty() {
            assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(20));
        }
        let signalled = Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status();
        assert!(signalled.unwrap().success());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("stopped before it was finished"), "{said}");
        assert!(
            studio.left(&["speech.wav"]).is_empty(),
            "{:?}",
            studio.left(&["speech.wav"])
        );
    }
}
