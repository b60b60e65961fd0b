//! The configuration: read once, validated whole, then plain data.
//!
//! [`Config::load`] reads `config.yaml` and either returns a [`Config`] in which every value is in range and every
//! path is resolved, or a [`ConfigErrors`] that lists all problems of the file at once. Nothing later checks a setting again.
//!
//! Sizes are bytes (the file's MB and GB are powers of 1024), times are [`Duration`]s, and "off" (0 in the file) is `None`.

pub mod add_key;
pub mod add_model;
mod choice;
mod error;
mod keys;
mod raw;
mod reader;
mod render;
mod source;
mod successors;
mod tenants_file;
mod values;

#[cfg(test)]
mod tests;

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use choice::{choice, words};
use ipnet::IpNet;

pub use choice::Choice;
pub use error::{ConfigErrors, Problem};
pub use source::Source;
pub use tenants_file::load_tenants;

use crate::audio::Padding;
use crate::avatar::Sequence;
use crate::compositor::Geometry;
use crate::engine::{BackendChoice, ExecutionProvider, Tune};
use crate::tenants::{Class, Role, Roster};

// The words of the file for what the rest of the crate defines.
words! { Padding { Edge = "edge", Zeros = "zeros", } }
words! { Sequence { PingPong = "ping_pong", Wrap = "wrap", Clamp = "clamp", } }
words! { Geometry { Inset = "inset", Stretch = "stretch", } }
words! { BackendChoice { Auto = "auto", OnnxRuntime = "onnxruntime", Embedded = "embedded", } }
words! { Tune { Auto = "auto", Off = "off", Exhaustive = "exhaustive", } }
words! { Class { Live = "live", Batch = "batch", } }
words! { Role { User = "user", Admin = "admin", } }
words! { ExecutionProvider { Cuda = "cuda", TensorRt = "tensorrt", OpenVino = "openvino", Cpu = "cpu", } }

/// A whole, valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file it was read from; relative paths in it were resolved against its folder.
    pub path: PathBuf,
    /// Addresses and limits of the server.
    pub server: Server,
    /// What may be in memory, and who leaves first.
    pub capacity: Capacity,
    /// How the networks run.
    pub onnx: Onnx,
    /// The avatars, in the order of the file; ids are unique and there is at least one.
    pub models: Vec<Model>,
    /// What is logged, how, and where to.
    pub logging: Logging,
    /// `tenants` and `tenant_defaults`: who may call, and what each may do.
    pub tenants: Roster,
}

/// Bytes of a configuration file at most.
const FILE_BYTES_MAX: u64 = 4 << 20;

impl Config {
    /// Reads and validates the file at `path`.
    ///
    /// # Errors
    /// Everything wrong with the file, or why it could not be read.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::load_with_source(path).map(|(config, _)| config)
    }

    /// The same, and the file's text with the places of its keys: for what is found out about its values later.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_with_source(path: &Path) -> Result<(Self, Source), ConfigErrors> {
        let mut bytes = Vec::new();
        let read = std::fs::File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
        match read {
            Err(error) => Err(ConfigErrors::unreadable(path, &error)),
            Ok(_) if bytes.len() as u64 > FILE_BYTES_MAX => {
                Err(ConfigErrors::too_large(path, FILE_BYTES_MAX))
            }
            Ok(_) => match String::from_utf8(bytes) {
                Ok(text) => Self::parse_with_source(&text, path),
                Err(error) => Err(ConfigErrors::not_utf8(path, &error)),
            },
        }
    }

    /// Validates `text`, the content of the file at `path`; the path is for messages and relative paths only.
    ///
    /// # Errors
    /// Everything wrong with the text.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigErrors> {
        Self::parse_with_source(text, path).map(|(config, _)| config)
    }

    fn parse_with_source(text: &str, path: &Path) -> Result<(Self, Source), ConfigErrors> {
        let failed = |problems, omitted| ConfigErrors {
            path: path.to_owned(),
            text: text.to_owned(),
            problems,
            omitted,
        };
        let root = raw::parse(text).map_err(|problem| failed(vec![problem], 0))?;
        let mut report = reader::Report::default();
        let config = keys::config(Some(&root), path, &mut report);
        report.finish();
        if report.problems.is_empty() {
            Ok((config, Source::new(path, text, report.places)))
        } else {
            Err(failed(report.problems, report.omitted))
        }
    }

    /// The model called `id`.
    #[must_use]
    pub fn model(&self, id: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.id == id)
    }

    /// What to say to somebody who asked for a model that is not here: the name that was meant, or all of them.
    #[must_use]
    pub fn model_hint(&self, id: &str) -> String {
        model_hint(id, self.models.iter().map(|model| model.id.as_str()))
    }
}

