//! Whole-frame encoding against independent decoders, and the edges.

use super::*;

/// A picture with smooth parts and noise, different for each seed.
pub(super) fn picture(size: Size, seed: u32) -> Frame {
    let mut noise = seed.wrapping_mul(2_654_435_769) | 1;
    let data = (0..size.rgb_bytes() as u32)
        .map(|i| {
            noise ^= noise << 13;
            noise ^= noise >> 17;
            noise ^= noise << 5;
            let (x, y) = (i / 3 % size.width, i / 3 / size.width);
            (x / 2 + y / 3 + 40 * (i % 3) + seed + noise % 5) as u8
        })
        .collect();
    Frame::from_rgb(size, data).unwrap()
}

/// The expected pixels, one by one.
pub(super) fn naive_paste(background: &Frame, rect: Rect, patch: &[u8]) -> Vec<u8> {
    let mut pixels = background.data().to_vec();
    for (i, value) in patch.iter().enumerate() {
        let (x, y) = (
            i / 3 % rect.size().width as usize,
            i / 3 / rect.size().width as usize,
        );
        let (x, y) = (x + rect.x1() as usize, y + rect.y1() as usize);
        pixels[3 * (y * background.size().width as usize + x) + i % 3] = *value;
    }
    pixels
}

fn decode_png(bytes: &[u8]) -> (Size, Vec<u8>) {
    let mut reader = ::png::Decoder::new(std::io::Cursor::new(bytes))
        .read_info()
        .unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    (
        Size {
            width: info.width,
            height: info.height,
        },
        pixels,
    )
}

const SIZE: Size = Size {
    width: 37,
    height: 23,
};

/// Rectangles in the middle, on each border, of one pixel, and the whole frame.
fn rects() -> impl Iterator<Item = Rect> {
    [
        (5, 6, 17, 15),
        (0, 0, 4, 5),
        (30, 20, 37, 23),
        (36, 22, 37, 23),
        (9, 9, 10, 10),
        (0, 0, 37, 23),
    ]
    .into_iter()
    .map(|(x1, y1, x2, y2)| Rect::new(x1, y1, x2, y2).unwrap())
}

#[test]
fn png_and_rgb_hold_the_patch_and_nothing_else_changes() {
    let encoder = Encoder::new(4);
    let frame = Arc::new(picture(SIZE, 1));
    for rect in rects() {
        let background = Background::new(Arc::clone(&frame), rect);
        let patch = picture(rect.size(), 99);
        let expected = naive_paste(&frame, rect, patch.data());
        let rgb = encoder
            .encode(&background, patch.data(), Format::Rgb)
            .unwrap()
            .into_bytes();
        assert!(rgb == expected, "{rect}");
        let png = encoder
            .encode(&background, patch.data(), Format::Png)
            .unwrap()
            .into_bytes();
        assert!(decode_png(&png) == (SIZE, expected), "{rect}");
    }
}

#[test]
fn prepared_pieces_need_no_pixels_for_png_and_say_so_for_the_rest() {
    let encoder = Encoder::new(4);
    let frame = Arc::new(picture(SIZE, 1));
    let rect = Rect::new(5, 6, 17, 15).unwrap();
    let patch = picture(rect.size(), 99);
    let expected = naive_paste(&frame, rect, patch.data());
    let prepared = Arc::new(PreparedPng::prepare(&frame, rect, None, Effort::Quick));
    let bare = Background::from_prepared(Arc::clone(&prepared));
    let png = encoder.encode(&bare, patch.data(), Format::Png).unwrap();
    assert_eq!(png.parts().len(), 4);
    assert!(decode_png(&png.into_bytes()) == (SIZE, expected.clone()));
    assert!(bare.can_encode(Format::Png) && !bare.can_encode(Format::Rgb));
    let error = encoder
        .encode(&bare, patch.data(), Format::Rgb)
        .unwrap_err();
    assert!(matches!(error, EncodeError::NoPixels), "{error}");
    let full = bare.with_pixels(frame);
    let rgb = encoder.encode(&full, patch.data(), Format::Rgb).unwrap();
    assert!(rgb.into_bytes() == expected);
}

