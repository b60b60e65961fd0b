//! One viewer's video.

use std::sync::Arc;

use bytes::Bytes;

use super::base::{Base, Source, samples};
use super::codec::header::{PictureHeader, SliceKind};
use super::codec::layout::{Layout, Pixels};
use super::codec::picture::{Effort, PictureEncoder};
use super::codec::slices::Slices;
use super::group::Prepared;
use super::plan::{Group, Plan, Position};
use super::video::Video;
use crate::frame::{Frame, Rect};

/// What a frame's rect shows.
#[derive(Clone, Copy, Debug)]
pub enum Mouth<'a> {
    /// These pixels, packed RGB8.
    Patch(&'a [u8]),
    /// What the background shows.
    Rest,
    /// What it showed in the frame before: there is nothing newer.
    Hold,
}

/// One access unit: a picture, and before a key picture the parameter sets.
#[derive(Clone, Debug)]
pub struct AccessUnit {
    /// NAL units with start codes, to be sent one after another.
    pub parts: Vec<Bytes>,
    /// Whether decoders can start here.
    pub is_key: bool,
}

/// What the decoder has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing yet.
    Start,
    /// A picture of a prepared group, in its hole the prepared slices of a mouth that rests.
    Resting { group: usize },
    /// A picture of a prepared group, in its hole what was encoded for this viewer.
    Live { group: usize },
    /// A picture encoded as a whole for this viewer, and how many others since the last key.
    Whole { number: u32 },
}

/// One viewer's video: frames in order, each spliced if its group is prepared, and else encoded as a whole.
///
/// A stream that begins inside a group, or is asked for a key there, has whole pictures up to the next group: they cost
/// several milliseconds each.
#[derive(Debug)]
pub struct Stream {
    video: Arc<Video>,
    state: State,
    /// The frame that follows the last one, and whether the last one was a key.
    next: u64,
    after_key: bool,
    is_key_wanted: bool,
    encoder: PictureEncoder,
    source: Source,
    /// Keys of whole pictures so far.
    turn: u32,
    sets: Bytes,
}

impl Stream {
    /// A stream of which nothing is encoded yet.
    #[must_use]
    pub fn new(video: Arc<Video>) -> Self {
        Self {
            encoder: PictureEncoder::new(video.qp(), Effort::Live),
            sets: video.parameter_sets().into(),
            video,
            state: State::Start,
            next: 0,
            after_key: false,
            is_key_wanted: false,
            source: Source::default(),
            turn: 0,
        }
    }

    /// Makes the next frame one that decoders can start at, wherever it is.
    pub fn want_key(&mut self) {
        self.is_key_wanted = true;
    }

