//! What tenants have used, for the metrics. Only names of the configuration become labels, and no more than the accounts
//! keep apart.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use crate::tenants::{Accounts, Sums, Usage};

/// Reads the accounts for the metrics.
#[derive(Debug)]
pub(in crate::server) struct UsageCounters(pub(in crate::server) Arc<Accounts>);

impl Collector for UsageCounters {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let sums = self.0.since_start();
        let mut family =
            |name, help, value: fn(&Usage) -> f64| write(&mut encoder, name, help, &sums, value);
        family("tenant_frames", "Frames made for a tenant", |usage| {
            usage.frames as f64
        })?;
        family(
            "tenant_sent_bytes",
            "Bytes of pictures sent to a tenant",
            |usage| usage.bytes as f64,
        )?;
        family(
            "tenant_inference_seconds",
            "Time in the networks for a tenant",
            |usage| usage.inference_us as f64 / 1e6,
        )?;
        family(
            "tenant_load_seconds",
            "Loads that a tenant waited for",
            |usage| usage.load_us as f64 / 1e6,
        )?;
        let refused = self.0.refusals();
        let help = "Calls of a tenant that were refused, by reason";
        let mut family =
            encoder.encode_descriptor("tenant_refusals", help, None, MetricType::Counter)?;
        for (tenant, reason, calls) in &refused {
            let labels = [("tenant", tenant.as_str()), ("reason", *reason)];
            let encoder = family.encode_family(&labels)?;
            ConstCounter::new(*calls).encode(encoder)?;
        }
        Ok(())
    }
}

fn write(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    sums: &Sums,
    value: fn(&Usage) -> f64,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for ((tenant, model), usage) in sums {
        let labels = [("tenant", tenant.as_str()), ("model", model.as_str())];
        let encoder = family.encode_family(&labels)?;
        ConstCounter::new(value(usage)).encode(encoder)?;
    }
    Ok(())
}
