//! What the drawing is made with: smooth curves, gradients and soft shapes on an opaque canvas.

use tiny_skia::{
    Color, FillRule, GradientStop, LineCap, LineJoin, LinearGradient, Mask, Paint, Path,
    PathBuilder, Pixmap, Point, RadialGradient, Rect, Shader, SpreadMode, Stroke, Transform,
};

use crate::frame::{Frame, Size};

/// A colour, `0xRRGGBB`, and how much it covers, 0..1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ink(u32, f32);

/// A covering colour.
pub(super) const fn ink(rgb: u32) -> Ink {
    Ink(rgb, 1.0)
}

impl Ink {
    /// The same colour, covering `share` as much.
    pub(super) const fn at(self, share: f32) -> Self {
        Self(self.0, self.1 * share)
    }

    /// A mixture: 0 is this colour, 1 the other.
    pub(super) fn mixed(self, other: Self, share: f32) -> Self {
        let (a, b) = (self.bytes(), other.bytes());
        let [red, green, blue] = std::array::from_fn(|channel| {
            let (a, b) = (f32::from(a[channel]), f32::from(b[channel]));
            (a + (b - a) * share).round() as u32
        });
        Self(red << 16 | green << 8 | blue, self.1)
    }

    fn bytes(self) -> [u8; 3] {
        let [_, red, green, blue] = self.0.to_be_bytes();
        [red, green, blue]
    }

    fn color(self) -> Color {
        let [red, green, blue] = self.bytes();
        Color::from_rgba8(
            red,
            green,
            blue,
            (self.1.clamp(0.0, 1.0) * 255.0).round() as u8,
        )
    }
}

/// How a shape is filled; places are in the shape's own coordinates.
#[derive(Clone, Debug)]
pub(super) enum Fill<'a> {
    /// One colour.
    Flat(Ink),
    /// Colours along a line, evenly spaced.
    Along((f32, f32), (f32, f32), &'a [Ink]),
    /// Colours from a centre to a radius, evenly spaced.
    Around((f32, f32), f32, &'a [Ink]),
}

impl From<Ink> for Fill<'_> {
    fn from(ink: Ink) -> Self {
        Self::Flat(ink)
    }
}

impl Fill<'_> {
    fn shader(&self) -> Shader<'static> {
        let stops = |inks: &[Ink]| -> Vec<GradientStop> {
            let last = (inks.len() - 1).max(1) as f32;
            let stop =
                |(place, ink): (usize, &Ink)| GradientStop::new(place as f32 / last, ink.color());
            inks.iter().enumerate().map(stop).collect()
        };
        let (shader, first) = match *self {
            Self::Flat(ink) => return Shader::SolidColor(ink.color()),
            Self::Along((x1, y1), (x2, y2), inks) => {
                let (from, to) = (Point::from_xy(x1, y1), Point::from_xy(x2, y2));
                let spread = SpreadMode::Pad;
                let shader =
                    LinearGradient::new(from, to, stops(inks), spread, Transform::identity());
                (shader, inks[0])
            }
            Self::Around((x, y), radius, inks) => {
                let (centre, spread) = (Point::from_xy(x, y), SpreadMode::Pad);
                let still = Transform::identity();
                let shader =
                    RadialGradient::new(centre, 0.0, centre, radius, stops(inks), spread, still);
                (shader, inks[0])
            }
        };
        // Only a gradient of no extent has no shader.
        shader.unwrap_or(Shader::SolidColor(first.color()))
    }
}

/// The picture, and where the coordinates of the shapes lie on it.
pub(super) struct Canvas {
    pixmap: Pixmap,
    transform: Transform,
    /// Coverage of the soft shape at hand; all zero between shapes.
    scratch: Mask,
    /// The same as numbers, being blurred from one into the other.
    blur: Vec<f32>,
    blurred: Vec<f32>,
}

impl Canvas {
    /// A canvas of one colour.
    pub(super) fn new(size: Size, ground: Ink) -> Self {
        // Sides are those of a video frame: never zero, never too large.
        let mut pixmap = Pixmap::new(size.width, size.height).expect("a canvas has a size");
        pixmap.fill(ground.color());
        Self {
            scratch: Mask::new(size.width, size.height).expect("a canvas has a size"),
            pixmap,
            transform: Transform::identity(),
            blur: Vec::new(),
            blurred: Vec::new(),
        }
    }

