use futures::StreamExt as _;
use http_body_util::{BodyExt as _, StreamBody};
use tonic::Code;

use super::*;

fn limits(bytes_max: usize, memory: usize) -> MessageLimits {
    MessageLimits {
        bytes_max,
        limit: "the test",
        time: Duration::from_secs(10),
        memory: MessageMemory::new(memory, Duration::from_millis(20)),
        in_use: InUse::UntilTheCallEnds,
    }
}

/// A message with its prefix.
fn message(length: usize) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&(length as u32).to_be_bytes());
    bytes.resize(PREFIX + length, 7);
    bytes
}

/// A body of these pieces.
fn body(
    pieces: Vec<Vec<u8>>,
    limits: MessageLimits,
    held: &Held,
) -> Received<impl Body<Data = Bytes, Error = Status> + Unpin + use<>> {
    let frames = pieces
        .into_iter()
        .map(|piece| Ok::<_, Status>(Frame::data(Bytes::from(piece))));
    let body = StreamBody::new(futures::stream::iter(frames));
    Received::new(body, limits, Arc::clone(held))
}

#[tokio::test]
async fn bytes_pass_unchanged_however_they_are_cut() {
    let bytes: Vec<u8> = [message(3), message(0), message(200_000), message(70_000)].concat();
    for cut in [1, 2, 4, 5, 6, 7, 1000, 100_003, bytes.len()] {
        let held = Held::default();
        let pieces = bytes.chunks(cut).map(<[u8]>::to_vec).collect();
        let body = body(pieces, limits(200_000, 1 << 20), &held);
        let passed = body.collect().await.unwrap().to_bytes();
        assert!(passed == bytes, "cut every {cut} bytes");
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_by_its_prefix() {
    for cut in 1..=PREFIX {
        let prefix = message(1001)[..PREFIX].to_vec();
        let pieces = prefix.chunks(cut).map(<[u8]>::to_vec).collect();
        let body = body(pieces, limits(1000, 1 << 20), &Held::default());
        let status = body.collect().await.unwrap_err();
        assert_eq!(status.code(), Code::OutOfRange);
        assert!(status.message().contains("1001"), "{status}");
    }
}

#[tokio::test]
async fn memory_is_taken_with_the_prefix_and_given_back_with_the_call() {
    let limits = limits(1 << 20, 1 << 20);
    let free = Arc::clone(&limits.memory.free);
    let all = free.available_permits();
    let held = Held::default();
    let prefix = message(1 << 20)[..PREFIX].to_vec();
    let mut first = body(vec![prefix.clone()], limits.clone(), &held);
    assert!(first.frame().await.unwrap().is_ok());
    assert_eq!(free.available_permits(), all - 1024);
    // Nothing is left for another.
    let mut second = body(vec![prefix.clone()], limits.clone(), &Held::default());
    let status = second.frame().await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(second.frame().await.is_none());
    // The body is read; the message is still in use.
    drop(first);
    assert_eq!(free.available_permits(), all - 1024);
    drop(held);
    assert_eq!(free.available_permits(), all);
    let mut third = body(vec![prefix], limits, &Held::default());
    assert!(third.frame().await.unwrap().is_ok());
}

#[tokio::test]
async fn a_stream_holds_the_memory_of_one_message() {
    let limits = limits(1 << 20, 1 << 20);
    let free = Arc::clone(&limits.memory.free);
    let all = free.available_permits();
    let held = Held::default();
    let pieces = vec![message(600_000), message(600_000), message(10)];
    let mut stream = body(pieces, limits, &held);
    for _ in 0..2 {
        assert!(stream.frame().await.unwrap().is_ok());
        assert_eq!(free.available_permits(), all - 586);
    }
    assert!(stream.frame().await.unwrap().is_ok());
    assert_eq!(free.available_permits(), all, "small ones are not counted");
}

#[tokio::test]
async fn a_stream_that_says_no_more_holds_nothing() {
    let limits = MessageLimits {
        in_use: InUse::UntilTheNextIsAsked,
        ..limits(1 << 20, 1 << 20)
    };
    let free = Arc::clone(&limits.memory.free);
    let all = free.available_permits();
    let bytes = message(600_000);
    let pieces: Vec<Vec<u8>> = bytes.chunks(100_000).map(<[u8]>::to_vec).collect();
    let count = pieces.len();
    let frames =
        futures::stream::iter(pieces).map(|piece| Ok::<_, Status>(Frame::data(Bytes::from(piece))));
    let quiet = StreamBody::new(frames.chain(futures::stream::pending()));
    let mut stream = Received::new(quiet, limits, Held::default());
    for _ in 0..count {
        assert!(stream.frame().await.unwrap().is_ok());
        assert_eq!(free.available_permits(), all - 586);
    }
    // The whole message is here; whoever has read it asks for the next, which does not come.
    let next = tokio::time::timeout(Duration::from_millis(1), stream.frame());
    assert!(next.await.is_err());
    assert_eq!(free.available_permits(), all);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_does_not_come_is_given_up_and_a_pause_between_two_is_not() {
    for sent in 1..message(100).len() {
        let begun = message(100)[..sent].to_vec();
        let frames = futures::stream::iter([Ok::<_, Status>(Frame::data(Bytes::from(begun)))]);
        let stalled = StreamBody::new(frames.chain(futures::stream::pending()));
        let body = Received::new(stalled, limits(1000, 1 << 20), Held::default());
        let status = body.collect().await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{sent} bytes");
    }
    let frames = futures::stream::iter([Ok::<_, Status>(Frame::data(Bytes::from(message(100))))]);
    let quiet = StreamBody::new(frames.chain(futures::stream::pending()));
    let mut body = Received::new(quiet, limits(1000, 1 << 20), Held::default());
    assert!(body.frame().await.unwrap().is_ok());
    let day = tokio::time::timeout(Duration::from_hours(24), body.frame());
    assert!(day.await.is_err());
}
