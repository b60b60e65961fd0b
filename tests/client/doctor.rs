//! `doctor`: what runs here, and what does not, with the configuration that a server would take.

use serde_json::Value;

use super::common::avatars::{Folder, plain};
use super::common::process::Server;
use super::{lipsync, run, text};

/// What it says of `folder`, expecting exit status `code`.
fn doctor(folder: &Folder, more: &[&str], code: i32) -> Value {
    let mut command = lipsync(&["doctor", "--json"]);
    command.arg("--config").arg(folder.config()).args(more);
    serde_json::from_str(&run(&mut command, code).0).unwrap()
}

/// State and finding of a check.
#[track_caller]
fn check(report: &Value, name: &str) -> (String, String) {
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name);
    let check = check.unwrap_or_else(|| panic!("{name} is not in {report:#}"));
    let word = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
    (word("state"), word("found") + "\n" + &word("hint"))
}

#[test]
fn a_configuration_that_serves_is_found_well_and_a_frame_is_made() {
    let folder = plain(&["red", "green"]);
    let report = doctor(&folder, &[], 0);
    for name in [
        "program",
        "configuration",
        "engine",
        "models.red",
        "models.green",
        "frame",
    ] {
        let (state, found) = check(&report, name);
        assert_eq!(state, "ok", "{name}: {found}");
    }
    let (_, frame) = check(&report, "frame");
    assert!(frame.starts_with("red: loaded in "), "{frame}");
    assert!(check(&report, "engine").1.contains("rten"), "{report:#}");
    // At once: no file of an avatar is opened.
    let quick = doctor(&folder, &["--quick"], 0).to_string();
    assert!(
        !quick.contains("models.red") && !quick.contains("\"frame\""),
        "{quick}"
    );
    // People get the same as a table.
    let mut command = lipsync(&["doctor", "--quick", "--config"]);
    let (table, _) = run(command.arg(folder.config()), 0);
    assert!(
        table.contains("processors") && table.contains("┆ ok"),
        "{table}"
    );
}

#[test]
fn what_does_not_run_fails_by_name_and_the_rest_is_told_all_the_same() {
    let folder = plain(&["red", "green"]);
    std::fs::write(folder.path().join("red.json"), "[[1, 2, 3").unwrap();
    let report = doctor(&folder, &[], 1);
    assert_eq!(report["state"], "failed");
    let (state, found) = check(&report, "models.red");
    assert!(state == "failed" && found.contains("red.json"), "{found}");
    let (state, found) = check(&report, "frame");
    assert!(state == "ok" && found.starts_with("green: "), "{found}");
    std::fs::write(folder.config(), "modles: {}\n").unwrap();
    let report = doctor(&folder, &[], 1);
    let (state, found) = check(&report, "configuration");
    assert!(
        state == "failed" && found.contains("validate-config"),
        "{found}"
    );
    // The machine is looked at without one.
    assert_eq!(check(&report, "processors").0, "ok");
    check(&report, "engine");
}

#[cfg(target_os = "linux")]
#[test]
fn limits_that_do_not_fit_and_ports_in_use_are_warnings() {
    let folder = plain(&["red"]);
    let server = Server::start(&folder);
    let taken = format!("port: {}", server.grpc);
    let config = std::fs::read_to_string(folder.config()).unwrap();
    let config = config
        .replacen("port: 127.0.0.1:0", &taken, 1)
        .replace("capacity:\n", "capacity:\n  max_memory_gb: 65536\n")
        .replace("server:\n", "server:\n  max_connections: 65536\n");
    std::fs::write(folder.config(), config).unwrap();
    // A limit that the test knows, whatever the machine's.
    let command = format!(
        "ulimit -n 512; exec '{}' doctor --quick --json --config '{}'",
        env!("CARGO_BIN_EXE_lipsync"),
        folder.config().display()
    );
    let output = std::process::Command::new("sh")
        .args(["-c", &command])
        .output()
        .unwrap();
    let said = text(output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["state"], "warning");
    for (name, word) in [
        ("memory", "capacity.max_memory_gb"),
        ("files", "LimitNOFILE"),
        ("server.port", "is in use"),
    ] {
        let (state, found) = check(&report, name);
        assert!(
            state == "warning" && found.contains(word),
            "{name}: {found}"
        );
    }
    assert_eq!(check(&report, "server.http_port").0, "ok");
    server.stop();
}
