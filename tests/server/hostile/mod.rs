//! Bytes that are no message.

mod handles;
mod silence;
mod sockets;
mod strangers;

use bytes::Bytes;
use prost::Message as _;
use tonic::Code;

use crate::common::avatars;
use crate::common::process::{Server, batch};
use crate::common::{Noise, raw};

#[tokio::test]
async fn random_and_truncated_messages_are_refused_and_cost_nothing() {
    let folder = avatars::plain(&["red"]);
    let server = Server::start(&folder);
    let channel = server.channel().await;
    let send = async |path, bytes: Bytes| {
        let messages = futures::stream::iter([bytes]);
        raw::call(channel.clone(), path, messages)
            .await
            .map(tonic::Response::into_inner)
    };
    let whole = batch("red", 1).encode_to_vec();
    let mut noise = Noise(7);
    let paths = [
        raw::INFER,
        "/lipsync.MultiTenantLipSync/LoadModel",
        "/lipsync.MultiTenantLipSync/UnloadModel",
        "/lipsync.MultiTenantLipSync/GetModelStats",
    ];
    let mut before = 0;
    for round in 0..300 {
        let bytes = match round % 3 {
            0 => {
                let length = noise.word() as usize % 200;
                noise.bytes(length)
            }
            1 => whole[..noise.word() as usize % whole.len()].to_vec(),
            _ => {
                // One wrong byte among the tags and numbers, anywhere in the floats.
                let mut bytes = whole.clone();
                let place = match noise.word() % 4 {
                    0 => noise.word() as usize % bytes.len(),
                    1 => bytes.len() - 1 - noise.word() as usize % 4,
                    _ => noise.word() as usize % 12,
                };
                bytes[place] ^= 1 << (noise.word() % 8);
                bytes
            }
        };
        let path = paths[if round % 3 == 0 {
            noise.word() as usize % paths.len()
        } else {
            0
        }];
        // Whatever it is, it is answered: in-band, or by a status of one of these kinds.
        if let Err(status) = send(path, bytes.into()).await {
            assert!(
                matches!(status.code(), Code::InvalidArgument | Code::NotFound),
                "{path}: {status}"
            );
            assert!(!status.message().contains("panicked"), "{status}");
        }
        if round == 99 {
            before = server.metric("lipsync_process_resident_bytes").unwrap();
        }
    }
    let after = server.metric("lipsync_process_resident_bytes").unwrap();
    assert!(after < before + (32 << 20), "grew from {before} to {after}");
    let answer = server
        .client()
        .await
        .infer_batch_composite(batch("red", 1))
        .await
        .unwrap();
    assert!(answer.into_inner().success);
    let log = server.stop();
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_refused_before_it_is_read() {
    let folder = avatars::with_server(&["red"], "max_message_size_mb: 1");
    let server = Server::start(&folder);
    let channel = server.channel().await;
    let before = server.metric("lipsync_process_resident_bytes").unwrap();
    for _ in 0..5 {
        let message = Bytes::from(vec![0; 64 << 20]);
        let messages = futures::stream::iter([message]);
        let status = raw::call(channel.clone(), raw::INFER, messages)
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::OutOfRange, "{status}");
    }
    let after = server.metric("lipsync_process_resident_bytes").unwrap();
    assert!(after < before + (32 << 20), "grew from {before} to {after}");
    // A batch whose answer would be too large fails with a status, too.
    let mut client = server.client().await;
    assert!(
        client
            .infer_batch_composite(batch("red", 1))
            .await
            .unwrap()
            .into_inner()
            .success
    );
    server.stop();
}

#[tokio::test]
async fn a_connection_that_speaks_no_http2_is_closed_and_others_live_on() {
    use std::io::{Read as _, Write as _};
    let folder = avatars::plain(&["red"]);
    let server = Server::start(&folder);
    let mut noise = Noise(11);
    for _ in 0..20 {
        let mut stream = std::net::TcpStream::connect(server.grpc).unwrap();
        stream
            .set_read_timeout(Some(crate::common::PATIENCE))
            .unwrap();
        // It may be closed before all is written.
        let _ = stream.write_all(&noise.bytes(500));
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
    }
    let mut client = server.client().await;
    assert!(
        client
            .infer_batch_composite(batch("red", 1))
            .await
            .unwrap()
            .into_inner()
            .success
    );
    server.stop();
}
