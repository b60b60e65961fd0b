//! Clients that vanish while they speak: everything they had comes back, whatever their connection's end looks like.

use bytes::Bytes;
use lipsync::wire::lip_sync_client::LipSyncClient;
use lipsync::wire::talk_request::Message;
use lipsync::wire::talk_response::Message as Told;
use lipsync::wire::{ImageFormat, TalkRequest, TalkStart};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use crate::cable::{Cable, Cut};
use crate::common::avatars;
use crate::common::eventually;
use crate::common::process::Server;
use crate::setup::{s16, speech, start};

const STREAMS: &str = "lipsync_streams_open";
const LEASES: &str = "lipsync_model_leases{model=\"ann\"}";

/// Talks over a wire that is cut after the first frames, with speech left for a minute.
async fn speak_until_cut(server: &Server, realtime: bool, how: Cut) {
    let cable = Cable::to(server.grpc.to_string()).await.unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{}", cable.address)).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let (inputs, requests) = mpsc::channel(4);
    let begin = TalkStart {
        realtime,
        output_format: ImageFormat::Rgb.into(),
        ..start("ann")
    };
    let audio = Bytes::from(s16(&speech(60.0)));
    for message in [Message::Start(begin), Message::Audio(audio)] {
        let message = Some(message);
        inputs.send(TalkRequest { message }).await.unwrap();
    }
    let mut told = LipSyncClient::new(channel)
        .talk(ReceiverStream::new(requests))
        .await
        .unwrap()
        .into_inner();
    let mut frames = 0;
    while frames < 3 {
        let message = told.message().await.unwrap().unwrap().message;
        frames += usize::from(matches!(message, Some(Told::Frame(_))));
    }
    assert_eq!(server.metric(STREAMS), Some(1));
    assert_eq!(server.metric(LEASES), Some(1));
    cable.cut(how).await.unwrap();
    // Nobody reads any more; the client itself is still there, so that nothing but the wire has ended.
    eventually("the stream and its lease are given back", async || {
        let nothing = Some(0);
        (server.metric(STREAMS) == nothing && server.metric(LEASES) == nothing).then_some(())
    })
    .await;
    drop((told, inputs));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wire_that_is_cut_gives_back_the_lease_and_the_streams_place() {
    // One place: a stream that stayed would keep the next one out.
    let folder = avatars::with_server(&["ann"], "max_streams: 1");
    let server = Server::start(&folder);
    for how in [Cut::Close, Cut::Reset] {
        for realtime in [true, false] {
            speak_until_cut(&server, realtime, how).await;
        }
    }
    server.stop();
}
