//! What is large passes tonic by: tensors on their way in, frames on their way out.
//!
//! tonic gathers a message in one buffer before it reads it, and writes one into another: tens of megabytes copied once
//! more in each direction. Around the one service that needs it, [`Bulk`] reads `InferBatchComposite`'s request itself
//! (`tensors`) and lets the frames join the response behind tonic's back (`frames`); both travel in the extensions. All
//! else, errors included, is tonic's.

mod request;
mod response;

use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

pub(in crate::server) use response::Frames;

use crate::frame::pool::Pool;

/// The path of the call whose messages are large.
const PATH: &str = "/lipsync.MultiTenantLipSync/InferBatchComposite";
/// Before every gRPC message: a byte that tells of compression, and the message's length, big-endian.
const PREFIX: usize = 5;
/// Requests' buffers that stay for the next, each of the largest request's size: memory that the system would have to
/// clear first costs more than the copy into it.
const BUFFERS_KEPT: usize = 2;

/// Carries tensors and frames around the service in it.
#[derive(Clone, Debug)]
pub(in crate::server) struct Bulk<S> {
    inner: S,
    message_bytes_max: usize,
    /// What requests are read into.
    buffers: Pool<Vec<u8>>,
}

impl<S> Bulk<S> {
    /// Requests beyond `message_bytes_max` are left to `inner` to refuse.
    pub(in crate::server) fn new(inner: S, message_bytes_max: usize) -> Self {
        Self {
            inner,
            message_bytes_max,
            buffers: Pool::new(BUFFERS_KEPT),
        }
    }
}

impl<S: NamedService> NamedService for Bulk<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Bulk<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() != PATH {
            return self.inner.call(request).boxed();
        }
        // The one that is ready is called; the copy takes its place.
        let copy = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, copy);
        let (limit, buffers) = (self.message_bytes_max, self.buffers.clone());
        async move {
            match request::received(request, limit, &buffers).await {
                Ok(request) => inner.call(request).await.map(response::joined),
                Err(status) => Ok(status.into_http()),
            }
        }
        .boxed()
    }
}
