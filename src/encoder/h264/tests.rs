//! Every decoded picture against what the encoder says that decoders see, bit for bit. The decoder is `openh264`.

use std::convert::Infallible;
use std::sync::Arc;

use openh264::decoder::Decoder;
use openh264::formats::YUVSource;
use proptest::prelude::*;

use super::base::samples;
use super::codec::header::{PictureHeader, Stream as Parameters};
use super::codec::layout::{Layout, Pixels};
use super::codec::picture::{Effort, PictureEncoder};
use super::group::GroupBuilder;
use super::{Mouth, Options, Plan, Stream, Video, choose_qp};
use crate::avatar::Sequence;
use crate::frame::{Frame, Rect, Size};

/// One value of a texture that moves with `t`, and noise that does not.
fn texture(x: usize, y: usize, t: usize, noise: u32) -> u8 {
    let (across, down) = (x as f32 + 1.3 * t as f32, y as f32 - 0.7 * t as f32);
    let smooth =
        60.0 * (across / 9.0).sin() * (down / 13.0).cos() + 30.0 * ((across + down) / 31.0).sin();
    let hash = (x as u32).wrapping_mul(0x9E37_79B1)
        ^ (y as u32).wrapping_mul(0x85EB_CA77)
        ^ (t as u32).wrapping_mul(0xC2B2_AE3D);
    let hash = (hash ^ (hash >> 15)).wrapping_mul(0x2C1B_3C6D) >> 16;
    (128.0 + smooth + (hash % (noise + 1)) as f32).clamp(0.0, 255.0) as u8
}

fn frame(size: Size, t: usize, noise: u32) -> Frame {
    let mut data = Vec::new();
    for y in 0..size.height as usize {
        for x in 0..size.width as usize {
            data.extend([0, 1, 2].map(|c| texture(x + 50 * c, y, t, noise)));
        }
    }
    Frame::from_rgb(size, data).unwrap()
}

/// A decoded picture, its odd sides rounded up.
struct Decoded {
    size: (usize, usize),
    luma: Vec<u8>,
    chroma: [Vec<u8>; 2],
}

/// What the decoder makes of one access unit, at once.
fn decode(decoder: &mut Decoder, unit: &[u8]) -> Decoded {
    let yuv = decoder.decode(unit).unwrap().expect("a picture at once");
    let size = yuv.dimensions();
    let plane = |data: &[u8], stride: usize, (width, height): (usize, usize)| {
        let rows = data.chunks(stride).take(height);
        rows.flat_map(|row| row[..width].to_vec()).collect()
    };
    let half = (size.0 / 2, size.1 / 2);
    let (luma, cb, cr) = yuv.strides();
    Decoded {
        size,
        luma: plane(yuv.y(), luma, size),
        chroma: [plane(yuv.u(), cb, half), plane(yuv.v(), cr, half)],
    }
}

/// Asserts that the picture shows, at the layout's places, what the encoder has there. Gives how many places.
fn assert_shows(
    picture: &Decoded,
    columns: usize,
    (layout, encoder): (&Layout, &PictureEncoder),
    what: &str,
) -> usize {
    let differs = |data: &[u8], own: &[u8], width: usize, side: usize, (x, y): (usize, usize)| {
        own.chunks(side).enumerate().any(|(row, own)| {
            let columns = width.saturating_sub(x).min(side);
            let there = data.get((y + row) * width + x..);
            there.is_some_and(|there| there.len() >= columns && there[..columns] != own[..columns])
        })
    };
    for place in &layout.places {
        let mut own = Pixels::ZERO;
        encoder.planes().read(layout.corner(place), &mut own);
        let (x, y) = (
            place.address as usize % columns,
            place.address as usize / columns,
        );
        let (width, half) = (picture.size.0, picture.size.0 / 2);
        let luma = differs(&picture.luma, &own.luma, width, 16, (16 * x, 16 * y));
        let chroma = (0..2).any(|plane| {
            let data = &picture.chroma[plane];
            differs(data, &own.chroma[plane], half, 8, (8 * x, 8 * y))
        });
        assert!(!luma && !chroma, "{what}: macroblock ({x}, {y}) differs");
    }
    layout.places.len()
}

