//! Every key of the file: name, type, range, default and meaning, and what the keys must agree on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::raw::{Node, Place, Value, shorten};
use super::reader::{Report, Section, join};
use super::{
    AudioPadding, BackendChoice, Capacity, Compositing, Config, EvictionPolicy, ExecutionProvider,
    Fallback, Listen, LogFormat, LogLevel, Logging, Model, Onnx, Profile, Sequence, Server,
};

const MIB: u64 = 1 << 20;
const GIB: f64 = (1_u64 << 30) as f64;

/// Characters of a model's name at most.
const MODEL_ID_CHARS_MAX: usize = 128;

/// Reads the whole tree. What is wrong goes to `report`; the result is only valid if nothing did.
pub(super) fn config(root: Option<&Node>, path: &Path, report: &mut Report) -> Config {
    let base = path.parent().unwrap_or(Path::new(""));
    let start = Place { line: 1, column: 1 };
    let mut top = Section::open(root, "", String::new(), start, report);
    let [server_at, capacity_at, onnx_at, models_at, logging_at] = [
        ("server", "addresses and limits"),
        ("capacity", "what may be in memory, and who leaves first"),
        ("onnx", "how the networks run"),
        ("models", "the avatars, by name"),
        ("logging", "what is logged, how, and where to"),
    ]
    .map(|(name, meaning)| (top.take(name, "section", "", meaning), top.place(name)));
    top.finish();

    let config = Config {
        path: path.to_owned(),
        server: server(section("server", server_at, report)),
        capacity: capacity(section("capacity", capacity_at, report)),
        onnx: onnx(section("onnx", onnx_at, report), base),
        models: Vec::new(),
        logging: logging(section("logging", logging_at, report), base),
    };
    let models = models(section("models", models_at, report), base, &config.capacity);
    Config { models, ..config }
}

