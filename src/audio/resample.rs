//! Sample rate conversion: any rate to any rate, and anything to 16 kHz mono.
//!
//! The converter is a windowed sinc (`rubato`, Blackman-Harris squared, 256 taps at the lower of the two rates). Where
//! the reduced ratio is small, as it is for all usual rates, one filter phase is made for every output phase that
//! occurs, so nothing is interpolated; for odd rates (44 101 Hz) a cubic goes between 128 phases.
//! It is fed fixed blocks, so the result does not depend on how the input was cut.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Async, FixedAsync, Resampler as _, SincInterpolationParameters, SincInterpolationType,
    WindowFunction,
};

use super::{AudioError, PcmFormat, SPEECH_RATE_HZ, check_finite};

/// Filter length in samples of the lower rate: passes up to 0.95 of its Nyquist frequency.
const TAPS: usize = 256;
/// Up to this many phases each gets its own filter; 44.1 kHz needs 160, 11.025 kHz 640.
const PHASES_MAX: usize = 640;
/// Blocks a second: a block is the smallest piece the stream answers with, 5 ms.
const BLOCKS_PER_SECOND: u32 = 200;

/// A stream of interleaved PCM turned from one sample rate into another, channel count unchanged.
///
/// Output frame `n` stands for input time `n * from / to`: the filter's delay is taken out. `len` input frames give
/// `ceil(len * to / from)` output frames. Equal rates pass untouched. The result does not depend on the cuts.
#[derive(Debug)]
pub struct Resampler {
    from: PcmFormat,
    to_hz: u32,
    /// Samples (not frames) taken in so far.
    taken: u64,
    /// Frames given out so far.
    given: u64,
    engine: Option<Engine>,
}

/// The working parts, absent when the rates are equal.
#[derive(Debug)]
struct Engine {
    sinc: Async<f32>,
    /// Input not yet a full block, interleaved.
    block: Vec<f32>,
    block_len: usize,
    /// One block's output, interleaved.
    output: Vec<f32>,
    /// Output frames still to be dropped: the filter's delay.
    skip: usize,
    /// Silence before the first sample, which makes the delay a whole number of output frames.
    lead: usize,
    delay: usize,
}

impl Engine {
    fn new(from: PcmFormat, to_hz: u32) -> Result<Self, AudioError> {
        let failed = |reason: String| AudioError::Resample {
            from: from.rate_hz,
            to: to_hz,
            reason,
        };
        let divisor = gcd(from.rate_hz, to_hz);
        let (step, phases) = (
            (from.rate_hz / divisor) as usize,
            (to_hz / divisor) as usize,
        );
        let ratio = f64::from(to_hz) / f64::from(from.rate_hz);
        let taps = (TAPS as f64 / ratio.min(1.0)).ceil() as usize;
        let taps = taps.next_multiple_of(8);
        let parameters = SincInterpolationParameters::new(taps, WindowFunction::BlackmanHarris2);
        let parameters = if phases <= PHASES_MAX {
            parameters
                .oversampling_factor(phases)
                .interpolation(SincInterpolationType::Nearest)
        } else {
            parameters.interpolation(SincInterpolationType::Cubic)
        };
        let frames = (from.rate_hz / BLOCKS_PER_SECOND).max(32) as usize;
        let sinc = Async::new_sinc(
            ratio,
            1.0,
            &parameters,
            frames,
            from.channels,
            FixedAsync::Input,
        )
        .map_err(|error| failed(error.to_string()))?;
        // The filter is centred `taps / 2` input frames back. With `lead` frames of silence before the first sample
        // that is a multiple of `step` input frames, and so a whole number of output frames.
        let centre = taps / 2;
        let lead = centre.next_multiple_of(step) - centre;
        let delay = (centre + lead) / step * phases;
        let output = vec![0.0; sinc.output_frames_max() * from.channels];
        let mut engine = Self {
            sinc,
            block: Vec::with_capacity(frames * from.channels),
            block_len: frames * from.channels,
            output,
            skip: 0,
            lead: lead * from.channels,
            delay,
        };
        engine.prime();
        Ok(engine)
    }

