//! How the server starts, tells of itself, and ends.

use bytes::Bytes;
use lipsync::wire;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1, v1alpha};

use crate::common::avatars::{self, Folder};
use crate::common::process::{Server, batch, command, get};
use crate::common::{eventually, raw};

/// A call that is in progress until its message is sent.
async fn held(
    server: &Server,
) -> (
    mpsc::Sender<Bytes>,
    tokio::task::JoinHandle<Result<Response<Bytes>, Status>>,
) {
    let (send, messages) = mpsc::channel(1);
    let channel = server.channel().await;
    let call = tokio::spawn(raw::call(
        channel,
        raw::INFER,
        ReceiverStream::new(messages),
    ));
    eventually("the call is in progress", async || {
        (server.info().await.requests_in_progress == 1).then_some(())
    })
    .await;
    (send, call)
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_progress_and_takes_nothing_new() {
    let folder = avatars::plain(&["red"]);
    let mut server = Server::start(&folder);
    let mut client = server.client().await;
    let mut health = HealthClient::new(server.channel().await);
    let mut watch = health
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    let (message, call) = held(&server).await;

    server.signal("TERM");
    let next = watch.message().await.unwrap().unwrap();
    assert_eq!(next.status(), ServingStatus::NotServing);
    for service in ["", "lipsync.MultiTenantLipSync", "lipsync.LipSync"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::NotServing);
    }
    assert_eq!(server.get("/readyz").0, 503);
    assert_eq!(server.get("/livez").0, 200);
    let refused = client
        .infer_batch_composite(batch("red", 1))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let answer = client
        .health(wire::HealthRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(!answer.healthy);

    message
        .send(batch("red", 3).encode_to_vec().into())
        .await
        .unwrap();
    drop(message);
    let answer = call.await.unwrap().unwrap().into_inner();
    let answer = wire::CompositeBatchResponse::decode(answer).unwrap();
    assert_eq!(answer.composited_frames.len(), 3, "{}", answer.error);
    assert!(server.wait().success());
}

#[tokio::test]
async fn what_does_not_finish_within_the_drain_time_is_broken_off() {
    let folder = avatars::with_server(&["red"], "drain_seconds: 0.2");
    let mut server = Server::start(&folder);
    let (_message, call) = held(&server).await;
    server.signal("INT");
    let status = call.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(server.wait().success());
    assert!(
        server.log().contains("drain time is over"),
        "{}",
        server.log()
    );
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let folder = avatars::with_server(&["red"], "drain_seconds: 3600");
    let mut server = Server::start(&folder);
    let (_message, call) = held(&server).await;
    server.signal("TERM");
    eventually("the drain has begun", async || {
        (server.get("/readyz").0 == 503).then_some(())
    })
    .await;
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(1));
    assert!(call.await.unwrap().is_err());
}

#[tokio::test]
async fn reflection_lists_the_services_in_both_versions() {
    let folder = avatars::plain(&["red"]);
    let server = Server::start(&folder);
    let channel = server.channel().await;
    let request = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        )),
    };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let mut answers = client
        .server_reflection_info(futures::stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers
        .message()
        .await
        .unwrap()
        .unwrap()
        .message_response
        .unwrap();
    let v1::server_reflection_response::MessageResponse::ListServicesResponse(list) = answer else {
        panic!("{answer:?}");
    };
    let names: Vec<_> = list
        .service
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    for name in [
        "lipsync.MultiTenantLipSync",
        "lipsync.LipSync",
        "grpc.health.v1.Health",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
    // What errors carry is described as well.
    for symbol in ["lipsync.MultiTenantLipSync", "google.rpc.RetryInfo"] {
        assert_eq!(files_of(channel.clone(), symbol).await, Ok(()), "{symbol}");
    }
    server.stop();
}

/// Whether reflection v1alpha knows the files of `symbol`.
async fn files_of(channel: tonic::transport::Channel, symbol: &str) -> Result<(), String> {
    use v1alpha::server_reflection_request::MessageRequest;
    use v1alpha::server_reflection_response::MessageResponse;
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(symbol.to_owned())),
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let answers = client.server_reflection_info(futures::stream::iter([request]));
    let answer = answers.await.unwrap().into_inner().message().await;
    match answer
        .map_err(|status| status.to_string())?
        .unwrap()
        .message_response
    {
        Some(MessageResponse::FileDescriptorResponse(files))
            if !files.file_descriptor_proto.is_empty() =>
        {
            Ok(())
        }
        other => Err(format!("{other:?}")),
    }
}