    /// A copy to go on painting on.
    pub(super) fn copy(&self) -> Self {
        Self {
            pixmap: self.pixmap.clone(),
            transform: Transform::identity(),
            scratch: self.scratch.clone(),
            blur: Vec::new(),
            blurred: Vec::new(),
        }
    }

    /// Where the coordinates of the shapes to come lie on the picture.
    pub(super) fn place(&mut self, transform: Transform) {
        self.transform = transform;
    }

    /// Runs `paint` with coordinates moved by `(x, y)`.
    pub(super) fn shifted(&mut self, (x, y): (f32, f32), paint: impl FnOnce(&mut Self)) {
        let before = self.transform;
        self.transform = before.pre_translate(x, y);
        paint(self);
        self.transform = before;
    }

    /// Runs `paint` with left and right exchanged.
    pub(super) fn mirrored(&mut self, paint: impl FnOnce(&mut Self)) {
        let before = self.transform;
        self.transform = before.pre_scale(-1.0, 1.0);
        paint(self);
        self.transform = before;
    }

    /// What lies inside `path`, to keep other shapes within.
    pub(super) fn inside(&self, path: &Path) -> Mask {
        let mut mask =
            Mask::new(self.pixmap.width(), self.pixmap.height()).expect("a canvas has a size");
        mask.fill_path(path, FillRule::Winding, true, self.transform);
        mask
    }

    /// Fills `path`, inside `clip` if there is one.
    pub(super) fn fill<'a>(&mut self, path: &Path, fill: impl Into<Fill<'a>>, clip: Option<&Mask>) {
        let paint = Paint {
            shader: fill.into().shader(),
            ..Paint::default()
        };
        self.pixmap
            .fill_path(path, &paint, FillRule::Winding, self.transform, clip);
    }

    /// Draws a line of constant width along `path`.
    pub(super) fn line(&mut self, path: &Path, ink: Ink, width: f32, clip: Option<&Mask>) {
        let paint = Paint {
            shader: Shader::SolidColor(ink.color()),
            ..Paint::default()
        };
        self.pixmap
            .stroke_path(path, &paint, &round(width), self.transform, clip);
    }

    /// Fills `path` with edges that fade over about `blur` pixels to each side.
    pub(super) fn soft(&mut self, path: &Path, ink: Ink, blur: f32, clip: Option<&Mask>) {
        let Some(path) = path.clone().transform(self.transform) else {
            return;
        };
        let Some(area) = self.area(path.bounds(), blur) else {
            return;
        };
        self.scratch
            .fill_path(&path, FillRule::Winding, true, Transform::identity());
        self.blur(&area, blur);
        self.cover(&area, ink, clip);
    }

    /// Draws a line along `path` with edges that fade over about `blur` pixels to each side.
    pub(super) fn soft_line(
        &mut self,
        path: &Path,
        ink: Ink,
        width: f32,
        blur: f32,
        clip: Option<&Mask>,
    ) {
        if let Some(outline) = path.stroke(&round(width), 1.0) {
            self.soft(&outline, ink, blur, clip);
        }
    }

    /// The finished picture.
    pub(super) fn into_frame(self) -> Frame {
        let size = Size {
            width: self.pixmap.width(),
            height: self.pixmap.height(),
        };
        // Opaque from the ground up, so premultiplied colours are the colours.
        let rgba = self.pixmap.data().as_chunks::<4>().0;
        let pixels = rgba
            .iter()
            .flat_map(|&[red, green, blue, _]| [red, green, blue]);
        Frame::from_rgb(size, pixels.collect()).expect("three bytes a pixel")
    }

    /// The pixels a shape of `bounds` can reach, blurred.
    fn area(&self, bounds: Rect, blur: f32) -> Option<Area> {
        let margin = 2.0 * blur + 2.0;
        let (width, height) = (self.pixmap.width() as f32, self.pixmap.height() as f32);
        let area = Area {
            left: (bounds.left() - margin).floor().clamp(0.0, width) as usize,
            top: (bounds.top() - margin).floor().clamp(0.0, height) as usize,
            right: (bounds.right() + margin).ceil().clamp(0.0, width) as usize,
            bottom: (bounds.bottom() + margin).ceil().clamp(0.0, height) as usize,
        };
        (area.left < area.right && area.top < area.bottom).then_some(area)
    }

    /// Blurs the scratch mask inside `area` into `self.blur` and clears the mask: three box filters each way, which
    /// together are nearly a Gaussian.
    fn blur(&mut self, area: &Area, blur: f32) {
        let width = area.right - area.left;
        let stride = self.pixmap.width() as usize;
        self.blur.clear();
        for row in self
            .scratch
            .data_mut()
            .chunks_exact_mut(stride)
            .take(area.bottom)
            .skip(area.top)
        {
            let row = &mut row[area.left..area.right];
            self.blur
                .extend(row.iter().map(|&cover| f32::from(cover) / 255.0));
            row.fill(0);
        }
        let radius = (blur * 0.62).round() as usize;
        if radius == 0 {
            return;
        }
        for _ in 0..3 {
            box_filter_rows(&self.blur, &mut self.blurred, width, radius);
            std::mem::swap(&mut self.blur, &mut self.blurred);
            box_filter_columns(&self.blur, &mut self.blurred, width, radius);
            std::mem::swap(&mut self.blur, &mut self.blurred);
        }
    }

    /// Lays `ink` over `area` as much as `self.blur` says.
    fn cover(&mut self, area: &Area, ink: Ink, clip: Option<&Mask>) {
        let stride = self.pixmap.width() as usize;
        let colour = ink.bytes().map(f32::from);
        let pixels = self.pixmap.data_mut().as_chunks_mut::<4>().0;
        for (y, covers) in
            (area.top..area.bottom).zip(self.blur.chunks_exact(area.right - area.left))
        {
            let start = y * stride + area.left;
            for (x, &cover) in covers.iter().enumerate() {
                let clip = clip.map_or(1.0, |clip| f32::from(clip.data()[start + x]) / 255.0);
                let share = cover * clip * ink.1;
                if share > 0.0 {
                    for (out, colour) in pixels[start + x].iter_mut().zip(colour) {
                        let before = f32::from(*out);
                        *out = (before + (colour - before) * share).round() as u8;
                    }
                }
            }
        }
    }
}

