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
/// Phases of the filter between which the odd rates interpolate.
const PHASES_INTERPOLATED: usize = 128;
/// Silence tried before the first sample to make the delay whole, in frames; all usual rates need at most 441.
const LEAD_MAX: usize = 1_024;
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
        let (made, kind) = if phases <= PHASES_MAX {
            (phases, SincInterpolationType::Nearest)
        } else {
            (PHASES_INTERPOLATED, SincInterpolationType::Cubic)
        };
        let parameters = parameters.oversampling_factor(made).interpolation(kind);
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
        let (lead, delay) = lead_and_delay(taps, 1.0 / ratio, made, step);
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

/// Frames of silence to feed first, and output frames then to drop, so that output frame 0 falls on input frame 0.
///
/// `rubato`'s first output is centred `taps/2 - stride - 1/phases` input frames before the first input, where `stride`
/// is the input frames per output frame: it steps before it reads, and its last phase is the one centred on a sample.
/// `lead` makes that a whole number of strides, or as near one as can be.
fn lead_and_delay(taps: usize, stride: f64, phases: usize, step: usize) -> (usize, usize) {
    let centre = (taps / 2) as f64 - stride - 1.0 / phases as f64;
    let delay = |lead: usize| (centre + lead as f64) / stride;
    let off = |lead: usize| (delay(lead) - delay(lead).round()).abs();
    let lead = (0..step.min(LEAD_MAX))
        .min_by(|&a, &b| off(a).total_cmp(&off(b)))
        .unwrap_or(0);
    (lead, delay(lead).round() as usize)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
#[path = "resample_tests.rs"]
mod tests;
