//! `CompositeBatchRequest`, written by hand so that 61 MB of tensors are not decoded float by float.

use bytes::{Buf, BufMut};
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message};

use super::{Floats, ImageFormat};

/// One batch of frames to make; see `proto/lipsync.proto`, whose field numbers these are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompositeBatchRequest {
    /// 1: the model.
    pub model_id: String,
    /// 2: visual tensors `[batch_size, 6, 320, 320]`; empty for the server to make them.
    pub visual_frames: Floats,
    /// 3: audio windows `[32, 16, 16]`: one for the batch, or one a frame.
    pub audio_features: Floats,
    /// 4: frames in the batch.
    pub batch_size: i32,
    /// 5: index of the first frame.
    pub start_frame_idx: i32,
    /// 16: an [`ImageFormat`].
    pub output_format: i32,
    /// 17: JPEG quality; 0 for the default.
    pub jpeg_quality: i32,
}

impl CompositeBatchRequest {
    /// The output format asked for; `None` for a number that is none.
    #[must_use]
    pub fn image_format(&self) -> Option<ImageFormat> {
        ImageFormat::try_from(self.output_format).ok()
    }

    /// Where the floats of the first tensor begin in a message that begins with `bytes`, if they say so.
    pub(crate) fn first_tensor(bytes: &[u8]) -> Option<usize> {
        let mut rest = bytes;
        loop {
            let (tag, wire_type) = encoding::decode_key(&mut rest).ok()?;
            if wire_type == WireType::LengthDelimited {
                let len = usize::try_from(encoding::decode_varint(&mut rest).ok()?).ok()?;
                if matches!(tag, 2 | 3) {
                    return Some(bytes.len() - rest.len());
                }
                rest = rest.get(len..)?;
            } else {
                encoding::skip_field(wire_type, tag, &mut rest, DecodeContext::default()).ok()?;
            }
        }
    }

    /// The numbers with their tags.
    fn numbers(&self) -> [(u32, i32); 4] {
        [
            (4, self.batch_size),
            (5, self.start_frame_idx),
            (16, self.output_format),
            (17, self.jpeg_quality),
        ]
    }
}

