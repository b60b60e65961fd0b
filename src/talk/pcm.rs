//! Bytes as they arrive, cut anywhere, to samples.

/// How a sample is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SampleFormat {
    /// Signed 16-bit integers, little-endian.
    #[default]
    S16,
    /// 32-bit floats, little-endian, full scale ±1.
    F32,
}

impl SampleFormat {
    /// Bytes of one sample.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::S16 => 2,
            Self::F32 => 4,
        }
    }

    /// One sample of exactly [`SampleFormat::bytes`] bytes.
    fn sample(self, bytes: &[u8]) -> f32 {
        match (self, bytes) {
            (Self::S16, &[a, b]) => f32::from(i16::from_le_bytes([a, b])) / 32_768.0,
            (Self::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            _ => unreachable!("the caller cuts the bytes by the sample's size"),
        }
    }
}

/// Turns bytes into samples; a sample cut in two waits for its other half.
#[derive(Debug)]
pub(super) struct PcmDecoder {
    format: SampleFormat,
    /// The beginning of a sample.
    cut: Vec<u8>,
}

impl PcmDecoder {
    pub(super) fn new(format: SampleFormat) -> Self {
        Self {
            format,
            cut: Vec::with_capacity(4),
        }
    }

    /// Appends the samples that `bytes` completes.
    pub(super) fn push(&mut self, mut bytes: &[u8], samples: &mut Vec<f32>) {
        let size = self.format.bytes();
        if !self.cut.is_empty() {
            let part = (size - self.cut.len()).min(bytes.len());
            self.cut.extend_from_slice(&bytes[..part]);
            bytes = &bytes[part..];
            if self.cut.len() < size {
                return;
            }
            samples.push(self.format.sample(&self.cut));
            self.cut.clear();
        }
        let whole = bytes.chunks_exact(size);
        self.cut.extend_from_slice(whole.remainder());
        samples.extend(whole.map(|bytes| self.format.sample(bytes)));
    }

    /// Ends the utterance: how many bytes of an unfinished sample there were. Starts anew.
    pub(super) fn finish(&mut self) -> usize {
        let left = self.cut.len();
        self.cut.clear();
        left
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn samples_have_their_full_scale() {
        let mut samples = Vec::new();
        let mut decoder = PcmDecoder::new(SampleFormat::S16);
        decoder.push(&[0, 0x80, 0, 0, 0xff, 0x7f], &mut samples);
        assert_eq!(samples, [-1.0, 0.0, 32_767.0 / 32_768.0]);
        samples.clear();
        PcmDecoder::new(SampleFormat::F32).push(&0.25_f32.to_le_bytes(), &mut samples);
        assert_eq!(samples, [0.25]);
    }

    #[test]
    fn an_unfinished_sample_is_told_and_forgotten() {
        let (mut decoder, mut samples) = (PcmDecoder::new(SampleFormat::F32), Vec::new());
        decoder.push(&[1, 2, 3], &mut samples);
        assert_eq!(decoder.finish(), 3);
        decoder.push(&1.0_f32.to_le_bytes(), &mut samples);
        assert_eq!((samples, decoder.finish()), (vec![1.0], 0));
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            cuts in prop::collection::vec(1..7_usize, 1..20),
            float in any::<bool>(),
        ) {
            let format = if float { SampleFormat::F32 } else { SampleFormat::S16 };
            let (mut whole, mut cut) = (Vec::new(), Vec::new());
            let (mut once, mut pieces) = (PcmDecoder::new(format), PcmDecoder::new(format));
            once.push(&bytes, &mut whole);
            let (mut rest, mut cuts) = (&bytes[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                pieces.push(now, &mut cut);
                rest = later;
            }
            let bits = |samples: &[f32]| samples.iter().map(|s| s.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&whole), bits(&cut));
            prop_assert_eq!(once.finish(), bytes.len() % format.bytes());
            prop_assert_eq!(pieces.finish(), bytes.len() % format.bytes());
        }
    }
}
