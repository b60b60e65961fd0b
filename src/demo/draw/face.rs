//! The face: skin, ears, nose, eyes and brows. The mouth has a file of its own.

use tiny_skia::Mask;

use super::brush::{
    Canvas, Fill, Ink, between, blob, curve, ink, oval, resampled, symmetric, taper,
};
use super::mouth::{self, Mouth};
use super::people::{Eyes, Person, Skin};
use super::pose::Pose;

/// How far features stand out of the outline, for the parallax of a turning head.
const DEPTH_EYES: f32 = 5.0;
const DEPTH_MOUTH: f32 = 6.0;
const DEPTH_NOSE: f32 = 8.5;
const DEPTH_EARS: f32 = -4.0;

/// The outline with the jaw down by `jaw`; above the cheeks it stays as it is, as what the crop rect does not hold must.
pub(super) fn outline(person: &Person, jaw: f32) -> Vec<(f32, f32)> {
    let lowered = |&(x, y): &(f32, f32)| {
        let share = ((y - 45.0) / 115.0).clamp(0.0, 1.0);
        (
            x - 1.5 * jaw / 12.0 * share * x.signum() * f32::from(x != 0.0),
            y + jaw * share * share,
        )
    };
    resampled(person.outline, 8).iter().map(lowered).collect()
}

pub(super) fn ears(canvas: &mut Canvas, person: &Person, pose: &Pose) {
    let skin = &person.skin;
    canvas.shifted(pose.parallax(DEPTH_EARS), |canvas| {
        let half = person.outline[4].0;
        for side in [1.0_f32, -1.0] {
            let ear = |canvas: &mut Canvas| {
                let (tone, inner) = if side > 0.0 {
                    (
                        skin.base.mixed(skin.shade, 0.45),
                        skin.shade.mixed(skin.deep, 0.25),
                    )
                } else {
                    (skin.base, skin.shade)
                };
                let shape = blob(&[
                    (half - 8.0, -14.0),
                    (half + 6.0, -21.0),
                    (half + 17.0, -10.0),
                    (half + 15.0, 14.0),
                    (half + 8.0, 34.0),
                    (half - 3.0, 40.0),
                    (half - 10.0, 28.0),
                ]);
                canvas.fill(&shape, tone, None);
                let clip = canvas.inside(&shape);
                let fold = curve(&[
                    (half + 1.0, -8.0),
                    (half + 10.0, -9.0),
                    (half + 9.0, 8.0),
                    (half + 3.0, 22.0),
                ]);
                canvas.soft_line(&fold, inner.at(0.75), 4.0, 3.0, Some(&clip));
            };
            if side > 0.0 {
                ear(canvas);
            } else {
                canvas.mirrored(ear);
            }
        }
    });
}

/// The skin of the head, with the light from the upper left; gives the mask of the face.
pub(super) fn skin(canvas: &mut Canvas, person: &Person, pose: &Pose, jaw: f32) -> Mask {
    let skin = &person.skin;
    let shape = symmetric(&outline(person, jaw));
    canvas.fill(
        &shape,
        Fill::Around(
            (-34.0 + 5.0 * pose.yaw, -40.0),
            250.0,
            &[skin.light, skin.base, skin.base.mixed(skin.shade, 0.7)],
        ),
        None,
    );
    let clip = canvas.inside(&shape);
    // Volume: the outline darkens towards its edge, more on the side away from the light.
    canvas.soft_line(&shape, skin.shade.at(0.55), 16.0, 20.0, Some(&clip));
    let mut right = outline(person, jaw);
    right.retain(|&(_, y)| y >= person.outline[3].1);
    canvas.soft_line(&curve(&right), skin.shade.at(0.85), 22.0, 26.0, Some(&clip));
    canvas.shifted(pose.parallax(4.0), |canvas| {
        let soft = Some(&clip);
        // Cheeks: light on the bone, blush below.
        canvas.soft(
            &oval((-58.0, 58.0), (26.0, 17.0)),
            skin.blush.at(0.30),
            22.0,
            soft,
        );
        canvas.soft(
            &oval((60.0, 58.0), (24.0, 17.0)),
            skin.blush.at(0.34),
            22.0,
            soft,
        );
        canvas.soft(
            &oval((-60.0, 32.0), (22.0, 9.0)),
            skin.light.at(0.75),
            14.0,
            soft,
        );
        canvas.soft(
            &oval((56.0, 33.0), (16.0, 8.0)),
            skin.light.at(0.40),
            14.0,
            soft,
        );
        canvas.soft(
            &oval((-14.0, -82.0), (46.0, 24.0)),
            skin.light.at(0.55),
            30.0,
            soft,
        );
        // Sockets.
        for side in [-1.0, 1.0] {
            let x = side * person.eyes.apart;
            canvas.soft(
                &oval((x, -6.0), (33.0, 17.0)),
                skin.shade.at(0.30),
                16.0,
                soft,
            );
            canvas.soft(
                &oval((x - side * 22.0, 0.0), (9.0, 13.0)),
                skin.shade.at(0.40),
                10.0,
                soft,
            );
        }
    });
    chin(canvas, person, pose, jaw, &clip);
    clip
}