/// Opens the top-level section `name`.
fn section<'a, 'r>(
    name: &'static str,
    (node, place): (Option<&'a Node>, Place),
    report: &'r mut Report,
) -> Section<'a, 'r> {
    Section::open(node, name, name.to_owned(), place, report)
}

fn server(mut s: Section<'_, '_>) -> Server {
    let grpc = Listen {
        host: None,
        port: 50053,
    };
    let http = Listen {
        host: Some("127.0.0.1".to_owned()),
        port: 8080,
    };
    let address = "port, \":port\" (every interface) or \"host:port\"";
    let listen = s.listen("port", &grpc, address, "where gRPC listens");
    if listen.is_none() {
        s.conflict(
            "port",
            &0,
            "gRPC cannot be switched off",
            "write \"127.0.0.1:0\" for any free port",
        );
    }
    let page = "where the page, the probes and the metrics are served over HTTP; a bare port is on 127.0.0.1; 0 or off: nowhere";
    let http = s.listen("http_port", &http, "port, \"host:port\" or off", page);
    let listen = listen.unwrap_or(grpc);
    if http
        .as_ref()
        .is_some_and(|http| http.port == listen.port && http.port != 0)
    {
        s.conflict(
            "http_port",
            &listen.port,
            "gRPC listens on this port already (`server.port`)",
            "choose another port, or off",
        );
    }
    let server = Server {
        listen,
        http,
        max_message_bytes: (s.integer(
            "max_message_size_mb",
            200,
            1..=2047,
            "largest gRPC message, received or sent; a batch of 25 ready-made visual tensors takes 59 MB",
        ) * MIB) as usize,
        max_connections: s.integer("max_connections", 1024, 1..=65_536, "connections open at once") as usize,
        max_concurrent_requests: s.integer(
            "max_concurrent_requests",
            64,
            1..=65_536,
            "calls in progress at once; more are refused with RESOURCE_EXHAUSTED",
        ) as usize,
        max_streams: s.integer(
            "max_streams",
            256,
            1..=65_536,
            "Talk streams open at once; more are refused with RESOURCE_EXHAUSTED",
        ) as usize,
        request_timeout: unless_zero(s.seconds(
            "request_timeout_seconds",
            120.0,
            0.0..=86_400.0,
            "longest time for a unary call that brings no deadline of its own; 0: no limit",
        )),
        drain: s.seconds(
            "drain_seconds",
            30.0,
            0.0..=3600.0,
            "time for work in progress to finish after a stop signal",
        ),
        keepalive: unless_zero(s.seconds(
            "keepalive_seconds",
            30.0,
            0.0..=86_400.0,
            "pause between HTTP/2 pings on a quiet connection, so that vanished clients are noticed; 0: no pings",
        )),
        keepalive_timeout: s.seconds(
            "keepalive_timeout_seconds",
            20.0,
            1.0..=3600.0,
            "how long a ping may stay unanswered before the connection is closed",
        ),
    };
    s.finish();
    server
}

fn capacity(mut s: Section<'_, '_>) -> Capacity {
    let capacity = Capacity {
        max_models: s.integer("max_models", 3, 1..=10_000, "avatars in memory at once") as usize,
        max_memory_bytes: (s.number("max_memory_gb", 4.0, 0.05..=65_536.0, "memory all loaded avatars may take together") * GIB)
            as u64,
        eviction_policy: s.choice(
            "eviction_policy",
            EvictionPolicy::Lru,
            "which idle avatar leaves when room is needed: the one unused for longest (lru) or the least used one (lfu)",
        ),
        idle_unload: unless_zero(
            s.seconds(
                "idle_unload_minutes",
                30.0,
                0.0..=525_600.0,
                "an avatar unused for this long is unloaded; 0: never",
            ) * 60,
        ),
        background_cache_frames: s.integer(
            "background_cache_frames",
            600,
            1..=1_000_000,
            "prepared backgrounds kept in memory per avatar",
        ) as usize,
        eviction_wait: s.seconds(
            "eviction_wait_seconds",
            5.0,
            0.0..=600.0,
            "how long a request waits for room when every loaded avatar is in use",
        ),
        parallel_loads: s.integer("parallel_loads", 2, 1..=64, "avatars loading at once") as usize,
        load_retry: s.seconds(
            "load_retry_seconds",
            5.0,
            0.1..=3600.0,
            "pause after a failed load before the next attempt; doubles with every failure",
        ),
        load_retry_max: s.seconds("load_retry_max_seconds", 300.0, 0.1..=86_400.0, "where that doubling ends"),
    };
    if capacity.load_retry_max < capacity.load_retry {
        s.conflict(
            "load_retry_max_seconds",
            &capacity.load_retry_max.as_secs_f64(),
            "smaller than `load_retry_seconds`",
            "make it at least as long",
        );
    }
    s.finish();
    capacity
}

fn onnx(mut s: Section<'_, '_>, base: &Path) -> Onnx {
    let library_path = s.path(
        "library_path",
        "searched",
        "the ONNX Runtime shared library; not set: ORT_DYLIB_PATH, beside the executable, the system's folders, an installed Python package",
    );
    let cuda_enabled = s.bool(
        "cuda_enabled",
        false,
        "demand CUDA: without a usable GPU the server refuses to start, unless `fallback: cpu`",
    );
    let providers = s.choices(
        "execution_providers",
        "[cpu], or [cuda, cpu] with cuda_enabled",
        "hardware to run on, in order of preference",
    );
    let execution_providers = providers.unwrap_or_else(|| {
        if cuda_enabled {
            vec![ExecutionProvider::Cuda, ExecutionProvider::Cpu]
        } else {
            vec![ExecutionProvider::Cpu]
        }
    });
    let onnx = Onnx {
        library_path: library_path.map(|path| resolve(base, path)),
        cuda_enabled,
        cuda_device: s.integer("cuda_device", 0, 0..=63, "which GPU, as nvidia-smi numbers them") as u32,
        backend: s.choice(
            "backend",
            BackendChoice::Auto,
            "the engine; auto: ONNX Runtime where its library is found, else the embedded one (about 4 times slower)",
        ),
        execution_providers,
        fallback: s.choice(
            "fallback",
            Fallback::None,
            "when demanded hardware is not usable: refuse to start (none) or run on the CPU (cpu)",
        ),
        profile: s.choice(
            "profile",
            Profile::Throughput,
            "throughput: a session per core with one thread each; latency: one session on all cores",
        ),
        sessions_per_model: count(s.optional_integer(
            "sessions_per_model",
            "by profile",
            1..=256,
            "sessions per avatar, each with its own thread and memory",
        )),
        intra_threads: count(s.optional_integer("intra_threads", "by profile", 1..=256, "threads inside one session")),
        max_batch: count(s.optional_integer(
            "max_batch",
            "1 on a CPU, 8 on a GPU",
            1..=25,
            "frames in one run of the network; batches win nothing on a CPU",
        )),
        batch_delay: s.milliseconds("batch_delay_ms", 2.0, 0.0..=1000.0, "how long the first frame of a batch waits for company"),
        queue_frames: s.integer(
            "queue_frames",
            256,
            25..=1_000_000,
            "frames that may wait per avatar; more are refused with RESOURCE_EXHAUSTED",
        ) as usize,
        hang_timeout: s.seconds(
            "hang_timeout_seconds",
            60.0,
            1.0..=3600.0,
            "a run of the network longer than this fails, and its session is replaced",
        ),
        visual_cache_bytes: s.integer(
            "visual_cache_mb",
            0,
            0..=1_048_576,
            "memory per avatar for the part of the network that depends on the background alone (19.5 MB a background); 0: off",
        ) * MIB,
    };
    check_onnx(&mut s, &onnx);
    s.finish();
    onnx
}

/// What the keys of `onnx` must agree on.
fn check_onnx(s: &mut Section<'_, '_>, onnx: &Onnx) {
    use ExecutionProvider::{Cpu, Cuda, OpenVino, TensorRt};
    let gpu = onnx
        .execution_providers
        .iter()
        .any(|provider| matches!(provider, Cuda | TensorRt));
    if onnx.cuda_enabled && !gpu {
        let hint = "put cuda first in the list, or remove one of the two keys";
        s.conflict(
            "execution_providers",
            &"no cuda",
            "contradicts `cuda_enabled: true`",
            hint,
        );
    }
    if s.has("cuda_enabled") && !onnx.cuda_enabled && gpu {
        s.conflict(
            "cuda_enabled",
            &false,
            "contradicts `execution_providers`, which lists a GPU",
            "remove one of the two keys",
        );
    }
    let beyond_cpu = onnx
        .execution_providers
        .iter()
        .any(|provider| matches!(provider, Cuda | TensorRt | OpenVino));
    if onnx.backend == BackendChoice::Embedded && beyond_cpu {
        let hint = format!(
            "use `backend: {}`, or `execution_providers: [{Cpu}]`",
            BackendChoice::OnnxRuntime
        );
        s.conflict(
            "backend",
            &onnx.backend,
            "the embedded engine runs on the CPU only",
            &hint,
        );
    }
}

fn models(s: Section<'_, '_>, base: &Path, capacity: &Capacity) -> Vec<Model> {
    let place = s.own_place();
    let (entries, report) = s.into_entries();
    if entries.is_empty()
        && !report
            .problems
            .iter()
            .any(|problem| problem.key == "models" || problem.key.is_empty())
    {
        let hint = "add a model, for example `sanders:` with `model_path`, `background_dir` and `crop_rects_path` below it";
        let message = "no models: there is nothing to serve".to_owned();
        report.add(
            place,
            "models",
            String::new(),
            message,
            Some(hint.to_owned()),
        );
    }
    // Read even where there is no entry, so that the keys of a model are known for the documentation and for hints.
    let mut known = Report::default();
    let empty = Node {
        value: Value::Null,
        place,
    };
    model(
        Section::open(
            Some(&empty),
            "models.<id>",
            String::new(),
            place,
            &mut known,
        ),
        "",
        base,
        capacity,
    );
    report.keys.extend(known.keys);

    entries
        .into_iter()
        .map(|(key, node)| {
            let path = join("models", &key.name);
            if let Some(reason) = bad_model_id(&key.name) {
                let hint = Some("use letters, digits, '.', '_' and '-'".to_owned());
                report.add(
                    key.place,
                    &path,
                    shorten(&key.name),
                    format!("not a usable name: {reason}"),
                    hint,
                );
            }
            model(
                Section::open(Some(node), "models.<id>", path, key.place, report),
                &key.name,
                base,
                capacity,
            )
        })
        .collect()
}

/// Why `id` cannot name a model: names travel in HTTP headers, URLs and metrics.
fn bad_model_id(id: &str) -> Option<&'static str> {
    if id.is_empty() {
        Some("it is empty")
    } else if id.len() > MODEL_ID_CHARS_MAX {
        Some("it is longer than 128 characters")
    } else if !id.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
        Some("it has characters other than printable ASCII")
    } else if id.trim() != id {
        Some("it begins or ends with a space")
    } else if id.contains(['/', '\\']) {
        Some("it has a slash")
    } else {
        None
    }
}

