//! Connections: accepted within limits, served, and ended when they are idle or the server is.
//!
//! ```text
//! accept ──> a place? ──> first call in time? ──> calls ──> idle for long, or the server stops ──> ended in order
//! ```
//!
//! HTTP/2 and HTTP/1 are hyper's. What is ours is that a connection holds a place only as long as it is good for
//! something, and that a call whose client does not take the answer ends ([`CallEnd`]).

mod call_end;
mod listener;
mod places;

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, pending, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::ConnectInfo;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1::{self, UpgradeableConnection};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tower::Service;

pub(super) use call_end::CallEnd;
use call_end::Calls;
pub(super) use listener::Acceptor;
use listener::Connection;

use crate::config;
use crate::server::state::{Phase, ServerState};

/// The largest HTTP/2 frame that is taken: every frame costs a wake-up, and HTTP/2 allows 16 KiB unless told otherwise.
/// Larger ones than this gain little more, and a connection holds one.
const FRAME_BYTES: u32 = 256 << 10;
/// Bytes of a call's headers at most.
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// Streams that a client has reset before they were looked at; one that makes more is disconnected.
const RESETS_MAX: usize = 64;
/// How long a connection that is told to end may take for it when it has no calls.
const CLOSING: Duration = Duration::from_secs(5);

/// Who is at the other end of a connection; in every request's extensions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// The protocol that a port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Accepts connections and serves them with `service` until the server is stopped, then waits for them to end.
pub(super) fn serve<S, B>(
    state: &Arc<ServerState>,
    acceptor: Acceptor,
    protocol: Protocol,
    service: S,
) -> JoinHandle<()>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let stopped = state.reached(Phase::Stopped);
    let settings = Settings::new(&state.settings().config.server);
    tokio::spawn(async move {
        let mut open = JoinSet::new();
        let (stop, stopping) = watch::channel(false);
        let mut stopped = pin!(stopped);
        loop {
            tokio::select! {
                biased;
                () = &mut stopped => break,
                // What has ended is forgotten.
                Some(_) = open.join_next() => (),
                (connection, peer) = acceptor.next() => {
                    let life = Life::new(&settings, stopping.clone());
                    let service = service.clone();
                    open.spawn(serve_one(connection, protocol, service, Peer(peer), settings, life));
                }
            }
        }
        drop(acceptor);
        stop.send_replace(true);
        while open.join_next().await.is_some() {}
    })
}

/// What all connections of a port have in common.
#[derive(Clone, Copy, Debug)]
struct Settings {
    limits: config::Connections,
    keepalive: Option<Duration>,
    keepalive_timeout: Duration,
}

impl Settings {
    fn new(server: &config::Server) -> Self {
        Self {
            limits: server.connections,
            keepalive: server.keepalive,
            keepalive_timeout: server.keepalive_timeout,
        }
    }
}

async fn serve_one<S, B>(
    connection: Connection,
    protocol: Protocol,
    service: S,
    peer: Peer,
    settings: Settings,
    life: Life,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let calls = Arc::clone(&life.calls);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(ConnectInfo(peer));
        let open = OpenCall::new(Arc::clone(&calls));
        let mut service = service.clone();
        async move {
            poll_fn(|cx| service.poll_ready(cx)).await?;
            let response = service.call(request).await?;
            Ok::<_, Infallible>(response.map(|body| Kept { body, _open: open }))
        }
    });
    let io = TokioIo::new(connection);
    match protocol {
        Protocol::Http1 => {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(settings.limits.first_call)
                .serve_connection(io, service)
                .with_upgrades();
            life.run(connection, UpgradeableConnection::graceful_shutdown)
                .await;
        }
        Protocol::Http2 => {
            let connection = http2::Builder::new(Calls)
                .timer(TokioTimer::new())
                .max_concurrent_streams(settings.limits.calls as u32)
                .initial_stream_window_size(settings.limits.stream_window_bytes as u32)
                .initial_connection_window_size(settings.limits.window_bytes as u32)
                .max_frame_size(FRAME_BYTES)
                .max_header_list_size(HEADER_BYTES_MAX)
                .max_pending_accept_reset_streams(RESETS_MAX)
                .keep_alive_interval(settings.keepalive)
                .keep_alive_timeout(settings.keepalive_timeout)
                .serve_connection(io, service);
            life.run(connection, http2::Connection::graceful_shutdown)
                .await;
        }
    }
}

/// How long a connection lives.
struct Life {
    first_call: Duration,
    idle: Option<Duration>,
    stopping: watch::Receiver<bool>,
    calls: Arc<watch::Sender<Open>>,
}

/// The calls of a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    now: usize,
    /// Whether there ever was one.
    any: bool,
}

impl Life {
    fn new(settings: &Settings, stopping: watch::Receiver<bool>) -> Self {
        Self {
            first_call: settings.limits.first_call,
            idle: settings.limits.idle,
            stopping,
            calls: Arc::default(),
        }
    }

    /// Drives `connection` until it ends, or is idle for too long, or the server stops; then lets its calls finish.
    async fn run<C, E>(mut self, connection: C, close: impl FnOnce(Pin<&mut C>))
    where
        C: Future<Output = Result<(), E>>,
        E: Error,
    {
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => Some(ended),
            () = self.over() => None,
        };
        let ended = if let Some(ended) = ended {
            ended
        } else {
            close(connection.as_mut());
            loop {
                match timeout(CLOSING, connection.as_mut()).await {
                    Ok(ended) => break ended,
                    Err(_) if self.calls.borrow().now == 0 => return,
                    Err(_) => (),
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke");
        }
    }

    /// Waits until nothing is to be expected of the connection any more.
    async fn over(&mut self) {
        let mut calls = self.calls.subscribe();
        let idle = async {
            loop {
                let open = *calls.borrow_and_update();
                let limit = match open {
                    Open { now: 0, any: false } => Some(self.first_call),
                    Open { now: 0, any: true } => self.idle,
                    Open { .. } => None,
                };
                let passed = async {
                    match limit {
                        Some(limit) => tokio::time::sleep(limit).await,
                        None => pending().await,
                    }
                };
                tokio::select! {
                    () = passed => return,
                    // `self` holds the sender.
                    _ = calls.changed() => (),
                }
            }
        };
        tokio::select! {
            _ = self.stopping.wait_for(|stopping| *stopping) => (),
            () = idle => (),
        }
    }
}

/// A call of a connection, from its headers to the end of its answer.
struct OpenCall(Arc<watch::Sender<Open>>);

impl OpenCall {
    fn new(calls: Arc<watch::Sender<Open>>) -> Self {
        calls.send_modify(|open| {
            open.now += 1;
            open.any = true;
        });
        Self(calls)
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.send_modify(|open| open.now -= 1);
    }
}

/// An answer whose call is open until it is dropped.
struct Kept<B> {
    body: B,
    _open: OpenCall,
}

impl<B: Body + Unpin> Body for Kept<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
