//! Tenants over real sockets: what exists for each, what each may have, and that nobody takes it from the others.

use std::process::Command;

use lipsync::tenants::KeyHash;
use lipsync::wire;
use lipsync::wire::lip_sync_client::LipSyncClient;
use lipsync::wire::talk_request::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::common::avatars::{self, Folder};
use crate::common::process::{Server, batch};

/// A tenant's key, said by its name.
fn key(tenant: &str) -> String {
    format!("key-of-{tenant}-0123456789")
}

/// Tenants with these lines each.
fn tenants(list: &[(&str, &str)]) -> String {
    let entries = list.iter().map(|(name, lines)| {
        let hash = KeyHash::of(key(name).as_bytes());
        format!("  {name}:\n    keys: ['{hash}']\n{lines}")
    });
    format!("tenants:\n{}", entries.collect::<String>())
}

fn folder(avatars: &[&str], server: &str, list: &[(&str, &str)]) -> Folder {
    let folder = avatars::with_server(avatars, &format!("tenants_file: tenants.yaml\n{server}"));
    std::fs::write(folder.path().join("tenants.yaml"), tenants(list)).unwrap();
    folder
}

/// `message` from a tenant, which wants errors as statuses.
fn from<T>(tenant: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert(
        "authorization",
        format!("Bearer {}", key(tenant)).parse().unwrap(),
    );
    metadata.insert("lipsync-errors", "status".parse().unwrap());
    request
}

/// A stream that stays open for as long as the sender lives.
async fn hold(server: &Server, tenant: &str) -> Result<mpsc::Sender<wire::TalkRequest>, Status> {
    let (sender, receiver) = mpsc::channel(2);
    let start = Some(Message::Start(wire::TalkStart {
        model_id: "red".to_owned(),
        ..wire::TalkStart::default()
    }));
    sender
        .send(wire::TalkRequest { message: start })
        .await
        .unwrap();
    let mut client = LipSyncClient::new(server.channel().await);
    let request = from(tenant, ReceiverStream::new(receiver));
    let mut told = client.talk(request).await?.into_inner();
    // It is in once it is told anything.
    told.message().await?;
    tokio::spawn(async move { while let Ok(Some(_)) = told.message().await {} });
    Ok(sender)
}

#[tokio::test]
async fn other_models_do_not_exist() {
    let folder = folder(
        &["red", "green"],
        "",
        &[("a", "    models: 're*'\n"), ("ops", "    role: admin\n")],
    );
    let server = Server::start(&folder);
    let mut client = server.client().await;
    let mut names = async |tenant| {
        let list = client
            .list_models(from(tenant, wire::ListModelsRequest {}))
            .await;
        let list = list.unwrap().into_inner().models.into_iter();
        list.map(|model| model.model_id).collect::<Vec<_>>()
    };
    assert_eq!(names("a").await, ["red"]);
    assert_eq!(names("ops").await, ["red", "green"]);
    let mut infer = async |model| {
        let answer = client
            .infer_batch_composite(from("a", batch(model, 1)))
            .await;
        answer.map(|answer| answer.into_inner().success)
    };
    assert!(infer("red").await.unwrap());
    let foreign = infer("green").await.unwrap_err();
    let unknown = infer("nobody").await.unwrap_err();
    assert_eq!(foreign.code(), Code::NotFound);
    assert_eq!(
        foreign.message().replace("green", "nobody"),
        unknown.message(),
        "nothing tells them apart"
    );
    let stats = wire::GetModelStatsRequest {
        model_id: "green".to_owned(),
    };
    let refused = client.get_model_stats(from("a", stats)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let load = wire::LoadModelRequest {
        model_id: "red".to_owned(),
        ..wire::LoadModelRequest::default()
    };
    let refused = client
        .load_model(from("a", load.clone()))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    client.load_model(from("ops", load)).await.unwrap();
    let log = server.stop();
    let audit = log.lines().find(|line| line.contains("INFO audit"));
    let audit = audit.unwrap_or_else(|| panic!("no audit line:\n{log}"));
    assert!(
        audit.contains("ops") && audit.contains("load") && audit.contains("red"),
        "{audit}"
    );
    assert!(!log.contains("key-of-"), "{log}");
}

#[tokio::test]
async fn every_limit_is_the_tenants_own() {
    let folder = folder(
        &["red"],
        "",
        &[
            ("few", "    max_streams: 1\n"),
            ("slow", "    frames_per_second: 1\n    frames_burst: 25\n"),
            ("free", ""),
            ("gone", "    expires: 2020-01-01\n"),
        ],
    );
    let server = Server::start(&folder);
    let mut client = server.client().await;
    let first = hold(&server, "few").await.unwrap();
    let refused = hold(&server, "few").await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let details = refused.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "TENANT_LIMIT");
    let other = hold(&server, "free").await.unwrap();

    let mut infer = async |tenant| {
        let answer = client
            .infer_batch_composite(from(tenant, batch("red", 25)))
            .await;
        answer.map(|answer| answer.into_inner().success)
    };
    assert!(infer("slow").await.unwrap());
    let refused = infer("slow").await.unwrap_err();
    let details = refused.get_error_details();
    assert_eq!(
        details.error_info().unwrap().reason,
        "RATE_LIMIT",
        "{refused}"
    );
    assert!(details.retry_info().unwrap().retry_delay.is_some());
    assert!(infer("free").await.unwrap());
    assert_eq!(
        infer("gone").await.unwrap_err().code(),
        Code::Unauthenticated
    );
    drop((first, other));
    server.stop();
}

