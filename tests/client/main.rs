//! The commands that ask a server: the real binary on both sides, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

#[path = "../common/mod.rs"]
mod common;

mod bench;
mod doctor;
mod help;
mod infer;
mod models;
mod unreachable;
mod watch;

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// `lipsync` with `arguments`, untouched by the environment of whoever runs the tests.
fn lipsync(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lipsync"));
    command
        .args(arguments)
        // A configuration that is not there: clients need none.
        .env("LIPSYNC_CONFIG", "no-such-config.yaml")
        .env_remove("LIPSYNC_SERVER")
        .env_remove("LIPSYNC_TOKEN")
        .env_remove("RUST_LOG")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    command
}

/// Runs `command` and expects exit status `code`; gives what it wrote to stdout and stderr.
fn run(command: &mut Command, code: i32) -> (String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let (stdout, stderr) = (text(stdout), text(stderr));
    assert_eq!(status.code(), Some(code), "{stdout}\n{stderr}");
    (stdout, stderr)
}

/// Runs `command`, expects success, and reads its JSON document.
fn json(command: &mut Command) -> serde_json::Value {
    let (stdout, _) = run(command.arg("--json"), 0);
    serde_json::from_str(&stdout).unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// The URL of a server.
fn url(server: &common::process::Server) -> String {
    format!("http://{}", server.grpc)
}

/// The pictures of a folder as pixels, by name.
fn pictures(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut pictures: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, image::open(&path).unwrap().into_rgb8().into_raw())
        })
        .collect();
    pictures.sort();
    pictures
}
