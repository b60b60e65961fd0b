use super::*;
use crate::audio::mel_spectrogram;
use proptest::prelude::*;

type Window = Vec<f32>;

fn mel_windows(rate: FrameRate, speech: &[f32], cuts: &[usize]) -> Vec<Window> {
    let mut stream = MelWindows::new(rate);
    let mut windows = Vec::new();
    let mut rest = speech;
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at((*cut).min(rest.len()));
        stream
            .push(now, |frame, window| {
                assert_eq!(frame as usize, windows.len());
                windows.push(window.to_vec());
            })
            .unwrap();
        rest = later;
    }
    stream.finish(|frame, window| {
        assert_eq!(frame as usize, windows.len());
        windows.push(window.to_vec());
    });
    windows
}

/// The training code's way, whole file at once.
fn naive_mel_windows(fps: u32, speech: &[f32]) -> Vec<Window> {
    if speech.is_empty() {
        return Vec::new();
    }
    let mut padded = speech.to_vec();
    padded.resize(speech.len().max(3_000), 0.0);
    let mel = mel_spectrogram(&padded).unwrap();
    let total = ((mel.len() - 16) as f64 / 80.0 * f64::from(fps)) as usize + 2;
    (0..total)
        .map(|t| {
            let start = (80.0 * t as f64 / f64::from(fps)) as usize;
            let start = start.min(mel.len() - 16);
            let mut window = vec![0.0; 80 * 16];
            for band in 0..80 {
                for column in 0..16 {
                    window[band * 16 + column] = mel[start + column][band];
                }
            }
            window
        })
        .collect()
}

fn feature_windows(padding: Padding, lookahead: u32, features: &[Window]) -> Vec<Window> {
    let mut stream = FeatureWindows::new(padding, Lookahead::new(lookahead).unwrap());
    let mut windows = Vec::new();
    for feature in features {
        let feature: &[f32; FEATURE_LEN] = feature.as_slice().try_into().unwrap();
        if let Some((frame, window)) = stream.push(feature).unwrap() {
            assert_eq!(frame as usize, windows.len());
            windows.push(window.to_vec());
        }
    }
    stream.finish(|frame, window| {
        assert_eq!(frame as usize, windows.len());
        windows.push(window.to_vec());
    });
    windows
}

/// `get_audio_features` over the extended list, whole file at once.
fn naive_feature_windows(padding: Padding, features: &[Window]) -> Vec<Window> {
    let Some((first, last)) = features.first().zip(features.last()) else {
        return Vec::new();
    };
    let mut entries = vec![first.clone()];
    entries.extend_from_slice(features);
    entries.push(last.clone());
    (0..entries.len() as i64)
        .map(|t| {
            (t - 8..t + 8)
                .flat_map(|at| match padding {
                    Padding::Edge => {
                        entries[at.clamp(0, entries.len() as i64 - 1) as usize].clone()
                    }
                    Padding::Zeros => usize::try_from(at)
                        .ok()
                        .and_then(|at| entries.get(at).cloned())
                        .unwrap_or_else(|| vec![0.0; FEATURE_LEN]),
                })
                .collect()
        })
        .collect()
}

fn noise(samples: usize) -> Vec<f32> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    (0..samples)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / 8_388_608.0 - 1.0
        })
        .collect()
}

fn features(count: usize) -> Vec<Window> {
    (0..count)
        .map(|k| {
            (0..FEATURE_LEN)
                .map(|i| (k + 1) as f32 + i as f32 / 1_024.0)
                .collect()
        })
        .collect()
}

#[test]
fn frame_counts_are_those_of_the_training_code() {
    let rate = FrameRate::TRAINED;
    // 384 is where f64 counts one less than exact arithmetic: int(368/80*25) is 114, not 115.
    for (mel, features) in [
        (15, 0),
        (16, 2),
        (81, 22),
        (241, 72),
        (384, 116),
        (385, 117),
    ] {
        assert_eq!(rate.features_of(mel), features, "{mel} mel frames");
    }
    for (samples, frames) in [
        (0, 0),
        (1, 4),
        (2_999, 4),
        (3_000, 4),
        (6_400, 9),
        (48_000, 74),
    ] {
        assert_eq!(rate.frames_of_samples(samples), frames, "{samples} samples");
    }
    assert!(FrameRate::new(0).is_err());
    assert!(FrameRate::new(61).is_err());
}

