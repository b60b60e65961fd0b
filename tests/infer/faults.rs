//! Everything that can be wrong: a clear error, the right exit status, and nothing left behind.

use std::fs;

use super::common::{click_track, wav};
use super::studio::{Studio, network};

fn speech() -> Vec<u8> {
    wav(16_000, 1, &click_track(16_000, 0.5, 0.2))
}

#[test]
fn broken_audio() {
    let studio = Studio::new("fps: 5");
    let whole = speech();
    studio.write("truncated.wav", &whole[..whole.len() / 2]);
    studio.write("empty.wav", b"");
    studio.write("header.wav", &wav(16_000, 1, &[]));
    studio.write("one.wav", &wav(16_000, 1, &[0.5]));
    studio.write("text.mp3", &b"this is no music ".repeat(200));
    studio.write(
        "picture.wav",
        &fs::read(studio.path("backgrounds/frame_0000.png")).unwrap(),
    );
    let files = [
        "truncated.wav",
        "empty.wav",
        "header.wav",
        "one.wav",
        "text.mp3",
        "picture.wav",
    ];
    for (file, words) in [
        ("missing.wav", "cannot read audio file"),
        ("backgrounds", "cannot read audio file"),
        ("truncated.wav", "is truncated"),
        ("empty.wav", "is empty"),
        ("header.wav", "header.wav"),
        ("one.wav", "too short to be speech: 1 samples"),
        ("text.mp3", "text.mp3"),
        (
            "picture.wav",
            "unsupported format: picture.wav is a PNG picture",
        ),
    ] {
        for out in ["talk.mp4", "pictures"] {
            let run = studio.run(&["--audio", file, "--out", out]);
            run.assert_failed(1, &[words, file]);
            assert!(
                studio.left(&files).is_empty(),
                "{file}: {:?}",
                studio.left(&files)
            );
        }
    }
}

#[test]
fn broken_networks() {
    for (name, words) in [
        ("generator_hubert.onnx", "hubert"),
        ("generator_wrong_shape.onnx", "320"),
        ("generator_wrong_type.onnx", "f32"),
        ("audio_encoder.onnx", "input"),
        ("expected.json", "expected.json"),
        ("missing.onnx", "missing.onnx"),
    ] {
        let studio = Studio::with_network(name, "");
        let run = studio.run(&["--batch", "1"]);
        run.assert_failed(1, &[words, name, "cannot load model anna"]);
        assert!(studio.left(&[]).is_empty(), "{name}");
    }
}

