//! A client that is not ours: Python's grpcio, with stubs it generates itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::avatars::{self, SIZE};
use crate::common::process::Server;

/// What the script exits with where a package is missing.
const SKIPPED: i32 = 77;

/// The Python of the active environment, else the system's.
fn python() -> PathBuf {
    match std::env::var_os("VIRTUAL_ENV") {
        Some(folder) => Path::new(&folder).join("bin/python"),
        None => "python3".into(),
    }
}

fn run(proto: &str) {
    let folder = avatars::plain(&["red", "green"]);
    let server = Server::start(&folder);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(python())
        .arg(root.join("tests/interop/client.py"))
        .arg(root.join(proto))
        .args([server.grpc.to_string(), "green".to_owned()])
        .args([SIZE.0.to_string(), SIZE.1.to_string()])
        .output();
    let output = match output {
        Ok(output) if output.status.code() == Some(SKIPPED) => {
            let why = String::from_utf8_lossy(&output.stdout).into_owned();
            crate::common::skip::skipped("python", why);
            return;
        }
        Ok(output) => output,
        Err(error) => {
            crate::common::skip::skipped("python", error);
            return;
        }
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    print!("{}", text(&output.stdout));
    server.stop();
}

#[test]
fn a_client_built_from_the_published_proto_works() {
    run("proto/lipsync.proto");
}

#[test]
fn an_unmodified_client_built_from_the_original_messages_works() {
    run("tests/interop/original.proto");
}
