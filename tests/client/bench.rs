//! `bench`: the table, in process and of a server.

use serde_json::Value;

use crate::common::{avatars, process::Server};
use crate::{json, lipsync, run, url};

fn check(report: &Value, batches: &[u64]) {
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert!(
        report["engine"].as_str().unwrap().contains("rten"),
        "{report}"
    );
    assert_eq!(report["width"], 96);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), batches.len());
    for (row, &batch) in rows.iter().zip(batches) {
        assert_eq!(row["batch"], batch);
        assert_eq!(row["stages"].as_array().unwrap().len(), 5);
        // Two batches a caller.
        for (speed, callers) in [("alone", 1), ("together", 3)] {
            let speed = &row[speed];
            assert_eq!(speed["callers"], callers);
            assert_eq!(speed["frames"], 2 * batch * callers);
            assert_eq!(speed["latency"]["calls"], 2 * callers);
            assert!(speed["frames_per_second"].as_f64().unwrap() > 0.0);
        }
        let together = row["together"]["frames_per_second"].as_f64().unwrap();
        assert_eq!(row["streams"].as_u64().unwrap(), (together / 25.0) as u64);
    }
}

#[test]
fn it_measures_in_process_and_a_server() {
    let folder = avatars::plain(&["sanders", "bob"]);
    let bench = [
        "bench",
        "--batch",
        "1,5",
        "--repeat",
        "2",
        "--concurrency",
        "3",
    ];
    let here = json(lipsync(&bench).env("LIPSYNC_CONFIG", folder.config()));
    check(&here, &[1, 5]);
    assert_eq!(here["model"], "sanders");
    assert_eq!(here["server"], Value::Null);
    assert!(here["cores"].as_u64().unwrap() > 0);

    let server = Server::start(&folder);
    let url = url(&server);
    let model = ["--model", "bob", "--server", &url];
    let there = json(lipsync(&bench).args(model));
    check(&there, &[1, 5]);
    assert_eq!(there["model"], "bob");
    assert_eq!(there["server"], url.as_str());

    let (table, _) = run(lipsync(&bench).args(model), 0);
    assert!(table.contains("at 25 fps"), "{table}");
    assert!(table.contains("inference"), "{table}");
}

#[test]
fn batches_that_are_none_are_wrong_usage() {
    for arguments in [
        ["--batch", "26"],
        ["--batch", "0"],
        ["--seconds", "0"],
        ["--repeat", "0"],
    ] {
        run(lipsync(&["bench"]).args(arguments), 2);
    }
}
