//! The request of `InferBatchComposite`, its tensors copied once: from the pieces the socket gave to memory that is used
//! again, where the network reads them.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http_body::{Body as _, Frame};
use prost::Message as _;
use tonic::Status;
use tonic::body::Body;

use crate::frame::pool::{Pool, Pooled};
use crate::server::grpc::status::malformed;
use crate::server::grpc::zero_copy::PREFIX;
use crate::wire::CompositeBatchRequest;

const FLOAT: usize = align_of::<f32>();
/// Bytes of a message after which its tensors stay wherever they lie.
const SETTLED_AFTER: usize = 64 << 10;

/// The request with its message in the extensions, and an empty one in its body for tonic to read. One that is not a
/// single plain message of at most `limit` bytes comes back as it was: tonic knows what to say. The message lies in a
/// buffer of `buffers` as long as its tensors are in use.
///
/// # Errors
/// If the message's bytes are none.
pub(super) async fn received(
    request: Request<Body>,
    limit: usize,
    buffers: &Pool<Vec<u8>>,
) -> Result<Request<Body>, Status> {
    let (mut parts, body) = request.into_parts();
    let message = match gather(body, limit, buffers).await {
        Ok(message) => message,
        Err(body) => return Ok(Request::from_parts(parts, body)),
    };
    let message =
        CompositeBatchRequest::decode(message).map_err(|error| malformed(&error.to_string()))?;
    parts.extensions.insert(message);
    let empty = Replayed {
        read: Bytes::from_static(&[0; PREFIX]),
        error: None,
        rest: Body::empty(),
    };
    Ok(Request::from_parts(parts, Body::new(empty)))
}

/// The one message of `body`; a body that gives the same again if there is anything unusual about it.
async fn gather(mut body: Body, limit: usize, buffers: &Pool<Vec<u8>>) -> Result<Bytes, Body> {
    let mut message = Message::new(buffers);
    let error = loop {
        let next = std::future::poll_fn(|cx| pin!(&mut body).poll_frame(cx)).await;
        match next.map(|next| next.map(Frame::into_data)) {
            // Copied as it comes, and freed: the next piece finds the memory of this one.
            Some(Ok(Ok(piece))) => {
                if !message.push(&piece, limit) {
                    break None;
                }
            }
            // Nothing in a request's trailers matters to anybody.
            Some(Ok(Err(_))) => (),
            Some(Err(error)) => break Some(error),
            None if message.is_whole() => return Ok(message.into_bytes().slice(PREFIX..)),
            None => break None,
        }
    };
    Err(Body::new(Replayed {
        read: message.into_bytes(),
        error,
        rest: body,
    }))
}

/// A message that comes in, its prefix included.
struct Message {
    /// Behind `start` bytes of nothing.
    bytes: Pooled<Vec<u8>>,
    start: usize,
    /// Whether `start` stays as it is.
    is_settled: bool,
}

impl Message {
    fn new(buffers: &Pool<Vec<u8>>) -> Self {
        let mut bytes = buffers.take();
        bytes.clear();
        Self {
            bytes,
            start: 0,
            is_settled: false,
        }
    }

    /// Takes a piece; gives whether this can still become one plain message of at most `limit` bytes.
    fn push(&mut self, piece: &[u8], limit: usize) -> bool {
        let is_begun = self.len().is_some();
        self.bytes.extend_from_slice(piece);
        let is_plain = self
            .read()
            .first()
            .is_none_or(|compressed| *compressed == 0);
        match self.len() {
            Some(len) if is_plain && len <= PREFIX + limit => {
                if !is_begun {
                    let missing = (len + FLOAT).saturating_sub(self.bytes.len());
                    self.bytes.reserve_exact(missing);
                }
                if !self.is_settled {
                    self.settle();
                }
                self.read().len() <= len
            }
            Some(_) => false,
            None => is_plain,
        }
    }

    /// Has the first tensor begin where a float may lie, once it is known where it begins.
    fn settle(&mut self) {
        if let Some(offset) = CompositeBatchRequest::first_tensor(&self.bytes[PREFIX..]) {
            let begin = self.bytes.as_ptr().addr() + PREFIX + offset;
            self.start = begin.next_multiple_of(FLOAT) - begin;
            self.bytes.splice(0..0, std::iter::repeat_n(0, self.start));
            self.is_settled = true;
        }
        // Moving more than this is not worth it.
        self.is_settled |= self.bytes.len() > SETTLED_AFTER;
    }

    fn read(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Bytes of the message with its prefix, once that is known.
    fn len(&self) -> Option<usize> {
        let [_, len @ ..] = self.read().first_chunk::<PREFIX>()?;
        Some(PREFIX + u32::from_be_bytes(*len) as usize)
    }

    fn is_whole(&self) -> bool {
        self.len() == Some(self.read().len())
    }

    fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self.bytes).slice(self.start..)
    }
}

/// A body that gives what was read of another, then the rest of that.
struct Replayed {
    read: Bytes,
    error: Option<Status>,
    rest: Body,
}

impl http_body::Body for Replayed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if !self.read.is_empty() {
            let read = std::mem::take(&mut self.read);
            return Poll::Ready(Some(Ok(Frame::data(read))));
        }
        if let Some(error) = self.error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        Pin::new(&mut self.rest).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.error.is_none() && self.rest.is_end_stream()
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
        block_on(received(Request::new(body), LIMIT, &Pool::new(1)))
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
    fn tensors_are_where_floats_may_lie_in_memory_that_is_used_again() {
        let buffers = Pool::new(1);
        for id in ["", "a", "bo", "ann", "jane"] {
            let sent = CompositeBatchRequest {
                model_id: id.to_owned(),
                ..request()
            };
            let body = body(&message(&sent), &[5, 7, 100, 1000, 2000]);
            let received = received(Request::new(body), LIMIT, &buffers);
            let mut request = block_on(received).unwrap();
            let read: CompositeBatchRequest = request.extensions_mut().remove().unwrap();
            let floats = read.visual_frames.to_slice();
            assert!(matches!(floats, std::borrow::Cow::Borrowed(_)), "{id}");
            assert_eq!(buffers.idle(), 0);
            drop(read);
            assert_eq!(buffers.idle(), 1);
        }
    }

    #[test]
    fn bytes_that_are_no_message_are_an_error() {
        let status = receive(body(&[0, 0, 0, 0, 2, 0xff, 0xff], &[])).unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
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
