//! Archives: what torch saved, what was cut or changed, and what is none.

use std::io::{Cursor, Write as _};

use proptest::prelude::*;
use zip::write::SimpleFileOptions;

use super::*;

fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints");
    std::fs::read(folder.join(name)).unwrap()
}

/// Opens the bytes as a file and reads all its numbers.
fn read_all(bytes: &[u8]) -> Result<usize, CheckpointError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, bytes).unwrap();
    let mut checkpoint = Checkpoint::open(file.path())?;
    let weights = checkpoint.dictionaries()[0].1.clone();
    let floats = weights.iter().filter(|(_, tensor)| tensor.is_float());
    let tensors = floats.map(|(key, tensor)| (key.as_str(), tensor)).collect();
    Ok(checkpoint.read(&tensors)?.len())
}

fn told(bytes: &[u8]) -> String {
    let error = read_all(bytes).unwrap_err();
    format!("{error}; {}", error.hint().unwrap_or_default())
}

#[test]
fn every_kind_of_file_is_named_with_what_to_do() {
    for (bytes, what, hint) in [
        (
            golden("generator_legacy.pth"),
            "torch before 1.6",
            "torch.save(torch.load(",
        ),
        (Vec::new(), "an empty file", "again"),
        (
            b"version https://git-lfs.github.com/spec/v1\n".to_vec(),
            "Git LFS",
            "git lfs pull",
        ),
        (
            b"\x40\0\0\0\0\0\0\0{\"a\":{}}".to_vec(),
            "safetensors",
            "torch.save",
        ),
        (
            b"\x80\x04N.".to_vec(),
            "a pickle that torch has not saved",
            "state_dict",
        ),
        (b"<!DOCTYPE html>".to_vec(), "a web page", "download"),
        (b"\x08\x08\x12\x07pytorch".to_vec(), "ONNX", ".onnx"),
        (b"RIFF".to_vec(), "unknown kind", "N.pth"),
    ] {
        let text = told(&bytes);
        assert!(text.contains(what) && text.contains(hint), "{text}");
    }
}

/// An archive of these files.
fn archive(files: &[(&str, &[u8])], options: SimpleFileOptions) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        zip.start_file(*name, options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn stored() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Stored)
}

#[test]
fn archives_of_other_programs_are_told_apart() {
    let pickle: &[u8] = b"\x80\x02}.";
    let text = told(&archive(
        &[("a/data.pkl", pickle), ("a/constants.pkl", pickle)],
        stored(),
    ));
    assert!(text.contains("TorchScript"), "{text}");
    let text = told(&archive(&[("frames/0.jpg", b"")], stored()));
    assert!(text.contains("without a data.pkl"), "{text}");
    let text = told(&archive(
        &[("a/data.pkl", pickle), ("b/data.pkl", pickle)],
        stored(),
    ));
    assert!(text.contains("more than one data.pkl"), "{text}");
    let text = told(&archive(
        &[("a/data.pkl", pickle), ("a/byteorder", b"big")],
        stored(),
    ));
    assert!(text.contains("big-endian"), "{text}");
    let text = told(&archive(&[("a/data.pkl", pickle)], stored()));
    assert!(text.contains("holds no weights"), "{text}");
    let hostile: &[u8] = b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.";
    let text = told(&archive(&[("a/data.pkl", hostile)], stored()));
    assert!(
        text.contains("names os.system, which weights do not need; nothing of it was run"),
        "{text}"
    );
}

#[test]
fn a_pickle_is_bounded_whatever_its_archive_says() {
    let long = vec![b'N'; pickle::BYTES_MAX as usize + 1];
    let text = told(&archive(&[("a/data.pkl", &long)], stored()));
    assert!(text.contains("more than the"), "{text}");
}

/// Overwrites what follows the mark of every central header, where sizes and methods are.
fn patched(mut bytes: Vec<u8>, name: &str, at: usize, value: &[u8]) -> Vec<u8> {
    let mark = b"PK\x01\x02";
    let mut places = (0..bytes.len() - 46).filter(|&start| {
        bytes[start..].starts_with(mark) && bytes[start + 46..].starts_with(name.as_bytes())
    });
    let start = places.next().unwrap();
    drop(places);
    bytes[start + at..start + at + value.len()].copy_from_slice(value);
    bytes
}

