//! The calls of the two services: each is unpacked, done, and its answer or failure packed again.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tonic::{Request, Response, Status, Streaming};

use crate::registry::{LoadMode, RegistryError};
use crate::server::admission::auth::Caller;
use crate::server::admission::gate::{Call, ErrorStyle, ToldInBand};
use crate::server::grpc::convert;
use crate::server::grpc::convert::InBand;
use crate::server::grpc::status::Failure;
use crate::server::grpc::{batch, talk};
use crate::server::state::ServerState;
use crate::wire;
use crate::wire::lip_sync_server::LipSync;
use crate::wire::multi_tenant_lip_sync_server::MultiTenantLipSync;

/// Both services.
#[derive(Clone, Debug)]
pub(in crate::server) struct Service {
    state: Arc<ServerState>,
}

impl Service {
    pub(in crate::server) fn new(state: Arc<ServerState>) -> Self {
        Self { state }
    }

    async fn load(
        &self,
        request: wire::LoadModelRequest,
    ) -> Result<wire::LoadModelResponse, Failure> {
        let id = request.model_id;
        self.make_known(&id).await?;
        let mode = if request.force_reload {
            LoadMode::Replace
        } else {
            LoadMode::IfAbsent
        };
        let report = self.state.registry().load(&id, mode).await?;
        Ok(convert::load_response(&report))
    }

    /// An unknown model may have been added to the configuration since it was read.
    async fn make_known(&self, id: &str) -> Result<(), Failure> {
        if id.is_empty() {
            return Err(Failure::invalid("model_id", "it is empty"));
        }
        if self.state.registry().spec(id).is_none() {
            let looked = self.state.look_for(id).await;
            looked.map_err(|error| Failure::Reload {
                model: id.to_owned(),
                error,
            })?;
        }
        Ok(())
    }

    async fn unload(
        &self,
        request: wire::UnloadModelRequest,
    ) -> Result<wire::UnloadModelResponse, Failure> {
        if request.model_id.is_empty() {
            return Err(Failure::invalid("model_id", "it is empty"));
        }
        self.state.registry().unload(&request.model_id).await?;
        Ok(wire::UnloadModelResponse {
            success: true,
            error: String::new(),
        })
    }

    fn stats(&self, id: &str, caller: &Caller) -> Result<wire::GetModelStatsResponse, Failure> {
        let registry = self.state.registry();
        if !id.is_empty() && (registry.spec(id).is_none() || !caller.may_use(id)) {
            return Err(RegistryError::UnknownModel { id: id.into() }.into());
        }
        let snapshot = registry.snapshot();
        let models = convert::models(&self.state, &snapshot, caller.rights, |model| {
            (id.is_empty() || id == model) && caller.may_use(model)
        });
        Ok(convert::stats_response(&snapshot, models))
    }
}

#[tonic::async_trait]
impl MultiTenantLipSync for Service {
    async fn infer_batch_composite(
        &self,
        mut request: Request<wire::CompositeBatchRequest>,
    ) -> Result<Response<wire::CompositeBatchResponse>, Status> {
        let bulk = request.extensions_mut().remove();
        let (call, request) = unpack(request);
        let request = bulk.unwrap_or(request);
        let result = batch::infer(&self.state, &call, request).await;
        let (result, frames) = match result {
            Ok((response, frames)) => (Ok(response), Some(frames)),
            Err(failure) => (Err(failure), None),
        };
        let mut answer = answer(&call, result)?;
        if let Some(frames) = frames {
            answer.extensions_mut().insert(frames);
        }
        Ok(answer)
    }

    async fn list_models(
        &self,
        request: Request<wire::ListModelsRequest>,
    ) -> Result<Response<wire::ListModelsResponse>, Status> {
        let (call, _) = unpack(request);
        let snapshot = self.state.registry().snapshot();
        let models = convert::models(&self.state, &snapshot, call.caller.rights, |model| {
            call.caller.may_use(model)
        });
        Ok(Response::new(wire::ListModelsResponse { models }))
    }

    async fn load_model(
        &self,
        request: Request<wire::LoadModelRequest>,
    ) -> Result<Response<wire::LoadModelResponse>, Status> {
        let (call, request) = unpack(request);
        let id = request.model_id.clone();
        let result = self.load(request).await;
        audit(&call.caller, "load", &id, &result);
        answer(&call, result)
    }

    async fn unload_model(
        &self,
        request: Request<wire::UnloadModelRequest>,
    ) -> Result<Response<wire::UnloadModelResponse>, Status> {
        let (call, request) = unpack(request);
        let id = request.model_id.clone();
        let result = self.unload(request).await;
        audit(&call.caller, "unload", &id, &result);
        answer(&call, result)
    }

