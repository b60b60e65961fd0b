use super::*;
use std::path::PathBuf;

const FILES: [&str; 6] = [
    "tone_s16.wav",
    "tone_f32.wav",
    "tone.flac",
    "tone.mp3",
    "tone.ogg",
    "tone.m4a",
];

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/audio")
        .join(name)
}

fn read_all(mut reader: AudioReader) -> Result<(PcmFormat, Vec<f32>), AudioError> {
    let mut samples = Vec::new();
    while let Some(chunk) = reader.next_chunk()? {
        assert!(!chunk.is_empty());
        samples.extend_from_slice(chunk);
    }
    assert_eq!(reader.damage().packets(), 0);
    Ok((reader.format(), samples))
}

fn read_bytes(name: &str, bytes: Vec<u8>) -> Result<Vec<f32>, AudioError> {
    AudioReader::from_bytes(name, bytes)
        .and_then(read_all)
        .map(|(_, samples)| samples)
}

/// A PCM WAV: `tag` 1 is s16, 3 is f32.
fn wav(tag: u16, rate_hz: u32, channels: u16, data: &[u8]) -> Vec<u8> {
    let width = if tag == 1 { 2u16 } else { 4 };
    let mut bytes = Vec::new();
    bytes.extend_from_slice(b"RIFF");
    bytes.extend_from_slice(&(36 + data.len() as u32).to_le_bytes());
    bytes.extend_from_slice(b"WAVEfmt \x10\0\0\0");
    bytes.extend_from_slice(&tag.to_le_bytes());
    bytes.extend_from_slice(&channels.to_le_bytes());
    bytes.extend_from_slice(&rate_hz.to_le_bytes());
    bytes.extend_from_slice(&(rate_hz * u32::from(channels * width)).to_le_bytes());
    bytes.extend_from_slice(&(channels * width).to_le_bytes());
    bytes.extend_from_slice(&(width * 8).to_le_bytes());
    bytes.extend_from_slice(b"data");
    bytes.extend_from_slice(&(data.len() as u32).to_le_bytes());
    bytes.extend_from_slice(data);
    bytes
}

fn f32_wav(samples: &[f32]) -> Vec<u8> {
    let data: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
    wav(3, 16_000, 1, &data)
}

/// Amplitude of 440 Hz in one channel, by projection.
fn level(samples: &[f32], channel: usize) -> f64 {
    let (mut re, mut im, mut count) = (0.0, 0.0, 0.0);
    for (n, frame) in samples.chunks_exact(2).enumerate().skip(4_410).take(11_025) {
        let angle = std::f64::consts::TAU * 440.0 * n as f64 / 44_100.0;
        re += f64::from(frame[channel]) * angle.cos();
        im += f64::from(frame[channel]) * angle.sin();
        count += 1.0;
    }
    2.0 * f64::hypot(re, im) / count
}

#[test]
fn every_format_gives_the_same_tone() {
    for name in FILES {
        let (format, samples) = read_all(AudioReader::open(&golden(name)).unwrap()).unwrap();
        assert_eq!(format, PcmFormat::new(44_100, 2).unwrap(), "{name}");
        let frames = samples.len() / 2;
        // AAC comes in blocks of 1024 with the encoder's delay before; the others are exact.
        let slack = if name == "tone.m4a" { 3 * 1_024 } else { 0 };
        assert!(
            (22_050..=22_050 + slack).contains(&frames),
            "{name}: {frames} frames"
        );
        for (channel, wanted) in [(0, 0.5), (1, 0.25)] {
            let level = level(&samples, channel);
            // LAME scales its input by 0.95.
            let wanted = if name == "tone.mp3" {
                0.95 * wanted
            } else {
                wanted
            };
            assert!(
                (level - wanted).abs() < 0.01,
                "{name}, channel {channel}: {level}"
            );
        }
    }
}

#[test]
fn bytes_and_file_are_the_same_and_names_are_only_hints() {
    for name in FILES {
        let from_file = read_all(AudioReader::open(&golden(name)).unwrap())
            .unwrap()
            .1;
        let bytes = std::fs::read(golden(name)).unwrap();
        assert_eq!(read_bytes("upload", bytes).unwrap(), from_file, "{name}");
    }
}

