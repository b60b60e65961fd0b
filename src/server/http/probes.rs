//! What is served over HTTP: probes and metrics for machines, the page for people.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::server::http::page;
use crate::server::state::{Phase, ServerState};

/// Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All routes.
pub(in crate::server) fn router(state: Arc<ServerState>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .merge(page::router(&state))
        .with_state(state)
}

/// Whether the process answers at all.
async fn livez() -> &'static str {
    "ok\n"
}

/// Whether it should be sent work.
async fn readyz(State(state): State<Arc<ServerState>>) -> (StatusCode, &'static str) {
    match state.phase() {
        Phase::Ready => (StatusCode::OK, "ready\n"),
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Phase::Leaving | Phase::Draining | Phase::Stopped => {
            (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        }
    }
}

async fn metrics(State(state): State<Arc<ServerState>>) -> Response {
    match state.metrics().text() {
        Ok(text) => ([(CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
