//! avatar

pub mod visual;