    /// Back to the first sample: the lead goes in as silence, whole blocks of it at once.
    fn prime(&mut self) {
        self.sinc.reset();
        self.block.clear();
        self.skip = self.delay;
        let mut left = self.lead;
        while left > 0 {
            let part = left.min(self.block_len - self.block.len());
            self.block.resize(self.block.len() + part, 0.0);
            left -= part;
            if self.block.len() == self.block_len {
                self.run_block(&mut |_| ());
            }
        }
    }

    /// Takes `samples` in and hands every output piece to `emit`.
    fn take(&mut self, mut samples: &[f32], emit: &mut impl FnMut(&[f32])) {
        while !samples.is_empty() {
            let part = samples.len().min(self.block_len - self.block.len());
            self.block.extend_from_slice(&samples[..part]);
            samples = &samples[part..];
            if self.block.len() == self.block_len {
                self.run_block(emit);
            }
        }
    }

    fn run_block(&mut self, emit: &mut impl FnMut(&[f32])) {
        let channels = self.sinc.nbr_channels();
        let frames_out = self.output.len() / channels;
        let input = InterleavedSlice::new(&self.block, channels, self.block_len / channels);
        let output = InterleavedSlice::new_mut(&mut self.output, channels, frames_out);
        let (Ok(input), Ok(mut output)) = (input, output) else {
            unreachable!("both buffers were sized from the same channel count")
        };
        let Ok((_, frames)) = self.sinc.process_into_buffer(&input, &mut output, None) else {
            unreachable!("the block and the output have the sizes the resampler asked for")
        };
        self.block.clear();
        let skipped = self.skip.min(frames);
        self.skip -= skipped;
        emit(&self.output[skipped * channels..frames * channels]);
    }
}

impl Resampler {
    /// A converter of `from` to `to_hz`.
    ///
    /// # Errors
    /// A rate or channel count outside the limits.
    pub fn new(from: PcmFormat, to_hz: u32) -> Result<Self, AudioError> {
        let from = PcmFormat::new(from.rate_hz, from.channels)?;
        PcmFormat::new(to_hz, from.channels)?;
        let engine = if from.rate_hz == to_hz {
            None
        } else {
            Some(Engine::new(from, to_hz)?)
        };
        Ok(Self {
            from,
            to_hz,
            taken: 0,
            given: 0,
            engine,
        })
    }

    /// Rate and channels of the input.
    #[must_use]
    pub fn input_format(&self) -> PcmFormat {
        self.from
    }

    /// Takes interleaved samples, cut anywhere, and appends what is settled to `out`, interleaved.
    ///
    /// # Errors
    /// [`AudioError::NonFinite`], naming the sample; nothing of the chunk is taken then.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) -> Result<(), AudioError> {
        check_finite("audio stream", samples, self.taken)?;
        self.taken += samples.len() as u64;
        match &mut self.engine {
            None => out.extend_from_slice(samples),
            Some(engine) => {
                let before = out.len();
                engine.take(samples, &mut |piece| out.extend_from_slice(piece));
                self.given += ((out.len() - before) / self.from.channels) as u64;
            }
        }
        Ok(())
    }

    /// Ends the stream: appends the rest, `ceil(len * to / from)` frames in all, and starts anew.
    ///
    /// # Errors
    /// [`AudioError::PartialFrame`] if the samples were not a whole number of frames; the stream starts anew then too.
    pub fn finish(&mut self, out: &mut Vec<f32>) -> Result<(), AudioError> {
        let channels = self.from.channels;
        let left = (self.taken % channels as u64) as usize;
        let frames = self.taken / channels as u64;
        let (taken, given) = (self.taken, self.given);
        if let Some(engine) = &mut self.engine
            && left == 0
            && taken > 0
        {
            let total =
                (u128::from(frames) * u128::from(self.to_hz)).div_ceil(self.from.rate_hz.into());
            // Blocks of silence push the rest out of the filter; what they bring beyond `total` is cut.
            let mut missing = (total as usize - given as usize) * channels;
            while missing > 0 {
                engine.block.resize(engine.block_len, 0.0);
                engine.run_block(&mut |piece| {
                    let part = piece.len().min(missing);
                    out.extend_from_slice(&piece[..part]);
                    missing -= part;
                });
            }
        }
        self.reset();
        if left == 0 {
            Ok(())
        } else {
            Err(AudioError::PartialFrame { left, channels })
        }
    }

    /// Forgets everything and starts anew.
    pub fn reset(&mut self) {
        self.taken = 0;
        self.given = 0;
        if let Some(engine) = &mut self.engine {
            engine.prime();
        }
    }
}

