//! The frames that are being made: speech in the network, and at most one idle frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;

use super::TalkOptions;
use super::actor::Actor;
use crate::encoder::Format;
use crate::frame::network_io::SharedFloats;
use crate::pipeline::{FrameOrder, RenderError, RenderedFrame};

/// Every stream is a flow of its own in the network's queue; requests count from 0, streams from the other end.
static FLOWS: AtomicU64 = AtomicU64::new(1 << 63);

/// Speech frames that may be ready before their time in real time: half a second's.
fn frames_ahead(fps: u32) -> usize {
    fps.div_ceil(2) as usize
}

/// A frame that was made, or why not.
pub(super) type Picture = Result<RenderedFrame, RenderError>;

/// What has been made.
pub(super) enum Made {
    /// The speech frame of this name.
    Speech(u64, Picture),
    /// An idle frame for this slot.
    Idle(u64, Picture),
}

/// A stream's frames in the making. Dropping it drops them wherever they are.
pub(super) struct Making<A: Actor> {
    actor: Arc<A>,
    format: Format,
    start_index: u64,
    flow: u64,
    /// Speech frames planned or ready at most, if that is more than may be in the making.
    ahead: usize,
    next_id: u64,
    speech: FuturesUnordered<BoxFuture<'static, (u64, Picture)>>,
    /// It is made even if its slot passes: late is better than never.
    idle: Option<BoxFuture<'static, (u64, Picture)>>,
}

impl<A: Actor> Making<A> {
    pub(super) fn new(actor: Arc<A>, options: &TalkOptions) -> Self {
        let fps = actor.about().fps;
        Self {
            actor,
            format: options.format,
            start_index: options.start_index,
            flow: FLOWS.fetch_add(1, Ordering::Relaxed),
            ahead: if options.realtime {
                frames_ahead(fps)
            } else {
                0
            },
            next_id: 0,
            speech: FuturesUnordered::new(),
            idle: None,
        }
    }

    /// Whether another speech frame may be begun while `waiting` are planned or ready.
    ///
    /// Few are in the making, so that a stream far ahead does not stand in the way of one that has just begun; more may
    /// be ready, for when the machine is busy elsewhere.
    pub(super) fn has_room(&self, waiting: usize) -> bool {
        let at_once = self.actor.frames_at_once();
        waiting < self.ahead.max(at_once) && self.speech.len() < at_once
    }

    /// Begins a speech frame, of no use after `deadline`; gives its name.
    pub(super) fn speak(
        &mut self,
        slot: u64,
        audio: SharedFloats,
        deadline: Option<Instant>,
    ) -> u64 {
        let (id, actor, format) = (self.next_id, Arc::clone(&self.actor), self.format);
        self.next_id += 1;
        let order = FrameOrder {
            index: self.start_index + slot,
            visual: None,
            audio,
            flow: self.flow,
            deadline: deadline.map(Instant::into_std),
        };
        let making = async move { (id, actor.speak(order, format).await) };
        self.speech.push(making.boxed());
        id
    }

    /// Begins an idle frame, unless one is being made.
    pub(super) fn rest(&mut self, slot: u64) {
        if self.idle.is_some() {
            return;
        }
        let (actor, format) = (Arc::clone(&self.actor), self.format);
        let index = self.start_index + slot;
        self.idle = Some(async move { (slot, actor.rest(index, format).await) }.boxed());
    }

    /// Waits for the next frame to be made. Nothing is lost if it is dropped.
    pub(super) async fn next(&mut self) -> Made {
        let idle = async {
            match &mut self.idle {
                Some(idle) => idle.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some((id, picture)) = self.speech.next(), if !self.speech.is_empty() => {
                Made::Speech(id, picture)
            }
            (slot, picture) = idle => {
                self.idle = None;
                Made::Idle(slot, picture)
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
