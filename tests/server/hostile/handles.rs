//! File handles that run out: the server has as many as the system gives, and what lacks one is not called broken.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use lipsync::wire;
use tonic::Code;

use crate::common::avatars::{self, Folder};
use crate::common::eventually;
use crate::common::process::{Server, batch, command, strict};

/// The server under `ulimit`'s options.
fn limited(folder: &Folder, ulimit: &str) -> Server {
    let inner = command(folder);
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{ulimit} && exec \"$0\" \"$@\"")])
        .arg(inner.get_program())
        .args(inner.get_args())
        .env_remove("RUST_LOG");
    Server::start_as(folder, command)
}

fn open_files_of(server: &Server) -> u64 {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.id())).unwrap();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    line.unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

/// Idle connections, as many as the system's queue takes beyond those that are accepted.
fn crowd(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let limit = std::time::Duration::from_millis(200);
    (0..count)
        .map_while(|_| TcpStream::connect_timeout(&address, limit).ok())
        .collect()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_limit_of_handles_is_raised_at_start() {
    let folder = avatars::plain(&["red"]);
    let server = limited(&folder, "ulimit -Sn 300 && ulimit -Hn 2000");
    assert_eq!(open_files_of(&server), 2000);
    // 2 x 1024 connections do not fit: said, and fewer are taken.
    let log = server.stop();
    assert!(log.contains("server.max_connections"), "{log}");
    assert!(log.contains("connections=840"), "{log}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_crowd_of_idle_connections_leaves_handles_for_the_models() {
    let folder = avatars::plain(&["red"]);
    let server = limited(&folder, "ulimit -n 480");
    let mut client = server.client().await;
    let _idle = [crowd(server.grpc, 400), crowd(server.http, 400)];
    let request = wire::LoadModelRequest {
        model_id: "red".to_owned(),
        force_reload: false,
    };
    let answer = client.load_model(strict(request)).await.unwrap();
    assert!(answer.into_inner().success);
    let answer = client.infer_batch_composite(strict(batch("red", 3))).await;
    assert!(answer.unwrap().into_inner().success);
    assert_eq!(server.metric("lipsync_load_failures_total"), Some(0));
    // Those that found no place fill no log.
    let log = server.stop();
    assert!(log.lines().count() < 60, "{log}");
    assert!(!log.contains("broken"), "{log}");
}

/// Handles are taken from under the running server, so that its next file cannot be opened.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_model_that_lacks_handles_is_not_called_broken() {
    let folder = avatars::with_server(&["red"], "");
    let capacity = "load_retry_seconds: 0.1\n  load_retry_max_seconds: 0.1\n";
    let text = std::fs::read_to_string(folder.config()).unwrap();
    let text = text.replace("capacity:\n", &format!("capacity:\n  {capacity}"));
    std::fs::write(folder.config(), text).unwrap();
    let server = Server::start(&folder);
    let mut client = server.client().await;
    let limit = |handles: &str| {
        let pid = server.id().to_string();
        let set = Command::new("prlimit")
            .args(["--pid", &pid, &format!("--nofile={handles}:")])
            .status();
        assert!(set.unwrap().success());
    };
    let load = || {
        strict(wire::LoadModelRequest {
            model_id: "red".to_owned(),
            force_reload: false,
        })
    };
    let before = open_files_of(&server);
    limit("4");
    let status = client.load_model(load()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("file handles"), "{status}");
    assert!(!status.message().contains("broken"), "{status}");
    limit(&before.to_string());
    eventually("the model loads", async || {
        client.load_model(load()).await.ok()
    })
    .await;
    server.stop();
}
