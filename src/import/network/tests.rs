//! Networks of checkpoints that torch saved, held to what torch computes with them: `tools/golden_checkpoints.py`.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::engine::engine_tests::{assert_close, engines, noise};
use crate::engine::{Backend, Batch, Cancel, SessionOptions, VisualCacheLimit};
use crate::frame::network_io::{
    AUDIO_LEN, FEATURE_LEN, MEL_WINDOW_LEN, PREDICTION_LEN, VISUAL_LEN,
};
use crate::import::checkpoint::{Checkpoint, TensorInfo};

/// What torch and an engine may differ by.
const TOLERANCE: f32 = 1e-4;

pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/checkpoints")
        .join(name)
}

fn converted(name: &str, role: Role) -> Result<Converted, NetworkError> {
    convert(&mut Checkpoint::open(&golden(name)).unwrap(), role)
}

/// What torch computed, at some places.
#[derive(serde::Deserialize)]
struct Expected {
    output: Vec<(usize, f32)>,
    emb: Vec<(usize, f32)>,
}

fn expected() -> Expected {
    let text = std::fs::read_to_string(golden("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[track_caller]
fn assert_expected(found: &[f32], expected: &[(usize, f32)]) {
    assert!(expected.len() >= 100);
    let at_places: Vec<f32> = expected.iter().map(|&(place, _)| found[place]).collect();
    let values: Vec<f32> = expected.iter().map(|&(_, value)| value).collect();
    assert_close(&at_places, &values, TOLERANCE);
}

fn generate(backend: &dyn Backend, onnx: &[u8], options: &SessionOptions) -> Vec<f32> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, onnx).unwrap();
    let network = backend.open_generator(file.path(), options).unwrap();
    assert_eq!(
        network.visual_cache().is_some(),
        options.visual_cache.is_some(),
        "the network was not cut"
    );
    // The embedded engine runs frames one by one whatever a file allows.
    if options.visual_cache.is_none() && backend.info().library.is_some() {
        assert!(network.max_batch() > 1, "the batch is not dynamic");
    }
    let (visual, audio) = (noise(2 * VISUAL_LEN, 1), noise(2 * AUDIO_LEN, 2));
    let batch = Batch {
        frames: 2,
        visual: &visual,
        audio: &audio,
        backgrounds: &[Some(0), Some(1)],
    };
    let mut output = vec![0.0; 2 * PREDICTION_LEN];
    let mut session = network.open_session().unwrap();
    session.run(&batch, &mut output, &Cancel::new()).unwrap();
    output
}

#[test]
fn the_generator_computes_what_torch_does() {
    let onnx = converted("generator.pth", Role::Generator).unwrap().onnx;
    for backend in engines() {
        let output = generate(&*backend, &onnx, &SessionOptions::default());
        assert_expected(&output, &expected().output);
    }
}

#[test]
fn the_generator_can_be_cut_for_the_visual_cache() {
    let onnx = converted("generator.pth", Role::Generator).unwrap().onnx;
    let options = SessionOptions {
        visual_cache: Some(VisualCacheLimit {
            bytes: 1 << 30,
            backgrounds: 2,
        }),
        ..SessionOptions::default()
    };
    for backend in engines() {
        let output = generate(&*backend, &onnx, &options);
        assert_expected(&output, &expected().output);
    }
}

#[test]
fn the_audio_encoder_computes_what_torch_does() {
    for name in ["audio_visual_encoder.pth", "audio_visual_encoder_owned.pth"] {
        let onnx = converted(name, Role::AudioEncoder).unwrap().onnx;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, onnx).unwrap();
        let mel: Vec<f32> = noise(3 * MEL_WINDOW_LEN, 3)
            .into_iter()
            .map(|value| 8.0 * value - 4.0)
            .collect();
        for backend in engines() {
            let mut encoder = backend
                .open_audio_encoder(file.path(), &SessionOptions::default())
                .unwrap();
            let mut features = vec![0.0; 3 * FEATURE_LEN];
            encoder.run(&mel, 3, &mut features).unwrap();
            assert_expected(&features, &expected().emb);
        }
    }
}

#[test]
fn every_form_of_the_weights_gives_the_same_network() {
    let plain = converted("generator.pth", Role::Generator).unwrap();
    assert_eq!(
        (plain.dictionary.as_str(), plain.parameters > 5000),
        ("", true)
    );
    for name in [
        "generator_nested.pth",
        "generator_double.pth",
        "generator_views.pth",
    ] {
        let other = converted(name, Role::Generator).unwrap();
        assert!(plain.onnx == other.onnx, "{name}");
        if name == "generator_nested.pth" {
            assert_eq!(other.dictionary, "net.state_dict");
        }
    }
    for name in ["generator_half.pth", "generator_bfloat16.pth"] {
        let rounded = converted(name, Role::Generator).unwrap();
        assert!(plain.onnx.len() == rounded.onnx.len() && plain.onnx != rounded.onnx);
    }
}

/// The weights of the golden generator, to be changed.
fn weights() -> Weights {
    let checkpoint = Checkpoint::open(&golden("generator.pth")).unwrap();
    checkpoint.dictionaries()[0].1.clone()
}

fn mismatches(weights: &Weights) -> Vec<String> {
    let mismatches = Role::Generator.blueprint(weights).mismatches();
    mismatches.iter().map(ToString::to_string).collect()
}

