//! Between the messages of the wire and the types of the core: the only place that knows both.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config;
use crate::defaults::JPEG_QUALITY;
use crate::encoder::{Format, FormatName};
use crate::pipeline::{FrameTimings, RenderedFrame};
use crate::registry::{LoadReport, ModelSnapshot, ModelSpec, ModelStats, Snapshot, Status};
use crate::server::admission::auth::Rights;
use crate::server::grpc::status::Failure;
use crate::server::grpc::zero_copy::Frames;
use crate::server::state::{Phase, ServerState};
use crate::wire;

/// A response that can hold an error in-band.
pub(in crate::server) trait InBand {
    /// The response that tells of an error.
    fn failed(error: String) -> Self;
}

impl InBand for wire::CompositeBatchResponse {
    fn failed(error: String) -> Self {
        Self {
            error,
            ..Self::default()
        }
    }
}

impl InBand for wire::LoadModelResponse {
    fn failed(error: String) -> Self {
        Self {
            error,
            ..Self::default()
        }
    }
}

impl InBand for wire::UnloadModelResponse {
    fn failed(error: String) -> Self {
        Self {
            error,
            ..Self::default()
        }
    }
}

/// The encoder's format for what a request asks for.
///
/// # Errors
/// [`Failure::Invalid`] naming the field.
pub(in crate::server) fn format(format: i32, jpeg_quality: i32) -> Result<Format, Failure> {
    let quality = match u8::try_from(jpeg_quality) {
        Ok(0) => None,
        Ok(quality @ 1..=100) => Some(quality),
        _ => {
            let problem =
                format!("{jpeg_quality} is out of range: use 1 to 100, or 0 for {JPEG_QUALITY}");
            return Err(Failure::invalid("jpeg_quality", problem));
        }
    };
    let named = |name: FormatName| Ok(name.with_quality(quality));
    match wire::ImageFormat::try_from(format) {
        Ok(wire::ImageFormat::Unspecified | wire::ImageFormat::Png) => named(FormatName::Png),
        Ok(wire::ImageFormat::Jpeg) => named(FormatName::Jpeg),
        Ok(wire::ImageFormat::Rgb) => named(FormatName::Rgb),
        Ok(wire::ImageFormat::I420) => named(FormatName::I420),
        Err(_) => Err(Failure::invalid(
            "output_format",
            format!("{format} is no format: use PNG (1), JPEG (2), RGB (3) or I420 (4)"),
        )),
    }
}

/// The answer to a batch that was made, its frames apart; `total` and `load` are the whole call's and the load's share
/// of it.
pub(in crate::server) fn batch_response(
    frames: Vec<RenderedFrame>,
    load: Option<Duration>,
    total: Duration,
) -> (wire::CompositeBatchResponse, Frames) {
    let sum: FrameTimings = frames.iter().map(|frame| frame.timings).sum();
    let background_indices = frames.iter().map(|frame| frame.background as i32).collect();
    let response = wire::CompositeBatchResponse {
        composited_frames: Vec::new(),
        inference_time_ms: ms(sum.inference),
        composite_time_ms: ms(sum.composite + sum.encode),
        total_time_ms: ms(total),
        model_loaded: load.is_some(),
        model_load_time_ms: load.map_or(0.0, ms),
        success: true,
        error: String::new(),
        queue_time_ms: ms(sum.queue),
        background_indices,
        visual_time_ms: ms(sum.visual),
        encode_time_ms: ms(sum.encode),
    };
    let images = frames.into_iter().map(|frame| frame.image);
    (response, Frames(images.collect()))
}

/// The answer to a load that succeeded.
pub(in crate::server) fn load_response(report: &LoadReport) -> wire::LoadModelResponse {
    wire::LoadModelResponse {
        success: true,
        error: String::new(),
        load_time_ms: report.load_time.map_or(0.0, ms),
        stats: Some(model_stats(&report.stats)),
    }
}

/// The models of `snapshot` that `wanted` accepts, in config order.
pub(in crate::server) fn models(
    state: &ServerState,
    snapshot: &Snapshot,
    rights: Rights,
    wanted: impl Fn(&str) -> bool,
) -> Vec<wire::ModelInfo> {
    let specs = state.registry().specs();
    let specs = specs.iter().filter(|spec| wanted(&spec.id));
    specs
        .filter_map(|spec| {
            let model = snapshot.model(&spec.id)?;
            Some(model_info(state, spec, model, rights))
        })
        .collect()
}

