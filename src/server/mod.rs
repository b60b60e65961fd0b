//! The server: sockets, limits, and how it ends.
//!
//! ```text
//! gRPC ──> gate: caller, room, deadline ──> service ──> batch, talk ──> pipeline
//! HTTP ──> probes, metrics, page
//! ```
//!
//! [`Server::start`] serves in the background of the current runtime; `lipsync serve`, `lipsync demo` and the tests
//! start it alike. [`Server::drain`] ends it: what is in progress is finished, nothing new is taken.

mod admission;
mod connections;
mod grpc;
mod handles;
mod http;
pub mod observe;
pub mod reload;
pub mod state;
mod tuning;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinHandle;
use tonic::service::Routes;
use tonic_health::server::health_reporter;

use admission::auth::Auth;
use admission::gate::Gate;
use admission::tokens::TokensError;
use connections::{Acceptor, Protocol};
use grpc::service::Service;
use grpc::zero_copy::Bulk;
use state::{Phase, ServerState, Settings};

use crate::config::{Config, EvictionPolicy, Listen};
use crate::engine;
use crate::engine::InferenceError;
use crate::pipeline::loader::backend_options;
use crate::pipeline::{LoadOptions, Loader, Tuner, memory};
use crate::registry::{ConfigureError, Limits, Policy, PreloadReport, Registry, log_report};
use crate::tenants::{Accounts, Journal, JournalError, unix};
use crate::wire;
use crate::wire::lip_sync_server::LipSyncServer;
use crate::wire::multi_tenant_lip_sync_server::MultiTenantLipSyncServer;

/// Time for connections to close after the last call has ended, whatever the drain time says.
const CLOSING: Duration = Duration::from_secs(1);
/// Connections of the metrics port: nobody but probes and a Prometheus or two has business there.
const PROBE_CONNECTIONS: usize = 64;

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No engine.
    #[error(transparent)]
    Engine(#[from] InferenceError),
    /// The tokens file.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// An address.
    #[error("cannot listen on {listen} ({key})")]
    Bind {
        /// The address.
        listen: Listen,
        /// Its key.
        key: &'static str,
        /// Why.
        source: io::Error,
    },
    /// There are hardly any file handles.
    #[error(
        "the limit of file handles is {handles}, and the server needs {needed} at least: raise it (ulimit -n, LimitNOFILE of systemd)"
    )]
    Handles {
        /// How many there are.
        handles: u64,
        /// How many are needed.
        needed: u64,
    },
    /// The registry's limits.
    #[error(transparent)]
    Registry(#[from] ConfigureError),
    /// The published messages cannot be described.
    #[error("cannot serve reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The journal of usage.
    #[error(transparent)]
    Usage(#[from] JournalError),
    /// A step of the start panicked.
    #[error("the start crashed")]
    Crashed,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    state: Arc<ServerState>,
    grpc: SocketAddr,
    http: Option<SocketAddr>,
    metrics: Option<SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
    reports: JoinHandle<()>,
    /// Measures the plans of loaded models.
    tuning: JoinHandle<()>,
}

impl Server {
    /// Binds, and serves in the background. Models marked `preload` are not loaded yet: see [`Server::preload`].
    ///
    /// # Errors
    /// If there is no engine, the tokens file is broken, or an address cannot be had.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let auth = Auth::load(&config)?;
        let ports = &config.server;
        let each = ports.connections.per_address;
        let places = (handles::connections(ports)?, each);
        let grpc = bind(&ports.listen, "server.port", places).await?;
        let http = match &ports.http {
            Some(listen) => Some(bind(listen, "server.http_port", places).await?),
            None => None,
        };
        let metrics = match &config.server.metrics {
            Some(listen) => {
                let places = (PROBE_CONNECTIONS, PROBE_CONNECTIONS);
                Some(bind(listen, "server.metrics_port", places).await?)
            }
            None => None,
        };
        let options = backend_options(&config.onnx);
        let backend = tokio::task::spawn_blocking(move || engine::select(&options));
        let backend = backend.await.map_err(|_| StartError::Crashed)??;
        let engine = backend.info().clone();
        memory::suit(&engine);
        let accounts = accounts(&config)?;
        let options = LoadOptions::new(&config, &*backend);
        let turns = Arc::clone(&options.workers.turns);
        let tuner = Tuner::new(Arc::clone(&backend), options.clone());
        let loader = Loader::new(Arc::clone(&backend), options);
        let catalog = loader.catalog().clone();
        let registry = Registry::start(loader, Loader::specs(&config), limits(&config, &auth))?;
        let (health, health_service) = health_reporter();
        let settings = Settings { config, auth };
        let state = Arc::new(ServerState::new(
            settings, accounts, turns, registry, catalog, engine, health,
        ));
        state.advance(Phase::Starting).await;

        let there = |acceptor: &Option<Acceptor>| acceptor.as_ref().map(address).transpose();
        let addresses = (address(&grpc)?, there(&http)?, there(&metrics)?);
        let mut tasks = vec![serve_grpc(&state, grpc, health_service)?];
        for (acceptor, routes) in [(http, http::page as fn(_) -> _), (metrics, http::metrics)] {
            let routes = routes(Arc::clone(&state));
            tasks.extend(
                acceptor
                    .map(|acceptor| connections::serve(&state, acceptor, Protocol::Http1, routes)),
            );
        }
        let reports = tokio::spawn(report(Arc::clone(&state)));
        let tuning = tokio::spawn(tuning::run(Arc::clone(&state), tuner));
        Ok(Self {
            state,
            grpc: addresses.0,
            http: addresses.1,
            metrics: addresses.2,
            tasks,
            reports,
            tuning,
        })
    }

    /// What all calls share.
    #[must_use]
    pub fn state(&self) -> &Arc<ServerState> {
        &self.state
    }

    /// Where gRPC listens.
    #[must_use]
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc
    }

    /// Where HTTP does, unless it is switched off.
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Where the metrics are, unless they are switched off.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Loads the models marked `preload`, one after another, then declares the server ready.
    pub async fn preload(&self) -> Vec<PreloadReport> {
        let reports = self.state.registry().preload().await;
        self.state.advance(Phase::Ready).await;
        reports
    }

    /// Ends the server: health checks fail, after `server.drain_notice_seconds` nothing new is taken, what is in
    /// progress is finished within `server.drain_seconds` and broken off then. Gives whether all of it finished.
    pub async fn drain(self) -> bool {
        let settings = self.state.settings();
        let notice = settings.config.server.drain_notice;
        if !notice.is_zero() {
            tracing::info!(
                seconds = notice.as_secs_f64(),
                "leaving: health checks fail, calls are still taken"
            );
            self.state.advance(Phase::Leaving).await;
            tokio::time::sleep(notice).await;
        }
        let drain = settings.config.server.drain;
        let end = tokio::time::Instant::now() + drain;
        tracing::info!(
            calls = self.state.calls_now(),
            streams = self.state.streams_now(),
            seconds = drain.as_secs_f64(),
            "draining"
        );
        self.state.advance(Phase::Draining).await;
        let finished = tokio::time::timeout_at(end, self.state.idle())
            .await
            .is_ok();
        if !finished {
            tracing::warn!(
                calls = self.state.calls_now(),
                streams = self.state.streams_now(),
                "drain time is over: breaking off what is in progress"
            );
        }
        self.reports.abort();
        self.tuning.abort();
        self.state.advance(Phase::Stopped).await;
        // Idle connections close at once; a health watch would keep its own open for ever.
        let _ = tokio::time::timeout(CLOSING, self.state.idle()).await;
        for mut task in self.tasks {
            if tokio::time::timeout(CLOSING, &mut task).await.is_err() {
                task.abort();
            }
        }
        let gone = self.state.registry().shutdown();
        let _ = tokio::time::timeout(CLOSING.max(end - tokio::time::Instant::now()), gone).await;
        tracing::info!("stopped");
        finished
    }
}