#[test]
fn every_missing_extra_and_misshapen_weight_is_named_at_once() {
    let mut changed = weights();
    assert_eq!(mismatches(&changed), Vec::<String>::new());
    let taken = changed.remove("down3.maxpool_conv.0.double_conv.0.conv.4.running_var");
    let other = taken.unwrap();
    changed.insert("down6.conv.weight".to_owned(), other.clone());
    changed.insert("audio_model.conv3.weight".to_owned(), other.clone());
    changed.insert("up2.conv.double_conv.1.conv.7.bias".to_owned(), other);
    changed.remove("outc.conv.bias");
    assert_eq!(
        mismatches(&changed),
        [
            "missing: down3.maxpool_conv.0.double_conv.0.conv.4.running_var",
            "missing: outc.conv.bias",
            "misshapen: audio_model.conv3.weight is [6], expected [5,4,3,3]",
            "misshapen: up2.conv.double_conv.1.conv.7.bias is [6], expected [3]",
            "extra: down6.conv.weight [6]",
        ]
    );
}

#[test]
fn each_weight_is_needed_and_a_counter_is_not() {
    let whole = weights();
    for key in whole.keys() {
        let mut less = whole.clone();
        less.remove(key);
        let missed = mismatches(&less);
        if key.ends_with(".num_batches_tracked") {
            assert_eq!(missed, Vec::<String>::new());
        } else {
            assert_eq!(missed, [format!("missing: {key}")]);
        }
    }
}

/// The weights with others of the given shape under a name.
fn with_shape(key: &str, shape: &[u64]) -> Weights {
    let mut weights = weights();
    weights.insert(key.to_owned(), TensorInfo::of_shape(shape));
    weights
}

#[test]
fn other_families_are_told_in_the_users_words() {
    let told = |weights: &Weights, role| family::recognise(weights, role).map(|(family, _)| family);
    let generator = |weights: &Weights| told(weights, Role::Generator);
    let heard = "audio_model.conv1.conv.0.weight";
    let small = |mut weights: Weights| {
        weights.retain(|key, _| !key.starts_with("down5.") && !key.starts_with("up5."));
        weights
    };
    assert_eq!(generator(&weights()), None);
    assert_eq!(
        generator(&with_shape(heard, &[512, 256, 1, 1])),
        Some("a generator for wenet audio")
    );
    assert_eq!(
        generator(&small(with_shape(heard, &[32, 16, 1, 1]))),
        Some("a generator for 160 pixels and hubert audio")
    );
    assert_eq!(
        generator(&small(with_shape(heard, &[256, 128, 1, 1]))),
        Some("a generator for 160 pixels and wenet audio")
    );
    assert_eq!(
        generator(&small(weights())),
        Some("a generator for 160 pixels")
    );
    let encoder = Checkpoint::open(&golden("audio_visual_encoder.pth")).unwrap();
    let encoder = &encoder.dictionaries()[0].1;
    assert_eq!(generator(encoder), Some("the audio encoder"));
    assert_eq!(told(&weights(), Role::AudioEncoder), Some("a generator"));
    assert_eq!(
        generator(&with_shape("face_encoder.0.weight", &[1])),
        Some("a SyncNet, which only helps in training")
    );
}

#[test]
fn a_file_of_another_role_is_refused_before_its_weights_are_listed() {
    let error = converted("audio_visual_encoder.pth", Role::Generator).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("audio_visual_encoder.pth is the audio encoder, not"),
        "{text}"
    );
    assert!(error.hint().unwrap().contains("--audio-encoder"));
}

#[test]
fn a_list_of_mismatches_is_bounded() {
    let mismatches = (0..1000).map(|index| Mismatch::Missing {
        key: format!("weight {index}"),
    });
    let text = listed(&mismatches.collect::<Vec<_>>());
    assert_eq!(text.lines().count(), NAMED_MAX + 2);
    assert!(text.ends_with("and 960 more"), "{text}");
}

#[test]
fn checkpoints_of_other_families_are_refused_by_their_names() {
    for (name, family) in [
        ("wenet.pth", "a generator for wenet audio"),
        (
            "hubert_160.pth",
            "a generator for 160 pixels and hubert audio",
        ),
    ] {
        let error = converted(name, Role::Generator).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&format!("{name} is {family}, not ")),
            "{text}"
        );
        assert!(error.hint().unwrap().contains("only 328-pixel"));
    }
}

#[test]
fn sizes_that_no_network_has_are_refused_before_anything_is_read() {
    // Views with strides of 0 may claim any size that a number can hold.
    let mut weights = weights();
    for key in ["conv.weight", "conv.bias"] {
        let shape: &[u64] = if key == "conv.bias" {
            &[3]
        } else {
            &[3, u64::MAX, 1, 1]
        };
        weights.insert(format!("outc.{key}"), TensorInfo::of_shape(shape));
    }
    for part in ["weight", "bias", "running_mean", "running_var"] {
        let key = format!("up5.conv.double_conv.1.conv.7.{part}");
        weights.insert(key, TensorInfo::of_shape(&[u64::MAX]));
    }
    let blueprint = Role::Generator.blueprint(&weights);
    assert_eq!(blueprint.parameters(), u64::MAX);
}

proptest! {
    /// Whatever shapes a checkpoint claims, they are told, not stumbled over.
    #[test]
    fn no_shapes_make_a_definition_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(prop_oneof![0..9_u64, any::<u64>()], 0..6)), 1..6),
    ) {
        let mut weights = weights();
        for (place, shape) in changes {
            let key = place.get(&weights.keys().cloned().collect::<Vec<_>>()).clone();
            weights.insert(key, TensorInfo::of_shape(&shape));
        }
        for role in [Role::Generator, Role::AudioEncoder] {
            let mut blueprint = role.blueprint(&weights);
            let mismatches = blueprint.mismatches();
            let text = listed(&mismatches);
            prop_assert!(text.len() < 100_000);
            let _ = (blueprint.parameters(), family::recognise(&weights, role));
        }
    }
}
