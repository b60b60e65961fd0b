//! The page's WebSocket, byte by byte: a client that makes mistakes is told which, also if it does not stop sending.

#![allow(unreachable_pub, reason = "shared by the tests of this folder")]

use std::time::Duration;

use lipsync::server::Server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::setup::{Folder, PATIENCE};

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const PING: u8 = 9;
const CLOSE: u8 = 8;

/// A WebSocket of the server whose HTTP address that is.
pub async fn open(address: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /api/talk HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    stream
}

/// A message, masked with zeros.
pub fn message(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | kind, 0x80 | 127];
    bytes.extend_from_slice(&(payload.len() as u64).to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

/// The next message: its kind and its content.
pub async fn read(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> (u8, Vec<u8>) {
    let kind = stream.read_u8().await.unwrap() & 0xf;
    let len = match stream.read_u8().await.unwrap() {
        126 => u64::from(stream.read_u16().await.unwrap()),
        127 => stream.read_u64().await.unwrap(),
        len => len.into(),
    };
    let mut payload = vec![0; len as usize];
    stream.read_exact(&mut payload).await.unwrap();
    (kind, payload)
}

/// Sends `messages`, and more audio after them, and only then reads: the error's text and the code it was closed with.
async fn told(server: &Server, messages: &[Vec<u8>]) -> (String, u16) {
    let mut stream = open(server.http_address().unwrap()).await;
    for message in messages {
        stream.write_all(message).await.unwrap();
    }
    for _ in 0..20 {
        stream.write_all(&message(BINARY, &[0; 640])).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let heard = async {
        let mut error = None;
        loop {
            match read(&mut stream).await {
                (TEXT, text) => {
                    let text = String::from_utf8(text).unwrap();
                    error = text.contains(r#""type":"error""#).then_some(text).or(error);
                }
                (CLOSE, code) => {
                    return (error.unwrap(), u16::from_be_bytes([code[0], code[1]]));
                }
                _ => (),
            }
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_to_a_client_that_goes_on_sending() {
    let folder = Folder::new(&["ann"], "", "");
    let server = folder.serve().await;
    let start = message(
        TEXT,
        br#"{"type":"start","model_id":"ann","realtime":true}"#,
    );
    let large = message(BINARY, &vec![0; (1 << 20) + 2]);
    for messages in [vec![start.clone(), large.clone()], vec![large]] {
        let (error, code) = told(&server, &messages).await;
        assert!(error.contains("larger than 1 MB"), "{error}");
        assert_eq!(code, 1009);
    }
    let nonsense = message(TEXT, b"{}");
    let (error, code) = told(&server, &[start, nonsense]).await;
    assert!(error.contains("message"), "{error}");
    assert_eq!(code, 1008);
    // Far more than is read: it is told all the same, to whoever reads.
    let mut stream = open(server.http_address().unwrap()).await;
    let head = &message(BINARY, &vec![0; 64 << 20])[..64];
    stream.write_all(head).await.unwrap();
    let (kind, text) = read(&mut stream).await;
    let text = String::from_utf8(text).unwrap();
    assert!(kind == TEXT && text.contains("larger than 1 MB"), "{text}");
    let (kind, code) = read(&mut stream).await;
    assert_eq!(
        (kind, u16::from_be_bytes([code[0], code[1]])),
        (CLOSE, 1009)
    );
    drop(stream);
    assert!(server.drain().await);
}
