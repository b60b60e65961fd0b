//! lipsync makes any number of trained avatars talk.
//!
//! A frame walks one way:
//!
//! ```text
//! PCM ── audio ──> window ─┐
//!                          ├─> inference ──> compositor ──> encoder ──> bytes ──> transport, or a file
//! config ── avatar ─> rect, background, visual tensor ─┘
//!            └── registry: who is in memory, who may leave
//! ```
//!
//! [`pipeline`] is the only place where the stages meet; [`cli`] and [`transport`] are its two callers.

pub mod config;

pub mod frame;

pub mod audio;

pub mod avatar;

pub mod inference;

pub mod compositor;

pub mod encoder;

pub mod registry;

pub mod pipeline;

pub mod film;

pub mod talk;

pub mod wire;

pub mod transport;

pub mod client;

pub mod cli;

pub mod demo;

pub mod telemetry;

pub mod shutdown;
