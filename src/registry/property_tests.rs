//! Random events: no illegal state, the victim a naive model names, and bounds that always hold.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tokio::time::{advance, timeout};

use super::ledger::evict::{Candidate, Frequency, victim};
use super::ledger::state::{Event, Reason, State};
use super::lifecycle_tests::{Fake, FakeModel, Fate, MB, Plan, limits, spec};
use super::*;

type Lifecycle = State<u32, u32>;

const EVENTS: [&str; 7] = [
    "begin",
    "loaded",
    "load failed",
    "abandon",
    "drain",
    "released",
    "forget",
];

fn event(name: &str) -> Event<u32, u32> {
    match name {
        "begin" => Event::Begin(1),
        "loaded" => Event::Loaded(2),
        "load failed" => Event::LoadFailed(LoadError::new("broken", "broken")),
        "abandon" => Event::Abandon,
        "drain" => Event::Drain(Reason::Evicted),
        "released" => Event::Released,
        _ => Event::Forget,
    }
}

/// The diagram of `state.rs` as a list of its edges; a failed reload is told from a ready model by `failed_reload`.
fn edge(state: &str, failed_reload: bool, event: &str) -> Option<&'static str> {
    match (state, event) {
        ("unloaded" | "failed", "begin") => Some("loading"),
        ("failed", "forget") | ("loading", "abandon") | ("draining", "released") => {
            Some("unloaded")
        }
        ("loading", "load failed") => Some("failed"),
        ("ready", "begin") => Some("reloading"),
        ("ready", "drain") => Some("draining"),
        ("ready", "forget") if failed_reload => Some("ready"),
        ("loading", "loaded") | ("reloading", "loaded" | "load failed" | "abandon") => {
            Some("ready")
        }
        _ => None,
    }
}

proptest! {
    #[test]
    fn only_the_edges_of_the_diagram_exist(
        events in proptest::collection::vec(proptest::sample::select(&EVENTS[..]), 0..60)
    ) {
        let mut state = Lifecycle::Unloaded;
        let (now, limits) = (Instant::now(), Limits::default());
        for name in events {
            let before = state.name();
            let failed_reload = before == "ready" && state.failure().is_some();
            let held = state.generation().copied();
            let result = state.step(event(name), now, &limits);
            match edge(before, failed_reload, name) {
                None => {
                    prop_assert!(result.is_err(), "{} took {}", before, name);
                    prop_assert_eq!(state.name(), before);
                    prop_assert_eq!(state.generation().copied(), held);
                }
                Some(after) => {
                    let left = result.unwrap();
                    prop_assert_eq!(state.name(), after);
                    // A generation is either still there or handed out, never lost.
                    let gone = held.is_some() && state.generation().copied() != held;
                    prop_assert_eq!(left.generation.is_some(), gone || name == "loaded" && held.is_some());
                    // A load that ends gives its ticket back, so that its callers get an answer.
                    let ends = matches!(name, "loaded" | "load failed" | "abandon");
                    prop_assert_eq!(left.ticket.is_some(), ends);
                }
            }
        }
    }

    #[test]
    fn the_victim_is_the_one_a_naive_model_names(
        uses in proptest::collection::vec(
            proptest::collection::vec((0_u64..5000, 1_u64..50), 1..8), 0..8),
        lfu: bool,
    ) {
        let start = Instant::now();
        let half_life = Duration::from_mins(10);
        let policy = if lfu { Policy::Lfu { half_life } } else { Policy::Lru };
        let now = start + Duration::from_secs(5000);
        let sorted: Vec<Vec<(u64, u64)>> = uses
            .into_iter()
            .map(|mut uses| { uses.sort_unstable(); uses })
            .collect();
        let candidates = sorted.iter().enumerate().map(|(key, uses)| {
            let mut frequency = Frequency::default();
            for (at, frames) in uses {
                frequency.add(*frames, start + Duration::from_secs(*at), half_life);
            }
            let last = start + Duration::from_secs(uses[uses.len() - 1].0);
            Candidate { key, last_used: last, frequency }
        });
        let named = victim(policy, now, candidates);
        // The definition, frame by frame.
        let score = |uses: &[(u64, u64)]| -> f64 {
            uses.iter().map(|(at, frames)| *frames as f64 * (-((5000 - at) as f64) / 600.0).exp2()).sum()
        };
        let last = |uses: &[(u64, u64)]| uses[uses.len() - 1].0;
        prop_assert_eq!(named.is_some(), !sorted.is_empty());
        if let Some(named) = named {
            let named = &sorted[named];
            for other in &sorted {
                if lfu {
                    prop_assert!(score(named) <= score(other) * (1.0 + 1e-9));
                } else {
                    prop_assert!(last(named) <= last(other));
                }
            }
        }
    }
}

