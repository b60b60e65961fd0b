//! A prepared group of pictures: the slices around the hole, and those of a mouth that rests.

use super::codec::header::PictureHeader;
use super::codec::layout::{Layout, Pixels};
use super::codec::picture::{Effort, PictureEncoder};
use super::codec::slices::Slices;
use super::plan::{Group, Plan};

/// One picture of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prepared {
    /// Outside the hole.
    pub(super) around: Slices,
    /// Inside, if the background is shown there since the group's key.
    pub(super) rest: Slices,
}

/// A group of pictures, prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PreparedGroup {
    pub(super) pictures: Vec<Prepared>,
}

impl PreparedGroup {
    /// Bytes of memory held.
    pub(super) fn memory_bytes(&self) -> usize {
        let pictures = self.pictures.iter();
        pictures
            .map(|picture| picture.around.memory_bytes() + picture.rest.memory_bytes())
            .sum()
    }
}

/// What a picture takes besides its slices' bytes, generously.
pub(super) const PICTURE_BYTES: usize = size_of::<Prepared>() + 1024;

/// Prepares a group, picture by picture.
#[derive(Debug)]
pub(super) struct GroupBuilder<'a> {
    group: &'a Group,
    key_id: u32,
    layout: Layout,
    around: PictureEncoder,
    rest: PictureEncoder,
    pictures: Vec<Prepared>,
}

impl<'a> GroupBuilder<'a> {
    pub(super) fn new(plan: &'a Plan, index: usize, qp: u8) -> Self {
        let group = plan.group(index);
        let layout = Layout::around(plan.mb_size(), &group.around);
        let encoder = |layout: &Layout| {
            let mut encoder = PictureEncoder::new(qp, Effort::Thorough);
            encoder.set_layout(layout);
            encoder
        };
        Self {
            group,
            key_id: Plan::key_id(index),
            around: encoder(&layout),
            layout,
            rest: encoder(&group.inside),
            pictures: Vec::new(),
        }
    }

    /// The next picture's background.
    pub(super) fn push(&mut self, samples: &[Pixels]) {
        let header = PictureHeader {
            number: self.pictures.len() as u32,
            key_id: self.key_id,
        };
        let encode = |encoder: &mut PictureEncoder, layout: &Layout| {
            encoder.encode(layout, (header, header.kind()), |at| {
                &samples[layout.places[at].address as usize]
            })
        };
        let around = encode(&mut self.around, &self.layout);
        let rest = encode(&mut self.rest, &self.group.inside);
        self.pictures.push(Prepared { around, rest });
    }

    /// Bytes of the pictures so far.
    pub(super) fn byte_len(&self) -> usize {
        self.pictures
            .iter()
            .map(|p| p.around.byte_len() + p.rest.byte_len())
            .sum()
    }

    pub(super) fn finish(self) -> PreparedGroup {
        PreparedGroup {
            pictures: self.pictures,
        }
    }
}

#[cfg(test)]
impl GroupBuilder<'_> {
    /// What decoders see around the hole and, of a mouth that rests, inside.
    pub(super) fn rebuilt(&self) -> [(&Layout, &PictureEncoder); 2] {
        [
            (&self.layout, &self.around),
            (&self.group.inside, &self.rest),
        ]
    }
}
