//! What a client has sent and the stream has not listened to yet: audio and marks, bounded by bytes.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::time::Instant;

/// A piece of an utterance to listen to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Which utterance of the stream, from 0.
    pub(super) utterance: u64,
    /// Its bytes; may be empty at the end.
    pub(super) audio: Bytes,
    /// When they came in.
    pub(super) arrived: Instant,
    /// Whether the utterance ends here.
    pub(super) last: bool,
}

#[derive(Debug)]
enum Item {
    Audio(Bytes),
    End,
}

/// A queue of audio and end marks. It numbers utterances as they come in, so that numbers do not depend on timing:
/// every end mark ends one, and an interrupt ends the one it cuts.
#[derive(Debug)]
pub(super) struct Inbox {
    items: VecDeque<(u64, Instant, Item)>,
    bytes: usize,
    limit: usize,
    /// The utterance that audio coming in now belongs to.
    utterance: u64,
    /// Whether it has audio already.
    open: bool,
}

impl Inbox {
    /// An inbox that asks for no more once it holds `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            items: VecDeque::new(),
            bytes: 0,
            limit,
            utterance: 0,
            open: false,
        }
    }

    /// Whether more may come in. Marks weigh as much as a small chunk, so a flood of them ends too.
    pub(super) fn has_room(&self) -> bool {
        self.bytes + self.items.len() * MARK_BYTES < self.limit
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The utterance that audio coming in now belongs to.
    pub(super) fn utterance(&self) -> u64 {
        self.utterance
    }

    /// Whether an utterance has begun to come in and its end has not.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    pub(super) fn audio(&mut self, audio: Bytes, now: Instant) {
        if audio.is_empty() {
            return;
        }
        self.open = true;
        self.bytes += audio.len();
        self.items
            .push_back((self.utterance, now, Item::Audio(audio)));
    }

    /// Ends the utterance; one without audio counts too, so that every end mark is answered.
    pub(super) fn end(&mut self, now: Instant) {
        self.items.push_back((self.utterance, now, Item::End));
        self.utterance += 1;
        self.open = false;
    }

    /// Forgets everything; the next audio begins a new utterance.
    pub(super) fn interrupt(&mut self) {
        self.items.clear();
        self.bytes = 0;
        self.utterance += u64::from(self.open);
        self.open = false;
    }

    /// The next piece: at most `max` bytes of one utterance, from one message.
    pub(super) fn next(&mut self, max: usize) -> Option<Piece> {
        let (utterance, arrived, item) = self.items.pop_front()?;
        let mut audio = Bytes::new();
        if let Item::Audio(mut bytes) = item {
            audio = bytes.split_to(max.min(bytes.len()));
            self.bytes -= audio.len();
            if !bytes.is_empty() {
                self.items
                    .push_front((utterance, arrived, Item::Audio(bytes)));
            }
            return Some(Piece {
                utterance,
                audio,
                arrived,
                last: false,
            });
        }
        Some(Piece {
            utterance,
            audio,
            arrived,
            last: true,
        })
    }
}

/// What a queued message counts beyond its audio.
const MARK_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(inbox: &mut Inbox, max: usize) -> Vec<(u64, usize, bool)> {
        std::iter::from_fn(|| inbox.next(max))
            .map(|piece| (piece.utterance, piece.audio.len(), piece.last))
            .collect()
    }

    #[test]
    fn audio_comes_out_in_small_pieces_and_in_order() {
        let (mut inbox, now) = (Inbox::new(1000), Instant::now());
        inbox.audio(Bytes::from_static(&[0; 5]), now);
        inbox.end(now);
        inbox.audio(Bytes::from_static(&[0; 2]), now);
        assert_eq!(
            pieces(&mut inbox, 3),
            [(0, 3, false), (0, 2, false), (0, 0, true), (1, 2, false)]
        );
        assert!(inbox.is_empty() && inbox.bytes == 0);
    }

    #[test]
    fn a_full_inbox_asks_for_no_more_and_marks_fill_it_too() {
        let (mut inbox, now) = (Inbox::new(200), Instant::now());
        inbox.audio(Bytes::from_static(&[0; 100]), now);
        assert!(inbox.has_room());
        inbox.end(now);
        assert!(!inbox.has_room());
        inbox.interrupt();
        assert!(inbox.has_room());
    }

    #[test]
    fn utterances_are_numbered_by_their_marks() {
        let (mut inbox, now) = (Inbox::new(1000), Instant::now());
        inbox.interrupt();
        assert_eq!(inbox.utterance(), 0, "nothing was cut");
        inbox.audio(Bytes::from_static(&[0; 4]), now);
        inbox.interrupt();
        assert_eq!((inbox.utterance(), inbox.is_open()), (1, false));
        inbox.end(now);
        inbox.audio(Bytes::from_static(&[0; 4]), now);
        assert_eq!(pieces(&mut inbox, 9), [(1, 0, true), (2, 4, false)]);
    }
}
