//! Memory comes back when a model leaves.

use lipsync::wire;

use crate::common::avatars;
use crate::common::process::{Server, batch};

#[tokio::test]
async fn two_hundred_loads_take_no_more_than_ten() {
    let folder = avatars::plain(&["red", "green"]);
    let server = Server::start(&folder);
    let mut client = server.client().await;
    let mut after_ten = 0;
    for cycle in 1..=200 {
        let id = ["red", "green"][cycle % 2];
        // A frame, so that pictures and buffers are there too.
        let answer = client.infer_batch_composite(batch(id, 1)).await.unwrap();
        assert!(answer.into_inner().success);
        let request = wire::UnloadModelRequest {
            model_id: id.to_owned(),
        };
        assert!(
            client
                .unload_model(request)
                .await
                .unwrap()
                .into_inner()
                .success
        );
        if cycle == 10 {
            after_ten = server.metric("lipsync_process_resident_bytes").unwrap();
        }
    }
    let after = server.metric("lipsync_process_resident_bytes").unwrap();
    println!("{after_ten} bytes after 10 cycles, {after} after 200");
    assert!(after * 10 < after_ten * 11, "{after_ten} -> {after}");
    server.stop();
}
