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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{AudioReader, PcmFormat, SPEECH_RATE_HZ};

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
}
