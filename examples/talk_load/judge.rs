//! Which of a paced stream's frames were on time.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

/// A frame that came.
pub(crate) struct Came {
    pub(crate) at: Instant,
    pub(crate) presentation: Duration,
    /// Which utterance it is of, if it is speech.
    pub(crate) utterance: Option<i64>,
}

/// One stream.
#[derive(Debug, Serialize)]
pub(crate) struct One {
    pub(crate) due: u64,
    pub(crate) came: u64,
    pub(crate) on_time: f64,
    pub(crate) late: i64,
    pub(crate) skipped: i64,
    /// From an utterance's audio at the server to its first frame's departure; the first utterance.
    pub(crate) first_frame_ms: f64,
    #[serde(skip)]
    pub(crate) speech: u64,
    #[serde(skip)]
    pub(crate) behind_ms: Vec<f64>,
}

/// Which frames of the seconds `counted` were on time.
pub(crate) fn judge(
    came: &[Came],
    counted: std::ops::Range<u64>,
    fps: u64,
    deadline_ms: f64,
) -> One {
    // A frame leaves when its slot begins, so the quickest one tells where slots lie on this clock.
    let origin = came
        .iter()
        .filter_map(|one| one.at.checked_sub(one.presentation));
    let origin = origin.min().unwrap_or_else(Instant::now);
    let seconds = Duration::from_secs(counted.start)..Duration::from_secs(counted.end);
    let behind = |one: &Came| (one.at - (origin + one.presentation)).as_secs_f64() * 1e3;
    let frames = came.iter().zip(amid_speech(came));
    let frames: Vec<(&Came, bool)> = frames
        .filter(|(one, _)| seconds.contains(&one.presentation))
        .collect();
    let due = (counted.end - counted.start) * fps;
    let on_time = frames.iter().filter(|(one, amid_speech)| {
        behind(one) <= deadline_ms && (one.utterance.is_some() || !amid_speech)
    });
    let speech = frames.iter().filter(|(one, _)| one.utterance.is_some());
    One {
        due,
        came: frames.len() as u64,
        on_time: on_time.count() as f64 / due.max(1) as f64,
        late: 0,
        skipped: 0,
        first_frame_ms: 0.0,
        speech: speech.count() as u64,
        behind_ms: frames.iter().map(|(one, _)| behind(one)).collect(),
    }
}

/// Which frames lie between two of the same utterance.
fn amid_speech(came: &[Came]) -> Vec<bool> {
    let mut last = HashMap::new();
    for (index, one) in came.iter().enumerate() {
        if let Some(utterance) = one.utterance {
            last.insert(utterance, index);
        }
    }
    let mut speaking = None;
    let amid = came.iter().enumerate().map(|(index, one)| {
        speaking = one.utterance.or(speaking);
        speaking.is_some_and(|utterance| index < last[&utterance])
    });
    amid.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One stream of a second at 25 frames a second: the slots of what came, whether it is speech, how late it was.
    fn on_time(came: impl Iterator<Item = (u64, bool, u64)>) -> u64 {
        let start = Instant::now();
        let came = came.map(|(slot, speech, late_ms)| {
            let presentation = Duration::from_millis(40 * slot);
            Came {
                at: start + presentation + Duration::from_millis(late_ms),
                presentation,
                utterance: speech.then_some(0),
            }
        });
        let one = judge(&came.collect::<Vec<_>>(), 0..1, 25, 40.0);
        (one.on_time * one.due as f64).round() as u64
    }

    #[test]
    fn what_is_missing_late_or_a_stand_in_is_not_on_time() {
        let all = || (0..25).map(|slot| (slot, (5..15).contains(&slot), 3));
        assert_eq!(on_time(all()), 25);
        assert_eq!(on_time(all().filter(|one| one.0 % 5 != 0)), 20);
        let late =
            |late| move |(slot, speech, ms)| (slot, speech, if slot == 7 { late } else { ms });
        assert_eq!(on_time(all().map(late(42))), 25);
        assert_eq!(on_time(all().map(late(44))), 24);
        let idle = |at| move |(slot, speech, ms)| (slot, speech && slot != at, ms);
        assert_eq!(on_time(all().map(idle(7))), 24);
        // Before its first frame and after its last an utterance has no claim.
        assert_eq!(on_time(all().map(idle(5))), 25);
    }
}
