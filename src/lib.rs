//! lipsync makes any number of trained avatars talk.
//!
//! A frame walks one way:
//!
//! ```text
//! PCM ── audio ──> window ─┐
//!                          ├─> engine ──>    compositor ──> encoder ──> bytes ──> server, or a file
//! config ── avatar ─> rect, background, visual tensor ─┘
//!            └── registry: who is in memory, who may leave
//! ```
//!
//! [`pipeline`] is the only place where the stages meet; [`cli`] and [`server`] are its two callers.

pub mod defaults;

pub mod config;

pub mod frame;

pub mod audio;

pub mod avatar;

pub mod engine;

pub mod workers;

pub mod compositor;

pub mod encoder;

pub mod registry;

pub mod pipeline;

pub mod film;

pub mod talk;

pub mod tenants;

pub mod wire;

pub mod server;

pub mod client;

pub mod cli;

pub mod demo;

pub mod import;

mod files;
#[cfg(test)]
#[path = "../tests/common/mutations.rs"]
mod mutations;
mod panics;
mod shortage;

#[cfg(test)]
#[path = "../tests/common/skip.rs"]
mod skip;

pub mod telemetry;

pub mod service_manager;
pub mod shutdown;
