//! What strangers may say: names that are not, methods that are not, bytes that are no message. Each is answered for
//! what it is, counted, and costs little.

use bytes::Bytes;
use lipsync::wire;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::common::process::{Server, batch, strict};
use crate::common::{avatars, raw};

#[tokio::test]
async fn names_that_are_not_read_the_configuration_once() {
    let folder = avatars::plain(&["red"]);
    // As old as a configuration that is in use is: one that was written just now may change unseen.
    let old = std::time::SystemTime::now() - std::time::Duration::from_mins(1);
    let file = std::fs::File::options().append(true).open(folder.config());
    file.unwrap().set_modified(old).unwrap();
    let server = Server::start(&folder);
    let mut client = server.client().await;
    for number in 0..50 {
        let request = wire::LoadModelRequest {
            model_id: format!("nobody-{number}"),
            force_reload: false,
        };
        let status = client.load_model(strict(request)).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{status}");
    }
    let read = |log: &str| log.matches("configuration reloaded").count();
    let log = server.log();
    assert_eq!(read(&log), 1, "{log}");
    // A configuration that is broken is said to be for every name, and logged once.
    std::fs::write(folder.config(), "models:\n").unwrap();
    let file = std::fs::File::options().append(true).open(folder.config());
    file.unwrap().set_modified(old).unwrap();
    for number in 0..20 {
        let request = wire::LoadModelRequest {
            model_id: format!("nobody-{number}"),
            force_reload: false,
        };
        let status = client.load_model(strict(request)).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    }
    let log = server.log();
    assert_eq!(
        log.matches("configuration not reloaded").count(),
        1,
        "{log}"
    );
    server.stop();
}

#[tokio::test]
async fn a_method_that_is_not_is_told_and_counted() {
    let folder = avatars::plain(&["red"]);
    let server = Server::start(&folder);
    let channel = server.channel().await;
    for path in [
        "/lipsync.LipSync/Sing",
        "/lipsync.MultiTenantLipSync/infer",
        "/nobody.Service/Call",
    ] {
        let message = futures::stream::iter([Bytes::from_static(b"x")]);
        let status = raw::call(channel.clone(), path, message).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{status}");
        assert!(status.message().contains(path), "{status}");
        let info = status.get_error_details();
        assert_eq!(info.error_info().unwrap().reason, "UNKNOWN_METHOD");
    }
    let counted = r#"lipsync_requests_total{rpc="unknown",code="UNIMPLEMENTED"}"#;
    assert_eq!(server.metric(counted), Some(3));
    server.stop();
}

#[tokio::test]
async fn bytes_that_are_no_message_are_the_clients_mistake() {
    let folder = avatars::plain(&["red"]);
    let server = Server::start(&folder);
    let channel = server.channel().await;
    for path in [
        raw::INFER,
        "/lipsync.MultiTenantLipSync/LoadModel",
        "/lipsync.MultiTenantLipSync/UnloadModel",
        "/lipsync.MultiTenantLipSync/GetModelStats",
    ] {
        // A field that is cut short, and a tag that is none.
        for bytes in [&b"\x0a\xff"[..], &b"\x07"[..]] {
            let message = futures::stream::iter([Bytes::from_static(bytes)]);
            let status = raw::call(channel.clone(), path, message).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{path}: {status}");
        }
    }
    let counted = r#"lipsync_requests_total{rpc="LoadModel",code="INVALID_ARGUMENT"}"#;
    assert_eq!(server.metric(counted), Some(2));
    server.stop();
}

/// A pipe under the name of each of a model's files in turn: opened, it would hold the load for ever.
#[cfg(unix)]
#[tokio::test]
async fn a_pipe_instead_of_a_file_is_refused() {
    for file in ["red.json", "red/frame_0001.png", "generator.onnx"] {
        let folder = avatars::plain(&["red"]);
        let network = avatars::golden("generator.onnx");
        let own = folder.path().join("generator.onnx");
        std::fs::copy(&network, &own).unwrap();
        let text = std::fs::read_to_string(folder.config()).unwrap();
        let (network, own) = (network.display().to_string(), own.display().to_string());
        std::fs::write(folder.config(), text.replace(&network, &own)).unwrap();
        let path = folder.path().join(file);
        std::fs::remove_file(&path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let server = Server::start(&folder);
        let mut client = server.client().await;
        let mut request = strict(batch("red", 1));
        request.set_timeout(crate::common::PATIENCE);
        let status = client.infer_batch_composite(request).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{file}: {status}");
        server.stop();
    }
}
