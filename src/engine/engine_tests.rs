//! Both engines on real networks: tests/golden/networks, made by `tools/make_test_networks.py`.
//!
//! ONNX Runtime is tested where a library is found (`pip install onnxruntime`) and skipped, with a word, elsewhere.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::frame::network_io::*;
use crate::workers::*;

pub(super) fn network(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/networks")
        .join(name)
}

fn embedded() -> Arc<dyn Backend> {
    select(&BackendOptions {
        choice: BackendChoice::Embedded,
        ..BackendOptions::default()
    })
    .unwrap()
}

/// ONNX Runtime, if it is installed.
fn onnxruntime() -> Option<Arc<dyn Backend>> {
    let options = BackendOptions {
        choice: BackendChoice::OnnxRuntime,
        ..BackendOptions::default()
    };
    match select(&options) {
        Ok(backend) => Some(backend),
        Err(error) => {
            crate::skip::skipped("onnxruntime", error);
            None
        }
    }
}

/// The engines that are here.
pub(crate) fn engines() -> Vec<Arc<dyn Backend>> {
    [Some(embedded()), onnxruntime()]
        .into_iter()
        .flatten()
        .collect()
}

/// Floats in `[0,1)` that look like noise.
pub(crate) fn noise(len: usize, mut seed: u32) -> Vec<f32> {
    (0..len)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as f32 / (1_u32 << 24) as f32
        })
        .collect()
}

fn generate(backend: &dyn Backend, path: &Path, frames: usize) -> Vec<f32> {
    let network = backend
        .open_generator(path, &SessionOptions::default())
        .unwrap();
    let visual = noise(frames * VISUAL_LEN, 1);
    let audio = noise(frames * AUDIO_LEN, 2);
    let mut output = vec![0.0; frames * PREDICTION_LEN];
    let batch = Batch {
        frames,
        visual: &visual,
        audio: &audio,
        backgrounds: &[],
    };
    network
        .open_session()
        .unwrap()
        .run(&batch, &mut output, &Cancel::new())
        .unwrap();
    output
}

#[track_caller]
pub(crate) fn assert_close(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    let worst = a
        .iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0_f32, f32::max);
    assert!(worst <= tolerance, "they differ by up to {worst}");
}

/// The formula of the test generator at one pixel, from the weights in the file: computed by onnx's own reference
/// implementation in `tools/make_test_networks.py`, for the inputs of [`noise`].
#[derive(serde::Deserialize)]
struct Golden {
    generator: Vec<(usize, f32)>,
    audio_encoder: Vec<(usize, f32)>,
}

