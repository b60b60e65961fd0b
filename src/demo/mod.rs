//! The demo: what `lipsync demo` shows a newcomer, all of it made by this project and built into the binary.

mod draw;

pub use draw::{Artist, FRAMES, Mouth, SIZE, Who};

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
