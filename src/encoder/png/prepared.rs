//! A background's finished pieces, and their form as bytes.

use std::ops::Range;

use bytes::Bytes;

use super::adler::Sums;
use super::band::{Band, Surroundings, surroundings_lengths};
use super::bits::{Code, code_bits};
use super::filter::FILTERS;
use super::huffman::LITERAL_BITS_MAX;
use crate::frame::{Rect, Size};

/// The first bytes of the stored form; the last of them is its version.
const MAGIC: [u8; 8] = *b"LSPNG\r\n\x01";
/// After the magic: the checksum of everything behind it, then [`HEADER_FIELDS`] numbers.
const FIELDS_START: usize = 12;
const HEADER_FIELDS: usize = 10;
const SECTIONS_START: usize = FIELDS_START + 4 * HEADER_FIELDS;
/// Larger streams would not fit a PNG chunk's 31-bit length whatever they hold.
pub(super) const STREAM_BYTES_MAX: u64 = 1 << 30;

/// Everything of a background's PNG frames that no frame changes, compressed once.
///
/// Its bytes ([`PreparedPng::as_bytes`]) are its form on disk and in memory alike: checked when read back, and
/// cut into pieces without copying. Cheap to clone.
#[derive(Clone)]
pub struct PreparedPng {
    pub(super) band: Band,
    pub(super) sums: Sums,
    pub(super) codes: Box<[Code; 256]>,
    /// Length in bits of each run's string.
    pub(super) run_bits: Box<[u32]>,
    /// The file's beginning, up to the band.
    pub(super) head: Bytes,
    /// The chunk after the band.
    pub(super) tail: Bytes,
    bytes: Bytes,
    sections: Sections,
}

/// Where each part lies in the bytes.
#[derive(Clone, Debug)]
struct Sections {
    surroundings: [Range<usize>; 5],
    strings: Range<usize>,
}

/// Why bytes are not a prepared background.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreparedError {
    /// Other data, or written by another version.
    #[error("not a prepared background of this version: prepare it anew")]
    Version,
    /// Cut off or damaged.
    #[error("a prepared background is damaged: prepare it anew")]
    Damaged,
}

/// What goes into the stored form.
pub(super) struct Pieces<'a> {
    pub(super) band: Band,
    pub(super) sums: Sums,
    pub(super) codes: &'a [Code; 256],
    pub(super) run_bits: &'a [u32],
    pub(super) around: Surroundings<'a>,
    /// Every run's bits in whole words, one run after another.
    pub(super) strings: &'a [u8],
    pub(super) head: &'a [u8],
    pub(super) tail: &'a [u8],
}

impl Pieces<'_> {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let (size, rect) = (self.band.size(), self.band.rect());
        let fields = [
            size.width,
            size.height,
            rect.x1(),
            rect.y1(),
            rect.x2(),
            rect.y2(),
            self.sums.a,
            self.sums.b,
            self.head.len() as u32,
            self.tail.len() as u32,
        ];
        let around = self.around;
        let mut bytes = [&MAGIC[..], &[0; 4]].concat();
        for &number in fields.iter().chain(self.codes).chain(self.run_bits) {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for part in [
            around.above,
            around.left,
            around.right,
            around.below,
            around.filters,
            self.strings,
            self.head,
            self.tail,
        ] {
            bytes.extend_from_slice(part);
        }
        let checksum = crc32fast::hash(&bytes[FIELDS_START..]);
        bytes[MAGIC.len()..FIELDS_START].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }
}

/// Reads parts off the front of the bytes, never past their end.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn take(&mut self, length: usize) -> Result<Range<usize>, PreparedError> {
        let end = self.at.checked_add(length).ok_or(PreparedError::Damaged)?;
        if end > self.bytes.len() {
            return Err(PreparedError::Damaged);
        }
        Ok(std::mem::replace(&mut self.at, end)..end)
    }

    fn numbers(&mut self, count: usize) -> Result<Vec<u32>, PreparedError> {
        let range = self.take(count.checked_mul(4).ok_or(PreparedError::Damaged)?)?;
        let numbers = self.bytes[range].as_chunks::<4>().0;
        Ok(numbers.iter().map(|n| u32::from_le_bytes(*n)).collect())
    }
}

