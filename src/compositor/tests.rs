//! Golden results of `OpenCV`, a naive twin, and the edges.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::compositor::crop::{Seen, crop_328};
use crate::frame::network_io::VISUAL_LEN;
use crate::frame::{Frame, Rect};

/// The golden script's picture formula: integers in 0..=65535.
fn sample(seed: u32, x: u32, y: u32, c: u32) -> u32 {
    let wave = (x * (700 + 90 * c) + y * (500 + 70 * c) + seed * 9973) % 131_072;
    let wave = if wave > 65_535 { 131_071 - wave } else { wave };
    let mut h = x.wrapping_mul(2_654_435_761)
        ^ y.wrapping_mul(2_246_822_519)
        ^ (c + 3 * seed + 1).wrapping_mul(3_266_489_917);
    h = (h ^ (h >> 15)).wrapping_mul(2_654_435_769);
    (3 * wave + ((h ^ (h >> 13)) & 0xffff)) >> 2
}

fn picture(seed: u32, size: Size) -> Frame {
    let data = (0..size.rgb_bytes() as u32)
        .map(|i| (sample(seed, i / 3 % size.width, i / 3 / size.width, i % 3) >> 8) as u8)
        .collect();
    Frame::from_rgb(size, data).unwrap()
}

fn prediction(seed: u32) -> Vec<f32> {
    let side = ROI_SIDE as u32;
    (0..PREDICTION_LEN as u32)
        .map(|i| sample(seed, i % side, i / side % side, i / side / side) as f32 / 65_535.0)
        .collect()
}

fn composited(geometry: Geometry, crop: &Crop, size: Size, prediction: &[f32]) -> Vec<u8> {
    let placement = Compositor::new(geometry).placement(crop, size);
    let mut patch = vec![0; size.rgb_bytes()];
    composite(prediction, &placement, &mut patch).unwrap();
    patch
}

#[derive(serde::Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    kind: String,
    frame: [u32; 2],
    rect: [u32; 4],
    seed: u32,
    rows: Vec<usize>,
    file: String,
}

/// Every stored row within 1 of `OpenCV`, and fewer than 0.1 % of a kind's bytes off at all. Of sources with fewer
/// pixels than taps `OpenCV` enlarges in 11-bit fixed point: there only the first holds.
#[test]
fn agrees_with_opencv() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pixels");
    let golden: Golden =
        serde_json::from_slice(&std::fs::read(folder.join("cases.json")).unwrap()).unwrap();
    let mut totals = HashMap::<String, (usize, usize)>::new();
    for case in golden.cases {
        let [width, height] = case.frame;
        let frame = picture(case.seed, Size { width, height });
        let [x1, y1, x2, y2] = case.rect;
        let rect = Rect::new(x1, y1, x2, y2).unwrap();
        let crop = crop_328(&frame, rect);
        let ours = match case.kind.as_str() {
            "visual" => crop.data().to_vec(),
            "inset" => composited(
                Geometry::Inset,
                &crop,
                rect.size(),
                &prediction(case.seed + 100),
            ),
            _ => composited(
                Geometry::Stretch,
                &crop,
                rect.size(),
                &prediction(case.seed + 100),
            ),
        };
        let row_length = if case.kind == "visual" {
            CROP_SIDE
        } else {
            rect.size().width as usize
        } * 3;
        let theirs = std::fs::read(folder.join(&case.file)).unwrap();
        assert_eq!(theirs.len(), case.rows.len() * row_length, "{}", case.file);
        let mut off = 0;
        for (&row, theirs) in case.rows.iter().zip(theirs.chunks_exact(row_length)) {
            for (a, b) in ours[row * row_length..].iter().zip(theirs) {
                assert!(
                    a.abs_diff(*b) <= 1,
                    "{}: row {row}: {a} against {b}",
                    case.file
                );
                off += usize::from(a != b);
            }
        }
        if case.kind == "visual" && rect.size().width < 4 {
            continue;
        }
        let total = totals.entry(case.kind).or_default();
        *total = (total.0 + off, total.1 + theirs.len());
    }
    assert_eq!(totals.len(), 3);
    for (kind, (off, bytes)) in totals {
        assert!(off * 1000 < bytes, "{kind}: {off} of {bytes} bytes differ");
    }
}

