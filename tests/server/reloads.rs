//! A configuration that changes while the server runs.

use lipsync::wire;
use tonic::Code;

use crate::common::avatars::{self, Folder};
use crate::common::eventually;
use crate::common::process::{Server, batch, strict};

/// Signals a reload and waits until the log has one more line with `text`.
async fn reload(server: &Server, text: &str) {
    let count = |log: &str| log.matches(text).count();
    let before = count(&server.log());
    server.signal("HUP");
    eventually(text, async || (count(&server.log()) > before).then_some(())).await;
}

async fn names(server: &Server) -> Vec<String> {
    let mut client = server.client().await;
    let list = client
        .list_models(wire::ListModelsRequest {})
        .await
        .unwrap();
    let models = list.into_inner().models.into_iter();
    models.map(|model| model.model_id).collect()
}

#[tokio::test]
async fn a_hangup_takes_a_new_configuration_over_or_keeps_the_old_one() {
    let folder = Folder::new(&["red", "green", "blue"]);
    folder.configure("", "", &[("red", ""), ("green", "")], "");
    let server = Server::start(&folder);
    let mut client = server.client().await;
    for id in ["red", "green"] {
        assert!(
            client
                .infer_batch_composite(batch(id, 1))
                .await
                .unwrap()
                .into_inner()
                .success
        );
    }
    // Red changes, green goes, blue comes, a limit too; the port cannot.
    folder.configure("", "", &[("red", "sequence: wrap"), ("blue", "")], "");
    let text = std::fs::read_to_string(folder.config()).unwrap();
    let text = text.replace("max_models: 2", "max_models: 5").replacen(
        "port: 127.0.0.1:0",
        "port: 127.0.0.1:1",
        1,
    );
    std::fs::write(folder.config(), text).unwrap();
    reload(&server, "configuration reloaded").await;
    assert!(server.log().contains("server.port"), "{}", server.log());
    assert_eq!(names(&server).await, ["red", "blue"]);
    assert!(
        client
            .infer_batch_composite(batch("blue", 1))
            .await
            .unwrap()
            .into_inner()
            .success
    );
    let gone = client
        .infer_batch_composite(strict(batch("green", 1)))
        .await
        .unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    let around = eventually("red is the new one", async || {
        let answer = client
            .infer_batch_composite(batch("red", 5))
            .await
            .unwrap()
            .into_inner();
        assert!(answer.success, "{}", answer.error);
        (answer.background_indices == [0, 1, 2, 0, 1]).then_some(answer)
    })
    .await;
    assert_eq!(around.composited_frames.len(), 5);
    assert_eq!(
        client
            .health(wire::HealthRequest {})
            .await
            .unwrap()
            .into_inner()
            .max_models,
        5
    );

    std::fs::write(folder.config(), "models: {red: {modelpath: x}}").unwrap();
    reload(&server, "configuration not reloaded").await;
    let log = server.log();
    assert!(
        log.contains("modelpath") && log.contains("model_path"),
        "{log}"
    );
    assert_eq!(names(&server).await, ["red", "blue"]);
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
async fn loading_an_unknown_model_reads_the_configuration_again() {
    let folder = Folder::new(&["red", "green"]);
    folder.configure("", "", &[("red", "")], "");
    let server = Server::start(&folder);
    let mut client = server.client().await;
    let load = || wire::LoadModelRequest {
        model_id: "green".to_owned(),
        force_reload: false,
    };
    let status = client.load_model(strict(load())).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    folder.configure("", "", &[("red", ""), ("green", "")], "");
    let answer = client.load_model(load()).await.unwrap().into_inner();
    assert!(answer.success, "{}", answer.error);
    assert!(
        client
            .infer_batch_composite(batch("green", 1))
            .await
            .unwrap()
            .into_inner()
            .success
    );

    std::fs::write(folder.config(), "models:").unwrap();
    let blue = wire::LoadModelRequest {
        model_id: "blue".to_owned(),
        force_reload: false,
    };
    let status = client.load_model(strict(blue)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    assert_eq!(names(&server).await, ["red", "green"]);
    server.stop();
}

#[tokio::test]
async fn new_tokens_are_in_force_after_a_reload_and_broken_ones_are_not() {
    let folder = avatars::with_server(&["red"], "tokens_file: tokens");
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "user a 0123456789abcdef\n").unwrap();
    let server = Server::start(&folder);
    let mut client = server.client().await;
    let mut code = async |token: &str| {
        let mut request = tonic::Request::new(wire::ListModelsRequest {});
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        client
            .list_models(request)
            .await
            .map_or_else(|status| status.code(), |_| Code::Ok)
    };
    assert_eq!(code("0123456789abcdef").await, Code::Ok);
    std::fs::write(&tokens, "user a fedcba9876543210\n").unwrap();
    reload(&server, "configuration reloaded").await;
    assert_eq!(code("0123456789abcdef").await, Code::Unauthenticated);
    assert_eq!(code("fedcba9876543210").await, Code::Ok);
    std::fs::write(&tokens, "nonsense\n").unwrap();
    reload(&server, "configuration not reloaded").await;
    assert_eq!(code("fedcba9876543210").await, Code::Ok);
    server.stop();
}

#[tokio::test]
async fn a_limit_that_is_fixed_at_start_stays_for_requests_and_answers_alike() {
    let folder = Folder::new(&[]);
    folder.add_avatar_of((640, 480), "large", 0);
    let models = [("large", "")];
    folder.configure("", "", &models, "");
    let server = Server::start(&folder);
    let changed = "max_message_size_mb: 1\nmessage_memory_mb: 512\nmax_calls_per_connection: 7\n";
    folder.configure(changed, "", &models, "");
    reload(&server, "configuration reloaded").await;
    let log = server.log();
    for key in [
        "max_message_size_mb",
        "message_memory_mb",
        "max_calls_per_connection",
    ] {
        assert!(log.contains(&format!("server.{key}")), "{key}: {log}");
    }
    // An answer of 1.8 MB.
    let frames = wire::CompositeBatchRequest {
        output_format: wire::ImageFormat::Rgb.into(),
        ..batch("large", 2)
    };
    let mut client = server.client().await;
    let answer = client.infer_batch_composite(strict(frames)).await.unwrap();
    assert_eq!(answer.into_inner().composited_frames.len(), 2);
    server.stop();
}
