//! The bytes of messages: how large one may be, how long it may take to come, and how much all that are here may take
//! together.
//!
//! gRPC writes a message's length before it. So a message is refused, or waits for memory, before more of it is read than
//! the window of its stream. What it took is given back when its call has ended; in a stream, when the next message is
//! asked for: a client that says no more holds nothing.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tonic::Status;

use crate::server::admission::auth::Rights;
use crate::server::grpc::status::Failure;

/// Before every gRPC message: a byte that tells of compression, and the message's length, big-endian.
const PREFIX: usize = 5;
/// Memory is counted in pieces of this size.
const PIECE: usize = 1 << 10;
/// Messages up to this size are not counted: there are never more of them than calls, lookups and streams.
const SMALL: usize = 64 << 10;

/// The memory for messages; cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::server) struct MessageMemory {
    free: Arc<Semaphore>,
    pieces: usize,
    wait: Duration,
}

impl MessageMemory {
    /// `bytes` in all; who finds none free waits for it at most `wait`.
    pub(in crate::server) fn new(bytes: usize, wait: Duration) -> Self {
        let pieces = bytes / PIECE;
        Self {
            free: Arc::new(Semaphore::new(pieces)),
            pieces,
            wait,
        }
    }

    async fn take(self, bytes: usize) -> Result<OwnedSemaphorePermit, Status> {
        // The memory holds the largest message; one that shares its first bytes with a small one may seem larger.
        let pieces = bytes.div_ceil(PIECE).min(self.pieces);
        let pieces = u32::try_from(pieces).unwrap_or(u32::MAX);
        let taken = tokio::time::timeout(self.wait, self.free.acquire_many_owned(pieces)).await;
        match taken {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(Failure::NoMessageMemory.status(Rights::Use)),
        }
    }
}

/// What the messages of one call hold; shared by its body and its answer.
pub(super) type Held = Arc<Mutex<Option<OwnedSemaphorePermit>>>;

/// What a call's messages must keep to.
#[derive(Clone, Debug)]
pub(super) struct MessageLimits {
    /// Bytes of one at most.
    pub(super) bytes_max: usize,
    /// The key that this limit is from, or what it is a limit of.
    pub(super) limit: &'static str,
    /// From a message's first byte to its last.
    pub(super) time: Duration,
    /// What all share.
    pub(super) memory: MessageMemory,
    /// How long a message is in use.
    pub(super) in_use: InUse,
}

/// How long a message that has been read is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InUse {
    /// It is what the call is about.
    UntilTheCallEnds,
    /// It is one of many, and has been taken over by whoever asks for the next.
    UntilTheNextIsAsked,
}

/// A request's body that keeps to its limits.
pub(super) struct Received<B> {
    body: B,
    limits: MessageLimits,
    held: Held,
    at: At,
    /// When the message that has begun must be whole.
    due: Option<Pin<Box<Sleep>>>,
    /// Data that waits for memory.
    waiting: Option<(
        Bytes,
        BoxFuture<'static, Result<OwnedSemaphorePermit, Status>>,
    )>,
    failed: bool,
}

/// Where in a message the body is.
#[derive(Clone, Copy, Debug)]
enum At {
    Prefix { bytes: [u8; PREFIX], count: usize },
    Message { left: usize },
}

/// Before a message.
const BETWEEN: At = At::Prefix {
    bytes: [0; PREFIX],
    count: 0,
};

impl<B> Received<B> {
    pub(super) fn new(body: B, limits: MessageLimits, held: Held) -> Self {
        Self {
            body,
            limits,
            held,
            at: BETWEEN,
            due: None,
            waiting: None,
            failed: false,
        }
    }

    /// Follows `data` through prefixes and messages; gives the bytes of the messages that begin in it.
    fn follow(&mut self, mut data: &[u8]) -> Result<usize, Status> {
        let mut begun = 0;
        while !data.is_empty() {
            match &mut self.at {
                At::Prefix { bytes, count } => {
                    let part = data.len().min(PREFIX - *count);
                    bytes[*count..*count + part].copy_from_slice(&data[..part]);
                    *count += part;
                    data = &data[part..];
                    if *count == PREFIX {
                        let [_, length @ ..] = *bytes;
                        let left = u32::from_be_bytes(length) as usize;
                        if left > self.limits.bytes_max {
                            let limit = self.limits.limit;
                            return Err(too_large(left, self.limits.bytes_max, limit));
                        }
                        begun += left;
                        self.at = if left == 0 {
                            BETWEEN
                        } else {
                            At::Message { left }
                        };
                    }
                }
                At::Message { left } => {
                    let part = data.len().min(*left);
                    *left -= part;
                    data = &data[part..];
                    if *left == 0 {
                        self.at = BETWEEN;
                    }
                }
            }
        }
        if self.is_between() {
            self.due = None;
        } else if self.due.is_none() || begun > 0 {
            let due = Instant::now() + self.limits.time;
            self.due = Some(Box::pin(tokio::time::sleep_until(due)));
        }
        Ok(begun)
    }

    fn is_between(&self) -> bool {
        matches!(self.at, At::Prefix { count: 0, .. })
    }

    fn hold(&self, permit: Option<OwnedSemaphorePermit>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }

    /// The data, if there is memory for what begins in it.
    fn with_memory(
        &mut self,
        data: Bytes,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let begun = match self.follow(&data) {
            Ok(begun) => begun,
            Err(status) => return self.fail(status),
        };
        if begun == 0 {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        // What came before has been read.
        self.hold(None);
        if begun <= SMALL {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let memory = self.limits.memory.clone();
        self.waiting = Some((data, Box::pin(memory.take(begun))));
        self.poll_waiting(cx)
    }

    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some((_, taking)) = &mut self.waiting else {
            return Poll::Pending;
        };
        let taken = ready!(taking.as_mut().poll(cx));
        let data = self.waiting.take().map(|(data, _)| data);
        match (taken, data) {
            (Ok(permit), Some(data)) => {
                self.hold(Some(permit));
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            (Err(status), _) => self.fail(status),
            (Ok(_), None) => Poll::Ready(None),
        }
    }

    fn fail<T>(&mut self, status: Status) -> Poll<Option<Result<T, Status>>> {
        self.failed = true;
        Poll::Ready(Some(Err(status)))
    }
}

fn too_large(bytes: usize, bytes_max: usize, limit: &str) -> Status {
    Status::out_of_range(format!(
        "the message has {bytes} bytes, more than the {bytes_max} of {limit}"
    ))
}

impl<B> Body for Received<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.failed {
            return Poll::Ready(None);
        }
        if self.waiting.is_some() {
            return self.poll_waiting(cx);
        }
        if self.limits.in_use == InUse::UntilTheNextIsAsked && self.is_between() {
            self.hold(None);
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => self.with_memory(data, cx),
                Err(trailers) => Poll::Ready(Some(Ok(trailers))),
            },
            Poll::Ready(Some(Err(error))) => self.fail(Status::from_error(error.into())),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let seconds = self.limits.time.as_secs_f64();
                if let Some(due) = &mut self.due
                    && due.as_mut().poll(cx).is_ready()
                {
                    return self.fail(Status::deadline_exceeded(format!(
                        "the message did not come whole within {seconds} s (server.message_timeout_seconds)"
                    )));
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests;
