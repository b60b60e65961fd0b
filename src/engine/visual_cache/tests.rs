//! Cutting, and whether the parts give what the whole gives.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::engine::engine_tests::{assert_close, engines, network, noise};
use crate::engine::graph::cut::Cut;
use crate::engine::graph::model::{Model, testing};
use crate::engine::{Backend, Batch, SessionOptions, VisualCacheLimit};
use crate::frame::network_io::{AUDIO_LEN, PREDICTION_LEN, VISUAL_LEN};
use crate::workers::{FrameInput, WorkerOptions, Workers};

const PLENTY: u64 = 1 << 40;

/// For an avatar of three backgrounds; with 0 bytes the network runs whole.
fn options(bytes: u64) -> SessionOptions {
    SessionOptions {
        visual_cache: (bytes > 0).then_some(VisualCacheLimit {
            bytes,
            backgrounds: 3,
        }),
        ..SessionOptions::default()
    }
}

fn read_network(name: &str) -> Vec<u8> {
    std::fs::read(network(name)).unwrap()
}

/// The operators of a part.
fn operators<'m>(model: &'m Model<'_>, part: &crate::engine::graph::cut::Part) -> Vec<&'m str> {
    part.nodes
        .iter()
        .map(|&index| model.nodes[index].operator.as_str())
        .collect()
}

#[test]
fn a_graph_is_cut_by_what_its_nodes_depend_on() {
    let bytes = read_network("generator.onnx");
    let model = Model::read(&bytes).unwrap();
    let cut = Cut::of(&model).unwrap();
    assert_eq!(operators(&model, &cut.visual), ["Conv"]);
    assert_eq!(operators(&model, &cut.audio), ["Conv", "Resize"]);
    assert_eq!(operators(&model, &cut.joint), ["Add", "Sigmoid"]);
    assert_eq!(
        (&cut.visual.inputs[..], &cut.visual.outputs[..]),
        (&["input".to_owned()][..], &["v".to_owned()][..])
    );
    assert_eq!(cut.joint.inputs, ["u", "v"]);
    assert_eq!(cut.joint.outputs, ["output"]);
}

#[test]
fn a_part_has_the_weights_it_uses_and_no_other() {
    let bytes = read_network("generator.onnx");
    let model = Model::read(&bytes).unwrap();
    let cut = Cut::of(&model).unwrap();
    let names = |part: &[u8]| -> Vec<String> {
        let part = Model::read(part).unwrap();
        part.initializers
            .into_iter()
            .map(|named| named.name)
            .collect()
    };
    assert_eq!(names(&model.write(&cut.visual, &[])), ["wv", "bv"]);
    assert_eq!(names(&model.write(&cut.audio, &[])), ["wa", "scales"]);
}

#[test]
fn a_network_whose_bytes_are_kept_is_cut_before_they_become_floats() {
    let bytes = read_network("unet_int8.onnx");
    let model = Model::read(&bytes).unwrap();
    let cut = Cut::of(&model).unwrap();
    let last = |part: &crate::engine::graph::cut::Part| {
        let makers = model
            .nodes
            .iter()
            .filter(|node| part.outputs.contains(&node.outputs[0]));
        makers.map(|node| node.operator.clone()).collect::<Vec<_>>()
    };
    assert!(last(&cut.visual).iter().all(|op| op == "QuantizeLinear"));
    assert!(last(&cut.audio).iter().all(|op| op == "QuantizeLinear"));
}

#[test]
fn what_is_not_understood_reaches_the_parts() {
    let mark = b"a field of a later version";
    let mut node = testing::node("Relu", &["input"], &["v"]);
    testing::put_unknown(&mut node, mark);
    let model = testing::model(&[node, testing::node("Add", &["v", "audio"], &["output"])]);
    let read = Model::read(&model).unwrap();
    let cut = Cut::of(&read).unwrap();
    let contains = |part| {
        let bytes = read.write(part, &[]);
        bytes.windows(mark.len()).any(|window| window == mark)
    };
    assert!(contains(&cut.visual));
    let joint = read.write(
        &cut.joint,
        &[(
            "v".to_owned(),
            Kind {
                shape: vec![1],
                element: 1,
            },
        )],
    );
    assert!(!joint.windows(mark.len()).any(|window| window == mark));
}

