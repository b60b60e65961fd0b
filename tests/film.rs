//! Films held against ffmpeg, which shares no code with what wrote them: pictures, colours, sound, and both in time.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

#[path = "common/film.rs"]
mod common;

use std::path::Path;

use bytes::Bytes;
use common::{click_track, ffmpeg, ffprobe, has_ffmpeg, loudest_second, psnr, wav};
use lipsync::audio::AudioReader;
use lipsync::encoder::Encoded;
use lipsync::film::{Clip, FilmError, Target};
use lipsync::frame::Size;

const FPS: u32 = 25;
const FRAMES: usize = 60;
/// The white frame, and the click beside it.
const FLASH: usize = 10;

/// A soft picture that moves, and one white frame.
fn picture(size: Size, frame: usize) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(size.rgb_bytes());
    for y in 0..size.height {
        for x in 0..size.width {
            let wave = |speed: f32| {
                let angle = (x as f32 + speed * frame as f32) / 17.0 + y as f32 / 23.0;
                (128.0 + 90.0 * angle.sin()) as u8
            };
            rgb.extend(if frame == FLASH {
                [255; 3]
            } else {
                [wave(1.0), wave(0.5), wave(0.2)]
            });
        }
    }
    rgb
}

fn render(target: &Target, size: Size, sound: Option<Vec<u8>>) -> Result<(), FilmError> {
    let sound = sound.map(|bytes| AudioReader::from_bytes("click.wav", bytes).unwrap());
    let mut film = target.create(Clip { size, fps: FPS }, sound)?;
    for frame in 0..FRAMES {
        film.push(&Encoded::from(vec![Bytes::from(picture(size, frame))]))?;
    }
    film.finish().map(drop)
}

fn seconds(frame: usize) -> f64 {
    frame as f64 / f64::from(FPS)
}

/// Asserts that ffmpeg decodes the pictures that were put in.
fn assert_pictures(film: &Path, size: Size, least_db: f64) {
    let decoded = ffmpeg(&[
        "-i",
        film.to_str().unwrap(),
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]);
    let even = Size {
        width: size.width.next_multiple_of(2),
        height: size.height.next_multiple_of(2),
    };
    assert_eq!(decoded.len(), FRAMES * even.rgb_bytes());
    for (frame, decoded) in decoded.chunks_exact(even.rgb_bytes()).enumerate() {
        let row = |rgb: &'_ [u8], width: u32, y: u32| {
            rgb[(3 * width * y) as usize..][..3 * size.width as usize].to_vec()
        };
        let expected = picture(size, frame);
        let rows = |rgb: &[u8], width: u32| {
            (0..size.height)
                .flat_map(|y| row(rgb, width, y))
                .collect::<Vec<u8>>()
        };
        let psnr = psnr(&rows(&expected, size.width), &rows(decoded, even.width));
        assert!(psnr > least_db, "frame {frame}: {psnr} dB");
    }
}

#[test]
fn pictures_colours_sound_and_time_survive() {
    if !has_ffmpeg() {
        return;
    }
    let size = Size {
        width: 96,
        height: 64,
    };
    let folder = tempfile::tempdir().unwrap();
    let length = seconds(FRAMES);
    for (rate, channels, coded_rate) in [
        (16_000, 1, 16_000),
        (44_100, 2, 44_100),
        (8_000, 1, 8_000),
        (11_025, 1, 11_025),
        (37_800, 1, 44_100),
        (96_000, 2, 96_000),
        (192_000, 6, 48_000),
    ] {
        let path = folder.path().join(format!("{rate}.mp4"));
        let sound = wav(rate, channels, &click_track(rate, length, seconds(FLASH)));
        render(&Target::Mp4(path.clone()), size, Some(sound)).unwrap();

        let film = path.to_str().unwrap();
        let of = |stream: &str, entries: &str| ffprobe(film, stream, entries);
        assert_eq!(
            of(
                "v:0",
                "stream=codec_name,width,height,pix_fmt,color_range,color_space,color_transfer,color_primaries"
            ),
            ["h264,96,64,yuv420p,tv,bt709,iec61966-2-1,bt709"]
        );
        let stereo = channels.min(2);
        assert_eq!(
            of("a:0", "stream=codec_name,sample_rate,channels"),
            [format!("aac,{coded_rate},{stereo}")]
        );
        // Nothing to complain about in the whole file.
        assert_eq!(ffmpeg(&["-i", film, "-f", "null", "-"]), b"");

        let times: Vec<f64> = of("v:0", "frame=pts_time")
            .iter()
            .map(|t| t.parse().unwrap())
            .collect();
        let expected: Vec<f64> = (0..FRAMES).map(seconds).collect();
        let off = times
            .iter()
            .zip(&expected)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max);
        assert!(times.len() == FRAMES && off < 1e-3, "{times:?}");
        let keys = of("v:0", "frame=key_frame");
        let keys: Vec<usize> = (0..FRAMES).filter(|&frame| keys[frame] == "1").collect();
        assert!(keys.contains(&0) && keys.contains(&50), "{keys:?}");

        let pcm = ffmpeg(&["-i", film, "-f", "f32le", "-ac", "1", "-ar", "48000", "-"]);
        let (samples, _) = pcm.as_chunks::<4>();
        let samples: Vec<f32> = samples
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect();
        let heard = loudest_second(&samples, 48_000);
        assert!(
            (heard - seconds(FLASH)).abs() < 0.01,
            "{rate} Hz: click heard at {heard} s"
        );
        let sound_length = samples.len() as f64 / 48_000.0;
        // Some versions of ffmpeg do not cut the last packet where the edit list ends.
        let packet = 1024.0 / f64::from(coded_rate);
        assert!(
            (-0.01..packet + 0.01).contains(&(sound_length - length)),
            "{rate} Hz: {sound_length} s of sound"
        );
    }
    assert_pictures(&folder.path().join("16000.mp4"), size, 34.0);
}

