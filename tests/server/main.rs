//! The real server, over real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's helpers fail the test, and say what was skipped"
)]

#[path = "../common/mod.rs"]
mod common;

mod answers;
mod attacks;
mod ends;
mod hostile;
mod interop;
mod limits;
mod log;
mod memory;
mod observed;
mod plans;
mod reloads;
mod stress;
mod tenants;
