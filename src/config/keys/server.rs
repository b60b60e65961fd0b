//! `server`: addresses, limits and times.

use std::path::Path;

use super::{MIB, count, resolve, unless_zero};
use crate::config::reader::Section;
use crate::config::{Listen, Server};

/// Keys that the original server has in `server` and that are about the networks.
#[derive(Clone, Copy, Debug)]
pub(super) struct OriginalKeys {
    pub(super) worker_count: Option<usize>,
    pub(super) queue_size: Option<usize>,
}

/// Reads the section.
pub(super) fn read(mut s: Section<'_, '_>, base: &Path) -> (Server, OriginalKeys) {
    let (listen, http) = addresses(&mut s);
    let server = Server {
        listen,
        http,
        max_message_bytes: (s.integer(
            "max_message_size_mb",
            200,
            1..=2047,
            "largest gRPC message, received or sent; a batch of 25 ready-made visual tensors takes 59 MB",
        ) * MIB) as usize,
        max_connections: s.integer("max_connections", 1024, 1..=65_536, "connections open at once on each port; more wait to be accepted") as usize,
        max_concurrent_requests: s.integer(
            "max_concurrent_requests",
            64,
            1..=65_536,
            "calls in progress at once; more are refused with RESOURCE_EXHAUSTED",
        ) as usize,
        max_streams: s.integer(
            "max_streams",
            256,
            1..=65_536,
            "Talk streams open at once; more are refused with RESOURCE_EXHAUSTED",
        ) as usize,
        tokens_file: s
            .path(
                "tokens_file",
                "none: everybody may call",
                "who may call: lines of `user NAME TOKEN` or `admin NAME TOKEN`",
            )
            .map(|path| resolve(base, path)),
        stream_audio_bytes: (s.number(
            "stream_audio_mb",
            4.0,
            0.0625..=1024.0,
            "audio that a Talk stream may hold ahead of its frames; a client that is faster is no longer read from",
        ) * MIB as f64) as usize,
        request_timeout: unless_zero(s.seconds(
            "request_timeout_seconds",
            120.0,
            0.0..=86_400.0,
            "longest time for a unary call that brings no deadline of its own; 0: no limit",
        )),
        drain_notice: s.seconds(
            "drain_notice_seconds",
            0.0,
            0.0..=300.0,
            "how long new calls are still taken after a stop signal while /readyz and health checks fail already: \
             longer than a load balancer takes to notice",
        ),
        drain: s.seconds(
            "drain_seconds",
            30.0,
            0.0..=3600.0,
            "time for work in progress to finish after a stop signal",
        ),
        keepalive: unless_zero(s.seconds(
            "keepalive_seconds",
            30.0,
            0.0..=86_400.0,
            "pause between pings on a quiet connection, HTTP/2 or WebSocket, so that vanished clients are noticed; 0: no pings",
        )),
        keepalive_timeout: s.seconds(
            "keepalive_timeout_seconds",
            20.0,
            1.0..=3600.0,
            "how long a ping may stay unanswered before the connection is closed",
        ),
    };
    let original = original_keys(&mut s);
    s.finish();
    (server, original)
}

/// Where gRPC and HTTP listen.
fn addresses(s: &mut Section<'_, '_>) -> (Listen, Option<Listen>) {
    let grpc = Listen {
        host: None,
        port: 50053,
    };
    let http = Listen {
        host: Some("127.0.0.1".to_owned()),
        port: 8080,
    };
    let address = "port, \":port\" (every interface) or \"host:port\"";
    let listen = s.listen("port", &grpc, address, "where gRPC listens");
    if listen.is_none() {
        s.conflict(
            "port",
            &0,
            "gRPC cannot be switched off",
            "write \"127.0.0.1:0\" for any free port",
        );
    }
    let page = "where the page, the probes and the metrics are served over HTTP; a bare port is on 127.0.0.1; 0 or off: nowhere";
    let http = s.listen("http_port", &http, "port, \"host:port\" or off", page);
    let listen = listen.unwrap_or(grpc);
    if http
        .as_ref()
        .is_some_and(|http| http.port == listen.port && http.port != 0)
    {
        s.conflict(
            "http_port",
            &listen.port,
            "gRPC listens on this port already (`server.port`)",
            "choose another port, or off",
        );
    }
    (listen, http)
}

fn original_keys(s: &mut Section<'_, '_>) -> OriginalKeys {
    OriginalKeys {
        worker_count: count(s.optional_integer(
            "worker_count",
            "not set",
            1..=256,
            "the original's key for `onnx.sessions_per_model`; on a CPU at most one a core",
        )),
        queue_size: count(s.optional_integer(
            "queue_size",
            "not set",
            1..=1_000_000,
            "the original's key for `onnx.queue_frames`, which begins at 25: a smaller one means 25",
        )),
    }
}
