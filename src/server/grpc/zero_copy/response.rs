//! Frames on their way out, uncopied.
//!
//! tonic writes a message into one buffer, frames and all. So the frames of a batch pass it by in the response's
//! extensions and join its message here: a message is its fields one after another, and in any order, so what tonic wrote
//! is followed by one field `composited_frames` after another, each the parts the encoder made.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::Response;
use http_body::Frame;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tonic::Status;
use tonic::body::Body;

use crate::encoder::Encoded;
use crate::server::grpc::zero_copy::PREFIX;

/// `CompositeBatchResponse.composited_frames`.
const TAG: u32 = 1;

/// The frames of a batch response; in the response's extensions.
#[derive(Clone, Debug)]
pub(in crate::server) struct Frames(pub(in crate::server) Vec<Encoded>);

impl Frames {
    /// Bytes they take in the message.
    pub(in crate::server) fn encoded_len(&self) -> usize {
        self.0.iter().map(field_len).sum()
    }

    fn into_pieces(self) -> VecDeque<Bytes> {
        let mut pieces = VecDeque::new();
        for frame in self.0 {
            let mut head = BytesMut::with_capacity(16);
            encode_key(TAG, WireType::LengthDelimited, &mut head);
            encode_varint(frame.byte_len() as u64, &mut head);
            pieces.push_back(head.freeze());
            pieces.extend(frame.into_parts());
        }
        pieces
    }
}

fn field_len(frame: &Encoded) -> usize {
    let len = frame.byte_len();
    key_len(TAG) + encoded_len_varint(len as u64) + len
}

/// The response, its [`Frames`] part of its message.
pub(super) fn joined(mut response: Response<Body>) -> Response<Body> {
    match response.extensions_mut().remove::<Frames>() {
        Some(frames) => response.map(|message| {
            Body::new(Joined {
                extra: frames.encoded_len(),
                pieces: frames.into_pieces(),
                message,
            })
        }),
        None => response,
    }
}

/// A body of one message, and the pieces that are to follow as part of it.
struct Joined {
    message: Body,
    /// Bytes by which the message is longer than it says; 0 once that is mended.
    extra: usize,
    pieces: VecDeque<Bytes>,
}

impl http_body::Body for Joined {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.extra == 0
            && let Some(piece) = self.pieces.pop_front()
        {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let frame = ready!(Pin::new(&mut self.message).poll_frame(cx));
        if self.extra == 0 {
            return Poll::Ready(frame);
        }
        Poll::Ready(match frame {
            Some(Ok(frame)) => Some(match frame.into_data() {
                Ok(message) => {
                    lengthened(message, std::mem::take(&mut self.extra)).map(Frame::data)
                }
                // Trailers alone: tonic could not write the message.
                Err(trailers) => {
                    self.extra = 0;
                    self.pieces.clear();
                    Ok(trailers)
                }
            }),
            other => other,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.message.is_end_stream()
    }
}

/// The beginning of a message, its length corrected.
fn lengthened(mut message: Bytes, extra: usize) -> Result<Bytes, Status> {
    let broken = || Status::internal("the message does not begin as a message does");
    if message.len() < PREFIX || message[0] != 0 {
        return Err(broken());
    }
    let compression = message.get_u8();
    let len = message.get_u32() as usize + extra;
    let mut whole = BytesMut::with_capacity(PREFIX + message.len());
    whole.put_u8(compression);
    whole.put_u32(u32::try_from(len).map_err(|_| broken())?);
    whole.put(message);
    Ok(whole.freeze())
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::wire::CompositeBatchResponse;

    /// The response as tonic writes it.
    fn written(response: &CompositeBatchResponse) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_u8(0);
        bytes.put_u32(response.encoded_len() as u32);
        response.encode(&mut bytes).unwrap();
        bytes.freeze()
    }

    proptest! {
        #[test]
        fn a_client_reads_the_frames_as_if_tonic_had_written_them(
            frames in proptest::collection::vec(proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..4), 0..5),
            total_time_ms in any::<f64>().prop_filter("NaN is not equal to itself", |ms| !ms.is_nan()),
        ) {
            let plain = CompositeBatchResponse {
                composited_frames: frames.iter().map(|parts| parts.concat().into()).collect(),
                total_time_ms,
                success: true,
                background_indices: vec![3, 1],
                ..CompositeBatchResponse::default()
            };
            let bare = CompositeBatchResponse { composited_frames: Vec::new(), ..plain.clone() };
            let parts = frames.into_iter().map(|parts| parts.into_iter().map(Bytes::from).collect::<Vec<_>>().into());
            let mut response = Response::new(Body::new(http_body_util::Full::new(written(&bare)).map_err(|never| match never {})));
            response.extensions_mut().insert(Frames(parts.collect()));
            let body = futures::executor::block_on(joined(response).into_body().collect()).unwrap().to_bytes();
            prop_assert_eq!(body.len(), written(&plain).len());
            prop_assert_eq!(&body[..PREFIX], &written(&plain)[..PREFIX]);
            prop_assert_eq!(CompositeBatchResponse::decode(&body[PREFIX..]).unwrap(), plain);
        }
    }

    #[test]
    fn parts_are_not_copied() {
        let part = Bytes::from(vec![7; 1000]);
        let pieces = Frames(vec![vec![part.clone()].into()]).into_pieces();
        assert_eq!(pieces[1].as_ptr(), part.as_ptr());
    }

    #[test]
    fn a_status_without_a_message_passes() {
        let trailers = http::HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            http::HeaderValue::from_static("13"),
        )]);
        let body = http_body_util::Empty::new()
            .map_err(|never: std::convert::Infallible| match never {})
            .with_trailers(async move { Some(Ok(trailers)) });
        let mut response = Response::new(Body::new(body));
        response
            .extensions_mut()
            .insert(Frames(vec![vec![Bytes::from_static(b"lost")].into()]));
        let body = futures::executor::block_on(joined(response).into_body().collect()).unwrap();
        assert!(body.trailers().unwrap().contains_key("grpc-status"));
        assert!(body.to_bytes().is_empty());
    }
}