/// Speech seldom lasts a whole number of frames, and the last windows end before it does.
#[test]
fn the_last_frame_stays_until_the_sound_has_ended() {
    if !has_ffmpeg() {
        return;
    }
    let size = Size {
        width: 64,
        height: 48,
    };
    let folder = tempfile::tempdir().unwrap();
    for (rate, samples, held) in [
        (16_000u32, 10u32, 0u64),
        (16_000, 38_400, 0),
        (16_000, 38_401, 1),
        (44_100, 110_250, 3),
        (22_050, 66_150, 15),
    ] {
        let sound = wav(rate, 1, &vec![0.1; samples as usize]);
        for target in [
            Target::Mp4(folder.path().join("held.mp4")),
            Target::Ffmpeg(folder.path().join("held.mkv")),
        ] {
            let reader = AudioReader::from_bytes("tone.wav", sound.clone()).unwrap();
            let mut film = target
                .create(Clip { size, fps: FPS }, Some(reader))
                .unwrap();
            for frame in 0..FRAMES {
                let picture = picture(size, frame);
                film.push(&Encoded::from(vec![Bytes::from(picture)]))
                    .unwrap();
            }
            let name = target.path().to_str().unwrap();
            assert_eq!(
                film.finish().unwrap(),
                held,
                "{name}, {samples} at {rate} Hz"
            );
            let shown = FRAMES + held as usize;
            assert_eq!(
                ffprobe(name, "v:0", "frame=pts_time").len(),
                shown,
                "{name}"
            );
            let decoded = ffmpeg(&["-i", name, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]);
            let last = decoded.chunks_exact(size.rgb_bytes()).next_back().unwrap();
            let psnr = psnr(&picture(size, FRAMES - 1), last);
            assert!(psnr > 30.0, "{name}: the last frame is another: {psnr} dB");
        }
    }
}

#[test]
fn odd_sides_and_no_sound() {
    if !has_ffmpeg() {
        return;
    }
    let size = Size {
        width: 67,
        height: 45,
    };
    let folder = tempfile::tempdir().unwrap();
    let film = folder.path().join("odd.mp4");
    render(&Target::Mp4(film.clone()), size, None).unwrap();
    assert_pictures(&film, size, 34.0);
}

#[test]
fn the_header_comes_first_and_nothing_else_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let film = folder.path().join("talk.mp4");
    let sound = wav(16_000, 1, &click_track(16_000, 2.4, 0.4));
    let size = Size {
        width: 64,
        height: 48,
    };
    render(&Target::Mp4(film.clone()), size, Some(sound)).unwrap();

    let bytes = std::fs::read(&film).unwrap();
    let mut boxes = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let length = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        boxes.push(String::from_utf8(bytes[at + 4..at + 8].to_vec()).unwrap());
        at += match length {
            1 => u64::from_be_bytes(bytes[at + 8..at + 16].try_into().unwrap()) as usize,
            length => length as usize,
        };
    }
    assert_eq!(
        (boxes.join(" "), at),
        ("ftyp moov mdat".to_owned(), bytes.len())
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_film_that_is_dropped_or_has_no_frames_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::Mp4(folder.path().join("talk.mp4"));
    let clip = Clip {
        size: Size {
            width: 64,
            height: 48,
        },
        fps: FPS,
    };
    let mut film = target.create(clip, None).unwrap();
    film.push(&Encoded::from(vec![Bytes::from(picture(clip.size, 0))]))
        .unwrap();
    drop(film);
    let error = target.create(clip, None).unwrap().finish().unwrap_err();
    assert!(matches!(error, FilmError::NoFrames), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn frames_that_h264_cannot_hold_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::Mp4(folder.path().join("talk.mp4"));
    for (width, height) in [(3842, 720), (8, 8), (2400, 2400)] {
        let size = Size { width, height };
        let error = target
            .create(Clip { size, fps: FPS }, None)
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains(&size.to_string()) && error.contains("--encoder ffmpeg"),
            "{error}"
        );
    }
}

#[test]
fn ffmpeg_writes_what_its_ending_says() {
    if !has_ffmpeg() {
        return;
    }
    let size = Size {
        width: 67,
        height: 45,
    };
    let folder = tempfile::tempdir().unwrap();
    let film = folder.path().join("talk.mkv");
    let sound = wav(
        16_000,
        1,
        &click_track(16_000, seconds(FRAMES), seconds(FLASH)),
    );
    render(&Target::Ffmpeg(film.clone()), size, Some(sound)).unwrap();
    assert_pictures(&film, size, 30.0);
    assert_eq!(
        ffprobe(film.to_str().unwrap(), "a:0", "stream=channels"),
        ["1"]
    );
    // An ending it does not know: its own words, and nothing left.
    let unknown = Target::Ffmpeg(folder.path().join("talk.nonsense"));
    let error = render(&unknown, size, None).unwrap_err().to_string();
    assert!(error.contains("ffmpeg cannot write"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