#[test]
fn a_whole_file_as_speech() {
    let speech = read_speech(&golden("tone.flac"), 10).unwrap();
    assert_eq!(speech.len(), 8_000);
    let loudest = speech[1_000..7_000]
        .iter()
        .fold(0.0f32, |m, s| m.max(s.abs()));
    assert!(
        (loudest - 0.375).abs() < 0.002,
        "mean of the channels: {loudest}"
    );

    let path = tempfile::Builder::new().suffix(".wav").tempfile().unwrap();
    std::fs::write(path.path(), f32_wav(&vec![0.1; 32_001])).unwrap();
    let error = read_speech(path.path(), 2).unwrap_err();
    assert!(
        matches!(error, AudioError::TooLong { max_seconds: 2, .. }),
        "{error}"
    );
}

#[test]
fn what_is_missing_or_empty_or_no_audio_is_named() {
    let error = AudioReader::open(Path::new("no/such/speech.wav")).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot read audio file no/such/speech.wav: "),
        "{error}"
    );

    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        AudioReader::open(folder.path()),
        Err(AudioError::Read { .. })
    ));
    let empty = folder.path().join("empty.wav");
    std::fs::write(&empty, b"").unwrap();
    assert!(matches!(
        AudioReader::open(&empty),
        Err(AudioError::Empty { .. })
    ));

    let text = b"# Shopping list\n\n- milk\n- bread\n".repeat(400);
    let error = read_bytes("list.wav", text).unwrap_err();
    assert!(matches!(error, AudioError::NotAudio { .. }), "{error}");
    assert!(error.to_string().contains("list.wav"), "{error}");

    let error = read_bytes("silent.wav", wav(1, 16_000, 1, &[])).unwrap_err();
    assert!(matches!(error, AudioError::NoSamples { .. }), "{error}");
    assert_eq!(read_bytes("one.wav", f32_wav(&[0.5])).unwrap(), [0.5]);
}

#[test]
fn cut_off_files_say_so() {
    for name in [
        "tone_s16.wav",
        "tone_f32.wav",
        "tone.flac",
        "tone.mp3",
        "tone.m4a",
    ] {
        let bytes = std::fs::read(golden(name)).unwrap();
        let error = read_bytes(name, bytes[..bytes.len() * 6 / 10].to_vec()).unwrap_err();
        assert!(
            matches!(
                error,
                AudioError::Truncated { .. } | AudioError::Damaged { .. }
            ),
            "{name}: {error}"
        );
    }
    for name in FILES {
        let bytes = std::fs::read(golden(name)).unwrap();
        for length in [1, 4, 11, 40] {
            let error = read_bytes(name, bytes[..length].to_vec()).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}

#[test]
fn a_wav_written_to_a_pipe_is_not_cut_off() {
    let mut bytes = std::fs::read(golden("tone_s16.wav")).unwrap();
    let at = bytes.windows(4).position(|w| w == b"data").unwrap() + 4;
    bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(read_bytes("pipe.wav", bytes).unwrap().len(), 44_100);
}

#[test]
fn non_finite_samples_are_named() {
    let mut samples = vec![0.0; 5_000];
    samples[4_321] = f32::NEG_INFINITY;
    let error = read_bytes("bad.wav", f32_wav(&samples)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "bad.wav: audio sample 4321 is -inf, not a finite number"
    );
}

/// Damage anywhere never panics, and what decodes stays finite and of bounded length.
#[test]
fn damaged_bytes_never_panic() {
    let mut state = 9u32;
    for name in FILES {
        let bytes = std::fs::read(golden(name)).unwrap();
        for _ in 0..60 {
            let mut broken = bytes.clone();
            for _ in 0..8 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = state as usize % broken.len();
                broken[at] ^= (state >> 24) as u8;
            }
            let Ok(mut reader) = AudioReader::from_bytes(name, broken) else {
                continue;
            };
            let mut total = 0;
            while let Ok(Some(chunk)) = reader.next_chunk() {
                assert!(chunk.iter().all(|s| s.is_finite()));
                total += chunk.len();
                assert!(total < 10_000_000, "{name}: far more than half a second");
            }
        }
    }
}
