//! Networks with bytes changed anywhere: an error or a model, never a panic, a hang or memory that a length claims.

use std::path::Path;

use crate::engine::Plan;
use crate::engine::graph::adapt::adapt;
use crate::engine::graph::cut::Cut;
use crate::engine::graph::model::Model;
use crate::engine::graph::rewrite::rewrite;
use crate::engine::network::{AUDIO_ENCODER, GENERATOR};
use crate::mutations;

#[test]
fn a_changed_network_is_answered() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/networks");
    let corpus: Vec<Vec<u8>> = [
        "generator.onnx",
        "generator_160.onnx",
        "generator_external.onnx",
        "generator_foreign.onnx",
        "generator_halves.onnx",
        "generator_hubert.onnx",
        "generator_wrong_type.onnx",
    ]
    .iter()
    .map(|name| std::fs::read(folder.join(name)).unwrap())
    .collect();
    let plan = Plan::grouped(Some(1 << 20));
    mutations::each(&corpus, |bytes| {
        for role in [&GENERATOR, &AUDIO_ENCODER] {
            let _ = adapt(bytes.to_vec(), role, &folder);
        }
        let _ = rewrite(bytes, plan);
        if let Ok(model) = Model::read(bytes) {
            let _ = Cut::of(&model);
            // What was read can be written, and read again.
            let written = model.write_whole();
            assert!(Model::read(&written).is_ok());
        }
    });
}
