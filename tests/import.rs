//! `lipsync import` as a user meets it: the real binary on checkpoints that torch saved, pictures and landmarks.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

const WIDTH: u32 = 1280;
const HEIGHT: u32 = 720;
/// Frames whose real landmarks are in tests/golden/landmarks, in order.
const FRAMES: usize = 4;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// A tree as the training leaves it, and a place to import to.
struct Tree {
    dir: TempDir,
}

impl Tree {
    fn new() -> Self {
        let tree = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let dataset = tree.dataset();
        for folder in ["full_body_img", "landmarks"] {
            std::fs::create_dir_all(dataset.join(folder)).unwrap();
        }
        for frame in 0..FRAMES {
            let shade = (60 * frame) as u8;
            image::RgbImage::from_fn(WIDTH, HEIGHT, |x, y| image::Rgb([shade, x as u8, y as u8]))
                .save(dataset.join(format!("full_body_img/{frame}.jpg")))
                .unwrap();
            let landmarks = format!("landmarks/{frame}.lms");
            std::fs::copy(golden(&landmarks), dataset.join(&landmarks)).unwrap();
        }
        tree
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn dataset(&self) -> PathBuf {
        self.path("dataset/anna")
    }

    fn config(&self) -> PathBuf {
        self.path("config.yaml")
    }

    fn avatar(&self) -> PathBuf {
        self.path("models/anna")
    }

    /// Runs the command with the golden networks.
    fn import(&self, more: &[&str]) -> Output {
        let mut arguments = vec![
            "--checkpoint",
            "generator.pth",
            "--audio-encoder",
            "audio_visual_encoder.pth",
        ];
        arguments.extend(more);
        self.import_with(&arguments)
    }

    /// Runs the command; names of networks are those of the golden ones.
    fn import_with(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lipsync"));
        command
            .current_dir(self.dir.path())
            .arg("import")
            .arg(self.dataset())
            .args(["--name", "anna", "--json", "--config"])
            .arg(self.config());
        for argument in arguments {
            let network = golden("checkpoints").join(argument);
            if network.is_file() {
                command.arg(network);
            } else {
                command.arg(argument);
            }
        }
        command.output().unwrap()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn document(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", said(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a failed run said, after a check that it left no avatar and no configuration.
#[track_caller]
fn refusal(tree: &Tree, output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", said(output));
    assert!(!tree.avatar().exists());
    assert!(!tree.config().exists());
    said(output)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_trained_avatar_is_imported_added_checked_and_shown() {
    let tree = Tree::new();
    std::fs::write(
        tree.config(),
        "# ours\nonnx:\n  backend: embedded # slow, and everywhere\nmodels:\n",
    )
    .unwrap();
    let output = tree.import(&[]);
    let document = document(&output);
    assert_eq!(document["frames"], FRAMES);
    assert_eq!(
        (document["width"].as_u64(), document["height"].as_u64()),
        (Some(1280), Some(720))
    );
    assert_eq!(document["config_changed"], true);
    // Two seconds at 25 frames a second, and the reference's two more; the film lasts as long as its sound.
    assert!(
        document["preview"]["frames"].as_u64().unwrap() >= 45,
        "{document}"
    );
    assert_eq!(
        names(&tree.avatar()),
        [
            "audio_encoder.onnx",
            "crop_rects.json",
            "frames",
            "generator.onnx",
            "import.json",
            "preview.mp4"
        ]
    );
    assert_eq!(names(&tree.path("models")), ["anna"]);
    let rects = std::fs::read_to_string(tree.avatar().join("crop_rects.json")).unwrap();
    assert!(
        rects.starts_with("[[532,210,714,392],[532,211,714,393],"),
        "{rects}"
    );
    // The pictures are the dataset's own bytes.
    let picture = std::fs::read(tree.avatar().join("frames/frame_0003.jpg")).unwrap();
    assert!(picture == std::fs::read(tree.dataset().join("full_body_img/3.jpg")).unwrap());
    let config = std::fs::read_to_string(tree.config()).unwrap();
    assert!(
        config.starts_with(
            "# ours\nonnx:\n  backend: embedded # slow, and everywhere\nmodels:\n  anna:\n"
        ),
        "{config}"
    );
    assert!(
        config.contains("    model_path: ./models/anna/generator.onnx\n"),
        "{config}"
    );
    let valid = Command::new(env!("CARGO_BIN_EXE_lipsync"))
        .args(["validate-config", "--assets"])
        .arg(tree.config())
        .output()
        .unwrap();
    assert!(valid.status.success(), "{}", said(&valid));
    assert!(
        said(&output).contains("lipsync infer --model anna"),
        "{}",
        said(&output)
    );
}

#[test]
fn the_same_import_twice_changes_nothing_and_another_is_refused() {
    let tree = Tree::new();
    document(&tree.import(&["--no-preview", "--copy"]));
    let config = std::fs::read(tree.config()).unwrap();
    let again = document(&tree.import(&["--no-preview"]));
    assert_eq!(
        (
            again["was_there"].as_bool(),
            again["config_changed"].as_bool()
        ),
        (Some(true), Some(false))
    );
    assert_eq!(std::fs::read(tree.config()).unwrap(), config);
    let other = [
        "--checkpoint",
        "generator_double.pth",
        "--audio-encoder",
        "audio_visual_encoder.pth",
        "--no-preview",
    ];
    let refused = tree.import_with(&other);
    assert!(
        said(&refused).contains("made of other files"),
        "{}",
        said(&refused)
    );
    assert!(said(&refused).contains("--force"), "{}", said(&refused));
    let forced = tree.import_with(&[&other[..], &["--force"]].concat());
    assert_eq!(document(&forced)["was_there"], false);
    assert_eq!(std::fs::read(tree.config()).unwrap(), config);
    // A name that the configuration has for something else is not taken from it.
    let text = String::from_utf8(config)
        .unwrap()
        .replace("generator.onnx", "other.onnx");
    std::fs::write(tree.config(), &text).unwrap();
    let taken = tree.import(&["--no-preview"]);
    assert!(
        said(&taken).contains("has another model \"anna\" already"),
        "{}",
        said(&taken)
    );
    assert_eq!(std::fs::read_to_string(tree.config()).unwrap(), text);
}

#[test]
fn what_cannot_be_imported_leaves_nothing_and_says_why() {
    let tree = Tree::new();
    let swapped = tree.import_with(&[
        "--checkpoint",
        "audio_visual_encoder.pth",
        "--audio-encoder",
        "generator.pth",
    ]);
    let text = refusal(&tree, &swapped);
    assert!(
        text.contains("is the audio encoder, not")
            && text.contains("hint: it belongs to --audio-encoder"),
        "{text}"
    );
    let legacy = tree.import_with(&[
        "--checkpoint",
        "generator_legacy.pth",
        "--audio-encoder",
        "audio_visual_encoder.pth",
    ]);
    assert!(refusal(&tree, &legacy).contains("torch before 1.6"));
    let none = tree.import_with(&["--audio-encoder", "audio_visual_encoder.pth"]);
    let text = refusal(&tree, &none);
    assert!(
        text.contains("which generator?") && text.contains("--checkpoint FILE"),
        "{text}"
    );
    // A picture of another size is found before the avatar has its name.
    image::RgbImage::new(64, 64)
        .save(tree.dataset().join("full_body_img/2.jpg"))
        .unwrap();
    assert!(refusal(&tree, &tree.import(&[])).contains("is 64x64, but background 0 is 1280x720"));
    // So is one that cannot be decoded.
    std::fs::copy(
        tree.dataset().join("full_body_img/1.jpg"),
        tree.dataset().join("full_body_img/2.jpg"),
    )
    .unwrap();
    let picture = tree.dataset().join("full_body_img/3.jpg");
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(WIDTH, HEIGHT)
        .write_to(&mut png, image::ImageFormat::Png)
        .unwrap();
    std::fs::write(&picture, &png.into_inner()[..1000]).unwrap();
    assert!(refusal(&tree, &tree.import(&[])).contains("background 3"));
    std::fs::write(tree.dataset().join("landmarks/1.lms"), "1 2\n3 4\n").unwrap();
    assert!(refusal(&tree, &tree.import(&[])).contains("hold 2 of 110 points"));
}

#[test]
fn a_broken_configuration_is_told_before_anything_is_made() {
    let tree = Tree::new();
    std::fs::write(tree.config(), "modles: {}\n").unwrap();
    let output = tree.import(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("modles"), "{}", said(&output));
    assert!(!tree.path("models").exists());
    assert_eq!(
        std::fs::read_to_string(tree.config()).unwrap(),
        "modles: {}\n"
    );
}

#[test]
fn an_import_that_was_stopped_is_gone_on_with() {
    let tree = Tree::new();
    // A picture that is none: found when the networks are made, as if it had been stopped then.
    let picture = tree.dataset().join("full_body_img/3.jpg");
    let whole = std::fs::read(&picture).unwrap();
    let broken = vec![0; whole.len()];
    let time = std::fs::metadata(&picture).unwrap().modified().unwrap();
    let put = |bytes: &[u8], keeps_time: bool| {
        std::fs::write(&picture, bytes).unwrap();
        if keeps_time {
            let file = std::fs::File::options().write(true).open(&picture).unwrap();
            file.set_modified(time).unwrap();
        }
    };
    for same_files in [true, false] {
        put(&broken, true);
        refusal(&tree, &tree.import(&[]));
        let begun = tree.path("models/.anna.import/avatar");
        assert!(begun.join("generator.onnx").is_file());
        std::fs::write(begun.join("mark"), "").unwrap();
        put(&whole, same_files);
        document(&tree.import(&["--no-preview"]));
        assert_eq!(tree.avatar().join("mark").exists(), same_files);
        assert_eq!(names(&tree.path("models")), ["anna"]);
        std::fs::remove_dir_all(tree.path("models")).unwrap();
        std::fs::remove_file(tree.config()).unwrap();
    }
}

#[test]
fn a_network_in_onnx_is_taken_as_it_is_and_other_families_are_named() {
    let tree = Tree::new();
    let network = golden("networks/generator.onnx");
    let encoder = golden("networks/audio_encoder.onnx");
    let (network, encoder) = (network.to_str().unwrap(), encoder.to_str().unwrap());
    let small = golden("networks/generator_wrong_shape.onnx");
    let refused = tree.import_with(&[
        "--checkpoint",
        small.to_str().unwrap(),
        "--audio-encoder",
        encoder,
    ]);
    let text = refusal(&tree, &refused);
    assert!(
        text.contains("is a generator for 160 pixels, not") && text.contains("only 328-pixel"),
        "{text}"
    );
    document(&tree.import_with(&[
        "--checkpoint",
        network,
        "--audio-encoder",
        encoder,
        "--no-preview",
    ]));
    assert!(
        std::fs::read(tree.avatar().join("generator.onnx")).unwrap()
            == std::fs::read(network).unwrap()
    );
}

/// A package as the original's successors make it: a film, flat rects, a network in ONNX.
fn package(film: &str) -> Tree {
    let tree = Tree::new();
    let folder = tree.dataset();
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::create_dir_all(folder.join("checkpoint")).unwrap();
    std::fs::copy(
        golden("films").join(film),
        folder.join("full_body_video.mp4"),
    )
    .unwrap();
    let info = r#"{"package_type": "mp4_video_package", "videos": {"full_body_img": {"video_file": "full_body_video.mp4", "frame_count": 12, "fps": 25}}, "onnx": {"file": "checkpoint/model_best.onnx", "opset": 17, "asr_mode": "ave"}}"#;
    std::fs::write(folder.join("package_info.json"), info).unwrap();
    // The last rect leaves the picture, which has 98x66 pixels.
    let mut rects = vec![[10, 5, 60, 55]; 12];
    rects[11] = [40, 20, 90, 70];
    std::fs::write(
        folder.join("crop_rects.json"),
        serde_json::to_string(&rects).unwrap(),
    )
    .unwrap();
    std::fs::copy(
        golden("networks/generator.onnx"),
        folder.join("checkpoint/model_best.onnx"),
    )
    .unwrap();
    std::fs::copy(
        golden("networks/audio_encoder.onnx"),
        folder.join("audio_encoder.onnx"),
    )
    .unwrap();
    tree
}

#[test]
fn a_package_with_a_film_is_imported_by_its_folder_alone() {
    let tree = package("high.mp4");
    let document = document(&tree.import_with(&[]));
    assert_eq!(
        (document["frames"].as_u64(), document["width"].as_u64()),
        (Some(12), Some(98))
    );
    let notes = document["notes"].to_string();
    assert!(notes.contains("1 crop rects left the picture"), "{notes}");
    let rects = std::fs::read_to_string(tree.avatar().join("crop_rects.json")).unwrap();
    assert!(rects.ends_with("[40,20,90,66]]"), "{rects}");
    let frames = names(&tree.avatar().join("frames"));
    assert_eq!((frames.len(), frames[11].as_str()), (12, "frame_0011.png"));
    assert!(
        document["preview"]["frames"].as_u64().unwrap() >= 45,
        "{document}"
    );
}

#[test]
fn a_film_of_another_codec_says_how_to_make_pictures_of_it() {
    let tree = package("mpeg4.mp4");
    let text = refusal(&tree, &tree.import_with(&[]));
    assert!(
        text.contains("its pictures are MPEG-4 Part 2, not H.264"),
        "{text}"
    );
    assert!(
        text.contains("ffmpeg -i ") && text.contains("-start_number 0"),
        "{text}"
    );
    // With --film the pictures come from another.
    let film = golden("films/baseline.mp4");
    document(&tree.import_with(&["--film", film.to_str().unwrap(), "--no-preview"]));
}

#[test]
fn a_network_brings_the_file_of_its_weights() {
    use lipsync::engine::graph::proto::{ModelProto, StringStringEntryProto};
    use prost::Message as _;
    let tree = Tree::new();
    let bytes = std::fs::read(golden("networks/generator.onnx")).unwrap();
    let mut model = ModelProto::decode(&*bytes).unwrap();
    let weights = &mut model.graph.as_mut().unwrap().initializer;
    let tensor = weights
        .iter_mut()
        .find(|tensor| tensor.name == "wv")
        .unwrap();
    std::fs::write(
        tree.path("weights.data"),
        std::mem::take(&mut tensor.raw_data),
    )
    .unwrap();
    tensor.data_location = 1;
    let length = std::fs::metadata(tree.path("weights.data")).unwrap().len();
    let place = |location: &str| {
        let length = length.to_string();
        let entries = [("location", location), ("offset", "0"), ("length", &length)];
        let entries = entries.map(|(key, value)| StringStringEntryProto {
            key: key.to_owned(),
            value: value.to_owned(),
        });
        entries.to_vec()
    };
    tensor.external_data = place("weights.data");
    let network = tree.path("net.onnx");
    let with_weights = model.encode_to_vec();
    std::fs::write(&network, &with_weights).unwrap();
    let encoder = golden("networks/audio_encoder.onnx");
    let arguments = [
        "--checkpoint",
        network.to_str().unwrap(),
        "--audio-encoder",
        encoder.to_str().unwrap(),
        "--no-preview",
    ];
    document(&tree.import_with(&arguments));
    assert!(
        std::fs::read(tree.avatar().join("weights.data")).unwrap()
            == std::fs::read(tree.path("weights.data")).unwrap()
    );
    // A place that leads out of the folder is not followed, and no file of the avatar's own is overwritten.
    for location in ["../weights.data", "audio_encoder.onnx"] {
        let graph = model.graph.as_mut().unwrap();
        let mut weights = graph.initializer.iter_mut();
        let tensor = weights.find(|tensor| tensor.name == "wv").unwrap();
        tensor.external_data = place(location);
        std::fs::write(&network, model.encode_to_vec()).unwrap();
        if tree.avatar().exists() {
            std::fs::remove_dir_all(tree.path("models")).unwrap();
            std::fs::remove_file(tree.config()).unwrap();
        }
        let text = refusal(&tree, &tree.import_with(&arguments));
        assert!(
            text.contains(&format!("keeps weights in {location:?}")),
            "{text}"
        );
    }
    // Two networks whose weights are called alike would share one file.
    let bytes = std::fs::read(encoder).unwrap();
    let mut model = ModelProto::decode(&*bytes).unwrap();
    let weights = &mut model.graph.as_mut().unwrap().initializer;
    let tensor = weights
        .iter_mut()
        .find(|tensor| tensor.name == "w")
        .unwrap();
    let other = tree.path("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(
        other.join("weights.data"),
        std::mem::take(&mut tensor.raw_data),
    )
    .unwrap();
    tensor.data_location = 1;
    tensor.external_data = place("weights.data");
    let encoder = other.join("encoder.onnx");
    std::fs::write(&encoder, model.encode_to_vec()).unwrap();
    std::fs::write(&network, with_weights).unwrap();
    let arguments = [
        "--checkpoint",
        network.to_str().unwrap(),
        "--audio-encoder",
        encoder.to_str().unwrap(),
    ];
    let text = refusal(&tree, &tree.import_with(&arguments));
    assert!(text.contains("and so does the other network"), "{text}");
}
