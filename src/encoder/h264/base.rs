//! The samples of backgrounds: whole, and what per-frame encoding reads of them.

use std::ops::Range;

use bytes::Bytes;

use super::codec::layout::{Layout, Pixels, Planes};
use super::plan::Plan;
use crate::encoder::yuv::{PlanesMut, convert};
use crate::frame::{Frame, Rect, Size};

/// A whole picture in samples, macroblock by macroblock. Beyond its sides the last samples are repeated.
pub(super) fn samples(frame: &Frame) -> Vec<Pixels> {
    let size = frame.size();
    let (columns, rows) = (size.width.div_ceil(16), size.height.div_ceil(16));
    let whole = Rect::new(0, 0, size.width, size.height).expect("a frame is not empty");
    let mut planes = Planes::new(16 * columns as usize, 16 * rows as usize);
    fill(&mut planes, (0, 0), frame.data(), whole);
    let width = planes.width;
    let (w, h) = (size.width as usize, size.height as usize);
    repeat(&mut planes.luma, width, w, h);
    for chroma in &mut planes.chroma {
        repeat(chroma, width / 2, w.div_ceil(2), h.div_ceil(2));
    }
    (0..columns * rows)
        .map(|address| {
            let mut pixels = Pixels::ZERO;
            planes.read_at(address % columns, address / columns, &mut pixels);
            pixels
        })
        .collect()
}

/// Converts RGB8 of `rect` into planes whose first sample is at `origin`.
fn fill(planes: &mut Planes, origin: (u32, u32), rgb: &[u8], rect: Rect) {
    let (x, y) = (
        (rect.x1() - origin.0) as usize,
        (rect.y1() - origin.1) as usize,
    );
    let width = planes.width;
    let chroma = y / 2 * (width / 2) + x / 2;
    let [cb, cr] = &mut planes.chroma;
    convert(
        rgb,
        rect.size(),
        &mut PlanesMut {
            y: &mut planes.luma[y * width + x..],
            cb: &mut cb[chroma..],
            cr: &mut cr[chroma..],
            luma_stride: width,
            chroma_stride: width / 2,
        },
    );
}

/// Repeats the last column and the last row of a plane's first `columns` and `rows` to its end.
fn repeat(plane: &mut [u8], stride: usize, columns: usize, rows: usize) {
    for row in plane.chunks_exact_mut(stride).take(rows) {
        let last = row[columns - 1];
        row[columns..].fill(last);
    }
    let (last, beyond) = plane.split_at_mut(rows * stride);
    let last = &last[(rows - 1) * stride..];
    for row in beyond.chunks_exact_mut(stride) {
        row.copy_from_slice(last);
    }
}

/// The samples of one background that frames may need: of all macroblocks that are encoded per frame in a group that
/// shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    /// Macroblocks by their number in the picture, rising.
    addresses: Vec<u32>,
    /// Their samples.
    pixels: Box<[Pixels]>,
    /// The rect, and the rect extended to whole samples of chroma.
    rect: Rect,
    region: Rect,
    /// The region's pixels outside the rect: RGB8, row by row.
    border: Bytes,
}

impl Base {
    /// Of background `index`, `frame`, whose samples are `samples`.
    pub(super) fn new(plan: &Plan, index: usize, frame: &Frame, samples: &[Pixels]) -> Self {
        let addresses = plan.live_addresses(index);
        let pixels = addresses.iter().map(|&at| samples[at as usize]).collect();
        let rect = plan.rect(index);
        let region = region(rect, frame.size());
        Self {
            addresses,
            pixels,
            rect,
            region,
            border: border(frame, rect, region).into(),
        }
    }

    /// Of background `index`, from what [`Base::write`] wrote; takes that off the front of `bytes`. `None` if there is
    /// less.
    pub(super) fn read(plan: &Plan, index: usize, bytes: &mut &[u8]) -> Option<Self> {
        let addresses = plan.live_addresses(index);
        let rect = plan.rect(index);
        let region = region(rect, plan.size());
        let pixels = bytes.split_off(..addresses.len() * Pixels::BYTES)?;
        let pixels = pixels.as_chunks().0.iter().map(Pixels::from_bytes);
        let border = bytes.split_off(..border_bytes(rect, region))?;
        Some(Self {
            pixels: pixels.collect(),
            addresses,
            rect,
            region,
            border: Bytes::copy_from_slice(border),
        })
    }