    async fn get_model_stats(
        &self,
        request: Request<wire::GetModelStatsRequest>,
    ) -> Result<Response<wire::GetModelStatsResponse>, Status> {
        let (call, request) = unpack(request);
        // The response has no place for an error.
        let rights = call.caller.rights;
        let stats = self.stats(&request.model_id, &call.caller);
        stats.map(Response::new).map_err(|f| f.status(rights))
    }

    async fn health(
        &self,
        _: Request<wire::HealthRequest>,
    ) -> Result<Response<wire::HealthResponse>, Status> {
        Ok(Response::new(convert::health_response(&self.state)))
    }
}

#[tonic::async_trait]
impl LipSync for Service {
    type TalkStream = talk::TalkStream;

    async fn talk(
        &self,
        request: Request<Streaming<wire::TalkRequest>>,
    ) -> Result<Response<Self::TalkStream>, Status> {
        let (call, requests) = unpack(request);
        Ok(talk::talk(Arc::clone(&self.state), call, requests))
    }

    async fn get_usage(
        &self,
        request: Request<wire::GetUsageRequest>,
    ) -> Result<Response<wire::GetUsageResponse>, Status> {
        let (call, request) = unpack(request);
        let usage = usage(&self.state, request, &call.caller);
        usage
            .map(Response::new)
            .map_err(|failure| failure.status(call.caller.rights))
    }

    async fn get_server_info(
        &self,
        _: Request<wire::GetServerInfoRequest>,
    ) -> Result<Response<wire::GetServerInfoResponse>, Status> {
        Ok(Response::new(convert::info_response(&self.state)))
    }
}

/// What `caller` may know of the accounts.
fn usage(
    state: &ServerState,
    request: wire::GetUsageRequest,
    caller: &Caller,
) -> Result<wire::GetUsageResponse, Failure> {
    let since = match u64::try_from(request.since_unix_ms) {
        Ok(0) => None,
        Ok(ms) => SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms)),
        Err(_) => return Err(Failure::invalid("since_unix_ms", "it is negative")),
    };
    let accounts = state.accounts();
    let is_shown = |tenant: &str| caller.rights.may_operate() || tenant == caller.name();
    let sums = accounts.since(since).into_iter();
    let refusals = accounts.refusals().into_iter();
    let milliseconds = |micros: u64| micros as f64 / 1e3;
    Ok(wire::GetUsageResponse {
        usage: sums
            .filter(|((tenant, _), _)| is_shown(tenant))
            .map(|((tenant, model_id), usage)| wire::TenantUsage {
                tenant,
                model_id,
                frames: usage.frames as i64,
                inference_ms: milliseconds(usage.inference_us),
                bytes: usage.bytes as i64,
                load_ms: milliseconds(usage.load_us),
            })
            .collect(),
        refusals: refusals
            .filter(|(tenant, ..)| is_shown(tenant))
            .map(|(tenant, reason, calls)| wire::TenantRefusals {
                tenant,
                reason: reason.to_owned(),
                calls: calls as i64,
            })
            .collect(),
        kept: accounts.are_kept(),
    })
}

/// One line for every act of an operator, by whom, and whether it came to anything.
fn audit<T>(caller: &Caller, act: &'static str, model: &str, result: &Result<T, Failure>) {
    let outcome = result.as_ref().map_or_else(Failure::reason, |_| "OK");
    tracing::info!(
        target: "lipsync::audit",
        tenant = caller.name(),
        act,
        model,
        outcome,
        "audit"
    );
}

/// The message, and what the gate found out about its call.
fn unpack<T>(request: Request<T>) -> (Call, T) {
    let (_, extensions, message) = request.into_parts();
    // Without the gate nobody is known and nothing is allowed.
    let call = extensions.get().cloned().unwrap_or_else(|| Call {
        caller: Caller::nobody(),
        arrival: Instant::now(),
        deadline: None,
        errors: ErrorStyle::Status,
    });
    (call, message)
}

/// The answer; a failure goes into it, or takes its place as a status.
fn answer<R: InBand>(call: &Call, result: Result<R, Failure>) -> Result<Response<R>, Status> {
    let failure = match result {
        Ok(response) => return Ok(Response::new(response)),
        Err(failure) => failure,
    };
    log(&failure);
    let rights = call.caller.rights;
    if call.errors == ErrorStyle::Status || !failure.is_in_band() {
        return Err(failure.status(rights));
    }
    let mut response = Response::new(R::failed(failure.message(rights)));
    response.extensions_mut().insert(ToldInBand(failure.code()));
    Ok(response)
}

/// What the operator should know, with all details. Broken loads were logged by the registry.
pub(in crate::server) fn log(failure: &Failure) {
    match failure {
        Failure::Render(error) if failure.is_in_band() => {
            tracing::warn!(%error, reason = failure.reason(), "call failed");
        }
        _ => tracing::debug!(error = %failure, reason = failure.reason(), "call failed"),
    }
}
