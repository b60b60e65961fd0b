//! Spliced frames against whole ones, by decoders that check everything.

use std::io::Read;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::encoder::tests::{naive_paste, picture};
use crate::frame::pool::Pool;
use crate::frame::{Frame, Rect, Size};

fn splice_bytes(prepared: &PreparedPng, patch: &[u8]) -> Vec<u8> {
    splice(prepared, patch, Pool::new(1).take()).concat()
}

/// Pixels by the `png` crate, CRC and Adler checked.
fn decode_strict(bytes: &[u8]) -> Vec<u8> {
    let mut decoder = ::png::Decoder::new(std::io::Cursor::new(bytes));
    decoder.ignore_checksums(false);
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    reader.finish().unwrap();
    pixels
}

/// Pixels by walking the chunks here, inflating with zlib-rs, which checks the Adler, and undoing the filters naively.
fn decode_naively(bytes: &[u8], size: Size) -> Vec<u8> {
    let (mut idat, mut kinds) = (Vec::new(), Vec::new());
    let mut rest = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n").unwrap();
    while !rest.is_empty() {
        let length = u32::from_be_bytes(*rest.first_chunk().unwrap()) as usize;
        let (chunk, after) = rest.split_at(length + 12);
        let crc = u32::from_be_bytes(*chunk.last_chunk().unwrap());
        assert_eq!(crc32fast::hash(&chunk[4..8 + length]), crc);
        kinds.push(chunk[4..8].to_vec());
        if chunk[4..8] == *b"IDAT" {
            idat.extend_from_slice(&chunk[8..8 + length]);
        }
        rest = after;
    }
    assert_eq!(kinds.concat(), b"IHDRIDATIDATIDATIDATIEND");
    let mut stream = Vec::new();
    let mut inflater = flate2::bufread::ZlibDecoder::new(&idat[..]);
    inflater.read_to_end(&mut stream).unwrap();
    assert_eq!(
        inflater.total_in(),
        idat.len() as u64,
        "bytes after the stream"
    );

    let line = 3 * size.width as usize;
    assert_eq!(stream.len(), (1 + line) * size.height as usize);
    let mut pixels = Vec::new();
    for (y, row) in stream.chunks_exact(1 + line).enumerate() {
        for (i, &residual) in row[1..].iter().enumerate() {
            let back = |rows: usize, bytes: usize| {
                (y >= rows && i >= bytes).then(|| pixels[(y - rows) * line + i - bytes])
            };
            let [a, b, c] = [(0, 3), (1, 0), (1, 3)].map(|(r, p)| back(r, p).unwrap_or(0_u8));
            let predicted = match row[0] {
                0 => 0,
                1 => a,
                2 => b,
                3 => a.midpoint(b),
                4 => {
                    let p = i32::from(a) + i32::from(b) - i32::from(c);
                    // The first of equals wins.
                    *[a, b, c]
                        .iter()
                        .min_by_key(|&&v| (p - i32::from(v)).abs())
                        .unwrap()
                }
                other => panic!("filter {other}"),
            };
            pixels.push(residual.wrapping_add(predicted));
        }
    }
    pixels
}

/// Content of every kind the codes and matches can meet.
fn content(kind: u8, size: Size, seed: u32) -> Frame {
    let noise = |i: u32| {
        let mut h = (i + 1).wrapping_mul(2_654_435_761) ^ seed.wrapping_mul(2_246_822_519);
        h = (h ^ h >> 15).wrapping_mul(2_654_435_769);
        (h ^ h >> 13) as u8
    };
    let width = size.width;
    match kind {
        0 => picture(size, seed),
        kind => {
            let pixel = |i: u32| match kind {
                1 => noise(i),
                2 => 77,
                // Tiles: many long matches, rows apart.
                3 => noise(i % (3 * width) % 51),
                4 => noise(i / 200) & 0xf0,
                // Few values, not predictable.
                _ => noise(i) & 1,
            };
            let data = (0..size.rgb_bytes() as u32).map(pixel).collect();
            Frame::from_rgb(size, data).unwrap()
        }
    }
}

