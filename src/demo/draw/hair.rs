//! Hair, beard and what is worn on the head.

use tiny_skia::{Mask, Path};

use super::brush::{Canvas, Fill, between, blob, curve, ink, oval, taper};
use super::face;
use super::mouth::Mouth;
use super::people::{Person, Who};
use super::pose::Pose;

/// Hair behind neck and shoulders.
pub(super) fn back(canvas: &mut Canvas, person: &Person, pose: &Pose) {
    if person.who != Who::Jane {
        return;
    }
    canvas.shifted(pose.parallax(-7.0), |canvas| {
        let mass = blob(&[
            (0.0, -156.0),
            (72.0, -144.0),
            (120.0, -98.0),
            (140.0, -10.0),
            (150.0, 80.0),
            (166.0, 170.0),
            (158.0, 262.0),
            (118.0, 300.0),
            (60.0, 250.0),
            (0.0, 200.0),
            (-60.0, 250.0),
            (-122.0, 300.0),
            (-160.0, 258.0),
            (-164.0, 168.0),
            (-148.0, 80.0),
            (-138.0, -10.0),
            (-120.0, -98.0),
            (-72.0, -144.0),
        ]);
        canvas.fill(
            &mass,
            Fill::Along((-150.0, 0.0), (150.0, 0.0), &[person.hair, person.hair_dark, person.hair_dark, person.hair.mixed(person.hair_dark, 0.6)]),
            None,
        );
        let clip = canvas.inside(&mass);
        strands(canvas, person, &clip, &[
            [(-120.0, -60.0), (-142.0, 60.0), (-148.0, 170.0), (-128.0, 290.0)],
            [(-108.0, -20.0), (-128.0, 90.0), (-132.0, 190.0), (-108.0, 285.0)],
            [(122.0, -60.0), (142.0, 60.0), (152.0, 170.0), (132.0, 290.0)],
            [(110.0, -20.0), (130.0, 90.0), (136.0, 190.0), (108.0, 285.0)],
        ], 0.55);
    });
}

/// Hair over the forehead and at the sides, in front of the face.
pub(super) fn front(canvas: &mut Canvas, person: &Person, pose: &Pose, clip: &Mask) {
    canvas.shifted(pose.parallax(2.0), |canvas| match person.who {
        Who::Sanders => swept(canvas, person, clip),
        Who::Bob => curls(canvas, person, clip),
        Who::Jane => parted(canvas, person, clip),
    });
}

/// Short hair, combed to the side, grey at the temples.
fn swept(canvas: &mut Canvas, person: &Person, clip: &Mask) {
    let hairline = [
        (-113.0, -22.0),
        (-104.0, -58.0),
        (-90.0, -80.0),
        (-62.0, -97.0),
        (-20.0, -96.0),
        (30.0, -104.0),
        (74.0, -98.0),
        (98.0, -72.0),
        (108.0, -52.0),
        (114.0, -22.0),
    ];
    let crown = [
        (121.0, -26.0),
        (124.0, -70.0),
        (116.0, -116.0),
        (88.0, -154.0),
        (38.0, -174.0),
        (-22.0, -174.0),
        (-76.0, -156.0),
        (-112.0, -118.0),
        (-123.0, -70.0),
        (-120.0, -26.0),
    ];
    face::shadow(canvas, &hairline[1..9], person.skin.deep.at(0.42), clip);
    let shape = between(&hairline, &crown);
    canvas.fill(
        &shape,
        Fill::Along((-110.0, -160.0), (120.0, -30.0), &[person.hair_light.mixed(person.hair, 0.5), person.hair, person.hair_dark]),
        None,
    );
    let inside = canvas.inside(&shape);
    canvas.soft(&oval((-30.0, -142.0), (62.0, 13.0)), person.hair_light.at(0.55), 14.0, Some(&inside));
    for side in [-1.0, 1.0] {
        canvas.soft(
            &oval((side * 116.0, -44.0), (13.0, 32.0)),
            person.hair_light.mixed(ink(0xd8_d4_d2), 0.45).at(0.75),
            10.0,
            Some(&inside),
        );
    }
    strands(canvas, person, &inside, &[
        [(-100.0, -84.0), (-82.0, -118.0), (-30.0, -148.0), (40.0, -164.0)],
        [(-84.0, -86.0), (-52.0, -112.0), (6.0, -138.0), (70.0, -152.0)],
        [(-60.0, -97.0), (-20.0, -116.0), (40.0, -132.0), (92.0, -132.0)],
        [(-20.0, -99.0), (20.0, -112.0), (66.0, -122.0), (104.0, -110.0)],
        [(24.0, -104.0), (60.0, -110.0), (92.0, -104.0), (112.0, -84.0)],
        [(-108.0, -70.0), (-104.0, -108.0), (-62.0, -148.0), (0.0, -168.0)],
    ], 0.5);
    // Where the hairline meets the skin it thins out.
    canvas.soft_line(&curve(&hairline[1..9]), person.hair.at(0.45), 3.0, 3.0, None);
}