fn chin(canvas: &mut Canvas, person: &Person, pose: &Pose, jaw: f32, clip: &Mask) {
    let skin = &person.skin;
    let bottom = person.outline[person.outline.len() - 1].1;
    canvas.shifted(pose.parallax(5.0), |canvas| {
        let light = oval((-5.0, bottom - 22.0 + jaw), (20.0, 9.0));
        canvas.soft(&light, skin.light.at(0.60), 12.0, Some(clip));
    });
}

pub(super) fn nose(canvas: &mut Canvas, person: &Person, pose: &Pose, clip: &Mask) {
    let skin = &person.skin;
    let (wing, tip) = person.nose;
    canvas.shifted(pose.parallax(DEPTH_NOSE), |canvas| {
        let soft = Some(clip);
        // The side away from the light, from the brow down to the wing.
        let side = blob(&[
            (9.0, -18.0),
            (8.0, 8.0),
            (10.0, tip - 18.0),
            (wing + 1.0, tip + 2.0),
            (wing - 4.0, tip + 9.0),
            (6.0, tip + 4.0),
            (4.0, tip - 16.0),
            (3.0, 4.0),
        ]);
        canvas.soft(&side, skin.shade.at(0.62), 8.0, soft);
        let below = oval((2.0, tip + 12.0), (wing * 0.95, 5.0));
        canvas.soft(&below, skin.shade.at(0.75), 7.0, soft);
        // Bridge and tip in the light.
        canvas.soft(
            &oval((-3.0, tip - 30.0), (3.2, 24.0)),
            skin.light.at(0.85),
            6.0,
            soft,
        );
        canvas.soft(
            &oval((-3.5, tip - 3.0), (7.5, 6.5)),
            skin.light.mixed(ink(0xff_ff_ff), 0.35).at(0.80),
            7.0,
            soft,
        );
        for side in [-1.0, 1.0] {
            let wing_line = taper(&[
                (side * (wing - 1.0), tip - 8.0, 0.8),
                (side * (wing + 1.5), tip + 1.0, 2.6),
                (side * (wing - 2.5), tip + 7.5, 1.6),
            ]);
            canvas.soft(
                &wing_line,
                skin.deep.at(if side > 0.0 { 0.70 } else { 0.45 }),
                2.6,
                soft,
            );
            let nostril = blob(&[
                (side * (wing * 0.30), tip + 8.0),
                (side * (wing * 0.55), tip + 5.2),
                (side * (wing * 0.80), tip + 6.6),
                (side * (wing * 0.58), tip + 9.4),
            ]);
            canvas.soft(
                &nostril,
                skin.deep.mixed(ink(0x20_08_06), 0.4).at(0.88),
                1.8,
                soft,
            );
        }
    });
}

/// The mouth, the groove above it and the shade of the cheeks beside it.
pub(super) fn mouth(canvas: &mut Canvas, person: &Person, pose: &Pose, mouth: Mouth, clip: &Mask) {
    let skin = &person.skin;
    let y = person.mouth_y;
    canvas.shifted(pose.parallax(DEPTH_MOUTH), |canvas| {
        let groove = oval((1.0, y - person.lips.thickness.0 - 13.0), (3.4, 7.0));
        canvas.soft(&groove, skin.shade.at(0.38), 5.0, Some(clip));
        for side in [-1.0, 1.0] {
            let spread = 5.0 * (mouth.width - 0.5);
            let fold = taper(&[
                (side * (person.nose.0 + 6.0), y - 38.0, 1.0),
                (side * (person.nose.0 + 20.0 + spread), y - 18.0, 3.4),
                (
                    side * (person.lips.half_width + 12.0 + spread),
                    y + 4.0 + 3.0 * mouth.opening,
                    1.0,
                ),
            ]);
            canvas.soft(&fold, skin.shade.at(0.46), 6.0, Some(clip));
        }
        canvas.shifted((0.0, y), |canvas| {
            mouth::paint(
                canvas,
                &person.lips,
                mouth,
                skin.shade.mixed(skin.deep, 0.3),
            );
        });
    });
}

