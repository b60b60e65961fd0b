//! The gRPC services: the messages in, the answers out, and how errors are told.

pub(super) mod batch;
pub(super) mod convert;
pub(super) mod service;
pub(super) mod status;
pub(super) mod talk;
pub(super) mod zero_copy;
