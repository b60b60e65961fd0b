//! The client's side of the wire: what `lipsync models`, `stats`, `infer --server` and `bench --server` stand on.
//!
//! Plain types go in and come out; the generated ones stay in here. Every call about a model names it in the metadata
//! (load balancers hash on it) and asks for errors as statuses, which become a [`ClientError`] that says what to do.
//! A [`Client`] connects again by itself when its server comes back.

mod batch;
mod error;
mod reports;
mod talk;
mod usage;

use std::time::{Duration, SystemTime};

use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

pub use batch::{BatchOrder, BatchReply};
pub use error::{ClientError, Refusal};
pub use reports::{Capacity, LoadReport, ModelFigures, ModelReport, ServerReport, Stats};
pub use talk::{SpeechPosition, Talk, TalkEvent, TalkFrame, TalkInput, TalkOrder, TalkSummary};
pub use usage::{TenantRefusals, TenantUsage, UsageReport};

use crate::wire::lip_sync_client::LipSyncClient;
use crate::wire::multi_tenant_lip_sync_client::MultiTenantLipSyncClient;
use crate::wire::{self, ERRORS_KEY, MODEL_ID_KEY, STATUS_ERRORS};

/// The port of the wire contract.
pub const DEFAULT_PORT: u16 = 50053;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a question that costs the server nothing may take.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that does not answer a ping for this long, sent when it has been silent for as long, is gone.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Bytes that may be on their way before the reader takes them: a frame or two a call, and a few calls.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// The largest HTTP/2 frame that is taken: every frame costs a wake-up, and HTTP/2 allows 16 KiB unless told otherwise.
const FRAME_BYTES: u32 = 1 << 20;

/// How to talk to a server.
#[derive(Clone)]
pub struct ClientOptions {
    /// Sent as `authorization: Bearer …`.
    pub token: Option<String>,
    /// Largest answer accepted, in bytes.
    pub max_message_bytes: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            token: None,
            max_message_bytes: 200 << 20,
        }
    }
}

impl std::fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientOptions")
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("max_message_bytes", &self.max_message_bytes)
            .finish()
    }
}

/// A connection to one server. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct Client {
    server: String,
    models: MultiTenantLipSyncClient<Channel>,
    talks: LipSyncClient<Channel>,
    authorization: Option<MetadataValue<Ascii>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Client").field(&self.server).finish()
    }
}

impl Client {
    /// Connects to `server`: a URL, or host and port.
    ///
    /// # Errors
    /// If the address or the token cannot be one, or nobody answers.
    pub async fn connect(server: &str, options: &ClientOptions) -> Result<Self, ClientError> {
        let client = Self::new(server, options)?;
        // The channel connects when first used. A question that every server answers tells whether one is there.
        client.health().await?;
        Ok(client)
    }