#[test]
fn a_mel_window_comes_with_its_last_sample() {
    let speech = noise(8_000);
    let mut stream = MelWindows::new(FrameRate::TRAINED);
    let mut first_at = Vec::new();
    for (n, sample) in speech.iter().enumerate() {
        stream
            .push(&[*sample], |_, _| first_at.push(n + 1))
            .unwrap();
    }
    // Frame t: mel frames up to 16t/5 + 15, the last one's window 400 samples past its centre.
    let wanted: Vec<usize> = (0..100)
        .map(|t| (16 * t / 5 + 15) * 200 + 400)
        .take_while(|&n| n <= speech.len())
        .collect();
    assert_eq!(first_at, wanted);
}

#[test]
fn a_frame_waits_for_six_features_or_fewer() {
    for (lookahead, waits) in [(8, 6), (7, 5), (4, 2), (3, 1), (2, 0), (1, 0), (0, 0)] {
        let mut stream = FeatureWindows::new(Padding::Edge, Lookahead::new(lookahead).unwrap());
        for (k, feature) in features(20).iter().enumerate() {
            let feature: &[f32; FEATURE_LEN] = feature.as_slice().try_into().unwrap();
            let frame = stream
                .push(feature)
                .unwrap()
                .map(|(frame, _)| frame as usize);
            assert_eq!(
                frame,
                k.checked_sub(waits),
                "lookahead {lookahead}, feature {k}"
            );
        }
    }
    assert!(Lookahead::new(9).is_err());
}

#[test]
fn reduced_lookahead_repeats_the_newest_entry() {
    let windows = feature_windows(Padding::Zeros, 3, &features(12));
    let heads: Vec<f32> = windows[5].chunks(FEATURE_LEN).map(|e| e[0]).collect();
    // Frame 5: entries -3..=12, three of them zeros, 5, 6 and 7 real (features 5, 6, 7 counted from 1), then repeats.
    let wanted = [
        0., 0., 0., 1., 1., 2., 3., 4., 5., 6., 7., 7., 7., 7., 7., 7.,
    ];
    assert_eq!(heads, wanted);
}

#[test]
fn non_finite_features_are_refused() {
    let mut stream = FeatureWindows::new(Padding::Edge, Lookahead::FULL);
    let mut feature = [0.0; FEATURE_LEN];
    feature[3] = f32::INFINITY;
    let error = stream.push(&feature).unwrap_err();
    assert_eq!(
        error.to_string(),
        "audio encoder: audio sample 3 is inf, not a finite number"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn mel_windows_do_not_depend_on_the_cuts(
        samples in 0usize..12_000,
        fps in prop::sample::select(vec![1u32, 10, 24, 25, 30, 50, 60]),
        cuts in prop::collection::vec(1usize..2_500, 1..10),
    ) {
        let speech = noise(samples);
        let rate = FrameRate::new(fps).unwrap();
        let wanted = naive_mel_windows(fps, &speech);
        let repeated = if samples == 0 { 0 } else { REPEATED_ENTRIES };
        prop_assert_eq!(wanted.len() as u64 + repeated, rate.frames_of_samples(samples as u64));
        prop_assert_eq!(&mel_windows(rate, &speech, &cuts), &wanted);
        prop_assert_eq!(&mel_windows(rate, &speech, &[usize::MAX]), &wanted);
    }

    #[test]
    fn feature_windows_are_those_of_the_whole_list(count in 0usize..40) {
        let features = features(count);
        for padding in [Padding::Edge, Padding::Zeros] {
            let wanted = naive_feature_windows(padding, &features);
            prop_assert_eq!(feature_windows(padding, 8, &features), wanted);
        }
    }

    #[test]
    fn every_lookahead_gives_every_frame(count in 0usize..24, lookahead in 0u32..=8) {
        let frames = if count == 0 { 0 } else { count + 2 };
        prop_assert_eq!(feature_windows(Padding::Edge, lookahead, &features(count)).len(), frames);
    }
}

#[test]
fn a_stream_starts_anew_after_finish_and_reset() {
    let speech = noise(9_000);
    let wanted = naive_mel_windows(25, &speech);
    let mut stream = MelWindows::new(FrameRate::TRAINED);
    stream.push(&noise(5_432), |_, _| ()).unwrap();
    stream.reset();
    for _ in 0..2 {
        let mut windows = Vec::new();
        stream
            .push(&speech, |_, w| windows.push(w.to_vec()))
            .unwrap();
        stream.finish(|_, w| windows.push(w.to_vec()));
        assert_eq!(windows, wanted);
    }
}
