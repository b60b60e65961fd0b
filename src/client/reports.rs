//! What a server tells about itself, as plain data. The names of these fields are what `--json` prints.

use serde::Serialize;

use crate::wire;

/// One configured model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelReport {
    /// Its name.
    pub id: String,
    /// `unloaded`, `loading`, `ready`, `reloading`, `draining` or `failed`.
    pub status: String,
    /// Whether requests are served without a load.
    pub loaded: bool,
    /// Requests and streams using it now.
    pub leases: u64,
    /// Which load of it serves, counted from 1.
    pub generation: u64,
    /// Its configuration changed since.
    pub stale: bool,
    /// Why its last load failed.
    pub last_error: Option<String>,
    /// Frames a second of speech.
    pub fps: u32,
    /// Whether speech can drive it.
    pub hears: bool,
    /// Width of its frames in pixels; 0 until it was loaded once, as the next two.
    pub width: u32,
    /// Height of its frames in pixels.
    pub height: u32,
    /// How many backgrounds it has.
    pub num_frames: u32,
    /// What it did since the server started.
    pub figures: ModelFigures,
    /// By which plan its network runs (`onnx.plan`), once it was loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// What is kept of the network's work on its backgrounds (`onnx.visual_cache_mb`), unless that is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visual_cache: Option<VisualCacheFigures>,
    /// The server's files, if it tells them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<ModelFiles>,
}

/// Where the server has a model from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelFiles {
    /// The generator network.
    pub model_path: String,
    /// The folder of backgrounds.
    pub background_dir: String,
    /// The crop rects.
    pub crop_rects_path: String,
}

/// What a model did and takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ModelFigures {
    /// Frames inferred.
    pub frames: u64,
    /// Time in the network, without queueing.
    pub inference_time_ms: f64,
    /// Bytes it takes now.
    pub memory_bytes: u64,
    /// When it was last used.
    pub last_used_unix_ms: Option<u64>,
    /// When it was loaded, if it is.
    pub loaded_unix_ms: Option<u64>,
    /// How long its last load took.
    pub load_time_ms: f64,
    /// Loads that succeeded.
    pub loads: u64,
}

impl ModelFigures {
    /// Mean time a frame spent in the network.
    #[must_use]
    pub fn inference_ms_mean(&self) -> Option<f64> {
        (self.frames > 0).then(|| self.inference_time_ms / self.frames as f64)
    }
}

/// What is kept of the network's work on backgrounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VisualCacheFigures {
    /// Frames whose background's part was kept.
    pub hits: u64,
    /// Frames whose background's part had to be run.
    pub misses: u64,
    /// Bytes kept.
    pub memory_bytes: u64,
    /// Backgrounds kept.
    pub backgrounds: u64,
}

/// What a load came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadReport {
    /// How long it took; 0 if the model was loaded already.
    pub load_time_ms: f64,
    /// The model's figures after it.
    pub figures: ModelFigures,
}

/// How full the server is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Capacity {
    /// Models ready to serve.
    pub loaded_models: u64,
    /// How many may be in memory.
    pub max_models: u64,
    /// Bytes all models take.
    pub memory_bytes: u64,
    /// Bytes they may take.
    pub max_memory_bytes: u64,
}

/// A server: its engine, its limits, and what it has done since its start.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServerReport {
    /// Version of the program.
    pub version: String,
    /// The engine that runs the networks.
    pub engine: String,
    /// Its version.
    pub engine_version: String,
    /// What it runs on.
    pub execution_providers: Vec<String>,
    /// When it started.
    pub started_unix_ms: u64,
    /// Whether it is stopping.
    pub draining: bool,
    /// Who leaves when room is needed.
    pub eviction_policy: String,
    /// Calls in progress.
    pub requests_in_progress: u64,
    /// Calls that may be in progress at once.
    pub max_concurrent_requests: u64,
    /// Talk streams open.
    pub streams_open: u64,
    /// Talk streams that may be open at once.
    pub max_streams: u64,
    /// Calls taken.
    pub requests: u64,
    /// Frames made.
    pub frames: u64,
    /// Models loaded.
    pub loads: u64,
    /// Loads that failed.
    pub load_failures: u64,
    /// Models that left to make room.
    pub evictions: u64,
    /// Calls refused.
    pub rejections: u64,
}

