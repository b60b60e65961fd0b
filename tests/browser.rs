//! The page in a real browser: see `browser/page.mjs`. Skipped, with the reason, where there is no Chromium, no Node
//! or no Playwright (`npm ci` in `tests/browser`).
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::path::{Path, PathBuf};
use std::process::Command;

use lipsync::config::Config;
use lipsync::demo::{Who, config_text, write_avatar};
use lipsync::transport::Server;

/// What the test runs on, or what is missing.
fn tools() -> Result<(PathBuf, PathBuf), String> {
    let chromium = std::env::var_os("CHROMIUM").map_or("/usr/bin/chromium".into(), PathBuf::from);
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

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_an_avatar_that_talks_in_step_with_its_sound() {
    let (chromium, folder) = match tools() {
        Ok(tools) => tools,
        Err(missing) => {
            println!("skipped: {missing}");
            return;
        }
    };
    let models = tempfile::tempdir().unwrap();
    write_avatar(models.path(), Who::ALL[0], 25, || ()).unwrap();
    let config = only_first(&config_text(models.path()));
    let config = Config::parse(&config, &models.path().join("config.yaml")).unwrap();
    let server = Server::start(config).await.unwrap();
    server.preload().await;
    let url = format!("http://{}/", server.http_address().unwrap());
    let driven = tokio::task::spawn_blocking(move || {
        let mut node = Command::new("node");
        node.arg("page.mjs").arg(url).current_dir(folder);
        node.env("CHROMIUM", chromium).output().unwrap()
    });
    let driven = driven.await.unwrap();
    println!("{}", String::from_utf8_lossy(&driven.stdout));
    assert!(
        driven.status.success(),
        "{}",
        String::from_utf8_lossy(&driven.stderr)
    );
    server.drain().await;
}

/// The demo's configuration with free ports and its first avatar alone.
fn only_first(text: &str) -> String {
    let (settings, models) = text.split_once("\nmodels:\n").unwrap();
    let first = models.split("\n\n").next().unwrap();
    let settings = settings.lines().map(|line| match line.trim_start() {
        port if port.starts_with("port:") => "  port: 127.0.0.1:0".to_owned(),
        port if port.starts_with("http_port:") => "  http_port: 127.0.0.1:0".to_owned(),
        _ => line.to_owned(),
    });
    let settings = settings.collect::<Vec<_>>().join("\n");
    format!("{settings}\nmodels:\n{first}\n")
}
