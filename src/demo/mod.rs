//! The demo: three drawn people who talk, a sample of speech, and the networks trained on both.
//!
//! No trained avatar may be downloaded, so the project makes its own, and everything about them is built into the
//! binary: [`Artist`] draws a person's frames (the mouth as told by a [`Mouth`]), [`write_avatars`] writes all three as
//! the folders that `config.yaml` names, with a generator and an audio encoder that were really trained, on these
//! drawings and on synthesised speech: `docs/demo.md`, `tools/demo/`.
//!
//! Tests that need an avatar get one in a second from [`write_avatar`] with a few frames.

mod draw;

mod settings;

mod write;

use crate::audio::{AudioError, AudioReader, PcmFormat};
pub use draw::{Artist, FRAMES, Mouth, SIZE, Who};
pub use settings::{Origin, SettingsError, config, config_text};

pub use write::{Files, Outcome, WriteError, write_avatar, write_avatars};

/// The bundled speech sample: 9 s of English by espeak-ng, two sentences and a pause; FLAC, 16 kHz mono.
///
/// Made by `tools/make_speech_sample.py`.
#[must_use]
pub fn speech_sample() -> &'static [u8] {
    include_bytes!("assets/speech.flac")
}

/// The first `seconds` of the sample, as a WAV file.
///
/// # Errors
/// Never, as long as the sample is a FLAC file.
pub fn speech_sample_start(seconds: u32) -> Result<Vec<u8>, AudioError> {
    let mut reader = AudioReader::from_bytes("speech.flac", speech_sample())?;
    let PcmFormat { rate_hz, channels } = reader.format();
    let samples = (seconds * rate_hz) as usize * channels;
    let mut data = Vec::with_capacity(2 * samples);
    while data.len() < 2 * samples
        && let Some(chunk) = reader.next_chunk()?
    {
        let left = samples - data.len() / 2;
        let whole = |sample: &f32| ((sample * 32768.0).round() as i16).to_le_bytes();
        data.extend(chunk.iter().take(left).flat_map(whole));
    }
    let frame = 2 * channels as u32;
    let mut wav = Vec::with_capacity(44 + data.len());
    wav.extend(b"RIFF");
    wav.extend((36 + data.len() as u32).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    wav.extend((channels as u16).to_le_bytes());
    wav.extend(rate_hz.to_le_bytes());
    wav.extend((rate_hz * frame).to_le_bytes());
    wav.extend((frame as u16).to_le_bytes());
    wav.extend(b"\x10\0data");
    wav.extend((data.len() as u32).to_le_bytes());
    wav.extend(data);
    Ok(wav)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::SPEECH_RATE_HZ;

    #[test]
    fn the_speech_sample_is_speech_with_a_pause_in_it() {
        let mut reader = AudioReader::from_bytes("speech.flac", speech_sample()).unwrap();
        let format = PcmFormat::new(SPEECH_RATE_HZ, 1).unwrap();
        assert_eq!(reader.format(), format);
        let mut samples = Vec::new();
        while let Some(chunk) = reader.next_chunk().unwrap() {
            samples.extend_from_slice(chunk);
        }
        let seconds = samples.len() as f32 / SPEECH_RATE_HZ as f32;
        assert!((6.0..=10.0).contains(&seconds), "{seconds} s");
        // Runs of 20 ms without a sound: one at each end, one between the sentences.
        let silent = |block: &[f32]| block.iter().all(|sample| sample.abs() < 0.01);
        let blocks: Vec<bool> = samples
            .chunks(SPEECH_RATE_HZ as usize / 50)
            .map(silent)
            .collect();
        let longest = |blocks: &[bool]| {
            let runs = blocks.split(|silent| !silent).map(<[bool]>::len);
            runs.max().unwrap()
        };
        let inner = &blocks[50..blocks.len() - 50];
        assert!(longest(inner) >= 35, "no pause of 0.7 s");
        assert!(
            inner.iter().filter(|silent| !**silent).count() > 200,
            "mostly silence"
        );
    }
    #[test]
    fn the_samples_start_is_a_wav_of_its_first_samples() {
        let all = |mut reader: AudioReader| {
            let mut samples = Vec::new();
            while let Some(chunk) = reader.next_chunk().unwrap() {
                samples.extend_from_slice(chunk);
            }
            samples
        };
        let whole = all(AudioReader::from_bytes("speech.flac", speech_sample()).unwrap());
        let start = speech_sample_start(2).unwrap();
        let start = all(AudioReader::from_bytes("speech.wav", start).unwrap());
        assert_eq!(start.len(), 2 * SPEECH_RATE_HZ as usize);
        let worst = start.iter().zip(&whole).map(|(a, b)| (a - b).abs());
        assert!(worst.fold(0.0, f32::max) < 1e-4);
    }
}
