//! The demo as a newcomer meets it: networks on both engines, mouths that follow speech, and the command.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

#[path = "common/skip.rs"]
mod skip;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use lipsync::audio::AudioReader;
use lipsync::config::Config;
use lipsync::demo::{self, Artist, Files, Who};
use lipsync::encoder::Format;
use lipsync::engine;
use lipsync::engine::{Backend, BackendChoice, BackendOptions, Batch, Cancel, SessionOptions};
use lipsync::frame::Rect;
use lipsync::frame::network_io::{
    AUDIO_LEN, FEATURE_LEN, MEL_WINDOW_LEN, PREDICTION_LEN, VISUAL_LEN,
};
use lipsync::pipeline::clip::first_windows;
use lipsync::pipeline::{FrameOrder, LoadOptions, LoadedModel, render_batch};

fn backend(choice: BackendChoice) -> Result<Arc<dyn Backend>, engine::InferenceError> {
    engine::select(&BackendOptions {
        choice,
        ..BackendOptions::default()
    })
}

/// Numbers that look like noise, the same every time.
fn noise(len: usize, low: f32, high: f32) -> Vec<f32> {
    let mut state = 7_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        low + (high - low) * (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..len).map(next).collect()
}

fn run_both(backend: &dyn Backend, files: &Files) -> (Vec<f32>, Vec<f32>) {
    let options = SessionOptions::default();
    let mut encoder = backend
        .open_audio_encoder(&files.audio_encoder, &options)
        .unwrap();
    let mut features = vec![0.0; 2 * FEATURE_LEN];
    let mel = noise(2 * MEL_WINDOW_LEN, -4.0, 4.0);
    encoder.run(&mel, 2, &mut features).unwrap();
    let network = backend.open_generator(&files.generator, &options).unwrap();
    let (visual, audio) = (
        noise(2 * VISUAL_LEN, 0.0, 1.0),
        noise(2 * AUDIO_LEN, -1.0, 1.0),
    );
    let batch = Batch {
        frames: 2,
        visual: &visual,
        audio: &audio,
        backgrounds: &[],
    };
    let mut output = vec![0.0; 2 * PREDICTION_LEN];
    let mut session = network.open_session().unwrap();
    session.run(&batch, &mut output, &Cancel::new()).unwrap();
    (features, output)
}

#[test]
fn both_engines_agree_on_the_demo_networks() {
    let folder = tempfile::tempdir().unwrap();
    demo::write_avatar(folder.path(), Who::Sanders, 1, || {}).unwrap();
    let files = Files::of(folder.path(), Who::Sanders);
    let (features, output) = run_both(&*backend(BackendChoice::Embedded).unwrap(), &files);
    assert!(output.iter().all(|value| (0.0..=1.0).contains(value)));
    let fast = match backend(BackendChoice::OnnxRuntime) {
        Ok(fast) => fast,
        Err(error) => {
            skip::skipped("onnxruntime", error);
            return;
        }
    };
    let (fast_features, fast_output) = run_both(&*fast, &files);
    for (a, b) in [(features, fast_features), (output, fast_output)] {
        let worst = a
            .iter()
            .zip(&b)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(worst <= 1e-3, "they differ by up to {worst}");
    }
}

/// Pixels in the middle of the mouth that are dark as its inside or white as teeth.
fn inside(artist: &Artist, index: usize, rgb: &[u8]) -> usize {
    let rect = artist.rect(index);
    let side = rect.size().width;
    let columns = rect.x1() + side * 2 / 5..rect.x1() + side * 3 / 5;
    (rect.y1() + side / 5..rect.y1() + side * 3 / 5)
        .flat_map(|y| {
            columns
                .clone()
                .map(move |x| (3 * (y * demo::SIZE.width + x)) as usize)
        })
        .filter(|&at| {
            let [red, green, blue] = [0, 1, 2].map(|channel| i32::from(rgb[at + channel]));
            let dark_red = green < 48 && red < 130 && 10 * red > 22 * green;
            dark_red || (green > 160 && red - blue < 36)
        })
        .count()
}

/// A frame as it is shown: its background's number and its pixels, RGB8.
type Shown = (usize, Vec<u8>);

/// Frames of the sample's beginning, 0.3 s of silence and then "Hello! Everything you see ...", by the demo's own
/// configuration.
async fn rendered(
    folder: &Path,
    who: Who,
    backgrounds: usize,
    is_picked: impl Fn(u64) -> bool,
) -> Vec<Shown> {
    demo::write_avatar(folder, who, backgrounds, || {}).unwrap();
    let text = demo::config_text(folder);
    let config = Config::parse(&text, Path::new("config.yaml")).unwrap();
    let backend = backend(BackendChoice::Embedded).unwrap();
    let options = LoadOptions::new(&config, &*backend);
    let model = LoadedModel::open(&*backend, config.model(who.name()).unwrap(), &options).unwrap();
    let mut sample = AudioReader::from_bytes("speech.flac", demo::speech_sample()).unwrap();
    let windows = first_windows(&model, &mut sample, 40).unwrap();
    let orders = windows.into_iter().map(|(frame, audio)| FrameOrder {
        index: frame,
        visual: None,
        audio,
        flow: 0,
        deadline: None,
    });
    let picked = orders.filter(|order| is_picked(order.index));
    let frames = render_batch(&model, picked, Format::Rgb).await.unwrap();
    frames
        .into_iter()
        .map(|frame| (frame.background, frame.image.into_bytes().to_vec()))
        .collect()
}