/// Short curls, cut close at the sides.
fn curls(canvas: &mut Canvas, person: &Person, clip: &Mask) {
    let hairline = [
        (-118.0, -8.0),
        (-111.0, -52.0),
        (-96.0, -78.0),
        (-56.0, -98.0),
        (0.0, -103.0),
        (56.0, -98.0),
        (96.0, -78.0),
        (111.0, -52.0),
        (118.0, -8.0),
    ];
    face::shadow(canvas, &hairline[1..8], person.skin.deep.at(0.45), clip);
    let sides = between(&hairline, &[(123.0, -10.0), (122.0, -90.0), (80.0, -140.0), (0.0, -152.0), (-80.0, -140.0), (-122.0, -90.0), (-123.0, -10.0)]);
    canvas.soft(&sides, person.hair.at(0.9), 3.0, None);
    canvas.fill(&sides, person.hair, None);
    // Rows of curls, back to front, each lit from the upper left.
    for (row, &(y, half, count, radius)) in [(-146.0, 78.0, 8_u8, 21.0), (-128.0, 100.0, 10, 20.0), (-110.0, 98.0, 11, 16.0)].iter().enumerate() {
        for step in 0..=count {
            let share = f32::from(step) / f32::from(count) * 2.0 - 1.0;
            // A fixed unevenness, the same in every frame.
            let jitter = (f32::from(step) * 2.4 + row as f32 * 1.7).sin();
            let (x, y) = (share * half, y + share * share * (26.0 + 8.0 * row as f32) + 3.0 * jitter);
            let r = radius + 2.0 * jitter;
            canvas.fill(
                &oval((x, y), (r, r * 0.94)),
                Fill::Around((x - r * 0.35, y - r * 0.45), r * 1.5, &[person.hair_light.mixed(person.hair, 0.25 + 0.25 * share.abs()), person.hair, person.hair_dark]),
                None,
            );
        }
    }
}

