//! Memory comes back when a model leaves.

use lipsync::wire;

use crate::common::avatars;
use crate::common::process::{Server, batch};

#[tokio::test]
async fn two_hundred_loads_take_no_more_than_ten() {
    let folder = avatars::plain(&["red", "green"]);
    let server = Server::start(&folder);
    let mut client = server.client().await;
    let mut resident = Vec::new();
    for cycle in 0..210 {
        let id = ["red", "green"][cycle % 2];
        // A frame, so that pictures and buffers are there too.
        let answer = client.infer_batch_composite(batch(id, 1)).await.unwrap();
        assert!(answer.into_inner().success);
        let request = wire::UnloadModelRequest {
            model_id: id.to_owned(),
        };
        let answer = client.unload_model(request).await.unwrap();
        assert!(answer.into_inner().success);
        resident.push(server.metric("lipsync_process_resident_bytes").unwrap());
    }
    // Single cycles differ by the threads that are still there: the middle of eleven.
    let around = |cycle: usize| {
        let mut near = resident[cycle - 6..cycle + 5].to_vec();
        near.sort_unstable();
        near[5]
    };
    let (ten, all) = (around(10), around(200));
    println!("{ten} bytes after 10 cycles, {all} after 200");
    assert!(all * 10 < ten * 11, "{ten} -> {all}");
    server.stop();
}
