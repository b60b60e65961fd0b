//! Generates the Rust side of `proto/lipsync.proto`, with a compiler of its own: `protoc` need not be installed.

use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto/lipsync.proto");
    let descriptors = protox::compile(["lipsync.proto"], ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // Served by reflection.
    std::fs::write(
        out.join("lipsync_descriptor.bin"),
        descriptors.encode_to_vec(),
    )?;
    tonic_prost_build::configure()
        .bytes(".lipsync")
        // Its tensors stay the bytes they arrived in: src/wire/batch_request.rs.
        .extern_path(
            ".lipsync.CompositeBatchRequest",
            "crate::wire::CompositeBatchRequest",
        )
        .compile_fds(descriptors)?;
    Ok(())
}
