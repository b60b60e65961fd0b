//! What travels between client and server: the messages and stubs of `proto/lipsync.proto`.
//!
//! Generated at build time, but for [`CompositeBatchRequest`], whose tensors are kept as the bytes they arrived in.
//! These types stop at the boundary: only [`crate::server`] and [`crate::client`] know them.

mod batch_request;
mod floats;

pub use batch_request::CompositeBatchRequest;
pub use floats::Floats;

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated code; the proto file has the documentation"
)]
mod generated {
    tonic::include_proto!("lipsync");
}

pub use generated::*;

impl From<crate::encoder::FormatName> for ImageFormat {
    fn from(name: crate::encoder::FormatName) -> Self {
        use crate::encoder::FormatName;
        match name {
            FormatName::Png => Self::Png,
            FormatName::Jpeg => Self::Jpeg,
            FormatName::Rgb => Self::Rgb,
            FormatName::I420 => Self::I420,
        }
    }
}

/// The compiled proto file with everything it imports, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/lipsync_descriptor.bin"));

/// Request metadata that asks for domain errors as a gRPC status ([`STATUS_ERRORS`]) instead of in-band.
pub const ERRORS_KEY: &str = "lipsync-errors";

/// The value of [`ERRORS_KEY`].
pub const STATUS_ERRORS: &str = "status";

/// Request metadata that names the model, for load balancers to hash on.
pub const MODEL_ID_KEY: &str = "x-model-id";
