//! Talk over real sockets: what a client gets is what the offline path makes, and nobody can harm anybody else.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

#[path = "../../examples/talk_load/cable.rs"]
mod cable;
#[path = "../common/mod.rs"]
mod common;
mod late;
mod setup;
mod socket;
mod tokens;
mod vanish;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lipsync::audio::AudioReader;
use lipsync::encoder::Format;
use lipsync::pipeline::clip::{ClipOptions, render_clip};
use lipsync::pipeline::loader::backend_options;
use lipsync::pipeline::{LoadOptions, LoadedModel};
use lipsync::wire::talk_frame::Kind;
use lipsync::wire::talk_response::Message as Told;
use lipsync::wire::{ImageFormat, SampleFormat, TalkStart};
use setup::{Conversation, Folder, eventually, frames_of, s16, speech, start, wav};
use tonic::Code;
use tonic_types::StatusExt as _;

/// The frames of a whole clip, made without any server.
async fn offline(folder: &Folder, id: &str, wav: Vec<u8>) -> Vec<(u64, Bytes)> {
    let config = folder.config();
    let backend = lipsync::engine::select(&backend_options(&config.onnx)).unwrap();
    let options = LoadOptions::new(&config, &*backend);
    let model = LoadedModel::open(&*backend, config.model(id).unwrap(), &options).unwrap();
    let reader = AudioReader::from_bytes("speech.wav", wav).unwrap();
    let clip = ClipOptions {
        start_index: 5,
        format: Format::Png,
    };
    let mut frames = Vec::new();
    render_clip(&Arc::new(model), reader, clip, async |frame| {
        frames.push((frame.index, frame.image.into_bytes()));
        ControlFlow::Continue(())
    })
    .await
    .unwrap();
    frames
}

