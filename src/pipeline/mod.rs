//! The only place where the stages meet: from a speech window and a frame index to an encoded frame.
//!
//! ```text
//! speech ──> SpeechWindows ──> window ─┐
//!                                      ├─> render_frame: visual -> network -> composite -> encode ──> RenderedFrame
//! LoadedModel ──> background, rect ────┘
//! ```
//!
//! `serve` and the offline commands share everything here. It takes plain values: nothing of the wire, of files
//! or of the terminal comes in. CPU work runs on blocking threads, at most as many as there are cores; the
//! network runs on the model's own session threads; the async threads only wait.

pub mod clip;
pub mod cpu;
pub mod inspect;
pub mod loader;
pub mod memory;
pub mod model;
pub mod model_facts;
pub mod render;
pub mod speech;
pub mod timings;
pub mod tuner;

pub use loader::{LoadOptions, Loader};
pub use model::{LoadedModel, OpenError};
pub use model_facts::ModelFacts;
pub use render::{FrameOrder, RenderError, RenderedFrame, render_batch, render_frame};
pub use speech::{SpeechError, SpeechWindows};
pub use timings::FrameTimings;
pub use tuner::Tuner;
