use std::convert::Infallible;
use std::sync::Arc;

use openh264::decoder::Decoder;
use openh264::formats::YUVSource;

use super::codec::header::{PictureHeader, Stream as Parameters};
use super::codec::layout::{Layout, MbSize, Pixels, Planes};
use super::codec::picture::{Effort, PictureEncoder};
use super::{Mouth, Options, Plan, Stream, Video};
use crate::avatar::Sequence;
use crate::frame::{Frame, Rect, Size};

/// Something moving, with texture and noise.
fn sample(x: usize, y: usize, t: usize, noise: u32) -> u8 {
    let (x, y) = (x as f32 + 1.3 * t as f32, y as f32 - 0.7 * t as f32);
    let base = 128.0 + 60.0 * (x / 9.0).sin() * (y / 13.0).cos() + 30.0 * ((x + y) / 31.0).sin();
    let hash = (x as u32).wrapping_mul(0x9E37_79B1) ^ (y as u32).wrapping_mul(0x85EB_CA77) ^ (t as u32).wrapping_mul(77777);
    let hash = (hash ^ hash >> 15).wrapping_mul(0x2C1B_3C6D) >> 16;
    (base + (hash % (noise + 1)) as f32).clamp(0.0, 255.0) as u8
}

fn source(mbs: (usize, usize), t: usize, noise: u32) -> Vec<Pixels> {
    let mut out = Vec::new();
    for my in 0..mbs.1 {
        for mx in 0..mbs.0 {
            let mut p = Pixels::ZERO;
            for i in 0..256 {
                p.luma[i] = sample(16 * mx + i % 16, 16 * my + i / 16, t, noise);
            }
            for c in 0..2 {
                for i in 0..64 {
                    p.chroma[c][i] = sample(8 * mx + i % 8 + 100 * c, 8 * my + i / 8, t, noise);
                }
            }
            out.push(p);
        }
    }
    out
}

fn same(decoder: &mut Decoder, data: &[u8], planes: &Planes, size: Size) {
    let yuv = decoder.decode(data).unwrap().expect("a picture at once");
    let (w, h) = yuv.dimensions();
    assert_eq!((w, h), (size.width as usize, size.height as usize));
    let (sy, su, sv) = yuv.strides();
    for y in 0..h {
        assert_eq!(yuv.y()[y * sy..][..w], planes.luma[y * planes.width..][..w], "luma row {y}");
    }
    for y in 0..h / 2 {
        let at = y * planes.width / 2;
        assert_eq!(yuv.u()[y * su..][..w / 2], planes.chroma[0][at..][..w / 2], "cb row {y}");
        assert_eq!(yuv.v()[y * sv..][..w / 2], planes.chroma[1][at..][..w / 2], "cr row {y}");
    }
}

#[test]
fn whole_pictures_decode_as_rebuilt() {
    for qp in [0, 4, 10, 16, 20, 24, 28, 34, 40, 46, 51] {
        for noise in [0, 8, 255] {
            for effort in [Effort::Live, Effort::Thorough] {
            let size = Size { width: 96, height: 80 };
            let stream = Parameters { size, fps: 25, qp, level: 31 };
            let layout = Layout::around(stream.mb_size(), &vec![0..30]);
            let mut encoder = PictureEncoder::new(qp, effort);
            encoder.set_layout(&layout);
            let mut decoder = Decoder::new().unwrap();
            for t in 0..8 {
                let source = source((6, 5), t, noise);
                let mut out = stream.parameter_sets();
                let header = PictureHeader { number: t as u32, key_id: 0 };
                let slices = encoder.encode(&layout, (header, header.kind()), |at| &source[at]);
                out.extend_from_slice(&slices.get(0));
                same(&mut decoder, &out, encoder.planes(), size);
            }
            }
        }
    }
}

fn frame(size: Size, t: usize, noise: u32) -> Frame {
    let mut data = Vec::new();
    for y in 0..size.height as usize {
        for x in 0..size.width as usize {
            data.extend([0, 1, 2].map(|c| sample(x + 50 * c, y, t, noise)));
        }
    }
    Frame::from_rgb(size, data).unwrap()
}

#[test]
fn spliced_pictures_decode_as_rebuilt() {
    let size = Size { width: 160, height: 128 };
    for noise in [0, 20] {
    for slices_max in [3, 7, 31] {
    let rects: Vec<_> = (0..6).map(|i| Rect::new(41 + i, 35 + 2 * i, 95 + i, 90 + 2 * i).unwrap()).collect();
    let options = Options { fps: 25, group_frames: 8, slices_max };
    let plan = Plan::new(size, &rects, Sequence::PingPong, &options).unwrap();
    let frames: Vec<_> = (0..6).map(|t| Arc::new(frame(size, t, noise))).collect();
    let video = Arc::new(Video::new(plan, 24));
    let read = |i: usize| Ok::<_, Infallible>(Arc::clone(&frames[i]));
    for group in 0..video.plan().groups() {
        video.prepare(group, read).unwrap();
    }
    let mut stream = Stream::new(Arc::clone(&video));
    let mut decoder = Decoder::new().unwrap();
    for k in 0..70 {
        let position = video.plan().position(k);
        let patch = frame(video.plan().rect(position.background).size(), 3 * k as usize, noise);
        let mouth = match k {
            7..12 | 33..40 => Mouth::Rest,
            14 | 15 | 20..25 | 42..46 => Mouth::Hold,
            _ => Mouth::Patch(patch.data()),
        };
        let unit = stream.encode(k, mouth, || read(position.background)).unwrap();
        let data = unit.parts.concat();
        let yuv = decoder.decode(&data).unwrap().expect("a picture at once");
        let _ = stream.check(yuv.y(), yuv.u(), yuv.v(), yuv.strides().0, yuv.strides().1, k);
    }
    }
    }
}
