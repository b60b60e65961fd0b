//! What all calls share: the registry, the settings in force, the counters, and where in its life the server is.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Mutex, watch};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::config::Config;
use crate::engine::BackendInfo;
use crate::pipeline::{Loader, ModelFacts};
use crate::registry::Registry;
use crate::server::admission::auth::{Auth, Caller};
use crate::server::admission::in_flight::{Occupancy, Place};
use crate::server::admission::messages::MessageMemory;
use crate::server::grpc::status::Failure;
use crate::server::observe::gauges::Gauges;
use crate::server::observe::metrics::Metrics;
use crate::server::observe::usage::UsageCounters;
use crate::server::reload::LastRead;
use crate::tenants::Accounts;
use crate::tenants::shares::{Claim, NoPlace, Partner};
use crate::workers::Turns;

/// The services whose health is reported; "" is the whole server.
const HEALTH_NAMES: [&str; 3] = ["", "lipsync.MultiTenantLipSync", "lipsync.LipSync"];

/// Where in its life the server is. It only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Answers, but the models to preload are not all there.
    Starting,
    /// Serves.
    Ready,
    /// Serves, but says that it will not for much longer, so that load balancers send new work elsewhere.
    Leaving,
    /// Finishes what is in progress and takes nothing new.
    Draining,
    /// Breaks off what is still in progress.
    Stopped,
}

/// The settings in force; replaced whole when the configuration is read again.
#[derive(Debug)]
pub struct Settings {
    /// The configuration.
    pub config: Config,
    /// Who may call.
    pub auth: Auth,
}

/// What all calls share.
#[derive(Debug)]
pub struct ServerState {
    settings: watch::Sender<Arc<Settings>>,
    accounts: Arc<Accounts>,
    /// Where the frames of all models take turns, by tenant.
    turns: Arc<Turns>,
    registry: Registry<Loader>,
    catalog: ModelFacts,
    engine: BackendInfo,
    metrics: Metrics,
    health: HealthReporter,
    phase: watch::Sender<Phase>,
    calls: Occupancy,
    streams: Occupancy,
    lookups: Occupancy,
    watches: Occupancy,
    messages: MessageMemory,
    message_bytes_max: usize,
    started: SystemTime,
    /// Held while the configuration is read again: once at a time.
    pub(super) reloading: Mutex<Option<LastRead>>,
}

