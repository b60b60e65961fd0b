//! Audio that comes late, by a pause, by a slow clock or by jitter: no stream ever stops speaking.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tokio::time::{Instant, sleep, sleep_until};

use super::scripted::{Scripted, Stream, start_with, summary};
use crate::talk::*;

fn avatar(fps: usize, usual_ms: usize) -> Scripted {
    Scripted {
        fps: AtomicUsize::new(fps),
        usual_ms: AtomicUsize::new(usual_ms),
        ..Scripted::default()
    }
}

/// What a client counts of one stream.
#[derive(Debug, Default)]
struct Counted {
    /// Speech frames of each utterance.
    speech: BTreeMap<u64, u64>,
    /// Frames that the server says were left out.
    left_out: u64,
    ends: Vec<u64>,
    interrupts: usize,
    summaries: usize,
    late: u64,
    last_slot: Option<u64>,
}

/// Reads a stream to its end. Every utterance that ends has had all its frames, shown or left out; no frame comes twice.
async fn count(mut stream: Stream) -> Counted {
    let mut counted = Counted::default();
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    while let Some(event) = stream.events.recv().await {
        match event {
            Event::Started(_) => (),
            Event::Frame(frame) => {
                assert!(counted.last_slot < Some(frame.frame_index), "slots go on");
                counted.last_slot = Some(frame.frame_index);
                if let Kind::Speech { utterance, frame } = frame.kind {
                    assert!(
                        last.insert(utterance, frame)
                            .is_none_or(|last| last < frame)
                    );
                    *counted.speech.entry(utterance).or_default() += 1;
                }
            }
            Event::UtteranceEnd {
                utterance,
                left_out,
            } => {
                let shown = counted.speech.get(&utterance.utterance).copied();
                assert_eq!(
                    shown.unwrap_or(0) + left_out,
                    utterance.frames,
                    "{utterance:?}"
                );
                counted.left_out += left_out;
                counted.ends.push(utterance.utterance);
            }
            Event::Interrupted(_) => counted.interrupts += 1,
            Event::Summary(summary) => {
                assert_eq!(summary.speech_frames, counted.speech.values().sum::<u64>());
                counted.late = summary.late_frames;
                counted.summaries += 1;
            }
        }
    }
    stream.ending.await.unwrap().unwrap();
    counted
}