pub(super) fn eyes(canvas: &mut Canvas, person: &Person, pose: &Pose) {
    canvas.shifted(pose.parallax(DEPTH_EYES), |canvas| {
        // The eyes stay on the viewer while the head turns.
        let gaze = (-pose.yaw * 2.4, -pose.pitch * 1.2);
        canvas.shifted((person.eyes.apart, 0.0), |canvas| {
            eye(canvas, &person.eyes, &person.skin, pose.blink, gaze, 1.0);
        });
        canvas.shifted((-person.eyes.apart, 0.0), |canvas| {
            canvas.mirrored(|canvas| {
                eye(
                    canvas,
                    &person.eyes,
                    &person.skin,
                    pose.blink,
                    (-gaze.0, gaze.1),
                    -1.0,
                );
            });
        });
    });
}

/// One eye around the origin, its inner corner to the left. `side` is 1 where the picture is not mirrored.
fn eye(canvas: &mut Canvas, eyes: &Eyes, skin: &Skin, blink: f32, gaze: (f32, f32), side: f32) {
    let (half, above, below) = eyes.size;
    let lid = |height: f32| {
        [
            (-half, 2.5),
            (-half * 0.55, 2.5 - (height + 2.5) * 0.66),
            (half * 0.05, -height),
            (half * 0.62, -height * 0.72 - 0.6),
            (half, -1.2),
        ]
    };
    let lower = [
        (half, -1.2),
        (half * 0.55, below * 0.80),
        (0.0, below),
        (-half * 0.55, below * 0.72),
        (-half, 2.5),
    ];
    let open = lid(above);
    // A shut lid lies on the lower one.
    let shut = above + (-below * 0.86 - above) * blink;
    let edge = if blink > 0.0 { lid(shut) } else { open };
    let white = between(&open, &lower);
    canvas.fill(
        &white,
        Fill::Along(
            (0.0, -above),
            (0.0, below),
            &[ink(0xcf_c8_c6), ink(0xf4_f1_ee), ink(0xff_fe_fc)],
        ),
        None,
    );
    let clip = canvas.inside(&white);
    canvas.soft(
        &oval((-half + 2.0, 2.2), (3.4, 2.6)),
        skin.blush.at(0.75),
        2.2,
        Some(&clip),
    );
    iris(canvas, eyes, gaze, side, &clip);
    // Shade of the lid on the ball.
    canvas.soft_line(&curve(&open), skin.deep.at(0.50), 5.0, 4.0, Some(&clip));
    if blink > 0.0 {
        let mut back = edge;
        back.reverse();
        let lid_skin = between(&open, &back);
        let tone = skin.base.mixed(skin.shade, 0.22);
        canvas.fill(&lid_skin, tone, None);
        canvas.line(&curve(&open), tone, 2.0, None);
    }
    // Crease over the lid, fading as it shuts.
    let crease: Vec<_> = lid(above + 7.5)
        .iter()
        .map(|&(x, y)| (x * 1.04, y - 0.5))
        .collect();
    canvas.soft_line(
        &curve(&crease[1..]),
        skin.shade.mixed(skin.deep, 0.45).at(0.75 - 0.35 * blink),
        1.8,
        2.4,
        None,
    );
    canvas.soft_line(&curve(&lower), skin.deep.at(0.42), 1.3, 1.6, None);
    lashes(canvas, eyes, &edge);
}