impl ServerState {
    /// The state of a server that starts.
    pub(super) fn new(
        settings: Settings,
        accounts: Accounts,
        turns: Arc<Turns>,
        registry: Registry<Loader>,
        catalog: ModelFacts,
        engine: BackendInfo,
        health: HealthReporter,
    ) -> Self {
        let (calls, streams) = (Occupancy::new(), Occupancy::new());
        let gauges = Gauges::new(
            registry.clone(),
            catalog.clone(),
            [calls.clone(), streams.clone()],
            &engine,
        );
        let server = &settings.config.server;
        let messages = MessageMemory::new(server.messages.memory_bytes, server.messages.wait);
        turns.set_rules(settings.auth.flow_rules());
        let accounts = Arc::new(accounts);
        Self {
            message_bytes_max: server.max_message_bytes,
            messages,
            turns,
            settings: watch::Sender::new(Arc::new(settings)),
            metrics: Metrics::new(gauges, UsageCounters(Arc::clone(&accounts))),
            accounts,
            registry,
            catalog,
            engine,
            health,
            phase: watch::Sender::new(Phase::Starting),
            calls,
            streams,
            lookups: Occupancy::new(),
            watches: Occupancy::new(),
            started: SystemTime::now(),
            reloading: Mutex::new(None),
        }
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.borrow())
    }

    /// Waits until the token that `caller` came with is not in force any more.
    pub(super) async fn revoked(&self, caller: &Caller) {
        /// How often it is seen that a tenant's time is over.
        const LOOK: Duration = Duration::from_secs(1);
        let mut settings = self.settings.subscribe();
        let expires = caller.tenant().expires.is_some();
        loop {
            let change = settings.wait_for(|settings| !settings.auth.still_knows(caller));
            let look = if expires { LOOK } else { Duration::MAX };
            // The sender is `self`'s own, so the channel cannot be closed.
            if tokio::time::timeout(look, change).await.is_ok() {
                break;
            }
        }
    }

    pub(super) fn set_settings(&self, settings: Settings) {
        self.turns.set_rules(settings.auth.flow_rules());
        self.settings.send_replace(Arc::new(settings));
    }

    /// The models.
    #[must_use]
    pub fn registry(&self) -> &Registry<Loader> {
        &self.registry
    }

    /// What is known of models since they were last loaded.
    #[must_use]
    pub fn catalog(&self) -> &ModelFacts {
        &self.catalog
    }

    /// What runs the networks.
    #[must_use]
    pub fn engine(&self) -> &BackendInfo {
        &self.engine
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What tenants have used.
    #[must_use]
    pub(super) fn accounts(&self) -> &Arc<Accounts> {
        &self.accounts
    }

    /// When the server started.
    #[must_use]
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// Where in its life the server is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits until the server has come to `phase`, or past it.
    pub fn reached(&self, phase: Phase) -> impl Future<Output = ()> + Send + use<> {
        let mut now = self.phase.subscribe();
        async move {
            // A sender that is gone went with the server: nothing further will be reached.
            if now.wait_for(|now| *now >= phase).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Goes forward to `phase`, and tells health checks.
    pub(super) async fn advance(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let forward = phase > *now;
            *now = phase.max(*now);
            forward
        });
        let status = if self.phase() == Phase::Ready {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for name in HEALTH_NAMES {
            self.health.set_service_status(name, status).await;
        }
    }

    /// A place for a call, kept until its answer has left.
    pub(super) fn enter_call(&self, caller: &Caller) -> Result<Place, Failure> {
        let limit = self.settings().config.server.max_concurrent_requests;
        let most = caller.tenant().terms.max_requests;
        let kind = ("requests", "max_concurrent_requests");
        self.enter(&self.calls, caller, most, limit, kind)
    }

    /// A place for a stream, kept until it ends.
    ///
    /// # Errors
    /// If the caller has all the streams that there are for it, or the server drains.
    pub(super) fn enter_stream(&self, caller: &Caller) -> Result<Place, Failure> {
        let limit = self.settings().config.server.max_streams;
        let most = caller.tenant().terms.max_streams;
        self.enter(
            &self.streams,
            caller,
            most,
            limit,
            ("streams", "max_streams"),
        )
    }

    /// A place for a call that looks only, kept until its answer has left. Also a server that drains answers.
    pub(super) fn enter_lookup(&self, caller: &Caller) -> Result<Place, Failure> {
        let limit = self.settings().config.server.max_concurrent_lookups;
        let kind = ("lookups", "max_concurrent_lookups");
        Self::claim(&self.lookups, caller, None, limit, kind, &[])
    }

    /// A place for a call that watches, kept until it ends.
    pub(super) fn enter_watch(&self, caller: &Caller) -> Result<Place, Failure> {
        let limit = self.settings().config.server.max_watches;
        let kind = ("watches", "max_watches");
        Self::claim(&self.watches, caller, None, limit, kind, &[])
    }

    /// The largest message, received or sent: as configured at start, since half of what keeps to it is built then.
    pub(super) fn message_bytes_max(&self) -> usize {
        self.message_bytes_max
    }

    /// The memory that messages take.
    pub(super) fn messages(&self) -> &MessageMemory {
        &self.messages
    }

    fn enter(
        &self,
        occupancy: &Occupancy,
        caller: &Caller,
        most: Option<usize>,
        limit: usize,
        kind: (&'static str, &'static str),
    ) -> Result<Place, Failure> {
        let settings = self.settings();
        let partners = settings.auth.partners();
        let place = Self::claim(occupancy, caller, most, limit, kind, partners);
        // Asked only now: a drain that began meanwhile either sees the place or refuses it.
        if self.phase() >= Phase::Draining {
            return Err(Failure::Draining);
        }
        place
    }

    /// A place, also while the server drains.
    fn claim(
        occupancy: &Occupancy,
        caller: &Caller,
        most: Option<usize>,
        limit: usize,
        (what, key): (&'static str, &'static str),
        partners: &[Partner],
    ) -> Result<Place, Failure> {
        let place = occupancy.enter(&Claim {
            flow: caller.flow,
            most,
            places: limit,
            partners,
        });
        place.map_err(|no| match no {
            NoPlace::Full => Failure::Overloaded { what, limit, key },
            NoPlace::OwnLimit(limit) => Failure::TenantLimit { what, limit },
        })
    }

    /// Calls in progress.
    #[must_use]
    pub fn calls_now(&self) -> usize {
        self.calls.now()
    }

    /// Streams open.
    #[must_use]
    pub fn streams_now(&self) -> usize {
        self.streams.now()
    }

    /// Waits until nothing is in progress.
    pub(super) async fn idle(&self) {
        self.calls.emptied().await;
        self.streams.emptied().await;
    }
}
