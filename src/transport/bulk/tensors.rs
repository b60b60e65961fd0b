//! The request of `InferBatchComposite`, its tensors copied once: from the pieces the socket gave to where the network
//! reads them.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use http::Request;
use http_body::{Body as _, Frame};
use prost::Message as _;
use tonic::Status;
use tonic::body::Body;

use super::PREFIX;
use crate::wire::CompositeBatchRequest;

/// The request with its message in the extensions, and an empty one in its body for tonic to read. One that is not a
/// single plain message of at most `limit` bytes comes back as it was: tonic knows what to say.
///
/// # Errors
/// If the message's bytes are none.
pub(super) async fn received(
    request: Request<Body>,
    limit: usize,
) -> Result<Request<Body>, Status> {
    let (mut parts, body) = request.into_parts();
    let message = match gather(body, limit).await {
        Ok(message) => message,
        Err(body) => return Ok(Request::from_parts(parts, body)),
    };
    let message = CompositeBatchRequest::decode(message)
        .map_err(|error| Status::internal(error.to_string()))?;
    parts.extensions.insert(message);
    let empty = Bytes::from_static(&[0; PREFIX]);
    let body = Replayed::new(Rope::from_iter([empty]), None, Body::empty());
    Ok(Request::from_parts(parts, Body::new(body)))
}

/// The one message of `body`; a body that gives the same again if there is anything unusual about it.
async fn gather(mut body: Body, limit: usize) -> Result<Rope, Body> {
    let mut rope = Rope::default();
    let mut wanted = None;
    let rest = loop {
        if wanted.is_none()
            && let Some([compressed, len @ ..]) = rope.first()
        {
            let len = u32::from_be_bytes(len) as usize;
            if compressed != 0 || len > limit {
                break None;
            }
            wanted = Some(PREFIX + len);
        }
        if wanted.is_some_and(|wanted| rope.remaining() > wanted) {
            break None;
        }
        let next = std::future::poll_fn(|cx| pin!(&mut body).poll_frame(cx)).await;
        match next.map(|next| next.map(Frame::into_data)) {
            Some(Ok(Ok(piece))) => rope.push(piece),
            // Nothing in a request's trailers matters to anybody.
            Some(Ok(Err(_))) => (),
            Some(Err(error)) => break Some(error),
            None if wanted == Some(rope.remaining()) => {
                rope.advance(PREFIX);
                return Ok(rope);
            }
            None => break None,
        }
    };
    Err(Body::new(Replayed::new(rope, rest, body)))
}

/// Bytes in the pieces they came in.
#[derive(Debug, Default)]
struct Rope {
    pieces: VecDeque<Bytes>,
    len: usize,
}

impl Rope {
    fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        if !piece.is_empty() {
            self.pieces.push_back(piece);
        }
    }

    /// The first bytes, if there are as many.
    fn first(&self) -> Option<[u8; PREFIX]> {
        let mut bytes = self.pieces.iter().flatten().copied();
        let mut first = [0; PREFIX];
        for byte in &mut first {
            *byte = bytes.next()?;
        }
        Some(first)
    }
}

impl FromIterator<Bytes> for Rope {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let mut rope = Self::default();
        pieces.into_iter().for_each(|piece| rope.push(piece));
        rope
    }
}

impl Buf for Rope {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.len, "advanced past the end");
        self.len -= count;
        while let Some(piece) = self.pieces.front_mut() {
            if count < piece.len() {
                piece.advance(count);
                return;
            }
            count -= piece.len();
            self.pieces.pop_front();
        }
    }

    fn copy_to_bytes(&mut self, len: usize) -> Bytes {
        assert!(len <= self.len, "read past the end");
        match self.pieces.front_mut() {
            Some(piece) if len < piece.len() => {
                self.len -= len;
                piece.split_to(len)
            }
            // In memory of its own, whose beginning lies as a float must. Every piece is freed as soon as it is copied.
            _ => {
                let mut whole = BytesMut::with_capacity(len);
                whole.put(self.take(len));
                whole.freeze()
            }
        }
    }
}