fn model(mut s: Section<'_, '_>, id: &str, base: &Path, capacity: &Capacity) -> Model {
    let folder = if id.is_empty() { "name" } else { id };
    let example = |file: &str| format!("./models/{}/{file}", shorten(folder));
    let model = Model {
        id: id.to_owned(),
        model_path: resolve(
            base,
            s.required_path("model_path", &example("unet.onnx"), "the generator network (SyncTalk_2D U-Net), ONNX"),
        ),
        background_dir: resolve(
            base,
            s.required_path(
                "background_dir",
                &example("frames"),
                "folder of background pictures: frame_0000.png …, or 0.png / 0.jpg …",
            ),
        ),
        crop_rects_path: resolve(
            base,
            s.required_path("crop_rects_path", &example("crop_rects.json"), "the crop rect of every background, JSON"),
        ),
        audio_encoder_path: s
            .path(
                "audio_encoder_path",
                "none",
                "the audio encoder network (mel to 512 features), ONNX; without it the avatar takes ready-made features only",
            )
            .map(|path| resolve(base, path)),
        num_frames: count(s.optional_integer(
            "num_frames",
            "as many as crop rects",
            1..=1_000_000,
            "backgrounds used, counted from the first",
        )),
        preload: s.bool("preload", false, "load at start instead of at the first request"),
        memory_estimate_bytes: s.integer(
            "memory_estimate_mb",
            0,
            0..=67_108_864,
            "memory to count for the avatar at least; what it really takes is measured",
        ) * MIB,
        audio_padding: s.choice(
            "audio_padding",
            AudioPadding::Edge,
            "what audio windows hold past the ends of a clip: the nearest feature, or zeros; as in training",
        ),
        compositing: s.choice(
            "compositing",
            Compositing::Inset,
            "how the prediction gets into the background: inset as in training, or stretch over the whole rect",
        ),
        sequence: s.choice(
            "sequence",
            Sequence::PingPong,
            "the order of backgrounds: forth and back, from the start again, or hold the last one",
        ),
        fps: s.integer("fps", 25, 1..=100, "frames a second") as u32,
    };
    if model.memory_estimate_bytes > capacity.max_memory_bytes {
        s.conflict(
            "memory_estimate_mb",
            &(model.memory_estimate_bytes / MIB),
            "more than `capacity.max_memory_gb` allows in all: the avatar could never be loaded",
            "raise `capacity.max_memory_gb`, or lower the estimate",
        );
    }
    s.finish();
    model
}

