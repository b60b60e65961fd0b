//! Which audio goes with which video frame: mel windows for the audio encoder, feature windows for the generator.
//!
//! A clip of `M` mel frames has `T = int((M-16)/80*fps) + 2` features. Feature `t`'s mel window is the 16 mel frames
//! from `int(80*t/fps)` on, the last windows clamped to the end. The encoder makes one feature of 512 floats of each.
//! The feature list is extended by repeating its first and its last entry once (so entry `e` is feature `e-1`). The clip
//! has a video frame for each of these `T+2` entries, and the generator's input for frame `t` is entries `t-8 .. t+8`,
//! 16x512 floats read as `[32,16,16]`. This is `SyncTalk_2D`'s `AudDataset`, `get_audio_features` and inference.
//!
//! A stream does not know its end. A window is handed out as soon as no continuation could change it; what depends on
//! the end (clamped mel windows, the repeated last feature, padding) comes at `finish`. At 25 fps the whole chain needs
//! 450 ms of speech before frame 0, of which 240 ms are the six features after the frame's own: see [`Lookahead`].
//!
//! A clip shorter than 3 000 samples (187.5 ms, 16 mel frames) is continued with silence to that length, which gives
//! four video frames; a clip of no samples has no frames.

use super::mel::{BANDS, HOP, MelFrame, MelStream};
use super::{AudioError, check_finite};
use crate::frame::network_io::{AUDIO_LEN, FEATURE_LEN, MEL_WINDOW_LEN};

/// Mel frames in one window of the audio encoder.
pub const WINDOW_FRAMES: usize = 16;
/// Fewest samples of a clip; shorter ones are continued with silence.
pub const SAMPLES_MIN: u64 = (WINDOW_FRAMES as u64 - 1) * HOP as u64;
/// Entries of the extended feature list beyond the features: the first and the last, repeated.
pub const REPEATED_ENTRIES: u64 = 2;
/// Highest frame rate: up to here a frame exists before its window does.
pub const FPS_MAX: u32 = 60;
/// Entries of the generator's window from the frame's own place on: the full lookahead.
pub const LOOKAHEAD_MAX: u32 = 8;

/// Mel frames a second.
const MEL_RATE: u64 = 80;
/// Entries of the generator's window, half of them before the frame's place.
const ENTRIES: usize = 16;
const HALF: u64 = ENTRIES as u64 / 2;

/// Video frames a second, 1..=60. Avatars are trained at 25.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRate(u32);

impl FrameRate {
    /// The frame rate avatars are trained at.
    pub const TRAINED: Self = Self(crate::defaults::FPS);

    /// A frame rate.
    ///
    /// # Errors
    /// [`AudioError::FrameRate`] outside 1..=60.
    pub fn new(fps: u32) -> Result<Self, AudioError> {
        if (1..=FPS_MAX).contains(&fps) {
            Ok(Self(fps))
        } else {
            Err(AudioError::FrameRate(fps))
        }
    }

    /// Frames a second.
    #[must_use]
    pub fn fps(self) -> u32 {
        self.0
    }

    /// Features of a clip of `mel_frames`: `int((M-16)/80*fps) + 2`, in f64 as the training code counts; none of
    /// fewer than 16 (clips are continued to 16 first).
    #[must_use]
    pub fn features_of(self, mel_frames: u64) -> u64 {
        if mel_frames < WINDOW_FRAMES as u64 {
            return 0;
        }
        let seconds = (mel_frames - WINDOW_FRAMES as u64) as f64 / MEL_RATE as f64;
        (seconds * f64::from(self.0)) as u64 + 2
    }

    /// Video frames of a clip of `samples` at 16 kHz, silence added to short ones; none of nothing.
    #[must_use]
    pub fn frames_of_samples(self, samples: u64) -> u64 {
        if samples == 0 {
            return 0;
        }
        self.features_of(super::mel::frame_count(samples.max(SAMPLES_MIN))) + REPEATED_ENTRIES
    }

    /// First mel frame of feature `feature`'s window, before clamping: `int(80*t/fps)`.
    fn mel_start(self, feature: u64) -> u64 {
        MEL_RATE * feature / u64::from(self.0)
    }
}

/// 16 kHz mono in, the audio encoder's inputs out: one `[80,16]` window (band by band, time fastest) a feature.
///
/// State is 800 samples and 16 mel frames, whatever is pushed.
#[derive(Debug)]
pub struct MelWindows {
    rate: FrameRate,
    mel: MelStream,
    cutter: Cutter,
}

impl MelWindows {
    /// A stream at its first sample.
    #[must_use]
    pub fn new(rate: FrameRate) -> Self {
        Self {
            rate,
            mel: MelStream::new(),
            cutter: Cutter::new(),
        }
    }

