//! The slices of one picture, in one buffer.

use bytes::Bytes;

use super::entropy::bits::{BitWriter, put_nal};
use super::header::PictureHeader;

/// Slices of one picture, each with its start code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::encoder::h264) struct Slices {
    data: Bytes,
    /// Where each ends.
    ends: Vec<u32>,
}

impl Slices {
    /// One slice, without copying.
    pub(in crate::encoder::h264) fn get(&self, index: usize) -> Bytes {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.data.slice(start as usize..self.ends[index] as usize)
    }

    /// All of them in `data`, each of a length of `lengths`; `None` if they are not as long together.
    pub(in crate::encoder::h264) fn from_parts(data: Bytes, lengths: &[u32]) -> Option<Self> {
        let ends: Option<Vec<u32>> = lengths
            .iter()
            .scan(Some(0_u32), |end, length| {
                *end = end.and_then(|end| end.checked_add(*length));
                Some(*end)
            })
            .collect();
        let ends = ends?;
        let is_whole = ends.last().copied().unwrap_or(0) as usize == data.len();
        is_whole.then_some(Self { data, ends })
    }

    /// All of them, one after another, and the length of each.
    pub(in crate::encoder::h264) fn parts(&self) -> (&Bytes, impl Iterator<Item = u32> + '_) {
        let starts = std::iter::once(&0).chain(&self.ends);
        (
            &self.data,
            self.ends.iter().zip(starts).map(|(end, start)| end - start),
        )
    }

    pub(in crate::encoder::h264) fn byte_len(&self) -> usize {
        self.data.len()
    }

    /// Bytes of memory held.
    pub(in crate::encoder::h264) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.data.len() + 4 * self.ends.len()
    }
}

/// Slices being written.
#[derive(Debug, Default)]
pub(super) struct SliceBuffer {
    data: Vec<u8>,
    ends: Vec<u32>,
}

impl SliceBuffer {
    /// The next slice: its header and macroblocks are in `bits`.
    pub(super) fn put(&mut self, header: PictureHeader, bits: &mut BitWriter) {
        put_nal(header.nal_header(), bits.finish(), &mut self.data);
        self.ends.push(self.data.len() as u32);
    }

    pub(super) fn finish(self) -> Slices {
        Slices {
            data: self.data.into(),
            ends: self.ends,
        }
    }
}