/// Long hair with a parting, falling at both sides of the face.
fn parted(canvas: &mut Canvas, person: &Person, clip: &Mask) {
    let left = between(
        &[(-20.0, -133.0), (-48.0, -112.0), (-82.0, -74.0), (-98.0, -28.0), (-102.0, 30.0), (-103.0, 90.0), (-112.0, 150.0), (-118.0, 206.0), (-110.0, 262.0), (-126.0, 296.0)],
        &[(-140.0, 292.0), (-168.0, 240.0), (-160.0, 160.0), (-142.0, 80.0), (-133.0, 0.0), (-128.0, -66.0), (-106.0, -126.0), (-62.0, -164.0), (-14.0, -178.0)],
    );
    let right = between(
        &[(-20.0, -133.0), (18.0, -122.0), (66.0, -90.0), (92.0, -46.0), (101.0, 10.0), (103.0, 70.0), (110.0, 140.0), (120.0, 200.0), (112.0, 256.0), (128.0, 294.0)],
        &[(142.0, 290.0), (172.0, 238.0), (164.0, 156.0), (146.0, 76.0), (137.0, 0.0), (131.0, -68.0), (108.0, -126.0), (62.0, -163.0), (-14.0, -178.0)],
    );
    face::shadow(canvas, &[(-104.0, 80.0), (-98.0, -20.0), (-80.0, -72.0), (-46.0, -110.0), (-20.0, -134.0)], person.skin.deep.at(0.40), clip);
    face::shadow(canvas, &[(-20.0, -134.0), (20.0, -118.0), (66.0, -86.0), (92.0, -42.0), (102.0, 14.0), (104.0, 84.0)], person.skin.deep.at(0.48), clip);
    let inks = [person.hair_light.mixed(person.hair, 0.45), person.hair, person.hair, person.hair_dark];
    canvas.fill(
        &right,
        Fill::Along((40.0, -150.0), (150.0, 270.0), &[person.hair, person.hair, person.hair_dark]),
        None,
    );
    canvas.fill(&left, Fill::Along((-60.0, -160.0), (-140.0, 280.0), &inks), None);
    let (left_clip, right_clip) = (canvas.inside(&left), canvas.inside(&right));
    // The light lies as a band around the crown.
    canvas.soft_line(
        &curve(&[(-124.0, -52.0), (-98.0, -92.0), (-58.0, -130.0)]),
        person.hair_light.at(0.70),
        16.0,
        12.0,
        Some(&left_clip),
    );
    canvas.soft_line(
        &curve(&[(14.0, -138.0), (70.0, -112.0), (112.0, -58.0)]),
        person.hair_light.at(0.50),
        15.0,
        12.0,
        Some(&right_clip),
    );
    strands(canvas, person, &left_clip, &[
        [(-24.0, -150.0), (-84.0, -104.0), (-112.0, -20.0), (-118.0, 120.0)],
        [(-30.0, -158.0), (-100.0, -104.0), (-124.0, 0.0), (-132.0, 150.0)],
        [(-24.0, -144.0), (-70.0, -98.0), (-103.0, -22.0), (-107.0, 90.0)],
        [(-118.0, 60.0), (-130.0, 140.0), (-144.0, 210.0), (-128.0, 284.0)],
        [(-110.0, 100.0), (-122.0, 170.0), (-130.0, 220.0), (-118.0, 280.0)],
    ], 0.6);
    strands(canvas, person, &right_clip, &[
        [(-16.0, -150.0), (60.0, -116.0), (108.0, -40.0), (116.0, 110.0)],
        [(-10.0, -160.0), (84.0, -122.0), (126.0, -20.0), (136.0, 140.0)],
        [(-14.0, -142.0), (46.0, -112.0), (98.0, -40.0), (107.0, 80.0)],
        [(120.0, 60.0), (134.0, 140.0), (150.0, 206.0), (134.0, 282.0)],
        [(112.0, 96.0), (124.0, 166.0), (134.0, 216.0), (122.0, 276.0)],
    ], 0.6);
}

/// Lines that follow the hair: a light one beside a dark one.
fn strands(canvas: &mut Canvas, person: &Person, clip: &Mask, lines: &[[(f32, f32); 4]], cover: f32) {
    for line in lines {
        let widths = [0.8, 3.0, 3.2, 0.8];
        let strand = |offset: f32, scale: f32| -> Path {
            let points: Vec<_> = line.iter().zip(widths).map(|(&(x, y), width)| (x + offset, y, width * scale)).collect();
            taper(&points)
        };
        canvas.soft(&strand(2.5, 1.1), person.hair_dark.at(cover), 2.0, Some(clip));
        canvas.soft(&strand(-1.5, 0.8), person.hair_light.at(cover * 0.8), 2.0, Some(clip));
    }
}

