//! The stream's rules with a scripted avatar and a clock that only moves when nothing else can.

mod late;
mod paced;
mod scripted;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{advance, sleep};

use super::*;
use scripted::{Stream, speech, start, summary};

#[tokio::test(start_paused = true)]
async fn without_pacing_speech_comes_in_order_and_only_speech() {
    let mut stream = start(false, 7);
    // The second frame overtakes the first.
    stream
        .avatar
        .times
        .lock()
        .unwrap()
        .push_back(Duration::from_secs(1));
    stream.started().await;
    stream.say(3).await;
    stream.send(Input::EndOfSpeech).await;
    stream.say(2).await;
    for (n, kind) in [(0, speech(0, 0)), (1, speech(0, 1)), (2, speech(0, 2))] {
        let frame = stream.frame().await;
        assert_eq!(
            (frame.index, frame.frame_index, frame.kind),
            (n, 7 + n, kind)
        );
        assert_eq!(frame.presentation, Duration::from_millis(40 * n));
    }
    let end = Progress {
        utterance: 0,
        frames: 3,
    };
    assert!(
        matches!(stream.event().await, Event::UtteranceEnd { utterance, .. } if utterance == end)
    );
    assert_eq!(stream.frame().await.kind, speech(1, 0));
    // Closing ends the last utterance too.
    let (events, ending) = stream.rest().await;
    assert_eq!(ending.unwrap(), Ending::Closed);
    assert_eq!(events.len(), 3);
    let summary = summary(&events);
    assert_eq!(
        (
            summary.speech_frames,
            summary.idle_frames,
            summary.utterances
        ),
        (5, 0, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn an_end_without_audio_is_answered() {
    let mut stream = start(false, 0);
    stream.started().await;
    stream.send(Input::EndOfSpeech).await;
    let end = Progress {
        utterance: 0,
        frames: 0,
    };
    assert!(
        matches!(stream.event().await, Event::UtteranceEnd { utterance, .. } if utterance == end)
    );
    stream.say(1).await;
    stream.send(Input::EndOfSpeech).await;
    assert_eq!(stream.frame().await.kind, speech(1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_is_one_frame_away() {
    for realtime in [true, false] {
        let mut stream = start(realtime, 0);
        stream.started().await;
        stream.say(400).await;
        let mut shown = Vec::new();
        while shown.len() < 10 {
            let frame = stream.frame().await;
            if frame.kind != Kind::Idle {
                shown.push(frame);
            }
        }
        let last = shown.last().unwrap();
        let (index, slot) = (last.index, last.frame_index);
        stream.send(Input::Interrupt).await;
        let (before, event) = stream.frames().await;
        assert!(
            before.len() <= 1,
            "{} frames after the interrupt",
            before.len()
        );
        let sent = 10 + before.len() as u64;
        let cut = Cut {
            shown: Progress {
                utterance: 0,
                frames: sent,
            },
            time: Duration::from_millis(40 * sent),
        };
        assert!(
            matches!(event, Event::Interrupted(p) if p == cut),
            "{event:?}"
        );
        tokio::task::yield_now().await;
        assert_eq!(
            stream.avatar.busy.load(Ordering::SeqCst),
            0,
            "nothing is in the making"
        );
        if realtime {
            let idle = stream.frame().await;
            assert_eq!(idle.kind, Kind::Idle);
            assert_eq!(idle.index, index + 1 + before.len() as u64);
            assert_eq!(
                idle.frame_index,
                slot + 1 + before.len() as u64,
                "the head goes on"
            );
        }
        stream.say(2).await;
        loop {
            let frame = stream.frame().await;
            if frame.kind != Kind::Idle {
                assert_eq!(frame.kind, speech(1, 0));
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_overtakes_audio_that_waits_and_numbers_stay() {
    let mut stream = start(false, 0);
    stream.started().await;
    for _ in 0..3 {
        stream.say(5).await;
        stream.send(Input::EndOfSpeech).await;
    }
    stream.send(Input::Interrupt).await;
    stream.say(1).await;
    let mut interrupted = false;
    loop {
        match stream.event().await {
            Event::Interrupted(_) => interrupted = true,
            Event::Frame(frame) if interrupted => {
                assert_eq!(frame.kind, speech(3, 0));
                break;
            }
            _ => (),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_and_a_flooding_writer_wait() {
    let stream = start(false, 0);
    let inputs = stream.inputs.clone().unwrap();
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let writer = tokio::spawn(async move {
        for _ in 0..1000 {
            let audio = Input::Audio(Bytes::from(vec![0; 100]));
            if inputs.send(Ok(audio)).await.is_err() {
                return;
            }
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    sleep(Duration::from_secs(5)).await;
    // 1000 bytes in the inbox, a piece and the windows ahead; nobody reads the frames.
    let bytes = 100 * taken.load(Ordering::SeqCst);
    assert!((900..2500).contains(&bytes), "{bytes}");
    assert!(stream.avatar.busy_max.load(Ordering::SeqCst) <= 4);
    assert!(stream.avatar.made.load(Ordering::SeqCst) <= 4 + 2);
    let (events, ending) = {
        let mut stream = stream;
        stream.inputs = None;
        let rest = stream.rest();
        let (writer, rest) = tokio::join!(writer, rest);
        writer.unwrap();
        rest
    };
    ending.unwrap();
    assert_eq!(summary(&events).speech_frames, 50_000, "nothing was lost");
}

#[tokio::test(start_paused = true)]
async fn dropping_a_stream_drops_its_frames() {
    let mut stream = start(false, 0);
    *stream.avatar.times.lock().unwrap() = vec![Duration::from_mins(10); 4].into();
    stream.started().await;
    stream.say(10).await;
    while stream.avatar.busy.load(Ordering::SeqCst) < 4 {
        advance(Duration::from_millis(1)).await;
    }
    let Stream {
        avatar,
        events,
        ending,
        inputs: _inputs,
        drain: _drain,
        ..
    } = stream;
    drop(events);
    assert_eq!(ending.await.unwrap().unwrap(), Ending::Gone);
    assert_eq!(avatar.busy.load(Ordering::SeqCst), 0);
    assert_eq!(Arc::strong_count(&avatar), 1, "the avatar is free");
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_the_utterance_finish_and_no_other_begin() {
    for realtime in [true, false] {
        let mut stream = start(realtime, 0);
        stream.started().await;
        stream.say(5).await;
        let inputs = stream.inputs.clone().unwrap();
        sleep(Duration::from_millis(10)).await;
        stream.drain.take().unwrap().send(()).unwrap();
        sleep(Duration::from_millis(10)).await;
        stream.say(5).await;
        stream.send(Input::EndOfSpeech).await;
        let (events, ending) = stream.rest().await;
        assert_eq!(ending.unwrap(), Ending::Drained);
        let summary = summary(&events);
        assert_eq!((summary.speech_frames, summary.utterances), (10, 1));
        assert!(inputs.send(Ok(Input::Interrupt)).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_has_an_end() {
    let mut stream = start(true, 0);
    stream.started().await;
    stream.say(300).await;
    stream.drain.take().unwrap().send(()).unwrap();
    let inputs = stream.inputs.clone();
    let (events, ending) = stream.rest().await;
    drop(inputs);
    assert_eq!(ending.unwrap(), Ending::Drained);
    let shown = summary(&events).speech_frames;
    assert!((40..60).contains(&shown), "{shown} frames in two seconds");
}

#[tokio::test(start_paused = true)]
async fn half_a_sample_is_an_error_that_says_so() {
    let mut stream = start(false, 0);
    stream.started().await;
    stream.send(Input::Audio(Bytes::from_static(&[0; 3]))).await;
    stream.send(Input::EndOfSpeech).await;
    let (_, ending) = stream.rest().await;
    let error = ending.unwrap_err().to_string();
    assert!(error.contains("1 of its 2 bytes"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_malformed_input_ends_the_stream() {
    let mut stream = start(true, 0);
    stream.started().await;
    let bad = InputError::Malformed {
        field: "start",
        reason: "twice".to_owned(),
    };
    let inputs = stream.inputs.as_ref().unwrap();
    inputs.send(Err(bad)).await.unwrap();
    let (_, ending) = stream.rest().await;
    assert!(matches!(ending, Err(TalkError::Input(_))));
}