impl Message for CompositeBatchRequest {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if !self.model_id.is_empty() {
            encoding::string::encode(1, &self.model_id, buf);
        }
        self.visual_frames.encode(2, buf);
        self.audio_features.encode(3, buf);
        for (tag, number) in self.numbers() {
            if number != 0 {
                encoding::int32::encode(tag, &number, buf);
            }
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => encoding::string::merge(wire_type, &mut self.model_id, buf, ctx),
            2 => self.visual_frames.merge(wire_type, buf, ctx),
            3 => self.audio_features.merge(wire_type, buf, ctx),
            4 => encoding::int32::merge(wire_type, &mut self.batch_size, buf, ctx),
            5 => encoding::int32::merge(wire_type, &mut self.start_frame_idx, buf, ctx),
            16 => encoding::int32::merge(wire_type, &mut self.output_format, buf, ctx),
            17 => encoding::int32::merge(wire_type, &mut self.jpeg_quality, buf, ctx),
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn encoded_len(&self) -> usize {
        let model_id = if self.model_id.is_empty() {
            0
        } else {
            encoding::string::encoded_len(1, &self.model_id)
        };
        let numbers = self.numbers().into_iter().filter(|(_, n)| *n != 0);
        model_id
            + self.visual_frames.encoded_len(2)
            + self.audio_features.encoded_len(3)
            + numbers
                .map(|(tag, number)| encoding::int32::encoded_len(tag, &number))
                .sum::<usize>()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    /// The same message as prost would have generated it: the naive twin.
    #[derive(Clone, PartialEq, ::prost::Message)]
    struct Plain {
        #[prost(string, tag = "1")]
        model_id: String,
        #[prost(float, repeated, tag = "2")]
        visual_frames: Vec<f32>,
        #[prost(float, repeated, packed = "false", tag = "3")]
        audio_features: Vec<f32>,
        #[prost(int32, tag = "4")]
        batch_size: i32,
        #[prost(int32, tag = "5")]
        start_frame_idx: i32,
        #[prost(int32, tag = "16")]
        output_format: i32,
        #[prost(int32, tag = "17")]
        jpeg_quality: i32,
        #[prost(string, tag = "99")]
        unknown: String,
    }

    fn plain() -> impl Strategy<Value = Plain> {
        let floats = || proptest::collection::vec(any::<f32>(), 0..40);
        let numbers = any::<(i32, i32, i32, i32)>();
        (".{0,9}", floats(), floats(), numbers, ".{0,9}").prop_map(
            |(model_id, visual_frames, audio_features, numbers, unknown)| Plain {
                model_id,
                visual_frames,
                audio_features,
                batch_size: numbers.0,
                start_frame_idx: numbers.1,
                output_format: numbers.2,
                jpeg_quality: numbers.3,
                unknown,
            },
        )
    }

    fn bits(floats: &[f32]) -> Vec<u32> {
        floats.iter().map(|float| float.to_bits()).collect()
    }

    fn assert_same(ours: &CompositeBatchRequest, plain: &Plain) {
        assert_eq!(ours.model_id, plain.model_id);
        assert_eq!(
            bits(&ours.visual_frames.to_slice()),
            bits(&plain.visual_frames)
        );
        assert_eq!(
            bits(&ours.audio_features.to_slice()),
            bits(&plain.audio_features)
        );
        assert_eq!(
            ours.numbers().map(|(_, number)| number),
            [
                plain.batch_size,
                plain.start_frame_idx,
                plain.output_format,
                plain.jpeg_quality
            ]
        );
    }

    proptest! {
        #[test]
        fn decodes_what_prost_encodes_packed_and_unpacked(plain in plain()) {
            let bytes = Bytes::from(plain.encode_to_vec());
            assert_same(&CompositeBatchRequest::decode(bytes).unwrap(), &plain);
        }

        #[test]
        fn fields_may_come_in_pieces(first in plain(), second in plain()) {
            let bytes = [first.encode_to_vec(), second.encode_to_vec()].concat();
            let joined = Plain::decode(bytes.as_slice()).unwrap();
            assert_same(&CompositeBatchRequest::decode(bytes.as_slice()).unwrap(), &joined);
        }

        #[test]
        fn prost_decodes_what_we_encode(plain in plain()) {
            let ours = CompositeBatchRequest::decode(Bytes::from(plain.encode_to_vec())).unwrap();
            let bytes = ours.encode_to_vec();
            prop_assert_eq!(bytes.len(), ours.encoded_len());
            assert_same(&ours, &Plain::decode(bytes.as_slice()).unwrap());
        }

        #[test]
        fn what_prost_reads_is_read_alike(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let ours = CompositeBatchRequest::decode(bytes.as_slice());
            let plain = Plain::decode(bytes.as_slice());
            // Only the unknown field's own type, which prost checks here and we skip, may make a difference.
            if let Ok(plain) = plain {
                assert_same(&ours.unwrap(), &plain);
            }
        }
    }

    #[test]
    fn a_packed_field_is_not_copied() {
        let plain = Plain {
            visual_frames: vec![1.5; 100],
            ..Plain::default()
        };
        let bytes = Bytes::from(plain.encode_to_vec());
        let ours = CompositeBatchRequest::decode(bytes.clone()).unwrap();
        let range = bytes.as_ptr_range();
        let tensors = ours.visual_frames.tensors(100);
        let borrowed = matches!(ours.visual_frames.to_slice(), std::borrow::Cow::Borrowed(_));
        let address = (*tensors[0]).as_ref().as_ptr().cast::<u8>();
        // The field begins at any byte; floats are read in place where it is a float's boundary.
        let start = bytes.len() - 4 * 100;
        let aligned = (bytes.as_ptr() as usize + start).is_multiple_of(4);
        assert_eq!((borrowed, range.contains(&address)), (aligned, aligned));
    }

    #[test]
    fn a_length_that_is_no_number_of_floats_is_an_error() {
        let bytes: &[u8] = &[0x12, 5, 0, 0, 0, 0, 0];
        assert!(CompositeBatchRequest::decode(bytes).is_err());
        assert!(Plain::decode(bytes).is_err());
    }
}