/// Every lateness of 0 to 80 ms in the middle of an utterance, as one utterance each.
async fn every_lateness(fps: usize) {
    let frame = Duration::from_secs(1) / fps as u32;
    for usual_ms in 1..=39 {
        let mut stream = start_with(avatar(fps, usual_ms), true, 0);
        let inputs = stream.inputs.take().unwrap();
        let scripted = std::sync::Arc::clone(&stream.avatar);
        let writer = tokio::spawn(async move {
            let say = async |frames: usize| {
                let audio = Input::Audio(Bytes::from(vec![0; 2 * frames]));
                inputs.send(Ok(audio)).await.unwrap();
            };
            for late_ms in 0..=80 {
                say(2).await;
                sleep(2 * frame + Duration::from_millis(late_ms)).await;
                say(2).await;
                inputs.send(Ok(Input::EndOfSpeech)).await.unwrap();
                sleep(3 * frame).await;
            }
        });
        let counted = count(stream).await;
        writer.await.unwrap();
        let ends: Vec<u64> = (0..=80).collect();
        assert_eq!(
            (counted.ends, counted.summaries),
            (ends, 1),
            "{usual_ms} ms"
        );
        assert_eq!(scripted.stalls.load(Ordering::SeqCst), 0, "{usual_ms} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn every_lateness_at_25_frames_a_second() {
    every_lateness(25).await;
}

#[tokio::test(start_paused = true)]
async fn every_lateness_at_30_frames_a_second() {
    every_lateness(30).await;
}

#[tokio::test(start_paused = true)]
async fn every_lateness_at_60_frames_a_second() {
    every_lateness(60).await;
}

/// Ten minutes from a client whose clock runs `per_mille` slow: all of it is said, nothing is left out.
async fn ten_minutes(per_mille: i32) {
    const FRAMES: u32 = 15_000;
    let mut stream = start_with(avatar(25, 12), true, 0);
    let inputs = stream.inputs.take().unwrap();
    let scripted = std::sync::Arc::clone(&stream.avatar);
    let began = Instant::now();
    let writer = tokio::spawn(async move {
        let step = Duration::from_micros((40_000 + 40 * per_mille).unsigned_abs().into());
        for number in 0..FRAMES {
            sleep_until(began + step * number).await;
            let audio = Input::Audio(Bytes::from_static(&[0; 2]));
            inputs.send(Ok(audio)).await.unwrap();
        }
        inputs.send(Ok(Input::EndOfSpeech)).await.unwrap();
    });
    let counted = count(stream).await;
    writer.await.unwrap();
    assert_eq!((counted.ends, counted.summaries), (vec![0], 1));
    assert_eq!(
        (counted.speech[&0], counted.left_out),
        (FRAMES.into(), 0),
        "{per_mille}"
    );
    assert_eq!(scripted.stalls.load(Ordering::SeqCst), 0);
    // As long as the slower of the two clocks says, and no longer.
    let (client, ours) = (f64::from((1000 + per_mille).unsigned_abs()) * 0.6, 600.0);
    let took = began.elapsed().as_secs_f64();
    assert!((took - client.max(ours)).abs() < 0.5, "{per_mille}: {took}");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_slow_never_silences_its_stream() {
    for per_mille in [1, 5, 10, 30, 50] {
        ten_minutes(per_mille).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_fast_never_silences_its_stream() {
    for per_mille in [1, 5, 10, 30, 50] {
        ten_minutes(-per_mille).await;
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Say { frames: usize },
    Pause { ms: u64 },
    End,
    Interrupt,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (1..8_usize).prop_map(|frames| Act::Say { frames }),
        6 => (0..160_u64).prop_map(|ms| Act::Pause { ms }),
        2 => Just(Act::End),
        1 => Just(Act::Interrupt),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Whatever comes when and however long frames take: every end is answered, every close has its summary.
    #[test]
    fn every_end_and_every_close_is_answered(
        acts in prop::collection::vec(act(), 1..40),
        times in prop::collection::vec(0..90_u64, 0..60),
        fps in prop::sample::select(vec![25_usize, 30, 60]),
        realtime in prop::bool::weighted(0.8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async move {
            let scripted = avatar(fps, 10);
            *scripted.times.lock().unwrap() = times.into_iter().map(Duration::from_millis).collect();
            let mut stream = start_with(scripted, realtime, 0);
            let inputs = stream.inputs.take().unwrap();
            let script = acts.clone();
            let writer = tokio::spawn(async move {
                for act in script {
                    let input = match act {
                        Act::Say { frames } => Input::Audio(Bytes::from(vec![0; 2 * frames])),
                        Act::Pause { ms } => {
                            sleep(Duration::from_millis(ms)).await;
                            continue;
                        }
                        Act::End => Input::EndOfSpeech,
                        Act::Interrupt => Input::Interrupt,
                    };
                    inputs.send(Ok(input)).await.unwrap();
                }
            });
            let counted = count(stream).await;
            writer.await.unwrap();
            let interrupts = acts.iter().filter(|act| matches!(act, Act::Interrupt)).count();
            let last = acts.iter().rposition(|act| matches!(act, Act::Interrupt)).map_or(0, |at| at + 1);
            let ends = acts[last..].iter().filter(|act| matches!(act, Act::End)).count();
            let open = acts[last..].iter().rev().take_while(|act| !matches!(act, Act::End));
            let open = open.into_iter().any(|act| matches!(act, Act::Say { .. }));
            // Ends before an interrupt may have been answered before it overtook them.
            let answered = counted.ends.len();
            assert!(answered >= ends + usize::from(open), "{acts:?}: {counted:?}");
            assert!(counted.ends.windows(2).all(|pair| pair[0] < pair[1]));
            assert_eq!((counted.interrupts, counted.summaries), (interrupts, 1));
        });
    }
}

/// An exact client: sound and picture in step to the frame for as long as it goes on, and nothing grows.
///
/// Ten minutes; `LIPSYNC_TALK_HOURS` makes it as many hours.
#[tokio::test(start_paused = true)]
async fn an_exact_client_stays_in_step() {
    let hours =
        std::env::var("LIPSYNC_TALK_HOURS").map_or(1.0 / 6.0, |hours| hours.parse().unwrap());
    let frames = (hours * 90_000.0) as u64;
    let mut stream = start_with(avatar(25, 12), true, 0);
    let inputs = stream.inputs.take().unwrap();
    let began = Instant::now();
    let writer = tokio::spawn(async move {
        for number in 0..frames {
            sleep_until(began + Duration::from_millis(40 * number)).await;
            let audio = Input::Audio(Bytes::from_static(&[0; 2]));
            inputs.send(Ok(audio)).await.unwrap();
        }
    });
    let (mut offset, mut shown) = (None, 0);
    loop {
        match stream.event().await {
            Event::Frame(picture) => {
                let Kind::Speech { frame, .. } = picture.kind else {
                    assert_eq!(offset, None, "the mouth does not close");
                    continue;
                };
                assert_eq!(frame, shown);
                shown += 1;
                assert_eq!(
                    *offset.get_or_insert(picture.frame_index),
                    picture.frame_index - frame
                );
                assert_eq!(
                    picture.presentation,
                    Duration::from_millis(40 * picture.frame_index)
                );
                let late = began
                    .elapsed()
                    .saturating_sub(Duration::from_millis(40 * frame));
                assert!(
                    late <= Duration::from_millis(200),
                    "frame {frame} after {late:?}"
                );
            }
            Event::UtteranceEnd {
                utterance,
                left_out,
            } => {
                assert_eq!((utterance.frames, left_out), (frames, 0));
                break;
            }
            other => assert!(matches!(other, Event::Started(_)), "{other:?}"),
        }
    }
    writer.await.unwrap();
    assert_eq!(shown, frames);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_shows_nothing_is_counted_once() {
    let mut stream = start_with(Scripted::default(), false, 0);
    *stream.avatar.times.lock().unwrap() = [Duration::from_secs(9)].into();
    stream.started().await;
    stream.say(3).await;
    sleep(Duration::from_secs(8)).await;
    let scripted = std::sync::Arc::clone(&stream.avatar);
    assert_eq!(scripted.stalls.load(Ordering::SeqCst), 1);
    let (events, _) = stream.rest().await;
    assert_eq!(summary(&events).speech_frames, 3);
    assert_eq!(scripted.stalls.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_reads_are_bounded() {
    let stream = start_with(Scripted::default(), true, 0);
    let inputs = stream.inputs.clone().unwrap();
    let mut taken = 0;
    let refused = async {
        loop {
            inputs.send(Ok(Input::Interrupt)).await.unwrap();
            inputs.send(Ok(Input::EndOfSpeech)).await.unwrap();
            taken += 2;
        }
    };
    let waited: Result<(), _> = tokio::time::timeout(Duration::from_mins(1), refused).await;
    assert!(waited.is_err() && (60..200).contains(&taken), "{taken}");
    drop(inputs);
    let (events, _) = stream.rest().await;
    summary(&events);
}
