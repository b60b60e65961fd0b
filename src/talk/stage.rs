//! The speech that is planned but not sent: frames in the making or ready, and the ends of utterances, in order.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::Progress;
use crate::pipeline::RenderedFrame;

/// A speech frame with a place.
#[derive(Debug)]
pub(super) struct Planned {
    /// Names the frame while it is in the making.
    pub(super) id: u64,
    /// Its place in the stream.
    pub(super) slot: u64,
    /// Which utterance, and which frame of it.
    pub(super) utterance: u64,
    pub(super) frame: u64,
    /// When it was planned.
    pub(super) since: Instant,
    /// Its picture, once it is there.
    pub(super) picture: Option<RenderedFrame>,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Cue {
    Frame(Planned),
    /// The utterance is over.
    End(Progress),
}

/// Cues in order; at most so many frames as the stream may have in the making or waiting.
#[derive(Debug, Default)]
pub(super) struct Stage {
    cues: VecDeque<Cue>,
    frames: usize,
}

impl Stage {
    /// Frames in the making or ready.
    pub(super) fn frames(&self) -> usize {
        self.frames
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cues.is_empty()
    }

    pub(super) fn push(&mut self, cue: Cue) {
        self.frames += usize::from(matches!(cue, Cue::Frame(_)));
        self.cues.push_back(cue);
    }

    /// Puts a picture in its place; gives when the frame was planned, or nothing if it is not wanted any more.
    pub(super) fn arrive(&mut self, id: u64, picture: RenderedFrame) -> Option<Instant> {
        let planned = self.cues.iter_mut().find_map(|cue| match cue {
            Cue::Frame(planned) if planned.id == id => Some(planned),
            _ => None,
        })?;
        planned.picture = Some(picture);
        Some(planned.since)
    }

    /// The slot of the next frame, if no end of an utterance comes before it.
    pub(super) fn next_slot(&self) -> Option<u64> {
        match self.cues.front() {
            Some(Cue::Frame(planned)) => Some(planned.slot),
            _ => None,
        }
    }

    /// Whether the next cue can be sent as soon as its moment comes.
    pub(super) fn is_ready(&self) -> bool {
        match self.cues.front() {
            Some(Cue::Frame(planned)) => planned.picture.is_some(),
            Some(Cue::End(_)) => true,
            None => false,
        }
    }

    /// Whether the next cue is the end of an utterance.
    pub(super) fn at_end(&self) -> bool {
        matches!(self.cues.front(), Some(Cue::End(_)))
    }

    /// Takes the next cue if it is the end of an utterance.
    pub(super) fn pop_end(&mut self) -> Option<Progress> {
        match self.cues.pop_front_if(|cue| matches!(cue, Cue::End(_)))? {
            Cue::End(end) => Some(end),
            Cue::Frame(_) => None,
        }
    }

    /// Takes the next cue if it is a frame.
    pub(super) fn pop_frame(&mut self) -> Option<Planned> {
        match self.cues.pop_front_if(|cue| matches!(cue, Cue::Frame(_)))? {
            Cue::Frame(planned) => {
                self.frames -= 1;
                Some(planned)
            }
            Cue::End(_) => None,
        }
    }

    pub(super) fn clear(&mut self) {
        self.cues.clear();
        self.frames = 0;
    }
}
