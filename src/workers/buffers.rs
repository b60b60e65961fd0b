//! Output buffers that are used again, and the predictions that hold them.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::frame::network_io::PREDICTION_LEN;

/// A bounded store of output buffers. A buffer beyond its limit is freed instead of kept.
#[derive(Debug)]
pub(super) struct Buffers {
    free: Mutex<Vec<Vec<f32>>>,
    limit: usize,
}

impl Buffers {
    /// Keeps at most `limit` buffers.
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Mutex::new(Vec::with_capacity(limit)),
            limit,
        })
    }

    /// A buffer for `frames` frames, with whatever the last run left in it.
    pub(super) fn take(self: &Arc<Self>, frames: usize) -> Buffer {
        let mut floats = self
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
            .unwrap_or_default();
        floats.resize(frames * PREDICTION_LEN, 0.0);
        Buffer {
            floats,
            home: Arc::downgrade(self),
        }
    }
}

/// The output of one run; goes home when dropped.
pub(super) struct Buffer {
    pub(super) floats: Vec<f32>,
    home: Weak<Buffers>,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            let mut free = home.free.lock().unwrap_or_else(PoisonError::into_inner);
            if free.len() < home.limit {
                free.push(std::mem::take(&mut self.floats));
            }
        }
    }
}

/// A frame's prediction, `[3,320,320]` floats; the frames of one batch share its memory.
pub struct Prediction {
    run: Arc<Buffer>,
    start: usize,
    /// Time making and laying out this frame's visual tensor took; 0 if it was there.
    pub visual: Duration,
    /// Time the network took for this frame: its run's time divided by the run's frames.
    pub inference: Duration,
    /// Time the frame waited before its run.
    pub queued: Duration,
}

impl Prediction {
    /// Frame `index` of a run's output; the times are for the caller to fill in.
    pub(super) fn new(run: Arc<Buffer>, index: usize) -> Self {
        Self {
            run,
            start: index * PREDICTION_LEN,
            visual: Duration::ZERO,
            inference: Duration::ZERO,
            queued: Duration::ZERO,
        }
    }
}

impl Deref for Prediction {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.run.floats[self.start..self.start + PREDICTION_LEN]
    }
}

impl AsRef<[f32]> for Prediction {
    fn as_ref(&self) -> &[f32] {
        self
    }
}

impl fmt::Debug for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prediction")
            .field("inference", &self.inference)
            .field("queued", &self.queued)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_used_again_up_to_the_limit() {
        let buffers = Buffers::new(1);
        let (one, two) = (buffers.take(1), buffers.take(1));
        let address = one.floats.as_ptr();
        drop(one);
        drop(two);
        assert_eq!(buffers.free.lock().unwrap().len(), 1);
        assert_eq!(buffers.take(1).floats.as_ptr(), address);
    }

    #[test]
    fn predictions_of_a_run_are_its_parts() {
        let buffers = Buffers::new(1);
        let mut buffer = buffers.take(2);
        buffer.floats[..PREDICTION_LEN].fill(1.0);
        buffer.floats[PREDICTION_LEN..].fill(2.0);
        let run = Arc::new(buffer);
        for (index, value) in [1.0_f32, 2.0].into_iter().enumerate() {
            let frame = Prediction::new(Arc::clone(&run), index);
            assert_eq!(frame.len(), PREDICTION_LEN);
            assert!(frame.iter().all(|float| float.to_bits() == value.to_bits()));
        }
    }
}
