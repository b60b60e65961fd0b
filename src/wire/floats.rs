//! A `repeated float` field kept as the bytes it travels in.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::DecodeError;
use prost::encoding::{self, DecodeContext, WireType};

use crate::frame::network_io::{SharedFloats, Visual, VisualSource};

/// Floats as little-endian bytes, four each: a packed `repeated float` on the wire, in memory and back.
///
/// A field that arrives packed in one piece is not copied. Split and unpacked fields, which proto3 allows, are joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Floats {
    bytes: Bytes,
}

impl Floats {
    /// How many floats.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() / size_of::<f32>()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The floats; borrowed if the bytes happen to lie as the machine wants floats to lie, else copied.
    #[must_use]
    pub fn to_slice(&self) -> Cow<'_, [f32]> {
        match aligned(&self.bytes) {
            Some(floats) => Cow::Borrowed(floats),
            None => Cow::Owned(self.to_vec()),
        }
    }

    /// Cuts the floats into consecutive tensors of `len` each, which share their memory; a shorter rest is left out.
    /// At most one copy is made, of all of them, and none if the bytes lie as floats must.
    ///
    /// # Panics
    /// If `len` is 0.
    #[must_use]
    pub fn tensors(&self, len: usize) -> Vec<SharedFloats> {
        let starts = (0..self.len() / len).map(|tensor| tensor * len);
        if aligned(&self.bytes).is_some() {
            let size = size_of::<f32>();
            starts
                .map(|start| {
                    let bytes = self.bytes.slice(start * size..(start + len) * size);
                    Arc::new(Aligned(bytes)) as SharedFloats
                })
                .collect()
        } else {
            let all = Arc::new(self.to_vec());
            starts
                .map(|start| {
                    let all = Arc::clone(&all);
                    Arc::new(Part { all, start, len }) as SharedFloats
                })
                .collect()
        }
    }

    /// Cuts the floats into consecutive visual tensors of `len` each; a shorter rest is left out. Nothing is copied here:
    /// where the bytes do not lie as floats must, the session that reads a tensor copies it into a buffer it keeps.
    ///
    /// # Panics
    /// If `len` is 0.
    #[must_use]
    pub fn visuals(&self, len: usize) -> Vec<Visual> {
        if aligned(&self.bytes).is_some() {
            return self.tensors(len).into_iter().map(Visual::Ready).collect();
        }
        let size = len * size_of::<f32>();
        (0..self.len() / len)
            .map(|tensor| {
                let bytes = self.bytes.slice(tensor * size..(tensor + 1) * size);
                Visual::Made(Arc::new(Unaligned(bytes)))
            })
            .collect()
    }

    /// The place of the first NaN or infinity.
    #[must_use]
    pub fn first_non_finite(&self) -> Option<usize> {
        const EXPONENT: u32 = 0x7f80_0000;
        let is_bad = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes) & EXPONENT == EXPONENT;
        // Block by block, so that the usual answer, "none", is a loop without branches.
        let all = self.bytes.as_chunks::<4>().0;
        let block = 1024;
        all.chunks(block)
            .position(|floats| floats.iter().fold(false, |bad, bytes| bad | is_bad(bytes)))
            .and_then(|index| {
                let start = index * block;
                all[start..]
                    .iter()
                    .position(is_bad)
                    .map(|place| start + place)
            })
    }

    fn to_vec(&self) -> Vec<f32> {
        let floats = self.bytes.as_chunks::<4>().0.iter();
        floats.map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    /// Takes one occurrence of the field.
    pub(super) fn merge(
        &mut self,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        let piece = if wire_type == WireType::LengthDelimited {
            let mut piece = Bytes::new();
            encoding::bytes::merge(wire_type, &mut piece, buf, ctx)?;
            if !piece.len().is_multiple_of(size_of::<f32>()) {
                // What prost says of a packed field whose length is no multiple of its elements'.
                let mut rest = &piece[piece.len() / 4 * 4..];
                encoding::float::merge(
                    WireType::ThirtyTwoBit,
                    &mut 0.0,
                    &mut rest,
                    DecodeContext::default(),
                )?;
            }
            piece
        } else {
            let mut float = 0.0;
            encoding::float::merge(wire_type, &mut float, buf, ctx)?;
            Bytes::copy_from_slice(&float.to_le_bytes())
        };
        self.append(piece);
        Ok(())
    }

    fn append(&mut self, piece: Bytes) {
        if self.bytes.is_empty() {
            self.bytes = piece;
            return;
        }
        // Unpacked fields come one float at a time: the buffer is taken back and grows, it is not copied each time.
        let mut joined = std::mem::take(&mut self.bytes)
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        joined.extend_from_slice(&piece);
        self.bytes = joined.freeze();
    }

    /// Writes the field packed, or not at all if there is nothing in it.
    pub(super) fn encode(&self, tag: u32, buf: &mut impl BufMut) {
        if !self.is_empty() {
            encoding::bytes::encode(tag, &self.bytes, buf);
        }
    }

    pub(super) fn encoded_len(&self, tag: u32) -> usize {
        if self.is_empty() {
            0
        } else {
            encoding::bytes::encoded_len(tag, &self.bytes)
        }
    }
}

