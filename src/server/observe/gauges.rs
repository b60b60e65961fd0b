//! What the metrics read at the moment they are asked for: the registry's picture, the workers, the process.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::engine::BackendInfo;
use crate::pipeline::{Loader, ModelFacts};
use crate::registry::{Counters, ModelSnapshot, Registry, Snapshot};
use crate::server::admission::in_flight::Occupancy;

/// Reads the server's present state for the metrics.
#[derive(Debug)]
pub(in crate::server) struct Gauges {
    registry: Registry<Loader>,
    catalog: ModelFacts,
    calls: Occupancy,
    streams: Occupancy,
    engine: [(&'static str, String); 3],
}

impl Gauges {
    pub(in crate::server) fn new(
        registry: Registry<Loader>,
        catalog: ModelFacts,
        [calls, streams]: [Occupancy; 2],
        engine: &BackendInfo,
    ) -> Self {
        Self {
            registry,
            catalog,
            calls,
            streams,
            engine: [
                ("version", env!("CARGO_PKG_VERSION").to_owned()),
                ("engine", engine.name.to_owned()),
                ("engine_version", engine.version.clone()),
            ],
        }
    }
}

impl Collector for Gauges {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page(encoder);
        let snapshot = self.registry.snapshot();
        page.info("build", "This server and its engine", &self.engine)?;
        page.gauge(
            "requests_in_progress",
            "Calls in progress",
            self.calls.now() as u64,
        )?;
        page.gauge(
            "streams_open",
            "Talk streams open",
            self.streams.now() as u64,
        )?;
        page.registry(&snapshot)?;
        page.models(&snapshot.models)?;
        page.counters(&snapshot.counters)?;
        page.workers(&self.catalog)?;
        let memory = resident_bytes();
        page.gauge(
            "process_resident_bytes",
            "Memory the whole process holds",
            memory,
        )
    }
}

/// Memory the process holds. Linux has it in one short file; adding it up over all mappings, as is done elsewhere, takes
/// a lock that everybody who allocates wants, for tens of milliseconds.
fn resident_bytes() -> u64 {
    #[cfg(target_os = "linux")]
    {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
        pages.map_or(0, |pages: u64| pages * rustix::param::page_size() as u64)
    }
    #[cfg(not(target_os = "linux"))]
    memory_stats::memory_stats().map_or(0, |stats| stats.physical_mem as u64)
}

/// Writes one metric after another.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let gauge = ConstGauge::new(whole(value));
        let encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        gauge.encode(encoder)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
    }

    fn info(
        &mut self,
        name: &str,
        help: &str,
        labels: &[(&'static str, String); 3],
    ) -> fmt::Result {
        let mut encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Info)?;
        encoder.encode_info(labels)
    }

    /// One gauge a label value.
    fn gauges<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl IntoIterator<Item = (&'v str, u64)>,
    ) -> fmt::Result {
        let mut encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (value, number) in values {
            let labels = [(label, value)];
            ConstGauge::new(whole(number)).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// One counter a label value.
    fn counts<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl IntoIterator<Item = (&'v str, u64)>,
    ) -> fmt::Result {
        let mut encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (value, number) in values {
            let labels = [(label, value)];
            ConstCounter::new(number).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn registry(&mut self, snapshot: &Snapshot) -> fmt::Result {
        for (name, help, value) in [
            (
                "models_configured",
                "Models in the configuration",
                snapshot.models.len() as u64,
            ),
            (
                "models_loaded",
                "Models ready to serve",
                snapshot.loaded_models as u64,
            ),
            (
                "models_resident",
                "Models that hold or reserve memory",
                snapshot.resident_models as u64,
            ),
            (
                "models_max",
                "The bound on resident models",
                snapshot.max_models as u64,
            ),
            (
                "model_memory_used_bytes",
                "Memory held and reserved for models",
                snapshot.memory_bytes,
            ),
            (
                "model_memory_max_bytes",
                "The bound on it",
                snapshot.max_memory_bytes,
            ),
            (
                "load_waiters",
                "Callers waiting for a load, an unload or room",
                snapshot.waiting as u64,
            ),
        ] {
            self.gauge(name, help, value)?;
        }
        Ok(())
    }

    fn models(&mut self, models: &[ModelSnapshot]) -> fmt::Result {
        let each = |value: fn(&ModelSnapshot) -> u64| {
            models.iter().map(move |model| (&*model.id, value(model)))
        };
        self.gauges(
            "model_loaded",
            "1 if the model is ready to serve",
            "model",
            each(|model| model.loaded().into()),
        )?;
        self.gauges(
            "model_leases",
            "Requests and streams that use the model now",
            "model",
            each(|model| model.leases as u64),
        )?;
        self.gauges(
            "model_memory_bytes",
            "Memory held and reserved for the model",
            "model",
            each(|model| model.stats.memory_bytes),
        )?;
        self.counts(
            "model_inferred_frames",
            "Frames inferred",
            "model",
            each(|model| model.stats.usage_count),
        )?;
        self.counts(
            "model_loads",
            "Successful loads of the model",
            "model",
            each(|model| model.stats.load_count),
        )
    }

    fn counters(&mut self, counters: &Counters) -> fmt::Result {
        self.counter("loads", "Successful loads", counters.loads)?;
        self.counter(
            "load_failures",
            "Failed validations and loads",
            counters.load_failures,
        )?;
        let unloads = &counters.unloads;
        self.counts(
            "unloads",
            "Models that left memory, by reason",
            "reason",
            [
                ("evicted", unloads.evicted),
                ("idle", unloads.idle),
                ("requested", unloads.requested),
                ("replaced", unloads.replaced),
                ("reconfigured", unloads.reconfigured),
                ("shutdown", unloads.shutdown),
            ],
        )?;
        let refused = &counters.rejections;
        self.counts(
            "model_rejections",
            "Callers the registry refused a model, by reason",
            "reason",
            [
                ("capacity_full", refused.capacity_full),
                ("too_large", refused.too_large),
                ("too_many_waiting", refused.too_many_waiting),
                ("load_failed", refused.load_failed),
                ("unknown_model", refused.unknown_model),
                ("shutting_down", refused.shutting_down),
            ],
        )
    }

    fn workers(&mut self, catalog: &ModelFacts) -> fmt::Result {
        let models = catalog.work();
        let each = |value: fn(&crate::workers::WorkerStats) -> u64| {
            models.iter().map(move |(id, stats)| (&**id, value(stats)))
        };
        self.gauges(
            "queue_frames",
            "Frames that wait for a session",
            "model",
            each(|stats| stats.queued as u64),
        )?;
        self.gauges(
            "sessions_busy",
            "Sessions that run the network now",
            "model",
            each(|stats| stats.busy as u64),
        )?;
        self.counts(
            "batches",
            "Runs of the network",
            "model",
            each(|stats| stats.batches),
        )?;
        self.counts(
            "dropped_frames",
            "Frames dropped unrun: their caller went away or their deadline passed",
            "model",
            each(|stats| stats.dropped),
        )?;
        self.counts(
            "sessions_replaced",
            "Sessions replaced after a panic or a hang",
            "model",
            each(|stats| stats.replaced),
        )?;
        self.counts(
            "visual_cache_hits",
            "Frames whose background's part of the network was kept (onnx.visual_cache_mb)",
            "model",
            each(|stats| stats.visual_cache.hits),
        )?;
        self.counts(
            "visual_cache_misses",
            "Frames whose background's part of the network had to be run",
            "model",
            each(|stats| stats.visual_cache.misses),
        )?;
        self.gauges(
            "visual_cache_bytes",
            "Memory that the kept parts take",
            "model",
            each(|stats| stats.visual_cache.bytes),
        )
    }
}

fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
