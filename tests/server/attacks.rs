//! Clients that take and do not give: connections that say nothing, messages that never end or are too large, answers
//! that nobody reads. What each may hold is bounded, and others are served meanwhile.

use std::time::Instant;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::future::{join_all, select_all};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use prost::Message as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::common::avatars;
use crate::common::process::{Server, batch};
use crate::common::{PATIENCE, eventually, raw};

const LOAD: &str = "/lipsync.MultiTenantLipSync/LoadModel";
const LIST: &str = "/lipsync.MultiTenantLipSync/ListModels";
const TALK: &str = "/lipsync.LipSync/Talk";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// A client that decides itself what it sends and what it reads.
struct Attacker(SendRequest<Bytes>);

impl Attacker {
    /// Connects; `window` is what it lets the server send of each answer.
    async fn connect(server: &Server, window: u32) -> Self {
        let stream = TcpStream::connect(server.grpc).await.unwrap();
        let mut client = h2::client::Builder::new();
        client.initial_window_size(window);
        let (send, connection) = client.handshake(stream).await.unwrap();
        // It ends when the test does.
        tokio::spawn(async move { drop(connection.await) });
        Self(send.ready().await.unwrap())
    }

    /// Begins a call; its body is sent by whoever has the stream.
    fn call(
        &mut self,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let mut request = Request::post(format!("http://attacker{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.0
            .send_request(request.body(()).unwrap(), false)
            .unwrap()
    }
}

/// A message with its prefix.
fn framed(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(message.len() as u32);
    bytes.put_slice(message);
    bytes.freeze()
}

/// The prefix of a message of that length, and nothing of the message.
fn prefix(length: u32) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(length);
    bytes.freeze()
}

/// How a call ended: its status, in the headers or the trailers.
async fn status(response: ResponseFuture) -> Status {
    let ended = async {
        let response = response.await.unwrap();
        if let Some(status) = Status::from_header_map(response.headers()) {
            return status;
        }
        let mut body: RecvStream = response.into_body();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
        }
        let trailers = body.trailers().await.unwrap();
        let trailers: HeaderMap = trailers.expect("a status");
        Status::from_header_map(&trailers).expect("a status")
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("an end")
}

/// Begins two calls where there is room for one: how the one ended that was refused, and the body of the other.
async fn one_of_two(
    attacker: &mut Attacker,
    path: &str,
    begin: &Bytes,
) -> (Status, SendStream<Bytes>) {
    let mut ends = Vec::new();
    let mut bodies = Vec::new();
    for _ in 0..2 {
        let (response, mut body) = attacker.call(path, &[]);
        body.send_data(begin.clone(), false).unwrap();
        ends.push(Box::pin(status(response)));
        bodies.push(body);
    }
    let (refused, which, others) = select_all(ends).await;
    // The other call is not to end with its future.
    tokio::spawn(others.into_iter().next().unwrap());
    (refused, bodies.swap_remove(1 - which))
}

/// Whoever is polite is served.
async fn is_served(server: &Server) {
    let mut client = server.client().await;
    let answer = client.infer_batch_composite(batch("red", 1)).await.unwrap();
    assert!(answer.into_inner().success);
}

#[tokio::test]
async fn calls_that_carry_no_tensors_bring_no_large_messages() {
    let folder = avatars::plain(&["red"]);
    let server = Server::start(&folder);
    let mut attacker = Attacker::connect(&server, 1 << 20).await;
    for path in [
        LIST,
        LOAD,
        "/lipsync.MultiTenantLipSync/UnloadModel",
        "/lipsync.MultiTenantLipSync/GetModelStats",
        "/lipsync.MultiTenantLipSync/Health",
        "/lipsync.LipSync/GetServerInfo",
        "/grpc.health.v1.Health/Check",
        WATCH,
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ] {
        let (response, mut body) = attacker.call(path, &[]);
        body.send_data(prefix(65 << 10), false).unwrap();
        let status = status(response).await;
        // Reflection ends its stream without a word.
        let silent = path.contains("reflection") && status.code() == Code::Ok;
        assert!(
            silent || status.code() == Code::OutOfRange,
            "{path}: {status}"
        );
    }
    is_served(&server).await;
}

#[tokio::test]
async fn messages_share_one_memory_and_who_finds_none_is_told_when_to_come_back() {
    let folder = avatars::with_server(
        &["red"],
        "max_message_size_mb: 8\nmessage_memory_mb: 8\nmessage_wait_seconds: 0.2\n",
    );
    let server = Server::start(&folder);
    let mut attacker = Attacker::connect(&server, 1 << 20).await;
    // Two want all of it: one has it, the other is told that there is none.
    let (refused, mut held) = one_of_two(&mut attacker, raw::INFER, &prefix(8 << 20)).await;
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.get_details_retry_info().is_some());
    assert!(refused.message().contains("message_memory_mb"), "{refused}");
    // What is small needs none of it.
    is_served(&server).await;
    held.send_reset(h2::Reason::CANCEL);
    eventually("the memory is free again", async || {
        let (next, mut body) = attacker.call(raw::INFER, &[]);
        let message = vec![0xff; 1 << 20];
        body.send_data(framed(&message), true).unwrap();
        let status = status(next).await;
        (status.code() != Code::ResourceExhausted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn looking_and_watching_are_limited_and_a_deadline_is_the_servers() {
    let folder = avatars::with_server(
        &["red"],
        "max_concurrent_lookups: 2\nmax_watches: 1\nrequest_timeout_seconds: 2\nmax_calls_per_connection: 7\n",
    );
    let server = Server::start(&folder);
    let mut attacker = Attacker::connect(&server, 1 << 20).await;
    let forever = [("grpc-timeout", "99999999H")];
    let mut ends = Vec::new();
    let mut bodies = Vec::new();
    for _ in 0..3 {
        let (response, mut body) = attacker.call(LIST, &forever);
        // Begun, and never ended.
        body.send_data(prefix(10), false).unwrap();
        ends.push(status(response));
        bodies.push(body);
    }
    let mut codes: Vec<Code> = join_all(ends).await.iter().map(Status::code).collect();
    codes.sort_by_key(|code| *code as i32);
    let expected = [
        Code::DeadlineExceeded,
        Code::DeadlineExceeded,
        Code::ResourceExhausted,
    ];
    assert_eq!(codes, expected);

    let (another, _watching) = one_of_two(&mut attacker, WATCH, &framed(&[])).await;
    assert_eq!(another.code(), Code::ResourceExhausted, "{another}");
    assert_eq!(attacker.0.current_max_send_streams(), 7);

    let (unknown, _body) = attacker.call("/lipsync.LipSync/Nothing", &[]);
    let unknown = status(unknown).await;
    assert_eq!(unknown.code(), Code::Unimplemented);
    assert!(unknown.message().contains("/lipsync.LipSync/Nothing"));
    let counted = "lipsync_requests_total{rpc=\"unknown\",code=\"UNIMPLEMENTED\"}";
    assert_eq!(server.metric(counted), Some(1));
    is_served(&server).await;
}

#[tokio::test]
async fn a_body_that_stalls_ends_whatever_deadline_it_names() {
    let folder = avatars::with_server(
        &["red"],
        "request_timeout_seconds: 60\nmessage_timeout_seconds: 1\nmax_concurrent_requests: 3\n",
    );
    let server = Server::start(&folder);
    let mut attacker = Attacker::connect(&server, 1 << 20).await;
    let stalled: Vec<_> = (0..3)
        .map(|_| {
            let (response, mut body) = attacker.call(raw::INFER, &[("grpc-timeout", "99999999H")]);
            body.send_data(prefix(1000), false).unwrap();
            (response, body)
        })
        .collect();
    let (talk, mut talking) = attacker.call(TALK, &[]);
    talking.send_data(prefix(1000), false).unwrap();
    for (response, _body) in stalled {
        let status = status(response).await;
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        assert!(
            status.message().contains("message_timeout_seconds"),
            "{status}"
        );
    }
    let talk = status(talk).await;
    assert_eq!(talk.code(), Code::InvalidArgument, "{talk}");
    assert!(talk.message().contains("message_timeout_seconds"), "{talk}");
    is_served(&server).await;
}

#[tokio::test]
async fn an_answer_that_nobody_reads_holds_nothing_and_no_stop() {
    let folder = avatars::with_server(
        &["red"],
        "answer_stall_seconds: 1\nrequest_timeout_seconds: 3600\ndrain_seconds: 3600\n",
    );
    let mut server = Server::start(&folder);
    let mut attacker = Attacker::connect(&server, 0).await;
    let mut unread = Vec::new();
    for _ in 0..4 {
        let (response, mut body) = attacker.call(raw::INFER, &[]);
        let message = batch("red", 25).encode_to_vec();
        body.send_data(framed(&message), true).unwrap();
        unread.push((response, body));
    }
    let (talk, mut body) = attacker.call(TALK, &[]);
    let start = lipsync::wire::TalkStart {
        model_id: "red".to_owned(),
        realtime: true,
        ..lipsync::wire::TalkStart::default()
    };
    let start = lipsync::wire::TalkRequest {
        message: Some(lipsync::wire::talk_request::Message::Start(start)),
    };
    body.send_data(framed(&start.encode_to_vec()), false)
        .unwrap();
    eventually("five answers were begun", async || {
        (server.metric("lipsync_frames_total{model=\"red\"}")? >= 100).then_some(())
    })
    .await;
    eventually("none of them holds anything", async || {
        let calls = server.metric("lipsync_requests_in_progress")?;
        let streams = server.metric("lipsync_streams_open")?;
        let leases = server.metric("lipsync_model_leases{model=\"red\"}")?;
        (calls == 0 && streams == 0 && leases == 0).then_some(())
    })
    .await;
    is_served(&server).await;
    // Another is left on its way while the server is told to stop, which may take an hour for what is in progress.
    let (_last, mut body) = attacker.call(raw::INFER, &[]);
    let message = batch("red", 25).encode_to_vec();
    body.send_data(framed(&message), true).unwrap();
    let begun = Instant::now();
    server.signal("TERM");
    assert!(server.wait().success());
    assert!(begun.elapsed() < PATIENCE);
    drop((unread, talk));
}

/// Whether the other side closes it.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut bytes = [0; 64];
    loop {
        match tokio::time::timeout(PATIENCE, stream.read(&mut bytes)).await {
            Ok(Ok(0) | Err(_)) => return true,
            // The settings that a server sends first.
            Ok(Ok(_)) => (),
            Err(_) => return false,
        }
    }
}

#[tokio::test]
async fn connections_that_say_nothing_are_closed() {
    let folder = avatars::with_server(&["red"], "first_call_seconds: 0.3\n");
    let server = Server::start(&folder);
    let mut silent = Vec::new();
    for address in [server.grpc, server.http] {
        for _ in 0..10 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
    }
    for stream in &mut silent {
        assert!(is_closed(stream).await);
    }
    is_served(&server).await;
}

#[tokio::test]
async fn a_port_without_places_closes_and_has_places_again() {
    let folder = avatars::with_server(&["red"], "max_connections: 2\nfirst_call_seconds: 3600\n");
    let server = Server::start(&folder);
    // This machine has some places beyond the limit, for probes.
    let mut silent = Vec::new();
    for _ in 0..18 {
        silent.push(TcpStream::connect(server.grpc).await.unwrap());
    }
    // They are accepted in their order.
    let mut one_more = TcpStream::connect(server.grpc).await.unwrap();
    assert!(is_closed(&mut one_more).await);
    // The other port has its own.
    assert_eq!(server.get("/livez").0, 200);
    silent.truncate(10);
    eventually("there is a place again", async || {
        let mut client =
            lipsync::wire::multi_tenant_lip_sync_client::MultiTenantLipSyncClient::connect(
                format!("http://{}", server.grpc),
            )
            .await
            .ok()?;
        client
            .health(lipsync::wire::HealthRequest::default())
            .await
            .ok()
    })
    .await;
}
