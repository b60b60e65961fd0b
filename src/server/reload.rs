//! Reading the configuration again while the server runs: all or nothing.

use std::sync::Arc;

use crate::config::{Config, ConfigErrors};
use crate::pipeline::Loader;
use crate::registry::{ConfigureError, ReconfigureReport};
use crate::server::admission::auth::{Auth, TokensError};
use crate::server::limits;
use crate::server::state::{ServerState, Settings};

/// Why the configuration was not taken over; everything is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file is broken.
    #[error("{}", errors_in_a_line(.0))]
    Config(#[from] ConfigErrors),
    /// The tokens are.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// The registry refused it.
    #[error(transparent)]
    Registry(#[from] ConfigureError),
    /// Reading it panicked.
    #[error("reading the configuration crashed")]
    Crashed,
}

impl ServerState {
    /// Reads the configuration again and takes it over, or keeps the old one if anything in the new one is wrong.
    ///
    /// # Errors
    /// What is wrong with it; it was logged, too.
    pub async fn reload(&self) -> Result<ReconfigureReport, ReloadError> {
        let _alone = self.reloading.lock().await;
        self.reload_alone().await
    }

    /// Makes `id` known if the configuration has it by now.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub(super) async fn look_for(&self, id: &str) -> Result<(), ReloadError> {
        let _alone = self.reloading.lock().await;
        // Whoever had the lock before may have found it.
        if self.registry().spec(id).is_none() {
            self.reload_alone().await?;
        }
        Ok(())
    }

    async fn reload_alone(&self) -> Result<ReconfigureReport, ReloadError> {
        let result = self.take_over().await;
        match &result {
            Ok(report) => tracing::info!(
                added = list(&report.added),
                removed = list(&report.removed),
                changed = list(&report.changed),
                limits_changed = report.limits_changed,
                "configuration reloaded"
            ),
            Err(error) => tracing::error!(
                %error,
                "configuration not reloaded: the old one stays in force"
            ),
        }
        result
    }

    async fn take_over(&self) -> Result<ReconfigureReport, ReloadError> {
        let old = self.settings();
        let path = old.config.path.clone();
        let read = tokio::task::spawn_blocking(move || -> Result<Settings, ReloadError> {
            let config = Config::load(&path)?;
            let auth = Auth::load(config.server.tokens_file.as_deref())?;
            Ok(Settings { config, auth })
        });
        let new = read.await.map_err(|_| ReloadError::Crashed)??;
        let report = self
            .registry()
            .reconfigure(Loader::specs(&new.config), limits(&new.config))
            .await?;
        for key in needs_restart(&old.config, &new.config) {
            tracing::warn!(
                key,
                "changed in the configuration, but only a restart applies it"
            );
        }
        for id in &report.removed {
            self.metrics().forget(id);
            self.catalog().forget(id);
        }
        self.set_settings(new);
        Ok(report)
    }
}

/// The keys that differ and that a running server cannot change.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let (server, onnx, logging) = (&old.server, &old.onnx, &old.logging);
    [
        ("server.port", server.listen != new.server.listen),
        ("server.http_port", server.http != new.server.http),
        (
            "server.max_message_size_mb",
            server.max_message_bytes != new.server.max_message_bytes,
        ),
        (
            "server.max_connections",
            server.max_connections != new.server.max_connections,
        ),
        (
            "server.keepalive_seconds",
            server.keepalive != new.server.keepalive,
        ),
        (
            "server.keepalive_timeout_seconds",
            server.keepalive_timeout != new.server.keepalive_timeout,
        ),
        (
            "capacity.background_cache_frames",
            old.capacity.background_cache_frames != new.capacity.background_cache_frames,
        ),
        (
            "capacity.raw_cache_frames",
            old.capacity.raw_cache_frames != new.capacity.raw_cache_frames,
        ),
        (
            "capacity.prepare_threads",
            old.capacity.prepare_threads != new.capacity.prepare_threads,
        ),
        (
            "capacity.prepared_cache_mb",
            old.capacity.prepared_cache_bytes != new.capacity.prepared_cache_bytes,
        ),
        (
            "capacity.prepared_cache_dir",
            old.capacity.prepared_cache_dir != new.capacity.prepared_cache_dir,
        ),
        (
            "capacity.video_cache_mb",
            old.capacity.video_cache_bytes != new.capacity.video_cache_bytes,
        ),
        ("onnx", *onnx != new.onnx),
        ("logging.level", logging.level != new.logging.level),
        ("logging.format", logging.format != new.logging.format),
        ("logging.log_file", logging.log_file != new.logging.log_file),
    ]
    .into_iter()
    .filter_map(|(key, changed)| changed.then_some(key))
    .collect()
}

fn list(ids: &[Arc<str>]) -> String {
    ids.join(", ")
}

/// All problems in one line, for the log.
fn errors_in_a_line(errors: &ConfigErrors) -> String {
    let problems = errors.human();
    let lines = problems
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}
