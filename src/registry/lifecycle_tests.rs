//! Lifecycles through the real handle and owner, with a fake loader and the stopped clock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tokio::time::{Instant, advance, timeout};

use super::*;

pub(super) const MB: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Loads,
    Invalid,
    Broken,
    Panics,
}

/// What the fake loader does with a model.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) estimate: u64,
    pub(super) measured: u64,
    /// What it says it takes once it has settled in.
    pub(super) settled: Option<u64>,
    pub(super) fate: Fate,
    /// Loads wait until the gate is opened.
    pub(super) gated: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            estimate: 10 * MB,
            measured: 10 * MB,
            settled: None,
            fate: Fate::Loads,
            gated: false,
        }
    }
}

#[derive(Default)]
pub(super) struct World {
    plans: Mutex<HashMap<String, Plan>>,
    gate: Condvar,
    pub(super) validations: AtomicUsize,
    pub(super) loads: AtomicUsize,
    pub(super) running: AtomicUsize,
    pub(super) most_running: AtomicUsize,
    pub(super) alive: AtomicUsize,
}

#[derive(Clone, Default)]
pub(super) struct Fake(pub(super) Arc<World>);

pub(super) struct FakeModel {
    pub(super) id: Arc<str>,
    pub(super) version: u32,
    world: Arc<World>,
}

impl Drop for FakeModel {
    fn drop(&mut self) {
        self.world.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Fake {
    pub(super) fn plan(&self, id: &str, plan: Plan) {
        self.0.plans.lock().unwrap().insert(id.to_owned(), plan);
        self.0.gate.notify_all();
    }

    fn planned(&self, id: &str) -> Plan {
        let plans = self.0.plans.lock().unwrap();
        plans.get(id).cloned().unwrap_or_default()
    }

    fn pass_gate(&self, id: &str) {
        let gated = |plans: &mut HashMap<String, Plan>| plans.get(id).is_some_and(|p| p.gated);
        let plans = self.0.plans.lock().unwrap();
        drop(self.0.gate.wait_while(plans, gated).unwrap());
    }

    pub(super) fn loads(&self) -> usize {
        self.0.loads.load(Ordering::SeqCst)
    }

    pub(super) fn alive(&self) -> usize {
        self.0.alive.load(Ordering::SeqCst)
    }
}

impl Load for Fake {
    type Spec = u32;
    type Model = FakeModel;

    fn validate(&self, spec: &ModelSpec<u32>) -> Result<u64, LoadError> {
        self.0.validations.fetch_add(1, Ordering::SeqCst);
        let plan = self.planned(&spec.id);
        if plan.fate == Fate::Invalid {
            return Err(LoadError::new("model is invalid", "bad rect in frame 7"));
        }
        Ok(plan.estimate)
    }

    fn load(&self, spec: &ModelSpec<u32>) -> Result<Loaded<FakeModel>, LoadError> {
        let running = self.0.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most_running.fetch_max(running, Ordering::SeqCst);
        self.pass_gate(&spec.id);
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        self.0.loads.fetch_add(1, Ordering::SeqCst);
        let plan = self.planned(&spec.id);
        assert!(plan.fate != Fate::Panics, "the loader fell over");
        if plan.fate == Fate::Broken {
            return Err(LoadError::new("model is broken", "truncated network"));
        }
        self.0.alive.fetch_add(1, Ordering::SeqCst);
        let model = FakeModel {
            id: Arc::clone(&spec.id),
            version: spec.payload,
            world: Arc::clone(&self.0),
        };
        let memory_bytes = plan.measured;
        Ok(Loaded {
            model,
            memory_bytes,
        })
    }

    fn memory_bytes(model: &FakeModel) -> Option<u64> {
        let plans = model.world.plans.lock().unwrap();
        plans.get(&*model.id).and_then(|plan| plan.settled)
    }
}

pub(super) fn spec(id: &str, version: u32) -> ModelSpec<u32> {
    ModelSpec {
        id: id.into(),
        fingerprint: u64::from(version),
        memory_floor_bytes: 0,
        preload: false,
        payload: version,
    }
}

pub(super) fn limits() -> Limits {
    Limits {
        max_models: 2,
        max_memory_bytes: 100 * MB,
        idle_unload: None,
        ..Limits::default()
    }
}

fn registry(limits: Limits) -> (Registry<Fake>, Fake) {
    let fake = Fake::default();
    let specs = ["a", "b", "c", "d"].map(|id| spec(id, 1)).into();
    let registry = Registry::start(fake.clone(), specs, limits).unwrap();
    (registry, fake)
}

/// Lets the owner and the blocking threads come to rest, without moving the clock.
async fn rest() {
    for _ in 0..50 {
        tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_micros(200)))
            .await
            .unwrap();
    }
}