#[test]
fn whole_pictures_of_every_quantiser_decode_as_rebuilt() {
    let size = Size {
        width: 80,
        height: 64,
    };
    for qp in [0, 8, 16, 24, 28, 33, 42, 51] {
        for (noise, effort) in [
            (0, Effort::Live),
            (8, Effort::Thorough),
            (255, Effort::Live),
            (255, Effort::Thorough),
        ] {
            let stream = Parameters {
                size,
                fps: 25,
                qp,
                level: 31,
            };
            let layout = Layout::whole(stream.mb_size());
            let mut encoder = PictureEncoder::new(qp, effort);
            encoder.set_layout(&layout);
            let mut decoder = Decoder::new().unwrap();
            for t in 0..4 {
                let source = samples(&frame(size, t, noise));
                let mut unit = stream.parameter_sets();
                let header = PictureHeader {
                    number: t as u32,
                    key_id: 0,
                };
                let slices = encoder.encode(&layout, (header, header.kind()), |at| &source[at]);
                unit.extend_from_slice(&slices.get(0));
                let picture = decode(&mut decoder, &unit);
                assert_eq!(picture.size, (80, 64));
                let what = format!("qp {qp}, noise {noise}, picture {t}");
                assert_shows(&picture, 5, (&layout, &encoder), &what);
            }
        }
    }
}

/// An avatar to encode.
#[derive(Clone, Debug)]
struct Case {
    size: Size,
    rects: Vec<Rect>,
    sequence: Sequence,
    options: Options,
    qp: u8,
    noise: u32,
}

impl Case {
    /// Backgrounds of `size` with a rect that moves by (1, 2) each.
    fn new(size: (u32, u32), rect: [u32; 4], backgrounds: u32) -> Self {
        let size = Size {
            width: size.0,
            height: size.1,
        };
        let rects = (0..backgrounds).map(|i| {
            let (dx, dy) = (
                i.min(size.width - rect[2]),
                (2 * i).min(size.height - rect[3]),
            );
            Rect::new(rect[0] + dx, rect[1] + dy, rect[2] + dx, rect[3] + dy).unwrap()
        });
        Self {
            size,
            rects: rects.collect(),
            sequence: Sequence::PingPong,
            options: Options {
                fps: 25,
                group_frames: 8,
                slices_max: 31,
            },
            qp: 24,
            noise: 10,
        }
    }

