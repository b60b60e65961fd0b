//! From numbers to bits.

pub(super) mod bits;
pub(super) mod cavlc;
mod tables;

pub(super) use tables::{PATTERN_INTER, PATTERN_INTRA};
