//! From bytes as they come in to speech windows: one piece after another, each on a blocking thread.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::Instant;

use super::avatar::LiveAvatar;
use super::inbox::{Inbox, Piece};
use super::pcm::PcmDecoder;
use super::{Progress, TalkError, TalkOptions};
use crate::frame::network_io::SharedFloats;
use crate::pipeline::cpu;
use crate::pipeline::speech::SpeechFrame;

/// Windows that may wait for a place: the stream listens this far ahead.
const WINDOWS_AHEAD: usize = 12;
/// Longest piece listened to in one go, in milliseconds: an interrupt waits for no more than this.
const PIECE_MS: usize = 200;

/// A window that waits for its place, or the end of its utterance.
pub(super) enum Window {
    Frame {
        utterance: u64,
        frame: u64,
        audio: SharedFloats,
        arrived: Instant,
    },
    End(Progress),
}

/// All state of listening; travels to a blocking thread and back.
struct Listening<S> {
    decoder: PcmDecoder,
    speech: S,
    samples: Vec<f32>,
}

/// A piece that was listened to.
struct Heard<S> {
    listening: Listening<S>,
    piece: Piece,
    frames: Vec<SpeechFrame>,
    result: Result<(), TalkError>,
}

/// The stream's audio: not listened to yet, being listened to, and the windows that came of it.
pub(super) struct SpeechInput<A: LiveAvatar> {
    avatar: Arc<A>,
    inbox: Inbox,
    sample_bytes: usize,
    piece_bytes: usize,
    /// Away while a piece is listened to.
    listening: Option<Listening<A::Speech>>,
    job: Option<BoxFuture<'static, Result<Heard<A::Speech>, TalkError>>>,
    /// Pieces before this utterance are not wanted any more.
    wanted: u64,
    /// Frames heard of the utterance that is listened to.
    heard_frames: u64,
    windows: VecDeque<Window>,
}

impl<A: LiveAvatar> SpeechInput<A> {
    /// Blocks.
    pub(super) fn new(avatar: Arc<A>, options: &TalkOptions) -> Result<Self, TalkError> {
        let (pcm, sample_bytes) = (options.pcm, options.samples.bytes());
        let listening = Listening {
            decoder: PcmDecoder::new(options.samples),
            speech: avatar.open_speech(pcm, options.lookahead)?,
            samples: Vec::new(),
        };
        let piece_samples = (pcm.rate_hz as usize * PIECE_MS / 1000).max(1) * pcm.channels;
        Ok(Self {
            avatar,
            inbox: Inbox::new(options.audio_bytes_max),
            sample_bytes,
            piece_bytes: piece_samples * sample_bytes,
            listening: Some(listening),
            job: None,
            wanted: 0,
            heard_frames: 0,
            windows: VecDeque::new(),
        })
    }

    /// Whether more audio may come in.
    pub(super) fn has_room(&self) -> bool {
        self.inbox.has_room()
    }

    /// Whether an utterance has begun to come in and its end has not.
    pub(super) fn is_open(&self) -> bool {
        self.inbox.is_open()
    }

    /// Whether everything that came in has become windows, and these were taken.
    pub(super) fn is_empty(&self) -> bool {
        self.inbox.is_empty() && self.job.is_none() && self.windows.is_empty()
    }

    /// Takes more audio; tells the utterance that begins with it, if one does.
    pub(super) fn audio(&mut self, audio: Bytes, now: Instant) -> Option<u64> {
        let begins = !audio.is_empty() && !self.inbox.is_open();
        self.inbox.audio(audio, now);
        begins.then(|| self.inbox.utterance())
    }

    /// Ends the utterance.
    pub(super) fn end(&mut self, now: Instant) {
        self.inbox.end(now);
    }

    /// Forgets everything; gives the number of the next utterance.
    pub(super) fn interrupt(&mut self) -> u64 {
        self.inbox.interrupt();
        self.wanted = self.inbox.utterance();
        self.heard_frames = 0;
        self.windows.clear();
        if let Some(listening) = self.listening.take() {
            self.listening = Some(self.reset(listening));
        }
        self.wanted
    }

    fn reset(&self, mut listening: Listening<A::Speech>) -> Listening<A::Speech> {
        listening.decoder.finish();
        self.avatar.reset_speech(&mut listening.speech);
        listening
    }

    /// Begins to listen to the next piece, unless it listens already or is far enough ahead.
    pub(super) fn advance(&mut self) {
        if self.windows.len() >= WINDOWS_AHEAD || self.listening.is_none() {
            return;
        }
        let Some(piece) = self.inbox.next(self.piece_bytes) else {
            return;
        };
        let Some(listening) = self.listening.take() else {
            return;
        };
        let (avatar, sample_bytes) = (Arc::clone(&self.avatar), self.sample_bytes);
        let job = cpu::run(move || listen(&*avatar, listening, piece, sample_bytes));
        self.job = Some(async move { Ok(job.await?) }.boxed());
    }

    /// Waits until the piece at hand has become windows; for ever if there is none. Nothing is lost if it is dropped.
    pub(super) async fn heard(&mut self) -> Result<(), TalkError> {
        let Some(job) = &mut self.job else {
            return std::future::pending().await;
        };
        let heard = job.await;
        self.job = None;
        let Heard {
            listening,
            piece,
            frames,
            result,
        } = heard?;
        if piece.utterance < self.wanted {
            self.listening = Some(self.reset(listening));
            return Ok(());
        }
        self.listening = Some(listening);
        result?;
        for (frame, audio) in frames {
            self.heard_frames = frame + 1;
            self.windows.push_back(Window::Frame {
                utterance: piece.utterance,
                frame,
                audio,
                arrived: piece.arrived,
            });
        }
        if piece.last {
            self.windows.push_back(Window::End(Progress {
                utterance: piece.utterance,
                frames: std::mem::take(&mut self.heard_frames),
            }));
        }
        Ok(())
    }

    /// The next window, in order.
    pub(super) fn next(&mut self) -> Option<Window> {
        self.windows.pop_front()
    }
}

/// Listens to one piece, on a blocking thread.
fn listen<A: LiveAvatar>(
    avatar: &A,
    mut listening: Listening<A::Speech>,
    piece: Piece,
    sample_bytes: usize,
) -> Heard<A::Speech> {
    let mut frames = Vec::new();
    listening.samples.clear();
    listening.decoder.push(&piece.audio, &mut listening.samples);
    let left = if piece.last {
        listening.decoder.finish()
    } else {
        0
    };
    let result = if left > 0 {
        Err(TalkError::PartialSample {
            utterance: piece.utterance,
            left,
            size: sample_bytes,
        })
    } else {
        avatar
            .push_speech(
                &mut listening.speech,
                &listening.samples,
                piece.last,
                &mut frames,
            )
            .map_err(TalkError::from)
    };
    Heard {
        listening,
        piece,
        frames,
        result,
    }
}