fn iris(canvas: &mut Canvas, eyes: &Eyes, gaze: (f32, f32), side: f32, clip: &Mask) {
    let radius = 0.92 * (eyes.size.1 + 1.5);
    canvas.shifted((gaze.0 + 0.6, gaze.1 - 0.8), |canvas| {
        let dark = eyes.iris.mixed(ink(0x08_08_0a), 0.55);
        canvas.fill(&oval((0.0, 0.0), (radius, radius)), dark, Some(clip));
        canvas.fill(
            &oval((0.0, 0.0), (radius - 1.3, radius - 1.3)),
            Fill::Around((0.0, 3.0), radius, &[eyes.iris_light, eyes.iris, dark]),
            Some(clip),
        );
        canvas.fill(
            &oval((0.0, 0.0), (radius * 0.44, radius * 0.44)),
            ink(0x0b_09_0a),
            Some(clip),
        );
        // The window's light, on the same side in both eyes.
        canvas.fill(
            &oval((-3.6 * side, -3.8), (2.7, 2.5)),
            ink(0xff_ff_ff).at(0.95),
            Some(clip),
        );
        canvas.fill(
            &oval((3.4 * side, 3.6), (1.5, 1.3)),
            ink(0xff_ff_ff).at(0.45),
            Some(clip),
        );
    });
}

fn lashes(canvas: &mut Canvas, eyes: &Eyes, edge: &[(f32, f32); 5]) {
    let dark = ink(0x26_17_14);
    let thickness = eyes.lashes;
    let [a, b, c, d, e] = *edge;
    let line = taper(&[
        (a.0, a.1, thickness * 0.30),
        (b.0, b.1, thickness * 0.72),
        (c.0, c.1, thickness),
        (d.0, d.1, thickness * 1.05),
        (
            e.0 + thickness * 0.55,
            e.1 - thickness * 0.38,
            thickness * 0.35,
        ),
    ]);
    canvas.fill(&line, dark.at(0.92), None);
    if thickness > 4.0 {
        for (x, y, length) in [
            (d.0 - 3.0, d.1 - 1.0, 5.0),
            (d.0 + 3.0, d.1 + 1.2, 6.0),
            (e.0 - 1.0, e.1 - 1.0, 6.0),
        ] {
            let lash = taper(&[
                (x, y, 1.8),
                (x + length * 0.55, y - length * 0.42, 1.1),
                (x + length, y - length, 0.4),
            ]);
            canvas.fill(&lash, dark.at(0.9), None);
        }
    }
}

pub(super) fn brows(canvas: &mut Canvas, person: &Person, pose: &Pose) {
    let brow = &person.brow;
    canvas.shifted(pose.parallax(DEPTH_EYES), |canvas| {
        canvas.shifted((0.0, brow.y - pose.brow + 2.0 * pose.blink), |canvas| {
            canvas.shifted((person.eyes.apart, 0.0), |canvas| one_brow(canvas, person));
            canvas.shifted((-person.eyes.apart, 0.0), |canvas| {
                canvas.mirrored(|canvas| one_brow(canvas, person));
            });
        });
    });
}

/// The brow over an eye at the origin, its inner end to the left.
fn one_brow(canvas: &mut Canvas, person: &Person) {
    let brow = &person.brow;
    let points = [
        (-27.0, 2.6, brow.thickness * 0.60),
        (-14.0, -0.6 - brow.arch * 0.40, brow.thickness),
        (6.0, -brow.arch, brow.thickness * 0.88),
        (22.0, -brow.arch * 0.62, brow.thickness * 0.60),
        (34.0, 4.0, brow.thickness * 0.16),
    ];
    let shape = taper(&points);
    canvas.soft(&shape, brow.ink.at(0.55), 3.0, None);
    canvas.soft(&shape, brow.ink.at(0.80), 1.2, None);
    // Hairs, so that it is not a bar.
    for step in 0..13_u8 {
        let share = f32::from(step) / 12.0;
        let x = -26.0 + 52.0 * share;
        let y = 3.0 - brow.arch * (1.0 - ((x - 6.0) / 30.0).powi(2)).max(-0.3);
        let rise = brow.thickness * (0.62 - 0.42 * share);
        let hair = taper(&[
            (x, y + rise * 0.5, 1.3),
            (x + 4.0, y - rise * 0.25, 1.0),
            (x + 8.5, y - rise * 0.55, 0.3),
        ]);
        canvas.fill(&hair, brow.ink.mixed(person.hair_dark, 0.35).at(0.55), None);
    }
}

/// Shade that something above the face throws on it: `edge` is its lower edge.
pub(super) fn shadow(canvas: &mut Canvas, edge: &[(f32, f32)], ink: Ink, clip: &Mask) {
    canvas.soft_line(&curve(edge), ink, 14.0, 12.0, Some(clip));
}
