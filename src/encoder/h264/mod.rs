//! H.264 of avatars: what never changes is encoded once, and per frame only the mouth.
//!
//! A picture's slices are decoded independently of one another. Those around the hole, the rectangle of macroblocks
//! that holds the mouth in all pictures from one key picture to the next, are encoded once for all viewers. They are
//! predicted from nothing inside the hole and filtered at no edge of it, so whatever a viewer sees in the hole, the
//! rest of his picture is the same, bit for bit. Per frame and viewer only the hole's slices are encoded, and both are
//! sent one after another.
//!
//! How it is used:
//!
//! ```text
//! avatar.prepare_video_from(k)      each frame, cheap: a background thread prepares the group of frame k, then the rest
//! avatar.video()? -> Arc<Video>     once a viewer, on a blocking thread: the first of all chooses the quantiser
//! avatar.ready_video()              the same without ever waiting
//! Stream::new(video)                a viewer; encode(k, mouth, read) gives an AccessUnit: parts to be sent in order.
//!                                   Spliced from the first key of a prepared group on, and whole pictures before, for
//!                                   which `read` gives the background's pixels (Video::is_prepared tells which groups)
//! stream.want_key()                 the next frame becomes one that decoders can start at
//! avatar.prepare_video(group)       prepares now instead, or reads it from disk: for films, which need not hurry
//! ```
//!
//! [`Plan`] says which pictures are keys and where the holes are. [`Video`] is what all viewers of an avatar share,
//! [`Stream`] what one of them has. Pure computing: no threads, files or sockets.

mod base;
mod codec;
mod group;
mod plan;
mod stored;
mod stream;
#[cfg(test)]
mod tests;
mod video;

pub use plan::{Plan, Position};
pub use stored::{StoredError, stored_qp};
pub use stream::{AccessUnit, Mouth, Stream};
pub use video::{Video, choose_qp};

use crate::frame::Size;

/// How an avatar's video is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Frames a second, 1 to 60.
    pub fps: u32,
    /// About how many frames lie between two that decoders can start at.
    pub group_frames: u32,
    /// Slices a picture may have, at least 3. Some decoders take no more than 32.
    pub slices_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            fps: 25,
            group_frames: 50,
            slices_max: 31,
        }
    }
}

/// Why there is no video.
#[derive(Debug, thiserror::Error)]
pub enum H264Error {
    /// No level of H.264 allows it.
    #[error(
        "H.264 holds no pictures of {size} at {fps} frames a second: use 1 to 60 a second, and at most 139264 blocks of 16x16 pixels"
    )]
    Picture {
        /// The picture.
        size: Size,
        /// Frames a second.
        fps: u32,
    },
}
