//! Avatars of one colour with tiny networks, and configurations of them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Side lengths of the backgrounds.
pub const SIZE: (u32, u32) = (96, 64);
/// Backgrounds of an avatar.
pub const FRAMES: usize = 3;
/// The floats of one speech window.
pub const AUDIO_LEN: usize = 32 * 16 * 16;
/// The floats of one visual tensor.
pub const VISUAL_LEN: usize = 6 * 320 * 320;

/// A folder with avatars and a `config.yaml`.
pub struct Folder {
    dir: TempDir,
}

impl Folder {
    /// A folder with these avatars, each told from the others by its colour.
    pub fn new(avatars: &[&str]) -> Self {
        let folder = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        for (index, id) in avatars.iter().enumerate() {
            folder.add_avatar(id, index);
        }
        folder
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn config(&self) -> PathBuf {
        self.path().join("config.yaml")
    }

    /// Writes the pictures and rects of an avatar.
    pub fn add_avatar(&self, id: &str, colour: usize) {
        self.add_avatar_of(SIZE, id, colour);
    }

    /// The same in another size.
    pub fn add_avatar_of(&self, (width, height): (u32, u32), id: &str, colour: usize) {
        let frames = self.path().join(id);
        std::fs::create_dir_all(&frames).unwrap();
        for frame in 0..FRAMES {
            let shade = (frame * 20) as u8;
            let mut pixel = [30 + shade; 3];
            pixel[colour % 3] = 200 - 40 * (colour / 3) as u8 + shade / 2;
            let picture = image::RgbImage::from_pixel(width, height, image::Rgb(pixel));
            picture
                .save(frames.join(format!("frame_{frame:04}.png")))
                .unwrap();
        }
        let rects = vec![[20, 10, 60, 50]; FRAMES];
        let text = serde_json::to_string(&rects).unwrap();
        std::fs::write(self.path().join(format!("{id}.json")), text).unwrap();
    }

    /// Writes a configuration: free ports, `models` with the lines given for each, and `extra` sections.
    ///
    /// The embedded engine runs: it is there on every machine and gives the same bits everywhere in a process.
    pub fn configure(&self, server: &str, capacity: &str, models: &[(&str, &str)], extra: &str) {
        let mut text = format!(
            "server:\n  port: 127.0.0.1:0\n  http_port: 127.0.0.1:0\n  metrics_port: 127.0.0.1:0\n{}capacity:\n  max_models: 2\n{}onnx:\n  backend: embedded\n{extra}\nmodels:\n",
            indented(server, 2),
            indented(capacity, 2),
        );
        for (id, lines) in models {
            let network = golden("generator.onnx");
            let encoder = golden("audio_encoder.onnx");
            write!(
                text,
                "  {id}:\n    model_path: '{}'\n    audio_encoder_path: '{}'\n    background_dir: {id}\n    crop_rects_path: {id}.json\n{}",
                network.display(),
                encoder.display(),
                indented(lines, 4)
            )
            .unwrap();
        }
        // Replaced whole, so that a server that reads it meanwhile sees the old or the new one.
        let new = self.path().join("config.new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.config()).unwrap();
    }
}

/// A tiny network of the golden ones.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/networks")
        .join(name)
}

fn indented(lines: &str, by: usize) -> String {
    lines.lines().fold(String::new(), |mut text, line| {
        writeln!(text, "{:by$}{line}", "").unwrap();
        text
    })
}

/// The configuration most tests want: every avatar as it is, nothing else changed.
pub fn plain(avatars: &[&str]) -> Folder {
    with_server(avatars, "")
}

/// The same with lines in the section `server`.
pub fn with_server(avatars: &[&str], server: &str) -> Folder {
    let folder = Folder::new(avatars);
    let models: Vec<_> = avatars.iter().map(|id| (*id, "")).collect();
    folder.configure(server, "", &models, "");
    folder
}
