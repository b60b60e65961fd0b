//! The `lipsync` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    lipsync::cli::main()
}
