//! The mel spectrogram the audio encoders were trained on, as a stream and for whole clips.
//!
//! 16 kHz mono; pre-emphasis `y[n] = x[n] - 0.97 x[n-1]`; STFT of 800 samples every 200, periodic Hann, centred and
//! zero-padded; magnitude; 80 bands of 55-7600 Hz, Slaney scale and norm; `20 log10(max(1e-5, m)) - 20`;
//! `clip(8 (S + 100) / 100 - 4, -4, 4)`. This is `SyncTalk_2D`'s `melspectrogram`, itself `Wav2Lip`'s, and agrees with
//! librosa to 1e-3. Sums are f64: beside a loud band an f32 FFT leaves noise far above the floor of 1e-5.

use std::f64::consts::TAU;
use std::sync::{Arc, LazyLock};

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

use super::{AudioError, SPEECH_RATE_HZ, check_finite};

/// Samples from one mel frame to the next: 80 frames a second.
pub const HOP: usize = 200;
/// Samples under one mel frame's window; the frame is centred on it.
pub const WINDOW: usize = 800;
/// Bands of a mel frame, low to high.
pub const BANDS: usize = 80;

const PRE_EMPHASIS: f64 = 0.97;
const LOWEST_HZ: f64 = 55.0;
const HIGHEST_HZ: f64 = 7_600.0;
const BINS: usize = WINDOW / 2 + 1;

/// One mel frame: 80 bands, each in -4..=4.
pub type MelFrame = [f32; BANDS];

/// Mel frames of a clip of `samples` samples: one at every 200th sample, both ends included; none of nothing.
#[must_use]
pub fn frame_count(samples: u64) -> u64 {
    if samples == 0 {
        0
    } else {
        1 + samples / HOP as u64
    }
}

/// The mel frames of a whole clip of 16 kHz mono.
///
/// # Errors
/// [`AudioError::NonFinite`], naming the sample.
pub fn mel_spectrogram(speech: &[f32]) -> Result<Vec<MelFrame>, AudioError> {
    let mut frames = Vec::with_capacity(frame_count(speech.len() as u64) as usize);
    let mut stream = MelStream::new();
    stream.push(speech, |frame| frames.push(*frame))?;
    stream.finish(|frame| frames.push(*frame));
    Ok(frames)
}

/// 16 kHz mono in, mel frames out, each as soon as the last sample under its window is there (25 ms past its centre).
pub struct MelStream {
    tables: &'static Tables,
    /// Pre-emphasised samples under the next window; the first `filled` are there.
    window: Box<[f64; WINDOW]>,
    filled: usize,
    previous: f64,
    taken: u64,
    given: u64,
    scratch: Scratch,
}

/// Buffers of one transform, made once.
struct Scratch {
    time: Vec<f64>,
    spectrum: Vec<Complex<f64>>,
    fft: Vec<Complex<f64>>,
    magnitude: Box<[f64; BINS]>,
    frame: MelFrame,
}

impl std::fmt::Debug for MelStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MelStream")
            .field("taken", &self.taken)
            .field("given", &self.given)
            .finish_non_exhaustive()
    }
}

impl Default for MelStream {
    fn default() -> Self {
        Self::new()
    }
}

impl MelStream {
    /// A stream at its first sample.
    #[must_use]
    pub fn new() -> Self {
        let tables = &*TABLES;
        Self {
            tables,
            window: Box::new([0.0; WINDOW]),
            // Frame 0 is centred on sample 0: half a window of padding comes first.
            filled: WINDOW / 2,
            previous: 0.0,
            taken: 0,
            given: 0,
            scratch: Scratch {
                time: vec![0.0; WINDOW],
                spectrum: vec![Complex::default(); BINS],
                fft: tables.fft.make_scratch_vec(),
                magnitude: Box::new([0.0; BINS]),
                frame: [0.0; BANDS],
            },
        }
    }

