//! What the server tells about itself: counters and gauges in Prometheus' text format.

pub(super) mod gauges;
pub mod metrics;
pub(in crate::server) mod usage;
