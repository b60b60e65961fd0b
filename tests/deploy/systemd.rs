//! The unit, by systemd's own checks, and what the server tells systemd.

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};

use crate::common::PATIENCE;
use crate::common::avatars;
use crate::common::process::command;
use crate::{file, run, well};

/// The unit with programs that are there.
fn unit() -> (tempfile::TempDir, std::path::PathBuf) {
    let text = std::fs::read_to_string(file("systemd/lipsync.service")).unwrap();
    let binary = env!("CARGO_BIN_EXE_lipsync");
    assert!(text.contains("/usr/local/bin/lipsync"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lipsync.service");
    std::fs::write(&path, text.replace("/usr/local/bin/lipsync", binary)).unwrap();
    (dir, path)
}

#[test]
fn systemd_finds_no_fault_with_the_unit() {
    let (_dir, path) = unit();
    let path = path.to_str().unwrap();
    let Some(output) = run("systemd-analyze", &["verify", "--man=no", path]) else {
        return;
    };
    well(&output);
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("lipsync.service"))
        .collect();
    assert!(ours.is_empty(), "{ours:?}");
}

#[test]
fn the_service_is_exposed_to_little() {
    let (_dir, path) = unit();
    let path = path.to_str().unwrap();
    // 0 is nothing, 100 everything; a service without any protection has 96.
    let arguments = ["security", "--offline=true", "--threshold=20", path];
    if let Some(output) = run("systemd-analyze", &arguments) {
        well(&output);
    }
}

#[test]
fn the_unit_waits_longer_than_the_server_drains() {
    let text = std::fs::read_to_string(file("systemd/lipsync.service")).unwrap();
    let stop: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("TimeoutStopSec="))
        .unwrap()
        .parse()
        .unwrap();
    let folder = avatars::plain(&["red"]);
    let config = lipsync::config::Config::load(&folder.config()).unwrap();
    let drain = config.server.drain_notice + config.server.drain;
    assert!(stop > drain.as_secs(), "{stop} s for {drain:?}");
}

/// A server that has somebody to tell.
struct Told {
    child: Child,
    socket: UnixDatagram,
    _dir: tempfile::TempDir,
}

impl Told {
    fn start(folder: &avatars::Folder, watchdog_us: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let child = command(folder)
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", watchdog_us)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            socket,
            _dir: dir,
        }
    }

    /// The next message that holds `line`, and the messages before it.
    fn until(&self, line: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let mut bytes = [0; 256];
            let length = self
                .socket
                .recv(&mut bytes)
                .unwrap_or_else(|error| panic!("no {line} after {before:?}: {error}"));
            let message = String::from_utf8_lossy(&bytes[..length]).into_owned();
            let found = message.lines().any(|one| one == line);
            before.push(message);
            if found {
                return before;
            }
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn systemd_is_told_when_it_is_ready_reloads_and_stops() {
    let folder = avatars::plain(&["red"]);
    let mut server = Told::start(&folder, "200000");
    server.until("READY=1");
    // Ready means that it serves: its addresses are out by then.
    let mut announced = String::new();
    let out = server.child.stdout.take().unwrap();
    BufReader::new(out).read_line(&mut announced).unwrap();
    assert_eq!(announced.trim(), "{");

    server.until("WATCHDOG=1");
    server.signal("-HUP");
    let reloading = server.until("RELOADING=1");
    let last = reloading.last().unwrap();
    assert!(last.contains("MONOTONIC_USEC="), "{last}");
    server.until("READY=1");
    server.until("WATCHDOG=1");
    server.signal("-TERM");
    server.until("STOPPING=1");
    assert!(server.child.wait().unwrap().success());
}

#[test]
fn a_process_that_does_nothing_tells_nothing() {
    let folder = avatars::plain(&["red"]);
    let server = Told::start(&folder, "200000");
    server.until("WATCHDOG=1");
    server.signal("-STOP");
    let pause = std::time::Duration::from_millis(50);
    server.socket.set_nonblocking(true).unwrap();
    std::thread::sleep(pause);
    while server.socket.recv(&mut [0; 256]).is_ok() {}
    server.socket.set_nonblocking(false).unwrap();
    let silence = std::time::Duration::from_millis(600);
    server.socket.set_read_timeout(Some(silence)).unwrap();
    let heard = server.socket.recv(&mut [0; 256]);
    server.signal("-CONT");
    assert!(heard.is_err(), "three times the limit has passed");
    server.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    server.until("WATCHDOG=1");
}