#[tokio::test]
async fn preloads_are_announced_and_a_broken_one_is_only_fatal_if_strict() {
    let folder = Folder::new(&["red", "green", "broken"]);
    let preload = "preload: true";
    let models = [("red", preload), ("green", ""), ("broken", preload)];
    folder.configure("", "", &models, "");
    std::fs::write(folder.path().join("broken.json"), "[[1,2,3]]").unwrap();
    let server = Server::start(&folder);
    assert_eq!(server.ready["preloaded"], serde_json::json!(["red"]));
    assert_eq!(
        server.ready["models"],
        serde_json::json!(["red", "green", "broken"])
    );
    assert_eq!(server.get("/readyz"), (200, "ready\n".to_owned()));
    let log = server.stop();
    assert!(log.contains("preload failed"), "{log}");

    let output = command(&folder).arg("--strict").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("--strict: model broken"), "{stderr}");
}

#[tokio::test]
async fn a_port_in_use_is_said_with_its_key() {
    let folder = avatars::plain(&["red"]);
    let server = Server::start(&folder);
    let text = std::fs::read_to_string(folder.config()).unwrap();
    let taken = format!("port: {}", server.grpc);
    std::fs::write(
        folder.config(),
        text.replacen("port: 127.0.0.1:0", &taken, 1),
    )
    .unwrap();
    let output = command(&folder).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("server.port") && stderr.contains(&server.grpc.to_string()),
        "{stderr}"
    );
}

#[tokio::test]
async fn idle_models_leave_and_reports_come_as_configured() {
    let folder = Folder::new(&["red"]);
    let logging = "logging:\n  stats_report_minutes: 0.002\n";
    folder.configure("", "idle_unload_minutes: 0.005", &[("red", "")], logging);
    let server = Server::start(&folder);
    let mut client = server.client().await;
    let answer = client.infer_batch_composite(batch("red", 2)).await.unwrap();
    assert!(answer.into_inner().success);
    eventually("it is unloaded", async || {
        (server.metric(r#"lipsync_unloads_total{reason="idle"}"#) == Some(1)).then_some(())
    })
    .await;
    let log = server.stop();
    for line in [
        "auto-unloading idle model",
        "idle_seconds=",
        "registry report",
        "model report",
        "usage=2",
    ] {
        assert!(log.contains(line), "no {line:?} in\n{log}");
    }
}

#[tokio::test]
async fn json_logs_and_metrics_tell_what_happened() {
    let folder = Folder::new(&["red", "green", "blue"]);
    let logging = "logging:\n  format: json\n  log_file: server.log";
    folder.configure("", "", &[("red", ""), ("green", ""), ("blue", "")], logging);
    let server = Server::start(&folder);
    let mut client = server.client().await;
    for id in ["red", "green", "blue"] {
        assert!(
            client
                .infer_batch_composite(batch(id, 2))
                .await
                .unwrap()
                .into_inner()
                .success
        );
    }
    assert!(
        !client
            .infer_batch_composite(batch("nobody", 2))
            .await
            .unwrap()
            .into_inner()
            .success
    );
    let metric = |name: &str| server.metric(name).unwrap_or_else(|| panic!("no {name}"));
    let calls = r#"lipsync_requests_total{rpc="InferBatchComposite",code="OK"}"#;
    assert_eq!(metric(calls), 3);
    let unknown = r#"lipsync_requests_total{rpc="InferBatchComposite",code="NOT_FOUND"}"#;
    assert_eq!(metric(unknown), 1);
    assert_eq!(metric(r#"lipsync_frames_total{model="green"}"#), 2);
    assert_eq!(metric(r#"lipsync_batches_total{model="green"}"#), 2);
    assert_eq!(
        metric(r#"lipsync_stage_seconds_count{stage="inference"}"#),
        6
    );
    assert_eq!(metric(r#"lipsync_unloads_total{reason="evicted"}"#), 1);
    assert_eq!(metric("lipsync_models_loaded"), 2);
    assert_eq!(metric("lipsync_models_max"), 2);
    assert!(metric("lipsync_model_memory_used_bytes") > 0);
    assert!(metric("lipsync_process_resident_bytes") > 0);
    let (_, page) = get(server.metrics, "/metrics");
    assert!(!page.contains("nobody"), "an unknown name became a label");
    server.stop();

    let file = std::fs::read_to_string(folder.path().join("server.log")).unwrap();
    let lines: Vec<serde_json::Value> = file
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    let find = |message: &str| {
        let line = lines.iter().find(|line| line["message"] == message);
        line.unwrap_or_else(|| panic!("no {message:?} in\n{file}"))
    };
    let loaded = find("loaded model on demand");
    assert_eq!(loaded["model"], "red");
    assert!(loaded["seconds"].as_f64().unwrap() > 0.0 && loaded["memory_mb"].as_u64().unwrap() > 0);
    let evicting = find("evicting model");
    assert_eq!(
        (&evicting["model"], &evicting["policy"]),
        (&"red".into(), &"lru".into())
    );
    assert_eq!(evicting["usage"], 2);
    assert!(evicting["last_used_seconds_ago"].is_number());
    let unloaded = find("unloaded model");
    assert!(unloaded["active_seconds"].is_number() && unloaded["used_frames"] == 2);
}
