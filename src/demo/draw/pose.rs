//! How the head is held in each frame, and what the eyes do meanwhile.

use std::f32::consts::PI;

use tiny_skia::Transform;

/// Frames of one avatar; the motion comes to rest at both ends, so that they may be shown to and fro.
pub const FRAMES: usize = 100;

/// One frame's pose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pose {
    /// Where the head is, in pixels from its usual place.
    pub(super) shift: (f32, f32),
    /// Tilt, in degrees.
    pub(super) roll: f32,
    /// Nearer or farther.
    pub(super) zoom: f32,
    /// Turn to the picture's right, -1..1: features move more than the outline.
    pub(super) yaw: f32,
    /// Nod downwards, -1..1.
    pub(super) pitch: f32,
    /// How far the eyes are shut, 0..1.
    pub(super) blink: f32,
    /// How far the brows are raised, in pixels.
    pub(super) brow: f32,
    /// How far the shoulders are raised by the breath, in pixels.
    pub(super) breath: f32,
}

/// How one person moves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Temper {
    /// 1 for the usual amount of motion.
    pub(super) liveliness: f32,
    /// Shifts weight between the slow and the quick components, 0..1.
    pub(super) phase: f32,
    /// Frames in the middle of a blink.
    pub(super) blinks: [usize; 2],
}

/// How far the eyes are shut 0, 1, 2 and 3 frames from the middle of a blink.
const BLINK: [f32; 4] = [1.0, 0.86, 0.42, 0.08];

impl Pose {
    /// The pose in frame `index` of [`FRAMES`].
    pub(super) fn at(index: usize, temper: &Temper) -> Self {
        let time = (index % FRAMES) as f32 / (FRAMES - 1) as f32;
        // Cosines of whole half turns: all of them stand still at the first and at the last frame.
        let wave = |half_turns: f32| (half_turns * PI * time).cos();
        let mix = |slow: f32, quick: f32| {
            let share = 0.25 + 0.4 * temper.phase;
            ((1.0 - share) * wave(slow) + share * wave(quick)) * temper.liveliness
        };
        let blink = temper
            .blinks
            .iter()
            .filter_map(|&middle| BLINK.get(index.abs_diff(middle)))
            .fold(0.0, |shut: f32, &more| shut.max(more));
        Self {
            shift: (6.0 * mix(2.0, 3.0), 2.6 * mix(3.0, 5.0)),
            roll: 1.5 * mix(1.0, 3.0),
            zoom: 1.0 + 0.010 * mix(2.0, 1.0),
            yaw: 0.8 * mix(2.0, 3.0) - 0.2 * mix(1.0, 4.0),
            pitch: 0.7 * mix(3.0, 4.0),
            blink,
            brow: 1.6 * mix(2.0, 5.0),
            breath: 1.8 * wave(4.0),
        }
    }

    /// From the head's own coordinates, whose origin is between the eyes, to the picture's.
    pub(super) fn head(&self, (x, y): (f32, f32)) -> Transform {
        // It turns about the neck, below the origin.
        const NECK: f32 = 190.0;
        Transform::from_translate(x + self.shift.0, y + self.shift.1)
            .pre_translate(0.0, NECK)
            .pre_concat(Transform::from_rotate(self.roll))
            .pre_translate(0.0, -NECK)
            .pre_scale(self.zoom, self.zoom)
    }

    /// How far something `depth` in front of the outline moves within the face.
    pub(super) fn parallax(&self, depth: f32) -> (f32, f32) {
        (self.yaw * depth, self.pitch * depth * 0.8)
    }
}
