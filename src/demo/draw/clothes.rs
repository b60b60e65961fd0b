//! Neck, shoulders and what is worn on them.

use tiny_skia::Mask;

use super::brush::{Canvas, Fill, Ink, between, curve, ink, oval, polygon, taper};
use super::people::{Person, Who};

/// Paints the neck and the body below it. The origin is between the eyes of a head held straight.
pub(super) fn body(canvas: &mut Canvas, person: &Person) {
    match person.who {
        Who::Sanders => {
            let clip = torso(canvas, 300.0, 212.0, [ink(0x4a_5d_78), ink(0x33_43_5a), ink(0x22_2d_3f)]);
            folds(canvas, ink(0x17_20_2e), &clip);
            shirt(canvas, &clip);
            neck(canvas, person, (60.0, 5.0), 250.0);
            jacket(canvas, &clip);
        }
        Who::Bob => {
            let clip = torso(canvas, 312.0, 214.0, [ink(0xd9_8c_3a), ink(0xbf_70_28), ink(0x8e_4d_1b)]);
            folds(canvas, ink(0x6b_36_10), &clip);
            hood(canvas);
            neck(canvas, person, (66.0, 22.0), 244.0);
            sweater(canvas, &clip);
        }
        Who::Jane => {
            let clip = torso(canvas, 262.0, 218.0, [ink(0x4f_9a_86), ink(0x34_7a_69), ink(0x20_55_4a)]);
            folds(canvas, ink(0x17_40_38), &clip);
            neck(canvas, person, (49.0, 22.0), 288.0);
            blouse(canvas, person, &clip);
        }
    }
}

/// Shoulders of `half` width, from `top` down; gives what is inside.
fn torso(canvas: &mut Canvas, half: f32, top: f32, inks: [Ink; 3]) -> Mask {
    let shape = between(
        &[
            (-half - 30.0, 460.0),
            (-half, 350.0),
            (-half * 0.84, top + 66.0),
            (-half * 0.48, top + 26.0),
            (-62.0, top),
            (0.0, top - 8.0),
            (62.0, top),
            (half * 0.48, top + 26.0),
            (half * 0.84, top + 66.0),
            (half, 350.0),
            (half + 30.0, 460.0),
        ],
        &[(half + 30.0, 470.0), (-half - 30.0, 470.0)],
    );
    canvas.fill(&shape, Fill::Along((-half * 0.7, top), (half, 460.0), &inks), None);
    let clip = canvas.inside(&shape);
    canvas.soft_line(&shape, inks[2].at(0.55), 14.0, 18.0, Some(&clip));
    canvas.soft(
        &oval((-half * 0.52, top + 56.0), (58.0, 16.0)),
        inks[0].mixed(ink(0xff_ff_ff), 0.25).at(0.45),
        22.0,
        Some(&clip),
    );
    clip
}

fn folds(canvas: &mut Canvas, dark: Ink, clip: &Mask) {
    for side in [-1.0, 1.0] {
        for (from, via, to) in [((210.0, 300.0), (190.0, 360.0), (196.0, 440.0)), ((236.0, 330.0), (222.0, 380.0), (232.0, 440.0)), ((128.0, 296.0), (150.0, 350.0), (140.0, 430.0))] {
            let fold = taper(&[(side * from.0, from.1, 2.0), (side * via.0, via.1, 7.0), (side * to.0, to.1, 3.0)]);
            canvas.soft(&fold, dark.at(0.35), 9.0, Some(clip));
        }
    }
}

/// The neck from behind the jaw to `bottom`, of `half` width and wider by `flare` at the shoulders, with the shade of
/// the head on it.
fn neck(canvas: &mut Canvas, person: &Person, (half, flare): (f32, f32), bottom: f32) {
    let skin = &person.skin;
    let shape = between(
        &[(-half, 80.0), (-half, 150.0), (-half - 2.0, 190.0), (-half - flare, 226.0), (0.0, bottom)],
        &[(0.0, bottom), (half + flare, 226.0), (half + 2.0, 190.0), (half, 150.0), (half, 80.0)],
    );
    canvas.fill(
        &shape,
        Fill::Along((-half, 0.0), (half, 0.0), &[skin.base, skin.base.mixed(skin.shade, 0.25), skin.shade]),
        None,
    );
    let clip = canvas.inside(&shape);
    canvas.soft_line(
        &curve(&[(half, 120.0), (half, 180.0), (half + 20.0, 222.0)]),
        skin.deep.at(0.40),
        14.0,
        16.0,
        Some(&clip),
    );
    canvas.soft(&oval((8.0, 158.0), (half * 1.25, 34.0)), skin.deep.at(0.62), 18.0, Some(&clip));
    for side in [-1.0, 1.0] {
        let tendon = taper(&[(side * half * 0.62, 176.0, 2.0), (side * half * 0.36, 210.0, 5.0), (side * 10.0, 240.0, 2.0)]);
        canvas.soft(&tendon, skin.shade.at(0.50), 7.0, Some(&clip));
    }
}

