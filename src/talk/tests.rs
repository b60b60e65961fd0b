//! The stream's rules with a scripted avatar and a clock that only moves when nothing else can.
//!
//! One sample is one frame of speech: the avatar hears frame `t` as soon as sample `t` is there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::encoder::Encoder;
use crate::frame::Size;
use crate::inference::{AUDIO_LEN, InferenceError};
use crate::pipeline::render::RenderFault;
use crate::pipeline::speech::SpeechFrame;
use crate::pipeline::{FrameOrder, RenderedFrame};

/// An avatar that takes as long as it is told.
#[derive(Default)]
struct Scripted {
    /// How long the next frames take in the network; afterwards 10 ms.
    times: Mutex<VecDeque<Duration>>,
    /// Frames in the making.
    busy: AtomicUsize,
    busy_max: AtomicUsize,
    made: AtomicUsize,
    first_frames: Mutex<Vec<Duration>>,
    /// Milliseconds more for an idle frame.
    slow_rest: AtomicUsize,
}

struct Actor(Arc<Scripted>);

/// Counts a frame in the making, also when it is dropped.
struct Busy(Arc<Scripted>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

fn picture(index: u64) -> RenderedFrame {
    let size = Size {
        width: 1,
        height: 1,
    };
    let pixels = crate::frame::Frame::from_rgb(size, vec![index as u8; 3]).unwrap();
    let rect = crate::frame::Rect::new(0, 0, 1, 1).unwrap();
    let background = crate::encoder::Background::new(Arc::new(pixels), rect);
    RenderedFrame {
        index,
        background: index as usize % 100,
        image: Encoder::new(0)
            .encode(&background, &[index as u8; 3], Format::Rgb)
            .unwrap(),
        timings: FrameTimings::default(),
    }
}

impl super::Actor for Actor {
    type Ears = u64;

    fn about(&self) -> About {
        About {
            fps: 25,
            size: Size {
                width: 1,
                height: 1,
            },
            load_time: None,
        }
    }

    fn frames_ahead(&self) -> usize {
        4
    }

    fn listen(&self, _: PcmFormat, _: Lookahead) -> Result<u64, SpeechError> {
        Ok(0)
    }

    fn hear(
        &self,
        ears: &mut u64,
        samples: &[f32],
        last: bool,
        out: &mut Vec<SpeechFrame>,
    ) -> Result<(), SpeechError> {
        for sample in samples {
            let window: Vec<f32> = vec![*sample; AUDIO_LEN];
            out.push((*ears, Arc::new(window)));
            *ears += 1;
        }
        if last {
            *ears = 0;
        }
        Ok(())
    }

    fn forget(&self, ears: &mut u64) {
        *ears = 0;
    }

    async fn speak(&self, order: FrameOrder, _: Format) -> Result<RenderedFrame, RenderError> {
        let now = self.0.busy.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.busy_max.fetch_max(now, Ordering::SeqCst);
        let _busy = Busy(Arc::clone(&self.0));
        let time = self.0.times.lock().unwrap().pop_front();
        let done = sleep(time.unwrap_or(Duration::from_millis(10)));
        let deadline = order.deadline.map(Instant::from_std);
        let late = RenderError {
            frame: order.index,
            source: RenderFault::Inference(InferenceError::DeadlineExceeded),
        };
        match deadline {
            Some(deadline) => tokio::select! {
                () = tokio::time::sleep_until(deadline) => return Err(late),
                () = done => (),
            },
            None => done.await,
        }
        self.0.made.fetch_add(1, Ordering::SeqCst);
        Ok(picture(order.index))
    }

    fn note(&self, note: Note<'_>) {
        if let Note::FirstFrame(took) = note {
            self.0.first_frames.lock().unwrap().push(took);
        }
    }

    async fn rest(&self, index: u64, _: Format) -> Result<RenderedFrame, RenderError> {
        let slow = self.0.slow_rest.load(Ordering::SeqCst);
        sleep(Duration::from_millis(1 + slow as u64)).await;
        Ok(picture(index))
    }
}

struct Stream {
    avatar: Arc<Scripted>,
    inputs: Option<mpsc::Sender<Result<Input, InputError>>>,
    events: mpsc::Receiver<Event>,
    drain: Option<oneshot::Sender<()>>,
    ending: JoinHandle<Result<Ending, TalkError>>,
    began: Instant,
}

const RATE_HZ: u32 = 1000;

fn start(realtime: bool, start_index: u64) -> Stream {
    let avatar = Arc::new(Scripted::default());
    let (inputs, input) = mpsc::channel(1);
    let (event, events) = mpsc::channel(1);
    let (drain, draining) = oneshot::channel::<()>();
    let options = TalkOptions {
        samples: SampleFormat::S16,
        pcm: PcmFormat::new(RATE_HZ, 1).unwrap(),
        format: Format::Rgb,
        start_index,
        realtime,
        lookahead: Lookahead::FULL,
        audio_bytes_max: 1000,
        drain: Duration::from_secs(2),
    };
    let actor = Actor(Arc::clone(&avatar));
    let ending = tokio::spawn(async move {
        let drain = async move {
            if draining.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        talk(actor, options, ReceiverStream::new(input), drain, &event).await
    });
    Stream {
        avatar,
        inputs: Some(inputs),
        events,
        drain: Some(drain),
        ending,
        began: Instant::now(),
    }
}

impl Stream {
    async fn send(&self, input: Input) {
        self.inputs.as_ref().unwrap().send(Ok(input)).await.unwrap();
    }

    async fn say(&self, frames: usize) {
        self.send(Input::Audio(Bytes::from(vec![0; 2 * frames])))
            .await;
    }

    async fn event(&mut self) -> Event {
        timeout(Duration::from_secs(20), self.events.recv())
            .await
            .expect("an event")
            .expect("the stream is open")
    }

    async fn started(&mut self) {
        assert!(matches!(self.event().await, Event::Started(_)));
    }

    async fn frame(&mut self) -> Frame {
        match self.event().await {
            Event::Frame(frame) => frame,
            other => panic!("{other:?}"),
        }
    }

    /// Frames, until something else comes.
    async fn frames(&mut self) -> (Vec<Frame>, Event) {
        let mut frames = Vec::new();
        loop {
            match self.event().await {
                Event::Frame(frame) => frames.push(frame),
                other => return (frames, other),
            }
        }
    }

    async fn rest(mut self) -> (Vec<Event>, Result<Ending, TalkError>) {
        self.inputs = None;
        let mut events = Vec::new();
        while let Some(event) = self.events.recv().await {
            events.push(event);
        }
        (events, self.ending.await.unwrap())
    }
}

fn speech(utterance: u64, frame: u64) -> Kind {
    Kind::Speech { utterance, frame }
}

fn summary(events: &[Event]) -> Summary {
    match events.last() {
        Some(Event::Summary(summary)) => *summary,
        other => panic!("{other:?}"),
    }
}

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
    assert!(matches!(stream.event().await, Event::UtteranceEnd(p) if p == end));
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
    assert!(matches!(stream.event().await, Event::UtteranceEnd(p) if p == end));
    stream.say(1).await;
    stream.send(Input::EndOfSpeech).await;
    assert_eq!(stream.frame().await.kind, speech(1, 0));
}

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
    assert!(matches!(end, Event::UtteranceEnd(p) if p.frames == 20));
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
        let cut = Progress {
            utterance: 0,
            frames: sent,
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
async fn late_frames_are_left_out_and_the_rest_keeps_its_time() {
    let mut stream = start(true, 0);
    stream.started().await;
    // The fourth frame never makes it.
    let ok = Duration::from_millis(10);
    *stream.avatar.times.lock().unwrap() = [ok, ok, ok, Duration::from_secs(9)].into();
    stream.say(10).await;
    stream.send(Input::EndOfSpeech).await;
    let (frames, end) = stream.frames().await;
    assert!(matches!(end, Event::UtteranceEnd(p) if p.frames == 10));
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
    let share = speaking.len() as f64 / 250.0;
    assert!(
        share > 0.5,
        "{share}: most of what can be made is made in time"
    );
    let (events, _) = stream.rest().await;
    assert_eq!(summary(&events).late_frames as usize + speaking.len(), 250);
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

#[tokio::test(start_paused = true)]
async fn the_first_frame_of_every_utterance_is_timed() {
    let mut stream = start(true, 0);
    stream.started().await;
    for pause in [0, 500] {
        sleep(Duration::from_millis(pause)).await;
        stream.say(3).await;
        stream.send(Input::EndOfSpeech).await;
        let reader = &mut stream;
        while !matches!(reader.event().await, Event::UtteranceEnd(_)) {}
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
