//! The page at `/`: choose an avatar, let it talk, watch the server. Its files are part of the binary.
//!
//! ```text
//! GET /            the page, its styles and modules
//! GET /api/status  models, memory and counters, for the page to poll
//! GET /api/sample  the bundled speech sample
//! GET /api/talk    the WebSocket of one conversation: see `socket`
//! ```

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::origin::check_host;
use crate::demo;
use crate::server::state::ServerState;

/// Nothing but the page's own files, and no page around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page's files: path, type, content.
const FILES: [(&str, &str, &str); 7] = [
    (
        "/",
        "text/html; charset=utf-8",
        include_str!("assets/index.html"),
    ),
    (
        "/style.css",
        "text/css; charset=utf-8",
        include_str!("assets/style.css"),
    ),
    ("/app.js", SCRIPT, include_str!("assets/app.js")),
    ("/talk.js", SCRIPT, include_str!("assets/talk.js")),
    ("/speech.js", SCRIPT, include_str!("assets/speech.js")),
    ("/recorder.js", SCRIPT, include_str!("assets/recorder.js")),
    (
        "/icon.svg",
        "image/svg+xml",
        include_str!("assets/icon.svg"),
    ),
];
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The page's routes.
pub(in crate::server) fn router(state: &Arc<ServerState>) -> Router<Arc<ServerState>> {
    let mut router = Router::new()
        .route("/api/status", get(super::status::status))
        .route("/api/sample", get(sample))
        .route("/api/talk", get(super::socket::talk));
    for (path, kind, content) in FILES {
        router = router.route(
            path,
            get(move || async move { ([(CONTENT_TYPE, kind)], content) }),
        );
    }
    router.layer(from_fn_with_state(Arc::clone(state), guard))
}

/// Refuses requests under a foreign name, and tells browsers to be strict.
async fn guard(State(state): State<Arc<ServerState>>, request: Request, next: Next) -> Response {
    if let Err(refused) = check_host(&state, &request) {
        return refused.into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn sample() -> impl IntoResponse {
    ([(CONTENT_TYPE, "audio/flac")], demo::speech_sample())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_the_page_names_is_served() {
        let page = FILES[0].2;
        let all: String = FILES.iter().map(|file| file.2).collect();
        for (path, _, _) in &FILES[1..] {
            assert!(all.contains(&path[1..]), "{path} is used");
        }
        for attribute in ["src=\"", "href=\""] {
            for used in page.split(attribute).skip(1) {
                let name = used.split('"').next().unwrap();
                let served = FILES.iter().any(|file| file.0[1..] == *name);
                assert!(served || name.starts_with('#'), "{name}");
            }
        }
        // A namespace is a name, not an address.
        let all = all.replace("http://www.w3.org/2000/svg", "");
        for scheme in ["http://", "https://", "src=\"//", "url(//"] {
            assert!(!all.contains(scheme), "{scheme}: nothing from elsewhere");
        }
    }
}
