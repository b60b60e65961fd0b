//! The real server, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

#[path = "../common/mod.rs"]
mod common;

mod answers;
mod ends;
mod hostile;
mod interop;
mod limits;
mod memory;
mod reloads;
mod stress;