    /// A client that connects when first used.
    fn new(server: &str, options: &ClientOptions) -> Result<Self, ClientError> {
        let server = url(server)?;
        let endpoint = Endpoint::from_shared(server.clone())
            .map_err(|error| ClientError::address(&server, error.to_string()))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES);
        let authorization = match &options.token {
            Some(token) => Some(bearer(token)?),
            None => None,
        };
        let channel = endpoint.connect_lazy();
        Ok(Self {
            server,
            models: MultiTenantLipSyncClient::new(channel.clone())
                .max_decoding_message_size(options.max_message_bytes),
            talks: LipSyncClient::new(channel).max_decoding_message_size(options.max_message_bytes),
            authorization,
        })
    }

    /// The server's URL.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Whether the server serves.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub async fn health(&self) -> Result<bool, ClientError> {
        let request = self.query(wire::HealthRequest {});
        let answer = self.models.clone().health(request).await;
        Ok(self.answer(answer)?.healthy)
    }

    /// The configured models.
    ///
    /// # Errors
    /// If the server cannot be asked or refuses.
    pub async fn list(&self) -> Result<Vec<ModelReport>, ClientError> {
        let request = self.query(wire::ListModelsRequest {});
        let answer = self.models.clone().list_models(request).await;
        let models = self.answer(answer)?.models;
        Ok(models.into_iter().map(ModelReport::from).collect())
    }

    /// Figures of `model`, or of all models, and of the server.
    ///
    /// # Errors
    /// If the server cannot be asked, refuses, or does not know the model.
    pub async fn stats(&self, model: Option<&str>) -> Result<Stats, ClientError> {
        let mut request = self.query(wire::GetModelStatsRequest {
            model_id: model.unwrap_or_default().to_owned(),
        });
        if let Some(model) = model {
            name_model(&mut request, model);
        }
        let answer = self.models.clone().get_model_stats(request).await;
        let stats = self.answer(answer)?;
        let server = self.info().await?;
        Ok(Stats::new(server, stats))
    }

    /// The engine, the limits and what the server has done.
    ///
    /// # Errors
    /// If the server cannot be asked.
    pub async fn info(&self) -> Result<ServerReport, ClientError> {
        let request = self.query(wire::GetServerInfoRequest {});
        let answer = self.talks.clone().get_server_info(request).await;
        Ok(self.answer(answer)?.into())
    }

    /// What tenants have used since a time, or ever.
    ///
    /// # Errors
    /// If the server cannot be asked.
    pub async fn usage(&self, since: Option<SystemTime>) -> Result<UsageReport, ClientError> {
        let since = since.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
        let request = self.query(wire::GetUsageRequest {
            since_unix_ms: since.map_or(0, |time| time.as_millis() as i64),
        });
        let answer = self.talks.clone().get_usage(request).await;
        Ok(self.answer(answer)?.into())
    }

    /// Loads `model`; returns when it is ready. `force` loads it again even if it is.
    ///
    /// # Errors
    /// If the server cannot be asked, does not know the model, or cannot load it.
    pub async fn load(&self, model: &str, force: bool) -> Result<LoadReport, ClientError> {
        let request = self.about(
            model,
            wire::LoadModelRequest {
                model_id: model.to_owned(),
                force_reload: force,
            },
        );
        let answer = self.models.clone().load_model(request).await;
        let answer = self.answer(answer)?;
        self.check(answer.success, &answer.error)?;
        Ok(answer.into())
    }

    /// Unloads `model`; returns when its memory is free.
    ///
    /// # Errors
    /// If the server cannot be asked or does not know the model.
    pub async fn unload(&self, model: &str) -> Result<(), ClientError> {
        let request = self.about(
            model,
            wire::UnloadModelRequest {
                model_id: model.to_owned(),
            },
        );
        let answer = self.models.clone().unload_model(request).await;
        let answer = self.answer(answer)?;
        self.check(answer.success, &answer.error)
    }

    /// Makes one batch of frames.
    ///
    /// # Errors
    /// If the server cannot be asked or refuses.
    pub async fn infer(&self, order: &BatchOrder) -> Result<BatchReply, ClientError> {
        let request = self.about(order.model(), order.request());
        let answer = self.models.clone().infer_batch_composite(request).await;
        let answer = self.answer(answer)?;
        self.check(answer.success, &answer.error)?;
        Ok(answer.into())
    }

    /// Opens a stream of speech; `inputs` is read as fast as the server takes it.
    ///
    /// # Errors
    /// If the server cannot be asked, refuses, or does not know the model.
    pub async fn talk<S>(&self, order: &TalkOrder, inputs: S) -> Result<Talk, ClientError>
    where
        S: futures::Stream<Item = TalkInput> + Send + 'static,
    {
        let request = self.about(&order.model, talk::requests(order, inputs));
        let answer = self.talks.clone().talk(request).await;
        Ok(Talk::new(self.server.clone(), self.answer(answer)?))
    }

    /// A request with what every request carries.
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert(ERRORS_KEY, MetadataValue::from_static(STATUS_ERRORS));
        if let Some(authorization) = &self.authorization {
            metadata.insert("authorization", authorization.clone());
        }
        request
    }

    /// A request that is answered at once.
    fn query<T>(&self, message: T) -> Request<T> {
        let mut request = self.request(message);
        request.set_timeout(QUERY_TIMEOUT);
        request
    }

    /// A request about `model`, that may take as long as it takes.
    fn about<T>(&self, model: &str, message: T) -> Request<T> {
        let mut request = self.request(message);
        name_model(&mut request, model);
        request
    }

    fn answer<T>(
        &self,
        answer: Result<tonic::Response<T>, tonic::Status>,
    ) -> Result<T, ClientError> {
        match answer {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(ClientError::from_status(&self.server, &status)),
        }
    }

    /// Servers that do not know the `lipsync-errors` metadata answer errors in-band.
    fn check(&self, success: bool, error: &str) -> Result<(), ClientError> {
        if success {
            Ok(())
        } else {
            Err(ClientError::in_band(&self.server, error))
        }
    }
}