fn pixels(png: &[u8]) -> image::RgbImage {
    image::load_from_memory(png).unwrap().into_rgb8()
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_are_the_offline_ones_however_the_audio_is_cut() {
    let folder = Folder::new(&["ann"], "", "");
    let server = folder.serve().await;
    let samples = speech(1.5);
    let expected = offline(&folder, "ann", wav(&samples)).await;
    assert!(expected.len() > 30);
    let bytes = s16(&samples);
    for cut in [bytes.len(), 6401, 333] {
        let begin = TalkStart {
            start_frame_idx: 5,
            ..start("ann")
        };
        let mut talk = Conversation::open(&server, begin).await;
        for chunk in bytes.chunks(cut) {
            talk.say(chunk).await;
        }
        talk.end_of_speech().await;
        talk.close();
        let mut frames = Vec::new();
        let mut summary = None;
        while let Some(told) = talk.next().await.unwrap() {
            match told {
                Told::Frame(frame) => {
                    assert_eq!(frame.kind(), Kind::Speech);
                    assert_eq!(frame.utterance_frame as usize, frames.len());
                    frames.push((frame.frame_idx as u64, frame.image));
                }
                Told::UtteranceEnd(end) => assert_eq!(end.frames as usize, frames.len()),
                Told::Summary(told) => summary = Some(told),
                Told::Started(_) | Told::Interrupted(_) => (),
            }
        }
        assert_eq!(frames.len(), expected.len(), "cut every {cut} bytes");
        for (frame, expected) in frames.iter().zip(&expected) {
            assert_eq!(frame.0, expected.0, "cut every {cut} bytes");
            // A background that is prepared and one that is not yet are encoded differently; pixels are what counts.
            let same = pixels(&frame.1) == pixels(&expected.1);
            assert!(same, "frame {}, cut every {cut} bytes", frame.0);
        }
        let summary = summary.unwrap();
        assert_eq!(summary.speech_frames as usize, expected.len());
        assert!(summary.first_frame_ms > 0.0 && summary.inference_time_ms > 0.0);
    }
    assert!(server.drain().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_real_time_silence_is_filled_and_an_interrupt_silences_at_once() {
    let folder = Folder::new(&["ann"], "", "");
    let server = folder.serve().await;
    let begin = TalkStart {
        realtime: true,
        output_format: ImageFormat::Jpeg.into(),
        ..start("ann")
    };
    let mut talk = Conversation::open(&server, begin).await;
    while talk.frame().await.index < 3 {}
    talk.say(&s16(&speech(20.0))).await;
    let mut last = talk.frame().await;
    while last.kind() == Kind::Idle || last.utterance_frame < 5 {
        let next = talk.frame().await;
        assert!(next.frame_idx > last.frame_idx);
        assert_eq!(next.presentation_time_us, next.frame_idx * 40_000);
        last = next;
    }
    talk.interrupt().await;
    let mut on_the_way = 0;
    let cut = loop {
        match talk.next().await.unwrap().unwrap() {
            Told::Frame(frame) => {
                on_the_way += 1;
                if frame.kind() == Kind::Speech {
                    last = frame;
                }
            }
            Told::Interrupted(cut) => break cut,
            other => panic!("{other:?}"),
        }
    };
    // What had left before the interrupt came in; 20 s of speech were to come.
    assert!(on_the_way < 50, "{on_the_way}");
    assert_eq!(cut.utterance, 0);
    assert_eq!(cut.frames, last.utterance_frame + 1, "what was shown");
    assert!((cut.shown_ms - 40.0 * cut.frames as f64).abs() < 1e-6);
    for _ in 0..10 {
        assert_eq!(talk.frame().await.kind(), Kind::Idle);
    }
    talk.say(&s16(&speech(0.6))).await;
    talk.end_of_speech().await;
    let mut spoken = Vec::new();
    loop {
        match talk.next().await.unwrap().unwrap() {
            Told::Frame(frame) if frame.kind() == Kind::Speech => spoken.push(frame),
            Told::Frame(_) => (),
            Told::UtteranceEnd(end) => {
                assert_eq!(end.utterance, 1);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(spoken.iter().all(|frame| frame.utterance == 1));
    // Picture and sound stay together, also where frames were left out.
    let offset = |frame: &lipsync::wire::TalkFrame| frame.frame_idx - frame.utterance_frame;
    assert!(
        spoken
            .windows(2)
            .all(|pair| offset(&pair[0]) == offset(&pair[1]))
    );
    drop(talk);
    assert!(server.drain().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_harms_nobody_and_loses_nothing() {
    let folder = Folder::new(&["ann"], "", "");
    let server = folder.serve().await;
    let audio = s16(&speech(2.0));
    // Larger frames than the connection's window holds.
    let begin = TalkStart {
        output_format: ImageFormat::Rgb.into(),
        ..start("ann")
    };
    let mut slow = Conversation::open(&server, begin).await;
    for _ in 0..4 {
        slow.say(&audio).await;
    }
    slow.end_of_speech().await;
    slow.close();
    let mut quick = Conversation::open(&server, start("ann")).await;
    quick.say(&audio).await;
    quick.close();
    let (quick, _) = quick.rest().await;
    assert_eq!(quick, frames_of(2.0));
    let (slow, summary) = slow.rest().await;
    assert_eq!(slow, frames_of(8.0));
    assert_eq!(summary.unwrap().utterances, 1);
    assert!(server.drain().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_leaves_nothing_behind() {
    let folder = Folder::new(&["ann"], "", "");
    let server = folder.serve().await;
    for realtime in [true, false] {
        let begin = TalkStart {
            realtime,
            ..start("ann")
        };
        let mut talk = Conversation::open(&server, begin).await;
        talk.say(&s16(&speech(30.0))).await;
        talk.frame().await;
        assert_eq!(server.state().streams_now(), 1);
        drop(talk);
        eventually("the stream has ended", async || {
            let leases = server.state().registry().model("ann").unwrap().leases;
            (server.state().streams_now() == 0 && leases == 0).then_some(())
        })
        .await;
    }
    assert!(server.drain().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_slowed_not_swallowed() {
    let folder = Folder::new(&["ann"], "stream_audio_mb: 0.0625", "");
    let server = folder.serve().await;
    let mut talk = Conversation::open(&server, start("ann")).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let inputs = talk.sender();
    let counter = Arc::clone(&sent);
    let chunk = Bytes::from(s16(&speech(1.0)));
    let writer = tokio::spawn(async move {
        // Nobody reads the frames.
        for _ in 0..1000 {
            inputs.say(chunk.clone()).await;
            counter.fetch_add(chunk.len(), Ordering::SeqCst);
        }
    });
    let mut before = 0;
    let held = eventually("the writer waits", async || {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = sent.load(Ordering::SeqCst);
        let still = now == before;
        before = now;
        still.then_some(now)
    })
    .await;
    assert!(held < 8 << 20, "{held} of 32 MB were taken");
    // It goes on as soon as somebody reads.
    for _ in 0..100 {
        talk.frame().await;
    }
    eventually("the writer goes on", async || {
        let _ = talk.frame().await;
        (sent.load(Ordering::SeqCst) > held).then_some(())
    })
    .await;
    writer.abort();
    drop(talk);
    assert!(server.drain().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_talks_is_not_evicted() {
    let folder = Folder::new(
        &["ann", "ben"],
        "",
        "max_models: 1\neviction_wait_seconds: 0.2",
    );
    let server = folder.serve().await;
    let begin = TalkStart {
        realtime: true,
        ..start("ann")
    };
    let mut ann = Conversation::open(&server, begin).await;
    ann.frame().await;
    let mut ben = Conversation::open(&server, start("ben")).await;
    let refused = ben.next().await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(refused.get_details_retry_info().is_some());
    ann.say(&s16(&speech(0.5))).await;
    ann.end_of_speech().await;
    while !matches!(ann.next().await.unwrap(), Some(Told::UtteranceEnd(_))) {}
    ann.close();
    ann.rest().await;
    let mut ben = Conversation::open(&server, start("ben")).await;
    ben.say(&s16(&speech(0.5))).await;
    ben.close();
    assert_eq!(ben.rest().await.0, frames_of(0.5));
    assert!(server.drain().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_finishes_the_utterance_and_says_why_it_ends() {
    let folder = Folder::new(&["ann"], "", "");
    let server = folder.serve().await;
    let mut talk = Conversation::open(&server, start("ann")).await;
    talk.say(&s16(&speech(1.0))).await;
    talk.frame().await;
    let state = Arc::clone(server.state());
    let drain = tokio::spawn(server.drain());
    state.reached(lipsync::server::state::Phase::Draining).await;
    talk.say(&s16(&speech(1.0))).await;
    talk.end_of_speech().await;
    let (mut frames, mut summary) = (1, None);
    let status = loop {
        match talk.next().await {
            Ok(Some(Told::Frame(_))) => frames += 1,
            Ok(Some(Told::Summary(told))) => summary = Some(told),
            Ok(Some(_)) => (),
            Ok(None) => panic!("no reason was given"),
            Err(status) => break status,
        }
    };
    assert_eq!(frames, frames_of(2.0));
    assert_eq!(summary.unwrap().utterances, 1);
    assert_eq!(status.code(), Code::Unavailable);
    assert!(drain.await.unwrap(), "in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_named() {
    let folder = Folder::new(&["ann"], "max_streams: 1", "");
    let server = folder.serve().await;
    let refused = async |begin: TalkStart| {
        let mut talk = Conversation::open(&server, begin).await;
        let status = loop {
            match talk.next().await {
                Ok(Some(_)) => (),
                Ok(None) => panic!("not refused"),
                Err(status) => break status,
            }
        };
        drop(talk);
        eventually("its place is free", async || {
            (server.state().streams_now() == 0).then_some(())
        })
        .await;
        let fields = status.get_details_bad_request().map(|request| {
            let fields = request.field_violations.into_iter();
            fields.map(|violation| violation.field).collect::<Vec<_>>()
        });
        (status.code(), fields.unwrap_or_default())
    };
    let invalid = |field: &str| (Code::InvalidArgument, vec![field.to_owned()]);
    assert_eq!(refused(start("nobody")).await.0, Code::NotFound);
    let rate = TalkStart {
        sample_rate_hz: 7,
        ..start("ann")
    };
    assert_eq!(refused(rate).await, invalid("sample_rate_hz"));

    // What is sent after the start.
    let mistakes: [(&str, Vec<lipsync::wire::talk_request::Message>); 3] = {
        use lipsync::wire::talk_request::Message;
        let odd = Message::Audio(Bytes::from_static(&[1, 2, 3]));
        let end = Message::EndOfSpeech(lipsync::wire::EndOfSpeech {});
        let nan = Message::Audio(Bytes::copy_from_slice(&f32::NAN.to_le_bytes()));
        [
            ("start", vec![Message::Start(start("ann"))]),
            ("audio", vec![odd, end.clone()]),
            ("audio", vec![nan, end]),
        ]
    };
    for (number, (field, messages)) in mistakes.into_iter().enumerate() {
        let format = if number == 2 {
            SampleFormat::F32le
        } else {
            SampleFormat::S16le
        };
        let begin = TalkStart {
            sample_format: format.into(),
            ..start("ann")
        };
        let mut talk = Conversation::open(&server, begin).await;
        for message in messages {
            talk.send(message).await;
        }
        let status = loop {
            match talk.next().await {
                Ok(told) => assert!(told.is_some(), "not refused"),
                Err(status) => break status,
            }
        };
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, field);
        drop(talk);
        eventually("its place is free", async || {
            (server.state().streams_now() == 0).then_some(())
        })
        .await;
    }

    // One stream too many.
    let mut first = Conversation::open(&server, start("ann")).await;
    first.say(&s16(&speech(0.5))).await;
    first.frame().await;
    let second = Conversation::try_open(&server, start("ann")).await;
    let status = match second {
        Err(status) => status,
        Ok(mut talk) => talk.next().await.unwrap_err(),
    };
    assert_eq!(status.code(), Code::ResourceExhausted);
    drop(first);
    assert!(server.drain().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_for_the_page_alone() {
    let folder = Folder::new(&["ann"], "", "");
    let server = folder.serve().await;
    let address = server.http_address().unwrap();
    let ask = async |path: &str, host: &str, more: &str| {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{more}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        String::from_utf8_lossy(&head[9..]).into_owned()
    };
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let own = format!("127.0.0.1:{}", address.port());
    for path in ["/", "/app.js", "/style.css", "/api/status", "/api/sample"] {
        assert_eq!(ask(path, &own, "").await, "200", "{path}");
        assert_eq!(ask(path, "evil.example", "").await, "403", "{path}");
    }
    let from = |origin: &str| format!("origin: {origin}\r\n{upgrade}");
    assert_eq!(
        ask("/api/talk", &own, &from(&format!("http://{own}"))).await,
        "101"
    );
    assert_eq!(
        ask("/api/talk", &own, &from("http://evil.example")).await,
        "403"
    );
    assert_eq!(ask("/api/talk", &own, upgrade).await, "101", "a program");
    assert!(server.drain().await);
}

/// A short soak: streams that talk, are interrupted, leave and come back take no more memory at the end.
#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_where_it_is() {
    let folder = Folder::new(&["ann", "ben"], "", "");
    let server = folder.serve().await;
    let round = async |rounds: usize| {
        for number in 0..rounds {
            let streams = (0..4).map(async |stream| {
                let begin = TalkStart {
                    realtime: stream % 2 == 0,
                    output_format: ImageFormat::Jpeg.into(),
                    ..start(if stream < 2 { "ann" } else { "ben" })
                };
                let mut talk = Conversation::open(&server, begin).await;
                talk.say(&s16(&speech(0.8))).await;
                talk.frame().await;
                if (number + stream) % 3 == 0 {
                    talk.interrupt().await;
                }
                talk.end_of_speech().await;
                talk.close();
                talk.rest().await;
            });
            futures::future::join_all(streams).await;
        }
    };
    round(3).await;
    let before = memory_stats::memory_stats().unwrap().physical_mem;
    round(6).await;
    let after = memory_stats::memory_stats().unwrap().physical_mem;
    // Other tests run in this process too; a leak of a frame a frame would be a hundred times this.
    assert!(after < before + (256 << 20), "{before} -> {after}");
    assert_eq!(server.state().streams_now(), 0);
    assert!(server.drain().await);
}
