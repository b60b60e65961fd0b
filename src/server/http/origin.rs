//! Whose page a request comes from, and under which name this server was called.

use std::net::IpAddr;

use axum::extract::{ConnectInfo, Request};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, StatusCode};

use crate::server::connections::Peer;
use crate::server::state::ServerState;

/// A site that made its own name point at this machine must not read along: where nobody is asked for a token, a
/// caller on this machine has to use this machine's own names.
pub(super) fn check_host(
    state: &ServerState,
    request: &Request,
) -> Result<(), (StatusCode, &'static str)> {
    if state.settings().auth.is_on() || is_called_by_its_name(request) {
        return Ok(());
    }
    Err((
        StatusCode::FORBIDDEN,
        "open the page under localhost or 127.0.0.1; behind a proxy, set server.tokens_file\n",
    ))
}

/// Whether a caller on this machine uses this machine's own names; others may use any.
pub(super) fn is_called_by_its_name(request: &Request) -> bool {
    let peer = request.extensions().get::<ConnectInfo<Peer>>();
    let local = peer.is_some_and(|peer| peer.0.0.ip().to_canonical().is_loopback());
    // HTTP/2 has the host in the address.
    let host = host(request.headers()).or_else(|| request.uri().host());
    !local || host.is_some_and(is_loopback_name)
}

/// The header `Host` without its port.
pub(super) fn host(headers: &HeaderMap) -> Option<&str> {
    let host = headers.get(HOST)?.to_str().ok()?;
    if host.starts_with('[') {
        return host.split_inclusive(']').next();
    }
    host.split(':').next()
}

pub(super) fn is_loopback_name(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Whether a browser asks for a page of this server; programs send no `Origin`.
pub(super) fn is_same_origin(headers: &HeaderMap) -> bool {
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
}