    /// Encodes frames `from..to`, the mouth of each chosen by `mouth`, and compares each with its decoded picture.
    fn check(&self, frames: &[u64], mouth: impl Fn(u64) -> Choice) {
        let plan = Plan::new(self.size, &self.rects, self.sequence, &self.options).unwrap();
        let backgrounds: Vec<_> = (0..self.rects.len())
            .map(|t| Arc::new(frame(self.size, t, self.noise)))
            .collect();
        let read = |index: usize| Ok::<_, Infallible>(Arc::clone(&backgrounds[index]));
        let video = Arc::new(Video::new(plan, self.qp));
        for group in 0..video.plan().groups() {
            video.prepare(group, read).unwrap();
        }
        let plan = video.plan();
        let columns = self.size.width.div_ceil(16) as usize;
        let mut decoder = Decoder::new().unwrap();
        let mut stream = Stream::new(Arc::clone(&video));
        let mut again: Option<(usize, usize, GroupBuilder<'_>)> = None;
        for &k in frames {
            let position = plan.position(k);
            let patch = frame(
                plan.rect(position.background).size(),
                7 * (k % 97) as usize,
                self.noise,
            );
            let (mouth, is_key_wanted) = match mouth(k) {
                Choice::Patch => (Mouth::Patch(patch.data()), false),
                Choice::Rest => (Mouth::Rest, false),
                Choice::Hold => (Mouth::Hold, false),
                Choice::Key => (Mouth::Patch(patch.data()), true),
            };
            if is_key_wanted {
                stream.want_key();
            }
            let unit = stream
                .encode(k, mouth, || read(position.background))
                .unwrap();
            assert!(unit.is_key || !is_key_wanted);
            assert!(unit.parts.len() <= self.options.slices_max.max(3) + usize::from(unit.is_key));
            let picture = decode(&mut decoder, &unit.parts.concat());
            let even = |side: u32| side.next_multiple_of(2) as usize;
            assert_eq!(
                picture.size,
                (even(self.size.width), even(self.size.height))
            );
            let what = format!("frame {k}");
            let mut places = 0;
            if let Some(rebuilt) = stream.rebuilt() {
                places += assert_shows(&picture, columns, rebuilt, &what);
            }
            // The prepared slices, encoded once more to see what they show.
            if places < plan.whole().places.len() {
                let pictures = position.number as usize + 1;
                let (_, done, builder) = match &mut again {
                    Some(builder) if builder.0 == position.group && builder.1 < pictures => builder,
                    again => {
                        let builder = GroupBuilder::new(plan, position.group, self.qp);
                        again.insert((position.group, 0, builder))
                    }
                };
                let group = plan.backgrounds(position.group).take(pictures);
                for background in group.skip(*done) {
                    builder.push(&samples(&backgrounds[background]));
                }
                *done = pictures;
                let [around, inside] = builder.rebuilt();
                if places == 0 {
                    places += assert_shows(&picture, columns, inside, &what);
                }
                places += assert_shows(&picture, columns, around, &what);
            }
            assert_eq!(places, plan.whole().places.len(), "{what}");
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Choice {
    Patch,
    Rest,
    Hold,
    /// A patch, in a picture that must be a key.
    Key,
}

fn frames(range: std::ops::Range<u64>) -> Vec<u64> {
    range.collect()
}

#[test]
fn a_cycle_wraps_with_mouths_that_speak_rest_and_are_left_out() {
    let case = Case::new((160, 128), [41, 35, 95, 90], 6);
    case.check(&frames(0..50), |k| match k {
        7..12 | 33..40 => Choice::Rest,
        14 | 15 | 20..25 | 42..46 => Choice::Hold,
        _ => Choice::Patch,
    });
}

#[test]
fn holes_touch_every_border() {
    for rect in [
        [0, 0, 40, 40],
        [120, 88, 160, 128],
        [0, 50, 160, 70],
        [70, 0, 90, 128],
        [0, 0, 160, 128],
        [101, 3, 159, 9],
    ] {
        Case::new((160, 128), rect, 3).check(&frames(0..10), |_| Choice::Patch);
    }
}

#[test]
fn rows_are_joined_to_keep_the_number_of_slices() {
    for slices_max in [1, 5, 9] {
        let mut case = Case::new((160, 128), [41, 3, 95, 90], 4);
        case.options.slices_max = slices_max;
        case.noise = 40;
        case.check(&frames(0..14), |k| {
            if k % 5 == 3 {
                Choice::Hold
            } else {
                Choice::Patch
            }
        });
    }
}

#[test]
fn streams_begin_and_go_on_anywhere() {
    let case = Case::new((96, 80), [20, 20, 61, 55], 9);
    // Inside a group, over a jump, from key to key, and far out.
    let far = u64::MAX - 40;
    let jumps: Vec<u64> = (3..12)
        .chain(5..20)
        .chain([8, 8, 8, 0, 0])
        .chain(far..far + 30)
        .collect();
    case.check(&jumps, |_| Choice::Patch);
    case.check(&jumps, |k| {
        if k % 3 == 0 {
            Choice::Hold
        } else {
            Choice::Rest
        }
    });
    case.check(&frames(0..30), |k| match k {
        5 | 6 | 17 => Choice::Key,
        7..10 => Choice::Hold,
        _ => Choice::Patch,
    });
}

#[test]
fn every_sequence_and_short_cycles() {
    for sequence in [Sequence::PingPong, Sequence::Wrap, Sequence::Clamp] {
        for backgrounds in [1, 4] {
            let mut case = Case::new((64, 64), [17, 18, 40, 41], backgrounds);
            case.sequence = sequence;
            case.check(&frames(0..18), |k| {
                if k % 7 < 2 {
                    Choice::Rest
                } else {
                    Choice::Patch
                }
            });
        }
    }
}

#[test]
fn extremes_of_the_quantiser_and_of_noise() {
    for qp in [0, 11, 36, 51] {
        let mut case = Case::new((96, 80), [20, 20, 61, 55], 3);
        case.qp = qp;
        case.noise = 255;
        case.check(&frames(0..10), |_| Choice::Patch);
    }
}

#[test]
fn grain_raises_the_quantiser() {
    let mut case = Case::new((160, 128), [41, 35, 95, 90], 6);
    let chosen = |case: &Case, limit: u64| {
        let plan = Plan::new(case.size, &case.rects, case.sequence, &case.options).unwrap();
        let read = |index| Ok::<_, Infallible>(Arc::new(frame(case.size, index, case.noise)));
        choose_qp(&plan, limit, read).unwrap()
    };
    assert_eq!(chosen(&case, 100_000_000), 24);
    case.noise = 60;
    let few = chosen(&case, 400_000);
    assert!(few > 24, "{few}");
    assert_eq!(chosen(&case, 0), 34);
}

#[test]
fn what_viewers_share_is_the_same_whatever_they_see() {
    let case = Case::new((160, 128), [41, 35, 95, 90], 3);
    let plan = Plan::new(case.size, &case.rects, case.sequence, &case.options).unwrap();
    let read = |index| Ok::<_, Infallible>(Arc::new(frame(case.size, index, 5)));
    let video = Arc::new(Video::new(plan, 24));
    assert_eq!(video.memory_bytes(), 0);
    (0..video.plan().groups()).for_each(|group| video.prepare(group, read).unwrap());
    assert!(video.memory_bytes() > 0);
    let mut streams = [0, 1].map(|_| Stream::new(Arc::clone(&video)));
    for k in 0..20 {
        let position = video.plan().position(k);
        let [one, two] = [1, 2].map(|which: usize| {
            let patch = frame(video.plan().rect(position.background).size(), which * 40, 5);
            let stream = &mut streams[which - 1];
            let unit = stream.encode(k, Mouth::Patch(patch.data()), || read(position.background));
            unit.unwrap()
        });
        let shared = one.parts.iter().zip(&two.parts);
        let shared = shared.filter(|(a, b)| a.as_ptr() == b.as_ptr()).count();
        let around = video.plan().group(position.group).around.len();
        assert_eq!(shared, around, "frame {k}: prepared slices are not copied");
    }
    assert!(streams[0].memory_bytes() < 400_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn any_small_avatar_decodes_as_rebuilt(
        (width, height, rect) in (1u32..70, 1u32..70).prop_flat_map(|(w, h)| {
            let rect = (0..w, 0..h, 1..=w, 1..=h).prop_map(move |(x, y, dx, dy)| {
                [x, y, (x + dx).min(w), (y + dy).min(h)]
            });
            (Just(w), Just(h), rect)
        }),
        backgrounds in 1u32..5,
        slices_max in 1usize..12,
        qp in 0u8..=51,
        noise in 0u32..256,
        choices in prop::collection::vec(0u8..8, 24),
        start in 0u64..30,
    ) {
        let mut case = Case::new((width, height), rect, backgrounds);
        case.options.slices_max = slices_max;
        case.qp = qp;
        case.noise = noise;
        case.check(&frames(start..start + 12), |k| match choices[k as usize % 24] {
            0 | 1 => Choice::Rest,
            2 | 3 => Choice::Hold,
            4 => Choice::Key,
            _ => Choice::Patch,
        });
    }
}
