//! ONNX files: read as names and edges over their own bytes, adapted, cut in parts, or written anew.
//!
//! [`model`] reads a file and writes it, or a part of it; [`adapt`] gives a foreign file the names and types that the
//! engines' code uses; [`rewrite`] gives the same network in operators that cost less; [`cut`] says which nodes depend on
//! what. [`proto`] is the part of onnx.proto that graphs of tensors use; [`build`] puts nodes together to a file of our
//! own. Nothing here knows an engine: a finished model is bytes, for a file or for a session.

pub(in crate::engine) mod adapt;
pub mod build;
pub(in crate::engine) mod cut;
pub(in crate::engine) mod model;
#[cfg(test)]
mod mutation_tests;
pub mod proto;
pub(in crate::engine) mod rewrite;

pub use build::{Attribute, GraphBuilder};

/// Why a file cannot be taken apart.
#[derive(Debug, thiserror::Error)]
pub(in crate::engine) enum GraphError {
    #[error("the file cannot be read as ONNX: {0}")]
    Malformed(#[from] prost::DecodeError),
    #[error("the weights of {tensor:?} are in another file, {location:?}, which {reason}")]
    ExternalData {
        tensor: String,
        location: String,
        reason: String,
    },
    #[error("it has sparse weights")]
    Sparse,
    #[error("the operator {operator} has a graph of its own")]
    ControlFlow { operator: String },
    #[error("the tensor {tensor:?} is used before it is made")]
    Unknown { tensor: String },
    #[error("no part of it depends on the background alone")]
    NothingToKeep,
}
