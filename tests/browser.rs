//! The page and the frames in a real browser: see `browser/*.mjs`. Skipped, with the reason, where there is no Chromium,
//! no Node or no Playwright (`npm ci` in `tests/browser`).
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]
#![expect(
    clippy::print_stdout,
    reason = "what a script measured, or why a test was skipped"
)]

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use lipsync::audio::AudioReader;
use lipsync::config::Config;
use lipsync::demo::{Artist, Mouth, Who, config_text, speech_sample, write_avatar};
use lipsync::encoder::{Background, Effort, Encoder, Format, PreparedPng};
use lipsync::server::Server;

#[path = "common/film.rs"]
mod film;

/// Browsers do not share a small machine well.
static TURN: Mutex<()> = Mutex::const_new(());

/// What the tests run on, for as long as it is one's turn.
struct Tools {
    chromium: PathBuf,
    folder: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Tools {
    /// Waits for its turn; says what is missing, if something is.
    async fn take() -> Option<Self> {
        let turn = TURN.lock().await;
        let missing = match Self::find() {
            Ok((chromium, folder)) => {
                return Some(Self {
                    chromium,
                    folder,
                    _turn: turn,
                });
            }
            Err(missing) => missing,
        };
        film::skip::skipped("browser", missing);
        None
    }

    fn find() -> Result<(PathBuf, PathBuf), String> {
        let chromium =
            std::env::var_os("CHROMIUM").map_or("/usr/bin/chromium".into(), PathBuf::from);
        if !chromium.exists() {
            return Err(format!("{} is not there", chromium.display()));
        }
        let node = Command::new("node").arg("--version").output();
        if !node.is_ok_and(|node| node.status.success()) {
            return Err("node is not there".to_owned());
        }
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
        if !folder.join("node_modules/playwright-core").exists() {
            return Err("playwright-core is not there: npm ci in tests/browser".to_owned());
        }
        Ok((chromium, folder))
    }

    /// Runs a script, which must succeed.
    async fn run(&self, script: &str, arguments: &[&OsStr]) {
        let mut node = Command::new("node");
        node.arg(script).args(arguments).current_dir(&self.folder);
        node.env("CHROMIUM", &self.chromium);
        let driven = tokio::task::spawn_blocking(move || node.output().unwrap());
        let driven = driven.await.unwrap();
        println!("{}", String::from_utf8_lossy(&driven.stdout));
        assert!(
            driven.status.success(),
            "{}",
            String::from_utf8_lossy(&driven.stderr)
        );
    }
}

/// A server with one of the demo's avatars, ready to talk.
struct Demo {
    folder: TempDir,
    server: Server,
    url: String,
}

impl Demo {
    /// With this tokens file, or open to all.
    async fn start(tokens: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_avatar(folder.path(), Who::ALL[0], 25, || ()).unwrap();
        let mut settings =
            "  port: 127.0.0.1:0\n  http_port: 127.0.0.1:0\n  metrics_port: 127.0.0.1:0\n"
                .to_owned();
        if let Some(tokens) = tokens {
            std::fs::write(folder.path().join("tokens"), tokens).unwrap();
            settings.push_str("  tokens_file: tokens\n");
        }
        let config = only_first(&config_text(folder.path()), &settings);
        let config = Config::parse(&config, &folder.path().join("config.yaml")).unwrap();
        let server = Server::start(config).await.unwrap();
        server.preload().await;
        let url = format!("http://{}/", server.http_address().unwrap());
        Self {
            folder,
            server,
            url,
        }
    }
}

/// The demo's configuration with these lines for its ports and its first avatar alone.
fn only_first(text: &str, settings: &str) -> String {
    let (all, models) = text.split_once("\nmodels:\n").unwrap();
    let first = models.split("\n\n").next().unwrap();
    let mut config = String::new();
    for line in all.lines() {
        match line.trim_start() {
            port if port.starts_with("port:") => config.push_str(settings),
            port if port.starts_with("http_port:") || port.starts_with("metrics_port:") => {}
            _ => writeln!(config, "{line}").unwrap(),
        }
    }
    format!("{config}\nmodels:\n{first}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_an_avatar_that_talks_in_step_with_its_sound() {
    let Some(tools) = Tools::take().await else {
        return;
    };
    let demo = Demo::start(None).await;
    tools.run("page.mjs", &[demo.url.as_ref()]).await;
    demo.server.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mouth_follows_the_microphone_and_dropped_files() {
    let Some(tools) = Tools::take().await else {
        return;
    };
    let demo = Demo::start(None).await;
    let wav = demo.folder.path().join("speech.wav");
    std::fs::write(&wav, sample_as_wav()).unwrap();
    let arguments = [demo.url.as_ref(), wav.as_os_str()];
    tools.run("microphone.mjs", &arguments).await;
    demo.server.drain().await;
}

/// The bundled speech sample in the one format that Chromium's pretended microphone reads.
fn sample_as_wav() -> Vec<u8> {
    let mut reader = AudioReader::from_bytes("speech.flac", speech_sample()).unwrap();
    let format = reader.format();
    let mut samples = Vec::new();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        samples.extend_from_slice(chunk);
    }
    film::wav(format.rate_hz, 1, &samples)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_asks_for_the_token_that_the_server_wants() {
    const TOKEN: &str = "0123456789abcdef";
    let Some(tools) = Tools::take().await else {
        return;
    };
    let demo = Demo::start(Some(&format!("user visitor {TOKEN}\n"))).await;
    let arguments = [demo.url.as_ref(), TOKEN.as_ref()];
    tools.run("token.mjs", &arguments).await;
    demo.server.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_for_keyboards_both_themes_and_narrow_windows() {
    let Some(tools) = Tools::take().await else {
        return;
    };
    let demo = Demo::start(None).await;
    tools.run("looks.mjs", &[demo.url.as_ref()]).await;
    demo.server.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_the_pixels_of_spliced_frames() {
    let Some(tools) = Tools::take().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    write_spliced(folder.path());
    let arguments = [folder.path().as_os_str()];
    tools.run("png.mjs", &arguments).await;
}

/// Writes PNG frames of all demo avatars, and beside each the pixels that the `image` crate finds in it.
fn write_spliced(folder: &Path) {
    let encoder = Encoder::new(2);
    for (who, effort) in Who::ALL
        .into_iter()
        .zip([Effort::Quick, Effort::Thorough].into_iter().cycle())
    {
        let artist = Artist::new(who);
        for index in [0, 40] {
            let rect = artist.rect(index);
            let frame = Arc::new(artist.draw(index, Mouth::SHUT));
            let prepared = Arc::new(PreparedPng::prepare(&frame, rect, None, effort));
            // Without the pixels only splicing is possible.
            let background = Background::from_prepared(prepared);
            let pixels = Background::new(frame, rect);
            for (number, opening) in [0.3, 1.0].into_iter().enumerate() {
                let patch = artist.draw(index, Mouth::new(opening, 0.5)).cut(rect);
                let png = encoder
                    .encode(&background, patch.data(), Format::Png)
                    .unwrap();
                let png = png.into_bytes();
                let decoded = image::load_from_memory(&png).unwrap().into_rgb8();
                let rgb = encoder.encode(&pixels, patch.data(), Format::Rgb).unwrap();
                assert_eq!(decoded.as_raw()[..], rgb.into_bytes()[..]);
                let name = format!("{}_{index}_{number}", who.name());
                std::fs::write(folder.join(format!("{name}.png")), png).unwrap();
                std::fs::write(folder.join(format!("{name}.rgb")), decoded.as_raw()).unwrap();
            }
        }
    }
}
