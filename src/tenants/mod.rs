//! Tenants: who they are, what each may do, and how they share. Plain data and rules, without sockets and tasks.

mod journal;
mod key;
mod pattern;
mod rate;
pub mod shares;
mod time;
mod usage;

pub use journal::{Buckets, Journal, JournalError};
pub use key::{KeyHash, new_key};
pub use pattern::Pattern;
pub use rate::FrameRate;
pub use time::parse_time;
pub use usage::{Accounts, Sums, Usage, unix};

use std::time::SystemTime;

/// All tenants of a configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Roster {
    /// What holds for whoever has no terms of its own: tenants of a tokens file, callers without a token.
    pub defaults: Terms,
    /// In the order of the file.
    pub tenants: Vec<Tenant>,
}

/// One tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct Tenant {
    /// Its name in logs, metrics and bills.
    pub name: String,
    /// The hashes of its keys.
    pub keys: Vec<KeyHash>,
    /// What it may do.
    pub role: Role,
    /// From when on it may do nothing.
    pub expires: Option<SystemTime>,
    /// What it gets.
    pub terms: Terms,
}

/// What a tenant gets. A limit that is not set is that of the server.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// The models it may use and see.
    pub models: Vec<Pattern>,
    /// Its calls in progress at once.
    pub max_requests: Option<usize>,
    /// Its streams at once.
    pub max_streams: Option<usize>,
    /// Frames a second in the long run.
    pub frames_per_second: Option<usize>,
    /// Frames at once after a pause.
    pub frames_burst: Option<usize>,
    /// Its frames that wait in one avatar's queue.
    pub queue_frames: Option<usize>,
    /// Its models that stay in memory when others need room.
    pub reserved_models: usize,
    /// Its share in relation to the others'.
    pub weight: u32,
    /// Who goes first.
    pub class: Class,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            models: vec![Pattern::new("*")],
            max_requests: None,
            max_streams: None,
            frames_per_second: None,
            frames_burst: None,
            queue_frames: None,
            reserved_models: 0,
            weight: 1,
            class: Class::Live,
        }
    }
}

/// What a tenant may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Make frames and look, but not at paths.
    User,
    /// Everything.
    Admin,
}

/// Whose frames go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Somebody watches.
    Live,
    /// They can wait for those that somebody watches.
    Batch,
}

impl Tenant {
    /// A tenant without keys.
    #[must_use]
    pub fn new(name: &str, terms: Terms) -> Self {
        Self {
            name: name.to_owned(),
            keys: Vec::new(),
            role: Role::User,
            expires: None,
            terms,
        }
    }

    /// Whether a model exists for it.
    #[must_use]
    pub fn may_use(&self, model: &str) -> bool {
        self.terms
            .models
            .iter()
            .any(|pattern| pattern.matches(model))
    }

    /// Whether its time is over.
    #[must_use]
    pub fn has_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}
