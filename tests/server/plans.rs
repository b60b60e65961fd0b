//! Plans of the networks, measured while the server runs.

use std::time::{Duration, Instant};

use crate::common::process::{Server, batch};
use crate::common::{PATIENCE, avatars};

#[tokio::test]
async fn a_loaded_network_is_measured_and_the_result_is_kept_beside_it() {
    let folder = avatars::plain(&["red"]);
    // A network with something to rewrite, where the result can be kept.
    let network = folder.path().join("unet.onnx");
    std::fs::copy(avatars::golden("unet.onnx"), &network).unwrap();
    let config = std::fs::read_to_string(folder.config()).unwrap();
    let usual = avatars::golden("generator.onnx").display().to_string();
    let config = config
        .replace(&usual, &network.display().to_string())
        .replace("backend: embedded", "backend: embedded\n  tune: exhaustive");
    std::fs::write(folder.config(), config).unwrap();
    let server = Server::start(&folder);
    let mut client = server.client().await;
    let answer = client.infer_batch_composite(batch("red", 1)).await.unwrap();
    assert!(answer.into_inner().success);
    let kept = folder.path().join("unet.onnx.plans.json");
    // Measuring makes way for whatever else the machine does.
    let end = Instant::now() + 10 * PATIENCE;
    let text = loop {
        match std::fs::read_to_string(&kept) {
            Ok(text) => break text,
            Err(_) if Instant::now() < end => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) => panic!("the plan was not measured: {error}"),
        }
    };
    assert!(
        text.contains("split_up") && text.contains("cores"),
        "{text}"
    );
    let models = client
        .list_models(lipsync::wire::ListModelsRequest {})
        .await
        .unwrap()
        .into_inner()
        .models;
    assert!(
        models[0].plan == "plain" || models[0].plan.starts_with("split"),
        "{:?}",
        models[0].plan
    );
    // Whichever it is, and whether or not the model is loaded anew for it: it serves.
    let answer = client.infer_batch_composite(batch("red", 2)).await.unwrap();
    assert!(answer.into_inner().success);
    let log = server.stop();
    assert!(log.contains("plan measured"), "{log}");
}
