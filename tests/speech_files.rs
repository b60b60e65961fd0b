//! Speech files as people have them, held against what ffmpeg decodes of them (`tools/golden_speech_files.py`): every
//! format, files joined one after another, sizes that are not true, tags, and bytes that make no sense.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::fs;
use std::path::{Path, PathBuf};

use lipsync::audio::{AudioError, AudioReader, PcmFormat, Resampler, SpeechFile};
use proptest::prelude::*;

const SECONDS: f64 = 0.9;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/speech")
}

fn bytes(name: &str) -> Vec<u8> {
    fs::read(folder().join(name)).unwrap()
}

#[derive(Debug)]
struct Decoded {
    format: PcmFormat,
    samples: Vec<f32>,
    notes: Vec<String>,
    damaged: u64,
}

impl Decoded {
    fn frames(&self) -> usize {
        self.samples.len() / self.format.channels
    }
}

fn decode(mut reader: AudioReader) -> Result<Decoded, AudioError> {
    let mut samples = Vec::new();
    while let Some(chunk) = reader.next_chunk()? {
        samples.extend_from_slice(chunk);
    }
    Ok(Decoded {
        format: reader.format(),
        samples,
        notes: reader.notes().to_vec(),
        damaged: reader.damage().packets(),
    })
}

fn read(name: &str, bytes: Vec<u8>) -> Result<Decoded, AudioError> {
    decode(AudioReader::from_bytes(name, bytes)?)
}

/// The mean of the channels at 8 kHz.
fn telephone(decoded: &Decoded) -> Vec<f32> {
    let channels = decoded.format.channels;
    let mono: Vec<f32> = decoded
        .samples
        .chunks_exact(channels)
        .map(|frame| frame.iter().sum::<f32>() / channels as f32)
        .collect();
    let format = PcmFormat {
        channels: 1,
        ..decoded.format
    };
    let mut resampler = Resampler::new(format, 8_000).unwrap();
    let mut out = Vec::new();
    resampler.push(&mono, &mut out).unwrap();
    resampler.finish(&mut out).unwrap();
    out
}

/// How alike two sounds are without moving either: 1 is the same but for the level.
fn likeness(one: &[f32], other: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum()
    };
    let length = one.len().min(other.len());
    let (one, other) = (&one[..length], &other[..length]);
    dot(one, other) / (dot(one, one) * dot(other, other)).sqrt().max(1e-12)
}

#[test]
fn every_format_gives_what_ffmpeg_gives() {
    let index: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&bytes("index.json")).unwrap();
    assert!(index.len() > 40, "{} files", index.len());
    for (name, facts) in &index {
        let decoded = decode(AudioReader::open(&folder().join(name)).unwrap()).unwrap();
        assert_eq!(decoded.notes, [""; 0], "{name}");
        assert_eq!(decoded.damaged, 0, "{name}");
        let fact = |key: &str| facts[key].as_u64().unwrap() as usize;
        let format = PcmFormat::new(fact("rate_hz") as u32, fact("channels")).unwrap();
        assert_eq!(decoded.format, format, "{name}");
        let (ours, theirs) = (decoded.frames(), fact("frames"));
        // The ffmpeg that made these does not cut the end where MP4's edit list and OGG Vorbis say that the sound ends.
        let exact = (SECONDS * f64::from(format.rate_hz)) as usize;
        assert!(
            ours == theirs || (ours == exact && theirs - ours < 2_048),
            "{name}: {ours} frames, ffmpeg {theirs}"
        );
        let raw = bytes(&format!("{name}.ref"));
        let (raw, _) = raw.as_chunks::<2>();
        let reference: Vec<f32> = raw
            .iter()
            .map(|two| f32::from(i16::from_le_bytes(*two)) / 32_768.0)
            .collect();
        let likeness = likeness(&telephone(&decoded), &reference);
        assert!(likeness > 0.998, "{name}: {likeness}");
    }
}

#[test]
fn bytes_pipes_and_files_are_the_same_and_names_say_nothing() {
    for name in ["opus.webm", "mono.mp3", "film.mov", "rf64.wav", "alac.caf"] {
        let from_file = decode(AudioReader::open(&folder().join(name)).unwrap()).unwrap();
        let from_bytes = read("upload", bytes(name)).unwrap();
        assert_eq!(from_bytes.samples, from_file.samples, "{name}");
        // One opened file can be read more than once, and at the same time.
        let file = SpeechFile::open(&folder().join(name)).unwrap();
        let (mut one, mut other) = (file.reader().unwrap(), file.reader().unwrap());
        let mut count = 0;
        while let Some(chunk) = one.next_chunk().unwrap() {
            assert_eq!(other.next_chunk().unwrap(), Some(chunk), "{name}");
            count += chunk.len();
        }
        assert_eq!(count, from_file.samples.len(), "{name}");
    }
}

