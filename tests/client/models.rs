//! `models` and `stats`, looking once.

use serde_json::Value;

use crate::common::{avatars, process::Server};
use crate::{json, lipsync, run, url};

/// The fields of `value`, sorted.
fn fields(value: &Value) -> Vec<&str> {
    let mut fields: Vec<_> = value.as_object().unwrap().keys().collect();
    fields.sort();
    fields.into_iter().map(String::as_str).collect()
}

#[test]
fn models_are_listed_loaded_and_unloaded() {
    let folder = avatars::plain(&["sanders", "bob"]);
    let server = Server::start(&folder);
    let url = url(&server);
    let server = ["--server", &url];
    let list = || json(lipsync(&["models", "list"]).args(server));

    let before = list();
    assert_eq!(before["server"], url.as_str());
    let ids: Vec<_> = before["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["id"])
        .collect();
    assert_eq!(ids, ["sanders", "bob"]);
    assert_eq!(before["models"][0]["status"], "unloaded");
    assert_eq!(before["models"][0]["loaded"], false);

    let loaded = json(lipsync(&["models", "load", "bob"]).args(server));
    assert_eq!(loaded["models"][0]["id"], "bob");
    assert_eq!(loaded["models"][0]["done"], true);
    assert!(loaded["models"][0]["load_time_ms"].as_f64().unwrap() > 0.0);
    assert!(
        loaded["models"][0]["figures"]["memory_bytes"]
            .as_u64()
            .unwrap()
            > 0
    );

    let (text, _) = run(
        lipsync(&["models", "load", "bob", "sanders"]).args(server),
        0,
    );
    assert!(text.contains("bob: loaded already"), "{text}");
    assert!(text.contains("sanders: loaded in"), "{text}");
    run(
        lipsync(&["models", "load", "bob", "--force"]).args(server),
        0,
    );
    assert_eq!(list()["models"][1]["generation"], 2);
    let (table, _) = run(lipsync(&["models", "list"]).args(server), 0);
    assert_eq!(table.matches("ready").count(), 2, "{table}");
    assert!(table.contains("96x64"), "{table}");

    let (text, _) = run(
        lipsync(&["models", "unload", "bob", "sanders"]).args(server),
        0,
    );
    assert_eq!(text, "bob: unloaded\nsanders: unloaded\n");
    assert_eq!(list()["models"][1]["status"], "unloaded");
}

#[test]
fn an_unknown_model_gets_the_name_that_was_meant() {
    let folder = avatars::plain(&["sanders", "bob"]);
    let server = Server::start(&folder);
    let url = url(&server);
    for arguments in [
        &["models", "load", "sandres"][..],
        &["models", "unload", "sandres"],
        &["stats", "sandres"],
        &["bench", "--model", "sandres"],
    ] {
        let (_, stderr) = run(lipsync(arguments).args(["--server", &url]), 1);
        assert!(
            stderr.contains("hint: did you mean `sanders`?"),
            "{arguments:?}: {stderr}"
        );
    }
    let (_, stderr) = run(&mut lipsync(&["stats", "zoe", "--server", &url]), 1);
    assert!(stderr.contains("the models are: sanders, bob"), "{stderr}");

    // Of several, the others are loaded all the same.
    let (text, _) = run(
        &mut lipsync(&["models", "load", "zoe", "bob", "--server", &url]),
        1,
    );
    assert!(text.contains("zoe: not loaded: "), "{text}");
    assert!(text.contains("bob: loaded in"), "{text}");
}

#[test]
fn stats_tell_everything_once() {
    let folder = avatars::plain(&["sanders", "bob"]);
    let server = Server::start(&folder);
    let url = url(&server);
    run(
        &mut lipsync(&["models", "load", "sanders", "--server", &url]),
        0,
    );

    let stats = json(&mut lipsync(&["stats", "--server", &url]));
    assert_eq!(
        fields(&stats),
        [
            "capacity",
            "models",
            "reachable",
            "server",
            "time_unix_ms",
            "url"
        ]
    );
    assert_eq!(
        fields(&stats["capacity"]),
        [
            "loaded_models",
            "max_memory_bytes",
            "max_models",
            "memory_bytes"
        ]
    );
    assert_eq!(stats["capacity"]["loaded_models"], 1);
    assert_eq!(stats["server"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(stats["server"]["loads"], 1);
    assert_eq!(stats["models"][0]["leases"], 0);
    assert_eq!(
        fields(&stats["models"][0]["figures"]),
        [
            "frames",
            "inference_time_ms",
            "last_used_unix_ms",
            "load_time_ms",
            "loaded_unix_ms",
            "loads",
            "memory_bytes"
        ]
    );

    let one = json(&mut lipsync(&["stats", "bob", "--server", &url]));
    assert_eq!(one["models"].as_array().unwrap().len(), 1);
    assert_eq!(one["models"][0]["id"], "bob");

    let (text, _) = run(&mut lipsync(&["stats", "--server", &url]), 0);
    for part in ["1 of 2 loaded", "memory", "sanders", "ready", "never"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
