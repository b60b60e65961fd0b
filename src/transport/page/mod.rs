//! The page at `/`.

use std::sync::Arc;

use axum::Router;

use super::state::ServerState;

/// The page's routes.
pub(super) fn router() -> Router<Arc<ServerState>> {
    Router::new()
}