/// What to say to somebody who asked for a model `id` that is not among `models`: the name that was meant, or all.
#[must_use]
pub fn model_hint<'a>(id: &str, models: impl Iterator<Item = &'a str> + Clone) -> String {
    match reader::nearest(id, models.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the models are: {}", models.collect::<Vec<_>>().join(", ")),
    }
}

/// What a connection may take, and how long it lives: keys of `server`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// `max_connections_per_address`: of `max_connections`, how many from one address.
    pub per_address: usize,
    /// `max_calls_per_connection`: HTTP/2 streams that a connection may have open.
    pub calls: usize,
    /// `first_call_seconds`: how long a new connection may take to bring its first call.
    pub first_call: Duration,
    /// `idle_connection_seconds`: after so long without a call a connection is closed.
    pub idle: Option<Duration>,
    /// `stream_window_kb`: what a caller may send of one call before it is read.
    pub stream_window_bytes: usize,
    /// `connection_window_kb`: the same of all calls of a connection.
    pub window_bytes: usize,
}

/// What messages may take, and how long: keys of `server`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Messages {
    /// `message_memory_mb`: what the messages that are received may take together.
    pub memory_bytes: usize,
    /// `message_wait_seconds`: how long a message waits for such memory.
    pub wait: Duration,
    /// `message_timeout_seconds`: from a message's first byte to its last.
    pub timeout: Duration,
    /// `answer_stall_seconds`: how long a client may leave a piece of its answer untaken.
    pub answer_stall: Duration,
}

/// `server`: addresses and limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// `port`: where gRPC listens.
    pub listen: Listen,
    /// `http_port`: where the page and the probes are served; `None` if switched off.
    pub http: Option<Listen>,
    /// `metrics_port`: where the probes and the metrics are served; `None` if switched off.
    pub metrics: Option<Listen>,
    /// `max_message_size_mb`: the largest gRPC message, received or sent, in bytes.
    pub max_message_bytes: usize,
    /// `max_connections`: connections open at once on each port; more wait to be accepted.
    pub max_connections: usize,
    /// `max_concurrent_requests`: calls in progress at once; more are refused with `RESOURCE_EXHAUSTED`.
    pub max_concurrent_requests: usize,
    /// `max_streams`: `Talk` streams open at once; more are refused with `RESOURCE_EXHAUSTED`.
    pub max_streams: usize,
    /// `stream_audio_mb`: bytes of audio that a `Talk` stream may hold ahead of its frames.
    pub stream_audio_bytes: usize,
    /// `tokens_file`: who may call; `None` is everybody.
    pub tokens_file: Option<PathBuf>,
    /// `tenants_file`: more tenants, in a file of their own.
    pub tenants_file: Option<PathBuf>,
    /// `usage_journal`: where usage is kept over restarts; `None` is in memory only.
    pub usage_journal: Option<PathBuf>,
    /// `trusted_proxies`: who is believed about whom it forwards.
    pub trusted_proxies: Vec<IpNet>,
    /// `request_timeout_seconds`: the longest a unary call may take when it brings no deadline of its own.
    pub request_timeout: Option<Duration>,
    /// What a connection may take, and how long it lives.
    pub connections: Connections,
    /// What messages may take, and how long.
    pub messages: Messages,
    /// `max_concurrent_lookups`: calls that only look, in progress at once.
    pub max_concurrent_lookups: usize,
    /// `max_watches`: health watches and reflections open at once.
    pub max_watches: usize,
    /// `drain_notice_seconds`: how long new work is still taken after a stop signal, while health checks fail already.
    pub drain_notice: Duration,
    /// `drain_seconds`: how long work in progress may take to finish after a stop signal.
    pub drain: Duration,
    /// `keepalive_seconds`: the pause between pings on a quiet connection, HTTP/2 or WebSocket.
    pub keepalive: Option<Duration>,
    /// `keepalive_timeout_seconds`: how long a ping may stay unanswered before the connection is closed.
    pub keepalive_timeout: Duration,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Host name or address; `None` is every interface.
    pub host: Option<String>,
    /// TCP port; 0 lets the system choose a free one.
    pub port: u16,
}

