//! `server`: addresses, limits and times.

use std::path::{Path, PathBuf};

use super::{MIB, count, resolve, unless_zero};
use crate::config::reader::Section;
use crate::config::{Connections, Listen, Messages, Server};

/// Keys that the original server has in `server` and that are about the networks.
#[derive(Clone, Copy, Debug)]
pub(super) struct OriginalKeys {
    pub(super) worker_count: Option<usize>,
    pub(super) queue_size: Option<usize>,
}

/// Reads the section.
pub(super) fn read(mut s: Section<'_, '_>, base: &Path) -> (Server, OriginalKeys) {
    let (listen, http, metrics) = addresses(&mut s);
    let (max_message_bytes, messages) = messages(&mut s);
    let server = Server {
        listen,
        http,
        metrics,
        max_message_bytes,
        messages,
        connections: connections(&mut s),
        max_connections: s.integer("max_connections", 1024, 1..=65_536, "connections open at once on each port; more are closed") as usize,
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
        tokens_file: file(
            &mut s,
            base,
            ["tokens_file", "none: everybody may call", "who may call: lines of `user NAME TOKEN` or `admin NAME TOKEN`"],
        ),
        tenants_file: file(
            &mut s,
            base,
            ["tenants_file", "none", "more tenants, in a file with the sections `tenants` and `tenant_defaults`"],
        ),
        usage_journal: file(
            &mut s,
            base,
            [
                "usage_journal",
                "none: since the start only",
                "a file that keeps what each tenant used, exact also after a crash of the server; it is made if need be",
            ],
        ),
        trusted_proxies: super::tenants::networks(
            &mut s,
            "trusted_proxies",
            "addresses of proxies, such as 10.0.0.0/8, whose x-forwarded-for and x-tenant are believed",
        ),
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
            "longest time for a unary call, its answer included, whatever deadline it brings; 0: as long as the client likes",
        )),
        max_concurrent_lookups: s.integer(
            "max_concurrent_lookups",
            256,
            1..=65_536,
            "calls in progress at once that only look (lists, figures, health); more are refused with RESOURCE_EXHAUSTED",
        ) as usize,
        max_watches: s.integer(
            "max_watches",
            64,
            1..=65_536,
            "health watches and reflections open at once; more are refused with RESOURCE_EXHAUSTED",
        ) as usize,
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

/// How large a message may be, and what all may take.
fn messages(s: &mut Section<'_, '_>) -> (usize, Messages) {
    let largest_mb = s.integer(
        "max_message_size_mb",
        200,
        1..=2047,
        "largest gRPC message, received or sent; a batch of 25 ready-made visual tensors takes 59 MB",
    );
    let memory_mb = s.integer(
        "message_memory_mb",
        1024,
        1..=1_048_576,
        "memory that the messages being received and answered may take together, beyond 64 KiB each",
    );
    if memory_mb < largest_mb {
        s.conflict(
            "message_memory_mb",
            &memory_mb,
            "the largest message does not fit (`server.max_message_size_mb`)",
            "raise it, or lower max_message_size_mb",
        );
    }
    let messages = Messages {
        memory_bytes: (memory_mb * MIB) as usize,
        wait: s.seconds(
            "message_wait_seconds",
            5.0,
            0.0..=600.0,
            "how long a message waits for memory that others take; then RESOURCE_EXHAUSTED",
        ),
        timeout: s.seconds(
            "message_timeout_seconds",
            60.0,
            1.0..=86_400.0,
            "longest time from a message's first byte to its last",
        ),
        answer_stall: s.seconds(
            "answer_stall_seconds",
            30.0,
            1.0..=3600.0,
            "how long a client may leave a piece of its answer untaken before its call is ended",
        ),
    };
    ((largest_mb * MIB) as usize, messages)
}

/// What a connection may take.
fn connections(s: &mut Section<'_, '_>) -> Connections {
    let stream_window_kb = s.integer(
        "stream_window_kb",
        1024,
        64..=1_048_576,
        "what a caller may send of one call before the server has read it",
    );
    let connection_window_kb = s.integer(
        "connection_window_kb",
        2048,
        64..=1_048_576,
        "the same of all calls of a connection: connections times this is what unread bytes can take",
    );
    if connection_window_kb < stream_window_kb {
        s.conflict(
            "connection_window_kb",
            &connection_window_kb,
            "it is smaller than `server.stream_window_kb`",
            "raise it, or lower stream_window_kb",
        );
    }
    Connections {
        per_address: s.integer(
            "max_connections_per_address",
            256,
            1..=65_536,
            "connections open at once from one address (of IPv6: one /64) on each port; this machine's own are not counted",
        ) as usize,
        calls: s.integer(
            "max_calls_per_connection",
            256,
            1..=65_536,
            "calls and streams that one connection may have open at once; more wait at the client",
        ) as usize,
        first_call: s.seconds(
            "first_call_seconds",
            10.0,
            0.1..=3600.0,
            "how long a new connection may take to bring its first call, and a request over HTTP/1 to bring its headers",
        ),
        idle: unless_zero(s.seconds(
            "idle_connection_seconds",
            600.0,
            0.0..=86_400.0,
            "a connection without a call for this long is closed; 0: never",
        )),
        stream_window_bytes: (stream_window_kb << 10) as usize,
        window_bytes: (connection_window_kb << 10) as usize,
    }
}

/// Where gRPC, the page and the metrics are served.
fn addresses(s: &mut Section<'_, '_>) -> (Listen, Option<Listen>, Option<Listen>) {
    let local = |port| Listen {
        host: Some("127.0.0.1".to_owned()),
        port,
    };
    let grpc = Listen {
        host: None,
        port: 50053,
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
    let listen = listen.unwrap_or(grpc);
    let kind = "port, \"host:port\" or off";
    let http = s.listen(
        "http_port",
        &local(8080),
        kind,
        "where the page and the probes are served over HTTP; a bare port is on 127.0.0.1; 0 or off: nowhere",
    );
    let metrics = s.listen(
        "metrics_port",
        &local(9090),
        kind,
        "where the metrics and the probes are served over HTTP, to whoever reaches the port; a bare port is on 127.0.0.1; \
         0 or off: nowhere",
    );
    let taken = |other: &Option<Listen>, port: u16| {
        let other = other.as_ref();
        other.is_some_and(|other| other.port == port && port != 0)
    };
    let said = "choose another port, or off";
    if taken(&http, listen.port) {
        let problem = "gRPC listens on this port already (`server.port`)";
        s.conflict("http_port", &listen.port, problem, said);
    }
    if taken(&metrics, listen.port) {
        let problem = "gRPC listens on this port already (`server.port`)";
        s.conflict("metrics_port", &listen.port, problem, said);
    }
    if let Some(http) = http.as_ref().filter(|http| taken(&metrics, http.port)) {
        let problem = "the page is on this port already (`server.http_port`)";
        s.conflict("metrics_port", &http.port, problem, said);
    }
    (listen, http, metrics)
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

/// A file: its key, what holds without it, and what it is for.
fn file(
    s: &mut Section<'_, '_>,
    base: &Path,
    [name, otherwise, meaning]: [&'static str; 3],
) -> Option<PathBuf> {
    let path = s.path(name, otherwise, meaning);
    path.map(|path| resolve(base, path))
}
