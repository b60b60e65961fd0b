//! Real time: slots, idle frames, what is left out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use super::scripted::{speech, start, summary};
use crate::talk::*;

#[tokio::test(start_paused = true)]
async fn with_pacing_idle_frames_fill_the_silence_and_nothing_jumps() {
    let mut stream = start(true, 90);
    stream.started().await;
    let mut frames = Vec::new();
    for _ in 0..5 {
        frames.push(stream.frame().await);
    }
    stream.say(20).await;
    stream.send(Input::EndOfSpeech).await;
    let (speaking, end) = stream.frames().await;
    assert!(matches!(end, Event::UtteranceEnd { utterance, .. } if utterance.frames == 20));
    frames.extend(speaking);
    for _ in 0..5 {
        frames.push(stream.frame().await);
    }
    for (n, frame) in frames.iter().enumerate() {
        assert_eq!(
            (frame.index, frame.frame_index),
            (n as u64, 90 + n as u64),
            "no gap"
        );
        assert_eq!(frame.presentation, Duration::from_millis(40 * n as u64));
    }
    let first = frames
        .iter()
        .position(|frame| frame.kind != Kind::Idle)
        .unwrap();
    assert!((5..=8).contains(&first), "{first}");
    for (n, frame) in frames[first..].iter().enumerate() {
        let kind = if n < 20 {
            speech(0, n as u64)
        } else {
            Kind::Idle
        };
        assert_eq!(frame.kind, kind);
    }
    let (events, _) = stream.rest().await;
    let summary = summary(&events);
    assert_eq!(
        (
            summary.speech_frames,
            summary.late_frames,
            summary.skipped_frames
        ),
        (20, 0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn frames_leave_at_their_moment() {
    let mut stream = start(true, 0);
    stream.started().await;
    stream.say(50).await;
    for n in 0..40 {
        let frame = stream.frame().await;
        let now = stream.began.elapsed();
        assert_eq!(frame.index, n);
        assert!(
            now >= frame.presentation && now < frame.presentation + Duration::from_millis(40),
            "{n}: {now:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn late_frames_are_left_out_and_the_rest_keeps_its_time() {
    let mut stream = start(true, 0);
    stream.started().await;
    // The fourth frame never makes it.
    let ok = Duration::from_millis(10);
    *stream.avatar.times.lock().unwrap() = [ok, ok, ok, Duration::from_secs(9)].into();
    stream.say(10).await;
    stream.send(Input::EndOfSpeech).await;
    let (frames, end) = stream.frames().await;
    assert!(matches!(end, Event::UtteranceEnd { utterance, .. } if utterance.frames == 10));
    let speaking: Vec<&Frame> = frames
        .iter()
        .filter(|frame| frame.kind != Kind::Idle)
        .collect();
    assert_eq!(speaking.len(), 9);
    let base = speaking[0].frame_index;
    for frame in speaking {
        let Kind::Speech { frame: t, .. } = frame.kind else {
            unreachable!()
        };
        assert_ne!(t, 3);
        assert_eq!(
            frame.frame_index,
            base + t,
            "picture and sound stay together"
        );
    }
    let (events, _) = stream.rest().await;
    assert_eq!(summary(&events).late_frames, 1);
}

#[tokio::test(start_paused = true)]
async fn a_network_that_is_too_slow_loses_frames_but_not_time() {
    let mut stream = start(true, 0);
    stream.started().await;
    // 4 in the making, 240 ms each: 16.7 frames a second of 25.
    *stream.avatar.times.lock().unwrap() = vec![Duration::from_millis(240); 400].into();
    stream.say(250).await;
    stream.send(Input::EndOfSpeech).await;
    let (frames, _) = stream.frames().await;
    let speaking: Vec<&Frame> = frames
        .iter()
        .filter(|frame| frame.kind != Kind::Idle)
        .collect();
    let offsets: Vec<u64> = speaking
        .iter()
        .map(|frame| match frame.kind {
            Kind::Speech { frame: t, .. } => frame.frame_index - t,
            Kind::Idle => unreachable!(),
        })
        .collect();
    assert!(
        offsets.iter().all(|offset| *offset == offsets[0]),
        "in step throughout"
    );
    let spoken = |frame: &Frame| frame.kind != Kind::Idle;
    let first = frames.iter().position(spoken).unwrap();
    let last = frames.iter().rposition(spoken).unwrap();
    assert!(
        frames[first..=last].iter().all(spoken),
        "the mouth does not flicker"
    );
    let share = speaking.len() as f64 / 250.0;
    assert!(
        share > 0.5,
        "{share}: most of what can be made is made in time"
    );
    let (events, _) = stream.rest().await;
    assert_eq!(summary(&events).late_frames as usize + speaking.len(), 250);
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_the_machine_is_bridged_by_what_is_ready() {
    let mut stream = start(true, 0);
    stream.started().await;
    let (quick, slow) = (Duration::from_millis(10), Duration::from_millis(350));
    // Four are in the making at once: for 350 ms nothing is made.
    *stream.avatar.times.lock().unwrap() = [vec![quick; 30], vec![slow; 4], vec![quick; 30]]
        .concat()
        .into();
    stream.say(60).await;
    stream.send(Input::EndOfSpeech).await;
    let (frames, _) = stream.frames().await;
    let spoken = frames.iter().filter(|frame| frame.kind != Kind::Idle);
    assert_eq!(spoken.count(), 60);
    let (events, _) = stream.rest().await;
    assert_eq!(summary(&events).late_frames, 0);
}

#[tokio::test(start_paused = true)]
async fn late_audio_moves_the_rest_of_its_utterance_and_idle_fills_the_gap() {
    let mut stream = start(true, 0);
    stream.started().await;
    stream.say(5).await;
    let mut frames = Vec::new();
    while frames.len() < 30 {
        frames.push(stream.frame().await);
    }
    stream.say(5).await;
    stream.send(Input::EndOfSpeech).await;
    let (rest, _) = stream.frames().await;
    frames.extend(rest);
    for (n, frame) in frames.iter().enumerate() {
        assert_eq!(frame.frame_index, n as u64, "no gap");
    }
    let speaking: Vec<Kind> = frames
        .iter()
        .map(|frame| frame.kind)
        .filter(|kind| *kind != Kind::Idle)
        .collect();
    let all: Vec<Kind> = (0..10).map(|t| speech(0, t)).collect();
    assert_eq!(speaking, all, "every frame is shown");
    let (events, _) = stream.rest().await;
    assert_eq!(summary(&events).late_frames, 0);
}

#[tokio::test(start_paused = true)]
async fn idle_frames_that_take_too_long_are_fewer_not_none() {
    let mut stream = start(true, 0);
    stream.avatar.slow_rest.store(99, Ordering::SeqCst);
    stream.started().await;
    let mut slots = Vec::new();
    for _ in 0..10 {
        slots.push(stream.frame().await.frame_index);
    }
    assert!(slots.windows(2).all(|pair| pair[0] < pair[1]), "{slots:?}");
    let now = stream.began.elapsed().as_millis() as u64 / 40;
    assert!(now - slots[9] <= 4, "{slots:?} at {now}");
    assert!((25..35).contains(&now), "{now}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_loses_frames_in_real_time() {
    let mut stream = start(true, 0);
    stream.started().await;
    stream.say(100).await;
    sleep(Duration::from_secs(2)).await;
    // One frame was on its way.
    let first = stream.frame().await;
    let next = stream.frame().await;
    assert_eq!((first.frame_index, next.index), (0, 1));
    assert!(next.frame_index >= 48, "{}", next.frame_index);
    let (events, _) = stream.rest().await;
    assert!(summary(&events).skipped_frames >= 40);
}

#[tokio::test(start_paused = true)]
async fn the_first_frame_of_every_utterance_is_timed() {
    let mut stream = start(true, 0);
    stream.started().await;
    for pause in [0, 500] {
        sleep(Duration::from_millis(pause)).await;
        stream.say(3).await;
        stream.send(Input::EndOfSpeech).await;
        let reader = &mut stream;
        while !matches!(reader.event().await, Event::UtteranceEnd { .. }) {}
    }
    // One that follows at once has waited for nothing but its own making.
    for _ in 0..2 {
        stream.say(20).await;
        stream.send(Input::EndOfSpeech).await;
    }
    let avatar = Arc::clone(&stream.avatar);
    let (events, _) = stream.rest().await;
    let times = avatar.first_frames.lock().unwrap().clone();
    assert_eq!(times.len(), 4);
    assert!(
        times.iter().all(|time| *time <= Duration::from_millis(160)),
        "{times:?}"
    );
    assert_eq!(summary(&events).first_frame, Some(times[0]));
}
