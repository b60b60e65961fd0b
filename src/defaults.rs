//! The values that hold where nothing else is said, and the bounds the contract sets, each in one place.

/// Frames a second that avatars are trained at.
pub const FPS: u32 = 25;

/// Frames in one `InferBatchComposite` call, at most: the wire's contract.
pub const BATCH_FRAMES_MAX: u8 = 25;

/// JPEG quality.
pub const JPEG_QUALITY: u8 = 90;

/// Frames that may wait for a session, per model.
pub const QUEUE_FRAMES: usize = 256;
