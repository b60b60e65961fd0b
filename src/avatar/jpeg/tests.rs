use std::path::{Path, PathBuf};

use super::*;

/// JPEGs and what `OpenCV` reads of them: see `tools/golden_jpeg.py`.
fn goldens() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/jpeg");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "jpg"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_kind_is_decoded_as_opencv_does() {
    let mut compared = 0;
    for path in goldens() {
        let expected = path.with_extension("png");
        if !expected.exists() {
            continue;
        }
        let expected = image::open(expected).unwrap().into_rgb8();
        let decoded = decode(&std::fs::read(&path).unwrap()).unwrap().unwrap();
        let decoded = decoded.into_rgb8();
        assert_eq!(decoded.dimensions(), expected.dimensions(), "{path:?}");
        let most = decoded
            .iter()
            .zip(expected.iter())
            .map(|(a, b)| a.abs_diff(*b))
            .max();
        assert_eq!(most, Some(0), "{path:?}");
        compared += 1;
    }
    assert_eq!(compared, 21);
}

#[test]
fn the_colours_of_printing_are_left_to_another_decoder() {
    let path = goldens()
        .into_iter()
        .find(|path| path.ends_with("cmyk.jpg"));
    let file = std::fs::read(path.unwrap()).unwrap();
    assert!(decode(&file).unwrap().is_none());
}

#[test]
fn a_file_that_is_cut_anywhere_before_its_last_line_is_refused() {
    for path in goldens() {
        let file = std::fs::read(&path).unwrap();
        let whole = decode(&file).unwrap().map(DynamicImage::into_rgb8);
        let mut refused = 0;
        for length in 0..file.len() {
            match decode(&file[..length]) {
                Err(_) => refused += 1,
                // Only what follows the last line may be missing.
                Ok(part) => assert_eq!(
                    part.map(DynamicImage::into_rgb8),
                    whole,
                    "{path:?} {length}"
                ),
            }
        }
        if whole.is_some() {
            assert!(
                refused >= file.len() - 16,
                "{path:?}: {refused} of {}",
                file.len()
            );
        }
    }
}

#[test]
fn bytes_that_are_changed_never_end_the_process() {
    for (index, path) in goldens().into_iter().enumerate() {
        let file = std::fs::read(&path).unwrap();
        let mut seed = index as u32 + 1;
        for _ in 0..200 {
            let mut file = file.clone();
            for _ in 0..3 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = (seed >> 8) as usize % file.len();
                file[at] = (seed >> 3) as u8;
            }
            // Pixels or an error; a header may name a picture of gigabytes.
            if !is_large(&file) {
                let _ = decode(&file);
            }
        }
    }
}

/// Whether the header asks for more memory than a test should take.
fn is_large(file: &[u8]) -> bool {
    let reader = image::ImageReader::new(io::Cursor::new(file)).with_guessed_format();
    let decoder = reader.ok().and_then(|reader| reader.into_decoder().ok());
    decoder.is_none_or(|decoder| image::ImageDecoder::total_bytes(&decoder) > 64 << 20)
}

#[test]
fn what_is_no_jpeg_is_told_in_the_librarys_words() {
    let error = decode(b"\xff\xd8\xff\xd9").unwrap_err();
    assert!(!error.is_empty(), "{error}");
    assert!(!is_jpeg(b"\x89PNG"));
}
