//! Macroblocks predicted from the same picture.

pub(super) mod predict;
pub(super) mod search;