    /// Appends what cannot be told from the plan.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for pixels in &self.pixels {
            out.extend_from_slice(&pixels.luma);
            out.extend_from_slice(pixels.chroma.as_flattened());
        }
        out.extend_from_slice(&self.border);
    }

    /// Bytes of memory held.
    pub(super) fn memory_bytes(&self) -> usize {
        memory_bytes(self.addresses.len(), self.rect)
    }
}

/// Bytes of memory held, at most, for a background of which `places` macroblocks are kept.
pub(super) fn memory_bytes(places: usize, rect: Rect) -> usize {
    // One pixel on each side.
    let border = 3 * 2 * (rect.size().height + rect.size().width + 2) as usize;
    size_of::<Base>() + places * (4 + Pixels::BYTES) + border
}

/// `rect` extended to whole samples of chroma.
fn region(rect: Rect, size: Size) -> Rect {
    Rect::new(
        rect.x1() & !1,
        rect.y1() & !1,
        rect.x2().next_multiple_of(2).min(size.width),
        rect.y2().next_multiple_of(2).min(size.height),
    )
    .expect("no smaller than the rect")
}

/// How many bytes [`border`] gives.
fn border_bytes(rect: Rect, region: Rect) -> usize {
    region.size().rgb_bytes() - rect.size().rgb_bytes()
}

/// Where the samples of one macroblock to encode are.
#[derive(Clone, Copy, Debug)]
enum Origin {
    Base(u32),
    Own(u32),
}

/// The samples of one frame's hole, without copying those of the background. Keeps its buffers.
#[derive(Debug, Default)]
pub(super) struct Source {
    origins: Vec<Origin>,
    own: Vec<Pixels>,
    region: Vec<u8>,
    planes: Option<Planes>,
}

impl Source {
    /// The places of `layout` as `base` shows them, its rect replaced by `patch`, packed RGB8.
    ///
    /// # Panics
    /// If the patch is not of the rect's size.
    pub(super) fn set(&mut self, layout: &Layout, columns: u32, base: &Base, patch: Option<&[u8]>) {
        self.origins.clear();
        self.own.clear();
        let region = patch.map(|patch| {
            self.convert(base, patch);
            base.region
        });
        let mut slot = 0;
        for place in &layout.places {
            while base.addresses[slot] < place.address {
                slot += 1;
            }
            let (x, y) = (
                16 * (place.address % columns),
                16 * (place.address / columns),
            );
            let inside = region.and_then(|region| {
                Rect::new(
                    region.x1().max(x),
                    region.y1().max(y),
                    region.x2().min(x + 16),
                    region.y2().min(y + 16),
                )
            });
            let (Some(inside), Some(planes)) = (inside, &self.planes) else {
                self.origins.push(Origin::Base(slot as u32));
                continue;
            };
            let corner = (base.region.x1() & !15, base.region.y1() & !15);
            let (column, row) = ((x - corner.0) / 16, (y - corner.1) / 16);
            self.origins.push(Origin::Own(self.own.len() as u32));
            let mut pixels = Pixels::ZERO;
            planes.read_at(column, row, &mut pixels);
            if inside.size().width < 16 || inside.size().height < 16 {
                let whole = pixels;
                pixels = base.pixels[slot];
                lay_over(&mut pixels, &whole, inside, (x, y));
            }
            self.own.push(pixels);
        }
    }

    /// The samples of a place.
    pub(super) fn pixels<'a>(&'a self, base: &'a Base, at: usize) -> &'a Pixels {
        match self.origins[at] {
            Origin::Base(slot) => &base.pixels[slot as usize],
            Origin::Own(index) => &self.own[index as usize],
        }
    }