#[tokio::test]
async fn a_tenants_part_of_the_streams_is_kept_for_it() {
    let folder = folder(
        &["red"],
        "max_streams: 4",
        &[("greedy", "    weight: 2\n"), ("polite", ""), ("away", "")],
    );
    let server = Server::start(&folder);
    let mut held = Vec::new();
    let refused = loop {
        match hold(&server, "greedy").await {
            Ok(stream) => held.push(stream),
            Err(refused) => break refused,
        }
        assert!(held.len() < 5, "no end of streams");
    };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(held.len(), 2, "one place each is kept for the others");
    let polite = hold(&server, "polite").await.unwrap();
    let away = hold(&server, "away").await.unwrap();
    drop((held, polite, away));
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_below_its_share_is_refused() {
    let folder = folder(
        &["red", "green"],
        "max_concurrent_requests: 8",
        &[("greedy", ""), ("polite", "")],
    );
    let server = Server::start(&folder);
    let mut greedy = tokio::task::JoinSet::new();
    for connection in 0..12 {
        let mut client = server.client().await;
        let model = ["red", "green"][connection % 2];
        greedy.spawn(async move {
            loop {
                // Served or refused, it comes again at once.
                let _ = client
                    .infer_batch_composite(from("greedy", batch(model, 25)))
                    .await;
            }
        });
    }
    let mut client = server.client().await;
    for turn in 0..20 {
        let model = ["red", "green"][turn % 2];
        let answer = client
            .infer_batch_composite(from("polite", batch(model, 1)))
            .await;
        assert!(answer.unwrap().into_inner().success);
    }
    greedy.shutdown().await;
    let refused = r#"lipsync_rejections_total{reason="OVERLOADED"}"#;
    assert!(server.metric(refused) > Some(0), "the greedy were refused");
    server.stop();
}

#[tokio::test]
async fn a_key_is_made_shown_once_and_taken_over() {
    let folder = folder(&["red"], "", &[("a", "    # ours\n    weight: 2\n")]);
    let server = Server::start(&folder);
    let made = Command::new(env!("CARGO_BIN_EXE_lipsync"))
        .args(["tenants", "add-key", "new", "--config"])
        .arg(folder.config())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let made = String::from_utf8(made.stdout).unwrap();
    let made = made.trim();
    let text = std::fs::read_to_string(folder.path().join("tenants.yaml")).unwrap();
    assert!(text.contains("# ours") && !text.contains(made), "{text}");
    let mut client = server.client().await;
    let mut infer = async || {
        let mut request = Request::new(batch("red", 1));
        let value = format!("Bearer {made}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        client.infer_batch_composite(request).await
    };
    assert_eq!(infer().await.unwrap_err().code(), Code::Unauthenticated);
    server.signal("HUP");
    crate::common::eventually("the key is taken over", async || infer().await.ok()).await;
    server.stop();
}

/// Frames of a tenant, as the server tells an admin.
async fn frames(server: &Server, tenant: &str) -> u64 {
    let mut client = LipSyncClient::new(server.channel().await);
    let request = from("ops", wire::GetUsageRequest::default());
    let usage = client.get_usage(request).await.unwrap().into_inner();
    assert!(usage.kept);
    let of = usage.usage.iter().filter(|usage| usage.tenant == tenant);
    of.map(|usage| usage.frames as u64).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_exact_after_a_kill() {
    let folder = folder(
        &["red", "green"],
        "usage_journal: usage.log",
        &[("a", ""), ("b", ""), ("ops", "    role: admin\n")],
    );
    let mut answered = 0;
    let mut asked = 0;
    for round in 0..4 {
        let server = Server::start(&folder);
        // What was answered and what was cut off: between the two is what is known.
        let counted = frames(&server, "a").await;
        assert!(
            (answered..=asked).contains(&counted),
            "{answered} {counted} {asked}"
        );
        // From here on it is exact.
        (answered, asked) = (counted, counted);
        let mut client = server.client().await;
        for turn in 0..5 {
            let model = ["red", "green"][turn % 2];
            let answer = client
                .infer_batch_composite(from("a", batch(model, 7)))
                .await;
            assert!(answer.unwrap().into_inner().success);
            answered += 7;
            asked += 7;
        }
        assert_eq!(frames(&server, "a").await, answered);
        assert_eq!(frames(&server, "b").await, 0);
        if round % 2 == 1 {
            // Killed in the middle of a call.
            asked += 25;
            let call = tokio::spawn(async move {
                client
                    .infer_batch_composite(from("a", batch("red", 25)))
                    .await
            });
            tokio::time::sleep(std::time::Duration::from_millis(5 * round)).await;
            server.signal("KILL");
            if call.await.unwrap().is_ok() {
                answered += 25;
            }
        } else {
            server.signal("KILL");
        }
        drop(server);
    }
    let server = Server::start(&folder);
    let counted = frames(&server, "a").await;
    assert!(
        counted == answered || counted == asked,
        "{answered} {counted} {asked}"
    );
    // Nobody else's accounts are shown to a tenant.
    let mut client = LipSyncClient::new(server.channel().await);
    let own = client
        .get_usage(from("b", wire::GetUsageRequest::default()))
        .await;
    assert!(own.unwrap().into_inner().usage.is_empty());
    let metric = r#"lipsync_tenant_refusals_total{tenant="nobody",reason="UNAUTHENTICATED"}"#;
    let mut client = server.client().await;
    let refused = client.list_models(wire::ListModelsRequest {}).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(server.metric(metric), Some(1));
    server.stop();
}
