//! `stats --watch`: rates, restarts, and the ends that are no failures.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::common::PATIENCE;
use crate::common::avatars::{self, Folder};
use crate::common::process::Server;
use crate::{lipsync, run, url};

/// `stats --watch` in a process of its own; killed when dropped.
struct Watch {
    child: Child,
}

impl Watch {
    fn start(server: &str, arguments: &[&str]) -> Self {
        let child = lipsync(&["stats", "--watch", "0.2", "--server", server])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child }
    }

    /// Its lines. When dropped, the pipe is closed.
    fn lines(&mut self) -> impl Iterator<Item = String> + use<> {
        let stdout = self.child.stdout.take().unwrap();
        BufReader::new(stdout).lines().map(Result::unwrap)
    }

    fn interrupt(&self) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-INT", &pid]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end and gives the exit status.
    fn wait(&mut self) -> Option<i32> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "does not end");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first look for which `is_so` holds.
fn look(lines: &mut impl Iterator<Item = String>, is_so: impl Fn(&Value) -> bool) -> Value {
    let looks = lines.map(|line| serde_json::from_str(&line).unwrap());
    let end = Instant::now() + PATIENCE;
    looks
        .take_while(|_| Instant::now() < end)
        .find(is_so)
        .unwrap()
}

#[test]
fn looks_are_lines_of_json_with_rates() {
    let folder = avatars::plain(&["sanders"]);
    let server = Server::start(&folder);
    let url = url(&server);
    let mut watch = Watch::start(&url, &["--json"]);
    let mut lines = watch.lines();
    let first = look(&mut lines, |_| true);
    assert_eq!(first["reachable"], true);
    assert_eq!(first["rates"], Value::Null);
    let second = look(&mut lines, |_| true);
    assert_eq!(second["rates"]["frames_per_second"], 0.0);

    let model = ["--model", "sanders", "--batch", "1", "--repeat", "5"];
    run(lipsync(&["bench", "--server", &url]).args(model), 0);
    let made = look(&mut lines, |look| {
        look["rates"]["frames_per_second"].as_f64() > Some(0.0)
    });
    assert!(
        made["rates"]["models"]["sanders"].as_f64() > Some(0.0),
        "{made}"
    );

    watch.interrupt();
    assert_eq!(watch.wait(), Some(0));
}

#[test]
fn a_closed_pipe_ends_it_well() {
    let folder = avatars::plain(&["sanders"]);
    let server = Server::start(&folder);
    let mut watch = Watch::start(&url(&server), &[]);
    let mut lines = watch.lines();
    assert!(lines.next().unwrap().starts_with("lipsync "));
    drop(lines);
    assert_eq!(watch.wait(), Some(0));
}

#[test]
fn a_server_may_go_and_come_back() {
    let folder = avatars::plain(&["sanders"]);
    let server = Server::start(&folder);
    let url = url(&server);
    let mut watch = Watch::start(&url, &["--json"]);
    let mut lines = watch.lines();
    look(&mut lines, |look| look["reachable"] == true);

    listen_on(&folder, &server);
    server.stop();
    let away = look(&mut lines, |look| look["reachable"] == false);
    let error = away["error"].as_str().unwrap();
    assert!(error.contains(&url), "{error}");

    let _server = Server::start(&folder);
    look(&mut lines, |look| look["reachable"] == true);
    watch.interrupt();
    assert_eq!(watch.wait(), Some(0));
}

/// Has the next server of `folder` listen where this one does.
fn listen_on(folder: &Folder, server: &Server) {
    let text = std::fs::read_to_string(folder.config()).unwrap();
    let text = text.replacen("127.0.0.1:0", &server.grpc.to_string(), 1);
    std::fs::write(folder.config(), text).unwrap();
}

#[test]
fn a_period_that_is_none_is_wrong_usage() {
    for period in ["0", "bob", "-1", "99999"] {
        run(&mut lipsync(&["stats", "--watch", period]), 2);
    }
}