#[test]
fn what_is_not_read_is_named_with_a_command_that_converts() {
    for (name, found) in [
        ("transport.ts", "an MPEG transport stream"),
        ("ac3.mkv", "Matroska/WebM with AC-3"),
        ("ac3.mp4", "MP4/MOV with AC-3"),
        ("wma.asf", "a Windows Media file"),
        ("sun.au", "a Sun AU file"),
        ("film.avi", "an AVI film"),
        ("wavpack.wv", "a WavPack file"),
        ("speex.ogg", "OGG with Speex"),
        ("g722.wav", "WAV with G.722"),
    ] {
        let error = AudioReader::from_bytes(name, bytes(name)).unwrap_err();
        assert!(matches!(error, AudioError::Unsupported { .. }), "{error}");
        let error = error.to_string();
        let wanted = format!(
            "unsupported format: {name} is {found}: convert it first: ffmpeg -i {name} -vn"
        );
        assert!(error.starts_with(&wanted), "{error}");
    }
    // A name with spaces and quotes is one word to a shell.
    let error = AudioReader::from_bytes("it's my film.ts", bytes("transport.ts")).unwrap_err();
    assert!(
        error.to_string().contains(r"-i 'it'\''s my film.ts' "),
        "{error}"
    );
}

/// Files of one kind, and of different kinds, one behind the other, with and without tags between them.
#[test]
fn joined_files_are_all_there() {
    let names = [
        "mono.mp3",
        "plain_frames.mp3",
        "stereo_vbr.mp3",
        "layer2.mp2",
        "piped.wav",
        "rf64.wav",
        "mulaw.wav",
        "adpcm_ima.wav",
        "plain.aiff",
        "pcm.caf",
        "plain.flac",
        "vorbis.ogg",
        "opus.ogg",
        "aac.m4a",
        "aac.aac",
        "alac.m4a",
        "opus.webm",
        "opus_live.webm",
        "vorbis.mkv",
    ];
    for first in names {
        for second in names {
            // Sound without a length lasts to the file's end, or to where another of its kind begins.
            let needs_kind = match first {
                "piped.wav" => ".wav",
                "plain.flac" => ".flac",
                _ => "",
            };
            if !second.ends_with(needs_kind) {
                continue;
            }
            let alone = [first, second].map(|name| {
                let decoded = read(name, bytes(name)).unwrap();
                decoded.frames() as f64 / f64::from(decoded.format.rate_hz)
            });
            let tags = [Vec::new(), id3(700, b"RIFF....WAVEfmt "), id3v1()];
            let count = if first == "piped.wav" { 1 } else { 3 };
            for between in &tags[..count] {
                let mut joined = bytes(first);
                joined.extend(between);
                joined.extend(bytes(second));
                let decoded =
                    read("joined", joined).unwrap_or_else(|e| panic!("{first} + {second}: {e}"));
                let seconds = decoded.frames() as f64 / f64::from(decoded.format.rate_hz);
                assert!(
                    (seconds - alone[0] - alone[1]).abs() < 0.002,
                    "{first} + {} bytes + {second}: {seconds} s of {alone:?}, {:?}",
                    between.len(),
                    decoded.notes
                );
                assert_eq!(
                    (decoded.damaged, &decoded.notes[..]),
                    (0, &[][..]),
                    "{first} + {second}"
                );
            }
        }
    }
}

#[test]
fn many_joined_files_and_those_of_other_rates_keep_their_sound() {
    let one = read("one", bytes("mono.mp3")).unwrap();
    let five = read("five", bytes("mono.mp3").repeat(5)).unwrap();
    assert_eq!(five.samples, one.samples.repeat(5));
    // A stereo file at 44.1 kHz behind a mono one at 24 kHz.
    let mut joined = bytes("mono.mp3");
    joined.extend(bytes("stereo_vbr.mp3"));
    let joined = read("joined", joined).unwrap();
    assert_eq!(joined.format, one.format);
    assert_eq!(joined.samples[..one.samples.len()], one.samples);
    let rest = &joined.samples[one.samples.len()..];
    assert!(
        likeness(rest, &one.samples) > 0.9,
        "{}",
        likeness(rest, &one.samples)
    );
    // Six channels do not become one word of five: said, not guessed.
    let mut joined = bytes("opus_stereo.ogg");
    joined.extend(bytes("opus_51.ogg"));
    let error = read("joined.ogg", joined).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("changes from 48000 Hz, 2 ch to 48000 Hz, 6 ch after 0.90 s"),
        "{error}"
    );
}