/// What can happen to a registry from outside.
#[derive(Clone, Debug)]
enum Op {
    Lease(usize),
    Release(usize),
    Use(usize, u64),
    Load(usize, bool),
    Unload(usize),
    Plan(usize, u64, Option<Fate>),
    Configure(u32, usize),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let id = 0_usize..4;
    let fate = prop_oneof![
        6 => Just(None),
        1 => Just(Some(Fate::Invalid)),
        1 => Just(Some(Fate::Broken)),
    ];
    prop_oneof![
        6 => id.clone().prop_map(Op::Lease),
        5 => (0_usize..8).prop_map(Op::Release),
        2 => (0_usize..8, 1_u64..20).prop_map(|(lease, frames)| Op::Use(lease, frames)),
        2 => (id.clone(), any::<bool>()).prop_map(|(id, force)| Op::Load(id, force)),
        2 => id.clone().prop_map(Op::Unload),
        2 => (id, 1_u64..70, fate).prop_map(|(id, mb, fate)| Op::Plan(id, mb, fate)),
        1 => (1_u32..4, 2_usize..5).prop_map(|(version, models)| Op::Configure(version, models)),
        2 => (1_u64..40).prop_map(Op::Wait),
    ]
}

const IDS: [&str; 4] = ["a", "b", "c", "d"];

async fn live(ops: Vec<Op>) {
    let fake = Fake::default();
    let bounds = Limits {
        idle_unload: Some(Duration::from_secs(30)),
        eviction_wait: Duration::from_secs(1),
        ..limits()
    };
    let specs = IDS.map(|id| spec(id, 1)).into();
    let registry = Registry::start(fake.clone(), specs, bounds.clone()).unwrap();
    let mut leases: Vec<Lease<FakeModel>> = Vec::new();
    for op in ops {
        // An answer may need a lease to end first: after a while the caller gives up, which must leave no trace.
        let patience = Duration::from_secs(3);
        match op {
            Op::Lease(id) => {
                if let Ok(Ok(lease)) = timeout(patience, registry.lease(IDS[id])).await {
                    assert_eq!(&*lease.id, IDS[id]);
                    leases.push(lease);
                }
            }
            Op::Release(lease) if lease < leases.len() => drop(leases.swap_remove(lease)),
            Op::Use(lease, frames) if lease < leases.len() => {
                leases[lease].record(frames, Duration::from_millis(frames));
            }
            Op::Release(_) | Op::Use(..) => {}
            Op::Load(id, force) => {
                let mode = if force {
                    LoadMode::Replace
                } else {
                    LoadMode::IfAbsent
                };
                let _ = timeout(patience, registry.load(IDS[id], mode)).await;
            }
            Op::Unload(id) => {
                let _ = timeout(patience, registry.unload(IDS[id])).await;
            }
            Op::Plan(id, mb, fate) => fake.plan(
                IDS[id],
                Plan {
                    estimate: mb * MB / 2,
                    measured: mb * MB,
                    settled: (mb % 2 == 0).then_some(mb * MB / 4),
                    fate: fate.unwrap_or(Fate::Loads),
                    gated: false,
                },
            ),
            Op::Configure(version, models) => {
                let specs = IDS[..models].iter().map(|id| spec(id, version)).collect();
                registry.reconfigure(specs, bounds.clone()).await.unwrap();
            }
            Op::Wait(seconds) => advance(Duration::from_secs(seconds)).await,
        }
        let now = registry.snapshot();
        assert!(now.resident_models <= bounds.max_models, "{now:?}");
        // What was let in never passes the bound; what turned out larger than estimated may, until it is dropped.
        assert!(
            now.memory_bytes - now.unplaced_bytes <= bounds.max_memory_bytes,
            "{now:?}"
        );
        let counted: usize = now.models.iter().map(|model| model.leases).sum();
        assert!(counted >= leases.len(), "{now:?}");
        for lease in &leases {
            let model = now.model(&lease.id).unwrap();
            // 0: what serves was unloaded, and what is leased was replaced before that.
            let newer = model.generation == 0 || model.generation >= lease.generation();
            assert!(newer && model.leases > 0, "{model:?}");
        }
    }
    leases.clear();
    // At rest nothing is unplaced, and the bound holds for all that is there.
    for id in IDS {
        let _ = timeout(Duration::from_mins(1), registry.unload(id)).await;
    }
    let rest = registry.snapshot();
    assert_eq!(rest.unplaced_bytes, 0, "{rest:?}");
    assert!(rest.memory_bytes <= bounds.max_memory_bytes, "{rest:?}");
    registry.shutdown().await;
    assert_eq!(fake.0.alive.load(Ordering::SeqCst), 0, "models left behind");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn bounds_hold_and_nothing_is_left_behind(ops in proptest::collection::vec(op(), 1..60)) {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(live(ops));
    }
}
