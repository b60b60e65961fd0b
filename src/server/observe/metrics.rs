//! What the server counts, in Prometheus' text format.
//!
//! Models are the only labels whose values are not constants, and only configured names become one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{EncodeLabelSet, prometheus_text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tonic::Code;

use crate::pipeline::FrameTimings;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    rpc: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RpcLabel {
    rpc: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabel {
    stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabel {
    model: String,
}

/// The server's counters; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    calls: Family<CallLabels, Counter>,
    call_seconds: Family<RpcLabel, Histogram, fn() -> Histogram>,
    rejections: Family<ReasonLabel, Counter>,
    frames: Family<ModelLabel, Counter>,
    stage_seconds: Family<StageLabel, Histogram, fn() -> Histogram>,
    first_frame_seconds: Histogram,
    stalls: Family<ModelLabel, Counter>,
    totals: Arc<Totals>,
}

/// The same without labels, for `GetServerInfo`.
#[derive(Debug, Default)]
struct Totals {
    calls: AtomicU64,
    rejections: AtomicU64,
    frames: AtomicU64,
}

impl Metrics {
    /// Counters at zero, and what the collectors read when asked.
    pub(in crate::server) fn new(collector: impl Collector, usage: impl Collector) -> Self {
        let mut registry = Registry::with_prefix("lipsync");
        let calls = Family::default();
        let call_seconds: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(call_buckets);
        let rejections = Family::default();
        let frames = Family::default();
        let stage_seconds: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(stage_buckets);
        let first_frame_seconds = call_buckets();
        registry.register(
            "requests",
            "Calls that have ended, by code; errors told in-band count under their code",
            calls.clone(),
        );
        registry.register(
            "request_seconds",
            "Time from a call's headers to the last byte of its answer",
            call_seconds.clone(),
        );
        registry.register(
            "rejections",
            "Calls refused before their message was read, by reason",
            rejections.clone(),
        );
        registry.register("frames", "Finished frames", frames.clone());
        registry.register(
            "stage_seconds",
            "Time a frame spent in a stage",
            stage_seconds.clone(),
        );
        registry.register(
            "first_frame_seconds",
            "Time from a stream's first audio to its first frame's departure",
            first_frame_seconds.clone(),
        );
        let stalls = Family::default();
        registry.register(
            "stream_stalls",
            "Times that a Talk stream had speech to show for two seconds and showed none",
            stalls.clone(),
        );
        registry.register_collector(Box::new(collector));
        registry.register_collector(Box::new(usage));
        Self {
            registry: Arc::new(registry),
            calls,
            call_seconds,
            rejections,
            frames,
            stage_seconds,
            first_frame_seconds,
            stalls,
            totals: Arc::default(),
        }
    }

    /// A call has ended.
    pub(in crate::server) fn answered(&self, rpc: &'static str, code: Code, took: Duration) {
        let code = code_name(code);
        self.calls.get_or_create(&CallLabels { rpc, code }).inc();
        self.call_seconds
            .get_or_create(&RpcLabel { rpc })
            .observe(took.as_secs_f64());
        self.totals.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// A call was refused at the gate.
    pub(in crate::server) fn rejected(&self, reason: &'static str) {
        self.rejections.get_or_create(&ReasonLabel { reason }).inc();
        self.totals.rejections.fetch_add(1, Ordering::Relaxed);
    }

    /// A frame of a configured model is finished.
    pub fn frame(&self, model: &str, timings: &FrameTimings) {
        let label = ModelLabel {
            model: model.to_owned(),
        };
        self.frames.get_or_create(&label).inc();
        for (stage, took) in timings.stages() {
            self.stage_seconds
                .get_or_create(&StageLabel { stage })
                .observe(took.as_secs_f64());
        }
        self.totals.frames.fetch_add(1, Ordering::Relaxed);
    }

    /// The first frame of a stream has left, so long after its first audio.
    pub fn first_frame(&self, took: Duration) {
        self.first_frame_seconds.observe(took.as_secs_f64());
    }

    /// A stream of a configured model had speech to show for two seconds and showed none.
    pub(in crate::server) fn stalled(&self, model: &str) {
        let model = model.to_owned();
        self.stalls.get_or_create(&ModelLabel { model }).inc();
    }

    /// Forgets a model that is not configured any more.
    pub(in crate::server) fn forget(&self, model: &str) {
        let label = ModelLabel {
            model: model.to_owned(),
        };
        self.frames.remove(&label);
        self.stalls.remove(&label);
    }

    /// Calls that have ended.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.totals.calls.load(Ordering::Relaxed)
    }

    /// Calls refused at the gate.
    #[must_use]
    pub fn rejections(&self) -> u64 {
        self.totals.rejections.load(Ordering::Relaxed)
    }

    /// Finished frames.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.totals.frames.load(Ordering::Relaxed)
    }

    /// Everything, as Prometheus reads it.
    ///
    /// # Errors
    /// Never in practice: text does not refuse to be written to.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        prometheus_text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

/// 1 ms to about a minute.
fn call_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 17))
}

/// A tenth of a millisecond to about 3 s.
fn stage_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 16))
}

/// The code as gRPC spells it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
