//! What every call passes before its message is read: who calls, whether there is room, and until when.
//!
//! ```text
//! request ──> caller ──> drain? full? ──> deadline, stop ──> service ──> response, its body counted to the end
//! ```
//!
//! A refused call costs its headers, not its 61 MB of tensors. A client that goes away drops the future or the body
//! here, and with it everything the call has under way.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use tonic::body::Body;
use tonic::transport::server::TcpConnectInfo;
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::server::admission::auth::Caller;
use crate::server::admission::in_flight::Place;
use crate::server::admission::rpc::{Kind, Rpc};
use crate::server::grpc::status::Failure;
use crate::server::observe::metrics::Metrics;
use crate::server::state::{Phase, ServerState};
use crate::wire;

/// tonic runs the client's deadline too, and answers `CANCELLED` where `DEADLINE_EXCEEDED` is the word: ours comes first.
const AHEAD: Duration = Duration::from_millis(2);

/// What the gate found out about a call; in the request's extensions.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Call {
    /// Who calls.
    pub(in crate::server) caller: Caller,
    /// When its headers were here.
    pub(in crate::server) arrival: Instant,
    /// When its answer is of no use any more.
    pub(in crate::server) deadline: Option<Instant>,
    /// How it wants to be told of errors.
    pub(in crate::server) errors: ErrorStyle,
}

/// How a call wants to be told of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum ErrorStyle {
    /// In the response, with status OK: what the original did.
    InBand,
    /// As a gRPC status with details.
    Status,
}

/// The code of an error that was told in-band; in the response's extensions, for the metrics.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct ToldInBand(pub(in crate::server) Code);

/// Puts a [`Gate`] before services.
#[derive(Clone, Debug)]
pub(in crate::server) struct GateLayer(pub(in crate::server) Arc<ServerState>);

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate {
            inner,
            state: Arc::clone(&self.0),
        }
    }
}

/// The gate before the two services; health checks and reflection pass freely.
#[derive(Clone, Debug)]
pub(in crate::server) struct Gate<S> {
    inner: S,
    state: Arc<ServerState>,
}

impl<S> Service<Request<Body>> for Gate<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Some(rpc) = Rpc::at(request.uri().path()) else {
            return Box::pin(self.inner.call(request));
        };
        let tally = Tally::new(rpc, self.state.metrics().clone());
        let (call, place) = match admit(&self.state, rpc, &request) {
            Ok(admitted) => admitted,
            Err((failure, rights)) => {
                self.state.metrics().rejected(failure.reason());
                let response = failure.status(rights).into_http();
                return Box::pin(async move { Ok(tally.follow(response, None)) });
            }
        };
        request.extensions_mut().insert(call);
        let stopped = self.state.reached(Phase::Stopped);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let failure = tokio::select! {
                biased;
                response = answer => return Ok(tally.follow(response?, place)),
                () = passed(call.deadline) => Failure::DeadlineExceeded,
                () = stopped => Failure::Stopped,
            };
            let response = failure.status(call.caller.rights).into_http();
            Ok(tally.follow(response, place))
        })
    }
}

/// Lets a call in, or says why not, in words for these rights.
fn admit<B>(
    state: &ServerState,
    rpc: Rpc,
    request: &Request<B>,
) -> Result<(Call, Option<Place>), (Failure, crate::server::admission::auth::Rights)> {
    let arrival = Instant::now();
    let headers = request.headers();
    let peer = request
        .extensions()
        .get::<TcpConnectInfo>()
        .and_then(TcpConnectInfo::remote_addr);
    let settings = state.settings();
    let caller = settings
        .auth
        .caller(headers, peer)
        .map_err(|failure| (failure, crate::server::admission::auth::Rights::Use))?;
    let refuse = |failure| (failure, caller.rights);
    if rpc.operates && !caller.rights.may_operate() {
        return Err(refuse(Failure::Forbidden));
    }
    let place = match rpc.kind {
        Kind::Look => None,
        Kind::Work => Some(state.enter_call().map_err(refuse)?),
        Kind::Stream => Some(state.enter_stream().map_err(refuse)?),
    };
    let timeout = client_timeout(headers).map(|timeout| timeout.saturating_sub(AHEAD));
    let timeout = match rpc.kind {
        Kind::Stream => timeout,
        Kind::Look | Kind::Work => timeout.or(settings.config.server.request_timeout),
    };
    let call = Call {
        caller,
        arrival,
        deadline: timeout.and_then(|timeout| arrival.checked_add(timeout)),
        errors: error_style(headers),
    };
    Ok((call, place))
}

fn error_style(headers: &HeaderMap) -> ErrorStyle {
    let asked = headers
        .get(wire::ERRORS_KEY)
        .map(http::HeaderValue::as_bytes);
    if asked == Some(wire::STATUS_ERRORS.as_bytes()) {
        ErrorStyle::Status
    } else {
        ErrorStyle::InBand
    }
}

/// The metadata `grpc-timeout`: up to 8 digits and a unit. One that is none of that is ignored.
fn client_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// Counts a call when it has ended, however it ended.
struct Tally {
    rpc: Rpc,
    metrics: Metrics,
    started: Instant,
    /// CANCELLED until something else is known: a future or body that is dropped had a client that went away.
    code: Code,
}

impl Tally {
    fn new(rpc: Rpc, metrics: Metrics) -> Self {
        Self {
            rpc,
            metrics,
            started: Instant::now(),
            code: Code::Cancelled,
        }
    }

    /// Keeps count, and the place, until the response's last byte is on its way.
    fn follow(mut self, response: Response<Body>, place: Option<Place>) -> Response<Body> {
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
                guard: Some((self, place)),
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
    guard: Option<(Tally, Option<Place>)>,
}

impl http_body::Body for Followed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        let timeout = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            client_timeout(&headers)
        };
        assert_eq!(timeout("1S"), Some(Duration::from_secs(1)));
        assert_eq!(timeout("99999999H"), Some(Duration::from_hours(99_999_999)));
        assert_eq!(timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(timeout("7u"), Some(Duration::from_micros(7)));
        for wrong in ["", "S", "1", "1x", "-1S", "123456789S", "1.5S"] {
            assert_eq!(timeout(wrong), None, "{wrong}");
        }
    }
}
