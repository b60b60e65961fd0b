//! Pictures to measure with, drawn by formula: no photograph may be shipped.
//!
//! What decides an encoder's speed and size is the noise left after prediction, so that is what the three kinds
//! differ in. Each seed gives another picture of its kind.

use lipsync::frame::{Frame, Rect, Size};

/// What a picture is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Smooth shades and soft edges with the grain that a decoded H.264 frame keeps: luma grain over neighbouring
    /// pixels, colour at half resolution.
    Video,
    /// Texture everywhere and independent noise in every channel, as a camera's still has.
    Photo,
    /// A drawing: even areas, a few soft shades, no noise.
    Flat,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Video, Self::Photo, Self::Flat];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Video => "video-like",
            Self::Photo => "photo-like",
            Self::Flat => "flat art",
        }
    }
}

/// An even hash of three numbers.
fn hash(a: u32, b: u32, c: u32) -> u32 {
    let mut h =
        a.wrapping_mul(0x9E37_79B1) ^ b.wrapping_mul(0x85EB_CA77) ^ c.wrapping_mul(0xC2B2_AE3D);
    h = (h ^ h >> 15).wrapping_mul(0x2C1B_3C6D);
    h = (h ^ h >> 12).wrapping_mul(0x297A_2D39);
    h ^ h >> 15
}

/// Near normal, mean 0, deviation 1: the sum of four even bytes.
fn normal(a: u32, b: u32, c: u32) -> f32 {
    let sum: u32 = hash(a, b, c).to_le_bytes().map(u32::from).iter().sum();
    (sum as f32 - 510.0) / 147.8
}

/// Distance-like measure of an ellipse: below 1 inside.
fn ellipse(x: f32, y: f32, (cx, cy): (f32, f32), (rx, ry): (f32, f32)) -> f32 {
    (((x - cx) / rx).powi(2) + ((y - cy) / ry).powi(2)).sqrt()
}

/// A person before a wall, without noise, in units of a 1280x720 frame. `soft` pixels of blur at the edges.
fn person(x: f32, y: f32, seed: u32, soft: f32) -> [f32; 3] {
    let sway = (seed % 17) as f32;
    let wall = [
        150.0 + x / 40.0 - y / 30.0,
        165.0 - x / 50.0 + y / 60.0,
        185.0 + y / 25.0,
    ];
    let mut colour = wall;
    let mut lay = |distance: f32, radius: f32, over: [f32; 3]| {
        let inside = ((1.0 - distance) * radius / soft + 0.5).clamp(0.0, 1.0);
        for (c, o) in colour.iter_mut().zip(over) {
            *c += (o - *c) * inside;
        }
    };
    let (cx, cy) = (640.0 + sway, 330.0 + sway / 3.0);
    lay(
        ellipse(x, y, (cx, 760.0), (330.0, 260.0)),
        280.0,
        [60.0, 75.0, 120.0],
    );
    lay(
        ellipse(x, y, (cx, cy - 30.0), (165.0, 215.0)),
        180.0,
        [70.0, 48.0, 35.0],
    );
    let shade = (x - cx) / 12.0 + (y - cy) / 20.0;
    lay(
        ellipse(x, y, (cx, cy), (135.0, 180.0)),
        150.0,
        [224.0 - shade, 182.0 - shade, 155.0 - shade],
    );
    for side in [-1.0, 1.0] {
        lay(
            ellipse(x, y, (cx + side * 52.0, cy - 40.0), (20.0, 11.0)),
            14.0,
            [245.0, 245.0, 242.0],
        );
        lay(
            ellipse(x, y, (cx + side * 52.0, cy - 40.0), (8.0, 9.0)),
            8.0,
            [52.0, 40.0, 34.0],
        );
    }
    lay(
        ellipse(x, y, (cx, cy + 85.0), (42.0, 10.0 + sway)),
        16.0,
        [150.0, 62.0, 66.0],
    );
    colour
}

/// What the kind adds to the smooth picture at a pixel.
fn grain(kind: Kind, x: u32, y: u32, seed: u32) -> [f32; 3] {
    match kind {
        Kind::Flat => [0.0; 3],
        Kind::Video => {
            // Grain that the transform kept: neighbours go together.
            let at = |x, y| normal(x, y, seed);
            let luma = 0.55 * at(x, y)
                + 0.35 * at(x + 1, y)
                + 0.35 * at(x, y + 1)
                + 0.25 * at(x + 1, y + 1);
            let (u, v) = (
                normal(x / 2, y / 2, seed ^ 1),
                normal(x / 2, y / 2, seed ^ 2),
            );
            let luma = VIDEO_GRAIN * luma;
            [luma + 0.5 * v, luma - 0.15 * u - 0.25 * v, luma + 0.5 * u]
        }
        Kind::Photo => {
            let (fx, fy) = (x as f32, y as f32);
            let weave = 7.0 * ((fx * 0.9).sin() * (fy * 0.7).cos() + (fx * 0.23 + fy * 0.31).sin());
            [0, 1, 2].map(|c| weave + PHOTO_NOISE * normal(x, y, seed ^ (c + 3)))
        }
    }
}

/// Deviation of the video kind's luma grain before its neighbours are mixed in.
const VIDEO_GRAIN: f32 = 0.9;
/// Deviation of the photo kind's noise.
const PHOTO_NOISE: f32 = 8.0;

/// The picture `seed` of a kind.
pub(crate) fn picture(kind: Kind, size: Size, seed: u32) -> Frame {
    let scale = 1280.0 / size.width as f32;
    let soft = if kind == Kind::Flat { 1.0 } else { 3.0 };
    let mut data = Vec::with_capacity(size.rgb_bytes());
    for y in 0..size.height {
        for x in 0..size.width {
            let colour = person(x as f32 * scale, y as f32 * scale, seed, soft);
            let noise = grain(kind, x, y, seed);
            data.extend((0..3).map(|c| (colour[c] + noise[c]).round().clamp(0.0, 255.0) as u8));
        }
    }
    Frame::from_rgb(size, data).expect("three bytes a pixel")
}

/// What a network might say to `rect` of that picture: the same face with another mouth, f32 BGR planes of 320x320.
/// A network keeps texture but hardly any noise: `grain` is drawn at the rect's own scale and weakened.
pub(crate) fn prediction(kind: Kind, rect: Rect, seed: u32) -> Vec<f32> {
    const SIDE: usize = 320;
    let mut planes = vec![0.0; 3 * SIDE * SIDE];
    let soft = if kind == Kind::Flat { 1.0 } else { 3.0 };
    let step = (
        rect.size().width as f32 / SIDE as f32,
        rect.size().height as f32 / SIDE as f32,
    );
    for row in 0..SIDE {
        for column in 0..SIDE {
            let x = rect.x1() as f32 + column as f32 * step.0;
            let y = rect.y1() as f32 + row as f32 * step.1;
            let colour = person(x, y, seed + 5, soft);
            let noise = grain(kind, x as u32, y as u32, seed + 100);
            for c in 0..3 {
                let value = (colour[c] + 0.7 * noise[c]) / 255.0;
                planes[((2 - c) * SIDE + row) * SIDE + column] = value.clamp(0.0, 1.0);
            }
        }
    }
    planes
}