    /// Windows handed out since the start.
    #[must_use]
    pub fn windows(&self) -> u64 {
        self.cutter.feature
    }

    /// Takes samples, cut anywhere, and hands every settled window to `emit`, with its feature's place, in order.
    ///
    /// # Errors
    /// [`AudioError::NonFinite`], naming the sample; nothing of the chunk is taken then.
    pub fn push(
        &mut self,
        speech: &[f32],
        mut emit: impl FnMut(u64, &[f32; MEL_WINDOW_LEN]),
    ) -> Result<(), AudioError> {
        let Self { rate, mel, cutter } = self;
        mel.push(speech, |frame| cutter.take(*rate, frame, &mut emit))
    }

    /// Ends the clip: the windows that needed to know the end, clamped to it. Starts anew.
    pub fn finish(&mut self, mut emit: impl FnMut(u64, &[f32; MEL_WINDOW_LEN])) {
        let Self { rate, mel, cutter } = self;
        let taken = mel.samples();
        if taken > 0 && taken < SAMPLES_MIN {
            let silence = [0.0; SAMPLES_MIN as usize];
            let pushed = mel.push(&silence[taken as usize..], |frame| {
                cutter.take(*rate, frame, &mut emit);
            });
            debug_assert!(pushed.is_ok(), "silence is finite");
        }
        mel.finish(|frame| cutter.take(*rate, frame, &mut emit));
        let total = rate.features_of(cutter.mel_frames);
        while cutter.feature < total {
            cutter.emit(&mut emit);
        }
        self.reset();
    }

    /// Forgets everything and starts anew.
    pub fn reset(&mut self) {
        self.mel.reset();
        self.cutter.feature = 0;
        self.cutter.mel_frames = 0;
    }
}

/// Cuts the run of mel frames into windows.
struct Cutter {
    /// The next feature.
    feature: u64,
    mel_frames: u64,
    /// The last 16 mel frames; mel frame `m` is in slot `m % 16`.
    recent: Box<[MelFrame; WINDOW_FRAMES]>,
    window: Box<[f32; MEL_WINDOW_LEN]>,
}

impl std::fmt::Debug for Cutter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cutter")
            .field("feature", &self.feature)
            .field("mel_frames", &self.mel_frames)
            .finish_non_exhaustive()
    }
}

impl Cutter {
    fn new() -> Self {
        Self {
            feature: 0,
            mel_frames: 0,
            recent: Box::new([[0.0; BANDS]; WINDOW_FRAMES]),
            window: Box::new([0.0; MEL_WINDOW_LEN]),
        }
    }

    fn take(
        &mut self,
        rate: FrameRate,
        frame: &MelFrame,
        emit: &mut impl FnMut(u64, &[f32; MEL_WINDOW_LEN]),
    ) {
        self.recent[self.mel_frames as usize % WINDOW_FRAMES] = *frame;
        self.mel_frames += 1;
        // A window that ends here is whole, and its feature exists: T >= int((M-16)/80*fps) + 1 > t.
        while rate.mel_start(self.feature) + WINDOW_FRAMES as u64 == self.mel_frames {
            self.emit(emit);
        }
    }

    /// The last 16 mel frames, transposed to `[80,16]`, as the next feature's window.
    fn emit(&mut self, emit: &mut impl FnMut(u64, &[f32; MEL_WINDOW_LEN])) {
        for column in 0..WINDOW_FRAMES {
            let frame = &self.recent[(self.mel_frames as usize + column) % WINDOW_FRAMES];
            for (band, &value) in frame.iter().enumerate() {
                self.window[band * WINDOW_FRAMES + column] = value;
            }
        }
        emit(self.feature, &self.window);
        self.feature += 1;
    }
}

/// What stands in the window past the first and last entry; both occur among trained avatars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Padding {
    /// The nearest entry, repeated.
    #[default]
    Edge,
    /// Zeros.
    Zeros,
}

/// How many of the 8 window entries from the frame's own place on must be real before the frame is made.
///
/// 8 is what the network was trained with: frame `t` waits for feature `t+6`, 240 ms after its own. With fewer, the
/// entries beyond are repeats of the newest one used, always (so the result does not depend on timing): each step down
/// makes the first frame 40 ms earlier, and the mouth a little later and stiffer. At 2, frame `t` comes with its own
/// feature; 1 and 0 are no earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookahead(u64);

impl Lookahead {
    /// All 8 entries: what the network was trained with.
    pub const FULL: Self = Self(LOOKAHEAD_MAX as u64);

    /// A lookahead of `entries`.
    ///
    /// # Errors
    /// [`AudioError::Lookahead`] above 8.
    pub fn new(entries: u32) -> Result<Self, AudioError> {
        if entries <= LOOKAHEAD_MAX {
            Ok(Self(entries.into()))
        } else {
            Err(AudioError::Lookahead(entries))
        }
    }

