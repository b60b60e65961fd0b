//! Who may see what is counted.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::common::avatars;
use crate::common::process::{Server, get};

/// The status of `GET path` under another name.
fn under(address: SocketAddr, host: &str, path: &str) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn metrics_have_a_port_of_their_own() {
    let folder = avatars::plain(&["red"]);
    let server = Server::start(&folder);
    assert_eq!(server.get("/metrics").0, 404);
    let (status, page) = get(server.metrics, "/metrics");
    assert_eq!(status, 200);
    assert!(page.contains("lipsync_build_info"), "{page}");
    assert!(server.metric("lipsync_process_resident_bytes") > Some(1 << 20));
    for (port, name) in [(server.http, "page"), (server.metrics, "metrics")] {
        assert_eq!(get(port, "/livez").0, 200, "{name}");
        assert_eq!(get(port, "/readyz").0, 200, "{name}");
    }
    // The page is not on it.
    assert_eq!(get(server.metrics, "/").0, 404);
    // A site whose name points here reads nothing, with tokens or without.
    assert_eq!(under(server.metrics, "evil.example", "/metrics"), 403);
    assert_eq!(under(server.metrics, "evil.example", "/livez"), 200);
    server.stop();
}

#[test]
fn tokens_open_the_metrics_to_no_other_name() {
    let folder = avatars::with_server(&["red"], "tokens_file: tokens");
    let token = "admin ops fedcba9876543210\n";
    std::fs::write(folder.path().join("tokens"), token).unwrap();
    let server = Server::start(&folder);
    assert_eq!(under(server.metrics, "evil.example", "/metrics"), 403);
    assert_eq!(get(server.metrics, "/metrics").0, 200);
    server.stop();
}

/// Probes are answered beside a page's port that takes nobody any more.
#[test]
fn a_full_page_leaves_the_probes_alone() {
    let folder = avatars::with_server(&["red"], "max_connections: 4");
    let server = Server::start(&folder);
    let idle: Vec<_> = [server.http, server.grpc]
        .into_iter()
        .flat_map(|address| (0..6).map(move |_| TcpStream::connect(address).unwrap()))
        .collect();
    assert_eq!(get(server.metrics, "/livez").0, 200);
    assert_eq!(get(server.metrics, "/readyz").0, 200);
    drop(idle);
    server.stop();
}