impl ServerReport {
    /// `ONNX Runtime 1.24.1 (cuda, cpu)`.
    #[must_use]
    pub fn engine_text(&self) -> String {
        format!(
            "{} {} ({})",
            self.engine,
            self.engine_version,
            self.execution_providers.join(", ")
        )
    }
}

/// A server and its models at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stats {
    /// The server.
    pub server: ServerReport,
    /// How full it is.
    pub capacity: Capacity,
    /// Its models, in the order of its configuration.
    pub models: Vec<ModelReport>,
}

impl Stats {
    pub(super) fn new(server: ServerReport, stats: wire::GetModelStatsResponse) -> Self {
        Self {
            server,
            capacity: Capacity {
                loaded_models: count(stats.loaded_models),
                max_models: count(stats.max_models),
                memory_bytes: count(stats.total_memory_bytes),
                max_memory_bytes: count(stats.max_memory_bytes),
            },
            models: stats.models.into_iter().map(ModelReport::from).collect(),
        }
    }
}

impl From<wire::ModelInfo> for ModelReport {
    fn from(info: wire::ModelInfo) -> Self {
        let files = ModelFiles {
            model_path: info.model_path,
            background_dir: info.background_dir,
            crop_rects_path: info.crop_rects_path,
        };
        let status = match (info.status.as_str(), info.loaded) {
            // A server of the original protocol says no more than whether it is loaded.
            ("", true) => "ready".to_owned(),
            ("", false) => "unloaded".to_owned(),
            _ => info.status,
        };
        Self {
            id: info.model_id,
            status,
            loaded: info.loaded,
            leases: count(info.leases),
            generation: count(info.generation),
            stale: info.stale,
            last_error: Some(info.last_error).filter(|error| !error.is_empty()),
            fps: small(info.fps),
            hears: info.hears,
            width: small(info.width),
            height: small(info.height),
            num_frames: small(info.num_frames),
            figures: info
                .lifetime_stats
                .or(info.stats)
                .map(ModelFigures::from)
                .unwrap_or_default(),
            plan: Some(info.plan).filter(|plan| !plan.is_empty()),
            visual_cache: info.visual_cache.map(|cache| VisualCacheFigures {
                hits: count(cache.hits),
                misses: count(cache.misses),
                memory_bytes: count(cache.memory_bytes),
                backgrounds: count(cache.backgrounds),
            }),
            files: Some(files).filter(|files| !files.model_path.is_empty()),
        }
    }
}

impl From<wire::ModelStats> for ModelFigures {
    fn from(stats: wire::ModelStats) -> Self {
        Self {
            frames: count(stats.usage_count),
            inference_time_ms: stats.total_inference_time_ms,
            memory_bytes: count(stats.memory_bytes),
            last_used_unix_ms: moment(stats.last_used_unix_ms),
            loaded_unix_ms: moment(stats.loaded_unix_ms),
            load_time_ms: stats.load_time_ms,
            loads: count(stats.load_count),
        }
    }
}

impl From<wire::LoadModelResponse> for LoadReport {
    fn from(answer: wire::LoadModelResponse) -> Self {
        Self {
            load_time_ms: answer.load_time_ms,
            figures: answer.stats.map(ModelFigures::from).unwrap_or_default(),
        }
    }
}

impl From<wire::GetServerInfoResponse> for ServerReport {
    fn from(info: wire::GetServerInfoResponse) -> Self {
        Self {
            version: info.version,
            engine: info.engine,
            engine_version: info.engine_version,
            execution_providers: info.execution_providers,
            started_unix_ms: count(info.started_unix_ms),
            draining: info.draining,
            eviction_policy: info.eviction_policy,
            requests_in_progress: count(info.requests_in_progress),
            max_concurrent_requests: count(info.max_concurrent_requests),
            streams_open: count(info.streams_open),
            max_streams: count(info.max_streams),
            requests: count(info.requests),
            frames: count(info.frames),
            loads: count(info.loads),
            load_failures: count(info.load_failures),
            evictions: count(info.evictions),
            rejections: count(info.rejections),
        }
    }
}

/// The wire's counts are signed; a negative one is nobody's.
fn count(number: impl Into<i64>) -> u64 {
    u64::try_from(number.into()).unwrap_or(0)
}

fn small(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

fn moment(unix_ms: i64) -> Option<u64> {
    Some(count(unix_ms)).filter(|ms| *ms > 0)
}