    /// The newest entry frame `frame` uses.
    fn newest_entry(self, frame: u64) -> u64 {
        (frame + self.0).saturating_sub(1)
    }
}

impl Default for Lookahead {
    fn default() -> Self {
        Self::FULL
    }
}

/// The encoder's features in (512 floats each), the generator's audio inputs out, `[32,16,16]`, one a video frame.
///
/// State is 16 features and one window.
pub struct FeatureWindows {
    padding: Padding,
    lookahead: Lookahead,
    /// The next video frame.
    frame: u64,
    features: u64,
    /// The last 16 features; feature `k` is in slot `k % 16`.
    recent: Vec<f32>,
    window: Box<[f32; AUDIO_LEN]>,
}

impl std::fmt::Debug for FeatureWindows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FeatureWindows")
            .field("padding", &self.padding)
            .field("lookahead", &self.lookahead)
            .field("frame", &self.frame)
            .field("features", &self.features)
            .finish_non_exhaustive()
    }
}

/// Where a window's entries end.
#[derive(Clone, Copy)]
enum End {
    /// Entries past this one are repeats of it: the end of the clip is not looked at.
    Repeat(u64),
    /// This is the clip's last entry; past it is padding.
    Clip(u64),
}

impl FeatureWindows {
    /// A stream at its first feature.
    #[must_use]
    #[expect(
        clippy::large_stack_arrays,
        reason = "32 KiB on their way to the heap, once a stream"
    )]
    pub fn new(padding: Padding, lookahead: Lookahead) -> Self {
        Self {
            padding,
            lookahead,
            frame: 0,
            features: 0,
            recent: vec![0.0; ENTRIES * FEATURE_LEN],
            window: Box::new([0.0; AUDIO_LEN]),
        }
    }

    /// Takes the next feature; gives the next video frame and its window if that is settled now. One feature settles
    /// at most one frame.
    ///
    /// # Errors
    /// [`AudioError::NonFinite`] if the encoder's output is not finite, naming the value; it is not taken then.
    pub fn push(
        &mut self,
        feature: &[f32; FEATURE_LEN],
    ) -> Result<Option<(u64, &[f32; AUDIO_LEN])>, AudioError> {
        check_finite("audio encoder", feature, self.features * FEATURE_LEN as u64)?;
        let slot = self.features as usize % ENTRIES * FEATURE_LEN;
        self.recent[slot..][..FEATURE_LEN].copy_from_slice(feature);
        self.features += 1;
        // Entry e is feature e-1, so entries 0..=features are there; a frame exists once its own feature does.
        let newest = self.lookahead.newest_entry(self.frame);
        if newest <= self.features && self.frame < self.features {
            let frame = self.fill(End::Repeat(newest));
            return Ok(Some((frame, &self.window)));
        }
        Ok(None)
    }

    /// Ends the clip: the frames that needed to know the end, at most 8 of them, the last two being those of the
    /// repeated entries. Starts anew.
    pub fn finish(&mut self, mut emit: impl FnMut(u64, &[f32; AUDIO_LEN])) {
        let last_entry = self.features + 1;
        while self.features > 0 && self.frame <= last_entry {
            let frame = self.fill(End::Clip(last_entry));
            emit(frame, &self.window);
        }
        self.reset();
    }

    /// Forgets everything and starts anew.
    pub fn reset(&mut self) {
        self.frame = 0;
        self.features = 0;
    }

    /// Writes the next frame's window and counts the frame.
    fn fill(&mut self, end: End) -> u64 {
        let frame = self.frame;
        for (place, slot) in self.window.chunks_exact_mut(FEATURE_LEN).enumerate() {
            let at = (frame + place as u64).checked_sub(HALF);
            let entry = match (at, end) {
                (Some(at), End::Repeat(newest)) => Some(at.min(newest)),
                (Some(at), End::Clip(last)) if at <= last => Some(at),
                (Some(_), End::Clip(last)) => (self.padding == Padding::Edge).then_some(last),
                (None, _) => (self.padding == Padding::Edge).then_some(0),
            };
            match entry {
                None => slot.fill(0.0),
                Some(entry) => {
                    // Entry 0 repeats feature 0, the clip's last entry repeats its last feature.
                    let feature = entry.saturating_sub(1).min(self.features - 1) as usize;
                    let from = feature % ENTRIES * FEATURE_LEN;
                    slot.copy_from_slice(&self.recent[from..][..FEATURE_LEN]);
                }
            }
        }
        self.frame += 1;
        frame
    }
}

#[cfg(test)]
#[path = "features_tests.rs"]
mod tests;
