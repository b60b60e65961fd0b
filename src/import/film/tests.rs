//! Films that ffmpeg made, held to what ffmpeg decodes of them: `tools/golden_films.py`.

use proptest::prelude::*;

use super::*;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/films")
        .join(name)
}

/// The film's pictures, one below the other.
fn pictures(path: &Path) -> Result<(usize, Vec<u8>), ImportError> {
    let mut film = Film::open(path)?;
    let (mut count, mut rgb) = (0, Vec::new());
    while let Some(frame) = film.next()? {
        count += 1;
        rgb.extend(frame.data());
    }
    assert_eq!(count, film.pictures());
    Ok((count, rgb))
}

#[test]
fn pictures_are_those_that_ffmpeg_shows_in_their_order() {
    for (name, expected_count) in [("baseline", 12), ("high", 12), ("edited", 0)] {
        let (count, found) = pictures(&golden(&format!("{name}.mp4"))).unwrap();
        let expected = image::open(golden(&format!("{name}.png")))
            .unwrap()
            .to_rgb8();
        assert_eq!(expected.height() as usize, 66 * count, "{name}");
        assert!(
            expected_count == 0 || count == expected_count,
            "{name}: {count}"
        );
        let off = found.iter().zip(expected.as_raw());
        let off: Vec<u8> = off.map(|(&a, &b)| a.abs_diff(b)).collect();
        // swscale is off by this much from the formula in numpy; ours is not.
        let worst = off.iter().max().unwrap();
        let mean = off.iter().map(|&by| f64::from(by)).sum::<f64>() / off.len() as f64;
        assert!(
            *worst <= 3 && mean <= 1.5,
            "{name}: off by {worst}, {mean:.3} in the mean"
        );
    }
}

#[test]
fn what_is_not_read_is_named() {
    for (name, reason) in [
        ("mpeg4.mp4", "its pictures are MPEG-4 Part 2, not H.264"),
        ("fragmented.mp4", "it is fragmented"),
        ("deep.mp4", "of profile 110"),
        ("high.png", "it is no MP4"),
    ] {
        let Err(error) = pictures(&golden(name)) else {
            panic!("{name} was read");
        };
        assert!(error.to_string().contains(reason), "{error}");
        let hint = error.hint().unwrap();
        assert!(
            hint.contains("ffmpeg -i ") && hint.contains("%d.png"),
            "{hint}"
        );
    }
}

#[test]
fn a_cut_film_is_an_error_wherever_it_is_cut() {
    let whole = std::fs::read(golden("high.mp4")).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    for length in (0..whole.len() - 1).step_by(487) {
        std::fs::write(&file, &whole[..length]).unwrap();
        pictures(file.path()).unwrap_err();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Tables changed anywhere: an error or pictures, never a panic.
    #[test]
    fn changed_tables_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut bytes = std::fs::read(golden("high.mp4")).unwrap();
        let start = bytes.windows(4).position(|part| part == b"moov").unwrap();
        let length = bytes.len() - start;
        for (place, value) in changes {
            bytes[start + place.index(length)] = value;
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, bytes).unwrap();
        let mut read = std::fs::File::open(&file).unwrap();
        let _ = Track::read(&mut read);
    }
}
