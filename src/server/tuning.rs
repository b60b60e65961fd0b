//! Measures the plans of loaded models in the background, and has the registry load those anew that gain.
//!
//! A model serves by its network's own graph, or by the plan of an earlier measuring, from its first moment on. What is
//! measured takes effect as any reload does: new leases get the new generation, and a stream or job that has begun keeps
//! the one it has.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::pipeline::Tuner;
use crate::registry::LoadMode;
use crate::server::state::ServerState;

/// How often newly loaded models are looked for.
const LOOK: Duration = Duration::from_secs(5);

/// Measures for as long as the server runs.
pub(super) async fn run(state: Arc<ServerState>, tuner: Tuner) {
    let mut done = HashSet::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let registry = state.registry();
        let snapshot = registry.snapshot();
        let left = snapshot
            .max_memory_bytes
            .saturating_sub(snapshot.memory_bytes);
        for model in snapshot.models.iter().filter(|model| model.loaded()) {
            let Some(spec) = registry.spec(&model.id) else {
                continue;
            };
            let network = spec.payload.model_path.clone();
            if done.contains(&network) || !tuner.wants(&spec.payload) {
                continue;
            }
            let bytes = Tuner::memory_bytes(&spec.payload);
            if bytes > left {
                tracing::debug!(model = %model.id, bytes, left, "no room to measure plans in");
                continue;
            }
            let before = tuner.plan(&spec.payload);
            match tuner.tune(&spec.payload).await {
                Ok(Some(tuned)) => {
                    tracing::info!(model = %model.id, plan = %tuned.plan, gain = tuned.gain, "plan measured");
                    if tuned.plan != before {
                        reload(&state, &network).await;
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(model = %model.id, %error, "plans cannot be measured"),
            }
            // Whatever came of it: not again before the next start.
            done.insert(network);
            // The picture is old by now.
            break;
        }
    }
}

/// Loads anew what runs this network.
async fn reload(state: &ServerState, network: &std::path::Path) {
    let registry = state.registry();
    for model in registry
        .snapshot()
        .models
        .iter()
        .filter(|model| model.loaded())
    {
        let runs_it = registry
            .spec(&model.id)
            .is_some_and(|spec| spec.payload.model_path == network);
        if !runs_it {
            continue;
        }
        if let Err(error) = registry.load(&model.id, LoadMode::Replace).await {
            tracing::warn!(model = %model.id, %error, "the model keeps its plan: it cannot be loaded anew");
        }
    }
}
