//! Who may call, how many at once, and for how long.

use std::time::Duration;

use bytes::Bytes;
use lipsync::wire;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use crate::common::avatars;
use crate::common::process::{Server, batch};
use crate::common::{eventually, raw};

#[tokio::test]
async fn a_full_server_refuses_at_once_and_a_cancelled_call_makes_room() {
    let folder = avatars::with_server(&["red"], "max_concurrent_requests: 1");
    let server = Server::start(&folder);
    let mut client = server.client().await;
    let held = tokio::spawn(raw::call(
        server.channel().await,
        raw::INFER,
        futures::stream::pending::<Bytes>(),
    ));
    eventually("one call is in progress", async || {
        (server.info().await.requests_in_progress == 1).then_some(())
    })
    .await;
    let status = client
        .infer_batch_composite(batch("red", 1))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.get_error_details().retry_info().is_some());
    assert!(
        status.message().contains("max_concurrent_requests"),
        "{status}"
    );
    // Looking stays possible.
    assert!(
        client
            .health(wire::HealthRequest {})
            .await
            .unwrap()
            .into_inner()
            .healthy
    );

    held.abort();
    eventually("the cancelled call is gone", async || {
        (server.info().await.requests_in_progress == 0).then_some(())
    })
    .await;
    assert!(
        client
            .infer_batch_composite(batch("red", 1))
            .await
            .unwrap()
            .into_inner()
            .success
    );
    let refused = r#"lipsync_rejections_total{reason="OVERLOADED"}"#;
    assert_eq!(server.metric(refused), Some(1));
    server.stop();
}

#[tokio::test]
async fn deadlines_end_calls_wherever_they_are() {
    let folder = avatars::with_server(&["red"], "request_timeout_seconds: 0.3");
    let server = Server::start(&folder);
    let mut client = server.client().await;
    // The client's own.
    let mut request = Request::new(batch("red", 25));
    request.set_timeout(Duration::from_millis(1));
    let status = client.infer_batch_composite(request).await.unwrap_err();
    assert!(
        matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled),
        "{status}"
    );
    // The server's, of a message that never comes.
    let never = futures::stream::pending::<Bytes>();
    let status = raw::call(server.channel().await, raw::INFER, never)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    eventually("nothing is left", async || {
        (server.info().await.requests_in_progress == 0).then_some(())
    })
    .await;
    server.stop();
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nothing_behind() {
    let folder = avatars::plain(&["red"]);
    let server = Server::start(&folder);
    let mut client = server.client().await;
    assert!(
        client
            .infer_batch_composite(batch("red", 1))
            .await
            .unwrap()
            .into_inner()
            .success
    );
    for _ in 0..5 {
        let mut client = server.client().await;
        let call =
            tokio::spawn(async move { client.infer_batch_composite(batch("red", 25)).await });
        eventually("the call is in progress", async || {
            (server.info().await.requests_in_progress == 1 || call.is_finished()).then_some(())
        })
        .await;
        call.abort();
    }
    eventually("nothing is left", async || {
        let request = wire::GetModelStatsRequest::default();
        let stats = client.get_model_stats(request).await.unwrap().into_inner();
        let queued = server.metric(r#"lipsync_queue_frames{model="red"}"#);
        let idle = stats.models[0].leases == 0 && queued == Some(0);
        (idle && server.info().await.requests_in_progress == 0).then_some(())
    })
    .await;
    assert!(
        client
            .infer_batch_composite(batch("red", 1))
            .await
            .unwrap()
            .into_inner()
            .success
    );
    let cancelled = r#"lipsync_requests_total{rpc="InferBatchComposite",code="CANCELLED"}"#;
    assert!(server.metric(cancelled).is_some_and(|count| count >= 1));
    server.stop();
}

#[tokio::test]
async fn all_models_in_use_is_capacity_full_with_a_time_to_retry() {
    let folder = avatars::Folder::new(&["red", "green"]);
    let capacity = "eviction_wait_seconds: 0\n";
    folder.configure("", capacity, &[("red", ""), ("green", "")], "");
    let text = std::fs::read_to_string(folder.config()).unwrap();
    std::fs::write(
        folder.config(),
        text.replace("max_models: 2", "max_models: 1"),
    )
    .unwrap();
    let server = Server::start(&folder);
    let mut client = server.client().await;
    assert!(
        client
            .infer_batch_composite(batch("red", 1))
            .await
            .unwrap()
            .into_inner()
            .success
    );
    let busy = {
        let mut client = server.client().await;
        tokio::spawn(async move {
            loop {
                let answer = client
                    .infer_batch_composite(batch("red", 25))
                    .await
                    .unwrap()
                    .into_inner();
                // Between two batches green may have taken the place, and red then finds it in use.
                assert!(
                    answer.success || answer.error.contains("capacity full"),
                    "{}",
                    answer.error
                );
            }
        })
    };
    let mut request = Request::new(batch("green", 1));
    request
        .metadata_mut()
        .insert(wire::ERRORS_KEY, "status".parse().unwrap());
    let status = eventually("green is refused", async || {
        let mut request = Request::new(batch("green", 1));
        request
            .metadata_mut()
            .insert(wire::ERRORS_KEY, "status".parse().unwrap());
        client.infer_batch_composite(request).await.err()
    })
    .await;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("capacity full"), "{status}");
    assert!(status.get_error_details().retry_info().is_some());
    busy.abort();
    server.stop();
}

/// `message` with a token.
fn with<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

#[tokio::test]
async fn tokens_say_who_may_do_what() {
    let folder = avatars::with_server(&["red"], "tokens_file: tokens");
    let tokens = "user studio 0123456789abcdef\nadmin ops fedcba9876543210\n";
    std::fs::write(folder.path().join("tokens"), tokens).unwrap();
    let server = Server::start(&folder);
    let mut client = server.client().await;
    let (user, admin) = ("0123456789abcdef", "fedcba9876543210");
    for refused in [
        client.infer_batch_composite(batch("red", 1)).await,
        client
            .infer_batch_composite(with("0000000000000000", batch("red", 1)))
            .await,
    ] {
        assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    }
    let answer = client
        .infer_batch_composite(with(user, batch("red", 1)))
        .await
        .unwrap();
    assert!(answer.into_inner().success);
    let unload = || wire::UnloadModelRequest {
        model_id: "red".to_owned(),
    };
    let refused = client.unload_model(with(user, unload())).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(
        client
            .unload_model(with(admin, unload()))
            .await
            .unwrap()
            .into_inner()
            .success
    );
    let mut path = async |token| {
        let request = with(token, wire::ListModelsRequest {});
        let list = client.list_models(request).await.unwrap().into_inner();
        list.models[0].model_path.clone()
    };
    assert_eq!(path(user).await, "");
    assert!(path(admin).await.ends_with("generator.onnx"));
    // Load balancers have no tokens.
    let mut health = tonic_health::pb::health_client::HealthClient::new(server.channel().await);
    let check = tonic_health::pb::HealthCheckRequest::default();
    assert!(health.check(check).await.is_ok());
    let log = server.stop();
    assert!(!log.contains(user) && !log.contains(admin), "{log}");
}
