//! `lipsync infer` as a user runs it: the real binary, real files, and ffmpeg to look at the result.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

#[path = "../common/film.rs"]
mod common;
mod faults;
mod long;
mod speech_files;
mod studio;

use std::fs;

use common::{click_track, ffmpeg, ffprobe, has_ffmpeg, loudest_second, psnr, wav};
use studio::Studio;

/// Width and height of the studio's frames.
const SIZE: (u32, u32) = (320, 240);

fn names(folder: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn two_seconds_of_speech_become_a_film_that_shows_what_the_pictures_show() {
    // The small network paints windows of zeros as noise, of which no film keeps 30 dB.
    let studio = Studio::new("audio_padding: edge");
    let click = 1.0;
    studio.write(
        "speech.wav",
        &wav(44_100, 2, &click_track(44_100, 2.0, click)),
    );
    let film = studio.run(&["--audio", "speech.wav", "--out", "talk.mp4", "--json"]);
    film.assert_done();
    let figures: serde_json::Value = serde_json::from_slice(&film.stdout).unwrap();
    // int((161 - 16) / 80 * 25) + 2 features and two more frames, by the training code's count.
    assert_eq!(
        (figures["frames"].as_u64(), figures["held_frames"].as_u64()),
        (Some(49), Some(1))
    );
    assert_eq!(
        (figures["width"].as_u64(), figures["height"].as_u64()),
        (Some(320), Some(240))
    );
    assert!(figures["frames_per_second"].as_f64().unwrap() > 0.0);
    assert!(
        figures["stages"]
            .as_array()
            .unwrap()
            .iter()
            .any(|stage| stage["name"] == "inference")
    );
    assert!(film.stderr.contains("engine: "), "{}", film.stderr);

    let pictures = studio.run(&["--audio", "speech.wav", "--out", "pictures/"]);
    pictures.assert_done();
    let names = names(&studio.path("pictures"));
    assert_eq!(names.len(), 49);
    assert_eq!(
        (names[0].as_str(), names[48].as_str()),
        ("render_000000.png", "render_000048.png")
    );

    if !has_ffmpeg() {
        return;
    }
    let path = studio.path("talk.mp4");
    let path = path.to_str().unwrap();
    assert_eq!(
        ffprobe(
            path,
            "v:0",
            "stream=codec_name,width,height,pix_fmt,r_frame_rate"
        ),
        ["h264,320,240,yuv420p,25/1"]
    );
    assert_eq!(
        ffprobe(path, "a:0", "stream=codec_name,sample_rate,channels"),
        ["aac,44100,2"]
    );
    let decoded = ffmpeg(&["-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]);
    let frame_bytes = (3 * SIZE.0 * SIZE.1) as usize;
    // The sound lasts 50 frames: the film's last picture is held for one more.
    assert_eq!(decoded.len(), 50 * frame_bytes);
    let shown = names.iter().chain(names.last());
    for (name, decoded) in shown.zip(decoded.chunks_exact(frame_bytes)) {
        let picture = image::open(studio.path("pictures").join(name))
            .unwrap()
            .into_rgb8();
        let psnr = psnr(picture.as_raw(), decoded);
        // The small network paints noise in every colour, of which H.264 keeps a quarter.
        assert!(psnr > 30.0, "{name}: {psnr} dB");
    }
    let pcm = ffmpeg(&["-i", path, "-f", "f32le", "-ac", "1", "-ar", "44100", "-"]);
    let (samples, _) = pcm.as_chunks::<4>();
    let samples: Vec<f32> = samples
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    let heard = loudest_second(&samples, 44_100);
    assert!((heard - click).abs() < 0.01, "click heard at {heard} s");
}

#[test]
fn a_batch_of_the_bundled_sample_shows_what_each_stage_takes() {
    let studio = Studio::new("");
    let run = studio.run(&["--batch", "5"]);
    run.assert_done();
    for word in [
        "visual",
        "queue",
        "inference",
        "composite",
        "encode",
        "mean",
        "frames/s",
        "anna on ",
    ] {
        assert!(
            run.text().contains(word),
            "{word} is missing:\n{}",
            run.text()
        );
    }
    assert_eq!(names(&studio.path("frames")).len(), 5);
    let picture = image::open(studio.path("frames/render_000004.png")).unwrap();
    assert_eq!((picture.width(), picture.height()), SIZE);

    // Again, into the same folder, from another frame on, as JSON.
    let run = studio.run(&["--batch", "2", "--start-frame", "7", "--json"]);
    run.assert_done();
    let figures: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    let rows = figures["frame_timings"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(
        (rows[0]["frame"].as_u64(), rows[1]["frame"].as_u64()),
        (Some(7), Some(8))
    );
    // 6 backgrounds forth and back: frame 7 is painted on background 3.
    assert_eq!(rows[0]["background"], 3);
    assert_eq!(names(&studio.path("frames")).len(), 2);
}

#[test]
fn jpeg_pictures_have_the_quality_asked_for() {
    let studio = Studio::new("");
    let bytes = |quality: &str| {
        let out = format!("q{quality}");
        let run = studio.run(&[
            "--batch",
            "1",
            "--out",
            &out,
            "--format",
            "jpeg",
            "--quality",
            quality,
        ]);
        run.assert_done();
        let file = studio.path(&out).join("render_000000.jpg");
        assert_eq!(image::open(&file).unwrap().width(), SIZE.0);
        fs::metadata(file).unwrap().len()
    };
    assert!(bytes("95") > 2 * bytes("20"));
}

#[test]
fn ffmpeg_writes_the_film_when_asked() {
    let studio = Studio::new("fps: 5");
    let ask = [
        "--audio",
        "speech.wav",
        "--out",
        "talk.mkv",
        "--encoder",
        "ffmpeg",
    ];
    studio.write(
        "speech.wav",
        &wav(16_000, 1, &click_track(16_000, 1.0, 0.5)),
    );
    if has_ffmpeg() {
        studio.run(&ask).assert_done();
        let film = studio.path("talk.mkv");
        assert_eq!(
            ffprobe(film.to_str().unwrap(), "v:0", "stream=width,height"),
            ["320,240"]
        );
        fs::remove_file(film).unwrap();
    }
    let run = studio.command(&ask).env("PATH", "").output().unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert!(said.contains("ffmpeg is not installed"), "{said}");
    assert!(!studio.path("talk.mkv").exists());
}

#[test]
fn completions_for_every_shell() {
    let studio = Studio::new("");
    for (shell, word) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef"),
        ("fish", "complete -c lipsync"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion"),
    ] {
        let run = studio.lipsync(&["completions", shell]);
        run.assert_done();
        assert!(
            run.text().contains(word) && run.text().contains("validate-config"),
            "{shell}"
        );
    }
}
