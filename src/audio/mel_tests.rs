use super::*;
use std::path::{Path, PathBuf};

/// A `.npy` of little-endian f32, one- or two-dimensional, in C or Fortran order.
fn read_npy(path: &Path) -> (Vec<usize>, Vec<f32>) {
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00", "{}", path.display());
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..10 + length]).unwrap();
    assert!(header.contains("'<f4'"), "{header}");
    let fields = header.split_once("'shape': (").unwrap().1;
    let shape: Vec<usize> = fields
        .split_once(')')
        .unwrap()
        .0
        .split(',')
        .filter_map(|n| n.trim().parse().ok())
        .collect();
    let values: Vec<f32> = bytes[10 + length..]
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    assert_eq!(values.len(), shape.iter().product::<usize>());
    if !header.contains("'fortran_order': True") || shape.len() < 2 {
        return (shape, values);
    }
    let (rows, columns) = (shape[0], shape[1]);
    let ordered = (0..rows * columns)
        .map(|n| values[n % columns * rows + n / columns])
        .collect();
    (shape, ordered)
}

fn assert_agrees(wave: &Path, mel: &Path) {
    let (_, speech) = read_npy(wave);
    let (shape, wanted) = read_npy(mel);
    let frames = mel_spectrogram(&speech).unwrap();
    assert_eq!(shape, [frames.len(), BANDS], "{}", mel.display());
    let worst = frames
        .iter()
        .flatten()
        .zip(&wanted)
        .map(|(ours, theirs)| (ours - theirs).abs())
        .fold(0.0, f32::max);
    println!("{}: off by at most {worst:e}", mel.display());
    assert!(worst < 1e-3, "{}: off by {worst}", mel.display());
}

#[test]
fn agrees_with_librosa_on_the_golden_files() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/mel");
    for name in [
        "voice",
        "tone_beside_silence",
        "noise_odd_length",
        "one_sample",
    ] {
        assert_agrees(
            &folder.join(format!("{name}.npy")),
            &folder.join(format!("{name}_mel.npy")),
        );
    }
}

#[test]
fn agrees_with_librosa_on_real_speech() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/mel");
    for name in ["speech_3s", "test_audio"] {
        assert_agrees(
            &folder.join(format!("{name}.npy")),
            &folder.join(format!("{name}_mel.npy")),
        );
    }
}

#[test]
fn silence_is_the_floor_and_nothing_is_nothing() {
    let frames = mel_spectrogram(&[0.0; 1_000]).unwrap();
    assert_eq!(frames.len(), 6);
    // 20 log10(1e-5) - 20 = -120, and clip(8 (-120 + 100)/100 - 4) = -4.
    assert!(frames.iter().flatten().all(|&v| v <= -4.0));
    assert!(mel_spectrogram(&[]).unwrap().is_empty());
}

#[test]
fn a_frame_comes_with_its_last_sample() {
    let mut stream = MelStream::new();
    let mut at = Vec::new();
    for n in 1..=1_000 {
        stream.push(&[0.1], |_| at.push(n)).unwrap();
    }
    assert_eq!(at, [400, 600, 800, 1_000]);
    let mut rest = 0;
    stream.finish(|_| rest += 1);
    assert_eq!(rest, 2);
}

#[test]
fn names_the_sample_that_is_not_a_number() {
    let mut stream = MelStream::new();
    stream.push(&[0.0; 700], |_| ()).unwrap();
    let error = stream.push(&[0.0, 0.0, f32::NAN], |_| ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "speech: audio sample 702 is NaN, not a finite number"
    );
}