/// Bicubic or bilinear by the textbook, in f64, one sample at a time.
fn naive_resize(source: &[u8], from: Size, to: Size, geometry: Geometry) -> Vec<f64> {
    let kernel = |d: f64| match geometry {
        Geometry::Stretch => (1.0 - d.abs()).max(0.0),
        Geometry::Inset => match d.abs() {
            d if d <= 1.0 => 1.25 * d * d * d - 2.25 * d * d + 1.0,
            d if d < 2.0 => -0.75 * d * d * d + 3.75 * d * d - 6.0 * d + 3.0,
            _ => 0.0,
        },
    };
    let axis =
        |i: u32, from: u32, to: u32| (f64::from(i) + 0.5) * f64::from(from) / f64::from(to) - 0.5;
    let mut out = Vec::new();
    for y in 0..to.height {
        let sy = axis(y, from.height, to.height);
        for x in 0..to.width {
            let sx = axis(x, from.width, to.width);
            for c in 0..3 {
                let mut sum = 0.0;
                for j in sy.floor() as i64 - 1..=sy.floor() as i64 + 2 {
                    for i in sx.floor() as i64 - 1..=sx.floor() as i64 + 2 {
                        let row = j.clamp(0, i64::from(from.height) - 1) as usize;
                        let column = i.clamp(0, i64::from(from.width) - 1) as usize;
                        let value = source[3 * (row * from.width as usize + column) + c];
                        sum += f64::from(value) * kernel(sy - j as f64) * kernel(sx - i as f64);
                    }
                }
                out.push(sum);
            }
        }
    }
    out
}

/// The compositor's naive twin: quantise, paste into the crop, resize.
fn naive_composite(geometry: Geometry, crop: &Crop, size: Size, prediction: &[f32]) -> Vec<f64> {
    let painted = |x: usize, y: usize, c: usize| {
        (prediction[((2 - c) * ROI_SIDE + y) * ROI_SIDE + x] * 255.0).clamp(0.0, 255.0) as u8
    };
    let (side, margin) = match geometry {
        Geometry::Inset => (CROP_SIDE, CROP_MARGIN),
        Geometry::Stretch => (ROI_SIDE, 0),
    };
    let mut source = crop.data()[..3 * side * side].to_vec();
    for y in 0..ROI_SIDE {
        for x in 0..ROI_SIDE {
            for c in 0..3 {
                source[3 * ((y + margin) * side + x + margin) + c] = painted(x, y, c);
            }
        }
    }
    let from = Size {
        width: side as u32,
        height: side as u32,
    };
    naive_resize(&source, from, size, geometry)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn is_the_naive_twin(
        width in 1_u32..260, height in 1_u32..260, seed in 0_u32..1000, stretch: bool, gain in 0.5_f32..3.0,
    ) {
        let geometry = if stretch { Geometry::Stretch } else { Geometry::Inset };
        let size = Size { width, height };
        let frame = picture(seed, Size { width: 300, height: 280 });
        let crop = crop_328(&frame, Rect::new(20, 10, 20 + width, 10 + height).unwrap());
        // Beyond [0, 1], to see the clamp.
        let prediction: Vec<f32> = prediction(seed).iter().map(|p| (p - 0.3) * gain).collect();
        let ours = composited(geometry, &crop, size, &prediction);
        let exact = naive_composite(geometry, &crop, size, &prediction);
        for (ours, exact) in ours.iter().zip(exact) {
            prop_assert!((f64::from(*ours) - exact.clamp(0.0, 255.0)).abs() < 0.501, "{ours} for {exact}");
        }
    }

    #[test]
    fn the_versions_agree_bit_for_bit(width in 1_u32..400, height in 1_u32..400, seed in 0_u32..1000, stretch: bool) {
        let geometry = if stretch { Geometry::Stretch } else { Geometry::Inset };
        let size = Size { width, height };
        let crop = crop_328(&picture(seed, Size { width: 40, height: 30 }), Rect::new(1, 2, 39, 29).unwrap());
        let placement = Compositor::new(geometry).placement(&crop, size);
        let prediction = prediction(seed);
        let run = |kernels| {
            let mut patch = vec![0; size.rgb_bytes()];
            composite_with(kernels, &prediction, &placement, &mut patch).unwrap();
            patch
        };
        prop_assert!(run(Kernels::Portable) == run(Kernels::detect()));
    }
}