    /// Replaces the samples of a place.
    pub(super) fn replace(&mut self, at: usize, pixels: &Pixels) {
        match self.origins[at] {
            Origin::Own(index) => self.own[index as usize] = *pixels,
            Origin::Base(_) => {
                self.origins[at] = Origin::Own(self.own.len() as u32);
                self.own.push(*pixels);
            }
        }
    }

    /// Bytes of memory held.
    pub(super) fn memory_bytes(&self) -> usize {
        let planes = self
            .planes
            .as_ref()
            .map_or(0, |planes| planes.luma.len() * 3 / 2);
        self.own.capacity() * Pixels::BYTES + self.region.capacity() + planes
    }

    /// Samples of the region, into planes that begin with the macroblock of its first pixel.
    fn convert(&mut self, base: &Base, patch: &[u8]) {
        let (rect, region) = (base.rect, base.region);
        assert_eq!(patch.len(), rect.size().rgb_bytes(), "a patch of {rect}");
        let origin = (region.x1() & !15, region.y1() & !15);
        let side = |from: u32, to: u32| (to.next_multiple_of(16) - from) as usize;
        let (width, height) = (side(origin.0, region.x2()), side(origin.1, region.y2()));
        let planes = match &mut self.planes {
            Some(planes) if (planes.width, planes.luma.len()) == (width, width * height) => planes,
            planes => planes.insert(Planes::new(width, height)),
        };
        if region == rect {
            return fill(planes, origin, patch, region);
        }
        self.region.clear();
        let mut border = &base.border[..];
        let mut patch = patch.chunks_exact(3 * rect.size().width as usize);
        for y in region.y1()..region.y2() {
            for part in row_parts(rect, region, y) {
                let pixels = match part {
                    RowPart::Patch => patch.next().unwrap_or_default(),
                    RowPart::Border(columns) => {
                        border.split_off(..3 * columns.len()).unwrap_or_default()
                    }
                };
                self.region.extend_from_slice(pixels);
            }
        }
        fill(planes, origin, &self.region, region);
    }
}

/// A piece of a row of the region.
enum RowPart {
    Border(Range<u32>),
    Patch,
}

/// What a row of the region consists of.
fn row_parts(rect: Rect, region: Rect, y: u32) -> impl Iterator<Item = RowPart> {
    let border = |from: u32, to: u32| (from < to).then_some(RowPart::Border(from..to));
    if (rect.y1()..rect.y2()).contains(&y) {
        let (left, right) = (
            border(region.x1(), rect.x1()),
            border(rect.x2(), region.x2()),
        );
        [left, Some(RowPart::Patch), right].into_iter().flatten()
    } else {
        [border(region.x1(), region.x2()), None, None]
            .into_iter()
            .flatten()
    }
}

/// The pixels of `region` outside `rect`, row by row.
fn border(frame: &Frame, rect: Rect, region: Rect) -> Vec<u8> {
    let mut out = Vec::new();
    for y in region.y1()..region.y2() {
        for part in row_parts(rect, region, y) {
            if let RowPart::Border(columns) = part {
                let row = frame.row(y);
                out.extend_from_slice(&row[3 * columns.start as usize..3 * columns.end as usize]);
            }
        }
    }
    out
}

/// Copies the samples of `inside` from `over`, both of the macroblock at `corner`.
fn lay_over(pixels: &mut Pixels, over: &Pixels, inside: Rect, corner: (u32, u32)) {
    let columns = (inside.x1() - corner.0) as usize..(inside.x2() - corner.0) as usize;
    for y in inside.y1() - corner.1..inside.y2() - corner.1 {
        let row = 16 * y as usize;
        let range = row + columns.start..row + columns.end;
        pixels.luma[range.clone()].copy_from_slice(&over.luma[range]);
    }
    let columns = columns.start / 2..columns.end.div_ceil(2);
    for y in (inside.y1() - corner.1) / 2..(inside.y2() - corner.1).div_ceil(2) {
        let row = 8 * y as usize;
        let range = row + columns.start..row + columns.end;
        for (pixels, over) in pixels.chroma.iter_mut().zip(&over.chroma) {
            pixels[range.clone()].copy_from_slice(&over[range.clone()]);
        }
    }
}
