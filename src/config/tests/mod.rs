//! What the file means, and what is said when it is wrong.

mod add_model;
mod broken;
mod documented;

use std::path::Path;
use std::time::Duration;

use super::*;

/// A file of the original server: none of the new keys.
const OLD: &str = r#"
server:
  port: ":50053"
  max_message_size_mb: 200
  worker_count: 4
  queue_size: 100
onnx:
  library_path: "/opt/onnxruntime/libonnxruntime.so"
  cuda_enabled: true
capacity:
  max_models: 40
  max_memory_gb: 24
  background_cache_frames: 600
  eviction_policy: "lfu"
  idle_unload_minutes: 60
models:
  sanders:
    model_path: "D:/models/sanders/unet_328.onnx"
    background_dir: 'C:\avatars\sanders\frames'
    crop_rects_path: models/sanders/crop_rectangles.json
    num_frames: 523
    preload: true
    memory_estimate_mb: 500
logging:
  level: "info"
  log_model_operations: true
  stats_report_minutes: 0
  log_file: ""
"#;

/// The shortest valid file, and what tests add to it.
fn with(rest: &str) -> String {
    format!(
        "models:\n  bob: {{model_path: m.onnx, background_dir: b, crop_rects_path: r.json}}\n{rest}"
    )
}

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(text, Path::new("conf/config.yaml"))
}

fn problems(text: &str) -> Vec<Problem> {
    parse(text).expect_err("the file is wrong").problems
}

/// The only problem of `text`.
fn problem(text: &str) -> Problem {
    let problems = problems(text);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems.into_iter().next().unwrap()
}

#[test]
fn a_file_of_the_original_keeps_its_meaning() {
    let config = parse(OLD).unwrap();
    assert_eq!(
        config.server.listen,
        Listen {
            host: None,
            port: 50053
        }
    );
    assert_eq!(config.server.max_message_bytes, 200 << 20);
    assert_eq!(config.capacity.max_models, 40);
    assert_eq!(config.capacity.max_memory_bytes, 24 << 30);
    assert_eq!(config.capacity.eviction_policy, EvictionPolicy::Lfu);
    assert_eq!(config.capacity.idle_unload, Some(Duration::from_hours(1)));
    assert_eq!(
        config.onnx.library_path.as_deref(),
        Some(Path::new("/opt/onnxruntime/libonnxruntime.so"))
    );
    assert!(config.onnx.cuda_enabled);
    assert_eq!(
        config.onnx.execution_providers,
        [ExecutionProvider::Cuda, ExecutionProvider::Cpu]
    );
    assert_eq!(
        (config.onnx.worker_count, config.onnx.queue_frames),
        (Some(4), 100)
    );
    let sanders = config.model("sanders").unwrap();
    assert_eq!(
        sanders.model_path,
        Path::new("D:/models/sanders/unet_328.onnx")
    );
    assert_eq!(
        sanders.background_dir.to_str(),
        Some(r"C:\avatars\sanders\frames")
    );
    assert_eq!(
        sanders.crop_rects_path,
        Path::new("conf/models/sanders/crop_rectangles.json")
    );
    assert_eq!((sanders.num_frames, sanders.preload), (Some(523), true));
    assert_eq!(sanders.memory_estimate_bytes, 500 << 20);
    assert_eq!((sanders.fps, sanders.compositing), (25, Geometry::Inset));
    assert_eq!(
        (config.logging.stats_report, config.logging.log_file),
        (None, None)
    );
}

#[test]
fn the_originals_keys_for_sessions_and_the_queue_are_taken() {
    let onnx = |rest: &str| parse(&with(rest)).unwrap().onnx;
    // A batch of 25 is queued whole.
    assert_eq!(onnx("server: {queue_size: 10}").queue_frames, 25);
    assert_eq!(onnx("server: {queue_size: 400}").queue_frames, 400);
    assert_eq!(onnx("").queue_frames, 256);
    assert_eq!(onnx("").worker_count, None);
    for (both, key) in [
        (
            "server: {queue_size: 100}\nonnx: {queue_frames: 200}",
            "onnx.queue_frames",
        ),
        (
            "server: {worker_count: 2}\nonnx: {sessions_per_model: 2}",
            "onnx.sessions_per_model",
        ),
    ] {
        let problem = problem(&with(both));
        assert_eq!(problem.key, key);
        assert!(problem.message.contains("means the same"), "{problem:?}");
    }
}

#[test]
fn a_successors_file_is_recognised_and_its_keys_are_translated() {
    let text = with(
        "models_root: /data\ngpus: {enabled: true}\ncapacity: {idle_timeout_minutes: 5}\n\
         onnx: {intra_op_threads: 2, inter_op_threads: 1}\nlogging: {log_level: info}\n",
    );
    let problems = problems(&text);
    let recognised: Vec<_> = problems
        .iter()
        .filter(|problem| problem.message.contains("successor of the original server"))
        .collect();
    assert_eq!(recognised.len(), 1);
    for (key, words) in [
        ("models_root", "in front of every relative path"),
        ("gpus", "cuda_device"),
        ("capacity.idle_timeout_minutes", "idle_unload_minutes"),
        ("onnx.intra_op_threads", "intra_threads"),
        ("onnx.inter_op_threads", "no such setting"),
        ("logging.log_level", "`level`"),
    ] {
        let problem = problems.iter().find(|problem| problem.key == key).unwrap();
        assert!(
            problem.hint.as_ref().unwrap().contains(words),
            "{problem:?}"
        );
    }
    let own = super::Config::parse(&with("server: {prot: 1}"), Path::new("c.yaml")).unwrap_err();
    assert!(!own.to_string().contains("successor"));
}

