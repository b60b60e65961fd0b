//! What `deploy/` promises, held against the programs it is written for and against the real server.
#![allow(
    clippy::unwrap_used,
    reason = "a test's helpers fail the test, and say what was skipped"
)]

#[path = "../common/mod.rs"]
mod common;

mod haproxy;
mod kubernetes;
mod prometheus;
mod systemd;

use std::path::PathBuf;
use std::process::{Command, Output};

/// A file of `deploy/`.
fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(name)
}

/// What a program says; `None`, said as a skip, where it is not installed.
fn run(program: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            common::skip::skipped(program, error);
            None
        }
    }
}

/// Expects it to have gone well.
fn well(output: &Output) {
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
