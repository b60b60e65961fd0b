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

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use tonic::Code;
use tonic::body::Body;
use tower::Service;

use crate::server::admission::admit::{Refused, admit};
use crate::server::admission::auth::Caller;
use crate::server::admission::in_flight::Place;
use crate::server::admission::messages::{Held, InUse, MessageLimits, Received};
use crate::server::admission::rpc::{Kind, Rpc};
use crate::server::admission::tally::{Guards, Tally};
use crate::server::connections::{CallEnd, Peer};
use crate::server::grpc::status::{self, Failure};
use crate::server::state::{Phase, ServerState};
use crate::wire;

/// Bytes of a message that asks or tells, and carries no tensors and no audio.
const SMALL_MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Bytes of a Talk message: a minute of 48 kHz audio as floats.
const TALK_MESSAGE_BYTES_MAX: usize = 16 << 20;
/// What a call whose deadline has passed has for being told so.
const GRACE: Duration = Duration::from_secs(1);
/// Characters of an unknown path that are told back.
const PATH_CHARS_MAX: usize = 200;

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

/// The gate before all services.
#[derive(Clone, Debug)]
pub(in crate::server) struct Gate<S> {
    inner: S,
    state: Arc<ServerState>,
}

impl<S> Gate<S> {
    pub(in crate::server) fn new(state: Arc<ServerState>, inner: S) -> Self {
        Self { inner, state }
    }
}

impl<S, B> Service<Request<B>> for Gate<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let rpc = Rpc::at(request.uri().path());
        let tally = Tally::new(rpc, self.state.metrics().clone());
        let stall = self.state.settings().config.server.messages.answer_stall;
        let (call, place) = match enter(&self.state, rpc, &request) {
            Ok(entered) => entered,
            Err(refused) => {
                let response = refused.failure.status(refused.rights).into_http();
                return Box::pin(
                    async move { Ok(tally.follow(response, Guards::default(), stall)) },
                );
            }
        };
        let (deadline, rights) = (call.deadline, call.caller.rights);
        let held = Held::default();
        let limits = message_limits(&self.state, rpc);
        let mut request =
            request.map(|body| Body::new(Received::new(body, limits, Arc::clone(&held))));
        request.extensions_mut().insert(call);
        let guards = Guards {
            place,
            held: Some(held),
        };
        let stopped = self.state.reached(Phase::Stopped);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answered = tokio::select! {
                biased;
                response = answer => Ok(status::malformed_is_the_clients(response?)),
                () = passed(deadline) => Err(Failure::DeadlineExceeded),
                () = stopped => Err(Failure::Stopped),
            };
            let response = answered.unwrap_or_else(|failure| failure.status(rights).into_http());
            if let Some(deadline) = deadline
                && rpc.kind != Kind::Stream
            {
                // The answer has to be taken by then, too.
                CallEnd::current().set_deadline(deadline.max(Instant::now() + GRACE));
            }
            Ok(tally.follow(response, guards, stall))
        })
    }
}

/// What the messages of a call must keep to.
fn message_limits(state: &ServerState, rpc: Rpc) -> MessageLimits {
    let settings = state.settings();
    let server = &settings.config.server;
    let largest = state.message_bytes_max();
    let (bytes_max, limit) = match rpc.kind {
        _ if rpc.is_batch() => (largest, "server.max_message_size_mb"),
        Kind::Stream => (largest.min(TALK_MESSAGE_BYTES_MAX), "a Talk message"),
        Kind::Look | Kind::Work | Kind::Watch => (SMALL_MESSAGE_BYTES_MAX, "such a call"),
    };
    MessageLimits {
        bytes_max,
        limit,
        time: server.messages.timeout,
        memory: state.messages().clone(),
        in_use: match rpc.kind {
            Kind::Stream | Kind::Watch => InUse::UntilTheNextIsAsked,
            Kind::Look | Kind::Work => InUse::UntilTheCallEnds,
        },
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
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    let settings = state.settings();
    let caller = if rpc.is_unknown() {
        let path = request.uri().path().chars().take(PATH_CHARS_MAX);
        Err(Failure::UnknownMethod(path.collect()))
    } else if rpc.is_open {
        Ok(settings.auth.anyone(headers, peer))
    } else {
        settings.auth.caller(headers, peer)
    };
    let admitted = admit(state, rpc, caller)?;
    let asked = client_timeout(headers);
    let timeout = match rpc.kind {
        Kind::Stream | Kind::Watch => asked,
        // Whatever the client asks for: never longer than the server allows.
        Kind::Look | Kind::Work => {
            let most = settings.config.server.request_timeout;
            [asked, most].into_iter().flatten().min()
        }
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
