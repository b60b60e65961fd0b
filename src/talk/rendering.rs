//! The frames that are being rendered: speech in the network, and at most one idle frame.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;

use super::TalkOptions;
use super::avatar::LiveAvatar;
use super::playout::Place;
use super::playout_queue::FrameId;
use crate::encoder::Format;
use crate::frame::network_io::SharedFloats;
use crate::pipeline::{FrameOrder, RenderError, RenderedFrame};

/// Speech frames that may be ready before their time in real time: half a second's.
fn frames_ahead(fps: u32) -> usize {
    fps.div_ceil(2) as usize
}

/// A rendered frame, or why there is none.
pub(super) type Picture = Result<RenderedFrame, RenderError>;

/// What has been rendered.
pub(super) enum Rendered {
    Speech(FrameId, Picture),
    /// An idle frame for this slot.
    Idle(u64, Picture),
}

/// A stream's frames that are being rendered. Dropping it drops them wherever they are.
pub(super) struct Rendering<A: LiveAvatar> {
    avatar: Arc<A>,
    format: Format,
    start_index: u64,
    flow: u64,
    /// Speech frames planned or ready at most, if that is more than may be rendered at once.
    ahead: usize,
    speech: FuturesUnordered<BoxFuture<'static, (FrameId, Picture)>>,
    /// It is rendered even if its slot passes: late is better than never.
    idle: Option<BoxFuture<'static, (u64, Picture)>>,
}

impl<A: LiveAvatar> Rendering<A> {
    pub(super) fn new(avatar: Arc<A>, options: &TalkOptions) -> Self {
        let fps = avatar.info().fps;
        Self {
            avatar,
            format: options.format,
            start_index: options.start_index,
            flow: options.flow,
            ahead: if options.realtime {
                frames_ahead(fps)
            } else {
                0
            },
            speech: FuturesUnordered::new(),
            idle: None,
        }
    }

    /// Whether another speech frame may be begun while `waiting` are planned or ready.
    ///
    /// Few are rendered at once, so that a stream far ahead does not stand in the way of one that has just begun; more may
    /// be ready, for when the machine is busy elsewhere.
    pub(super) fn has_room(&self, waiting: usize) -> bool {
        let at_once = self.avatar.frames_at_once();
        waiting < self.ahead.max(at_once) && self.speech.len() < at_once
    }

    /// Begins a speech frame.
    pub(super) fn begin_speech(&mut self, id: FrameId, place: Place, audio: SharedFloats) {
        let (avatar, format) = (Arc::clone(&self.avatar), self.format);
        let order = FrameOrder {
            index: self.start_index + place.slot,
            visual: None,
            audio,
            flow: self.flow,
            deadline: place.deadline.map(Instant::into_std),
        };
        let rendering = async move { (id, avatar.render_speech(order, format).await) };
        self.speech.push(rendering.boxed());
    }

    /// Begins an idle frame, unless one is being rendered.
    pub(super) fn begin_idle(&mut self, slot: u64) {
        if self.idle.is_some() {
            return;
        }
        let (avatar, format) = (Arc::clone(&self.avatar), self.format);
        let index = self.start_index + slot;
        self.idle = Some(async move { (slot, avatar.render_idle(index, format).await) }.boxed());
    }

    /// Waits for the next frame to be rendered. Nothing is lost if it is dropped.
    pub(super) async fn next(&mut self) -> Rendered {
        let idle = async {
            match &mut self.idle {
                Some(idle) => idle.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some((id, picture)) = self.speech.next(), if !self.speech.is_empty() => {
                Rendered::Speech(id, picture)
            }
            (slot, picture) = idle => {
                self.idle = None;
                Rendered::Idle(slot, picture)
            }
        }
    }

    /// Drops all speech.
    pub(super) fn drop_speech(&mut self) {
        self.speech.clear();
    }

    /// Drops the idle frame.
    pub(super) fn drop_idle(&mut self) {
        self.idle = None;
    }
}