fn golden() -> Golden {
    let text = std::fs::read_to_string(network("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[track_caller]
fn assert_golden(output: &[f32], golden: &[(usize, f32)]) {
    assert!(golden.len() >= 16);
    for &(index, value) in golden {
        assert!(
            (output[index] - value).abs() < 1e-5,
            "float {index} is {}, the reference says {value}",
            output[index]
        );
    }
}

#[test]
fn the_generator_agrees_with_the_reference_implementation() {
    for backend in engines() {
        let output = generate(&*backend, &network("generator.onnx"), 2);
        assert_golden(&output, &golden().generator);
    }
}

#[test]
fn the_audio_encoder_agrees_with_the_reference_implementation() {
    for backend in engines() {
        let mut encoder = backend
            .open_audio_encoder(&network("audio_encoder.onnx"), &SessionOptions::default())
            .unwrap();
        let mut output = vec![0.0; 3 * FEATURE_LEN];
        encoder
            .run(&noise(3 * MEL_WINDOW_LEN, 1), 3, &mut output)
            .unwrap();
        assert_golden(&output, &golden().audio_encoder);
    }
}

#[test]
fn a_fixed_batch_of_one_runs_frame_by_frame() {
    for backend in engines() {
        let path = network("generator_fixed_batch.onnx");
        let fixed = backend
            .open_generator(&path, &SessionOptions::default())
            .unwrap();
        assert_eq!(fixed.max_batch(), 1);
        let output = generate(&*backend, &path, 3);
        let dynamic = generate(&*backend, &network("generator.onnx"), 3);
        assert_close(&output, &dynamic, 1e-6);
    }
}

#[test]
fn networks_of_another_shape_are_refused_with_what_was_found_and_expected() {
    let cases = [
        ("generator_hubert.onnx", "a generator for hubert features"),
        ("generator_wenet.onnx", "a generator for wenet features"),
        ("generator_160.onnx", "a generator of 160 pixels"),
        (
            "generator_wrong_shape.onnx",
            "found input f32 [N,6,160,160], expected input f32 [N,6,320,320]",
        ),
        (
            "generator_wrong_type.onnx",
            "found input u8 [N,6,320,320], expected input f32 [N,6,320,320]",
        ),
        ("audio_encoder.onnx", "it has no input \"input\""),
    ];
    for backend in engines() {
        for (name, words) in cases {
            let error = backend
                .open_generator(&network(name), &SessionOptions::default())
                .unwrap_err();
            assert!(matches!(error, InferenceError::Interface { .. }), "{error}");
            let message = error.to_string();
            assert!(message.contains(words), "{message}");
            assert!(message.contains(name), "{message}");
        }
        let error = backend
            .open_audio_encoder(&network("generator.onnx"), &SessionOptions::default())
            .err()
            .unwrap();
        assert!(
            error.to_string().contains("not an audio encoder"),
            "{error}"
        );
    }
}

/// The output for generator.onnx's inputs, whatever the file calls its tensors.
#[test]
fn tensors_are_told_by_their_shapes() {
    for backend in engines() {
        let expected = generate(&*backend, &network("generator.onnx"), 2);
        let foreign = generate(&*backend, &network("generator_foreign.onnx"), 2);
        assert_eq!(expected, foreign);
        // Halves have 11 bits: inputs below 1 are off by up to 2^-12, and so are outputs.
        let halves = generate(&*backend, &network("generator_halves.onnx"), 2);
        assert_close(&expected, &halves, 5e-3);

        let mut features = vec![0.0; 2 * FEATURE_LEN];
        let mut foreign = features.clone();
        for (name, output) in [
            ("audio_encoder.onnx", &mut features),
            ("audio_encoder_foreign.onnx", &mut foreign),
        ] {
            backend
                .open_audio_encoder(&network(name), &SessionOptions::default())
                .unwrap()
                .run(&noise(2 * MEL_WINDOW_LEN, 1), 2, output)
                .unwrap();
        }
        assert_eq!(features, foreign);
    }
}

/// As a Hugging Face cache has them: every file a link to one that is called by its hash, in another folder.
#[cfg(unix)]
#[test]
fn weights_beside_the_network_are_found_through_links() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    let snapshot = folder.path().join("snapshot");
    std::fs::create_dir(&snapshot).unwrap();
    for (blob, name) in [
        ("aaa", "generator_external.onnx"),
        ("bbb", "generator_external.onnx.data"),
    ] {
        std::fs::copy(network(name), folder.path().join(blob)).unwrap();
        symlink(Path::new("..").join(blob), snapshot.join(name)).unwrap();
    }
    let linked = snapshot.join("generator_external.onnx");
    for backend in engines() {
        let expected = generate(&*backend, &network("generator.onnx"), 2);
        assert_eq!(expected, generate(&*backend, &linked, 2));
        assert_eq!(
            expected,
            generate(&*backend, &network("generator_external.onnx"), 2)
        );
    }
    let weights = folder.path().join("bbb");
    let bytes = std::fs::read(&weights).unwrap();
    for (left, words) in [
        (Some(bytes.len() - 1), "cut short"),
        (None, "cannot be read"),
    ] {
        match left {
            Some(length) => std::fs::write(&weights, &bytes[..length]).unwrap(),
            None => std::fs::remove_file(&weights).unwrap(),
        }
        for backend in engines() {
            let error = backend
                .open_generator(&linked, &SessionOptions::default())
                .unwrap_err();
            let message = error.to_string();
            assert!(message.contains(words), "{message}");
            assert!(
                message.contains("generator_external.onnx.data"),
                "{message}"
            );
        }
    }
}

#[test]
fn files_that_are_no_network_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(network("generator.onnx")).unwrap();
    for backend in engines() {
        for (name, bytes) in [
            ("empty.onnx", &b""[..]),
            (
                "text.onnx",
                b"not a network at all, but a few words of text",
            ),
            ("truncated.onnx", &whole[..whole.len() / 2]),
            ("other.name", b"\x00\x01"),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let error = backend
                .open_generator(&path, &SessionOptions::default())
                .unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        for missing in [
            folder.path().join("missing.onnx"),
            folder.path().to_path_buf(),
        ] {
            let error = backend
                .open_generator(&missing, &SessionOptions::default())
                .unwrap_err();
            assert!(matches!(error, InferenceError::Read { .. }), "{error}");
        }
    }
}

#[test]
fn values_are_left_to_the_compositor() {
    for backend in engines() {
        let output = generate(&*backend, &network("generator_nan.onnx"), 1);
        assert!(output.iter().all(|float| float.is_nan()));
    }
}

#[test]
fn a_session_of_a_file_that_changed_is_refused() {
    let Some(backend) = onnxruntime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.onnx");
    std::fs::copy(network("generator.onnx"), &path).unwrap();
    let opened = backend
        .open_generator(&path, &SessionOptions::default())
        .unwrap();
    let _first = opened.open_session().unwrap();
    let _second = opened.open_session().unwrap();
    std::fs::copy(network("generator_nan.onnx"), &path).unwrap();
    let error = opened.open_session().err().unwrap();
    assert!(matches!(error, InferenceError::Changed { .. }), "{error}");
}

#[test]
fn a_cancelled_run_leaves_the_session_usable() {
    for backend in engines() {
        let opened = backend
            .open_generator(&network("generator.onnx"), &SessionOptions::default())
            .unwrap();
        let mut session = opened.open_session().unwrap();
        let (visual, audio) = (noise(VISUAL_LEN, 1), noise(AUDIO_LEN, 2));
        let batch = Batch {
            frames: 1,
            visual: &visual,
            audio: &audio,
            backgrounds: &[],
        };
        let mut output = vec![0.0; PREDICTION_LEN];
        let cancel = Cancel::new();
        cancel.cancel();
        let error = session.run(&batch, &mut output, &cancel).unwrap_err();
        assert!(matches!(error, InferenceError::Cancelled), "{error}");
        // Cancelling while it runs: whichever comes first, the next run must not notice.
        for _ in 0..20 {
            let cancel = Cancel::new();
            std::thread::scope(|scope| {
                scope.spawn(|| cancel.cancel());
                match session.run(&batch, &mut output, &cancel) {
                    Ok(()) | Err(InferenceError::Cancelled) => {}
                    Err(error) => panic!("{error}"),
                }
            });
        }
        session.run(&batch, &mut output, &Cancel::new()).unwrap();
        assert_golden(
            &output,
            &golden()
                .generator
                .into_iter()
                .filter(|(index, _)| *index < PREDICTION_LEN)
                .collect::<Vec<_>>(),
        );
    }
}

#[test]
fn wrong_lengths_are_refused() {
    for backend in engines() {
        let opened = backend
            .open_generator(&network("generator.onnx"), &SessionOptions::default())
            .unwrap();
        let mut session = opened.open_session().unwrap();
        let batch = Batch {
            frames: 1,
            visual: &[0.0; 6],
            audio: &noise(AUDIO_LEN, 2),
            backgrounds: &[],
        };
        let error = session
            .run(&batch, &mut vec![0.0; PREDICTION_LEN], &Cancel::new())
            .unwrap_err();
        assert!(matches!(error, InferenceError::Length { .. }), "{error}");
    }
}

#[tokio::test]
async fn workers_run_real_networks() {
    for backend in engines() {
        let workers = Workers::spawn(
            &*backend,
            &network("generator.onnx"),
            WorkerOptions {
                sessions: 2,
                max_batch: 2,
                ..WorkerOptions::default()
            },
        )
        .unwrap();
        let (visual, audio) = (noise(2 * VISUAL_LEN, 1), noise(2 * AUDIO_LEN, 2));
        let expected = generate(&*backend, &network("generator.onnx"), 2);
        let tickets: Vec<_> = (0..2)
            .map(|frame| {
                let visual = visual[frame * VISUAL_LEN..][..VISUAL_LEN].to_vec();
                let audio = audio[frame * AUDIO_LEN..][..AUDIO_LEN].to_vec();
                workers
                    .submit(FrameInput::new(Arc::new(visual), Arc::new(audio)))
                    .unwrap()
            })
            .collect();
        for (ticket, expected) in tickets.into_iter().zip(expected.chunks(PREDICTION_LEN)) {
            assert_close(&ticket.await.unwrap(), expected, 1e-6);
        }
    }
}

#[test]
fn the_fast_engine_says_what_it_runs_on() {
    let Some(backend) = onnxruntime() else { return };
    let info = backend.info();
    assert_eq!(info.providers.last(), Some(&ExecutionProvider::Cpu));
    assert!(info.version.starts_with("1."), "{info}");
    assert!(info.library.as_deref().is_some_and(Path::exists));
    for skipped in &info.skipped {
        assert!(!info.providers.contains(&skipped.provider));
        assert!(!skipped.reason.is_empty());
    }
}

#[test]
fn a_provider_that_does_not_work_is_refused_unless_a_fallback_is_allowed() {
    let Some(backend) = onnxruntime() else { return };
    if backend.info().cuda_available() {
        eprintln!("skipped: CUDA works here");
        return;
    }
    let mut options = BackendOptions {
        cuda: Some(true),
        ..BackendOptions::default()
    };
    let error = select(&options).unwrap_err();
    assert!(
        matches!(
            error,
            InferenceError::Provider {
                provider: ExecutionProvider::Cuda,
                ..
            }
        ),
        "{error}"
    );
    options.fallback_to_cpu = true;
    let info = select(&options).unwrap().info().clone();
    assert_eq!(info.providers, [ExecutionProvider::Cpu]);
    assert_eq!(info.skipped[0].provider, ExecutionProvider::Cuda);
}

/// Set `LIPSYNC_TEST_GENERATOR` to a network's path, for one of the real size to the output of
/// `tools/make_full_size_network.py`.
#[test]
fn the_engines_agree_on_a_network_of_your_own() {
    let Some(path) = std::env::var_os("LIPSYNC_TEST_GENERATOR") else {
        eprintln!("skipped: LIPSYNC_TEST_GENERATOR is not set");
        return;
    };
    let Some(fast) = onnxruntime() else { return };
    let path = PathBuf::from(path);
    assert_close(
        &generate(&*fast, &path, 2),
        &generate(&*embedded(), &path, 2),
        1e-3,
    );
}
