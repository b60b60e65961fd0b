//! The mouth: what speech drives.

use super::brush::{Canvas, Fill, Ink, between, curve, ink, oval, taper};

/// What the mouth does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mouth {
    /// 0 shut, 1 as far open as speech opens it.
    pub opening: f32,
    /// 0 rounded ("oo"), 1 spread ("ee"); at rest 0.5.
    pub width: f32,
}

impl Mouth {
    /// The mouth at rest.
    pub const SHUT: Self = Self {
        opening: 0.0,
        width: 0.5,
    };

    /// A mouth within bounds.
    #[must_use]
    pub fn new(opening: f32, width: f32) -> Self {
        Self {
            opening: opening.clamp(0.0, 1.0),
            width: width.clamp(0.0, 1.0),
        }
    }

    /// How far the jaw is down, in pixels of the face.
    pub(super) fn jaw(self) -> f32 {
        12.0 * self.opening
    }
}

/// A person's lips.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lips {
    /// Colour of the upper lip, in its own shade.
    pub(super) upper: Ink,
    /// Colour of the lower lip.
    pub(super) lower: Ink,
    /// Colour of the line between them.
    pub(super) line: Ink,
    /// Half of the width at rest.
    pub(super) half_width: f32,
    /// Thickness of the upper and the lower lip at rest.
    pub(super) thickness: (f32, f32),
    /// How glossy they are, 0..1.
    pub(super) gloss: f32,
}

/// The lips' curves, in coordinates around the middle of the line between them.
struct Shape {
    half: f32,
    corner: f32,
    /// Edge of the upper lip at the middle: outer, inner.
    top: (f32, f32),
    /// Edge of the lower lip at the middle: inner, outer.
    bottom: (f32, f32),
}

impl Shape {
    fn new(lips: &Lips, mouth: Mouth) -> Self {
        let Mouth { opening, width } = mouth;
        // Rounded lips are thicker, spread ones thinner.
        let round = 1.0 + 0.5 * (0.5 - width);
        let half = lips.half_width * (0.68 + 0.64 * width) * (1.0 - 0.10 * opening);
        let inner_top = -5.0 * opening;
        let inner_bottom = 27.0 * opening;
        Self {
            half,
            corner: -4.2 + 5.0 * opening - 2.0 * (width - 0.5),
            top: (inner_top - lips.thickness.0 * round, inner_top),
            bottom: (
                inner_bottom,
                inner_bottom + lips.thickness.1 * round * (1.0 - 0.12 * opening),
            ),
        }
    }

    /// Along the inner edge of the upper lip, left to right.
    fn inner_top(&self) -> [(f32, f32); 7] {
        let (half, y, corner) = (self.half, self.top.1, self.corner);
        let open = self.bottom.0 - self.top.1;
        let lift = (open * 0.10).min(2.0);
        [
            (-half * 0.93, corner),
            (-half * 0.62, corner + (y - corner) * 0.72),
            (-half * 0.24, y - lift * 0.2 + 0.2),
            (0.0, y + 1.2),
            (half * 0.24, y - lift * 0.2 + 0.2),
            (half * 0.62, corner + (y - corner) * 0.72),
            (half * 0.93, corner),
        ]
    }

    /// Along the inner edge of the lower lip, right to left. Shut, it is the same line.
    fn inner_bottom(&self) -> [(f32, f32); 7] {
        let (half, corner) = (self.half, self.corner);
        let mut points = self.inner_top();
        points.reverse();
        let drop = self.bottom.0 - self.top.1;
        for (x, y) in &mut points {
            // A parabola, a little fuller at the sides.
            let place = (*x / (half * 0.93)).clamp(-1.0, 1.0);
            let share = (1.0 - place * place).powf(0.8);
            *y += drop * share;
        }
        let last = points.len() - 1;
        points[0].1 = corner;
        points[last].1 = corner;
        points
    }

    /// Along the outer edge of the upper lip, left to right, with the bow in its middle.
    fn outer_top(&self) -> [(f32, f32); 7] {
        let (half, top, corner) = (self.half, self.top.0, self.corner);
        [
            (-half, corner - 0.4),
            (-half * 0.60, corner + (top - corner) * 0.66),
            (-half * 0.20, top - 0.6),
            (0.0, top + 2.0),
            (half * 0.20, top - 0.6),
            (half * 0.60, corner + (top - corner) * 0.66),
            (half, corner - 0.4),
        ]
    }

    /// Along the outer edge of the lower lip, right to left.
    fn outer_bottom(&self) -> [(f32, f32); 7] {
        let (half, bottom, corner) = (self.half, self.bottom.1, self.corner);
        let fall = bottom - corner;
        [
            (half, corner + 0.4),
            (half * 0.74, corner + fall * 0.56),
            (half * 0.36, corner + fall * 0.93),
            (0.0, bottom),
            (-half * 0.36, corner + fall * 0.93),
            (-half * 0.74, corner + fall * 0.56),
            (-half, corner + 0.4),
        ]
    }
}

/// The dark inside of a mouth.
const DEEP: Ink = ink(0x23_06_0b);
const INSIDE: Ink = ink(0x4a_10_18);
const TONGUE: Ink = ink(0xb8_51_57);
const TONGUE_LIGHT: Ink = ink(0xd2_73_76);
const TEETH: Ink = ink(0xf3_ee_e6);
const TEETH_SHADE: Ink = ink(0xb9_a8_9f);

