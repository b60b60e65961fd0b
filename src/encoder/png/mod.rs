//! PNG, lossless: spliced from a background's prepared pieces, or whole frames by the `png` crate until there are any.
//!
//! Most of a frame is its background, so most of its file is made once. `prepare` compresses the rows above and below
//! the rectangle for good, and what lies beside it as strings of bits; `splice` filters and codes the rectangle's own
//! pixels and puts the strings between them:
//!
//! ```text
//! signature, IHDR, IDAT: rows above, deflated, flushed to a byte      made once, shared
//! IDAT: run | hole | run | hole | ... | run, one Huffman block         per frame
//! IDAT: rows below, deflated, the last block                           made once, shared
//! IDAT: Adler-32 of the whole stream; IEND                             per frame
//! ```

mod chunk;

mod filter;

mod band;

mod adler;

mod bits;

mod huffman;

mod lz;

mod plan;

mod prepared;

mod prepare;

mod splice;

#[cfg(test)]
mod tests;

mod whole;

pub use prepare::Effort;
pub use prepared::{PreparedError, PreparedPng};

pub(super) use splice::splice;
pub(crate) use whole::encode as encode_whole;
