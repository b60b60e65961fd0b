//! ONNX files as messages, for what writes a graph of its own.
//!
//! [`proto`] is the part of onnx.proto that graphs of tensors use; [`build`] puts nodes together. Nothing here knows an
//! engine: a finished model is bytes, for a file or for a session.

pub mod build;
pub mod proto;

pub use build::{Attribute, GraphBuilder};
