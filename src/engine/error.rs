//! What can go wrong between a network file and a prediction.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// An error of the inference engines or of the worker threads.
///
/// Messages name the network's file; a front end that must not show paths to its clients matches on the variant.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InferenceError {
    /// The network's file could not be read.
    #[error("cannot read the network {}", path.display())]
    Read {
        /// The network's file.
        path: PathBuf,
        /// Why.
        source: Arc<std::io::Error>,
    },
    /// The file is no ONNX network, is cut short, or has an operator the engine does not know.
    #[error("cannot load the network {} with {engine}: {reason}", path.display())]
    Load {
        /// The network's file.
        path: PathBuf,
        /// The engine that refused it.
        engine: &'static str,
        /// What the engine said.
        reason: String,
    },
    /// The file is something else, or parts of it are missing.
    #[error("the file {} cannot be used as a network: {found}", path.display())]
    NotANetwork {
        /// The network's file.
        path: PathBuf,
        /// What it is, and what to do.
        found: String,
    },
    /// The inputs or outputs are not those of the network's role.
    #[error("the network {} is not {role}: {reason}", path.display())]
    Interface {
        /// The network's file.
        path: PathBuf,
        /// What it should have been, with its article: "a lip-sync generator".
        role: &'static str,
        /// What was found and what was expected.
        reason: String,
    },
    /// The file is not the one that was opened: its sessions would mix two networks.
    #[error("the network {} changed on disk since it was loaded; reload the model", path.display())]
    Changed {
        /// The network's file.
        path: PathBuf,
    },
    /// A run failed inside the engine.
    #[error("the network {} failed: {reason}", path.display())]
    Run {
        /// The network's file.
        path: PathBuf,
        /// What the engine said.
        reason: String,
    },
    /// A tensor has the wrong number of floats.
    #[error("{tensor} has {found} floats, expected {expected}")]
    Length {
        /// Which tensor.
        tensor: &'static str,
        /// What was given.
        found: usize,
        /// What its shape needs.
        expected: usize,
    },
    /// ONNX Runtime's library could not be used.
    #[error("cannot use the ONNX Runtime library {}: {reason}", path.display())]
    Library {
        /// The library's file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// ONNX Runtime was asked for and no library was found.
    #[error(
        "no ONNX Runtime library found; install one (pip install onnxruntime) or name it in onnx.library_path{}",
        list(searched)
    )]
    LibraryNotFound {
        /// Libraries that were found but could not be used, each with the reason.
        searched: Vec<String>,
    },
    /// A provider that was asked for cannot run here.
    #[error(
        "the execution provider {provider} cannot be used: {reason}; take it out of onnx.execution_providers or set onnx.fallback: cpu"
    )]
    Provider {
        /// The provider.
        provider: crate::engine::ExecutionProvider,
        /// Why.
        reason: String,
    },
    /// The engine itself failed, outside any network.
    #[error("{engine} failed: {reason}")]
    Engine {
        /// The engine.
        engine: &'static str,
        /// What it said.
        reason: String,
    },
    /// The caller went away, or the model is being unloaded.
    #[error("the frame was cancelled")]
    Cancelled,
    /// The frame's deadline passed before it was done.
    #[error("the frame's deadline passed")]
    DeadlineExceeded,
    /// The queue holds as many frames as it may.
    #[error("the inference queue is full ({limit} frames waiting)")]
    QueueFull {
        /// The queue's limit.
        limit: usize,
    },
    /// The session's thread panicked; it was replaced.
    #[error("the inference worker of {} panicked: {reason}", path.display())]
    WorkerPanicked {
        /// The network's file.
        path: PathBuf,
        /// The panic's message.
        reason: String,
    },
    /// The session did not answer in time; it was replaced.
    #[error("the inference worker of {} did not answer within {} s", path.display(), timeout.as_secs_f64())]
    WorkerHung {
        /// The network's file.
        path: PathBuf,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// No session is left and none could be opened again.
    #[error("no inference worker of {} is left: {reason}", path.display())]
    NoWorker {
        /// The network's file.
        path: PathBuf,
        /// Why the last attempt to open a session failed.
        reason: String,
    },
    /// The operating system refused a thread.
    #[error("cannot start an inference thread")]
    Thread {
        /// Why.
        source: Arc<std::io::Error>,
    },
}

/// `; found but unusable: a; b`, or nothing.
fn list(searched: &[String]) -> String {
    if searched.is_empty() {
        String::new()
    } else {
        format!("; found but unusable: {}", searched.join("; "))
    }
}
