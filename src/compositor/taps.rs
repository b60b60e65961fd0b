//! Where each output sample of a separable resize reads, and with which weights.

/// Taps of one axis: output `i` is the weighted sum of the four source samples from `starts[i]` on.
#[derive(Debug, PartialEq)]
pub(crate) struct Taps {
    starts: Vec<u32>,
    weights: Vec<[f32; 4]>,
    source: usize,
}

impl Taps {
    /// Bicubic with a = -0.75, half-pixel centres and clamped edges, without antialiasing: `cv2.INTER_CUBIC`.
    pub(crate) fn cubic(source: usize, target: usize) -> Self {
        Self::new(source, target, |t| {
            const A: f64 = -0.75;
            let outer = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
            let inner = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
            [outer(t + 1.0), inner(t), inner(1.0 - t), outer(2.0 - t)]
        })
    }

    /// Bilinear with half-pixel centres and clamped edges: `cv2.INTER_LINEAR`.
    pub(crate) fn linear(source: usize, target: usize) -> Self {
        Self::new(source, target, |t| [0.0, 1.0 - t, t, 0.0])
    }

    /// `kernel(t)` weighs the samples at -1, 0, 1 and 2 around a position `t` in [0, 1) past sample 0.
    fn new(source: usize, target: usize, kernel: impl Fn(f64) -> [f64; 4]) -> Self {
        assert!(
            source > 0 && target > 0,
            "a resize needs at least one sample"
        );
        let scale = source as f64 / target as f64;
        let last = source as i64 - 1;
        let (starts, weights) = (0..target)
            .map(|i| {
                let position = (i as f64 + 0.5) * scale - 0.5;
                let floor = position.floor();
                let first = floor as i64 - 1;
                let start = first.clamp(0, (last - 3).max(0));
                // Taps past an edge read the edge sample: their weights are added to its slot.
                let mut folded = [0.0; 4];
                for (tap, weight) in (first..).zip(kernel(position - floor)) {
                    folded[(tap.clamp(0, last) - start) as usize] += weight;
                }
                (start as u32, folded.map(|w| w as f32))
            })
            .unzip();
        Self {
            starts,
            weights,
            source,
        }
    }

    /// First source sample of each output sample; never decreases. `starts[i] + 4` exceeds the source only if
    /// that has fewer than four samples, and then the weights there are 0.
    pub(crate) fn starts(&self) -> &[u32] {
        &self.starts
    }

    /// Weights of each output sample's four source samples.
    pub(crate) fn weights(&self) -> &[[f32; 4]] {
        &self.weights
    }

    /// Source samples.
    pub(crate) fn source(&self) -> usize {
        self.source
    }

    /// Output samples.
    pub(crate) fn target(&self) -> usize {
        self.starts.len()
    }

    /// Heap bytes held.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.starts.capacity() * size_of::<u32>() + self.weights.capacity() * size_of::<[f32; 4]>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_and_stay_inside() {
        for (source, target) in [
            (1, 328),
            (2, 7),
            (3, 1),
            (4, 4),
            (328, 182),
            (328, 700),
            (320, 1),
        ] {
            for taps in [Taps::cubic(source, target), Taps::linear(source, target)] {
                assert_eq!((taps.source(), taps.target()), (source, target));
                assert!(taps.starts().is_sorted());
                for (&start, weights) in taps.starts().iter().zip(taps.weights()) {
                    assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-6);
                    for (slot, &weight) in weights.iter().enumerate() {
                        assert!(weight == 0.0 || (start as usize) + slot < source);
                    }
                }
            }
        }
    }

    #[test]
    fn equal_sizes_copy() {
        let taps = Taps::cubic(9, 9);
        for (i, (&start, weights)) in taps.starts().iter().zip(taps.weights()).enumerate() {
            for (slot, &weight) in weights.iter().enumerate() {
                let expected = if start as usize + slot == i { 1.0 } else { 0.0 };
                assert!((weight - expected).abs() < 1e-9);
            }
        }
    }
}
