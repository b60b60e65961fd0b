//! What is served over HTTP: the page for people, and on a port of their own probes and metrics for machines.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Mutex;

use crate::server::http::origin::is_called_by_its_name;
use crate::server::http::page::router;
use crate::server::state::{Phase, ServerState};

/// Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The page, and the probes.
pub(in crate::server) fn page(state: Arc<ServerState>) -> Router {
    probes().merge(router(&state)).with_state(state)
}

/// The metrics, and the probes.
pub(in crate::server) fn metrics(state: Arc<ServerState>) -> Router {
    let alone = Arc::new(Mutex::new(()));
    let metrics = get(move |State(state), request| measure(state, request, Arc::clone(&alone)));
    probes().route("/metrics", metrics).with_state(state)
}

fn probes() -> Router<Arc<ServerState>> {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
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

/// Everything that is counted. Gathering it locks and asks the system, so it is done off the async threads and by one
/// scrape at a time; however many ask, calls do not wait for them.
async fn measure(state: Arc<ServerState>, request: Request, alone: Arc<Mutex<()>>) -> Response {
    if !is_called_by_its_name(&request) {
        let problem = "ask under localhost or 127.0.0.1\n";
        return (StatusCode::FORBIDDEN, problem).into_response();
    }
    let alone = alone.lock_owned().await;
    let text = tokio::task::spawn_blocking(move || {
        let text = state.metrics().text();
        drop(alone);
        text
    });
    match text.await {
        Ok(Ok(text)) => ([(CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