/// MPEG frames behind a header that counts only the first file's.
#[test]
fn frames_beyond_an_info_tags_count_are_sound() {
    let tagged = bytes("mono.mp3");
    let frame = 96;
    let start = tagged
        .windows(2)
        .position(|two| two[0] == 0xff && two[1] & 0xe0 == 0xe0)
        .unwrap();
    // The frames alone, without the one that holds the tag.
    let plain = &tagged[start + frame..];
    let mut joined = tagged.clone();
    joined.extend(plain);
    let (once, twice) = (
        read("a", tagged.clone()).unwrap(),
        read("b", joined).unwrap(),
    );
    assert!(
        twice.frames() >= 2 * once.frames(),
        "{} of 2 x {}",
        twice.frames(),
        once.frames()
    );
    assert_eq!(
        twice.samples[..once.samples.len() - 1_200],
        once.samples[..once.samples.len() - 1_200]
    );
    // Fewer frames than it counts: cut off, and said before anything is rendered.
    let error =
        AudioReader::from_bytes("cut.mp3", tagged[..tagged.len() / 2].to_vec()).unwrap_err();
    assert!(
        matches!(error, AudioError::Truncated { got_seconds, .. } if got_seconds > 0.3),
        "{error}"
    );
}

fn id3(length: usize, content: &[u8]) -> Vec<u8> {
    let mut tag = b"ID3\x04\0\0".to_vec();
    tag.extend([21, 14, 7, 0].map(|shift| (length >> shift) as u8 & 0x7f));
    let body: Vec<u8> = content.iter().copied().cycle().take(length).collect();
    tag.extend(body);
    tag
}

fn id3v1() -> Vec<u8> {
    let mut tag = b"TAG".to_vec();
    tag.resize(128, b' ');
    tag
}

#[test]
fn tags_are_skipped_by_their_length_whatever_they_hold() {
    let plain = read("plain", bytes("plain_frames.mp3")).unwrap();
    let marks: [&[u8]; 8] = [
        b"RIFF\0\0\0\0WAVEfmt ",
        b"OggS\0\x02",
        b"fLaC\0\0\0\x22",
        b"\0\0\0\x20ftypisom",
        b"\xff\xfb\x90\x64",
        b"\x1a\x45\xdf\xa3",
        b"caff\0\x01",
        b"\0",
    ];
    for mark in marks {
        for length in [0, 10, 3_000_000] {
            let mut tagged = id3(length, mark);
            tagged.extend(bytes("plain_frames.mp3"));
            tagged.extend(id3v1());
            let decoded = read("tagged.mp3", tagged).unwrap();
            assert_eq!(decoded.samples, plain.samples, "{mark:?}, {length}");
            assert_eq!(decoded.notes, [""; 0]);
        }
    }
    // Two tags, one with a footer; and before other kinds than MP3.
    let mut footer = id3(50, b"x");
    footer[5] = 0x10;
    footer.extend([b'3'; 10]);
    for name in ["plain.flac", "piped.wav", "opus.ogg", "aac.aac"] {
        let mut tagged = footer.clone();
        tagged.extend(id3(999, b"\xff\xfb"));
        tagged.extend(bytes(name));
        assert_eq!(
            read("tagged", tagged).unwrap().samples,
            read("plain", bytes(name)).unwrap().samples,
            "{name}"
        );
    }
}

