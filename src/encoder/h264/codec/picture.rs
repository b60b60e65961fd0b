//! Encoding the slices of one picture.

use std::ops::Range;

use super::deblock::Deblocking;
use super::entropy::bits::BitWriter;
use super::header::{PictureHeader, SliceKind};
use super::inter::{Part, predict, sad_at};
use super::intra::search::{Candidate, Surroundings, best_16, intra4, intra16};
use super::layout::{Layout, Pixels, Planes, Vector};
use super::macroblock::{Choice, Levels, MbInfo, Shape, Site, put_macroblock};
use super::motion;
use super::residual::{Quantisers, chroma, is_nothing, luma_inter, rebuild_inter};
use super::slices::{SliceBuffer, Slices};
use super::transform::Rounding;

/// How much time may be spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::encoder::h264) enum Effort {
    /// While a viewer waits.
    Live,
    /// Once, for all viewers.
    Thorough,
}

/// Encodes the pictures of one layout, each predicted from the one before.
#[derive(Clone, Debug)]
pub(in crate::encoder::h264) struct PictureEncoder {
    q: Quantisers,
    deblocking: Deblocking,
    /// What a bit is worth in absolute difference.
    penalty: u32,
    /// A difference up to which no vector is looked for.
    still: u32,
    effort: Effort,
    infos: Vec<MbInfo>,
    /// What decoders see of this picture and of the one before.
    now: Planes,
    before: Planes,
    bits: BitWriter,
    candidate: Box<Candidate>,
}

/// A difference from which on a macroblock is cut.
const PARTS_FROM: u32 = 400;
/// A difference from which on prediction from the same picture is tried in a predicted one.
const INTRA_FROM: u32 = 1024;

impl PictureEncoder {
    pub(in crate::encoder::h264) fn new(qp: u8, effort: Effort) -> Self {
        Self {
            q: Quantisers::new(qp),
            deblocking: Deblocking::new(qp),
            penalty: penalty(qp),
            still: 16 * u32::from(qp),
            effort,
            infos: Vec::new(),
            now: Planes::new(0, 0),
            before: Planes::new(0, 0),
            bits: BitWriter::default(),
            candidate: Box::new(Candidate {
                choice: Choice::Inter {
                    shape: Shape::Whole,
                    vectors: [Vector::ZERO; 4],
                },
                levels: Levels::ZERO,
                pixels: Pixels::ZERO,
            }),
        }
    }

    /// Encodes pictures of `layout` from now on. The next one must be of intra slices.
    pub(in crate::encoder::h264) fn set_layout(&mut self, layout: &Layout) {
        self.infos.clear();
        self.infos.resize(layout.places.len(), MbInfo::default());
        for planes in [&mut self.now, &mut self.before] {
            planes.resize(layout.width, layout.height);
        }
    }

    /// What decoders see of the picture encoded last.
    pub(in crate::encoder::h264) fn planes(&self) -> &Planes {
        &self.now
    }

    /// Bytes of memory held.
    pub(in crate::encoder::h264) fn memory_bytes(&self) -> usize {
        3 * self.now.luma.len() + self.infos.len() * size_of::<MbInfo>()
    }