#[test]
fn sizes_that_lie_cost_no_memory() {
    let whole = archive(&[("a/data.pkl", b"\x80\x02}.")], stored());
    for size in [[0, 0, 0, 4], [0xfe, 0xff, 0xff, 0xff], [5, 0, 0, 0], [0; 4]] {
        let mut lying = whole.clone();
        for at in [20, 24] {
            lying = patched(lying, "a/data.pkl", at, &size);
        }
        let text = told(&lying);
        assert!(text.contains("damaged"), "{text}");
    }
    // Said to be deflated: torch does not compress, so nothing is unpacked.
    let text = told(&patched(whole, "a/data.pkl", 10, &[8, 0]));
    assert!(text.contains("damaged"), "{text}");
}

#[test]
fn a_cut_checkpoint_is_an_error_wherever_it_is_cut() {
    let whole = golden("audio_visual_encoder.pth");
    assert_eq!(read_all(&whole).unwrap(), 78);
    for length in (0..whole.len()).step_by(1009) {
        read_all(&whole[..length]).unwrap_err();
    }
}

/// All float weights of a golden checkpoint.
fn numbers(name: &str) -> BTreeMap<String, Vec<f32>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints");
    let mut checkpoint = Checkpoint::open(&folder.join(name)).unwrap();
    let weights = checkpoint.dictionaries()[0].1.clone();
    let floats = weights.iter().filter(|(_, tensor)| tensor.is_float());
    let tensors = floats.map(|(key, tensor)| (key.as_str(), tensor)).collect();
    checkpoint.read(&tensors).unwrap()
}

#[test]
fn rounded_weights_are_the_exact_ones_to_half_a_step() {
    let exact = numbers("generator.pth");
    assert!(exact.len() > 400);
    assert_eq!(numbers("generator_double.pth"), exact);
    // Half of the last of 11 and of 8 bits.
    for (name, step) in [
        ("generator_half.pth", 2_f32.powi(-11)),
        ("generator_bfloat16.pth", 2_f32.powi(-8)),
    ] {
        for (key, rounded) in numbers(name) {
            for (&rounded, &exact) in rounded.iter().zip(&exact[&key]) {
                // Below 6e-5, halves have fewer bits.
                let most = exact.abs().max(6.2e-5) * step;
                assert!(
                    (rounded - exact).abs() <= most,
                    "{name} {key}: {rounded} for {exact}"
                );
            }
        }
    }
}

#[test]
fn a_number_that_is_none_names_its_weight() {
    // All but the first five elements of the storage are weights; a view that begins there sees a NaN.
    let whole = golden("generator_views.pth");
    let nan = f32::NAN.to_le_bytes();
    let start = whole.windows(20).position(|part| part == [nan; 5].concat());
    let mut bytes = whole.clone();
    let at = start.unwrap() + 20;
    bytes[at..at + 4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    let text = told(&bytes);
    // The archive's own sum notices, or the number itself is named: nothing passes.
    assert!(
        text.contains("Invalid checksum") || text.contains("NaN"),
        "{text}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Bytes changed anywhere: an error or weights, never a panic, and never long.
    #[test]
    fn a_changed_checkpoint_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        in_pickle in any::<bool>(),
    ) {
        let mut bytes = golden("generator_views.pth");
        // The pickle comes first; most of the rest is numbers.
        let range = if in_pickle { 0..70_000 } else { 0..bytes.len() };
        for (place, value) in changes {
            bytes[range.start + place.index(range.len())] = value;
        }
        let _ = read_all(&bytes);
    }

    /// The same of a pickle alone, past the archive's checksum.
    #[test]
    fn a_changed_pickle_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..16),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = pickle_of("generator_nested.pth");
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        let _ = pickle::read(&bytes).map(|objects| dictionaries(&objects));
        let _ = pickle::read(&bytes[..cut.index(bytes.len())]);
    }
}

fn pickle_of(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints");
    let file = File::open(folder.join(name)).unwrap();
    let mut archive = ZipArchive::new(BufReader::new(file)).unwrap();
    let folder = kinds::folder(&folder, &archive).unwrap();
    entry(
        &mut archive,
        &format!("{folder}data.pkl"),
        pickle::BYTES_MAX,
    )
    .unwrap()
}