fn loaded(registry: &Registry<Fake>) -> Vec<String> {
    let models = registry.snapshot().models;
    let loaded = models.iter().filter(|model| model.loaded());
    loaded.map(|model| model.id.to_string()).collect()
}

fn status(registry: &Registry<Fake>, id: &str) -> &'static str {
    registry.model(id).unwrap().status.name()
}

#[tokio::test(start_paused = true)]
async fn a_lease_loads_once_and_keeps_figures() {
    let (registry, fake) = registry(limits());
    let lease = registry.lease("a").await.unwrap();
    assert_eq!(&*lease.id, "a");
    assert!(lease.load_time().is_some());
    lease.record(5, Duration::from_millis(250));
    let second = registry.lease("a").await.unwrap();
    assert_eq!(second.load_time(), None);
    assert_eq!(fake.loads(), 1);
    let model = registry.model("a").unwrap();
    assert_eq!((model.leases, model.generation), (2, 1));
    assert_eq!(model.stats.memory_bytes, 10 * MB);
    drop((lease, second));
    registry.unload("a").await.unwrap();
    assert_eq!(fake.alive(), 0);
    let stats = registry.model("a").unwrap().stats;
    assert_eq!(stats.usage_count, 5);
    assert_eq!(stats.total_inference_time, Duration::from_millis(250));
    assert_eq!(
        stats.average_inference_time(),
        Some(Duration::from_millis(50))
    );
    assert_eq!((stats.memory_bytes, stats.loaded_at), (0, None));
    assert!(stats.last_used.is_some());
    assert_eq!(registry.snapshot().counters.unloads.requested, 1);
}