fn shirt(canvas: &mut Canvas, clip: &Mask) {
    let front = polygon(&[(-78.0, 206.0), (78.0, 206.0), (10.0, 430.0), (-10.0, 430.0)]);
    canvas.fill(
        &front,
        Fill::Along((-60.0, 210.0), (60.0, 420.0), &[ink(0xfb_fb_fd), ink(0xe6_ea_f0), ink(0xbf_c8_d4)]),
        Some(clip),
    );
}

fn jacket(canvas: &mut Canvas, clip: &Mask) {
    for side in [-1.0_f32, 1.0] {
        let light = if side < 0.0 { 0.0 } else { 0.35 };
        // The shirt's collar.
        let collar = polygon(&[(side * 63.0, 186.0), (side * 80.0, 214.0), (side * 46.0, 262.0), (side * 4.0, 244.0)]);
        canvas.shifted((0.0, 4.0), |canvas| { canvas.soft(&collar, ink(0x4a_56_66).at(0.45), 6.0, None); });
        canvas.fill(
            &collar,
            Fill::Along((-side * 10.0, 200.0), (side * 70.0, 250.0), &[ink(0xff_ff_ff).mixed(ink(0xc4_cc_d8), light), ink(0xe4_e9_f0).mixed(ink(0xb4_be_cc), light)]),
            None,
        );
        // The jacket's lapel.
        let lapel = polygon(&[(side * 82.0, 204.0), (side * 108.0, 226.0), (side * 104.0, 296.0), (side * 82.0, 300.0), (side * 88.0, 318.0), (side * 2.0, 452.0), (side * 16.0, 372.0), (side * 58.0, 262.0)]);
        canvas.soft(&lapel, ink(0x0e_14_1e).at(0.55), 7.0, Some(clip));
        canvas.fill(
            &lapel,
            Fill::Along((side * 20.0, 220.0), (side * 100.0, 400.0), &[ink(0x5a_6e_8b).mixed(ink(0x33_43_5a), light), ink(0x3d_4e_68).mixed(ink(0x2a_37_4b), light)]),
            Some(clip),
        );
        canvas.line(
            &curve(&[(side * 108.0, 226.0), (side * 106.0, 262.0), (side * 104.0, 296.0)]),
            ink(0x1c_26_36).at(0.6),
            1.4,
            Some(clip),
        );
    }
    // A tie.
    let knot = polygon(&[(-15.0, 246.0), (15.0, 246.0), (10.0, 272.0), (-10.0, 272.0)]);
    let tail = polygon(&[(-10.0, 272.0), (10.0, 272.0), (22.0, 440.0), (-22.0, 440.0)]);
    canvas.soft(&tail, ink(0x3a_46_56).at(0.4), 6.0, Some(clip));
    canvas.fill(
        &tail,
        Fill::Along((-20.0, 272.0), (22.0, 300.0), &[ink(0xa4_3c_48), ink(0x7c_25_33), ink(0x58_17_24)]),
        Some(clip),
    );
    canvas.fill(
        &knot,
        Fill::Along((-14.0, 246.0), (14.0, 270.0), &[ink(0xb8_48_54), ink(0x86_2a_38), ink(0x5c_18_26)]),
        None,
    );
}

fn hood(canvas: &mut Canvas) {
    let back = between(
        &[(-150.0, 262.0), (-118.0, 206.0), (-60.0, 176.0), (0.0, 170.0), (60.0, 176.0), (118.0, 206.0), (150.0, 262.0)],
        &[(110.0, 300.0), (0.0, 320.0), (-110.0, 300.0)],
    );
    canvas.fill(
        &back,
        Fill::Along((-120.0, 190.0), (130.0, 300.0), &[ink(0xb8_6c_26), ink(0x84_46_17), ink(0x5f_30_0e)]),
        None,
    );
}