impl Listen {
    /// Addresses to try to bind, best first: every interface is the IPv6 wildcard (which takes IPv4 too where
    /// the system allows it), then the IPv4 one.
    ///
    /// # Errors
    /// If the host name does not resolve.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        match &self.host {
            None => Ok(vec![
                SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), self.port),
                SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), self.port),
            ]),
            Some(host) => Ok((host.as_str(), self.port).to_socket_addrs()?.collect()),
        }
    }

    /// The URL under which a program on this machine reaches the address.
    #[must_use]
    pub fn local_url(&self) -> String {
        let host = match self.host.as_deref() {
            None | Some("0.0.0.0" | "::") => "127.0.0.1",
            Some(host) => host,
        };
        if host.contains(':') {
            format!("http://[{host}]:{}", self.port)
        } else {
            format!("http://{host}:{}", self.port)
        }
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.as_deref() {
            None => write!(f, ":{}", self.port),
            Some(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            Some(host) => write!(f, "{host}:{}", self.port),
        }
    }
}

/// `capacity`: what may be in memory, and who leaves first.
#[derive(Clone, Debug, PartialEq)]
pub struct Capacity {
    /// `max_models`: avatars in memory at once.
    pub max_models: usize,
    /// `max_memory_gb`: bytes all avatars in memory may take together.
    pub max_memory_bytes: u64,
    /// `eviction_policy`: which idle avatar leaves when room is needed.
    pub eviction_policy: EvictionPolicy,
    /// `idle_unload_minutes`: an avatar unused for this long is unloaded.
    pub idle_unload: Option<Duration>,
    /// `background_cache_frames`: prepared backgrounds kept in memory per avatar.
    pub background_cache_frames: usize,
    /// `raw_cache_frames`: backgrounds kept as pixels per avatar.
    pub raw_cache_frames: usize,
    /// `prepare_threads`: threads that prepare backgrounds ahead, per avatar; `None` is one a core.
    pub prepare_threads: Option<usize>,
    /// `prepared_cache_mb`: bytes of prepared backgrounds kept on disk per folder of backgrounds; 0 is off.
    pub prepared_cache_bytes: u64,
    /// `prepared_cache_dir`: where they are kept; `None` is beside each folder of backgrounds.
    pub prepared_cache_dir: Option<PathBuf>,
    /// `video_cache_mb`: bytes of prepared H.264 kept in memory per avatar; 0 is none.
    pub video_cache_bytes: u64,
    /// `eviction_wait_seconds`: how long a request waits for an idle victim before it is refused.
    pub eviction_wait: Duration,
    /// `parallel_loads`: avatars that may be loading at once.
    pub parallel_loads: usize,
    /// `load_retry_seconds`: the pause after a failed load before the next attempt; doubles with every failure.
    pub load_retry: Duration,
    /// `load_retry_max_seconds`: where that doubling ends.
    pub load_retry_max: Duration,
}

choice! {
    /// Which idle avatar leaves when room is needed.
    EvictionPolicy {
        /// The one unused for longest.
        Lru = "lru",
        /// The one used least, old use counting less; ties by last use.
        Lfu = "lfu",
    }
}

/// `onnx`: how the networks run.
#[derive(Clone, Debug, PartialEq)]
pub struct Onnx {
    /// `library_path`: the ONNX Runtime shared library; `None` searches the usual places.
    pub library_path: Option<PathBuf>,
    /// `cuda_enabled`: CUDA is demanded; without it the start fails unless `fallback` allows the CPU.
    pub cuda_enabled: bool,
    /// `cuda_device`: which GPU.
    pub cuda_device: u32,
    /// `backend`: which engine.
    pub backend: BackendChoice,
    /// `execution_providers`: in order of preference, without duplicates, never empty.
    pub execution_providers: Vec<ExecutionProvider>,
    /// `fallback`: what to do when a demanded provider is not usable.
    pub fallback: Fallback,
    /// `profile`: what the thread defaults aim at.
    pub profile: Profile,
    /// `sessions_per_model`: sessions (each with its own thread) per avatar; `None` follows `profile`.
    pub sessions_per_model: Option<usize>,
    /// `intra_threads`: threads inside one session; `None` follows `profile`.
    pub intra_threads: Option<usize>,
    /// `parallel_runs`: runs at once of all avatars; `None` is what the machine can run at once.
    pub parallel_runs: Option<usize>,
    /// `max_batch`: frames in one run of the network; `None` is 1 on a CPU and 8 on a GPU.
    pub max_batch: Option<usize>,
    /// `batch_delay_ms`: how long the first frame of a batch waits for company.
    pub batch_delay: Duration,
    /// `server.worker_count`: sessions per avatar that an original's file asks for, on a CPU at most one a core.
    pub worker_count: Option<usize>,
    /// `queue_frames`: frames that may wait per avatar; more are refused with `RESOURCE_EXHAUSTED`.
    pub queue_frames: usize,
    /// `hang_timeout_seconds`: a run of the network longer than this fails, and its session is replaced.
    pub hang_timeout: Duration,
    /// `plan`: how the networks' graphs are rewritten; `Auto` goes by what was measured.
    pub plan: PlanChoice,
    /// `tune`: whether plans are measured.
    pub tune: Tune,
    /// `cache_mb`: bytes of the processor's cache that one session may count on; `None` asks the system.
    pub cache_bytes: Option<u64>,
    /// `visual_cache_mb`: bytes per avatar for the part of the network that depends on the background alone; 0 is off.
    pub visual_cache_bytes: u64,
}

