//! PNG, lossless: whole frames by the `png` crate.

mod whole;

pub(super) use whole::encode as encode_whole;