/// Names the model in the metadata. A name that cannot stand there is no model's; the server will say so.
fn name_model<T>(request: &mut Request<T>, model: &str) {
    if let Ok(value) = MetadataValue::try_from(model) {
        request.metadata_mut().insert(MODEL_ID_KEY, value);
    }
}

/// A full URL of what may be one, or `host:port`, `:port`, `host`.
fn url(given: &str) -> Result<String, ClientError> {
    let refused = |reason: &str| Err(ClientError::address(given, reason.to_owned()));
    let (scheme, address) = given.split_once("://").unwrap_or(("http", given));
    match scheme {
        "http" => {}
        "https" => {
            return refused(
                "this program speaks plain text only: name the http:// address behind the proxy",
            );
        }
        _ => return refused("an address is http://HOST:PORT"),
    }
    let address = address.trim_end_matches('/');
    let address = match address.strip_prefix(':') {
        Some(port) => format!("127.0.0.1:{port}"),
        None => address.to_owned(),
    };
    match format!("http://{address}").parse::<http::Uri>() {
        Ok(uri) if uri.host().is_none_or(str::is_empty) => refused("it names no host"),
        Ok(uri) if uri.path() != "/" || uri.query().is_some() => {
            refused("an address is http://HOST:PORT, with nothing after it")
        }
        Ok(uri) if uri.port().is_some() => Ok(format!("http://{address}")),
        Ok(uri) if uri.host() == Some(&address) => Ok(format!("http://{address}:{DEFAULT_PORT}")),
        Ok(_) => refused("its port is not a number from 0 to 65535"),
        Err(error) => refused(&error.to_string()),
    }
}

fn bearer(token: &str) -> Result<MetadataValue<Ascii>, ClientError> {
    let mut value: MetadataValue<Ascii> = format!("Bearer {token}")
        .parse()
        .map_err(|_| ClientError::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_may_be_short() {
        for (given, full) in [
            ("http://10.0.0.1:4000", "http://10.0.0.1:4000"),
            ("http://avatars:4000/", "http://avatars:4000"),
            ("avatars:4000", "http://avatars:4000"),
            ("avatars", "http://avatars:50053"),
            (":4000", "http://127.0.0.1:4000"),
            ("http://[::1]:4000", "http://[::1]:4000"),
        ] {
            assert_eq!(url(given).unwrap(), full, "{given}");
        }
    }

    #[test]
    fn what_is_no_address_is_said() {
        for (given, reason) in [
            ("https://avatars:4000", "plain text"),
            ("ftp://avatars", "http://HOST:PORT"),
            ("http://", "not the address"),
            ("avatars:notaport", "port"),
            ("http://avatars:4000/metrics", "nothing after it"),
            ("two words", "invalid"),
        ] {
            let answer = url(given).map_err(|error| error.to_string());
            assert!(
                answer.as_ref().is_err_and(|error| error.contains(reason)),
                "{given}: {answer:?}"
            );
        }
    }

    #[test]
    fn a_token_must_fit_into_a_header() {
        assert_eq!(bearer("abc").unwrap(), "Bearer abc");
        assert!(matches!(bearer("a\nb"), Err(ClientError::Token)));
    }
}
