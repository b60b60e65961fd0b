use super::*;
use proptest::prelude::*;

fn sine(hz: f64, rate_hz: u32, frames: usize) -> Vec<f32> {
    (0..frames)
        .map(|n| (0.5 * (std::f64::consts::TAU * hz * n as f64 / f64::from(rate_hz)).sin()) as f32)
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
