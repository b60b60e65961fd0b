//! Who may call and how much at once: tokens, places, deadlines, before any handler runs.

pub(super) mod admit;
pub(super) mod auth;
pub(super) mod gate;
pub(super) mod in_flight;
pub(super) mod messages;
pub(super) mod rpc;
pub(super) mod tally;
pub(super) mod tokens;
