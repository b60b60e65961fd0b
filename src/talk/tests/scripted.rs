//! A scripted avatar, a stream of it, and a client.
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
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;

use crate::encoder::Encoder;
use crate::engine::InferenceError;
use crate::frame::Size;
use crate::frame::network_io::AUDIO_LEN;
use crate::pipeline::render::RenderFault;
use crate::pipeline::speech::SpeechFrame;
use crate::pipeline::{FrameOrder, RenderedFrame};
use crate::talk::*;

/// An avatar that takes as long as it is told.
#[derive(Default)]
pub(super) struct Scripted {
    /// How long the next frames take in the network; afterwards 10 ms.
    pub(super) times: Mutex<VecDeque<Duration>>,
    /// Frames in the making.
    pub(super) busy: AtomicUsize,
    pub(super) busy_max: AtomicUsize,
    pub(super) made: AtomicUsize,
    pub(super) first_frames: Mutex<Vec<Duration>>,
    /// Milliseconds more for an idle frame.
    pub(super) slow_rest: AtomicUsize,
    /// Frames a second; 0 is 25.
    pub(super) fps: AtomicUsize,
    /// Milliseconds that a frame takes in the network otherwise; 0 is 10.
    pub(super) usual_ms: AtomicUsize,
    pub(super) stalls: AtomicUsize,
}

struct ScriptedAvatar(Arc<Scripted>);

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

impl LiveAvatar for ScriptedAvatar {
    type Speech = u64;

    fn info(&self) -> AvatarInfo {
        AvatarInfo {
            fps: match self.0.fps.load(Ordering::SeqCst) {
                0 => 25,
                fps => fps as u32,
            },
            size: Size {
                width: 1,
                height: 1,
            },
            load_time: None,
        }
    }

    fn frames_at_once(&self) -> usize {
        4
    }

    fn open_speech(&self, _: PcmFormat, _: Lookahead) -> Result<u64, SpeechError> {
        Ok(0)
    }

    fn push_speech(
        &self,
        speech: &mut u64,
        samples: &[f32],
        last: bool,
        out: &mut Vec<SpeechFrame>,
    ) -> Result<(), SpeechError> {
        for sample in samples {
            let window: Vec<f32> = vec![*sample; AUDIO_LEN];
            out.push((*speech, Arc::new(window)));
            *speech += 1;
        }
        if last {
            *speech = 0;
        }
        Ok(())
    }

    fn reset_speech(&self, speech: &mut u64) {
        *speech = 0;
    }

    async fn render_speech(
        &self,
        order: FrameOrder,
        _: Format,
    ) -> Result<RenderedFrame, RenderError> {
        let now = self.0.busy.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.busy_max.fetch_max(now, Ordering::SeqCst);
        let _busy = Busy(Arc::clone(&self.0));
        let time = self.0.times.lock().unwrap().pop_front();
        let done = sleep(
            time.unwrap_or_else(|| match self.0.usual_ms.load(Ordering::SeqCst) {
                0 => Duration::from_millis(10),
                usual => Duration::from_millis(usual as u64),
            }),
        );
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
        match note {
            Note::FirstFrame(took) => self.0.first_frames.lock().unwrap().push(took),
            Note::Stalled => {
                self.0.stalls.fetch_add(1, Ordering::SeqCst);
            }
            Note::Frame(_) => (),
        }
    }

    async fn render_idle(&self, index: u64, _: Format) -> Result<RenderedFrame, RenderError> {
        let slow = self.0.slow_rest.load(Ordering::SeqCst);
        sleep(Duration::from_millis(1 + slow as u64)).await;
        Ok(picture(index))
    }
}

pub(super) struct Stream {
    pub(super) avatar: Arc<Scripted>,
    pub(super) inputs: Option<mpsc::Sender<Result<Input, InputError>>>,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) drain: Option<oneshot::Sender<()>>,
    pub(super) ending: JoinHandle<Result<Ending, TalkError>>,
    pub(super) began: Instant,
}

const RATE_HZ: u32 = 1000;

pub(super) fn start(realtime: bool, start_index: u64) -> Stream {
    start_with(Scripted::default(), realtime, start_index)
}

pub(super) fn start_with(avatar: Scripted, realtime: bool, start_index: u64) -> Stream {
    let avatar = Arc::new(avatar);
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
        flow: 0,
    };
    let scripted = ScriptedAvatar(Arc::clone(&avatar));
    let ending = tokio::spawn(async move {
        let drain = async move {
            if draining.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        talk(scripted, options, ReceiverStream::new(input), drain, &event).await
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
    pub(super) async fn send(&self, input: Input) {
        self.inputs.as_ref().unwrap().send(Ok(input)).await.unwrap();
    }

    pub(super) async fn say(&self, frames: usize) {
        self.send(Input::Audio(Bytes::from(vec![0; 2 * frames])))
            .await;
    }

    pub(super) async fn event(&mut self) -> Event {
        timeout(Duration::from_secs(20), self.events.recv())
            .await
            .expect("an event")
            .expect("the stream is open")
    }

    pub(super) async fn started(&mut self) {
        assert!(matches!(self.event().await, Event::Started(_)));
    }

    pub(super) async fn frame(&mut self) -> Frame {
        match self.event().await {
            Event::Frame(frame) => frame,
            other => panic!("{other:?}"),
        }
    }

    /// Frames, until something else comes.
    pub(super) async fn frames(&mut self) -> (Vec<Frame>, Event) {
        let mut frames = Vec::new();
        loop {
            match self.event().await {
                Event::Frame(frame) => frames.push(frame),
                other => return (frames, other),
            }
        }
    }

    pub(super) async fn rest(mut self) -> (Vec<Event>, Result<Ending, TalkError>) {
        self.inputs = None;
        let mut events = Vec::new();
        while let Some(event) = self.events.recv().await {
            events.push(event);
        }
        (events, self.ending.await.unwrap())
    }
}

pub(super) fn speech(utterance: u64, frame: u64) -> Kind {
    Kind::Speech { utterance, frame }
}

pub(super) fn summary(events: &[Event]) -> Summary {
    match events.last() {
        Some(Event::Summary(summary)) => *summary,
        other => panic!("{other:?}"),
    }
}
