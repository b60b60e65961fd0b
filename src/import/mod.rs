//! Trained avatars as others leave them become avatars as this program serves them.
//!
//! ```text
//! N.pth, audio_visual_encoder.pth ──> checkpoint (a reader that runs nothing) ──> network (one definition) ──> ONNX
//! landmarks, pictures, films ───────> dataset ──> crop rects, backgrounds
//! ```

pub(crate) mod checkpoint;
pub(crate) mod network;
