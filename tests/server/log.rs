//! The log: whole, of one form, and never silent about what is missing in it.

use crate::common::avatars;
use crate::common::eventually;
use crate::common::process::{Server, command};

#[tokio::test]
async fn a_json_log_is_json_from_its_first_line() {
    let folder = avatars::plain(&["red"]);
    let text = std::fs::read_to_string(folder.config()).unwrap();
    std::fs::write(folder.config(), text + "logging:\n  format: json\n").unwrap();
    // Without --json, as a service runs: its stdout has nothing to wait for.
    let log = folder.path().join("stderr.log");
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_lipsync"))
        .args(["serve", "--config"])
        .arg(folder.config())
        .env_remove("RUST_LOG")
        .stderr(std::fs::File::create(&log).unwrap())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let text = eventually("it is ready", async || {
        let text = std::fs::read_to_string(&log).unwrap();
        text.contains("\"ready\"").then_some(text)
    })
    .await;
    child.kill().unwrap();
    child.wait().unwrap();
    for line in text.lines() {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert!(line["message"].is_string(), "{line}");
    }
    let ready = text
        .lines()
        .find(|line| line.contains("\"ready\""))
        .unwrap();
    assert!(ready.contains("127.0.0.1:"), "{ready}");
}

#[tokio::test]
async fn a_rotated_log_file_is_opened_anew() {
    let folder = avatars::plain(&["red"]);
    let text = std::fs::read_to_string(folder.config()).unwrap();
    std::fs::write(folder.config(), text + "logging:\n  log_file: server.log\n").unwrap();
    let server = Server::start(&folder);
    let (path, rotated) = (
        folder.path().join("server.log"),
        folder.path().join("server.log.1"),
    );
    std::fs::rename(&path, &rotated).unwrap();
    server.signal("HUP");
    eventually("the new file has lines", async || {
        let text = std::fs::read_to_string(&path).ok()?;
        text.contains("configuration reloaded").then_some(())
    })
    .await;
    let old = std::fs::read_to_string(&rotated).unwrap();
    assert!(!old.contains("configuration reloaded"), "{old}");
    server.stop();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_told_where_it_can_be() {
    let folder = avatars::plain(&["red"]);
    let text = std::fs::read_to_string(folder.config()).unwrap();
    std::fs::write(folder.config(), text + "logging:\n  log_file: /dev/full\n").unwrap();
    let server = Server::start(&folder);
    server.signal("HUP");
    eventually("it is told", async || {
        server
            .log()
            .contains("the log file cannot be written")
            .then_some(())
    })
    .await;
    server.stop();
}

#[test]
fn an_address_that_cannot_be_had_is_hinted_at_by_its_cause() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (address, hint) in [
        (taken.as_str(), "another server"),
        ("192.0.2.1:50053", "no interface of this machine"),
    ] {
        let folder = avatars::with_server(&["red"], "");
        let text = std::fs::read_to_string(folder.config()).unwrap();
        let text = text.replacen("port: 127.0.0.1:0", &format!("port: '{address}'"), 1);
        std::fs::write(folder.config(), text).unwrap();
        let output = command(&folder).output().unwrap();
        assert!(!output.status.success());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(hint), "{text}");
    }
}