/// Pixels `[left, right) x [top, bottom)`.
struct Area {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

fn round(width: f32) -> Stroke {
    Stroke {
        width,
        line_cap: LineCap::Round,
        line_join: LineJoin::Round,
        ..Stroke::default()
    }
}

/// Every value becomes the mean of the `2 * radius + 1` around it in its row; beyond the ends is zero.
fn box_filter_rows(values: &[f32], out: &mut Vec<f32>, width: usize, radius: usize) {
    let scale = 1.0 / (2 * radius + 1) as f32;
    out.resize(values.len(), 0.0);
    for (row, out) in values.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let mut sum: f32 = row.iter().take(radius).sum();
        for (x, out) in out.iter_mut().enumerate() {
            sum += row.get(x + radius).unwrap_or(&0.0);
            *out = mean(sum, scale);
            sum -= x.checked_sub(radius).map_or(0.0, |old| row[old]);
        }
    }
}

/// The same within the columns, all of them at once.
fn box_filter_columns(values: &[f32], out: &mut Vec<f32>, width: usize, radius: usize) {
    let scale = 1.0 / (2 * radius + 1) as f32;
    out.resize(values.len(), 0.0);
    let rows: Vec<&[f32]> = values.chunks_exact(width).collect();
    let mut sums = vec![0.0; width];
    let add = |sums: &mut [f32], row: &[f32], sign: f32| {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += sign * value;
        }
    };
    for row in rows.iter().take(radius) {
        add(&mut sums, row, 1.0);
    }
    for (y, out) in out.chunks_exact_mut(width).enumerate() {
        if let Some(row) = rows.get(y + radius) {
            add(&mut sums, row, 1.0);
        }
        for (out, sum) in out.iter_mut().zip(&sums) {
            *out = mean(*sum, scale);
        }
        if let Some(old) = y.checked_sub(radius) {
            add(&mut sums, rows[old], -1.0);
        }
    }
}

/// A running sum of values that are all zero again keeps the rounding of those before: that is nothing.
fn mean(sum: f32, scale: f32) -> f32 {
    if sum < 1e-4 { 0.0 } else { sum * scale }
}

/// A closed smooth curve through `points`.
pub(super) fn blob(points: &[(f32, f32)]) -> Path {
    let count = points.len();
    let mut path = PathBuilder::new();
    path.move_to(points[0].0, points[0].1);
    for i in 0..count {
        let at = |offset: usize| points[(i + count + offset - 1) % count];
        spline(&mut path, [at(0), at(1), at(2), at(3)]);
    }
    path.close();
    path.finish().expect("a blob has points")
}

/// A closed shape that is the same left and right: `half` from the top of the middle down the right side.
pub(super) fn symmetric(half: &[(f32, f32)]) -> Path {
    let mut points = half.to_vec();
    let sides = half.iter().rev().filter(|(x, _)| *x != 0.0);
    points.extend(sides.map(|&(x, y)| (-x, y)));
    blob(&points)
}

