//! What is behind each person: a room out of focus, the same in every frame.

use super::SIZE;
use super::brush::{Canvas, Fill, Ink, ink, oval, polygon};
use super::people::Who;

/// The background of one person's frames.
pub(super) fn paint(who: Who) -> Canvas {
    match who {
        Who::Sanders => office(),
        Who::Bob => study(),
        Who::Jane => garden_window(),
    }
}

fn wall(inks: &[Ink], glow: Ink) -> Canvas {
    let (width, height) = (SIZE.width as f32, SIZE.height as f32);
    let mut canvas = Canvas::new(SIZE, inks[0]);
    let whole = polygon(&[(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)]);
    canvas.fill(
        &whole,
        Fill::Along((0.0, 0.0), (width * 0.6, height), inks),
        None,
    );
    canvas.fill(
        &whole,
        Fill::Around(
            (width * 0.42, height * 0.38),
            620.0,
            &[glow, glow.at(0.35), glow.at(0.0)],
        ),
        None,
    );
    canvas
}

fn block(canvas: &mut Canvas, [x1, y1, x2, y2]: [f32; 4], ink: Ink, blur: f32) {
    canvas.soft(
        &polygon(&[(x1, y1), (x2, y1), (x2, y2), (x1, y2)]),
        ink,
        blur,
        None,
    );
}

/// An office at dusk: a window with lights of the town.
fn office() -> Canvas {
    let mut canvas = wall(
        &[ink(0x5d_72_86), ink(0x46_58_6c), ink(0x2c_38_48)],
        ink(0x9f_b6_c6).at(0.55),
    );
    block(
        &mut canvas,
        [60.0, 40.0, 400.0, 520.0],
        ink(0xb9_cf_dc).at(0.55),
        22.0,
    );
    block(
        &mut canvas,
        [80.0, 300.0, 384.0, 500.0],
        ink(0x8f_a6_b8).at(0.50),
        24.0,
    );
    for (x, height) in [
        (96.0, 160.0),
        (150.0, 240.0),
        (214.0, 130.0),
        (268.0, 210.0),
        (326.0, 170.0),
    ] {
        block(
            &mut canvas,
            [x, 500.0 - height, x + 46.0, 506.0],
            ink(0x6c_84_98).at(0.60),
            14.0,
        );
    }
    block(
        &mut canvas,
        [222.0, 40.0, 236.0, 520.0],
        ink(0x3d_4d_5e).at(0.75),
        9.0,
    );
    for (x, y, radius, light) in [
        (120.0, 420.0, 13.0, 0.55),
        (180.0, 350.0, 10.0, 0.5),
        (300.0, 400.0, 14.0, 0.5),
        (350.0, 440.0, 11.0, 0.45),
        (280.0, 330.0, 8.0, 0.5),
    ] {
        canvas.soft(
            &oval((x, y), (radius, radius)),
            ink(0xff_df_a8).at(light),
            7.0,
            None,
        );
    }
    block(
        &mut canvas,
        [900.0, 150.0, 1240.0, 172.0],
        ink(0x2c_38_46).at(0.70),
        10.0,
    );
    block(
        &mut canvas,
        [900.0, 380.0, 1240.0, 402.0],
        ink(0x25_30_3d).at(0.70),
        10.0,
    );
    for (x, height, colour) in [
        (925.0, 96.0, 0x8a_4b_45),
        (962.0, 110.0, 0xc7_a2_6a),
        (1000.0, 88.0, 0x4f_6f_86),
        (1036.0, 104.0, 0x6d_7f_6a),
        (1120.0, 70.0, 0xb9_c2_c8),
    ] {
        block(
            &mut canvas,
            [x, 150.0 - height, x + 28.0, 150.0],
            ink(colour).at(0.75),
            9.0,
        );
    }
    for (x, height, colour) in [
        (930.0, 100.0, 0x5a_6a_58),
        (1060.0, 118.0, 0x9c_5a_4a),
        (1096.0, 96.0, 0x3f_58_70),
        (1134.0, 110.0, 0xc0_9a_66),
        (1172.0, 90.0, 0x7b_86_90),
    ] {
        block(
            &mut canvas,
            [x, 380.0 - height, x + 28.0, 380.0],
            ink(colour).at(0.75),
            9.0,
        );
    }
    canvas
}