#[tokio::test]
async fn the_mouth_is_open_in_loud_speech_and_shut_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    let who = Who::Jane;
    let frames = rendered(folder.path(), who, 2, |index| !(3..30).contains(&index)).await;
    let artist = Artist::new(who);
    let shown: Vec<usize> = frames
        .iter()
        .map(|(background, pixels)| inside(&artist, *background, pixels))
        .collect();
    let (silence, speech) = shown.split_at(3);
    let (most_silent, loudest) = (silence.iter().max().unwrap(), speech.iter().max().unwrap());
    assert!(loudest > &(4 * most_silent + 100), "{shown:?}");
}

/// The mean step, in levels, from one square ring of pixels to the next one inside it, beyond the background's own:
/// what is seen as a line. Ring 0 is the rect's border and the step to it comes from outside.
fn steps(shown: &[u8], background: &[u8], rect: Rect, rings: u32) -> Vec<f64> {
    let level = |pixels: &[u8], x: u32, y: u32, channel: u32| {
        i32::from(pixels[(3 * (y * demo::SIZE.width + x) + channel) as usize])
    };
    let beyond = |[x, y]: [u32; 2], [from_x, from_y]: [u32; 2]| -> i32 {
        let step =
            |pixels, channel| level(pixels, x, y, channel) - level(pixels, from_x, from_y, channel);
        (0..3)
            .map(|channel| (step(shown, channel) - step(background, channel)).abs())
            .sum()
    };
    let (left, top) = (rect.x1(), rect.y1());
    let (right, bottom) = (rect.x2() - 1, rect.y2() - 1);
    (0..rings)
        .map(|ring| {
            let rows = (left..=right).map(|x| {
                beyond([x, top + ring], [x, top + ring - 1])
                    + beyond([x, bottom - ring], [x, bottom - ring + 1])
            });
            let columns = (top..=bottom).map(|y| {
                beyond([left + ring, y], [left + ring - 1, y])
                    + beyond([right - ring, y], [right - ring + 1, y])
            });
            let sum: i32 = rows.chain(columns).sum();
            let pixels = 2 * (rect.size().width + rect.size().height);
            f64::from(sum) / f64::from(3 * pixels)
        })
        .collect()
}

/// Rings of pixels around where the prediction begins, which is some 5 pixels inside the rect.
const RINGS: u32 = 12;

#[tokio::test]
async fn no_line_is_seen_where_the_prediction_begins() {
    for who in [Who::Sanders, Who::Bob, Who::Jane] {
        let folder = tempfile::tempdir().unwrap();
        let artist = Artist::new(who);
        for (background, pixels) in rendered(folder.path(), who, 1, |index| index == 36).await {
            let file = Files::of(folder.path(), who).frames.join("frame_0000.png");
            let whole = image::open(file).unwrap().into_rgb8();
            // Behind the first rings of the prediction its own detail is what differs.
            let steps = steps(&pixels, &whole, artist.rect(background), RINGS);
            let most = steps.iter().copied().fold(0.0, f64::max);
            assert!(most <= 0.5, "{who:?}: {steps:.2?}");
        }
    }
}

/// Its configuration is there already, on free ports, so that the test disturbs no other server.
#[cfg(unix)]
#[test]
fn the_command_writes_the_avatars_and_serves_them() {
    let folder = tempfile::tempdir().unwrap();
    let (models, config) = (
        folder.path().join("models"),
        folder.path().join("config.yaml"),
    );
    let text = demo::config_text(&models)
        .replace("\":50053\"", "127.0.0.1:0")
        .replace("127.0.0.1:8080", "127.0.0.1:0")
        .replace("127.0.0.1:9090", "127.0.0.1:0");
    std::fs::write(&config, text).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_lipsync"))
        .args(["demo", "--frames", "1", "--folder"])
        .arg(&models)
        .arg("--config")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    while !said.contains("lipsync infer") && stderr.read_line(&mut said).unwrap() > 0 {}
    let pid = child.id().to_string();
    assert!(
        Command::new("kill").arg(&pid).status().unwrap().success(),
        "{said}"
    );
    for line in stderr.lines() {
        said += &line.unwrap();
    }
    assert!(child.wait().unwrap().success(), "{said}");
    for word in ["wrote", "ready", "lipsync infer"] {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
    for who in Who::ALL {
        assert!(Files::of(&models, who).generator.is_file());
    }
}