/// A body that gives what was read of another, then the rest of that.
struct Replayed {
    read: Rope,
    error: Option<Status>,
    rest: Body,
}

impl Replayed {
    fn new(read: Rope, error: Option<Status>, rest: Body) -> Self {
        Self { read, error, rest }
    }
}

impl http_body::Body for Replayed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(piece) = self.read.pieces.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if let Some(error) = self.error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        Pin::new(&mut self.rest).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.read.pieces.is_empty() && self.error.is_none() && self.rest.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use futures::stream;
    use http_body_util::{BodyExt as _, StreamBody};
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1 << 20;

    fn request() -> CompositeBatchRequest {
        CompositeBatchRequest {
            model_id: "ann".to_owned(),
            visual_frames: (0..900).map(|i| i as f32).collect::<Vec<_>>().into(),
            audio_features: vec![0.5; 64].into(),
            batch_size: 3,
            ..CompositeBatchRequest::default()
        }
    }

    fn message(request: &CompositeBatchRequest) -> Vec<u8> {
        let bytes = request.encode_to_vec();
        let mut message = vec![0];
        message.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        message.extend_from_slice(&bytes);
        message
    }

    /// `bytes` as a body, cut at `cuts`.
    fn body(bytes: &[u8], cuts: &[usize]) -> Body {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<Result<_, Status>> = cuts
            .windows(2)
            .map(|cut| Ok(Frame::data(Bytes::copy_from_slice(&bytes[cut[0]..cut[1]]))))
            .collect();
        Body::new(StreamBody::new(stream::iter(pieces)))
    }

    fn receive(body: Body) -> Result<Request<Body>, Status> {
        block_on(received(Request::new(body), LIMIT))
    }

    fn left(request: Request<Body>) -> Vec<u8> {
        block_on(request.into_body().collect())
            .unwrap()
            .to_bytes()
            .to_vec()
    }

    proptest! {
        #[test]
        fn a_message_is_read_however_it_is_cut(cuts in proptest::collection::vec(any::<usize>(), 0..9)) {
            let sent = request();
            let mut request = receive(body(&message(&sent), &cuts)).unwrap();
            prop_assert_eq!(request.extensions_mut().remove(), Some(sent));
            prop_assert_eq!(left(request), [0; PREFIX]);
        }

        #[test]
        fn what_is_unusual_is_left_to_tonic(
            cuts in proptest::collection::vec(any::<usize>(), 0..9),
            which in 0..5,
        ) {
            let mut bytes = message(&request());
            match which {
                0 => bytes[0] = 1,
                1 => bytes.truncate(bytes.len() - 1),
                2 => bytes.push(0),
                3 => bytes.truncate(3),
                _ => bytes[1] = 9,
            }
            let request = receive(body(&bytes, &cuts)).unwrap();
            prop_assert!(request.extensions().get::<CompositeBatchRequest>().is_none());
            prop_assert_eq!(left(request), bytes);
        }
    }

    #[test]
    fn a_tensor_in_pieces_is_copied_to_where_floats_may_lie() {
        let bytes = message(&request());
        let mut request = receive(body(&bytes, &[7, 100, 1000, 2000])).unwrap();
        let read: CompositeBatchRequest = request.extensions_mut().remove().unwrap();
        let floats = read.visual_frames.to_slice();
        assert!(matches!(floats, std::borrow::Cow::Borrowed(_)));
    }

    #[test]
    fn bytes_that_are_no_message_are_an_error() {
        let status = receive(body(&[0, 0, 0, 0, 2, 0xff, 0xff], &[])).unwrap_err();
        assert_eq!(status.code(), tonic::Code::Internal);
    }

    #[test]
    fn an_error_of_the_body_comes_after_what_was_read() {
        let pieces = [
            Ok(Frame::data(Bytes::from_static(&[0, 0, 0, 0, 9, 1]))),
            Err(Status::cancelled("gone")),
        ];
        let request = receive(Body::new(StreamBody::new(stream::iter(pieces)))).unwrap();
        let status = block_on(request.into_body().collect()).unwrap_err();
        assert_eq!(status.code(), tonic::Code::Cancelled);
    }
}
