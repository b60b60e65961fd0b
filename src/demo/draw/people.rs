//! The three people of the demo: what tells one from the other.

use super::brush::{Ink, ink};
use super::mouth::Lips;
use super::pose::Temper;

/// Someone of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// Grey at the temples, in a jacket.
    Sanders,
    /// A beard, glasses and a hooded sweater.
    Bob,
    /// Long auburn hair and a green blouse.
    Jane,
}

impl Who {
    /// All of them, in the order of `config.yaml`.
    pub const ALL: [Self; 3] = [Self::Sanders, Self::Bob, Self::Jane];

    /// The avatar's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sanders => "sanders",
            Self::Bob => "bob",
            Self::Jane => "jane",
        }
    }

    /// The person.
    pub(super) fn person(self) -> &'static Person {
        match self {
            Self::Sanders => &SANDERS,
            Self::Bob => &BOB,
            Self::Jane => &JANE,
        }
    }
}

/// What a person looks like.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) who: Who,
    /// Where the point between the eyes usually is in the picture.
    pub(super) place: (f32, f32),
    /// The face's outline, from the top of the skull down the right side to the chin.
    pub(super) outline: &'static [(f32, f32)],
    pub(super) skin: Skin,
    pub(super) hair: Ink,
    pub(super) hair_light: Ink,
    pub(super) hair_dark: Ink,
    pub(super) brow: Brow,
    pub(super) eyes: Eyes,
    /// Half of the width of the wings of the nose, and how far below the eyes its tip is.
    pub(super) nose: (f32, f32),
    /// How far below the eyes the line between the lips is.
    pub(super) mouth_y: f32,
    pub(super) lips: Lips,
    pub(super) temper: Temper,
}

/// Colours of skin in light, in itself and in shade.
#[derive(Debug)]
pub(super) struct Skin {
    pub(super) light: Ink,
    pub(super) base: Ink,
    pub(super) shade: Ink,
    pub(super) deep: Ink,
    pub(super) blush: Ink,
}

#[derive(Debug)]
pub(super) struct Brow {
    pub(super) ink: Ink,
    pub(super) thickness: f32,
    /// How far the arch rises above the ends.
    pub(super) arch: f32,
    pub(super) y: f32,
}

#[derive(Debug)]
pub(super) struct Eyes {
    /// Half of the distance between their middles.
    pub(super) apart: f32,
    pub(super) iris: Ink,
    pub(super) iris_light: Ink,
    /// Half width, height above and height below the middle.
    pub(super) size: (f32, f32, f32),
    /// Thickness of the upper lashes.
    pub(super) lashes: f32,
}

static SANDERS: Person = Person {
    who: Who::Sanders,
    place: (640.0, 292.0),
    outline: &[
        (0.0, -142.0),
        (62.0, -134.0),
        (103.0, -98.0),
        (116.0, -42.0),
        (114.0, 12.0),
        (109.0, 64.0),
        (97.0, 111.0),
        (70.0, 149.0),
        (35.0, 168.0),
        (0.0, 172.0),
    ],
    skin: Skin {
        light: ink(0xf7_d5_b8),
        base: ink(0xe9_b8_94),
        shade: ink(0xc8_89_66),
        deep: ink(0x8a_4f_38),
        blush: ink(0xd9_78_60),
    },
    hair: ink(0x4d_46_44),
    hair_light: ink(0x8d_86_84),
    hair_dark: ink(0x2c_27_27),
    brow: Brow {
        ink: ink(0x47_3c_38),
        thickness: 9.0,
        arch: 6.0,
        y: -30.0,
    },
    eyes: Eyes {
        apart: 47.0,
        iris: ink(0x3f_6a_84),
        iris_light: ink(0x86_b2_c4),
        size: (25.5, 12.0, 8.5),
        lashes: 3.0,
    },
    nose: (19.0, 56.0),
    mouth_y: 101.0,
    lips: Lips {
        upper: ink(0xbb_78_68),
        lower: ink(0xcf_8b_7a),
        line: ink(0x6b_2f_2b),
        half_width: 39.0,
        thickness: (5.6, 8.4),
        gloss: 0.15,
    },
    temper: Temper {
        liveliness: 0.9,
        phase: 0.2,
        blinks: [28, 77],
    },
};

static BOB: Person = Person {
    who: Who::Bob,
    place: (640.0, 296.0),
    outline: &[
        (0.0, -140.0),
        (66.0, -132.0),
        (108.0, -94.0),
        (120.0, -38.0),
        (118.0, 16.0),
        (113.0, 66.0),
        (99.0, 114.0),
        (69.0, 152.0),
        (32.0, 170.0),
        (0.0, 174.0),
    ],
    skin: Skin {
        light: ink(0xb9_82_5c),
        base: ink(0x9a_64_42),
        shade: ink(0x70_43_2b),
        deep: ink(0x45_26_18),
        blush: ink(0xa3_4f_38),
    },
    hair: ink(0x2a_20_1d),
    hair_light: ink(0x4a_3a_33),
    hair_dark: ink(0x15_0f_0e),
    brow: Brow {
        ink: ink(0x22_19_17),
        thickness: 10.5,
        arch: 5.0,
        y: -31.0,
    },
    eyes: Eyes {
        apart: 48.0,
        iris: ink(0x4a_2c_1a),
        iris_light: ink(0x84_56_35),
        size: (25.5, 13.0, 9.0),
        lashes: 3.4,
    },
    nose: (23.0, 55.0),
    mouth_y: 101.0,
    lips: Lips {
        upper: ink(0x84_43_3b),
        lower: ink(0xa2_5c_52),
        line: ink(0x43_1a_18),
        half_width: 38.0,
        thickness: (8.0, 11.5),
        gloss: 0.25,
    },
    temper: Temper {
        liveliness: 1.1,
        phase: 0.8,
        blinks: [19, 62],
    },
};

static JANE: Person = Person {
    who: Who::Jane,
    place: (640.0, 296.0),
    outline: &[
        (0.0, -136.0),
        (58.0, -128.0),
        (97.0, -94.0),
        (109.0, -40.0),
        (107.0, 12.0),
        (100.0, 60.0),
        (83.0, 106.0),
        (54.0, 144.0),
        (25.0, 162.0),
        (0.0, 166.0),
    ],
    skin: Skin {
        light: ink(0xfd_e3_d0),
        base: ink(0xf3_c9_ae),
        shade: ink(0xd3_9a_7e),
        deep: ink(0x96_5c_48),
        blush: ink(0xe8_83_76),
    },
    hair: ink(0x8a_3f_25),
    hair_light: ink(0xc9_74_45),
    hair_dark: ink(0x4b_1d_14),
    brow: Brow {
        ink: ink(0x6d_38_26),
        thickness: 6.2,
        arch: 8.0,
        y: -31.0,
    },
    eyes: Eyes {
        apart: 45.0,
        iris: ink(0x3c_71_4e),
        iris_light: ink(0x8f_ba_7c),
        size: (26.5, 14.5, 9.5),
        lashes: 4.2,
    },
    nose: (16.5, 52.0),
    mouth_y: 96.0,
    lips: Lips {
        upper: ink(0xb8_49_4e),
        lower: ink(0xcf_5f_62),
        line: ink(0x70_1f_28),
        half_width: 34.0,
        thickness: (8.5, 12.0),
        gloss: 0.8,
    },
    temper: Temper {
        liveliness: 1.0,
        phase: 0.5,
        blinks: [35, 84],
    },
};
