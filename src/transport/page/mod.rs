//! The page at `/`: choose an avatar, let it talk, watch the server. Its files are part of the binary.
//!
//! ```text
//! GET /            the page, its styles and modules
//! GET /api/status  models, memory and counters, for the page to poll
//! GET /api/sample  the bundled speech sample
//! GET /api/talk    the WebSocket of one conversation: see `socket`
//! ```

mod socket;
mod status;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Peer;
use super::state::ServerState;
use crate::demo;

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
pub(super) fn router(state: &Arc<ServerState>) -> Router<Arc<ServerState>> {
    let mut router = Router::new()
        .route("/api/status", get(status::status))
        .route("/api/sample", get(sample))
        .route("/api/talk", get(socket::talk));
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

/// A site that made its own name point at this machine must not read along: where nobody is asked for a token, a
/// caller on this machine has to use this machine's own names.
fn check_host(state: &ServerState, request: &Request) -> Result<(), (StatusCode, &'static str)> {
    let peer = request.extensions().get::<ConnectInfo<Peer>>();
    let local = peer.is_some_and(|peer| peer.0.0.ip().to_canonical().is_loopback());
    if state.settings().auth.is_on() || !local {
        return Ok(());
    }
    // HTTP/2 has the host in the address.
    match host(request.headers()).or_else(|| request.uri().host()) {
        Some(host) if is_loopback_name(host) => Ok(()),
        _ => Err((
            StatusCode::FORBIDDEN,
            "open the page under localhost or 127.0.0.1; behind a proxy, set server.tokens_file\n",
        )),
    }
}

/// The header `Host` without its port.
fn host(headers: &HeaderMap) -> Option<&str> {
    let host = headers.get(HOST)?.to_str().ok()?;
    if host.starts_with('[') {
        return host.split_inclusive(']').next();
    }
    host.split(':').next()
}

fn is_loopback_name(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Whether a browser asks for a page of this server; programs send no `Origin`.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else {
        return true;
    };
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_ascii_lowercase);
    let (Some(origin), Some(host)) = (text(origin), headers.get(HOST).and_then(text)) else {
        return false;
    };
    origin
        .split_once("://")
        .is_some_and(|(_, name)| name == host)
}

async fn sample() -> impl IntoResponse {
    ([(CONTENT_TYPE, "audio/flac")], demo::speech_sample())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(axum::http::HeaderName, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn only_this_machines_names_are_its_own() {
        for own in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:8080",
            "127.1.2.3",
            "[::1]:8080",
        ] {
            let headers = headers(&[(HOST, own)]);
            assert!(is_loopback_name(host(&headers).unwrap()), "{own}");
        }
        for foreign in [
            "evil.example:8080",
            "localhost.evil.example",
            "10.0.0.1",
            "[2001:db8::1]:80",
            "",
        ] {
            let headers = headers(&[(HOST, foreign)]);
            assert!(!is_loopback_name(host(&headers).unwrap()), "{foreign}");
        }
    }

    #[test]
    fn a_browser_must_come_from_the_page_itself() {
        let same =
            |origin: &str, host: &str| is_same_origin(&headers(&[(ORIGIN, origin), (HOST, host)]));
        assert!(same("http://localhost:8080", "localhost:8080"));
        assert!(same("https://avatars.example", "Avatars.example"));
        assert!(!same("http://evil.example", "localhost:8080"));
        assert!(!same("http://localhost:9090", "localhost:8080"));
        assert!(!same("null", "localhost:8080"));
        assert!(is_same_origin(&headers(&[(HOST, "localhost:8080")])));
    }

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
        assert!(
            !all.contains("http://") || !page.contains("http://"),
            "nothing from elsewhere"
        );
    }
}
