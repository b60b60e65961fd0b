//! The codec: what H.264's Constrained Baseline profile makes of macroblocks, without knowing of avatars.

mod bits;
mod cavlc;
mod deblock;
pub(super) mod header;
mod inter;
mod intra;
mod intra_search;
pub(super) mod layout;
mod macroblock;
mod motion;
pub(super) mod picture;
mod residual;
pub(super) mod slices;
mod tables;
mod transform;
