//! `lipsync serve`: starts the server, says so, and ends it when asked to.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use super::Global;
use super::output::{self, OrHint as _, Output};
use crate::config::{Config, LogFormat};
use crate::pipeline::memory;
use crate::registry::PreloadReport;
use crate::server::{Server, StartError};
use crate::service_manager::{self, State};
use crate::shutdown::{Request, Signals};
use crate::telemetry;

/// Options of `serve`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Do not start if a model marked `preload` cannot be loaded
    #[arg(long)]
    strict: bool,
}

/// What `--json` prints once the server is ready.
#[derive(Serialize)]
struct Ready<'a> {
    version: &'static str,
    engine: String,
    models: Vec<&'a str>,
    preloaded: Vec<&'a str>,
    grpc: SocketAddr,
    http: Option<SocketAddr>,
    metrics: Option<SocketAddr>,
}

/// Serves until a signal ends it; 0 after an orderly end, 1 after a second signal.
pub(crate) fn run(global: &Global, args: &Args, output: &Output) -> anyhow::Result<ExitCode> {
    let config = Config::load(&global.config)?;
    run_config(config, global, args, output, "")
}

/// Serves `config`; says `next` once the server is ready.
pub(crate) fn run_config(
    config: Config,
    global: &Global,
    args: &Args,
    output: &Output,
    next: &str,
) -> anyhow::Result<ExitCode> {
    memory::share_arenas(1);
    let options = telemetry::Options::server(&config.logging, global.verbose, global.quiet);
    let log = telemetry::init(&options, output.log_lines(), output::is_coloured())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    // From before the models are loaded until the last call has ended.
    let alive = runtime.spawn(service_manager::stay_alive());
    let told = runtime.spawn(tell(log.watch()));
    let result = runtime.block_on(serve(config, args, output, next, &log.watch()));
    alive.abort();
    told.abort();
    // A load that is under way when a second signal ends the server is not waited for.
    runtime.shutdown_timeout(Duration::from_millis(100));
    drop(log);
    result
}

/// Says again and again what is missing in the log.
async fn tell(log: telemetry::Watch) {
    loop {
        tokio::time::sleep(telemetry::Watch::PERIOD).await;
        log.tell();
    }
}

async fn serve(
    config: Config,
    args: &Args,
    output: &Output,
    next: &str,
    log: &telemetry::Watch,
) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen().context("cannot listen to signals")?;
    let server = start(config).await?;
    let preloaded = tokio::select! {
        reports = server.preload() => reports,
        () = signals.stop() => return end(server, &mut signals).await,
    };
    if let Some(broken) = preloaded.iter().find(|report| report.outcome.is_err())
        && args.strict
    {
        server.drain().await;
        anyhow::bail!(
            "--strict: model {} could not be preloaded, see the log above",
            broken.id
        );
    }
    announce(&server, &preloaded, output)?;
    if !next.is_empty() {
        output.status(next);
    }
    service_manager::tell(State::Ready);
    until_stopped(&server, &mut signals, log).await;
    end(server, &mut signals).await
}

/// Reloads when asked to, until it is asked to stop.
async fn until_stopped(server: &Server, signals: &mut Signals, log: &telemetry::Watch) {
    loop {
        match signals.next().await {
            Request::Reload => {
                service_manager::tell(State::Reloading);
                log.reopen();
                // Its outcome is in the log.
                drop(server.state().reload().await);
                service_manager::tell(State::Ready);
            }
            Request::Stop => return,
        }
    }
}

async fn start(config: Config) -> anyhow::Result<Server> {
    let started = Server::start(config).await;
    match &started {
        Err(StartError::Bind { key, source, .. }) => {
            let hint = bind_hint(key, source);
            started.context("cannot start the server").or_hint(hint)
        }
        _ => started.context("cannot start the server"),
    }
}

/// What to do about an address that cannot be had.
fn bind_hint(key: &str, error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::AddrInUse => {
            format!("is another server running? choose another port with {key}")
        }
        ErrorKind::PermissionDenied => format!(
            "ports below 1024 need a privilege (CAP_NET_BIND_SERVICE): choose another port with {key}"
        ),
        ErrorKind::AddrNotAvailable => {
            format!("no interface of this machine has that address: choose another host with {key}")
        }
        ErrorKind::NotFound => format!("the host name has no address: choose another with {key}"),
        _ => format!("choose another address with {key}"),
    }
}

/// Drains; a second signal ends at once.
async fn end(server: Server, signals: &mut Signals) -> anyhow::Result<ExitCode> {
    service_manager::tell(State::Stopping);
    tokio::select! {
        _ = server.drain() => Ok(ExitCode::SUCCESS),
        () = signals.stop() => {
            tracing::warn!("second signal: ending at once");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Says what runs, and where.
fn announce(server: &Server, preloads: &[PreloadReport], output: &Output) -> anyhow::Result<()> {
    let settings = server.state().settings();
    let config = &settings.config;
    let engine = server.state().engine();
    let loaded = preloads.iter().filter(|report| report.outcome.is_ok());
    let preloaded: Vec<&str> = loaded.map(|report| &*report.id).collect();
    let models: Vec<&str> = config
        .models
        .iter()
        .map(|model| model.id.as_str())
        .collect();
    if output.is_json() {
        return output.result(
            &Ready {
                version: env!("CARGO_PKG_VERSION"),
                engine: engine.to_string(),
                models,
                preloaded,
                grpc: server.grpc_address(),
                http: server.http_address(),
                metrics: server.metrics_address(),
            },
            String::new,
        );
    }
    if config.logging.format == LogFormat::Json {
        // A log of objects has nothing else in it.
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            engine = %engine,
            note = engine.note,
            models = models.join(", "),
            preloaded = preloaded.join(", "),
            grpc = %server.grpc_address(),
            http = server.http_address().map(tracing::field::display),
            metrics = server.metrics_address().map(tracing::field::display),
            "ready"
        );
        return Ok(());
    }
    output.status(format_args!("lipsync {}", env!("CARGO_PKG_VERSION")));
    output.status(format_args!("  engine    {engine}"));
    if let Some(note) = &engine.note {
        output.status(format_args!("            {note}"));
    }
    let loaded = match preloads.len() {
        0 => "loaded on demand".to_owned(),
        all => format!("{} of {all} preloaded", preloaded.len()),
    };
    output.status(format_args!("  models    {} ({loaded})", models.join(", ")));
    let capacity = &config.capacity;
    output.status(format_args!(
        "  capacity  {} models, {:.1} GB, {}",
        capacity.max_models,
        capacity.max_memory_bytes as f64 / f64::from(1 << 30),
        crate::config::Choice::word(capacity.eviction_policy),
    ));
    output.status(format_args!("  gRPC      {}", server.grpc_address()));
    if let Some(http) = server.http_address() {
        output.status(format_args!("  HTTP      http://{http}/"));
    }
    if let Some(metrics) = server.metrics_address() {
        output.status(format_args!("  metrics   http://{metrics}/metrics"));
    }
    output.status("ready");
    Ok(())
}