#[test]
fn networks_that_cannot_be_cut_say_why() {
    let add = || testing::node("Add", &["v", "audio"], &["output"]);
    let relu = || testing::node("Relu", &["input"], &["v"]);
    let mut branch = relu();
    testing::put_attribute_graph(&mut branch);
    let cases = [
        (testing::model(&[add(), relu()]), "\"v\" is used before"),
        (
            testing::model(&[branch, add()]),
            "Relu has a graph of its own",
        ),
        (
            testing::model(&[testing::node("Add", &["input", "audio"], &["output"])]),
            "no part of it",
        ),
        (
            testing::model(&[testing::node("Relu", &["input"], &["output"])]),
            "no part of it",
        ),
    ];
    for (bytes, words) in cases {
        let error = Model::read(&bytes)
            .and_then(|model| Cut::of(&model))
            .unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    let outside = testing::model_with_external_weights(&[relu(), add()]);
    let mut outside = Model::read(&outside).unwrap();
    let error = outside
        .take_in(Path::new("nowhere"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("\"w\" are in another file"), "{error}");
    let whole = read_network("generator.onnx");
    for length in [1, 7, whole.len() / 2, whole.len() - 1] {
        let error = Model::read(&whole[..length]).unwrap_err();
        assert!(matches!(error, GraphError::Malformed(_)), "{error}");
    }
}

/// Predicts a frame of a background.
fn predict(
    session: &mut dyn Generator,
    visual: &[f32],
    audio: &[f32],
    background: Option<usize>,
) -> Vec<f32> {
    let mut output = vec![0.0; PREDICTION_LEN];
    let batch = Batch {
        frames: 1,
        visual,
        audio,
        backgrounds: &[background],
    };
    session.run(&batch, &mut output, &Cancel::new()).unwrap();
    output
}

#[track_caller]
fn assert_same_bits(a: &[f32], b: &[f32], what: &str) {
    let differ = a
        .iter()
        .zip(b)
        .filter(|(a, b)| a.to_bits() != b.to_bits())
        .count();
    assert_eq!(differ, 0, "{what}: {differ} of {} values differ", a.len());
}

/// Frames of two backgrounds with windows of their own, each shown twice by two sessions, against the whole network.
fn assert_parts_give_what_the_whole_gives(backend: &dyn Backend, path: &Path) {
    let whole = backend.open_generator(path, &options(0)).unwrap();
    assert_eq!(whole.visual_cache(), None);
    let split = backend.open_generator(path, &options(PLENTY)).unwrap();
    let what = format!("{} with {}", path.display(), backend.info());
    assert!(split.visual_cache().is_some(), "{what} was not split");
    let mut whole = whole.open_session().unwrap();
    let mut sessions = [split.open_session().unwrap(), split.open_session().unwrap()];
    for (round, background) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let visual = noise(VISUAL_LEN, background as u32);
        let audio = noise(AUDIO_LEN, 100 + 10 * round + background as u32);
        let expected = predict(&mut *whole, &visual, &audio, None);
        for session in &mut sessions {
            let found = predict(&mut **session, &visual, &audio, Some(background));
            assert_same_bits(&found, &expected, &what);
        }
        if round == 1 {
            // The last window again.
            let found = predict(&mut *sessions[0], &visual, &audio, Some(background));
            assert_same_bits(&found, &expected, &what);
        }
    }
    let stats = split.visual_cache().unwrap();
    assert_eq!((stats.hits, stats.misses), (8, 2));
    assert_eq!(stats.backgrounds, 2);
    assert_eq!(stats.bytes, 2 * stats.background_bytes);
}

#[test]
fn the_parts_give_the_bits_of_the_whole() {
    for backend in engines() {
        for name in [
            "generator.onnx",
            "generator_foreign.onnx",
            "generator_external.onnx",
            "unet.onnx",
            "unet_legacy_11.onnx",
            "unet_legacy_17.onnx",
        ] {
            assert_parts_give_what_the_whole_gives(&*backend, &network(name));
        }
    }
}

/// With N fixed, ONNX Runtime adds the audio's share inside the convolution of the visual part; parted, it adds it
/// after. The U-Net's skip tensors meet what comes from below in a Concat, where there is nothing to fuse.
#[test]
fn an_addition_that_is_cut_off_its_convolution_rounds_once_more() {
    for backend in engines() {
        let path = network("generator_fixed_batch.onnx");
        let mut whole = backend
            .open_generator(&path, &options(0))
            .unwrap()
            .open_session()
            .unwrap();
        let split = backend.open_generator(&path, &options(PLENTY)).unwrap();
        assert!(split.visual_cache().is_some());
        let (visual, audio) = (noise(VISUAL_LEN, 1), noise(AUDIO_LEN, 2));
        let expected = predict(&mut *whole, &visual, &audio, None);
        let found = predict(
            &mut *split.open_session().unwrap(),
            &visual,
            &audio,
            Some(0),
        );
        assert_close(&found, &expected, 1e-6);
    }
}

#[test]
fn the_parts_of_a_quantised_network_keep_bytes() {
    for backend in engines() {
        let path = network("unet_int8.onnx");
        assert_parts_give_what_the_whole_gives(&*backend, &path);
        let bytes = |name: &str| {
            let split = backend
                .open_generator(&network(name), &options(PLENTY))
                .unwrap();
            split.visual_cache().unwrap().background_bytes
        };
        assert_eq!(4 * bytes("unet_int8.onnx"), bytes("unet.onnx"));
    }
}

#[test]
fn a_kept_background_is_not_computed_again() {
    for backend in engines() {
        let split = backend
            .open_generator(&network("generator.onnx"), &options(PLENTY))
            .unwrap();
        let mut session = split.open_session().unwrap();
        let audio = noise(AUDIO_LEN, 1);
        let first = predict(&mut *session, &noise(VISUAL_LEN, 1), &audio, Some(7));
        // Were it computed, other pixels would give another picture.
        let again = predict(&mut *session, &noise(VISUAL_LEN, 2), &audio, Some(7));
        assert_same_bits(&again, &first, "a kept background");
        // A tensor that its client made is never taken for the background's, nor kept as its.
        let made = predict(&mut *session, &noise(VISUAL_LEN, 2), &audio, None);
        assert_ne!(made, first);
        assert_eq!(split.visual_cache().unwrap().backgrounds, 1);
        let again = predict(&mut *session, &noise(VISUAL_LEN, 3), &audio, Some(7));
        assert_same_bits(&again, &first, "after a client's");
    }
}

#[test]
fn with_too_little_room_the_rest_is_computed_each_time() {
    for backend in engines() {
        let path = network("generator.onnx");
        let one = 3 * 320 * 320 * 4;
        let split = backend.open_generator(&path, &options(2 * one)).unwrap();
        let whole = backend.open_generator(&path, &options(0)).unwrap();
        let (mut split_session, mut whole_session) =
            (split.open_session().unwrap(), whole.open_session().unwrap());
        let audio = noise(AUDIO_LEN, 1);
        for background in [0, 1, 2, 1, 2] {
            let visual = noise(VISUAL_LEN, background as u32);
            let found = predict(&mut *split_session, &visual, &audio, Some(background));
            let expected = predict(&mut *whole_session, &visual, &audio, None);
            assert_same_bits(&found, &expected, "too little room");
        }
        let stats = split.visual_cache().unwrap();
        assert_eq!((stats.hits, stats.misses, stats.backgrounds), (1, 4, 2));
        assert_eq!((stats.bytes, stats.bytes_max), (2 * one, 2 * one));
        // With room for less than half, misses would cost more than hits win.
        let split = backend
            .open_generator(&path, &options(2 * one - 1))
            .unwrap();
        assert_eq!(split.visual_cache(), None);
    }
}

#[test]
fn a_network_of_nan_is_split_too() {
    for backend in engines() {
        let split = backend
            .open_generator(&network("generator_nan.onnx"), &options(PLENTY))
            .unwrap();
        let mut session = split.open_session().unwrap();
        let visual = noise(VISUAL_LEN, 1);
        let output = predict(&mut *session, &visual, &noise(AUDIO_LEN, 1), Some(0));
        assert!(output.iter().all(|value| value.is_nan()));
    }
}

#[test]
fn a_cancelled_run_leaves_a_split_session_usable() {
    for backend in engines() {
        let path = network("generator.onnx");
        let split = backend.open_generator(&path, &options(PLENTY)).unwrap();
        let mut session = split.open_session().unwrap();
        let (visual, audio) = (noise(VISUAL_LEN, 1), noise(AUDIO_LEN, 1));
        let cancel = Cancel::new();
        cancel.cancel();
        let batch = Batch {
            frames: 1,
            visual: &visual,
            audio: &audio,
            backgrounds: &[Some(0)],
        };
        let error = session
            .run(&batch, &mut vec![0.0; PREDICTION_LEN], &cancel)
            .unwrap_err();
        assert!(matches!(error, InferenceError::Cancelled), "{error}");
        let mut whole = backend
            .open_generator(&path, &options(0))
            .unwrap()
            .open_session()
            .unwrap();
        let expected = predict(&mut *whole, &visual, &audio, None);
        let found = predict(&mut *session, &visual, &audio, Some(0));
        assert_same_bits(&found, &expected, "after a cancel");
    }
}

#[tokio::test]
async fn workers_share_what_is_kept() {
    for backend in engines() {
        let workers = Workers::spawn(
            &*backend,
            &network("generator.onnx"),
            WorkerOptions {
                sessions: 2,
                max_batch: 8,
                session: options(PLENTY),
                ..WorkerOptions::default()
            },
        )
        .unwrap();
        assert_eq!(workers.max_batch(), 1);
        for frame in 0..12_u32 {
            let visual = noise(VISUAL_LEN, frame % 3);
            let input = FrameInput::new(Arc::new(visual), Arc::new(noise(AUDIO_LEN, frame)))
                .with_background(Some(frame as usize % 3));
            workers.infer(input).await.unwrap();
        }
        let cache = workers.visual_cache().unwrap();
        assert_eq!((cache.hits, cache.misses, cache.backgrounds), (9, 3, 3));
        assert_eq!(workers.stats().frames, 12);
        assert_eq!(workers.stats().visual_cache, cache);
        let watch = workers.watch();
        drop(workers);
        assert_eq!(watch.stats().visual_cache, cache.freed());
    }
}

#[test]
fn a_file_that_changed_is_not_mixed_with_what_was_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.onnx");
    std::fs::copy(network("generator.onnx"), &path).unwrap();
    for backend in engines() {
        let split = backend.open_generator(&path, &options(PLENTY)).unwrap();
        let _first = split.open_session().unwrap();
        let _second = split.open_session().unwrap();
        std::fs::copy(network("generator_nan.onnx"), &path).unwrap();
        match split.open_session() {
            // The embedded engine shares what it has in memory.
            Ok(_) => assert_eq!(backend.info().name, "rten"),
            Err(error) => assert!(matches!(error, InferenceError::Changed { .. }), "{error}"),
        }
        std::fs::copy(network("generator.onnx"), &path).unwrap();
    }
}
