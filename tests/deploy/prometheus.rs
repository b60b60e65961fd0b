//! Alerts and the dashboard: valid, and about figures that the server has.

use std::collections::BTreeSet;

use crate::common::avatars;
use crate::common::process::{Server, batch, get};
use crate::{file, run, well};

#[test]
fn promtool_finds_no_fault_with_the_alerts() {
    let rules = file("prometheus/lipsync.rules.yaml");
    if let Some(output) = run("promtool", &["check", "rules", rules.to_str().unwrap()]) {
        well(&output);
    }
}

#[test]
fn the_alerts_fire_when_they_should_and_only_then() {
    let tests = file("prometheus/lipsync.rules.test.yaml");
    if let Some(output) = run("promtool", &["test", "rules", tests.to_str().unwrap()]) {
        well(&output);
    }
    let rules = std::fs::read_to_string(file("prometheus/lipsync.rules.yaml")).unwrap();
    let tests = std::fs::read_to_string(tests).unwrap();
    for line in rules.lines() {
        if let Some(name) = line.trim().strip_prefix("- alert: ") {
            assert!(tests.contains(name), "{name} is not tested");
        }
    }
}

/// The names of our own metrics in a text, without what a histogram's parts are called.
fn metrics(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_lowercase() || c == '_';
    text.split(|c: char| !word(c))
        .filter(|name| name.starts_with("lipsync_"))
        .map(|name| {
            ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|part| name.strip_suffix(part))
                .unwrap_or(name)
                .to_owned()
        })
        .collect()
}

/// The metrics that docs/server.md lists, with our prefix.
fn documented() -> BTreeSet<String> {
    let page = include_str!("../../docs/server.md");
    let (_, table) = page.split_once("| metric | labels |\n|---|---|\n").unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| row.split('|').nth(1))
        .flat_map(|names| names.split('`').skip(1).step_by(2))
        .map(|name| format!("lipsync_{name}"))
        .collect()
}

#[test]
fn every_metric_that_is_looked_at_is_documented() {
    let there = documented();
    for name in [
        "prometheus/lipsync.rules.yaml",
        "grafana/lipsync.json",
        "kubernetes/autoscaler.yaml",
    ] {
        let looked_at = metrics(&std::fs::read_to_string(file(name)).unwrap());
        assert!(!looked_at.is_empty(), "{name}");
        let missing: Vec<_> = looked_at.difference(&there).collect();
        assert!(missing.is_empty(), "{name}: {missing:?}");
    }
}

/// What is documented is there as soon as there is something to count, and nothing else is.
#[tokio::test]
async fn the_server_has_the_metrics_that_are_documented() {
    let folder = avatars::plain(&["red"]);
    let server = Server::start(&folder);
    let mut client = server.client().await;
    client.infer_batch_composite(batch("red", 1)).await.unwrap();
    let (status, page) = get(server.metrics, "/metrics");
    assert_eq!(status, 200);
    let documented = documented();
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    let there: BTreeSet<String> = metrics(&samples.collect::<Vec<_>>().join("\n"));
    let unknown: Vec<_> = there
        .iter()
        .map(|name| name.strip_suffix("_info").unwrap_or(name))
        .map(|name| {
            if name == "lipsync_build" {
                "lipsync_build_info"
            } else {
                name
            }
        })
        .filter(|name| !documented.contains(*name))
        .collect();
    assert!(unknown.is_empty(), "not documented: {unknown:?}");
    assert!(there.contains("lipsync_frames_total"), "{there:?}");
}

#[test]
fn the_dashboard_is_json_with_a_query_a_panel() {
    let text = std::fs::read_to_string(file("grafana/lipsync.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() >= 10);
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            assert!(query.contains("lipsync_"), "{title}: {query}");
            // promtool knows no variables of the dashboard.
            let query = query.replace("$__rate_interval", "5m");
            if let Some(output) = run("promtool", &["query", "--help"]) {
                well(&output);
                parse(&query);
            }
        }
    }
}

/// A query's syntax, by a rule file made of it.
fn parse(query: &str) {
    let dir = tempfile::tempdir().unwrap();
    let rules = dir.path().join("rules.yaml");
    let query = serde_json::to_string(query).unwrap();
    let text = format!("groups: [{{name: a, rules: [{{record: a, expr: {query}}}]}}]\n");
    std::fs::write(&rules, text).unwrap();
    let output = run("promtool", &["check", "rules", rules.to_str().unwrap()]);
    well(&output.unwrap());
}