/// The tenants' accounts, which go on where the last server's ended.
fn accounts(config: &Config) -> Result<Accounts, JournalError> {
    let Some(path) = &config.server.usage_journal else {
        return Ok(Accounts::default());
    };
    let (journal, kept, damaged) = Journal::open(path, unix(SystemTime::now()))?;
    if damaged > 0 {
        tracing::warn!(
            path = %path.display(),
            lines = damaged,
            "damaged lines of server.usage_journal are left out; the last may have been cut short by a crash"
        );
    }
    Ok(Accounts::new(journal, kept))
}

async fn bind(
    listen: &Listen,
    key: &'static str,
    (all, each): (usize, usize),
) -> Result<Acceptor, StartError> {
    Acceptor::bind(listen, all, each)
        .await
        .map_err(|source| StartError::Bind {
            listen: listen.clone(),
            key,
            source,
        })
}

fn address(acceptor: &Acceptor) -> Result<SocketAddr, StartError> {
    acceptor.address().map_err(|_| StartError::Crashed)
}

fn serve_grpc<H>(
    state: &Arc<ServerState>,
    acceptor: Acceptor,
    health: tonic_health::pb::health_server::HealthServer<H>,
) -> Result<JoinHandle<()>, StartError>
where
    H: tonic_health::pb::health_server::Health,
{
    let bytes = state.message_bytes_max();
    let service = Service::new(Arc::clone(state));
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(wire::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // What errors carry, so that tools can show it.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let batches = MultiTenantLipSyncServer::new(service.clone())
        .max_decoding_message_size(bytes)
        .max_encoding_message_size(bytes);
    let routes = Routes::new(Bulk::new(batches, bytes))
        .add_service(
            LipSyncServer::new(service)
                .max_decoding_message_size(bytes)
                .max_encoding_message_size(bytes),
        )
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    let gate = Gate::new(Arc::clone(state), routes.prepare());
    Ok(connections::serve(state, acceptor, Protocol::Http2, gate))
}

/// The periodic report in the log, as often as the configuration in force says.
async fn report(state: Arc<ServerState>) {
    /// How often a changed period is noticed where there is none.
    const LOOK: Duration = Duration::from_mins(1);
    let mut last = tokio::time::Instant::now();
    loop {
        let period = state.settings().config.logging.stats_report;
        let next = last + period.unwrap_or(LOOK);
        tokio::time::sleep_until(next.min(tokio::time::Instant::now() + LOOK)).await;
        if tokio::time::Instant::now() >= next {
            last = next;
            if period.is_some() {
                log_report(&state.registry().snapshot());
            }
        }
    }
}

/// The registry's bounds, as configured.
fn limits(config: &Config, auth: &Auth) -> Limits {
    let capacity = &config.capacity;
    Limits {
        max_models: capacity.max_models,
        max_memory_bytes: capacity.max_memory_bytes,
        policy: match capacity.eviction_policy {
            EvictionPolicy::Lru => Policy::Lru,
            EvictionPolicy::Lfu => Policy::LFU,
        },
        idle_unload: capacity.idle_unload,
        eviction_wait: capacity.eviction_wait,
        max_parallel_loads: capacity.parallel_loads,
        backoff_first: capacity.load_retry,
        backoff_max: capacity.load_retry_max,
        log_model_operations: config.logging.log_model_operations,
        reservations: auth.reservations(&config.models.iter().map(|model| model.id.as_str())),
        ..Limits::default()
    }
}