/// More points along the outline of [`symmetric`], `each` for each of `half`: what moves one of them leaves those farther
/// away where they are.
pub(super) fn resampled(half: &[(f32, f32)], each: usize) -> Vec<(f32, f32)> {
    let count = half.len();
    let mirrored = |(x, y): (f32, f32)| (-x, y);
    let point = |i: usize| match i {
        0 => mirrored(half[1]),
        i if i <= count => half[i - 1],
        _ => mirrored(half[count - 2]),
    };
    let mut points = Vec::with_capacity((count - 1) * each + 1);
    for i in 1..count {
        let [p0, p1, p2, p3] = [0, 1, 2, 3].map(|offset| point(i + offset - 1));
        for step in 0..each {
            let t = step as f32 / each as f32;
            // Catmull-Rom, the curve of `spline`.
            let along = |a: f32, b: f32, c: f32, d: f32| {
                let slope = (c - a) / 2.0;
                let bend = a - 2.5 * b + 2.0 * c - 0.5 * d;
                let twist = (d - a) / 2.0 + 1.5 * (b - c);
                b + t * (slope + t * (bend + t * twist))
            };
            points.push((along(p0.0, p1.0, p2.0, p3.0), along(p0.1, p1.1, p2.1, p3.1)));
        }
    }
    points.push(half[count - 1]);
    points
}

/// An open smooth curve through `points`.
pub(super) fn curve(points: &[(f32, f32)]) -> Path {
    let mut path = PathBuilder::new();
    path.move_to(points[0].0, points[0].1);
    append(&mut path, points);
    path.finish().expect("a curve has points")
}

/// A stroke along a smooth curve through `(x, y, width)`, whose width follows.
pub(super) fn taper(points: &[(f32, f32, f32)]) -> Path {
    let count = points.len();
    let side = |sign: f32| {
        (0..count).map(move |i| {
            let (from, to) = (points[i.saturating_sub(1)], points[(i + 1).min(count - 1)]);
            let (dx, dy) = (to.0 - from.0, to.1 - from.1);
            let length = dx.hypot(dy).max(1e-6);
            let (x, y, width) = points[i];
            let half = sign * width / 2.0;
            (x - dy / length * half, y + dx / length * half)
        })
    };
    let there: Vec<_> = side(1.0).collect();
    let back: Vec<_> = side(-1.0).rev().collect();
    between(&there, &back)
}

/// The area between two smooth curves: along the first, then along the second, which leads back.
pub(super) fn between(there: &[(f32, f32)], back: &[(f32, f32)]) -> Path {
    let mut path = PathBuilder::new();
    path.move_to(there[0].0, there[0].1);
    append(&mut path, there);
    path.line_to(back[0].0, back[0].1);
    append(&mut path, back);
    path.close();
    path.finish().expect("a shape has points")
}

/// An ellipse.
pub(super) fn oval((x, y): (f32, f32), (rx, ry): (f32, f32)) -> Path {
    let rect = Rect::from_ltrb(x - rx, y - ry, x + rx, y + ry).expect("an oval has an extent");
    PathBuilder::from_oval(rect).expect("an oval has an extent")
}

/// A polygon.
pub(super) fn polygon(points: &[(f32, f32)]) -> Path {
    let mut path = PathBuilder::new();
    path.move_to(points[0].0, points[0].1);
    for &(x, y) in &points[1..] {
        path.line_to(x, y);
    }
    path.close();
    path.finish().expect("a polygon has points")
}

fn append(path: &mut PathBuilder, points: &[(f32, f32)]) {
    let last = points.len() - 1;
    for i in 0..last {
        let at = |index: usize| points[index.min(last)];
        spline(path, [at(i.saturating_sub(1)), at(i), at(i + 1), at(i + 2)]);
    }
}

/// The piece of a Catmull-Rom spline from the second point to the third.
fn spline(path: &mut PathBuilder, [p0, p1, p2, p3]: [(f32, f32); 4]) {
    const TENSION: f32 = 1.0 / 6.0;
    path.cubic_to(
        p1.0 + (p2.0 - p0.0) * TENSION,
        p1.1 + (p2.1 - p0.1) * TENSION,
        p2.0 - (p3.0 - p1.0) * TENSION,
        p2.1 - (p3.1 - p1.1) * TENSION,
        p2.0,
        p2.1,
    );
}
