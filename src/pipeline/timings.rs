//! What each stage of a frame took.

use std::ops::AddAssign;
use std::time::Duration;

/// Time in each stage, for one frame or summed over many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameTimings {
    /// Fetching the background and making the visual tensor.
    pub visual: Duration,
    /// Waiting for a free session.
    pub queue: Duration,
    /// In the network.
    pub inference: Duration,
    /// From the prediction to the rect's pixels.
    pub composite: Duration,
    /// From pixels to the encoded frame.
    pub encode: Duration,
}

impl FrameTimings {
    /// The stages by name, in the order a frame passes them.
    #[must_use]
    pub fn stages(&self) -> [(&'static str, Duration); 5] {
        [
            ("visual", self.visual),
            ("queue", self.queue),
            ("inference", self.inference),
            ("composite", self.composite),
            ("encode", self.encode),
        ]
    }
}

impl AddAssign for FrameTimings {
    fn add_assign(&mut self, other: Self) {
        self.visual += other.visual;
        self.queue += other.queue;
        self.inference += other.inference;
        self.composite += other.composite;
        self.encode += other.encode;
    }
}

impl std::iter::Sum for FrameTimings {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::default(), |mut sum, one| {
            sum += one;
            sum
        })
    }
}