#[test]
fn the_shipped_file_holds_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.yaml");
    let shipped = Config::load(&path).unwrap();
    assert_eq!(
        shipped
            .models
            .iter()
            .map(|model| model.id.as_str())
            .collect::<Vec<_>>(),
        ["sanders", "bob", "jane"]
    );
    let bare = Config::parse(&with(""), &path).unwrap();
    assert_eq!(
        Config {
            models: Vec::new(),
            ..shipped.clone()
        },
        Config {
            models: Vec::new(),
            ..bare.clone()
        }
    );
    let named = &bare.models[0];
    for model in shipped.models {
        // As the demo's network was trained.
        assert_eq!(model.audio_padding, Padding::Edge);
        let defaults = Model {
            audio_padding: Padding::Zeros,
            compositing_feather: 0,
            id: named.id.clone(),
            model_path: named.model_path.clone(),
            background_dir: named.background_dir.clone(),
            crop_rects_path: named.crop_rects_path.clone(),
            audio_encoder_path: None,
            ..model
        };
        assert_eq!(defaults, *named);
    }
}

#[test]
fn all_problems_are_reported_at_their_places() {
    let text = "\
server:
  prot: 50053
  max_message_size_mb: 0
capacity:
  eviction_policy: lrf
  max_memory_gb: .nan
models:
  bob:
    model_path: m.onnx
    background_dir: [b]
    fps: \"25\"
    max_models: 3
    fps: 30
";
    let found = problems(text);
    let lines: Vec<_> = found
        .iter()
        .map(|p| (p.line, p.column, p.key.as_str(), p.value.as_str()))
        .collect();
    assert_eq!(
        lines,
        [
            (2, 3, "server.prot", ""),
            (3, 24, "server.max_message_size_mb", "0"),
            (5, 20, "capacity.eviction_policy", "lrf"),
            (6, 18, "capacity.max_memory_gb", ".nan"),
            (8, 3, "models.bob.crop_rects_path", ""),
            (10, 21, "models.bob.background_dir", "a list"),
            (11, 10, "models.bob.fps", "25"),
            (12, 5, "models.bob.max_models", ""),
            (13, 5, "models.bob.fps", "30"),
        ]
    );
    let hints: Vec<_> = found
        .iter()
        .map(|p| p.hint.as_deref().unwrap_or_default())
        .collect();
    assert_eq!(hints[0], "did you mean `port`?");
    assert_eq!(hints[2], "did you mean `lru`?");
    assert_eq!(
        hints[4],
        "add `crop_rects_path: ./models/bob/crop_rects.json`"
    );
    assert_eq!(hints[6], "remove the quotes");
    assert_eq!(hints[7], "`max_models` belongs in `capacity`");
}

#[test]
fn excerpts_point_at_the_place() {
    let errors = parse(&with("capacity:\n  max_models: many\n")).unwrap_err();
    assert_eq!(
        errors.human(),
        "\
conf/config.yaml:4:15: capacity.max_models: must be a whole number from 1 to 10000, found `many`
  4 |   max_models: many
    |               ^
"
    );
    assert_eq!(
        errors.to_string(),
        "conf/config.yaml: 1 problem in the configuration: capacity.max_models: must be a whole number from 1 to 10000, found `many`"
    );
}

#[test]
fn annotations_escape_what_github_would_read() {
    let errors = Config::parse(
        &with("capacity:\n  max_models: \"5%\\n::error::\"\n"),
        Path::new("a,b:c.yaml"),
    )
    .unwrap_err();
    let github = errors.github();
    assert!(
        github
            .starts_with("::error file=a%2Cb%3Ac.yaml,line=4,col=15,title=lipsync configuration::"),
        "{github}"
    );
    assert_eq!(github.lines().count(), 1, "{github}");
    assert!(github.contains("`5%25"), "{github}");
}

#[test]
fn json_lists_the_problems() {
    let json = parse(&with("onnx:\n  max_batch: 26\n")).unwrap_err().json();
    assert_eq!(json["valid"], false);
    assert_eq!(json["problems"][0]["key"], "onnx.max_batch");
    assert_eq!(json["problems"][0]["line"], 4);
    assert_eq!(json["problems"][0]["value"], "26");
}

