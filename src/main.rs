//! The `lipsync` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    keep_silent();
    lipsync::cli::main()
}

/// Has ONNX Runtime tell its makers nothing. From 1.32 on its library for Linux looks up a host of theirs and keeps a
/// device's name and a queue under `~/.cache/Microsoft`, from the moment it is loaded; only the environment can tell it
/// not to, and a running program is not to change that.
#[expect(
    unsafe_code,
    clippy::disallowed_methods,
    reason = "the environment is changed before there is any other thread"
)]
fn keep_silent() {
    // SAFETY: this is the first statement of the program: no thread reads the environment meanwhile.
    unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
}
