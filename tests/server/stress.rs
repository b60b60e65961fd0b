//! Everything at once: more models than fit, callers that give up, reloads, unloads and a configuration that changes,
//! while every frame must be its own model's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lipsync::wire;
use lipsync::wire::multi_tenant_lip_sync_client::MultiTenantLipSyncClient;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::common::avatars::{FRAMES, Folder};
use crate::common::process::{Server, batch, strict};
use crate::common::{Noise, eventually};

const MODELS: [&str; 4] = ["red", "green", "blue", "dim"];
const CALLERS: u64 = 16;
const DURATION: Duration = Duration::from_secs(15);

/// The frame of every model on every background, made while nothing else happened.
type Expected = BTreeMap<&'static str, Vec<Bytes>>;

/// What happened, all callers together.
#[derive(Debug, Default)]
struct Tally {
    frames: AtomicU64,
    cancelled: AtomicU64,
    full: AtomicU64,
    loads: AtomicU64,
    unloads: AtomicU64,
}

impl Tally {
    fn count(counter: &AtomicU64, by: usize) {
        counter.fetch_add(by as u64, Ordering::Relaxed);
    }
}

fn rgb(model: &str, size: usize, start: usize) -> wire::CompositeBatchRequest {
    wire::CompositeBatchRequest {
        start_frame_idx: start as i32,
        output_format: wire::ImageFormat::Rgb.into(),
        ..batch(model, size as i32)
    }
}

async fn expected(client: &mut MultiTenantLipSyncClient<Channel>) -> Expected {
    let mut all = Expected::new();
    for model in MODELS {
        let answer = client.infer_batch_composite(rgb(model, FRAMES, 0)).await;
        let answer = answer.unwrap().into_inner();
        assert!(answer.success, "{}", answer.error);
        all.insert(model, answer.composited_frames);
    }
    // Told apart by their colour.
    let first: Vec<_> = all.values().map(|frames| &frames[0][..3]).collect();
    for (index, colour) in first.iter().enumerate() {
        assert!(!first[..index].contains(colour));
    }
    all
}

/// The only refusals that are nobody's fault: no room just now.
fn is_full(status: &Status) -> bool {
    status.code() == Code::ResourceExhausted
}

/// One caller: frames mostly, sometimes given up; reloads and unloads now and then.
async fn call(
    mut client: MultiTenantLipSyncClient<Channel>,
    seed: u64,
    expected: Arc<Expected>,
    tally: Arc<Tally>,
    end: Instant,
) {
    let mut noise = Noise(seed);
    while Instant::now() < end {
        let model = MODELS[noise.below(MODELS.len())];
        match noise.below(20) {
            0 => {
                let request = wire::LoadModelRequest {
                    model_id: model.to_owned(),
                    force_reload: true,
                };
                match client.load_model(strict(request)).await {
                    Ok(_) => Tally::count(&tally.loads, 1),
                    Err(status) if is_full(&status) => Tally::count(&tally.full, 1),
                    Err(status) => panic!("loading {model}: {status:?}"),
                }
            }
            1 => {
                let request = wire::UnloadModelRequest {
                    model_id: model.to_owned(),
                };
                let unloaded = client.unload_model(strict(request)).await;
                unloaded.unwrap_or_else(|status| panic!("unloading {model}: {status:?}"));
                Tally::count(&tally.unloads, 1);
            }
            dice => {
                let (size, start) = (1 + noise.below(3), noise.below(50));
                // A fifth of the callers lose patience somewhere on the way.
                let patience = if dice < 6 {
                    Duration::from_millis(noise.below(400) as u64)
                } else {
                    Duration::from_mins(2)
                };
                let answer = client.infer_batch_composite(strict(rgb(model, size, start)));
                match timeout(patience, answer).await {
                    Err(_) => Tally::count(&tally.cancelled, 1),
                    Ok(Err(status)) if is_full(&status) => Tally::count(&tally.full, 1),
                    Ok(Err(status)) => panic!("frames of {model}: {status:?}"),
                    Ok(Ok(answer)) => {
                        check(model, size, start, &answer.into_inner(), &expected);
                        Tally::count(&tally.frames, size);
                    }
                }
            }
        }
    }
}