/// Bob's beard: on the jaw, which it follows, and around the mouth.
pub(super) fn beard(canvas: &mut Canvas, person: &Person, pose: &Pose, mouth: Mouth, clip: &Mask) {
    if person.who != Who::Bob {
        return;
    }
    let jaw = mouth.jaw();
    let y = person.mouth_y;
    canvas.shifted(pose.parallax(3.0), |canvas| {
        let upper = [
            (-122.0, 12.0),
            (-110.0, 34.0),
            (-100.0, 66.0),
            (-80.0, 92.0),
            (-56.0, y - 14.0),
            (-30.0, y - 27.0),
            (0.0, y - 23.0),
            (30.0, y - 27.0),
            (56.0, y - 14.0),
            (80.0, 92.0),
            (100.0, 66.0),
            (110.0, 34.0),
            (122.0, 12.0),
        ];
        let lower = [(126.0, 60.0), (116.0, 120.0 + jaw * 0.4), (80.0, 172.0 + jaw), (0.0, 192.0 + jaw), (-80.0, 172.0 + jaw), (-116.0, 120.0 + jaw * 0.4), (-126.0, 60.0)];
        let shape = between(&upper, &lower);
        canvas.soft(&shape, person.hair.at(0.80), 5.0, Some(clip));
        canvas.soft(&shape, person.hair_dark.at(0.35), 9.0, Some(clip));
        // Light on the chin, so that it is round.
        canvas.soft(&oval((-16.0, y + 48.0 + jaw), (30.0, 14.0)), person.hair_light.at(0.50), 14.0, Some(clip));
        canvas.soft(&oval((-70.0, y + 6.0 + jaw * 0.4), (14.0, 24.0)), person.hair_light.at(0.34), 14.0, Some(clip));
        // Bare skin around the lips, moving with them.
        let bare = oval((0.0, y + 2.0 + jaw * 0.9), (person.lips.half_width * (0.80 + 0.5 * mouth.width), 10.0 + jaw * 1.1));
        canvas.soft(&bare, person.skin.base.mixed(person.skin.shade, 0.5).at(0.85), 6.0, Some(clip));
    });
}

/// Bob's glasses, Jane's earrings.
pub(super) fn worn(canvas: &mut Canvas, person: &Person, pose: &Pose) {
    match person.who {
        Who::Sanders => {}
        Who::Bob => canvas.shifted(pose.parallax(7.0), |canvas| glasses(canvas, person)),
        Who::Jane => canvas.shifted(pose.parallax(-3.0), |canvas| {
            for side in [-1.0, 1.0] {
                let (x, y) = (side * 109.0, 62.0 + 2.0 * pose.roll * side);
                canvas.fill(
                    &oval((x, y), (6.0, 6.0)),
                    Fill::Around((x - 2.0, y - 2.5), 8.0, &[ink(0xff_ff_ff), ink(0xe7_dc_cf), ink(0xa8_96_88)]),
                    None,
                );
            }
        }),
    }
}

fn glasses(canvas: &mut Canvas, person: &Person) {
    let frame = ink(0x1d_1a_1c);
    for side in [-1.0, 1.0] {
        let x = side * (person.eyes.apart + 1.0);
        let lens = blob(&[
            (x - 36.0, -12.0),
            (x - 20.0, -24.0),
            (x + 20.0, -24.0),
            (x + 36.0, -12.0),
            (x + 32.0, 14.0),
            (x + 14.0, 26.0),
            (x - 14.0, 26.0),
            (x - 32.0, 14.0),
        ]);
        canvas.fill(
            &lens,
            Fill::Along((x - 30.0, -24.0), (x + 30.0, 26.0), &[ink(0xff_ff_ff).at(0.20), ink(0xff_ff_ff).at(0.04), ink(0xff_ff_ff).at(0.00), ink(0xff_ff_ff).at(0.08)]),
            None,
        );
        canvas.shifted((1.0, 3.0), |canvas| { canvas.soft_line(&lens, person.skin.deep.at(0.45), 3.0, 3.0, None); });
        canvas.line(&lens, frame, 4.2, None);
        canvas.line(
            &curve(&[(x - 31.0, -19.0), (x - 18.0, -25.0), (x + 16.0, -25.2)]),
            ink(0x6a_64_66).at(0.7),
            1.2,
            None,
        );
        let arm = curve(&[(side * (person.eyes.apart + 35.0), -14.0), (side * 108.0, -15.0), (side * 122.0, -13.0)]);
        canvas.line(&arm, frame, 4.0, None);
    }
    canvas.line(&curve(&[(-13.0, -9.0), (0.0, -13.5), (13.0, -9.0)]), frame, 4.0, None);
}
