//! A small avatar in a folder of its own, and the binary run in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// Backgrounds of the avatar.
const BACKGROUNDS: u32 = 6;

/// A folder with `config.yaml` and the avatar `anna`: six soft pictures of 320x240 and the tests' small networks.
pub(crate) struct Studio {
    folder: TempDir,
}

/// What the binary did.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }

    pub(crate) fn assert_done(&self) {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
    }

    /// Asserts that it failed with `code`, said `words`, and did not panic.
    pub(crate) fn assert_failed(&self, code: i32, words: &[&str]) {
        let said = &self.stderr;
        assert_eq!(self.code, Some(code), "{said}");
        for word in words {
            assert!(said.contains(word), "{word:?} is not in:\n{said}");
        }
        assert!(!said.contains("panicked"), "{said}");
        assert!(self.stdout.is_empty(), "{}", self.text());
    }
}

/// A network of `tests/golden/networks`.
pub(crate) fn network(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/networks")
        .join(name)
}

impl Studio {
    /// The avatar, with one more line of settings.
    pub(crate) fn new(setting: &str) -> Self {
        Self::with_network("generator.onnx", setting)
    }

    /// The avatar with another generator.
    pub(crate) fn with_network(generator: &str, setting: &str) -> Self {
        let studio = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(studio.path("backgrounds")).unwrap();
        for frame in 0..BACKGROUNDS {
            let pixel = |x: u32, y: u32| {
                let wave = |shift: u32| {
                    let angle = (x + shift * frame) as f32 / 31.0 + y as f32 / 47.0;
                    (128.0 + 80.0 * angle.sin()) as u8
                };
                image::Rgb([wave(3), wave(1), wave(0)])
            };
            image::RgbImage::from_fn(320, 240, pixel)
                .save(studio.path(&format!("backgrounds/frame_{frame:04}.png")))
                .unwrap();
        }
        let rects: Vec<[u32; 4]> = (0..BACKGROUNDS)
            .map(|i| [100 + i, 80, 200 + i, 180])
            .collect();
        studio.write("rects.json", &serde_json::to_vec(&rects).unwrap());
        let config = format!(
            "models:\n  anna:\n    model_path: {}\n    audio_encoder_path: {}\n    background_dir: backgrounds\n    crop_rects_path: rects.json\n    {setting}\n",
            network(generator).display(),
            network("audio_encoder.onnx").display(),
        );
        studio.write("config.yaml", config.as_bytes());
        studio
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// `lipsync infer --model anna` with more arguments, to be run in the folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.bare(&["infer", "--model", "anna"]);
        command.args(arguments);
        command
    }

    /// `lipsync` with these arguments, to be run in the folder.
    pub(crate) fn bare(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lipsync"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_remove("LIPSYNC_SERVER")
            .env_remove("LIPSYNC_CONFIG")
            .env_remove("RUST_LOG");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        run(self.command(arguments))
    }

    pub(crate) fn lipsync(&self, arguments: &[&str]) -> Run {
        run(self.bare(arguments))
    }

    /// What is in the folder, without what `new` put there, what the test wrote, and the backgrounds prepared for the
    /// next load, which a run may or may not have come to.
    pub(crate) fn left(&self, expected: &[&str]) -> Vec<String> {
        let mut names = super::names(self.folder.path());
        let own = [
            "backgrounds",
            "backgrounds.prepared",
            "config.yaml",
            "rects.json",
        ];
        names.retain(|name| !own.contains(&name.as_str()) && !expected.contains(&name.as_str()));
        names
    }
}

fn run(mut command: Command) -> Run {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    Run {
        code: status.code(),
        stdout,
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}