fn check(frame: &Frame, rect: Rect, patch: &[u8], representative: Option<&[u8]>, effort: Effort) {
    let prepared = PreparedPng::prepare(frame, rect, representative, effort);
    let expected = naive_paste(frame, rect, patch);
    let file = splice_bytes(&prepared, patch);
    assert!(
        decode_naively(&file, frame.size()) == expected,
        "{rect} of {}",
        frame.size()
    );
    assert!(
        decode_strict(&file) == expected,
        "{rect} of {}",
        frame.size()
    );
    let reread = PreparedPng::from_bytes(prepared.as_bytes().clone()).unwrap();
    assert!(
        splice_bytes(&reread, patch) == file,
        "{rect} of {}",
        frame.size()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn spliced_is_whole(
        (width, height) in (1_u32..90, 1_u32..70),
        (x1, y1, x2, y2) in (0_u32..90, 0_u32..70, 0_u32..90, 0_u32..70),
        (kind, patch_kind, seed) in (0_u8..6, 0_u8..6, 0_u32..1000),
        seeded: bool,
        thorough: bool,
    ) {
        let size = Size { width, height };
        let (x1, y1) = (x1 % width, y1 % height);
        let rect = Rect::new(x1, y1, x1 + 1 + x2 % (width - x1), y1 + 1 + y2 % (height - y1)).unwrap();
        let frame = content(kind, size, seed);
        let patch = content(patch_kind, rect.size(), seed + 1);
        let representative = content(patch_kind, rect.size(), seed + 2);
        let effort = if thorough { Effort::Thorough } else { Effort::Quick };
        check(&frame, rect, patch.data(), seeded.then_some(representative.data()), effort);
    }

    #[test]
    fn damage_is_noticed(at: usize, bit in 0_u32..8, cut: usize) {
        let size = Size { width: 20, height: 10 };
        let rect = Rect::new(3, 2, 9, 8).unwrap();
        let prepared = PreparedPng::prepare(&picture(size, 1), rect, None, Effort::Quick);
        let mut bytes = prepared.as_bytes().to_vec();
        let length = bytes.len();
        bytes[at % length] ^= 1 << bit;
        prop_assert!(PreparedPng::from_bytes(bytes.clone().into()).is_err());
        bytes[at % length] ^= 1 << bit;
        bytes.truncate(cut % length);
        prop_assert!(PreparedPng::from_bytes(bytes.into()).is_err());
    }
}

#[test]
fn every_edge_of_a_small_frame() {
    let size = Size {
        width: 5,
        height: 4,
    };
    let frame = picture(size, 5);
    for x1 in 0..5 {
        for x2 in x1 + 1..=5 {
            for y1 in 0..4 {
                for y2 in y1 + 1..=4 {
                    let rect = Rect::new(x1, y1, x2, y2).unwrap();
                    let patch = picture(rect.size(), 9);
                    check(&frame, rect, patch.data(), None, Effort::Quick);
                }
            }
        }
    }
}

#[test]
fn a_wide_frame_with_noise_where_silence_was_expected() {
    let size = Size {
        width: 640,
        height: 200,
    };
    let rect = Rect::new(249, 30, 431, 182).unwrap();
    let quiet = content(2, rect.size(), 0);
    let noise = content(1, rect.size(), 4);
    for kind in [0, 3] {
        let frame = content(kind, size, 3);
        check(
            &frame,
            rect,
            noise.data(),
            Some(quiet.data()),
            Effort::Quick,
        );
    }
}

#[test]
fn other_data_is_not_taken_for_prepared() {
    assert_eq!(
        PreparedPng::from_bytes(Bytes::from_static(b"\x89PNG\r\n\x1a\n")).unwrap_err(),
        PreparedError::Version
    );
    assert_eq!(
        PreparedPng::from_bytes(Bytes::new()).unwrap_err(),
        PreparedError::Version
    );
}