#[test]
fn a_network_that_computes_nan() {
    let studio = Studio::with_network("generator_nan.onnx", "fps: 5");
    studio.write("speech.wav", &speech());
    for arguments in [
        &["--audio", "speech.wav", "--out", "talk.mp4"][..],
        &["--audio", "speech.wav", "--out", "pictures/"],
        &["--batch", "3"],
    ] {
        let run = studio.run(arguments);
        run.assert_failed(1, &["frame ", "NaN or infinite"]);
        let left = studio.left(&["speech.wav"]);
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_rect_outside_the_frame() {
    let studio = Studio::new("");
    studio.write(
        "rects.json",
        b"[[0,0,9,9],[0,0,9,9],[0,0,9,9],[300,0,321,9],[0,0,9,9],[0,0,9,9]]",
    );
    let run = studio.run(&["--batch", "1"]);
    run.assert_failed(1, &["frame 3", "[300, 0, 321, 9]", "320x240", "rects.json"]);
}

#[test]
fn a_background_that_is_cut_off() {
    let studio = Studio::new("");
    let file = studio.path("backgrounds/frame_0001.png");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let run = studio.run(&["--batch", "3", "--out", "pictures"]);
    run.assert_failed(1, &["background 1", "frame_0001.png"]);
    assert!(studio.left(&[]).is_empty());
}

#[test]
fn wrong_calls() {
    let studio = Studio::new("");
    studio.write("speech.wav", &speech());
    let audio = ["--audio", "speech.wav"];
    for (arguments, words) in [
        (&["--batch", "26"][..], "26"),
        (&["--batch", "0"], "0"),
        (&[], "--audio"),
        (&audio, "--out is missing"),
        (
            &["--audio", "speech.wav", "--out", "talk.avi"],
            "--encoder ffmpeg",
        ),
        (
            &[
                "--audio",
                "speech.wav",
                "--out",
                "talk.mp4",
                "--format",
                "png",
            ],
            "--format",
        ),
        (
            &[
                "--audio",
                "speech.wav",
                "--out",
                "pictures",
                "--encoder",
                "ffmpeg",
            ],
            "--encoder",
        ),
        (
            &["--batch", "1", "--out", "talk.mp4"],
            "--batch writes pictures",
        ),
        (&["--batch", "1", "--quality", "80"], "--format jpeg"),
        (
            &["--batch", "1", "--format", "jpeg", "--quality", "101"],
            "101",
        ),
        (&["--batch", "1", "--start-frame", "-1"], "-1"),
    ] {
        studio.run(arguments).assert_failed(2, &[words]);
    }
    assert!(studio.left(&["speech.wav"]).is_empty());
}

#[test]
fn unknown_names() {
    let studio = Studio::new("");
    let run = studio.lipsync(&["infer", "--model", "ana", "--batch", "1"]);
    run.assert_failed(1, &["no model ana", "did you mean `anna`?"]);
    let run = studio.lipsync(&["infer", "--model", "zebedee", "--batch", "1"]);
    run.assert_failed(1, &["no model zebedee", "the models are: anna"]);
    let run = studio.run(&["--batch", "1", "--config", "nowhere.yaml"]);
    run.assert_failed(1, &["nowhere.yaml", "--config"]);
}

#[test]
fn places_that_cannot_be_written() {
    let studio = Studio::new("fps: 5");
    studio.write("speech.wav", &speech());
    let run = studio.run(&["--audio", "speech.wav", "--out", "nowhere/talk.mp4"]);
    run.assert_failed(1, &["cannot write", "talk.mp4"]);
    // Backgrounds are never taken for an earlier render.
    let run = studio.run(&["--batch", "1", "--out", "backgrounds"]);
    run.assert_failed(1, &["frame_000", "new folder"]);
    assert_eq!(super::names(&studio.path("backgrounds")).len(), 6);
}

#[test]
fn a_start_beyond_an_end() {
    let studio = Studio::new("sequence: clamp");
    let run = studio.run(&["--batch", "1", "--start-frame", "6"]);
    run.assert_failed(1, &["--start-frame 6", "frame 5", "clamp"]);
    studio
        .run(&["--batch", "1", "--start-frame", "5"])
        .assert_done();
}

#[test]
fn the_avatars_files_are_checked_with_the_configuration() {
    let studio = Studio::new("");
    let run = studio.lipsync(&["validate-config", "--assets"]);
    run.assert_done();
    assert_eq!(
        run.text(),
        "config.yaml: valid, 1 model: anna, all their files open\n"
    );

    // Two models with six faults: all of them in one run, each at its key.
    let text = fs::read_to_string(studio.path("config.yaml")).unwrap();
    let second = format!(
        "  bob:\n    model_path: {}\n    audio_encoder_path: gone.onnx\n    background_dir: empty\n    crop_rects_path: rects.json\n    num_frames: 9\n",
        network("generator_wrong_shape.onnx").display()
    );
    studio.write("config.yaml", (text + &second).as_bytes());
    fs::create_dir(studio.path("empty")).unwrap();
    fs::write(studio.path("backgrounds/frame_0002.png"), b"no picture").unwrap();
    studio.write(
        "rects.json",
        b"[[0,0,9,9],[0,0,9,9],[0,0,9,9],[300,0,321,9],[9,9,0,0],[0,0,9,9]]",
    );
    let run = studio.lipsync(&["validate-config", "--assets", "--json"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    let found: Vec<(u64, &str, &str)> = report["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| {
            let text = |key: &str| problem[key].as_str().unwrap();
            (
                problem["line"].as_u64().unwrap(),
                text("key"),
                text("message"),
            )
        })
        .collect();
    let expected = [
        (5, "models.anna.background_dir", "background 2"),
        (6, "models.anna.crop_rects_path", "frame 3"),
        (6, "models.anna.crop_rects_path", "frame 4"),
        (9, "models.bob.model_path", "320"),
        (
            10,
            "models.bob.audio_encoder_path",
            "gone.onnx: No such file",
        ),
        (11, "models.bob.background_dir", "no backgrounds"),
        (12, "models.bob.crop_rects_path", "frame 4"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for ((line, key, message), (expected_line, expected_key, word)) in found.iter().zip(expected) {
        assert_eq!((*line, *key), (expected_line, expected_key), "{message}");
        assert!(message.contains(word), "{message}");
    }
    let human = studio.lipsync(&["validate-config", "--assets"]);
    assert_eq!(human.code, Some(1));
    assert!(
        human
            .text()
            .contains("config.yaml:10:25: models.bob.audio_encoder_path"),
        "{}",
        human.text()
    );
    let github = studio.lipsync(&["validate-config", "--assets", "--format", "github"]);
    let annotations = github
        .text()
        .lines()
        .filter(|line| line.starts_with("::error file=config.yaml,line="))
        .count();
    assert_eq!((github.code, annotations), (Some(1), expected.len()));
    studio
        .lipsync(&["validate-config", "--format", "xml"])
        .assert_failed(2, &["xml"]);
}

#[test]
fn pictures_that_are_turned_are_told_and_pictures_that_are_cut_are_refused() {
    let studio = Studio::new("");
    let picture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/exif/3.jpg");
    let picture = fs::read(picture).unwrap();
    let folder = studio.path("backgrounds");
    fs::remove_dir_all(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    for frame in 0..6 {
        fs::write(folder.join(format!("{frame}.jpg")), &picture).unwrap();
    }
    studio.write("rects.json", format!("{:?}", [[0, 0, 9, 9]; 6]).as_bytes());
    let run = studio.lipsync(&["validate-config", "--assets"]);
    run.assert_done();
    let told = "models.anna.background_dir: 6 of 6 pictures are turned by their EXIF data";
    assert!(run.text().contains(told), "{}", run.text());
    let json = studio.lipsync(&["validate-config", "--assets", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(report["notes"][0].as_str().unwrap().starts_with(told));

    fs::write(folder.join("2.jpg"), &picture[..picture.len() - 12]).unwrap();
    let run = studio.lipsync(&["validate-config", "--assets"]);
    assert_eq!(run.code, Some(1));
    for words in ["background 2", "2.jpg", "ends before the picture is whole"] {
        assert!(run.text().contains(words), "{}", run.text());
    }
}