impl From<&[f32]> for Floats {
    fn from(floats: &[f32]) -> Self {
        let bytes = floats.iter().flat_map(|float| float.to_le_bytes());
        Self {
            bytes: bytes.collect(),
        }
    }
}

impl From<Vec<f32>> for Floats {
    fn from(floats: Vec<f32>) -> Self {
        floats.as_slice().into()
    }
}

/// The bytes as floats, without a copy, on machines whose floats are little-endian and if the bytes start at a
/// multiple of four.
fn aligned(bytes: &[u8]) -> Option<&[f32]> {
    if cfg!(target_endian = "big") {
        return None;
    }
    bytemuck::try_cast_slice(bytes).ok()
}

/// Bytes that [`aligned`] has accepted.
struct Aligned(Bytes);

impl AsRef<[f32]> for Aligned {
    fn as_ref(&self) -> &[f32] {
        aligned(&self.0).unwrap_or_default()
    }
}

/// Bytes of floats that start anywhere.
struct Unaligned(Bytes);

impl VisualSource for Unaligned {
    fn write(&self, out: &mut [f32]) {
        let floats = self.0.as_chunks::<4>().0;
        assert_eq!(floats.len(), out.len(), "visual tensor length");
        for (out, bytes) in out.iter_mut().zip(floats) {
            *out = f32::from_le_bytes(*bytes);
        }
    }
}

/// A part of floats that were copied once for all parts.
struct Part {
    /// Not an `Arc<[f32]>`: making that would copy once more.
    all: Arc<Vec<f32>>,
    start: usize,
    len: usize,
}

impl AsRef<[f32]> for Part {
    fn as_ref(&self) -> &[f32] {
        &self.all[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(count: usize) -> Vec<f32> {
        (0..count).map(|i| i as f32 * 0.5 - 3.0).collect()
    }

    #[test]
    fn tensors_are_the_floats_however_the_bytes_lie() {
        let plain = Floats::from(floats(10));
        let mut shifted = BytesMut::zeroed(1);
        shifted.extend_from_slice(&plain.bytes);
        let shifted = Floats {
            bytes: shifted.freeze().slice(1..),
        };
        for floats_at in [plain, shifted] {
            let tensors = floats_at.tensors(4);
            assert_eq!(tensors.len(), 2);
            assert_eq!((*tensors[0]).as_ref(), &floats(10)[..4]);
            assert_eq!((*tensors[1]).as_ref(), &floats(10)[4..8]);
            assert_eq!(*floats_at.to_slice(), floats(10));
            let visuals = floats_at.visuals(4);
            assert_eq!(visuals.len(), 2);
            for (visual, expected) in visuals.iter().zip(floats(10).chunks(4)) {
                match visual {
                    Visual::Ready(tensor) => assert_eq!((**tensor).as_ref(), expected),
                    Visual::Made(source) => {
                        let mut out = [0.0; 4];
                        source.write(&mut out);
                        assert_eq!(&out[..], expected);
                    }
                }
            }
        }
    }

    #[test]
    fn the_first_bad_float_is_found() {
        for place in [0, 1023, 1024, 2999] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut values = floats(3000);
                assert_eq!(Floats::from(values.clone()).first_non_finite(), None);
                values[place] = bad;
                assert_eq!(Floats::from(values).first_non_finite(), Some(place));
            }
        }
    }
}
