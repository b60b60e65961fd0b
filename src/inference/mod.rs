//! Running the networks: one small [`Backend`] trait, two real engines, and the threads that own the sessions.
//!
//! Shapes (design: the SyncTalk_2D U-Net with the `ave` audio features):
//! `input` f32 `[N,6,320,320]` (BGR, then BGR masked, both /255) and `audio` f32 `[N,32,16,16]`
//! give `output` f32 `[N,3,320,320]` in `[0,1]`, channels BGR.
//! The audio encoder turns `mel` f32 `[N,1,80,16]` into `emb` f32 `[N,512]`.

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
