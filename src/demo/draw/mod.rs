//! Draws the three people of the demo, frame by frame: the same index and mouth give the same pixels.
//!
//! Everything is painted back to front with the light from the upper left. Coordinates of the head have their origin
//! between the eyes; a [`pose::Pose`] says where that lies in the picture. The crop rect follows the head.

mod brush;
// Shapes are rows of points: one point a line would bury them.
#[rustfmt::skip]
mod clothes;
mod face;
#[rustfmt::skip]
mod hair;
mod mouth;
mod people;
mod pose;
mod scene;
#[cfg(test)]
mod tests;

pub use mouth::Mouth;
pub use people::Who;
pub use pose::FRAMES;

use brush::Canvas;
use pose::Pose;
use tiny_skia::Transform;

use crate::frame::{Frame, Rect, Size};

/// Size of the frames.
pub const SIZE: Size = Size {
    width: 1280,
    height: 720,
};

/// Draws the frames of one person. What does not move is drawn once.
pub struct Artist {
    who: Who,
    scene: Canvas,
}

impl std::fmt::Debug for Artist {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Artist")
            .field("who", &self.who)
            .finish_non_exhaustive()
    }
}

impl Artist {
    /// Paints the scene behind `who`.
    #[must_use]
    pub fn new(who: Who) -> Self {
        Self {
            who,
            scene: scene::paint(who),
        }
    }

    /// Frame `index` with that mouth; indices from [`FRAMES`] on start over.
    #[must_use]
    pub fn draw(&self, index: usize, mouth: Mouth) -> Frame {
        let person = self.who.person();
        let pose = Pose::at(index % FRAMES, &person.temper);
        let mut canvas = self.scene.copy();
        let head = pose.head(person.place);
        canvas.place(head);
        hair::back(&mut canvas, person, &pose);
        // The shoulders breathe and follow the head a little.
        let (x, y) = person.place;
        let body = Transform::from_translate(x + 0.35 * pose.shift.0, y + 6.0 - pose.breath);
        canvas.place(body);
        clothes::body(&mut canvas, person);
        canvas.place(head);
        face::ears(&mut canvas, person, &pose);
        let clip = face::skin(&mut canvas, person, &pose, mouth.jaw());
        hair::beard(&mut canvas, person, &pose, mouth, &clip);
        face::nose(&mut canvas, person, &pose, &clip);
        face::mouth(&mut canvas, person, &pose, mouth, &clip);
        face::eyes(&mut canvas, person, &pose);
        face::brows(&mut canvas, person, &pose);
        hair::front(&mut canvas, person, &pose, &clip);
        hair::worn(&mut canvas, person, &pose);
        canvas.into_frame()
    }

    /// The crop rect of frame `index`: a square as wide as the face, from the middle of the nose down.
    ///
    /// # Panics
    /// Never: the head stays well inside the picture.
    #[must_use]
    pub fn rect(&self, index: usize) -> Rect {
        let person = self.who.person();
        let pose = Pose::at(index % FRAMES, &person.temper);
        let half = person.outline[4].0 + 2.0;
        let mut corner = [
            tiny_skia::Point::from_xy(-half, 26.0),
            tiny_skia::Point::from_xy(half, 26.0),
        ];
        pose.head(person.place).map_points(&mut corner);
        let [left, right] = corner;
        let side = (right.x - left.x).round() as u32;
        let (x, y) = (
            left.x.round() as u32,
            f32::midpoint(left.y, right.y).round() as u32,
        );
        Rect::new(x, y, x + side, y + side).expect("a face has an extent")
    }
}
