//! Every key of the file: name, type, range, default and meaning, and what the keys must agree on.

mod models;
mod onnx;
mod server;
mod tenants;

pub(super) use tenants::roster;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::raw::{Node, Place};
use super::reader::{Report, Section};
use super::{Capacity, Config, EvictionPolicy, LogFormat, LogLevel, Logging};

const MIB: u64 = 1 << 20;
const GIB: f64 = (1_u64 << 30) as f64;

/// Reads the whole tree. What is wrong goes to `report`; the result is only valid if nothing did.
pub(super) fn config(root: Option<&Node>, path: &Path, report: &mut Report) -> Config {
    let base = path.parent().unwrap_or(Path::new(""));
    let start = Place { line: 1, column: 1 };
    let mut top = Section::open(root, "", String::new(), start, report);
    let [
        server_at,
        capacity_at,
        onnx_at,
        models_at,
        logging_at,
        defaults_at,
        tenants_at,
    ] = [
        ("server", "addresses and limits"),
        ("capacity", "what may be in memory, and who leaves first"),
        ("onnx", "how the networks run"),
        ("models", "the avatars, by name"),
        ("logging", "what is logged, how, and where to"),
        (
            "tenant_defaults",
            "what every tenant may do, unless its own keys say otherwise",
        ),
        (
            "tenants",
            "who may call, by name; without any, and without tokens, everybody",
        ),
    ]
    .map(|(name, meaning)| (top.take(name, "section", "", meaning), top.place(name)));
    top.finish();

    let (server, original) = server::read(section("server", server_at, report), base);
    let config = Config {
        path: path.to_owned(),
        server,
        capacity: capacity(section("capacity", capacity_at, report), base),
        onnx: onnx::read(section("onnx", onnx_at, report), base, original),
        models: Vec::new(),
        logging: logging(section("logging", logging_at, report), base),
        tenants: roster(defaults_at, tenants_at, report),
    };
    let models = models::read(section("models", models_at, report), base, &config.capacity);
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

fn capacity(mut s: Section<'_, '_>, base: &Path) -> Capacity {
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
            "prepared backgrounds kept in memory per avatar (0.4 to 2 MB each)",
        ) as usize,
        raw_cache_frames: s.integer(
            "raw_cache_frames",
            100,
            1..=1_000_000,
            "backgrounds kept as pixels per avatar (3.1 MB each at 1280x720): all formats but PNG need them, and PNG until they are prepared. I420 keeps planes instead, half as large, within the same bytes",
        ) as usize,
        prepare_threads: s
            .optional_integer(
                "prepare_threads",
                "one a core",
                0..=256,
                "threads that prepare an avatar's backgrounds ahead, at low priority; 0: none, PNG frames are encoded whole",
            )
            .map(|threads| threads as usize),
        prepared_cache_bytes: s.integer(
            "prepared_cache_mb",
            1024,
            0..=1_048_576,
            "disk space for an avatar's prepared backgrounds, which make its next load fast; may be deleted at any time; 0: off",
        ) * MIB,
        prepared_cache_dir: s
            .path(
                "prepared_cache_dir",
                "beside the backgrounds",
                "folder for them; not set: a folder beside background_dir, named like it with .prepared appended",
            )
            .map(|path| resolve(base, path)),
        video_cache_bytes: s.integer(
            "video_cache_mb",
            0,
            0..=1_048_576,
            "memory for an avatar's prepared H.264, at most (8 to 20 MB for 100 backgrounds of 1280x720). 0: none is prepared and nothing is set aside, as long as no format uses it",
        ) * MIB,
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
            "log loads, unloads and evictions; failures are logged either way",
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
                "a file that gets every log line as well; it is appended to, and opened anew on SIGHUP",
            )
            .map(|path| resolve(base, path)),
        max_repeated_lines: s.integer(
            "max_repeated_lines",
            20,
            0..=1_000_000,
            "warnings and errors of one kind logged within ten seconds; further ones are counted; 0: no limit",
        ),
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
