//! `GET /api/status`: what the page shows of the server.

use std::sync::Arc;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::registry::ModelSnapshot;
use crate::server::connections::Peer;
use crate::server::state::{Phase, ServerState};

/// The server in a few figures.
#[derive(Serialize)]
struct Status {
    version: &'static str,
    engine: &'static str,
    engine_version: String,
    phase: &'static str,
    ready: bool,
    /// Frames inferred since the start.
    frames: u64,
    streams: usize,
    max_streams: usize,
    loaded_models: usize,
    max_models: usize,
    memory_bytes: u64,
    max_memory_bytes: u64,
    models: Vec<Model>,
}

#[derive(Serialize)]
struct Model {
    id: String,
    status: &'static str,
    loaded: bool,
    leases: usize,
    memory_bytes: u64,
    frames: u64,
    fps: u32,
    /// Whether speech can drive it.
    hears: bool,
}

pub(super) async fn status(
    State(state): State<Arc<ServerState>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    headers: HeaderMap,
) -> Response {
    let settings = state.settings();
    let caller = match settings.auth.caller(&headers, Some(peer)) {
        Ok(caller) => caller,
        Err(failure) => return (StatusCode::UNAUTHORIZED, failure.to_string()).into_response(),
    };
    let snapshot = state.registry().snapshot();
    let phase = state.phase();
    let models = snapshot
        .models
        .iter()
        .filter(|model| caller.may_use(&model.id))
        .filter_map(|model| self::model(&state, model))
        .collect();
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        engine: state.engine().name,
        engine_version: state.engine().version.clone(),
        phase: match phase {
            Phase::Starting => "starting",
            Phase::Ready => "ready",
            Phase::Leaving | Phase::Draining => "draining",
            Phase::Stopped => "stopped",
        },
        ready: phase == Phase::Ready,
        frames: state.metrics().frames(),
        streams: state.streams_now(),
        max_streams: settings.config.server.max_streams,
        loaded_models: snapshot.loaded_models,
        max_models: snapshot.max_models,
        memory_bytes: snapshot.memory_bytes,
        max_memory_bytes: snapshot.max_memory_bytes,
        models,
    })
    .into_response()
}

fn model(state: &ServerState, model: &ModelSnapshot) -> Option<Model> {
    let spec = state.registry().spec(&model.id)?;
    Some(Model {
        id: model.id.to_string(),
        status: model.status.name(),
        loaded: model.loaded(),
        leases: model.leases,
        memory_bytes: model.stats.memory_bytes,
        frames: model.stats.usage_count,
        fps: spec.payload.fps,
        hears: spec.payload.audio_encoder_path.is_some(),
    })
}
