//! The tensors that go into the networks and come out of them: their shapes, and how they are handed over.

use std::fmt::Debug;
use std::sync::Arc;

/// Side of the square region the generator sees and paints, in pixels.
pub const ROI_SIDE: usize = 320;
/// Floats of one frame's visual input, `[6,320,320]`.
pub const VISUAL_LEN: usize = 6 * ROI_SIDE * ROI_SIDE;
/// Floats of one frame's audio input, `[32,16,16]`.
pub const AUDIO_LEN: usize = 32 * 16 * 16;
/// Floats of one frame's prediction, `[3,320,320]`.
pub const PREDICTION_LEN: usize = 3 * ROI_SIDE * ROI_SIDE;
/// Floats of one mel window, `[80,16]`.
pub const MEL_WINDOW_LEN: usize = 80 * 16;
/// Floats of one audio feature.
pub const FEATURE_LEN: usize = 512;

/// Floats somebody else keeps alive: a tensor of the avatar's cache, or a slice of a request's message.
pub type SharedFloats = Arc<dyn AsRef<[f32]> + Send + Sync>;

/// Where a frame's visual tensor comes from.
#[derive(Clone)]
pub enum Visual {
    /// It is there already, `[6,320,320]`.
    Ready(SharedFloats),
    /// The session's own thread makes it just before the run, so that a frame that waits holds no tensor and the
    /// network reads it while it is still in the core's cache.
    Made(Arc<dyn VisualSource>),
}

impl Debug for Visual {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ready(_) => "Ready",
            Self::Made(_) => "Made",
        })
    }
}

/// Makes a visual tensor when a session is about to read it.
pub trait VisualSource: Send + Sync {
    /// Overwrites `out`, [`VISUAL_LEN`] floats.
    fn write(&self, out: &mut [f32]);
}
