//! Whether another form of a network gives what the network gives.

use crate::engine::{Batch, Cancel, Generator, InferenceError};
use crate::frame::network_io::{AUDIO_LEN, PREDICTION_LEN, VISUAL_LEN};

/// Most that any value of the output may move by a rewrite: a fortieth of a step of a pixel. The sums are the same, the
/// order of their terms is another.
pub(in crate::engine) const DEVIATION_MAX: f32 = 1e-4;

/// A frame of noise, to learn shapes from and to compare by.
pub(in crate::engine) struct Probe {
    visual: Vec<f32>,
    audio: Vec<f32>,
}

impl Probe {
    pub(in crate::engine) fn new() -> Self {
        // A congruential generator (Numerical Recipes): any noise will do, as long as it is always the same.
        let mut state = 1_u32;
        let mut noise = |len: usize| -> Vec<f32> {
            let next = |_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1_u32 << 24) as f32
            };
            (0..len).map(next).collect()
        };
        Self {
            visual: noise(VISUAL_LEN),
            audio: noise(AUDIO_LEN),
        }
    }

    pub(in crate::engine) fn batch(&self) -> Batch<'_> {
        Batch {
            frames: 1,
            visual: &self.visual,
            audio: &self.audio,
            backgrounds: &[],
        }
    }

    /// How far a session is from what another gave.
    pub(in crate::engine) fn deviation(
        &self,
        expected: &[f32],
        session: &mut dyn Generator,
    ) -> Result<f32, InferenceError> {
        let found = self.run(session)?;
        let pairs = expected.iter().zip(&found);
        // A value that is no number in both is equal too: the compositor refuses it later.
        Ok(pairs
            .filter(|(a, b)| a.to_bits() != b.to_bits())
            .map(|(a, b)| (a - b).abs())
            .fold(
                0.0,
                |worst, by| if by > worst || by.is_nan() { by } else { worst },
            ))
    }

    /// Runs the frame as one of a background that may be kept.
    pub(in crate::engine) fn run_background(
        &self,
        session: &mut dyn Generator,
    ) -> Result<(), InferenceError> {
        let batch = Batch {
            backgrounds: &[Some(0)],
            ..self.batch()
        };
        session.run(&batch, &mut vec![0.0; PREDICTION_LEN], &Cancel::new())
    }

    /// What a session makes of the frame.
    pub(in crate::engine) fn run(
        &self,
        session: &mut dyn Generator,
    ) -> Result<Vec<f32>, InferenceError> {
        let mut output = vec![0.0; PREDICTION_LEN];
        session.run(&self.batch(), &mut output, &Cancel::new())?;
        Ok(output)
    }
}
