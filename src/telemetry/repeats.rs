//! A line that is logged again and again fills a disk and hides the others: after a few of them they are counted.
//!
//! What counts as one line is a place in the code and the model it speaks of. Warnings and errors are limited; what is
//! less important was asked for.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber, callsite};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Lines are counted over this long.
const PERIOD: Duration = Duration::from_secs(10);
/// Places and models told apart; those beyond share one count a place.
const PLACES_MAX: usize = 4096;

/// Lets through a few lines of each kind in every period. Clones share their counts.
#[derive(Clone, Debug)]
pub(super) struct Repeats {
    lines_max: u64,
    places: Arc<Mutex<HashMap<(callsite::Identifier, u64), Place>>>,
}

/// Lines of one kind.
#[derive(Debug)]
struct Place {
    since: Instant,
    lines: u64,
    left_out: u64,
    message: String,
}

/// Lines of one kind that were left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) lines: u64,
    /// What the first of them said.
    pub(super) message: String,
}

impl Repeats {
    /// At most `lines_max` of a kind in each period; 0: any number.
    pub(super) fn new(lines_max: u64) -> Self {
        Self {
            lines_max,
            places: Arc::default(),
        }
    }

    /// What was left out since this was last asked.
    pub(super) fn left_out(&self) -> Vec<LeftOut> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let told = places
            .values_mut()
            .filter(|place| place.left_out > 0)
            .map(|place| LeftOut {
                lines: std::mem::take(&mut place.left_out),
                message: place.message.clone(),
            })
            .collect();
        places.retain(|_, place| place.since.elapsed() < PERIOD);
        told
    }

    fn passes(&self, event: &Event<'_>) -> bool {
        let mut words = Words::default();
        event.record(&mut words);
        let place = event.metadata().callsite();
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let model = if places.len() < PLACES_MAX {
            words.model
        } else {
            0
        };
        let now = Instant::now();
        let place = places.entry((place, model)).or_insert_with(|| Place {
            since: now,
            lines: 0,
            left_out: 0,
            message: words.message,
        });
        if now.duration_since(place.since) >= PERIOD {
            place.since = now;
            place.lines = 0;
        }
        place.lines += 1;
        let passes = place.lines <= self.lines_max;
        place.left_out += u64::from(!passes);
        passes
    }
}

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let limited = self.lines_max > 0 && *event.metadata().level() <= Level::WARN;
        !limited || self.passes(event)
    }
}

/// What of an event's fields tells it from others.
#[derive(Default)]
struct Words {
    message: String,
    model: u64,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "model" => {
                let mut hasher = DefaultHasher::new();
                format!("{value:?}").hash(&mut hasher);
                self.model = hasher.finish();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn complain(model: &str) {
        tracing::warn!(model, "cannot be read");
    }

    #[test]
    fn lines_beyond_a_few_are_counted_by_model() {
        let repeats = Repeats::new(3);
        let subscriber = tracing_subscriber::registry().with(repeats.clone());
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..10 {
                complain("bob");
            }
            for _ in 0..3 {
                complain("eve");
            }
            for _ in 0..10 {
                tracing::info!("asked for");
            }
        });
        let left_out = LeftOut {
            lines: 7,
            message: "cannot be read".to_owned(),
        };
        assert_eq!(repeats.left_out(), [left_out]);
        assert_eq!(repeats.left_out(), []);
    }

    #[test]
    fn nought_is_no_limit() {
        let repeats = Repeats::new(0);
        let subscriber = tracing_subscriber::registry().with(repeats.clone());
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..100 {
                complain("bob");
            }
        });
        assert_eq!(repeats.left_out(), []);
    }
}
