//! ONNX Runtime tells its makers nothing: no file of its telemetry, no look-up, no connection.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::avatars::Folder;
use crate::common::eventually;
use crate::common::skip::skipped;

/// Everything below `folder`.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.display().to_string());
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

/// A process and those that it started, killed when dropped: a tracer leaves what it traces behind.
struct Family(Child);

impl Drop for Family {
    fn drop(&mut self) {
        let parent = self.0.id().to_string();
        let children = Command::new("pgrep").args(["-P", &parent]).output();
        let children = children.map_or_else(|_| Vec::new(), |output| output.stdout);
        for child in String::from_utf8_lossy(&children).split_whitespace() {
            let _ = Command::new("kill").args(["-KILL", child]).status();
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server with ONNX Runtime that has loaded a network, in a home of its own and watched by strace if that is there.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_engine_leaves_no_trace_at_home_and_calls_nobody() {
    let folder = Folder::new(&["red"]);
    folder.configure("", "", &[("red", "preload: true")], "");
    let text = std::fs::read_to_string(folder.config()).unwrap();
    let text = text.replace("backend: embedded", "backend: onnxruntime");
    std::fs::write(folder.config(), text).unwrap();
    let home = tempfile::tempdir().unwrap();
    let (log, calls) = (folder.path().join("log"), folder.path().join("calls"));
    let watched = Command::new("strace").arg("-V").output().is_ok();
    let mut command = if watched {
        let mut strace = Command::new("strace");
        strace
            .args([
                "-f",
                "-qq",
                "-e",
                "trace=connect,sendto,sendmsg,sendmmsg",
                "-o",
            ])
            .arg(&calls)
            .arg(env!("CARGO_BIN_EXE_lipsync"));
        strace
    } else {
        skipped("strace", "it cannot be run: only files are looked for");
        Command::new(env!("CARGO_BIN_EXE_lipsync"))
    };
    let child = command
        .args(["serve", "--config"])
        .arg(folder.config())
        .env("HOME", home.path())
        .env_remove("XDG_CACHE_HOME")
        .env_remove("ORT_DISABLE_TELEMETRY")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn();
    let mut child = Family(child.unwrap());
    let ended = eventually("it is ready, or says why not", async || {
        let text = std::fs::read_to_string(&log).unwrap();
        let ready = text.lines().any(|line| line == "ready");
        match child.0.try_wait().unwrap() {
            Some(_) => Some(Some(text)),
            None => ready.then_some(None),
        }
    })
    .await;
    if let Some(text) = ended {
        assert!(text.contains("ONNX Runtime"), "{text}");
        skipped("onnxruntime", text);
        return;
    }
    // What it has to say it says within a second or two of its start.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(files(home.path()), Vec::<String>::new());
    let calls = std::fs::read_to_string(&calls).unwrap_or_default();
    drop(child);
    for line in calls.lines() {
        // The system's own services by their sockets' names are nobody outside.
        assert!(!line.contains("AF_INET"), "{line}");
    }
}
