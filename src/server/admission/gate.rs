//! What every call passes before its message is read: who calls, whether there is room, and until when.
//!
//! ```text
//! request ──> caller ──> drain? full? ──> deadline, stop ──> service ──> response, its body counted to the end
//! ```
//!
//! A refused call costs its headers, not its 61 MB of tensors. A client that goes away drops the future or the body
//! here, and with it everything the call has under way.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use tonic::Code;
use tonic::body::Body;
use tonic::transport::server::TcpConnectInfo;
use tower::{Layer, Service};

use crate::server::admission::admit::{Refused, admit};
use crate::server::admission::auth::Caller;
use crate::server::admission::in_flight::Place;
use crate::server::admission::rpc::{Kind, Rpc};
use crate::server::admission::tally::Tally;
use crate::server::grpc::status::Failure;
use crate::server::state::{Phase, ServerState};
use crate::wire;

/// tonic runs the client's deadline too, and answers `CANCELLED` where `DEADLINE_EXCEEDED` is the word: ours comes first.
const AHEAD: Duration = Duration::from_millis(2);

/// What the gate found out about a call; in the request's extensions.
#[derive(Clone, Debug)]
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
        let (call, place) = match enter(&self.state, rpc, &request) {
            Ok(entered) => entered,
            Err(refused) => {
                let response = refused.failure.status(refused.rights).into_http();
                return Box::pin(async move { Ok(tally.follow(response, None)) });
            }
        };
        let (deadline, rights) = (call.deadline, call.caller.rights);
        request.extensions_mut().insert(call);
        let stopped = self.state.reached(Phase::Stopped);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let failure = tokio::select! {
                biased;
                response = answer => return Ok(tally.follow(response?, place)),
                () = passed(deadline) => Failure::DeadlineExceeded,
                () = stopped => Failure::Stopped,
            };
            let response = failure.status(rights).into_http();
            Ok(tally.follow(response, place))
        })
    }
}

/// Lets a call in, or says why not, in words for its caller's rights.
fn enter<B>(
    state: &ServerState,
    rpc: Rpc,
    request: &Request<B>,
) -> Result<(Call, Option<Place>), Refused> {
    let arrival = Instant::now();
    let headers = request.headers();
    let peer = request
        .extensions()
        .get::<TcpConnectInfo>()
        .and_then(TcpConnectInfo::remote_addr);
    let settings = state.settings();
    let admitted = admit(state, rpc, settings.auth.caller(headers, peer))?;
    let timeout = client_timeout(headers).map(|timeout| timeout.saturating_sub(AHEAD));
    let timeout = match rpc.kind {
        Kind::Stream => timeout,
        Kind::Look | Kind::Work => timeout.or(settings.config.server.request_timeout),
    };
    let call = Call {
        caller: admitted.caller,
        arrival,
        deadline: timeout.and_then(|timeout| arrival.checked_add(timeout)),
        errors: error_style(headers),
    };
    Ok((call, admitted.place))
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

/// Waits for a deadline; for ever where there is none.
pub(in crate::server) async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
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