#[tokio::test(start_paused = true)]
async fn concurrent_callers_share_one_load() {
    let (registry, fake) = registry(limits());
    let gated = Plan {
        gated: true,
        ..Plan::default()
    };
    fake.plan("a", gated);
    let calls = (0..20).map(|_| {
        let registry = registry.clone();
        tokio::spawn(async move { registry.lease("a").await.unwrap() })
    });
    let calls: Vec<_> = calls.collect();
    // Nobody may come after the load.
    rest().await;
    fake.plan("a", Plan::default());
    let leases = futures::future::join_all(calls).await;
    assert!(
        leases
            .iter()
            .all(|lease| lease.as_ref().unwrap().load_time().is_some())
    );
    assert_eq!(fake.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn different_models_load_in_parallel_up_to_the_limit() {
    let (registry, fake) = registry(Limits {
        max_models: 4,
        ..limits()
    });
    let gated = Plan {
        gated: true,
        ..Plan::default()
    };
    for id in ["a", "b", "c", "d"] {
        fake.plan(id, gated.clone());
    }
    let calls = ["a", "b", "c", "d"].map(|id| {
        let registry = registry.clone();
        tokio::spawn(async move { registry.lease(id).await.map(drop) })
    });
    rest().await;
    assert_eq!(fake.0.running.load(Ordering::SeqCst), 2);
    for id in ["a", "b", "c", "d"] {
        fake.plan(id, Plan::default());
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(fake.0.most_running.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn readers_and_other_models_do_not_wait_for_a_load() {
    let (registry, fake) = registry(limits());
    let gated = Plan {
        gated: true,
        ..Plan::default()
    };
    fake.plan("a", gated);
    let call = tokio::spawn({
        let registry = registry.clone();
        async move { registry.lease("a").await.map(drop) }
    });
    rest().await;
    assert_eq!(status(&registry, "a"), "loading");
    assert_eq!(registry.snapshot().memory_bytes, 10 * MB);
    registry.lease("b").await.unwrap();
    fake.plan("a", Plan::default());
    call.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_least_recently_used_idle_model_is_evicted() {
    let (registry, fake) = registry(limits());
    for id in ["a", "b"] {
        registry.lease(id).await.unwrap();
        rest().await;
        advance(Duration::from_secs(1)).await;
    }
    registry.lease("a").await.unwrap();
    rest().await;
    advance(Duration::from_secs(1)).await;
    registry.lease("c").await.unwrap();
    assert_eq!(loaded(&registry), ["a", "c"]);
    assert_eq!(fake.alive(), 2);
    assert_eq!(registry.snapshot().counters.unloads.evicted, 1);
}

#[tokio::test(start_paused = true)]
async fn reserved_models_make_no_room_for_others() {
    let reserved = |models: &[&str], count| Reservation {
        models: models.iter().map(|id| (*id).into()).collect(),
        count,
    };
    let with = |reservations| Limits {
        reservations,
        ..limits()
    };
    let (registry, _) = registry(with(vec![reserved(&["a", "d"], 1)]));
    for id in ["a", "b", "c"] {
        registry.lease(id).await.unwrap();
        rest().await;
        advance(Duration::from_secs(1)).await;
    }
    // The oldest is reserved, so the next goes.
    assert_eq!(loaded(&registry), ["a", "c"]);
    // Whoever reserved it may exchange it for another of its own.
    registry.lease("d").await.unwrap();
    assert_eq!(loaded(&registry), ["c", "d"]);
    // All that is idle is reserved by others: nothing leaves, and the caller is told.
    let all = vec![reserved(&["c"], 1), reserved(&["d"], 1)];
    let specs = ["a", "b", "c", "d"].map(|id| spec(id, 1)).into();
    registry.reconfigure(specs, with(all)).await.unwrap();
    let error = registry.lease("b").await.unwrap_err();
    assert!(
        matches!(error, RegistryError::CapacityFull { .. }),
        "{error}"
    );
    assert_eq!(loaded(&registry), ["c", "d"]);
    // Limits that are lowered hold for reserved models, too.
    let mut less = with(vec![reserved(&["c"], 1), reserved(&["d"], 1)]);
    less.max_models = 1;
    let specs = ["a", "b", "c", "d"].map(|id| spec(id, 1)).into();
    registry.reconfigure(specs, less).await.unwrap();
    rest().await;
    assert_eq!(loaded(&registry).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_least_frequently_used_idle_model_is_evicted_and_use_ages() {
    let (registry, _) = registry(Limits {
        policy: Policy::Lfu {
            half_life: Duration::from_mins(1),
        },
        ..limits()
    });
    registry
        .lease("a")
        .await
        .unwrap()
        .record(100, Duration::ZERO);
    rest().await;
    advance(Duration::from_secs(1)).await;
    registry
        .lease("b")
        .await
        .unwrap()
        .record(10, Duration::ZERO);
    rest().await;
    // b is the more recent, but used less.
    registry
        .lease("c")
        .await
        .unwrap()
        .record(10, Duration::ZERO);
    rest().await;
    assert_eq!(loaded(&registry), ["a", "c"]);
    // After ten half-lives a's 100 frames count for less than c's fresh 10.
    advance(Duration::from_mins(10)).await;
    registry
        .lease("c")
        .await
        .unwrap()
        .record(10, Duration::ZERO);
    rest().await;
    registry.lease("b").await.unwrap();
    assert_eq!(loaded(&registry), ["b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn no_idle_victim_is_capacity_full_after_the_configured_wait() {
    let (registry, fake) = registry(limits());
    let held = [
        registry.lease("a").await.unwrap(),
        registry.lease("b").await.unwrap(),
    ];
    let start = Instant::now();
    let error = registry.lease("c").await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("capacity full and eviction failed"),
        "{error}"
    );
    assert_eq!(start.elapsed().as_secs(), 5);
    assert_eq!(status(&registry, "c"), "unloaded");
    assert_eq!((fake.loads(), fake.alive()), (2, 2));
    assert_eq!(registry.snapshot().counters.rejections.capacity_full, 1);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_caller_gets_the_room_of_a_lease_that_ends() {
    let (registry, _) = registry(limits());
    let a = registry.lease("a").await.unwrap();
    let _b = registry.lease("b").await.unwrap();
    let call = tokio::spawn({
        let registry = registry.clone();
        async move { registry.lease("c").await.map(drop) }
    });
    advance(Duration::from_secs(4)).await;
    rest().await;
    // Dropped on a thread that knows nothing of the runtime.
    std::thread::spawn(move || drop(a)).join().unwrap();
    call.await.unwrap().unwrap();
    assert_eq!(loaded(&registry), ["b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn an_invalid_model_evicts_nobody() {
    let (registry, fake) = registry(limits());
    for id in ["a", "b"] {
        registry.lease(id).await.unwrap();
    }
    fake.plan(
        "c",
        Plan {
            fate: Fate::Invalid,
            ..Plan::default()
        },
    );
    let error = registry.lease("c").await.unwrap_err();
    assert!(
        matches!(error, RegistryError::LoadFailed { .. }),
        "{error:?}"
    );
    assert_eq!(loaded(&registry), ["a", "b"]);
    assert_eq!(status(&registry, "c"), "failed");
}

#[tokio::test(start_paused = true)]
async fn failures_back_off_and_a_forced_load_ignores_that() {
    let (registry, fake) = registry(limits());
    for plan in [
        Plan {
            fate: Fate::Broken,
            ..Plan::default()
        },
        Plan {
            fate: Fate::Panics,
            ..Plan::default()
        },
    ] {
        fake.plan("a", plan);
        let before = fake.loads();
        registry.lease("a").await.unwrap_err();
        // Within the back-off the same answer comes without a load.
        registry.lease("a").await.unwrap_err();
        assert_eq!(fake.loads(), before + 1);
        advance(Duration::from_secs(5)).await;
    }
    let error = registry.lease("a").await.unwrap_err();
    let RegistryError::LoadFailed {
        error, retry_after, ..
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(error.detail(), "the loader fell over");
    assert_eq!(retry_after, Duration::from_secs(4));
    fake.plan("a", Plan::default());
    registry.lease("a").await.unwrap_err();
    registry.load("a", LoadMode::Replace).await.unwrap();
    registry.lease("a").await.unwrap();
    assert_eq!(registry.snapshot().counters.load_failures, 3);
}

#[tokio::test(start_paused = true)]
async fn a_forced_reload_swaps_whole_generations() {
    let (registry, fake) = registry(limits());
    let old = registry.lease("a").await.unwrap();
    let report = registry.load("a", LoadMode::Replace).await.unwrap();
    assert!(report.load_time.is_some());
    let new = registry.lease("a").await.unwrap();
    assert_eq!((old.generation(), new.generation()), (1, 2));
    let snapshot = registry.snapshot();
    assert_eq!(
        (snapshot.resident_models, snapshot.memory_bytes),
        (1, 20 * MB)
    );
    assert_eq!(fake.alive(), 2);
    drop(old);
    rest().await;
    assert_eq!(
        (fake.alive(), registry.snapshot().memory_bytes),
        (1, 10 * MB)
    );
    assert_eq!(registry.snapshot().counters.unloads.replaced, 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_reload_keeps_the_old_generation() {
    let (registry, fake) = registry(limits());
    registry.lease("a").await.unwrap();
    for plan in [
        Plan {
            fate: Fate::Broken,
            ..Plan::default()
        },
        Plan {
            fate: Fate::Invalid,
            ..Plan::default()
        },
        // Fits by its estimate, not by its measure.
        Plan {
            measured: 95 * MB,
            ..Plan::default()
        },
    ] {
        fake.plan("a", plan);
        registry.load("a", LoadMode::Replace).await.unwrap_err();
        let lease = registry.lease("a").await.unwrap();
        assert_eq!((lease.generation(), lease.load_time()), (1, None));
        rest().await;
        assert_eq!(
            (fake.alive(), registry.snapshot().memory_bytes),
            (1, 10 * MB)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_never_fits_beside_the_old_one_goes_in_place() {
    let (registry, fake) = registry(limits());
    let big = Plan {
        estimate: 60 * MB,
        measured: 60 * MB,
        ..Plan::default()
    };
    fake.plan("a", big.clone());
    let lease = registry.lease("a").await.unwrap();
    let reload = tokio::spawn({
        let registry = registry.clone();
        async move { registry.load("a", LoadMode::Replace).await }
    });
    rest().await;
    assert_eq!(status(&registry, "a"), "draining");
    drop(lease);
    reload.await.unwrap().unwrap();
    assert_eq!(registry.lease("a").await.unwrap().generation(), 3);
    // An invalid one is refused before the old one is touched.
    fake.plan(
        "a",
        Plan {
            fate: Fate::Invalid,
            ..big
        },
    );
    registry.load("a", LoadMode::Replace).await.unwrap_err();
    assert_eq!(registry.lease("a").await.unwrap().generation(), 3);
}

#[tokio::test(start_paused = true)]
async fn unload_waits_for_leases_and_new_callers_get_a_fresh_load() {
    let (registry, fake) = registry(limits());
    let lease = registry.lease("a").await.unwrap();
    let unload = tokio::spawn({
        let registry = registry.clone();
        async move { registry.unload("a").await }
    });
    rest().await;
    assert!(!unload.is_finished());
    assert_eq!(status(&registry, "a"), "draining");
    let next = tokio::spawn({
        let registry = registry.clone();
        async move { registry.lease("a").await }
    });
    rest().await;
    assert!(!next.is_finished());
    drop(lease);
    unload.await.unwrap().unwrap();
    let next = next.await.unwrap().unwrap();
    assert_eq!((next.generation(), fake.loads()), (2, 2));
    // Those that are not loaded, or not known, are answered at once.
    registry.unload("b").await.unwrap();
    assert!(matches!(
        registry.unload("nobody").await,
        Err(RegistryError::UnknownModel { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn idle_models_unload_after_the_last_lease_ends() {
    let (registry, fake) = registry(Limits {
        idle_unload: Some(Duration::from_mins(30)),
        ..limits()
    });
    let lease = registry.lease("a").await.unwrap();
    tokio::time::sleep(Duration::from_mins(90)).await;
    assert_eq!(loaded(&registry), ["a"]);
    drop(lease);
    tokio::time::sleep(Duration::from_mins(29)).await;
    assert_eq!(loaded(&registry), ["a"]);
    tokio::time::sleep(Duration::from_mins(2)).await;
    rest().await;
    assert_eq!((loaded(&registry).len(), fake.alive()), (0, 0));
    assert_eq!(registry.snapshot().counters.unloads.idle, 1);
}

#[tokio::test(start_paused = true)]
async fn preload_goes_in_order_reports_each_and_evicts_nothing() {
    let fake = Fake::default();
    fake.plan(
        "b",
        Plan {
            fate: Fate::Invalid,
            ..Plan::default()
        },
    );
    let specs = ["a", "b", "c", "d"].map(|id| ModelSpec {
        preload: true,
        ..spec(id, 1)
    });
    let registry = Registry::start(fake, specs.into(), limits()).unwrap();
    let start = Instant::now();
    let reports = registry.preload().await;
    let outcomes: Vec<_> = reports
        .iter()
        .map(|report| (&*report.id, report.outcome.is_ok()))
        .collect();
    assert_eq!(
        outcomes,
        [("a", true), ("b", false), ("c", true), ("d", false)]
    );
    assert!(matches!(
        reports[3].outcome,
        Err(RegistryError::CapacityFull { .. })
    ));
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(loaded(&registry), ["a", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_model_larger_than_the_budget_is_refused_and_evicts_nobody() {
    let (registry, fake) = registry(limits());
    registry.lease("b").await.unwrap();
    fake.plan(
        "a",
        Plan {
            estimate: 101 * MB,
            ..Plan::default()
        },
    );
    let error = registry.lease("a").await.unwrap_err();
    assert!(
        matches!(error, RegistryError::TooLarge { needed_bytes, .. } if needed_bytes == 101 * MB)
    );
    assert_eq!(loaded(&registry), ["b"]);
    assert_eq!(fake.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn measured_bytes_correct_the_estimate() {
    let (registry, fake) = registry(limits());
    registry.lease("a").await.unwrap();
    fake.plan(
        "b",
        Plan {
            measured: 95 * MB,
            ..Plan::default()
        },
    );
    registry.lease("b").await.unwrap();
    // a had to leave for what b really takes.
    assert_eq!(loaded(&registry), ["b"]);
    assert_eq!(registry.snapshot().memory_bytes, 95 * MB);
    // The next time its size is known before it is read.
    registry.unload("b").await.unwrap();
    let a = registry.lease("a").await.unwrap();
    let loads = fake.loads();
    registry.lease("b").await.unwrap_err();
    assert_eq!(fake.loads(), loads);
    drop(a);
}

#[tokio::test(start_paused = true)]
async fn what_a_model_needs_no_more_is_room_for_others() {
    let (registry, fake) = registry(limits());
    let large = Plan {
        measured: 95 * MB,
        ..Plan::default()
    };
    fake.plan("a", large.clone());
    let a = registry.lease("a").await.unwrap();
    registry.lease("b").await.unwrap_err();
    fake.plan(
        "a",
        Plan {
            settled: Some(20 * MB),
            ..large.clone()
        },
    );
    registry.lease("b").await.unwrap();
    assert_eq!(loaded(&registry), ["a", "b"]);
    assert_eq!(registry.snapshot().memory_bytes, 30 * MB);
    // More than was promised at first is not counted: it is not allowed either.
    fake.plan(
        "a",
        Plan {
            settled: Some(60 * MB),
            ..large
        },
    );
    registry.lease("b").await.unwrap();
    assert_eq!(registry.snapshot().memory_bytes, 30 * MB);
    drop(a);
}

#[tokio::test(start_paused = true)]
async fn reconfigure_replaces_when_idle_and_lets_removed_models_finish() {
    let (registry, fake) = registry(limits());
    let a = registry.lease("a").await.unwrap();
    let b = registry.lease("b").await.unwrap();
    let bad = registry
        .reconfigure(vec![spec("a", 2), spec("a", 3)], limits())
        .await;
    assert!(matches!(bad, Err(ConfigureError::DuplicateModel { .. })));
    assert_eq!(registry.specs().len(), 4);
    let report = registry
        .reconfigure(vec![spec("a", 2), spec("e", 1)], limits())
        .await
        .unwrap();
    let names = |ids: &[Arc<str>]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&report.added), ["e"]);
    assert_eq!(names(&report.changed), ["a"]);
    assert_eq!(names(&report.removed), ["b", "c", "d"]);
    assert!(matches!(
        registry.lease("b").await,
        Err(RegistryError::UnknownModel { .. })
    ));
    assert_eq!(status(&registry, "b"), "draining");
    assert!(registry.model("a").unwrap().stale);
    assert_eq!(registry.lease("a").await.unwrap().version, 1);
    drop((a, b));
    rest().await;
    assert!(registry.model("b").is_none());
    assert_eq!(registry.lease("a").await.unwrap().version, 2);
    assert_eq!(fake.alive(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stale_model_without_room_for_two_is_replaced_in_place() {
    let (registry, fake) = registry(limits());
    let big = Plan {
        estimate: 60 * MB,
        measured: 60 * MB,
        ..Plan::default()
    };
    fake.plan("a", big);
    registry.lease("a").await.unwrap();
    registry
        .reconfigure(vec![spec("a", 2)], limits())
        .await
        .unwrap();
    rest().await;
    assert_eq!(loaded(&registry), ["a"]);
    assert_eq!((fake.loads(), fake.alive()), (2, 1));
    assert_eq!(registry.lease("a").await.unwrap().load_time(), None);
}

#[tokio::test(start_paused = true)]
async fn lowered_limits_are_met_as_leases_end() {
    let (registry, _) = registry(limits());
    let a = registry.lease("a").await.unwrap();
    let b = registry.lease("b").await.unwrap();
    let specs = ["a", "b", "c", "d"].map(|id| spec(id, 1)).into();
    let one = Limits {
        max_models: 1,
        ..limits()
    };
    registry.reconfigure(specs, one).await.unwrap();
    assert_eq!(registry.snapshot().resident_models, 2);
    drop(a);
    rest().await;
    assert_eq!(loaded(&registry), ["b"]);
    drop(b);
    rest().await;
    assert_eq!(loaded(&registry), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_holds_nothing() {
    let (registry, fake) = registry(limits());
    let a = registry.lease("a").await.unwrap();
    let b = registry.lease("b").await.unwrap();
    let give_up = timeout(Duration::from_secs(1), registry.lease("c")).await;
    assert!(give_up.is_err());
    rest().await;
    assert_eq!(registry.snapshot().waiting, 0);
    assert_eq!(status(&registry, "c"), "unloaded");
    drop((a, b));
    rest().await;
    assert_eq!(loaded(&registry), ["a", "b"]);
    // One that has begun to read is finished and kept.
    fake.plan(
        "c",
        Plan {
            gated: true,
            ..Plan::default()
        },
    );
    let call = tokio::spawn({
        let registry = registry.clone();
        async move { registry.lease("c").await.map(drop) }
    });
    rest().await;
    call.abort();
    rest().await;
    fake.plan("c", Plan::default());
    rest().await;
    assert_eq!(loaded(&registry), ["b", "c"]);
    assert_eq!(registry.model("c").unwrap().leases, 0);
}

#[tokio::test(start_paused = true)]
async fn waiting_callers_are_bounded() {
    let (registry, fake) = registry(Limits {
        max_waiting: 3,
        ..limits()
    });
    let gated = Plan {
        gated: true,
        ..Plan::default()
    };
    fake.plan("a", gated);
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let registry = registry.clone();
            tokio::spawn(async move { registry.lease("a").await.map(drop) })
        })
        .collect();
    rest().await;
    assert!(matches!(
        registry.lease("a").await,
        Err(RegistryError::TooManyWaiting { limit: 3, .. })
    ));
    // A place given up is free again.
    calls[0].abort();
    rest().await;
    let another = tokio::spawn({
        let registry = registry.clone();
        async move { registry.lease("a").await.map(drop) }
    });
    rest().await;
    fake.plan("a", Plan::default());
    another.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn room_is_given_first_come_first_served() {
    let (registry, _) = registry(Limits {
        max_models: 1,
        ..limits()
    });
    let a = registry.lease("a").await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut calls = Vec::new();
    for id in ["c", "b", "d"] {
        let (registry, order) = (registry.clone(), Arc::clone(&order));
        calls.push(tokio::spawn(async move {
            let lease = registry.lease(id).await.unwrap();
            order.lock().unwrap().push(id);
            drop(lease);
        }));
        rest().await;
    }
    drop(a);
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), ["c", "b", "d"]);
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_leases_and_refuses_new_work() {
    let (registry, fake) = registry(limits());
    let lease = registry.lease("a").await.unwrap();
    let shutdown = tokio::spawn({
        let registry = registry.clone();
        async move { registry.shutdown().await }
    });
    rest().await;
    assert!(!shutdown.is_finished());
    assert!(matches!(
        registry.lease("a").await,
        Err(RegistryError::ShuttingDown)
    ));
    drop(lease);
    shutdown.await.unwrap();
    assert_eq!(fake.alive(), 0);
    assert_eq!(registry.snapshot().memory_bytes, 0);
    registry.shutdown().await;
    assert!(matches!(
        registry.unload("a").await,
        Err(RegistryError::ShuttingDown)
    ));
}

#[tokio::test(start_paused = true)]
async fn without_handles_the_owner_ends_and_frees_everything() {
    let (registry, fake) = registry(limits());
    let lease = registry.lease("a").await.unwrap();
    registry.lease("b").await.unwrap();
    drop(registry);
    rest().await;
    assert_eq!(fake.alive(), 1);
    assert_eq!(&*lease.id, "a");
    drop(lease);
    rest().await;
    assert_eq!(fake.alive(), 0);
}