/// A 16-bit mono WAV at 16 kHz with the sizes as given.
fn wav(riff: u32, data: u32, samples: &[u8]) -> Vec<u8> {
    let mut file = b"RIFF".to_vec();
    file.extend(riff.to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data");
    file.extend(data.to_le_bytes());
    file.extend(samples);
    file
}

fn samples(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|n| ((n * 7_919) as i16).to_le_bytes())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Sizes that cannot be true, at any length of the file: all samples are read.
    #[test]
    fn untrue_wav_sizes_lose_nothing(
        count in 800usize..40_000,
        unknown in prop::sample::select(vec![0u32, u32::MAX, 0x7fff_ffff, 0x8000_0000, 0x7fff_f000, 2_000_000_000, 1 << 30]),
        riff in prop::sample::select(vec!["true", "zero", "header", "short", "unknown", "claimed"]),
        by in prop::sample::select(vec![0i64, 2, -2, 4, -4, 100, -100]),
        is_unknown in any::<bool>(),
    ) {
        let data = samples(count);
        let true_data = data.len() as u32;
        let claimed = if is_unknown { unknown } else { (i64::from(true_data) + by) as u32 };
        let riff = match riff {
            "true" => 36 + true_data,
            "zero" => 0,
            "header" => 36,
            "short" => 28 + true_data,
            "claimed" => claimed.saturating_add(36),
            _ => u32::MAX,
        };
        let decoded = read("speech.wav", wav(riff, claimed, &data)).unwrap();
        prop_assert_eq!(decoded.frames(), count, "riff {}, data {} of {}", riff, claimed, true_data);
    }

    /// Sizes that agree with each other in a file that is shorter: cut off, with the seconds it has.
    #[test]
    fn a_cut_wav_is_refused_with_the_seconds_it_has(count in 8_000usize..40_000, left in 5u32..95) {
        let data = samples(count);
        let kept = data.len() * left as usize / 100;
        for riff in [36 + data.len() as u32, u32::MAX] {
            let error = AudioReader::from_bytes("cut.wav", wav(riff, data.len() as u32, &data[..kept])).unwrap_err();
            let AudioError::Truncated { got_seconds, expected_seconds: Some(expected), .. } = error else {
                panic!("{error}");
            };
            prop_assert!((got_seconds - kept as f64 / 32_000.0).abs() < 1e-3);
            prop_assert!((expected - count as f64 / 16_000.0).abs() < 1e-3);
        }
    }

    /// Joined WAVs whose sizes are wrong in any way are parted by where the next one begins.
    #[test]
    fn joined_wavs_with_any_sizes(
        counts in prop::collection::vec(800usize..4_000, 2..5),
        claims in prop::collection::vec(prop::sample::select(vec![0i64, 1, 2, 3, 4]), 5),
    ) {
        let mut joined = Vec::new();
        for (count, claim) in counts.iter().zip(&claims) {
            let data = samples(*count);
            let whole = data.len() as u32;
            let claimed = match claim { 0 => whole, 1 => 0, 2 => u32::MAX, 3 => whole + 2, _ => whole - 2 };
            let riff = if *claim == 2 { u32::MAX } else { 36 + whole };
            joined.extend(wav(riff, claimed, &data));
        }
        let decoded = read("joined.wav", joined).unwrap();
        prop_assert_eq!(decoded.frames(), counts.iter().sum::<usize>());
    }

    /// What follows the samples is no sound: chunks with any name and length, whole or cut off.
    #[test]
    fn chunks_behind_the_sound_are_no_sound(
        count in 800usize..4_000,
        chunks in prop::collection::vec((prop::sample::select(vec![*b"LIST", *b"id3 ", *b"bext", *b"cue "]), 0usize..300), 1..4),
        cut in 0usize..20,
    ) {
        let mut file = wav(0, 2 * count as u32, &samples(count));
        for (name, length) in &chunks {
            file.extend(name);
            file.extend((*length as u32).to_le_bytes());
            file.extend(vec![0x55; length.next_multiple_of(2)]);
        }
        let last = chunks[chunks.len() - 1].1.next_multiple_of(2);
        file.truncate(file.len() - cut.min(last));
        prop_assert_eq!(read("speech.wav", file).unwrap().frames(), count);
    }
}

#[test]
fn what_follows_and_is_no_sound_is_told() {
    let mut file = bytes("mono.mp3");
    file.extend(b"This is a note that somebody wrote behind the sound.");
    let decoded = read("noted.mp3", file.clone()).unwrap();
    assert_eq!(
        decoded.samples,
        read("plain", bytes("mono.mp3")).unwrap().samples
    );
    let start = bytes("mono.mp3").len();
    let wanted =
        format!("52 bytes from byte {start} on are no sound of a known kind and are left out");
    assert_eq!(decoded.notes, [wanted]);
    // Zeros are padding.
    let mut file = bytes("mono.mp3");
    file.extend([0; 5_000]);
    assert_eq!(read("padded.mp3", file).unwrap().notes, [""; 0]);
}

/// Cut at any byte, or with any bytes changed: an error or a sound, never a panic, and no more samples than could be.
#[test]
fn hostile_files_end() {
    let index: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&bytes("index.json")).unwrap();
    let try_out = |name: &str, bytes: Vec<u8>| {
        let Ok(mut reader) = AudioReader::from_bytes(name, bytes) else {
            return;
        };
        let mut total = 0;
        while let Ok(Some(chunk)) = reader.next_chunk() {
            assert!(chunk.iter().all(|sample| sample.is_finite()), "{name}");
            total += chunk.len();
            assert!(total < 20_000_000, "{name}: far more than a second");
        }
    };
    let mut state = 7u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize
    };
    for name in index.keys() {
        let whole = bytes(name);
        // Every byte of the headers, then ever larger steps.
        let mut length = 1;
        while length < whole.len() {
            try_out(name, whole[..length].to_vec());
            length += 1 + length / 24;
        }
        for _ in 0..24 {
            let mut broken = whole.clone();
            for _ in 0..4 {
                let at = random()
                    % broken
                        .len()
                        .min(if random() % 2 == 0 { 700 } else { usize::MAX });
                broken[at] = random() as u8;
            }
            try_out(name, broken);
        }
    }
}