fn check(
    model: &str,
    size: usize,
    start: usize,
    answer: &wire::CompositeBatchResponse,
    expected: &Expected,
) {
    assert_eq!(answer.composited_frames.len(), size);
    for (place, frame) in answer.composited_frames.iter().enumerate() {
        let background = answer.background_indices[place] as usize;
        // Ping-pong over three backgrounds.
        assert_eq!(background, [0, 1, 2, 1][(start + place) % 4]);
        if frame == &expected[model][background] {
            continue;
        }
        let whose = expected.iter().find(|(_, frames)| frames.contains(frame));
        panic!(
            "frame {place} of {model} is {}",
            whose.map_or("nobody's", |(other, _)| other)
        );
    }
}

/// Rewrites the configuration and has it read again, with another estimate for one model each time.
async fn reconfigure(server: Arc<Server>, folder: Arc<Folder>, end: Instant) -> usize {
    let mut noise = Noise(99);
    let mut times = 0;
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(700)).await;
        configure(&folder, noise.below(MODELS.len()), times % 30);
        server.signal("HUP");
        times += 1;
    }
    times
}

fn configure(folder: &Folder, which: usize, estimate_mb: usize) {
    let estimate = format!("memory_estimate_mb: {estimate_mb}");
    let models: Vec<_> = MODELS
        .iter()
        .enumerate()
        .map(|(index, id)| {
            (
                *id,
                if index == which {
                    estimate.as_str()
                } else {
                    ""
                },
            )
        })
        .collect();
    folder.configure("", "eviction_wait_seconds: 2", &models, "");
}

/// Looks at the budgets all the while.
async fn watch(mut client: MultiTenantLipSyncClient<Channel>, over: Arc<AtomicBool>) -> usize {
    let mut looks = 0;
    while !over.load(Ordering::Relaxed) {
        let stats = client
            .get_model_stats(wire::GetModelStatsRequest::default())
            .await;
        let stats = stats.unwrap().into_inner();
        assert!(stats.loaded_models <= stats.max_models, "{stats:?}");
        assert!(
            stats.total_memory_bytes <= stats.max_memory_bytes,
            "{stats:?}"
        );
        let resident = stats.models.iter().filter(|model| {
            let bytes = model.lifetime_stats.map_or(0, |stats| stats.memory_bytes);
            bytes > 0
        });
        assert!(resident.count() <= stats.max_models as usize, "{stats:?}");
        looks += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    looks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_foreign_frame_no_unexplained_failure_and_nothing_left_behind() {
    let folder = Arc::new(Folder::new(&MODELS));
    configure(&folder, 0, 0);
    let server = Arc::new(Server::start(&folder));
    let mut client = server.client().await;
    let expected = Arc::new(expected(&mut client).await);
    let (tally, over) = (Arc::new(Tally::default()), Arc::new(AtomicBool::new(false)));
    let end = Instant::now() + DURATION;
    let watching = tokio::spawn(watch(server.client().await, Arc::clone(&over)));
    let changing = tokio::spawn(reconfigure(Arc::clone(&server), Arc::clone(&folder), end));
    let mut callers = tokio::task::JoinSet::new();
    for seed in 0..CALLERS {
        let client = server.client().await;
        let (expected, tally) = (Arc::clone(&expected), Arc::clone(&tally));
        callers.spawn(call(client, seed, expected, tally, end));
    }
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    let reloads = changing.await.unwrap();
    over.store(true, Ordering::Relaxed);
    let looks = watching.await.unwrap();

    eventually("nothing is in use", async || {
        let stats = client
            .get_model_stats(wire::GetModelStatsRequest::default())
            .await;
        let stats = stats.unwrap().into_inner();
        let leases: i32 = stats.models.iter().map(|model| model.leases).sum();
        (leases == 0 && server.info().await.requests_in_progress == 0).then_some(())
    })
    .await;
    let queued: u64 = MODELS
        .iter()
        .filter_map(|id| server.metric(&format!(r#"lipsync_queue_frames{{model="{id}"}}"#)))
        .sum();
    assert!(queued == 0, "{queued} frames still queued");
    let info = server.info().await;
    println!("{tally:?}, {reloads} reloads, {looks} looks, {info:?}");
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    assert!(count(&tally.frames) > 20 && count(&tally.cancelled) > 0);
    assert!(count(&tally.unloads) > 0 && count(&tally.loads) + count(&tally.full) > 0);
    assert!(info.evictions > 0 && info.load_failures == 0, "{info:?}");
    let server = Arc::into_inner(server).unwrap();
    let log = server.stop();
    for bad in ["panicked", "illegal", "ERROR"] {
        assert!(!log.contains(bad), "{log}");
    }
}
