//! What a server tells of its tenants' use, as plain data. The names of these fields are what `--json` prints.

use serde::Serialize;

use crate::wire;

/// What tenants have used.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UsageReport {
    /// By tenant and model.
    pub usage: Vec<TenantUsage>,
    /// Calls that were refused since the server's start.
    pub refusals: Vec<TenantRefusals>,
    /// Whether usage is kept over restarts.
    pub kept: bool,
}

/// What one tenant has used of one model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TenantUsage {
    /// Who.
    pub tenant: String,
    /// Of which model.
    pub model: String,
    /// Frames made.
    pub frames: u64,
    /// Time in the networks.
    pub inference_ms: f64,
    /// Bytes of pictures sent.
    pub bytes: u64,
    /// Loads that it waited for.
    pub load_ms: f64,
}

/// Calls of one tenant that were refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TenantRefusals {
    /// Who.
    pub tenant: String,
    /// Why.
    pub reason: String,
    /// How many.
    pub calls: u64,
}

impl From<wire::GetUsageResponse> for UsageReport {
    fn from(answer: wire::GetUsageResponse) -> Self {
        let whole = |number: i64| u64::try_from(number).unwrap_or(0);
        let usage = answer.usage.into_iter();
        let refusals = answer.refusals.into_iter();
        Self {
            usage: usage
                .map(|usage| TenantUsage {
                    tenant: usage.tenant,
                    model: usage.model_id,
                    frames: whole(usage.frames),
                    inference_ms: usage.inference_ms,
                    bytes: whole(usage.bytes),
                    load_ms: usage.load_ms,
                })
                .collect(),
            refusals: refusals
                .map(|refused| TenantRefusals {
                    tenant: refused.tenant,
                    reason: refused.reason,
                    calls: whole(refused.calls),
                })
                .collect(),
            kept: answer.kept,
        }
    }
}