#[test]
fn numbers_out_of_range_or_shape() {
    for value in [
        "0",
        "-1",
        "10001",
        "1.5",
        ".inf",
        "-.inf",
        ".nan",
        "1e300",
        "99999999999999999999999999",
        "true",
        "[3]",
        "{}",
    ] {
        let problem = problem(&with(&format!("capacity: {{max_models: {value}}}\n")));
        assert_eq!(problem.key, "capacity.max_models");
        assert_eq!(
            problem.message, "must be a whole number from 1 to 10000",
            "{value}"
        );
    }
    for (value, expected) in [("7", 7), ("7.0", 7), ("0x10", 16)] {
        let config = parse(&with(&format!("capacity: {{max_models: {value}}}\n"))).unwrap();
        assert_eq!(config.capacity.max_models, expected);
    }
    let half = parse(&with("capacity: {max_memory_gb: 0.5}\n")).unwrap();
    assert_eq!(half.capacity.max_memory_bytes, 512 << 20);
}

#[test]
fn addresses() {
    let listen = |value: &str| {
        parse(&with(&format!("server: {{http_port: {value}}}\n"))).map(|config| config.server.http)
    };
    let at = |host: Option<&str>, port| {
        Some(Listen {
            host: host.map(str::to_owned),
            port,
        })
    };
    assert_eq!(listen("9000").unwrap(), at(Some("127.0.0.1"), 9000));
    assert_eq!(listen("\"9000\"").unwrap(), at(Some("127.0.0.1"), 9000));
    assert_eq!(listen("\":9000\"").unwrap(), at(None, 9000));
    assert_eq!(listen("example.org:0").unwrap(), at(Some("example.org"), 0));
    assert_eq!(listen("\"[::1]:9000\"").unwrap(), at(Some("::1"), 9000));
    for off in ["0", "off", "false", "\"off\"", "\"\""] {
        assert_eq!(listen(off).unwrap(), None, "{off}");
    }
    for bad in [
        "70000",
        "-1",
        "\"host\"",
        "\"host:\"",
        "\"a b:1\"",
        "\"[::1:9000\"",
        "\"host:99999\"",
        "1.5",
        "true",
        "[1]",
    ] {
        assert_eq!(listen(bad).unwrap_err().problems.len(), 1, "{bad}");
    }
    assert_eq!(problem(&with("server: {port: 0}\n")).key, "server.port");
    assert_eq!(
        problem(&with("server: {port: 8080}\n")).key,
        "server.http_port"
    );
    assert_eq!(at(None, 1).unwrap().local_url(), "http://127.0.0.1:1");
    assert_eq!(at(Some("::1"), 1).unwrap().local_url(), "http://[::1]:1");
    assert_eq!(at(Some("::1"), 1).unwrap().to_string(), "[::1]:1");
}

#[test]
fn keys_that_contradict_each_other() {
    for (text, key) in [
        (
            "onnx: {cuda_enabled: true, execution_providers: [cpu]}",
            "onnx.execution_providers",
        ),
        (
            "onnx: {cuda_enabled: false, execution_providers: [cuda, cpu]}",
            "onnx.cuda_enabled",
        ),
        (
            "onnx: {backend: embedded, execution_providers: [openvino]}",
            "onnx.backend",
        ),
        (
            "capacity: {load_retry_seconds: 9, load_retry_max_seconds: 8}",
            "capacity.load_retry_max_seconds",
        ),
        (
            "onnx: {execution_providers: [cpu, cpu]}",
            "onnx.execution_providers",
        ),
        (
            "onnx: {execution_providers: []}",
            "onnx.execution_providers",
        ),
        ("onnx: {queue_frames: 24}", "onnx.queue_frames"),
    ] {
        assert_eq!(problem(&with(text)).key, key, "{text}");
    }
    let heavy = "capacity: {max_memory_gb: 1}\nmodels: {bob: {model_path: m, background_dir: b, crop_rects_path: r, memory_estimate_mb: 2000}}";
    assert_eq!(problem(heavy).key, "models.bob.memory_estimate_mb");
}

#[test]
fn model_names() {
    let named = |name: &str| {
        parse(&format!(
            "models: {{{name}: {{model_path: m, background_dir: b, crop_rects_path: r}}}}"
        ))
    };
    for good in [
        "bob",
        "007",
        "on",
        "1.5",
        "\"two words\"",
        "a:b",
        "\"null\"",
    ] {
        assert!(named(good).is_ok(), "{good}");
    }
    assert_eq!(named("007").unwrap().models[0].id, "007");
    let long = "a".repeat(129);
    for bad in [
        "\"\"",
        "\"a/b\"",
        "'a\\b'",
        "\" a\"",
        "\"a\\n\"",
        "ü",
        "null",
        long.as_str(),
    ] {
        assert!(named(bad).is_err(), "{bad}");
    }
}

#[test]
fn files_without_meaning() {
    for text in [
        "",
        "# nothing\n",
        "models:\n",
        "models: {}\n",
        "server: {port: 1}\n",
    ] {
        assert!(problem(text).message.starts_with("no models"), "{text:?}");
    }
    for text in [
        "models: [bob]\n",
        "models: bob\n",
        "just text\n",
        "- a\n- b\n",
        "42\n",
    ] {
        assert!(problem(text).message.contains("mapping"), "{text:?}");
    }
    let nobody = problems("models:\n  bob:\n");
    assert_eq!(nobody.len(), 3);
    assert!(nobody.iter().all(|p| p.message.contains("required")));
}
