//! The periodic report in the log.

use std::time::SystemTime;

use super::stats::Snapshot;

/// Logs one line for the registry and one for each model that is loaded or was used.
pub fn log_report(snapshot: &Snapshot) {
    tracing::info!(
        loaded = snapshot.loaded_models,
        max_models = snapshot.max_models,
        memory_mb = megabytes(snapshot.memory_bytes),
        max_memory_mb = megabytes(snapshot.max_memory_bytes),
        waiting = snapshot.waiting,
        loads = snapshot.counters.loads,
        load_failures = snapshot.counters.load_failures,
        evictions = snapshot.counters.unloads.evicted,
        "registry report"
    );
    let now = SystemTime::now();
    for model in &snapshot.models {
        let stats = &model.stats;
        if !model.loaded() && stats.usage_count == 0 {
            continue;
        }
        let idle = stats.last_used.and_then(|at| now.duration_since(at).ok());
        let average = stats.average_inference_time();
        tracing::info!(
            model = %model.id,
            status = model.status.name(),
            leases = model.leases,
            memory_mb = megabytes(stats.memory_bytes),
            usage = stats.usage_count,
            last_used_seconds_ago = idle.map(|idle| idle.as_secs_f64()),
            average_inference_ms = average.map(|time| time.as_secs_f64() * 1e3),
            "model report"
        );
    }
}

/// Bytes as whole MiB, for people.
pub(super) fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}
