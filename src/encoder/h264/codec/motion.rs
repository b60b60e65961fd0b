//! Looking for the vector that predicts a block best.

use super::entropy::bits::se_bits;
use super::inter::{Part, predict_luma, sad, sad_at};
use super::layout::{Layout, Place, Planes, Vector};
use super::picture::Effort;

/// Whether `part` of the macroblock at `place` may be predicted with `vector`.
pub(super) fn is_allowed(layout: &Layout, place: &Place, part: Part, vector: Vector) -> bool {
    vector == Vector::ZERO
        || (place.moves
            && layout.allows(
                (
                    place.x as i32 + part.x as i32,
                    place.y as i32 + part.y as i32,
                ),
                (part.width as i32, part.height as i32),
                vector,
            ))
}

/// A search for one block.
#[derive(Debug)]
pub(super) struct Search<'a> {
    pub(super) layout: &'a Layout,
    pub(super) before: &'a Planes,
    pub(super) source: &'a [u8; 256],
    /// Of the macroblock, in the planes.
    pub(super) corner: (usize, usize),
    pub(super) part: Part,
    /// The vector that costs nothing.
    pub(super) expected: Vector,
    /// What a bit is worth in absolute difference.
    pub(super) penalty: u32,
}

/// A difference from which on parts of samples are tried.
/// As far as the lowest level allows.
const VECTOR_MAX: i16 = 4 * 60;
const FINE_FROM: u32 = 400;

impl Search<'_> {
    /// The best vector and its difference, `still` being that of no motion.
    pub(super) fn run(&self, starts: &[Vector], still: u32, effort: Effort) -> (Vector, u32) {
        let mut best = Best {
            vector: Vector::ZERO,
            difference: still,
            cost: still + self.penalty * self.bits(Vector::ZERO),
        };
        for start in starts {
            let whole = Vector {
                x: (start.x + 2) & !3,
                y: (start.y + 2) & !3,
            };
            self.try_vector(whole, &mut best);
        }
        let steps = match effort {
            Effort::Live => 2,
            Effort::Thorough => 16,
        };
        self.descend(4, steps, &mut best);
        if best.difference > FINE_FROM || effort == Effort::Thorough {
            for start in starts {
                self.try_vector(*start, &mut best);
            }
            let steps = match effort {
                Effort::Live => 1,
                Effort::Thorough => 3,
            };
            self.descend(2, steps, &mut best);
            self.descend(1, steps, &mut best);
        }
        (best.vector, best.difference)
    }

    /// Goes to a better one of the four vectors beside, `steps` times at most.
    fn descend(&self, by: i16, steps: usize, best: &mut Best) {
        for _ in 0..steps {
            let centre = best.vector;
            for (x, y) in [(-by, 0), (by, 0), (0, -by), (0, by)] {
                let vector = Vector {
                    x: centre.x + x,
                    y: centre.y + y,
                };
                self.try_vector(vector, best);
            }
            if best.vector == centre {
                return;
            }
        }
    }

    fn try_vector(&self, vector: Vector, best: &mut Best) {
        let corner = (
            (self.corner.0 + self.part.x) as i32,
            (self.corner.1 + self.part.y) as i32,
        );
        let side = (self.part.width as i32, self.part.height as i32);
        let is_near = vector.x.abs().max(vector.y.abs()) <= VECTOR_MAX;
        if vector == best.vector || !is_near || !self.layout.allows(corner, side, vector) {
            return;
        }
        let difference = if vector.x % 4 == 0 && vector.y % 4 == 0 {
            let at = (corner.1 + i32::from(vector.y >> 2)) as usize * self.before.width
                + (corner.0 + i32::from(vector.x >> 2)) as usize;
            sad_at(
                self.source,
                self.part,
                &self.before.luma,
                self.before.width,
                at,
            )
        } else {
            let mut predicted = *self.source;
            predict_luma(self.before, self.corner, self.part, vector, &mut predicted);
            sad(self.source, &predicted)
        };
        let cost = difference + self.penalty * self.bits(vector);
        if cost < best.cost {
            *best = Best {
                vector,
                difference,
                cost,
            };
        }
    }

    /// Bits of a vector.
    pub(super) fn bits(&self, vector: Vector) -> u32 {
        se_bits(i32::from(vector.x - self.expected.x))
            + se_bits(i32::from(vector.y - self.expected.y))
    }
}

struct Best {
    vector: Vector,
    difference: u32,
    cost: u32,
}