fn model_info(
    state: &ServerState,
    spec: &ModelSpec<config::Model>,
    model: &ModelSnapshot,
    rights: Rights,
) -> wire::ModelInfo {
    let config = &spec.payload;
    let path = |path: &std::path::Path| match rights {
        Rights::Admin => path.display().to_string(),
        Rights::Use | Rights::Operate => String::new(),
    };
    let stats = model_stats(&model.stats);
    let facts = state.catalog().facts(&model.id);
    let work = state.catalog().work_of(&model.id);
    let visual_cache = work.filter(|work| work.visual_cache.hits + work.visual_cache.misses > 0);
    let last_error = match &model.status {
        Status::Failed { error, .. } if rights == Rights::Admin => error.detail(),
        Status::Failed { error, .. } => error.public().to_owned(),
        _ => String::new(),
    };
    wire::ModelInfo {
        model_id: model.id.to_string(),
        loaded: model.loaded(),
        model_path: path(&config.model_path),
        background_dir: path(&config.background_dir),
        crop_rects_path: path(&config.crop_rects_path),
        stats: model.loaded().then_some(stats),
        status: model.status.name().to_owned(),
        leases: int(model.leases),
        generation: long(model.generation),
        stale: model.stale,
        last_error,
        fps: config.fps as i32,
        hears: config.audio_encoder_path.is_some(),
        lifetime_stats: Some(stats),
        width: facts.map_or(0, |facts| facts.size.width as i32),
        height: facts.map_or(0, |facts| facts.size.height as i32),
        num_frames: facts.map_or(0, |facts| int(facts.frames)),
        visual_cache: visual_cache.map(|work| wire::VisualCache {
            hits: long(work.visual_cache.hits),
            misses: long(work.visual_cache.misses),
            memory_bytes: long(work.visual_cache.bytes),
            backgrounds: int(work.visual_cache.backgrounds),
        }),
        plan: facts.map_or_else(String::new, |facts| facts.plan.to_string()),
    }
}

fn model_stats(stats: &ModelStats) -> wire::ModelStats {
    wire::ModelStats {
        usage_count: long(stats.usage_count),
        last_used_unix_ms: stats.last_used.map_or(0, unix_ms),
        total_inference_time_ms: ms(stats.total_inference_time),
        memory_bytes: long(stats.memory_bytes),
        loaded_unix_ms: stats.loaded_at.map_or(0, unix_ms),
        load_time_ms: stats.last_load_time.map_or(0.0, ms),
        load_count: long(stats.load_count),
    }
}

/// The answer to `GetModelStats`.
pub(in crate::server) fn stats_response(
    snapshot: &Snapshot,
    models: Vec<wire::ModelInfo>,
) -> wire::GetModelStatsResponse {
    wire::GetModelStatsResponse {
        models,
        max_models: int(snapshot.max_models),
        loaded_models: int(snapshot.loaded_models),
        total_memory_bytes: long(snapshot.memory_bytes),
        max_memory_bytes: long(snapshot.max_memory_bytes),
    }
}

/// The answer to `Health`.
pub(in crate::server) fn health_response(state: &ServerState) -> wire::HealthResponse {
    let snapshot = state.registry().snapshot();
    wire::HealthResponse {
        healthy: state.phase() < Phase::Leaving,
        cuda_available: state.engine().cuda_available(),
        loaded_models: int(snapshot.loaded_models),
        max_models: int(snapshot.max_models),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// The answer to `GetServerInfo`.
pub(in crate::server) fn info_response(state: &ServerState) -> wire::GetServerInfoResponse {
    let snapshot = state.registry().snapshot();
    let settings = state.settings();
    let (server, engine) = (&settings.config.server, state.engine());
    let counters = &snapshot.counters;
    let refused = &counters.rejections;
    wire::GetServerInfoResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        engine: engine.name.to_owned(),
        engine_version: engine.version.clone(),
        execution_providers: engine
            .providers
            .iter()
            .map(|provider| provider.name().to_owned())
            .collect(),
        started_unix_ms: unix_ms(state.started()),
        draining: state.phase() >= Phase::Leaving,
        max_models: int(snapshot.max_models),
        max_memory_bytes: long(snapshot.max_memory_bytes),
        max_concurrent_requests: int(server.max_concurrent_requests),
        max_streams: int(server.max_streams),
        eviction_policy: config::Choice::word(settings.config.capacity.eviction_policy).to_owned(),
        requests_in_progress: int(state.calls_now()),
        streams_open: int(state.streams_now()),
        requests: long(state.metrics().calls()),
        frames: long(state.metrics().frames()),
        loads: long(counters.loads),
        load_failures: long(counters.load_failures),
        evictions: long(counters.unloads.evicted),
        rejections: long(
            state.metrics().rejections()
                + refused.capacity_full
                + refused.too_many_waiting
                + refused.too_large,
        ),
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn unix_ms(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn int(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn long(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
