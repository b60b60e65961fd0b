//! Counts calls when they have ended, and keeps their places until then.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use http_body::{Body as _, Frame, SizeHint};
use tonic::body::Body;
use tonic::{Code, Status};

use crate::server::admission::gate::ToldInBand;
use crate::server::admission::in_flight::Place;
use crate::server::admission::messages::Held;
use crate::server::admission::rpc::Rpc;
use crate::server::connections::CallEnd;
use crate::server::observe::metrics::Metrics;

/// What a call holds until its answer has been taken.
#[derive(Debug, Default)]
#[expect(dead_code, reason = "held, not read")]
pub(super) struct Guards {
    pub(super) place: Option<Place>,
    pub(super) held: Option<Held>,
}

/// Counts a call when it has ended, however it ended.
#[derive(Debug)]
pub(in crate::server) struct Tally {
    rpc: Rpc,
    metrics: Metrics,
    started: Instant,
    /// CANCELLED until something else is known: a future or body that is dropped had a client that went away.
    code: Code,
}

impl Tally {
    /// Begins to count.
    pub(in crate::server) fn new(rpc: Rpc, metrics: Metrics) -> Self {
        Self {
            rpc,
            metrics,
            started: Instant::now(),
            code: Code::Cancelled,
        }
    }

    /// The call ends with `code`.
    pub(in crate::server) fn ends_with(mut self, code: Code) {
        self.code = code;
    }

    /// Keeps count, and what the call holds, until the response's last byte is on its way. A client that does not ask
    /// for the next piece within `stall` has its call ended.
    pub(super) fn follow(
        mut self,
        response: Response<Body>,
        guards: Guards,
        stall: Duration,
    ) -> Response<Body> {
        let known = response.extensions().get().map(|ToldInBand(code)| *code);
        // An error without a body has its status in the headers.
        let told = Status::from_header_map(response.headers()).map(|status| status.code());
        let in_band = known.is_some();
        if let Some(code) = known.or(told) {
            self.code = code;
        }
        response.map(|body| {
            let ended = body.is_end_stream();
            let followed = Followed {
                body,
                in_band,
                guard: Some((self, guards)),
                end: CallEnd::current(),
                stall,
            };
            if ended {
                Body::empty()
            } else {
                Body::new(followed)
            }
        })
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.metrics
            .answered(self.rpc.name, self.code, self.started.elapsed());
        tracing::debug!(
            rpc = self.rpc.name,
            code = ?self.code,
            ms = self.started.elapsed().as_secs_f64() * 1e3,
            "call"
        );
    }
}

/// A response body that keeps its call counted.
struct Followed {
    body: Body,
    in_band: bool,
    guard: Option<(Tally, Guards)>,
    end: Arc<CallEnd>,
    stall: Duration,
}

impl http_body::Body for Followed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.end.asked();
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.as_ref().is_some_and(Result::is_ok) {
            self.end.handed_over(self.stall);
        }
        let status = match &frame {
            Some(Ok(frame)) => frame.trailers_ref().and_then(Status::from_header_map),
            Some(Err(status)) => Some(status.clone()),
            None => None,
        };
        let in_band = self.in_band;
        if let Some((tally, _)) = &mut self.guard
            && let Some(status) = status
            && !in_band
        {
            tally.code = status.code();
        }
        if frame.is_none() {
            self.guard = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