    /// Encodes one picture in slices of `kind`. `source` gives the samples of the layout's places, by their index.
    pub(in crate::encoder::h264) fn encode<'s>(
        &mut self,
        layout: &Layout,
        (header, kind): (PictureHeader, SliceKind),
        source: impl Fn(usize) -> &'s Pixels,
    ) -> Slices {
        std::mem::swap(&mut self.now, &mut self.before);
        let mut slices = SliceBuffer::default();
        for slice in &layout.slices {
            self.bits.clear();
            header.put_slice(&mut self.bits, kind, layout.places[slice.start].address);
            match kind {
                SliceKind::Intra => {
                    for at in slice.clone() {
                        self.intra(layout, at, source(at));
                    }
                }
                SliceKind::Predicted => self.predicted(layout, slice.clone(), &source),
            }
            slices.put(header, &mut self.bits);
            self.deblocking
                .filter(layout, &self.infos, slice.clone(), &mut self.now);
        }
        slices.finish()
    }

    /// The slices of a picture that shows what the one before showed. The encoder stays as it is.
    pub(in crate::encoder::h264) fn repeat(layout: &Layout, header: PictureHeader) -> Slices {
        let (mut slices, mut bits) = (SliceBuffer::default(), BitWriter::default());
        for slice in &layout.slices {
            bits.clear();
            header.put_slice(
                &mut bits,
                SliceKind::Predicted,
                layout.places[slice.start].address,
            );
            bits.put_ue(slice.len() as u32);
            slices.put(header, &mut bits);
        }
        slices.finish()
    }

    /// The macroblocks of a predicted slice.
    fn predicted<'s>(
        &mut self,
        layout: &Layout,
        slice: Range<usize>,
        source: &impl Fn(usize) -> &'s Pixels,
    ) {
        let mut skipped = 0;
        for at in slice {
            let source = source(at);
            let site = Site {
                place: &layout.places[at],
                infos: &self.infos,
            };
            let skip = site.skipped();
            let can_skip = motion::is_allowed(layout, site.place, Part::WHOLE, skip);
            let is_skipped = self.choose(layout, at, source, can_skip.then_some(skip));
            if is_skipped {
                self.infos[at] = MbInfo {
                    vectors: [skip; 4],
                    ..MbInfo::default()
                };
                skipped += 1;
            } else {
                self.bits.put_ue(skipped);
                skipped = 0;
                self.put(layout, at, true);
            }
            self.now
                .write(layout.corner(&layout.places[at]), &self.candidate.pixels);
        }
        if skipped > 0 {
            self.bits.put_ue(skipped);
        }
    }

    /// Chooses how a macroblock of a predicted slice is sent; true if it is skipped.
    fn choose(
        &mut self,
        layout: &Layout,
        at: usize,
        source: &Pixels,
        skip: Option<Vector>,
    ) -> bool {
        let place = &layout.places[at];
        let infos = &self.infos;
        let site = Site { place, infos };
        let (x, y) = (place.x as usize, place.y as usize);
        let corner = layout.corner(place).0;
        let still = sad_at(
            &source.luma,
            Part::WHOLE,
            &self.before.luma,
            self.before.width,
            corner,
        );
        let mut best = (Vector::ZERO, still);
        if place.moves && still > self.still {
            let expected = site.predicted(&[Vector::ZERO; 4], Shape::Whole, Part::WHOLE);
            let search = motion::Search {
                layout,
                before: &self.before,
                source: &source.luma,
                corner: (x, y),
                part: Part::WHOLE,
                expected,
                penalty: self.penalty,
            };
            best = search.run(
                &[
                    skip.unwrap_or_default(),
                    expected,
                    self.infos[at].vectors[0],
                ],
                still,
                self.effort,
            );
        }
        let (mut shape, mut vectors) = (Shape::Whole, [best.0; 4]);
        if self.effort == Effort::Thorough && place.moves && best.1 > PARTS_FROM {
            let found = self.parts(layout, at, source, best);
            (shape, vectors) = found;
        }
        let candidate = &mut *self.candidate;
        if best.1 > INTRA_FROM {
            let around = Surroundings::of(layout, place, &self.now);
            let mut predicted = [0; 256];
            let (mode, difference) = best_16(source, &around, &mut predicted);
            if difference + 8 * self.penalty < best.1 {
                *candidate = intra16(source, &around, (mode, &predicted), &self.q);
                return false;
            }
        }
        for part in shape.parts() {
            let vector = vectors[part.quarter()];
            predict(&self.before, (x, y), *part, vector, &mut candidate.pixels);
        }
        candidate.choice = Choice::Inter { shape, vectors };
        luma_inter(
            &source.luma,
            &candidate.pixels.luma,
            &self.q.luma,
            &mut candidate.levels,
        );
        chroma(
            &source.chroma,
            &candidate.pixels.chroma,
            &self.q.chroma,
            Rounding::Inter,
            &mut candidate.levels,
        );
        if is_nothing(&candidate.levels) && skip.is_some_and(|skip| vectors == [skip; 4]) {
            return true;
        }
        rebuild_inter(&candidate.levels, &self.q, &mut candidate.pixels);
        false
    }

    /// How a macroblock is best cut, and the vectors of its quarters. `whole` is what is known of it uncut.
    fn parts(
        &self,
        layout: &Layout,
        at: usize,
        source: &Pixels,
        whole: (Vector, u32),
    ) -> (Shape, [Vector; 4]) {
        let place = &layout.places[at];
        let site = Site {
            place,
            infos: &self.infos,
        };
        let (x, y) = (place.x as usize, place.y as usize);
        let mut best = (whole.1, Shape::Whole, [whole.0; 4]);
        for (shape, bits) in [(Shape::Rows, 6), (Shape::Columns, 6), (Shape::Quarters, 14)] {
            let mut vectors = [whole.0; 4];
            let mut cost = self.penalty * bits;
            for part in shape.parts() {
                let search = motion::Search {
                    layout,
                    before: &self.before,
                    source: &source.luma,
                    corner: (x, y),
                    part: *part,
                    expected: site.predicted(&vectors, shape, *part),
                    penalty: self.penalty,
                };
                let corner = (y + part.y) * layout.width + x + part.x;
                let luma = &self.before.luma;
                let still = sad_at(&source.luma, *part, luma, layout.width, corner);
                let (vector, difference) =
                    search.run(&[whole.0, search.expected], still, self.effort);
                cost += difference + self.penalty * search.bits(vector);
                part.set(&mut vectors, vector);
            }
            if cost < best.0 {
                best = (cost, shape, vectors);
            }
        }
        (best.1, best.2)
    }

    /// A macroblock of a key picture.
    fn intra(&mut self, layout: &Layout, at: usize, source: &Pixels) {
        let place = &layout.places[at];
        let site = Site {
            place,
            infos: &self.infos,
        };
        let around = Surroundings::of(layout, place, &self.now);
        let mut predicted = [0; 256];
        let (mode, difference) = best_16(source, &around, &mut predicted);
        let (by_blocks, cost) = intra4(source, &around, &site, &self.q, self.penalty);
        *self.candidate = if cost < difference {
            by_blocks
        } else {
            intra16(source, &around, (mode, &predicted), &self.q)
        };
        self.put(layout, at, false);
        self.now.write(layout.corner(place), &self.candidate.pixels);
    }

    /// Writes the chosen candidate.
    fn put(&mut self, layout: &Layout, at: usize, is_p: bool) {
        let site = Site {
            place: &layout.places[at],
            infos: &self.infos,
        };
        let Candidate { choice, levels, .. } = &*self.candidate;
        self.infos[at] = put_macroblock(&mut self.bits, &site, choice, levels, is_p);
    }
}

/// What a bit is worth in absolute difference: 2^((qp - 12) / 6).
fn penalty(qp: u8) -> u32 {
    let exact = ((f64::from(qp) - 12.0) / 6.0).exp2();
    exact.round().max(1.0) as u32
}