    /// Samples taken since the start.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.taken
    }

    /// Takes samples, cut anywhere, and hands every frame that is settled to `emit`, in order.
    ///
    /// # Errors
    /// [`AudioError::NonFinite`], naming the sample; nothing of the chunk is taken then.
    pub fn push(
        &mut self,
        speech: &[f32],
        mut emit: impl FnMut(&MelFrame),
    ) -> Result<(), AudioError> {
        check_finite("speech", speech, self.taken)?;
        self.taken += speech.len() as u64;
        let mut rest = speech;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(WINDOW - self.filled));
            for (slot, &sample) in self.window[self.filled..].iter_mut().zip(now) {
                let sample = f64::from(sample);
                *slot = sample - PRE_EMPHASIS * self.previous;
                self.previous = sample;
            }
            self.filled += now.len();
            rest = later;
            if self.filled == WINDOW {
                self.step(&mut emit);
            }
        }
        Ok(())
    }

    /// Ends the clip: the last frames, whose windows reach past the end into zeros, and starts anew.
    pub fn finish(&mut self, mut emit: impl FnMut(&MelFrame)) {
        while self.given < frame_count(self.taken) {
            self.window[self.filled..].fill(0.0);
            self.step(&mut emit);
        }
        self.reset();
    }

    /// Forgets everything and starts anew.
    pub fn reset(&mut self) {
        self.window.fill(0.0);
        self.filled = WINDOW / 2;
        self.previous = 0.0;
        self.taken = 0;
        self.given = 0;
    }

    /// The frame of the full window; then the window moves on by one hop.
    fn step(&mut self, emit: &mut impl FnMut(&MelFrame)) {
        transform(self.tables, &self.window, &mut self.scratch);
        emit(&self.scratch.frame);
        self.given += 1;
        self.window.copy_within(HOP.., 0);
        self.filled = WINDOW - HOP;
    }
}

/// One window of pre-emphasised samples to one mel frame, left in `scratch.frame`.
fn transform(tables: &Tables, window: &[f64; WINDOW], scratch: &mut Scratch) {
    for ((slot, sample), weight) in scratch.time.iter_mut().zip(window).zip(&tables.hann) {
        *slot = sample * weight;
    }
    let done =
        tables
            .fft
            .process_with_scratch(&mut scratch.time, &mut scratch.spectrum, &mut scratch.fft);
    debug_assert!(
        done.is_ok(),
        "the buffers have the lengths the transform was planned for"
    );
    for (magnitude, bin) in scratch.magnitude.iter_mut().zip(&scratch.spectrum) {
        *magnitude = bin.norm();
    }
    for (value, band) in scratch.frame.iter_mut().zip(&tables.bands) {
        let bins = &scratch.magnitude[band.first..][..band.weights.len()];
        let sum: f64 = bins.iter().zip(&band.weights).map(|(m, w)| m * w).sum();
        let decibels = 20.0 * sum.max(1e-5).log10() - 20.0;
        *value = (8.0 * ((decibels + 100.0) / 100.0) - 4.0).clamp(-4.0, 4.0) as f32;
    }
}

/// What never changes: window, transform, filter bank.
struct Tables {
    hann: Vec<f64>,
    fft: Arc<dyn RealToComplex<f64>>,
    bands: Vec<Band>,
}

/// One triangle of the filter bank: its weights from bin `first` on.
struct Band {
    first: usize,
    weights: Vec<f64>,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| Tables {
    hann: (0..WINDOW)
        .map(|n| 0.5 - 0.5 * (TAU * n as f64 / WINDOW as f64).cos())
        .collect(),
    fft: RealFftPlanner::new().plan_fft_forward(WINDOW),
    bands: filter_bank(),
});

/// Triangles between neighbouring mel points, each scaled to unit area over Hz (librosa's `norm="slaney"`).
fn filter_bank() -> Vec<Band> {
    let (low, high) = (mel_of_hz(LOWEST_HZ), mel_of_hz(HIGHEST_HZ));
    let edge = |i: usize| hz_of_mel(low + (high - low) * i as f64 / (BANDS + 1) as f64);
    let hz_per_bin = f64::from(SPEECH_RATE_HZ) / WINDOW as f64;
    (0..BANDS)
        .map(|band| {
            let (left, centre, right) = (edge(band), edge(band + 1), edge(band + 2));
            let weight = |bin: usize| {
                let hz = bin as f64 * hz_per_bin;
                let rise = (hz - left) / (centre - left);
                let fall = (right - hz) / (right - centre);
                rise.min(fall).max(0.0) * 2.0 / (right - left)
            };
            let first = (0..BINS).find(|&bin| weight(bin) > 0.0).unwrap_or(0);
            let weights = (first..BINS).map(weight).take_while(|&w| w > 0.0).collect();
            Band { first, weights }
        })
        .collect()
}

/// Slaney's scale: linear up to 1 kHz (15 mel), logarithmic above (27 steps for a factor of 6.4).
fn mel_of_hz(hz: f64) -> f64 {
    if hz < 1_000.0 {
        hz * 3.0 / 200.0
    } else {
        15.0 + (hz / 1_000.0).ln() * 27.0 / 6.4f64.ln()
    }
}

/// The inverse of [`mel_of_hz`].
fn hz_of_mel(mel: f64) -> f64 {
    if mel < 15.0 {
        mel * 200.0 / 3.0
    } else {
        1_000.0 * ((mel - 15.0) * 6.4f64.ln() / 27.0).exp()
    }
}

#[cfg(test)]
#[path = "mel_tests.rs"]
mod tests;
