//! The codec: what H.264's Constrained Baseline profile makes of macroblocks, without knowing of avatars.

mod deblock;
mod entropy;
pub(super) mod header;
mod inter;
mod intra;
pub(super) mod layout;
mod macroblock;
mod motion;
pub(super) mod picture;
mod residual;
pub(super) mod slices;
mod transform;