/// A warm room with a lamp and a plant.
fn study() -> Canvas {
    let mut canvas = wall(
        &[ink(0xe9_d3_b2), ink(0xd8_b8_8e), ink(0xa8_82_5e)],
        ink(0xff_f0_d2).at(0.75),
    );
    block(
        &mut canvas,
        [930.0, 110.0, 1180.0, 330.0],
        ink(0x8d_a3_a0).at(0.85),
        12.0,
    );
    block(
        &mut canvas,
        [946.0, 126.0, 1164.0, 314.0],
        ink(0xef_e6_d4).at(0.90),
        10.0,
    );
    canvas.soft(
        &oval((1020.0, 236.0), (54.0, 44.0)),
        ink(0xd9_7f_5a).at(0.85),
        14.0,
        None,
    );
    canvas.soft(
        &oval((1092.0, 262.0), (48.0, 36.0)),
        ink(0x5d_83_86).at(0.85),
        14.0,
        None,
    );
    // A plant at the left: leaves around a stem.
    for (angle, length, tone) in [
        (-2.5_f32, 190.0, 0x4f_7a_52),
        (-2.1, 240.0, 0x5f_90_5e),
        (-1.75, 270.0, 0x47_72_4c),
        (-1.35, 250.0, 0x6a_9a_66),
        (-0.95, 210.0, 0x52_80_56),
        (-0.55, 170.0, 0x44_6c_49),
    ] {
        let (x, y) = (190.0, 560.0);
        let (tip_x, tip_y) = (x + angle.cos() * length, y + angle.sin() * length);
        let (across_x, across_y) = (-angle.sin() * 30.0, angle.cos() * 30.0);
        let (mid_x, mid_y) = (
            x + angle.cos() * length * 0.55,
            y + angle.sin() * length * 0.55,
        );
        let leaf = super::brush::blob(&[
            (x, y),
            (mid_x + across_x, mid_y + across_y),
            (tip_x, tip_y),
            (mid_x - across_x, mid_y - across_y),
        ]);
        canvas.soft(&leaf, ink(tone).at(0.90), 12.0, None);
    }
    block(
        &mut canvas,
        [130.0, 550.0, 256.0, 720.0],
        ink(0xf1_ea_de).at(0.95),
        12.0,
    );
    block(
        &mut canvas,
        [200.0, 550.0, 256.0, 720.0],
        ink(0xb9_a8_94).at(0.55),
        18.0,
    );
    canvas.soft(
        &oval((350.0, 90.0), (120.0, 70.0)),
        ink(0xff_f6_dc).at(0.55),
        50.0,
        None,
    );
    canvas
}

/// A bright window on green.
fn garden_window() -> Canvas {
    let mut canvas = wall(
        &[ink(0xd7_d3_e6), ink(0xbf_b6_d2), ink(0x93_86_ac)],
        ink(0xff_fa_ff).at(0.60),
    );
    block(
        &mut canvas,
        [860.0, 30.0, 1230.0, 560.0],
        ink(0xf4_fb_ee).at(0.90),
        16.0,
    );
    for (x, y, radius, tone, cover) in [
        (930.0, 430.0, 92.0, 0x9c_c4_8a, 0.75),
        (1060.0, 380.0, 118.0, 0x86_b5_7c, 0.75),
        (1180.0, 450.0, 100.0, 0x79_a8_74, 0.75),
        (980.0, 240.0, 64.0, 0xbd_dc_a6, 0.70),
        (1150.0, 210.0, 80.0, 0xa9_cf_96, 0.70),
        (1080.0, 130.0, 46.0, 0xd6_ec_c2, 0.70),
    ] {
        canvas.soft(
            &oval((x, y), (radius, radius * 0.9)),
            ink(tone).at(cover),
            30.0,
            None,
        );
    }
    for (x, y, radius) in [
        (950.0, 320.0, 15.0),
        (1040.0, 290.0, 19.0),
        (1130.0, 340.0, 13.0),
        (1010.0, 410.0, 11.0),
        (1190.0, 300.0, 16.0),
    ] {
        canvas.soft(
            &oval((x, y), (radius, radius)),
            ink(0xff_ff_f4).at(0.55),
            6.0,
            None,
        );
    }
    block(
        &mut canvas,
        [1036.0, 20.0, 1054.0, 580.0],
        ink(0xfa_f7_fc).at(0.95),
        7.0,
    );
    block(
        &mut canvas,
        [850.0, 290.0, 1240.0, 306.0],
        ink(0xfa_f7_fc).at(0.90),
        7.0,
    );
    block(
        &mut canvas,
        [840.0, 560.0, 1250.0, 592.0],
        ink(0xef_e9_f4).at(0.95),
        9.0,
    );
    block(
        &mut canvas,
        [90.0, 130.0, 300.0, 400.0],
        ink(0x8f_7f_ac).at(0.55),
        14.0,
    );
    block(
        &mut canvas,
        [108.0, 148.0, 282.0, 382.0],
        ink(0xf3_e4_e2).at(0.80),
        12.0,
    );
    canvas.soft(
        &oval((195.0, 265.0), (46.0, 62.0)),
        ink(0xe0_9a_96).at(0.80),
        22.0,
        None,
    );
    canvas
}