/// Paints the mouth around the origin.
pub(super) fn paint(canvas: &mut Canvas, lips: &Lips, mouth: Mouth, shade: Ink) {
    let shape = Shape::new(lips, mouth);
    let (inner_top, inner_bottom) = (shape.inner_top(), shape.inner_bottom());
    // The lips lie on the face: shade under the lower one.
    let under = oval((1.0, shape.bottom.1 + 5.5), (shape.half * 0.52, 4.0));
    canvas.soft(&under, shade.at(0.42), 5.0, None);
    if mouth.opening > 0.0 {
        inside(canvas, &shape, &between(&inner_top, &inner_bottom), mouth);
    }
    let upper: Vec<_> = inner_top.iter().rev().copied().collect();
    let upper = between(&shape.outer_top(), &upper);
    let lower: Vec<_> = inner_bottom.iter().rev().copied().collect();
    let lower = between(&lower, &shape.outer_bottom());
    // Soft edges to the skin, then the lips themselves.
    canvas.soft(&upper, lips.upper.at(0.55), 2.0, None);
    canvas.soft(&lower, lips.lower.at(0.55), 2.0, None);
    let (top, bottom) = (shape.top, shape.bottom);
    let deeper = lips.line;
    canvas.fill(
        &upper,
        Fill::Along(
            (0.0, top.0),
            (0.0, top.1 + 2.0),
            &[
                lips.upper.mixed(lips.lower, 0.35),
                lips.upper,
                lips.upper.mixed(deeper, 0.45),
            ],
        ),
        None,
    );
    canvas.fill(
        &lower,
        Fill::Along(
            (0.0, bottom.0 - 1.0),
            (0.0, bottom.1),
            &[
                lips.lower.mixed(deeper, 0.35),
                lips.lower,
                lips.lower.mixed(lips.upper, 0.5),
            ],
        ),
        None,
    );
    let clip = canvas.inside(&lower);
    let light = oval(
        (-3.0, bottom.0 + (bottom.1 - bottom.0) * 0.45),
        (shape.half * 0.34, 1.8),
    );
    canvas.soft(
        &light,
        ink(0xff_ff_ff).at(0.10 + 0.42 * lips.gloss),
        2.6,
        Some(&clip),
    );
    line(canvas, &shape, lips, mouth);
}

/// Teeth, tongue and the dark behind them, within the opening.
fn inside(canvas: &mut Canvas, shape: &Shape, opening: &tiny_skia::Path, mouth: Mouth) {
    let (top, bottom) = (shape.top.1, shape.bottom.0);
    canvas.fill(
        opening,
        Fill::Along((0.0, top), (0.0, bottom), &[DEEP, INSIDE, DEEP]),
        None,
    );
    let clip = canvas.inside(opening);
    let tongue = oval((0.0, bottom + 3.5), (shape.half * 0.50, 9.5));
    canvas.soft(&tongue, TONGUE, 2.0, Some(&clip));
    canvas.soft(
        &oval((-2.0, bottom - 0.5), (shape.half * 0.24, 3.0)),
        TONGUE_LIGHT.at(0.7),
        3.0,
        Some(&clip),
    );
    // The upper teeth hang on the skull, so they stay where the lip lets them be seen.
    let edge = top + 2.0 + 7.0 * mouth.opening.min(0.6) / 0.6;
    let half = shape.half * 0.74;
    let teeth = between(
        &[(-half, top - 8.0), (0.0, top - 8.0), (half, top - 8.0)],
        &[
            (half, edge - 4.0),
            (half * 0.5, edge - 0.6),
            (0.0, edge),
            (-half * 0.5, edge - 0.6),
            (-half, edge - 4.0),
        ],
    );
    canvas.fill(
        &teeth,
        Fill::Along((0.0, top - 1.0), (0.0, edge), &[TEETH_SHADE, TEETH, TEETH]),
        Some(&clip),
    );
    for place in [-0.62_f32, -0.38, -0.13, 0.13, 0.38, 0.62] {
        let x = place * half * 1.12;
        let gap = curve(&[(x, top - 4.0), (x, edge - 1.2 - 3.0 * place * place)]);
        canvas.line(&gap, TEETH_SHADE.at(0.40), 0.7, Some(&clip));
    }
    for side in [-1.0, 1.0] {
        let dark = oval(
            (side * half * 1.08, f32::midpoint(top, bottom)),
            (shape.half * 0.16, 9.0),
        );
        canvas.soft(&dark, DEEP.at(0.75), 4.0, Some(&clip));
    }
}

/// The line between the lips; when they part, what is left of it in the corners and under the upper lip.
fn line(canvas: &mut Canvas, shape: &Shape, lips: &Lips, mouth: Mouth) {
    let mut points = shape.inner_top().map(|(x, y)| (x, y, 1.7));
    points[0].2 = 0.9;
    points[6].2 = 0.9;
    let parted = (mouth.opening * 8.0).min(1.0);
    canvas.fill(&taper(&points), lips.line.at(1.0 - 0.55 * parted), None);
    for side in [-1.0, 1.0] {
        let corner = oval((side * shape.half * 0.97, shape.corner + 0.4), (2.6, 2.0));
        canvas.soft(&corner, lips.line.at(0.60), 2.4, None);
    }
}
