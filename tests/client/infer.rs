//! `infer --server` makes the frames that `infer` makes.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::avatars::{self, Folder};
use crate::common::process::Server;
use crate::{json, lipsync, pictures, run, url};

/// `infer` into a folder of pictures; gives the folder and the report.
fn infer(folder: &Folder, name: &str, arguments: &[&str]) -> (PathBuf, Value) {
    let out = folder.path().join(name);
    let report = json(
        lipsync(&["infer", "--model", "sanders"])
            .args(arguments)
            .arg("--out")
            .arg(&out)
            .env("LIPSYNC_CONFIG", folder.config()),
    );
    (out, report)
}

#[test]
fn a_batch_is_the_same_from_the_server() {
    let folder = avatars::plain(&["sanders"]);
    let server = Server::start(&folder);
    let url = url(&server);
    let batch = ["--batch", "4", "--start-frame", "2"];
    let remote = [&batch[..], &["--server", &url]].concat();

    let (here, offline) = infer(&folder, "here", &batch);
    let (there, report) = infer(&folder, "there", &remote);
    let expected = pictures(&here);
    assert_eq!(expected.len(), 4);
    assert!(pictures(&there) == expected, "the server's frames differ");
    for key in ["model", "width", "height", "fps", "start_frame", "frames"] {
        assert_eq!(report[key], offline[key], "{key}");
    }
    let stages = |report: &Value| {
        let stages = report["stages"].as_array().unwrap();
        stages
            .iter()
            .map(|stage| stage["name"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(stages(&report), stages(&offline));
    assert_eq!(report["server"]["latency"]["calls"], 1);

    let own_visuals = [&remote[..], &["--client-visuals"]].concat();
    let (there, _) = infer(&folder, "visuals", &own_visuals);
    assert!(
        pictures(&there) == expected,
        "the frames of our own visuals differ"
    );

    let many = [&remote[..], &["--repeat", "5", "--concurrency", "3"]].concat();
    let (there, report) = infer(&folder, "many", &many);
    assert!(pictures(&there) == expected, "the first of many differs");
    assert_eq!(report["frames"], 20);
    let latency = &report["server"]["latency"];
    assert_eq!(latency["calls"], 5);
    let figures =
        ["p50_ms", "p90_ms", "p99_ms", "max_ms"].map(|key| latency[key].as_f64().unwrap());
    assert!(figures[0] > 0.0 && figures.is_sorted(), "{latency}");
}

#[test]
fn what_the_server_does_not_know_leaves_nothing_behind() {
    let folder = avatars::plain(&["sanders", "bob"]);
    let server = Server::start(&avatars::plain(&["bob"]));
    let url = url(&server);
    let out = folder.path().join("out");
    let (_, stderr) = run(
        lipsync(&[
            "infer", "--model", "sanders", "--batch", "1", "--server", &url,
        ])
        .arg("--out")
        .arg(&out)
        .env("LIPSYNC_CONFIG", folder.config()),
        1,
    );
    assert!(stderr.contains("sanders"), "{stderr}");
    assert!(stderr.contains("hint: the models are: bob"), "{stderr}");
    assert!(!out.exists());
}

#[test]
fn options_of_a_server_need_one() {
    for option in [&["--client-visuals"][..], &["--repeat", "2"]] {
        let batch = ["infer", "--model", "sanders", "--batch", "1"];
        run(lipsync(&batch).args(option), 2);
    }
}

#[test]
fn speech_is_the_same_from_the_server() {
    let folder = avatars::plain(&["sanders"]);
    let server = Server::start(&folder);
    let url = url(&server);
    let sound = sound();
    let audio = ["--audio", &sound, "--start-frame", "5"];
    let (here, offline) = infer(&folder, "here", &audio);
    let (there, report) = infer(
        &folder,
        "there",
        &[&audio[..], &["--server", &url]].concat(),
    );
    let expected = pictures(&here);
    assert!(expected.len() > 5, "{}", expected.len());
    assert!(pictures(&there) == expected, "the server's frames differ");
    for key in ["model", "width", "height", "fps", "start_frame", "frames"] {
        assert_eq!(report[key], offline[key], "{key}");
    }
    assert!(
        report["server"]["first_frame_ms"].as_f64() > Some(0.0),
        "{report}"
    );
}

#[test]
fn speech_that_breaks_off_leaves_nothing_behind() {
    let folder = avatars::plain(&["sanders"]);
    let server = Server::start(&folder);
    let whole = std::fs::read(sound()).unwrap();
    let broken = folder.path().join("broken.flac");
    std::fs::write(&broken, &whole[..whole.len() / 2]).unwrap();
    let out = folder.path().join("out");
    let (_, stderr) = run(
        lipsync(&["infer", "--model", "sanders", "--server", &url(&server)])
            .arg("--audio")
            .arg(&broken)
            .arg("--out")
            .arg(&out),
        1,
    );
    assert!(stderr.contains("broken.flac"), "{stderr}");
    assert!(!out.exists());
}

/// A short sound of the golden ones, with a rate and channels of its own.
fn sound() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/audio/tone.flac");
    path.to_str().unwrap().to_owned()
}