fn sweater(canvas: &mut Canvas, clip: &Mask) {
    // A white shirt at the neck, then the hood's two halves.
    let shirt = between(
        &[(-76.0, 210.0), (-44.0, 240.0), (0.0, 250.0), (44.0, 240.0), (76.0, 210.0)],
        &[(98.0, 232.0), (60.0, 276.0), (0.0, 312.0), (-60.0, 276.0), (-98.0, 232.0)],
    );
    canvas.fill(
        &shirt,
        Fill::Along((-70.0, 230.0), (70.0, 290.0), &[ink(0xfa_f6_f0), ink(0xe6_df_d6), ink(0xb4_aa_a0)]),
        None,
    );
    let hem = curve(&[(-84.0, 218.0), (-46.0, 250.0), (0.0, 260.0), (46.0, 250.0), (84.0, 218.0)]);
    canvas.soft_line(&hem, ink(0x8a_7e_72).at(0.6), 1.6, 1.6, None);
    for side in [-1.0_f32, 1.0] {
        let light = if side < 0.0 { 0.0 } else { 0.45 };
        let half = between(
            &[(side * 70.0, 196.0), (side * 92.0, 226.0), (side * 62.0, 268.0), (side * 6.0, 316.0)],
            &[(side * 22.0, 330.0), (side * 104.0, 300.0), (side * 150.0, 258.0), (side * 122.0, 206.0)],
        );
        canvas.soft(&half, ink(0x4a_24_08).at(0.55), 8.0, Some(clip));
        canvas.fill(
            &half,
            Fill::Along((side * 60.0, 200.0), (side * 120.0, 320.0), &[ink(0xe6_a0_50).mixed(ink(0xb8_6a_26), light), ink(0xb8_6a_26).mixed(ink(0x8e_4d_1b), light)]),
            None,
        );
        let seam = curve(&[(side * 92.0, 226.0), (side * 62.0, 268.0), (side * 6.0, 316.0)]);
        canvas.line(&seam, ink(0x7a_40_12).at(0.7), 2.0, None);
        let cord = taper(&[(side * 26.0, 302.0, 4.5), (side * 30.0, 350.0, 5.0), (side * 25.0, 398.0, 5.0)]);
        canvas.shifted((2.0, 3.0), |canvas| { canvas.soft(&cord, ink(0x4a_24_08).at(0.5), 3.0, Some(clip)); });
        canvas.fill(&cord, ink(0xf4_ea_dc), Some(clip));
    }
}

fn blouse(canvas: &mut Canvas, person: &Person, clip: &Mask) {
    for side in [-1.0_f32, 1.0] {
        let light = if side < 0.0 { 0.0 } else { 0.45 };
        let collar = between(
            &[(side * 72.0, 208.0), (side * 56.0, 244.0), (side * 26.0, 280.0), (0.0, 312.0)],
            &[(side * 10.0, 340.0), (side * 58.0, 322.0), (side * 104.0, 276.0), (side * 96.0, 224.0)],
        );
        canvas.soft(&collar, ink(0x10_33_2c).at(0.55), 8.0, Some(clip));
        canvas.fill(
            &collar,
            Fill::Along((side * 40.0, 220.0), (side * 90.0, 330.0), &[ink(0x6a_b5_a0).mixed(ink(0x34_7a_69), light), ink(0x3f_8a_77).mixed(ink(0x26_60_53), light)]),
            None,
        );
    }
    canvas.soft_line(
        &curve(&[(0.0, 316.0), (2.0, 380.0), (0.0, 440.0)]),
        ink(0x14_3c_34).at(0.6),
        2.0,
        3.0,
        Some(clip),
    );
    // A fine chain.
    let chain = curve(&[(-54.0, 222.0), (-30.0, 254.0), (0.0, 266.0), (30.0, 254.0), (54.0, 222.0)]);
    canvas.shifted((1.0, 2.0), |canvas| { canvas.soft_line(&chain, person.skin.deep.at(0.4), 1.6, 2.0, None); });
    canvas.line(&chain, ink(0xe8_c6_7a), 1.6, None);
    canvas.fill(
        &oval((0.0, 270.0), (4.2, 5.0)),
        Fill::Around((-1.5, 268.0), 6.0, &[ink(0xff_f4_d0), ink(0xd8_a8_4e)]),
        None,
    );
}