/// A whole frame's planes, packed.
fn naive_planes(size: Size, rgb: &[u8]) -> Vec<u8> {
    let chroma = yuv::chroma_size(size);
    let [mut y, mut cb, mut cr] =
        [size, chroma, chroma].map(|plane| vec![0; (plane.width * plane.height) as usize]);
    let mut planes = yuv::PlanesMut {
        y: &mut y,
        cb: &mut cb,
        cr: &mut cr,
        luma_stride: size.width as usize,
        chroma_stride: chroma.width as usize,
    };
    yuv::convert(rgb, size, &mut planes);
    [y, cb, cr].concat()
}

#[test]
fn spliced_planes_are_those_of_the_whole_frame() {
    let encoder = Encoder::new(4);
    let even = Size {
        width: 38,
        height: 24,
    };
    for size in [SIZE, even] {
        let frame = Arc::new(picture(size, 1));
        for rect in rects() {
            let patch = picture(rect.size(), 99);
            let pixels = naive_paste(&frame, rect, patch.data());
            let expected = naive_planes(size, &pixels);
            let prepared = Arc::new(PreparedI420::prepare(&frame, rect));
            assert!(prepared.memory_bytes() <= PreparedI420::memory_bytes_max(size, rect));
            let bare = Background::from_planes(prepared);
            assert!(bare.can_encode(Format::I420) && !bare.can_encode(Format::Rgb));
            for background in [Background::new(Arc::clone(&frame), rect), bare] {
                let encoded = encoder.encode(&background, patch.data(), Format::I420);
                assert!(encoded.unwrap().into_bytes() == expected, "{size} {rect}");
            }
        }
    }
}

#[test]
fn an_unchanged_background_has_the_bytes_of_its_own_pixels_and_a_jpeg_shares_them() {
    let encoder = Encoder::new(4);
    let frame = Arc::new(picture(SIZE, 1));
    for rect in rects() {
        let background = Background::new(Arc::clone(&frame), rect);
        let width = 3 * rect.size().width as usize;
        let rows = (rect.y1()..rect.y2()).map(|y| &frame.row(y)[3 * rect.x1() as usize..][..width]);
        let own = rows.collect::<Vec<_>>().concat();
        for format in [
            Format::Png,
            Format::Rgb,
            Format::I420,
            Format::Jpeg { quality: 75 },
            Format::Jpeg { quality: 90 },
        ] {
            let unchanged = encoder.encode_unchanged(&background, &own, format).unwrap();
            let expected = encoder.encode(&background, &own, format).unwrap();
            assert!(
                unchanged.into_bytes() == expected.into_bytes(),
                "{rect} {format:?}"
            );
        }
        let planes = PreparedI420::prepare(&frame, rect);
        let planes = Background::from_planes(Arc::new(planes));
        for (background, format) in [
            (&background, Format::Jpeg { quality: 90 }),
            (&planes, Format::I420),
        ] {
            let file = || {
                let image = encoder.encode_unchanged(background, &own, format);
                image.unwrap().into_bytes().as_ptr()
            };
            assert_eq!(file(), file(), "{rect} {format:?}: the same memory");
        }
    }
}

#[test]
fn buffers_return_when_the_frame_is_dropped() {
    let encoder = Encoder::new(4);
    let rect = Rect::new(1, 1, 3, 3).unwrap();
    let background = Background::new(Arc::new(picture(SIZE, 1)), rect);
    let encoded = encoder.encode(&background, &[0; 12], Format::Png).unwrap();
    assert_eq!((encoder.buffers.idle(), encoded.byte_len() > 50), (1, true));
    drop(encoded);
    assert_eq!(encoder.buffers.idle(), 2);
}

#[test]
fn what_jpeg_cannot_hold_is_an_error() {
    let encoder = Encoder::new(4);
    let rect = Rect::new(0, 0, 1, 1).unwrap();
    let small = Background::new(Arc::new(picture(SIZE, 1)), rect);
    for quality in [0, 101] {
        let error = encoder
            .encode(&small, &[0; 3], Format::Jpeg { quality })
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("JPEG quality {quality} is out of range: use 1 to 100")
        );
    }
    let long = Background::new(
        Arc::new(picture(
            Size {
                width: 65_536,
                height: 1,
            },
            1,
        )),
        rect,
    );
    let error = encoder
        .encode(&long, &[0; 3], Format::Jpeg { quality: 80 })
        .unwrap_err();
    assert!(matches!(error, EncodeError::JpegSize(_)), "{error}");
}