choice! {
    /// What to do when a demanded execution provider is not usable.
    Fallback {
        /// Refuse to start, with the reason.
        None = "none",
        /// Run on the CPU, and say so.
        Cpu = "cpu",
    }
}

choice! {
    /// How the graph of a network is rewritten.
    PlanChoice {
        /// As was measured to be the fastest; until then, as the file has it.
        Auto = "auto",
        /// As the file has it.
        Plain = "plain",
        /// Convolutions before a Resize.
        Split = "split",
        /// That, and wide blocks in groups of channels that fit the cache.
        Grouped = "grouped",
    }
}

choice! {
    /// What the defaults of sessions and threads aim at.
    Profile {
        /// Most frames a second: as many sessions as cores, one thread each.
        Throughput = "throughput",
        /// Fastest single frame: one session on all cores.
        Latency = "latency",
    }
}

/// `models.<id>`: one avatar.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Model {
    /// The name clients ask for: 1 to 128 printable ASCII characters.
    pub id: String,
    /// `model_path`: the generator network, ONNX.
    pub model_path: PathBuf,
    /// `background_dir`: the folder of background pictures.
    pub background_dir: PathBuf,
    /// `crop_rects_path`: the crop rects, JSON.
    pub crop_rects_path: PathBuf,
    /// `audio_encoder_path`: the audio encoder network, ONNX; without it only ready-made features are served.
    pub audio_encoder_path: Option<PathBuf>,
    /// `num_frames`: backgrounds used; `None` is as many as there are crop rects.
    pub num_frames: Option<usize>,
    /// `preload`: load at start.
    pub preload: bool,
    /// `memory_estimate_mb`: bytes counted for this avatar at least.
    pub memory_estimate_bytes: u64,
    /// `audio_padding`: what the audio windows hold past the ends of a clip.
    pub audio_padding: Padding,
    /// `compositing`: how a prediction gets into the background.
    pub compositing: Geometry,
    /// `compositing_feather`: pixels over which a prediction fades into the background, from where it begins.
    pub compositing_feather: u32,
    /// `rects`: what happens to a rect that leaves the picture.
    pub rects: RectPolicy,
    /// `sequence`: which background frame `k` shows.
    pub sequence: Sequence,
    /// `fps`: frames a second.
    pub fps: u32,
    /// `video_kbps`: what the background of its H.264 may take, in thousand bits a second.
    pub video_kbps: u32,
}

/// `logging`: what is logged, how, and where to.
#[derive(Clone, Debug, PartialEq)]
pub struct Logging {
    /// `level`: the least important level that is logged.
    pub level: LogLevel,
    /// `format`: for people or for machines.
    pub format: LogFormat,
    /// `log_model_operations`: whether loads, unloads and evictions are logged; failures are either way.
    pub log_model_operations: bool,
    /// `stats_report_minutes`: the pause between two reports of what every avatar did.
    pub stats_report: Option<Duration>,
    /// `log_file`: a file that gets every line as well.
    pub log_file: Option<PathBuf>,
    /// `max_repeated_lines`: warnings and errors of one kind logged within ten seconds; 0: any number.
    pub max_repeated_lines: u64,
}

choice! {
    /// What happens to a rect that leaves the picture.
    RectPolicy {
        /// It is refused.
        Strict = "strict",
        /// It is cut at the right and at the bottom.
        Clip = "clip",
    }
}

choice! {
    /// The least important level that is logged.
    LogLevel {
        /// Failures only.
        Error = "error",
        /// And what looks wrong.
        Warn = "warn" | "warning",
        /// And what an operator wants to know.
        Info = "info",
        /// And why.
        Debug = "debug",
        /// And every step.
        Trace = "trace",
    }
}

choice! {
    /// The form of a log line.
    LogFormat {
        /// For people.
        Human = "human",
        /// One JSON object a line.
        Json = "json",
    }
}
