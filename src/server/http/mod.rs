//! What is served over HTTP: probes and metrics for machines, the page for people.

mod keepalive;
mod origin;
mod page;
mod probes;
mod socket;
mod status;

pub(super) use probes::{metrics, page};
