//! H.264 of avatars: what never changes is encoded once, and per frame only the mouth.
//!
//! A picture's slices are decoded independently of one another. Those around the hole, the rectangle of macroblocks
//! that holds the mouth in all pictures from one key picture to the next, are encoded once for all viewers. They are
//! predicted from nothing inside the hole and filtered at no edge of it, so whatever a viewer sees in the hole, the
//! rest of his picture is the same, bit for bit. Per frame and viewer only the hole's slices are encoded, and both are
//! sent one after another.
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