/// A stream of interleaved PCM of any rate and channel count turned into 16 kHz mono: the mean of the channels, resampled.
///
/// 16 kHz mono passes untouched. Otherwise as [`Resampler`]: aligned, exact in length, independent of the cuts.
#[derive(Debug)]
pub struct SpeechResampler {
    channels: usize,
    /// Samples taken so far, over all channels.
    taken: u64,
    /// Sum of the frame that is not complete yet.
    sum: f32,
    mono: Vec<f32>,
    resampler: Resampler,
}

impl SpeechResampler {
    /// A converter of `from` to 16 kHz mono.
    ///
    /// # Errors
    /// A rate or channel count outside the limits.
    pub fn new(from: PcmFormat) -> Result<Self, AudioError> {
        let from = PcmFormat::new(from.rate_hz, from.channels)?;
        let mono = PcmFormat {
            channels: 1,
            ..from
        };
        Ok(Self {
            channels: from.channels,
            taken: 0,
            sum: 0.0,
            mono: Vec::new(),
            resampler: Resampler::new(mono, SPEECH_RATE_HZ)?,
        })
    }

    /// Takes interleaved samples, cut anywhere, and appends what is settled to `out`, 16 kHz mono.
    ///
    /// # Errors
    /// [`AudioError::NonFinite`], naming the sample; nothing of the chunk is taken then.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) -> Result<(), AudioError> {
        if self.channels == 1 {
            return self.resampler.push(samples, out);
        }
        check_finite("audio stream", samples, self.taken)?;
        self.mono.clear();
        for &sample in samples {
            self.sum += sample;
            self.taken += 1;
            if self.taken.is_multiple_of(self.channels as u64) {
                self.mono.push(self.sum / self.channels as f32);
                self.sum = 0.0;
            }
        }
        self.resampler.push(&self.mono, out)
    }

    /// Ends the stream: appends the rest, `ceil(frames * 16000 / rate)` samples in all, and starts anew.
    ///
    /// # Errors
    /// [`AudioError::PartialFrame`] if the samples were not a whole number of frames.
    pub fn finish(&mut self, out: &mut Vec<f32>) -> Result<(), AudioError> {
        let left = (self.taken % self.channels as u64) as usize;
        let ended = self.resampler.finish(out);
        self.reset();
        if left > 0 {
            return Err(AudioError::PartialFrame {
                left,
                channels: self.channels,
            });
        }
        ended
    }

    /// Forgets everything and starts anew.
    pub fn reset(&mut self) {
        self.taken = 0;
        self.sum = 0.0;
        self.resampler.reset();
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sine(hz: f64, rate_hz: u32, frames: usize) -> Vec<f32> {
        (0..frames)
            .map(|n| {
                (0.5 * (std::f64::consts::TAU * hz * n as f64 / f64::from(rate_hz)).sin()) as f32
            })
            .collect()
    }

    fn convert(from: PcmFormat, samples: &[f32]) -> Vec<f32> {
        let mut resampler = SpeechResampler::new(from).unwrap();
        let mut out = Vec::new();
        resampler.push(samples, &mut out).unwrap();
        resampler.finish(&mut out).unwrap();
        out
    }

    /// The converted sine is the sine sampled at 16 kHz: same level, same phase, from whatever rate.
    #[test]
    fn a_sine_keeps_level_and_place() {
        for rate_hz in [
            8_000, 11_025, 22_050, 24_000, 32_000, 44_100, 44_101, 48_000, 96_000, 192_000,
        ] {
            let input = sine(1_000.0, rate_hz, rate_hz as usize);
            let out = convert(PcmFormat::new(rate_hz, 1).unwrap(), &input);
            assert_eq!(out.len(), 16_000, "{rate_hz} Hz");
            let wanted = sine(1_000.0, 16_000, 16_000);
            let worst = (1_000..15_000)
                .map(|n| (out[n] - wanted[n]).abs())
                .fold(0.0, f32::max);
            assert!(worst < 2e-4, "{rate_hz} Hz: off by {worst}");
        }
    }

    #[test]
    fn what_16_khz_cannot_hold_is_gone() {
        for rate_hz in [44_100, 48_000, 96_000] {
            let input = sine(9_500.0, rate_hz, rate_hz as usize);
            let out = convert(PcmFormat::new(rate_hz, 1).unwrap(), &input);
            let worst = out[1_000..15_000]
                .iter()
                .fold(0.0f32, |m, s| m.max(s.abs()));
            assert!(worst < 1e-4, "{rate_hz} Hz: alias of {worst}");
        }
    }

    #[test]
    fn an_impulse_stays_where_it_is() {
        for rate_hz in [8_000u32, 22_050, 44_100, 44_101, 48_000, 192_000] {
            let mut input = vec![0.0; rate_hz as usize];
            let at = rate_hz as usize / 2;
            input[at] = 1.0;
            let out = convert(PcmFormat::new(rate_hz, 1).unwrap(), &input);
            let peak = (0..out.len())
                .max_by(|&a, &b| out[a].abs().total_cmp(&out[b].abs()))
                .unwrap();
            assert!(peak.abs_diff(8_000) <= 1, "{rate_hz} Hz: at {peak}");
        }
    }

    #[test]
    fn sixteen_khz_mono_is_untouched_and_stereo_is_the_mean() {
        let input = sine(300.0, 16_000, 1_234);
        assert_eq!(convert(PcmFormat::new(16_000, 1).unwrap(), &input), input);
        let stereo: Vec<f32> = input.iter().flat_map(|&s| [s, s * 0.5]).collect();
        let mean: Vec<f32> = input.iter().map(|&s| f32::midpoint(s, s * 0.5)).collect();
        assert_eq!(convert(PcmFormat::new(16_000, 2).unwrap(), &stereo), mean);
    }

    #[test]
    fn refuses_what_it_cannot_do() {
        assert!(matches!(
            Resampler::new(
                PcmFormat {
                    rate_hz: 0,
                    channels: 1
                },
                16_000
            ),
            Err(AudioError::Rate(0))
        ));
        assert!(matches!(
            SpeechResampler::new(PcmFormat {
                rate_hz: 16_000,
                channels: 0
            }),
            Err(AudioError::Channels(0))
        ));
        let mut stereo = SpeechResampler::new(PcmFormat::new(48_000, 2).unwrap()).unwrap();
        let mut out = Vec::new();
        stereo.push(&[0.0; 10], &mut out).unwrap();
        let error = stereo.push(&[0.0, f32::NAN], &mut out).unwrap_err();
        assert_eq!(
            error.to_string(),
            "audio stream: audio sample 11 is NaN, not a finite number"
        );
        stereo.push(&[0.0], &mut out).unwrap();
        assert!(matches!(
            stereo.finish(&mut out),
            Err(AudioError::PartialFrame {
                left: 1,
                channels: 2
            })
        ));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn cuts_do_not_matter(
            rate_hz in prop::sample::select(vec![8_000u32, 16_000, 22_050, 44_100, 44_101, 48_000, 192_000]),
            channels in 1usize..=3,
            frames in 0usize..6_000,
            cuts in prop::collection::vec(1usize..3_000, 1..12),
        ) {
            let samples: Vec<f32> = (0..frames * channels)
                .map(|n| ((n * 7919) % 2_003) as f32 / 1_001.5 - 1.0)
                .collect();
            let format = PcmFormat::new(rate_hz, channels).unwrap();
            let whole = convert(format, &samples);
            prop_assert_eq!(whole.len(), (frames * 16_000).div_ceil(rate_hz as usize));

            let mut resampler = SpeechResampler::new(format).unwrap();
            // Twice: the second utterance starts as clean as the first.
            for _ in 0..2 {
                let mut out = Vec::new();
                let mut rest = &samples[..];
                for cut in cuts.iter().cycle() {
                    if rest.is_empty() { break; }
                    let (now, later) = rest.split_at((*cut).min(rest.len()));
                    resampler.push(now, &mut out).unwrap();
                    rest = later;
                }
                resampler.finish(&mut out).unwrap();
                prop_assert_eq!(&out, &whole);
            }
        }
    }
}
