//! Who may hold a stream: nobody before the token is looked at, nobody who has fallen silent, nobody whose token is revoked.

use lipsync::server::Server;
use lipsync::wire::lip_sync_client::LipSyncClient;
use lipsync::wire::talk_request::Message;
use lipsync::wire::{TalkRequest, TalkResponse};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};

use crate::setup::{Folder, eventually, start};
use crate::socket::{PING, TEXT, message, open, read};

const TOKEN: &str = "0123456789abcdef";
const OTHER: &str = "fedcba9876543210";

/// A server that knows two tokens.
async fn with_tokens(server: &str) -> (Folder, Server) {
    let folder = Folder::new(&["ann"], &format!("tokens_file: tokens\n{server}"), "");
    write_tokens(&folder, &[TOKEN, OTHER]);
    let server = folder.serve().await;
    (folder, server)
}

fn write_tokens(folder: &Folder, tokens: &[&str]) {
    let lines = tokens.iter().map(|token| format!("user studio {token}\n"));
    std::fs::write(folder.path().join("tokens"), lines.collect::<String>()).unwrap();
}

fn socket_start(token: &str) -> Vec<u8> {
    let text = format!(
        r#"{{"type":"start","model_id":"ann","realtime":true,"output_format":"jpeg","token":"{token}"}}"#
    );
    message(TEXT, text.as_bytes())
}

/// A stream of gRPC with a token; it stays open for as long as the sender lives.
async fn talk(
    server: &Server,
    token: &str,
) -> Result<(mpsc::Sender<TalkRequest>, Streaming<TalkResponse>), Status> {
    let url = format!("http://{}", server.grpc_address());
    let mut client = LipSyncClient::connect(url).await.unwrap();
    let (sender, receiver) = mpsc::channel(2);
    let mut begin = start("ann");
    begin.realtime = true;
    let begin = Some(Message::Start(begin));
    sender.send(TalkRequest { message: begin }).await.unwrap();
    let mut request = Request::new(ReceiverStream::new(receiver));
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    let told = client.talk(request).await?;
    Ok((sender, told.into_inner()))
}

/// What the server says to an upgrade with this header.
async fn upgrade(server: &Server, header: &str) -> String {
    let address = server.http_address().unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /api/talk HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{header}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = vec![0; 12];
    stream.read_exact(&mut head).await.unwrap();
    String::from_utf8(head).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_taken_after_the_token_is_looked_at() {
    let (_folder, server) = with_tokens("max_streams: 1").await;
    let address = server.http_address().unwrap();
    // Strangers that say nothing, and one that says nonsense.
    let mut strangers = Vec::new();
    for _ in 0..3 {
        strangers.push(open(address).await);
    }
    let mut liar = open(address).await;
    liar.write_all(&socket_start("wrong-wrong-wrong"))
        .await
        .unwrap();
    let (_, error) = read(&mut liar).await;
    let error = String::from_utf8(error).unwrap();
    assert!(error.contains("UNAUTHENTICATED"), "{error}");
    assert_eq!(server.state().streams_now(), 0);

    let mut guest = open(address).await;
    guest.write_all(&socket_start(TOKEN)).await.unwrap();
    let (_, started) = read(&mut guest).await;
    assert!(String::from_utf8(started).unwrap().contains("started"));
    assert_eq!(server.state().streams_now(), 1);
    // The other carrier finds the same place taken.
    let refused = talk(&server, TOKEN).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);

    // A wrong token in the headers is wrong, not none.
    assert_eq!(
        upgrade(&server, "authorization: Bearer wrong-wrong-wrong").await,
        "HTTP/1.1 401"
    );
    drop((guest, strangers));
    eventually("all streams end", async || {
        (server.state().streams_now() == 0).then_some(())
    })
    .await;
    // All of them are counted as the calls of gRPC are.
    let metrics = eventually("the streams are counted", async || {
        let text = server.state().metrics().text().unwrap();
        let counted = |code| {
            text.lines().any(|line| {
                line.contains("requests_total{")
                    && line.contains(r#"rpc="Talk""#)
                    && line.contains(&format!(r#"code="{code}""#))
            })
        };
        (counted("UNAUTHENTICATED") && counted("CANCELLED") && counted("RESOURCE_EXHAUSTED"))
            .then_some(text.clone())
    })
    .await;
    assert!(metrics.contains(r#"reason="UNAUTHENTICATED""#), "{metrics}");
    assert!(server.drain().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_falls_silent_gives_its_model_back() {
    let folder = Folder::new(
        &["ann"],
        "keepalive_seconds: 0.1\nkeepalive_timeout_seconds: 1",
        "",
    );
    let server = folder.serve().await;
    let mut silent = open(server.http_address().unwrap()).await;
    // Frames come as fast as they are made, only for speech: there is none, so nothing is sent but pings.
    let begin = message(TEXT, br#"{"type":"start","model_id":"ann"}"#);
    silent.write_all(&begin).await.unwrap();
    // Pings come while the model loads, too.
    let mut pings = 0;
    loop {
        match read(&mut silent).await {
            (PING, _) => pings += 1,
            (_, text) => assert!(String::from_utf8(text).unwrap().contains("started")),
        }
        if pings == 2 {
            break;
        }
        // Whoever answers is kept.
        silent.write_all(&message(10, &[])).await.unwrap();
    }
    eventually("the silent stream is ended", async || {
        (server.state().streams_now() == 0).then_some(())
    })
    .await;
    let leases: usize = {
        let snapshot = server.state().registry().snapshot();
        snapshot.models.iter().map(|model| model.leases).sum()
    };
    assert_eq!(leases, 0);
    drop(silent);
    assert!(server.drain().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_its_token_is_revoked() {
    let (folder, server) = with_tokens("").await;
    let (sender, mut told) = talk(&server, TOKEN).await.unwrap();
    let (kept, mut kept_told) = talk(&server, OTHER).await.unwrap();
    let mut socket = open(server.http_address().unwrap()).await;
    socket.write_all(&socket_start(TOKEN)).await.unwrap();
    assert!(told.message().await.unwrap().is_some());
    assert!(kept_told.message().await.unwrap().is_some());
    read(&mut socket).await;

    write_tokens(&folder, &[OTHER]);
    server.state().reload().await.unwrap();
    let ended = loop {
        match told.message().await {
            Ok(Some(_)) => (),
            Ok(None) => panic!("ended without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended}");
    let error = loop {
        let (kind, text) = read(&mut socket).await;
        let text = String::from_utf8_lossy(&text).into_owned();
        if kind == TEXT && text.contains("error") {
            break text;
        }
    };
    assert!(error.contains("UNAUTHENTICATED"), "{error}");
    // Whoever's token is still there goes on.
    for _ in 0..3 {
        assert!(kept_told.message().await.unwrap().is_some());
    }
    drop((sender, kept, kept_told));
    assert!(server.drain().await);
}