impl PreparedPng {
    /// The stored form, as [`PreparedPng::from_bytes`] reads it.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Reads the stored form back; the pieces share `bytes`.
    ///
    /// # Errors
    /// If the bytes are of another version, cut off or changed in any place.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, PreparedError> {
        use PreparedError::{Damaged, Version};
        if bytes.first_chunk() != Some(&MAGIC) {
            return Err(Version);
        }
        let mut cursor = Cursor {
            bytes: &bytes,
            at: MAGIC.len(),
        };
        let checksum = cursor.numbers(1)?[0];
        if crc32fast::hash(&bytes[FIELDS_START..]) != checksum {
            return Err(Damaged);
        }
        // What follows holds only if the writer was right, too: nothing below may be out of bounds later.
        let fields: [u32; HEADER_FIELDS] = cursor
            .numbers(HEADER_FIELDS)?
            .try_into()
            .map_err(|_| Damaged)?;
        debug_assert_eq!(cursor.at, SECTIONS_START);
        let [width, height, x1, y1, x2, y2, a, b, head, tail] = fields;
        let rect = Rect::new(x1, y1, x2, y2).ok_or(Damaged)?;
        let band = Band::new(Size { width, height }, rect).ok_or(Damaged)?;
        if band.stream_bytes() > STREAM_BYTES_MAX {
            return Err(Damaged);
        }
        let codes: Box<[Code; 256]> = cursor
            .numbers(256)?
            .into_boxed_slice()
            .try_into()
            .map_err(|_| Damaged)?;
        let legal = |&code: &Code| {
            (1..=u32::from(LITERAL_BITS_MAX)).contains(&code_bits(code))
                && (code & 0xffff) >> code_bits(code) == 0
        };
        let run_bits = cursor.numbers(band.rows() + 1)?.into_boxed_slice();
        let mut surroundings = [const { 0..0 }; 5];
        for (range, length) in surroundings.iter_mut().zip(surroundings_lengths(band)) {
            *range = cursor.take(length)?;
        }
        let strings = cursor.take(run_bits.iter().map(|&bits| words(bits) * 8).sum())?;
        let (head, tail) = (cursor.take(head as usize)?, cursor.take(tail as usize)?);
        let filters = &bytes[surroundings[4].clone()];
        let whole = cursor.at == bytes.len();
        let filters_legal = filters.iter().all(|&f| usize::from(f) < FILTERS.len());
        if !(whole && filters_legal && codes.iter().all(legal)) {
            return Err(Damaged);
        }
        Ok(Self {
            band,
            sums: Sums { a, b },
            codes,
            run_bits,
            head: bytes.slice(head),
            tail: bytes.slice(tail),
            sections: Sections {
                surroundings,
                strings,
            },
            bytes,
        })
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.bytes.len()
            + size_of_val(&*self.codes)
            + size_of_val(&*self.run_bits)
            + size_of::<Self>()
    }

    /// Width and height of the whole frame.
    #[must_use]
    pub fn size(&self) -> Size {
        self.band.size()
    }

    /// The rectangle that is replaced.
    #[must_use]
    pub fn rect(&self) -> Rect {
        self.band.rect()
    }

    pub(super) fn surroundings(&self) -> Surroundings<'_> {
        let part = |index: usize| &self.bytes[self.sections.surroundings[index].clone()];
        Surroundings {
            above: part(0),
            left: part(1),
            right: part(2),
            below: part(3),
            filters: part(4),
        }
    }

    /// Every run's bits, each beginning a new word.
    pub(super) fn strings(&self) -> &[[u8; 8]] {
        self.bytes[self.sections.strings.clone()].as_chunks().0
    }
}

/// Words that `bits` bits take.
pub(super) fn words(bits: u32) -> usize {
    bits.div_ceil(64) as usize
}

impl std::fmt::Debug for PreparedPng {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PreparedPng")
            .field("size", &self.size())
            .field("rect", &self.rect())
            .field("memory_bytes", &self.memory_bytes())
            .finish_non_exhaustive()
    }
}