    /// Bytes of memory held, without what is shared.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.encoder.memory_bytes() + self.source.memory_bytes()
    }

    /// Encodes frame `k`; `read` gives its background if it must be encoded as a whole. A frame that does not follow
    /// the last one becomes a key.
    ///
    /// # Errors
    /// If the background cannot be read. The stream is as before.
    ///
    /// # Panics
    /// If a patch is not of the rect's size.
    pub fn encode<E>(
        &mut self,
        k: u64,
        mouth: Mouth<'_>,
        read: impl FnOnce() -> Result<Arc<Frame>, E>,
    ) -> Result<AccessUnit, E> {
        let video = Arc::clone(&self.video);
        let position = video.plan().position(k);
        let follows = self.state != State::Start && self.next == k && !self.is_key_wanted;
        let unit = match video.picture(position) {
            Some((prepared, base)) if self.can_splice(position, follows) => {
                self.spliced(position, prepared, base, mouth)
            }
            _ => self.whole(position, follows, mouth, read)?,
        };
        self.next = k.saturating_add(1);
        self.after_key = unit.is_key;
        self.is_key_wanted = false;
        Ok(unit)
    }

    fn can_splice(&self, position: Position, follows: bool) -> bool {
        match self.state {
            State::Resting { group } | State::Live { group } if group == position.group => {
                // Two keys of the same group, one behind the other, could not be told apart.
                follows && !position.is_key() || position.is_key() && !self.after_key
            }
            _ => position.is_key(),
        }
    }

    /// A picture of prepared slices and those of the hole.
    fn spliced(
        &mut self,
        position: Position,
        prepared: &Prepared,
        base: &Base,
        mouth: Mouth<'_>,
    ) -> AccessUnit {
        let video = Arc::clone(&self.video);
        let group = video.plan().group(position.group);
        let header = PictureHeader {
            number: position.number,
            key_id: Plan::key_id(position.group),
        };
        let is_live = matches!(self.state, State::Live { .. } | State::Whole { .. });
        let inside = match mouth {
            Mouth::Hold if is_live && !position.is_key() => {
                Some(PictureEncoder::repeat(&group.inside, header))
            }
            Mouth::Patch(patch) => Some(self.live(header, group, base, Some(patch), &[])),
            Mouth::Hold if is_live => {
                let shown = self.shown(&group.inside, video.plan().rect(position.background));
                Some(self.live(header, group, base, None, &shown))
            }
            Mouth::Rest if is_live && !position.is_key() => {
                Some(self.live(header, group, base, None, &[]))
            }
            Mouth::Rest | Mouth::Hold => None,
        };
        let group_index = position.group;
        self.state = match inside {
            Some(_) => State::Live { group: group_index },
            None => State::Resting { group: group_index },
        };
        let inside = inside.as_ref().unwrap_or(&prepared.rest);
        let mut parts = self.sets_before(position.is_key());
        let (mut around, mut within) = (0.., 0..);
        let slices = group.order.iter().map(|is_inside| {
            let (slices, index) = if *is_inside {
                (inside, within.next())
            } else {
                (&prepared.around, around.next())
            };
            slices.get(index.unwrap_or_default())
        });
        parts.extend(slices);
        AccessUnit {
            parts,
            is_key: position.is_key(),
        }
    }

    /// The hole's slices. `shown` are samples of places to take instead of the background's.
    fn live(
        &mut self,
        header: PictureHeader,
        group: &Group,
        base: &Base,
        patch: Option<&[u8]>,
        shown: &[(usize, Pixels)],
    ) -> Slices {
        let columns = self.video.plan().mb_size().width;
        self.source.set(&group.inside, columns, base, patch);
        for (at, pixels) in shown {
            self.source.replace(*at, pixels);
        }
        // What was there last is nothing that this encoder knows of.
        let kind = match self.state {
            State::Live { .. } => header.kind(),
            State::Start | State::Resting { .. } | State::Whole { .. } => SliceKind::Intra,
        };
        if kind == SliceKind::Intra {
            self.encoder.set_layout(&group.inside);
        }
        let source = &self.source;
        self.encoder
            .encode(&group.inside, (header, kind), |at| source.pixels(base, at))
    }

    /// What the last picture showed in those places of `layout` that touch `rect`, as far as it was encoded here.
    fn shown(&self, layout: &Layout, rect: Rect) -> Vec<(usize, Pixels)> {
        let plan = self.video.plan();
        let columns = plan.mb_size().width;
        let before = match self.state {
            State::Live { group } => &plan.group(group).inside,
            State::Whole { .. } => plan.whole(),
            State::Start | State::Resting { .. } => return Vec::new(),
        };
        let touched = |address: u32| {
            let (x, y) = (16 * (address % columns), 16 * (address / columns));
            x < rect.x2() && x + 16 > rect.x1() && y < rect.y2() && y + 16 > rect.y1()
        };
        let places = layout.places.iter().enumerate();
        places
            .filter(|(_, place)| touched(place.address))
            .filter_map(|(at, place)| {
                let there = before
                    .places
                    .binary_search_by_key(&place.address, |p| p.address);
                let mut pixels = Pixels::ZERO;
                let corner = before.corner(&before.places[there.ok()?]);
                self.encoder.planes().read(corner, &mut pixels);
                Some((at, pixels))
            })
            .collect()
    }

    /// A whole picture.
    fn whole<E>(
        &mut self,
        position: Position,
        follows: bool,
        mouth: Mouth<'_>,
        read: impl FnOnce() -> Result<Arc<Frame>, E>,
    ) -> Result<AccessUnit, E> {
        let video = Arc::clone(&self.video);
        let layout = video.plan().whole();
        let number = match self.state {
            State::Whole { number } if follows && !position.is_key() => number + 1,
            _ => 0,
        };
        if number == 0 {
            self.turn += 1;
        }
        let header = PictureHeader {
            number,
            key_id: video.plan().free_key_id(self.turn),
        };
        let slices = match mouth {
            Mouth::Hold if number > 0 => PictureEncoder::repeat(layout, header),
            _ => {
                let mut frame = read()?;
                if let Mouth::Patch(patch) = mouth {
                    paint(&mut frame, video.plan().rect(position.background), patch);
                }
                let mut samples = samples(&frame);
                if let Mouth::Hold = mouth {
                    for (at, pixels) in self.shown(layout, video.plan().rect(position.background)) {
                        samples[at] = pixels;
                    }
                }
                if number == 0 {
                    self.encoder.set_layout(layout);
                }
                self.encoder
                    .encode(layout, (header, header.kind()), |at| &samples[at])
            }
        };
        self.state = State::Whole { number };
        let mut parts = self.sets_before(number == 0);
        parts.push(slices.get(0));
        Ok(AccessUnit {
            parts,
            is_key: number == 0,
        })
    }

    fn sets_before(&self, is_key: bool) -> Vec<Bytes> {
        if is_key {
            vec![self.sets.clone()]
        } else {
            Vec::new()
        }
    }
}

/// Replaces the pixels of `rect`.
fn paint(frame: &mut Arc<Frame>, rect: Rect, patch: &[u8]) {
    assert_eq!(patch.len(), rect.size().rgb_bytes(), "a patch of {rect}");
    let frame = Arc::make_mut(frame);
    let bytes = 3 * rect.size().width as usize;
    let stride = 3 * frame.size().width as usize;
    let rows = frame.data_mut().chunks_exact_mut(stride);
    for (row, patch) in rows.skip(rect.y1() as usize).zip(patch.chunks_exact(bytes)) {
        row[3 * rect.x1() as usize..][..bytes].copy_from_slice(patch);
    }
}

#[cfg(test)]
impl Stream {
    /// What this encoder has rebuilt of the last picture: places and their samples, and whether that is the hole.
    pub(super) fn rebuilt(&self) -> Option<(&Layout, &PictureEncoder)> {
        let plan = self.video.plan();
        match self.state {
            State::Start | State::Resting { .. } => None,
            State::Live { group } => Some((&plan.group(group).inside, &self.encoder)),
            State::Whole { .. } => Some((plan.whole(), &self.encoder)),
        }
    }
}
