//! Notices a stream that should speak and does not.

use std::time::Duration;

use tokio::time::Instant;

/// A stream with speech to show that shows none for so long has stalled.
pub(super) const STALL: Duration = Duration::from_secs(2);

/// Since when a stream has had speech to show without showing any.
#[derive(Debug, Default)]
pub(super) enum Watchdog {
    /// Nothing waits to be shown.
    #[default]
    Quiet,
    /// Audio waits to be listened to.
    Audio { since: Instant },
    /// Frames were planned or left out, and none was shown since.
    Frames { since: Instant },
    /// It has been counted; speech that is shown ends that.
    Stalled,
}

impl Watchdog {
    /// Whether audio that came in waits in the server now.
    pub(super) fn audio(&mut self, waits: bool, now: Instant) {
        match self {
            Self::Quiet if waits => *self = Self::Audio { since: now },
            Self::Audio { .. } if !waits => *self = Self::Quiet,
            _ => (),
        }
    }

    /// A frame was planned or left out.
    pub(super) fn frame(&mut self, now: Instant) {
        match *self {
            Self::Quiet => *self = Self::Frames { since: now },
            Self::Audio { since } => *self = Self::Frames { since },
            Self::Frames { .. } | Self::Stalled => (),
        }
    }

    /// Speech was shown, an utterance has ended, or all was dropped.
    pub(super) fn progress(&mut self) {
        *self = Self::Quiet;
    }

    /// When to look again.
    pub(super) fn moment(&self) -> Option<Instant> {
        match self {
            Self::Audio { since } | Self::Frames { since } => Some(*since + STALL),
            Self::Quiet | Self::Stalled => None,
        }
    }

    /// Whether the stream has stalled now; says so once. A client that does not read (`blocked`) has stalled itself.
    pub(super) fn has_stalled(&mut self, blocked: bool, now: Instant) -> bool {
        if self.moment().is_none_or(|moment| moment > now) {
            return false;
        }
        if blocked {
            *self = Self::Frames { since: now };
            return false;
        }
        *self = Self::Stalled;
        true
    }
}
