//! Reading the configuration again while the server runs: all or nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::{Config, ConfigErrors, Server};
use crate::pipeline::Loader;
use crate::registry::{ConfigureError, ReconfigureReport};
use crate::server::admission::auth::Auth;
use crate::server::admission::tokens::TokensError;
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
    /// It has not changed since it was found to be wrong.
    #[error("{0}")]
    Unchanged(String),
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
        let mut last = self.reloading.lock().await;
        self.reload_alone(&mut last).await
    }

    /// Makes `id` known if the configuration has it by now. A file that was read is not read again before it changes:
    /// anybody may ask for any number of names.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub(super) async fn look_for(&self, id: &str) -> Result<(), ReloadError> {
        let mut last = self.reloading.lock().await;
        // Whoever had the lock before may have found it.
        if self.registry().spec(id).is_some() {
            return Ok(());
        }
        let now = Version::of(&self.settings().config);
        match &*last {
            Some(last) if now.as_ref() == Some(&last.version) => match &last.problem {
                Some(problem) => Err(ReloadError::Unchanged(problem.clone())),
                None => Ok(()),
            },
            _ => self.reload_alone(&mut last).await.map(drop),
        }
    }

    async fn reload_alone(
        &self,
        last: &mut Option<LastRead>,
    ) -> Result<ReconfigureReport, ReloadError> {
        // Before it is read: what changes meanwhile is another version.
        let version = Version::of(&self.settings().config);
        let result = self.take_over().await;
        *last = version.filter(Version::is_settled).map(|version| LastRead {
            version,
            problem: result.as_ref().err().map(ToString::to_string),
        });
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
            let auth = Auth::load(&config)?;
            Ok(Settings { config, auth })
        });
        let new = read.await.map_err(|_| ReloadError::Crashed)??;
        let report = self
            .registry()
            .reconfigure(Loader::specs(&new.config), limits(&new.config, &new.auth))
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

/// Which configuration was last read, and what was wrong with it.
#[derive(Debug)]
pub(super) struct LastRead {
    version: Version,
    problem: Option<String>,
}

/// Which configuration and tokens lie on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version(Vec<(u64, SystemTime)>);

impl Version {
    /// The present one; `None` if a file cannot be looked at.
    fn of(config: &Config) -> Option<Self> {
        let files = std::iter::once(&config.path)
            .chain(&config.server.tokens_file)
            .chain(&config.server.tenants_file);
        let file = |path: &PathBuf| {
            let data = std::fs::metadata(path).ok()?;
            Some((data.len(), data.modified().ok()?))
        };
        files.map(file).collect::<Option<_>>().map(Self)
    }

    /// Whether a further change would show: file systems tell times of a few milliseconds apart, some of two seconds.
    fn is_settled(&self) -> bool {
        let apart = Duration::from_secs(2);
        let old = |time: &SystemTime| time.elapsed().is_ok_and(|age| age > apart);
        self.0.iter().all(|(_, modified)| old(modified))
    }
}

/// The keys that differ and that a running server cannot change.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let (onnx, logging) = (&old.onnx, &old.logging);
    let server = server_keys(&old.server, &new.server).into_iter();
    let others = [
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
        (
            "logging.max_repeated_lines",
            logging.max_repeated_lines != new.logging.max_repeated_lines,
        ),
    ];
    let differ = server.chain(others).filter(|(_, changed)| *changed);
    differ.map(|(key, _)| key).collect()
}

/// Keys of `server` that are fixed at start, and whether they differ.
fn server_keys(old: &Server, new: &Server) -> [(&'static str, bool); 16] {
    let (limits, wanted) = (&old.connections, &new.connections);
    let (messages, wanted_messages) = (&old.messages, &new.messages);
    [
        ("server.port", old.listen != new.listen),
        ("server.http_port", old.http != new.http),
        ("server.metrics_port", old.metrics != new.metrics),
        (
            "server.usage_journal",
            old.usage_journal != new.usage_journal,
        ),
        (
            "server.max_message_size_mb",
            old.max_message_bytes != new.max_message_bytes,
        ),
        (
            "server.message_memory_mb",
            messages.memory_bytes != wanted_messages.memory_bytes,
        ),
        (
            "server.message_wait_seconds",
            messages.wait != wanted_messages.wait,
        ),
        (
            "server.max_connections",
            old.max_connections != new.max_connections,
        ),
        (
            "server.max_connections_per_address",
            limits.per_address != wanted.per_address,
        ),
        (
            "server.max_calls_per_connection",
            limits.calls != wanted.calls,
        ),
        (
            "server.first_call_seconds",
            limits.first_call != wanted.first_call,
        ),
        ("server.idle_connection_seconds", limits.idle != wanted.idle),
        (
            "server.stream_window_kb",
            limits.stream_window_bytes != wanted.stream_window_bytes,
        ),
        (
            "server.connection_window_kb",
            limits.window_bytes != wanted.window_bytes,
        ),
        ("server.keepalive_seconds", old.keepalive != new.keepalive),
        (
            "server.keepalive_timeout_seconds",
            old.keepalive_timeout != new.keepalive_timeout,
        ),
    ]
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