fn logging(mut s: Section<'_, '_>, base: &Path) -> Logging {
    let logging = Logging {
        level: s.choice(
            "level",
            LogLevel::Info,
            "least important level that is logged; -v and -q and RUST_LOG override it",
        ),
        format: s.choice(
            "format",
            LogFormat::Human,
            "for people, or one JSON object a line",
        ),
        log_model_operations: s.bool(
            "log_model_operations",
            true,
            "log loads, unloads and evictions at level info (else at debug)",
        ),
        stats_report: unless_zero(
            s.seconds(
                "stats_report_minutes",
                10.0,
                0.0..=525_600.0,
                "pause between two reports of what every avatar did; 0: none",
            ) * 60,
        ),
        log_file: s
            .path(
                "log_file",
                "none",
                "a file that gets every log line as well; it is appended to",
            )
            .map(|path| resolve(base, path)),
    };
    s.finish();
    logging
}

/// 0 in the file is "off".
fn unless_zero(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

fn count(number: Option<u64>) -> Option<usize> {
    number.map(|number| number as usize)
}

/// `path` seen from the folder of the config file. A path with a drive letter, or on a Windows share, is whole already,
/// also where the file is only checked on another system.
fn resolve(base: &Path, path: PathBuf) -> PathBuf {
    let whole = path.to_str().is_some_and(|text| {
        let drive = text.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
            && text[1..].starts_with(':');
        drive || text.starts_with(r"\\")
    });
    if whole || path.as_os_str().is_empty() {
        path
    } else {
        base.join(path)
    }
}