#[test]
fn any_value_that_is_not_finite_is_an_error() {
    let crop = crop_328(
        &picture(
            1,
            Size {
                width: 9,
                height: 9,
            },
        ),
        Rect::new(0, 0, 9, 9).unwrap(),
    );
    let good = prediction(1);
    for geometry in [Geometry::Inset, Geometry::Stretch] {
        // At 5x3 most rows and columns of the prediction are not read with a weight.
        for size in [
            Size {
                width: 5,
                height: 3,
            },
            Size {
                width: 182,
                height: 182,
            },
        ] {
            let placement = Compositor::new(geometry).placement(&crop, size);
            let mut patch = vec![0; size.rgb_bytes()];
            for kernels in [Kernels::Portable, Kernels::detect()] {
                for (at, bad) in [
                    (0, f32::NAN),
                    (319, f32::INFINITY),
                    (320 * 77 + 5, f32::NEG_INFINITY),
                    (PREDICTION_LEN / 2, -f32::NAN),
                    (PREDICTION_LEN - 1, f32::NAN),
                ] {
                    let mut prediction = good.clone();
                    prediction[at] = bad;
                    let result = composite_with(kernels, &prediction, &placement, &mut patch);
                    assert_eq!(result, Err(NonFinite), "{bad} at {at}");
                }
                assert_eq!(
                    composite_with(kernels, &good, &placement, &mut patch),
                    Ok(())
                );
            }
        }
    }
}

#[test]
fn values_beyond_the_range_are_clamped() {
    let crop = crop_328(
        &picture(
            1,
            Size {
                width: 9,
                height: 9,
            },
        ),
        Rect::new(0, 0, 9, 9).unwrap(),
    );
    let size = Size {
        width: 4,
        height: 4,
    };
    for (value, expected) in [
        (f32::MAX, 255),
        (1.001, 255),
        (0.999, 254),
        (-0.0, 0),
        (f32::MIN, 0),
    ] {
        let patch = composited(Geometry::Stretch, &crop, size, &vec![value; PREDICTION_LEN]);
        assert_eq!(patch, vec![expected; size.rgb_bytes()], "{value}");
    }
}

#[test]
fn rectangles_of_one_size_share_their_weights() {
    let compositor = Compositor::new(Geometry::Inset);
    let crop = crop_328(
        &picture(
            1,
            Size {
                width: 9,
                height: 9,
            },
        ),
        Rect::new(0, 0, 9, 9).unwrap(),
    );
    let size = Size {
        width: 7,
        height: 8,
    };
    let (a, b) = (
        compositor.placement(&crop, size),
        compositor.placement(&crop, size),
    );
    assert!(Arc::ptr_eq(&a.scaling, &b.scaling));
    assert_eq!(a.size(), size);
    drop((a, b));
    let other = compositor.placement(
        &crop,
        Size {
            width: 1,
            height: 1,
        },
    );
    assert_eq!(
        compositor.scalings.lock().unwrap().len(),
        1,
        "unused weights are dropped"
    );
    assert_eq!(
        other.memory_bytes(),
        3 * (CROP_SIDE * CROP_SIDE - ROI_SIDE * ROI_SIDE)
    );
}

#[test]
fn the_visual_tensor_is_bgr_with_the_mouth_masked() {
    let crop = crop_328(
        &picture(
            3,
            Size {
                width: 50,
                height: 40,
            },
        ),
        Rect::new(2, 3, 45, 39).unwrap(),
    );
    let mut tensor = vec![f32::NAN; VISUAL_LEN];
    Seen::of(&crop).write(&mut tensor);
    for channel in 0..6 {
        for y in 0..ROI_SIDE {
            for x in 0..ROI_SIDE {
                let rgb = crop.data()[3 * ((y + 4) * CROP_SIDE + x + 4) + 2 - channel % 3];
                let masked = channel >= 3 && (5..315).contains(&x) && (5..310).contains(&y);
                let expected = if masked { 0.0 } else { f32::from(rgb) / 255.0 };
                let ours = tensor[(channel * ROI_SIDE + y) * ROI_SIDE + x];
                assert_eq!(ours.to_bits(), expected.to_bits(), "{channel} {y} {x}");
            }
        }
    }
}
