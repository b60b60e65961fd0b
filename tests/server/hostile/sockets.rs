//! Sockets of the page whose bytes are changed anywhere: the conversation ends, and nothing else happens.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::common::process::Server;
use crate::common::{avatars, eventually, mutations};

const TEXT: u8 = 1;
const BINARY: u8 = 2;

/// A frame as browsers send it, masked with zeros.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | kind, 0x80 | 0x7e];
    bytes.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

/// A conversation's bytes.
fn corpus() -> Vec<Vec<u8>> {
    let start = br#"{"type":"start","model_id":"red","sample_rate_hz":16000,"lookahead":2}"#;
    let odd = br#"{"type":"start","model_id":"red","sample_format":"f32le","channels":2,"output_format":"png"}"#;
    let ends = [
        frame(TEXT, br#"{"type":"interrupt"}"#),
        frame(TEXT, br#"{"type":"end_of_speech"}"#),
        frame(8, &1000_u16.to_be_bytes()),
    ]
    .concat();
    vec![
        [frame(TEXT, start), frame(BINARY, &[7; 640]), ends.clone()].concat(),
        [
            frame(TEXT, odd),
            frame(BINARY, &[0; 64]),
            frame(9, b"ping"),
            ends,
        ]
        .concat(),
    ]
}

/// Opens a WebSocket, sends `bytes`, closes its own side, and reads a while.
fn send(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "GET /api/talk HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    // The server may have closed it by the time that all is written.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    stream
        .set_read_timeout(Some(Duration::from_millis(30)))
        .unwrap();
    let mut rest = [0; 4096];
    while stream.read(&mut rest).is_ok_and(|count| count > 0) {}
}

#[tokio::test]
async fn changed_conversations_end_and_leave_nothing_behind() {
    let folder = avatars::plain(&["red"]);
    let server = Server::start(&folder);
    let corpus = corpus();
    for bytes in &corpus {
        send(server.http, bytes);
    }
    let resident = || server.metric("lipsync_process_resident_bytes").unwrap();
    let before = resident();
    let mut rounds = 0;
    mutations::each(&corpus, |bytes| {
        rounds += 1;
        if rounds % 8 == 0 {
            send(server.http, bytes);
        }
    });
    eventually("no stream is left", async || {
        (server.metric("lipsync_streams_open") == Some(0)).then_some(())
    })
    .await;
    let after = resident();
    assert!(after < before + (64 << 20), "grew from {before} to {after}");
    assert_eq!(server.get("/livez").0, 200);
    let log = server.stop();
    assert!(!log.contains("panicked"), "{log}");
}
