//! Reaching a server: the options of every command that asks one.

use crate::client::{Client, ClientError, ClientOptions, DEFAULT_PORT};
use crate::config::{self, Config};

use super::Global;
use super::output::OrHint as _;

/// Which server to ask.
#[derive(Debug, clap::Args)]
pub(crate) struct ServerArgs {
    /// The server to ask, as http://HOST:PORT [default: the port of --config on this machine]
    #[arg(
        long,
        value_name = "URL",
        env = "LIPSYNC_SERVER",
        hide_env_values = true
    )]
    server: Option<String>,
    #[command(flatten)]
    token: TokenArgs,
}

/// What proves who asks.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct TokenArgs {
    /// The token the server asks for
    #[arg(long, env = "LIPSYNC_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl ServerArgs {
    /// Connects to the server that was named, or to the one of the configuration.
    ///
    /// # Errors
    /// If nobody answers; the error says what to do.
    pub(crate) async fn connect(&self, global: &Global) -> anyhow::Result<Client> {
        connect(self.server.as_deref(), &self.token, global).await
    }
}

/// Connects to `server`, or to the one of the configuration.
///
/// # Errors
/// If nobody answers; the error says what to do.
pub(crate) async fn connect(
    server: Option<&str>,
    token: &TokenArgs,
    global: &Global,
) -> anyhow::Result<Client> {
    // A client need not have the server's configuration: without it, or with a broken one, the defaults hold.
    let config = Config::load(&global.config).ok();
    let mut options = ClientOptions {
        token: token.token.clone(),
        ..ClientOptions::default()
    };
    if let Some(config) = &config {
        options.max_message_bytes = config.server.max_message_bytes;
    }
    let server = match (server, &config) {
        (Some(server), _) => server.to_owned(),
        (None, Some(config)) if config.server.listen.port != 0 => config.server.listen.local_url(),
        (None, _) => format!("http://127.0.0.1:{DEFAULT_PORT}"),
    };
    explained(Client::connect(&server, &options).await)
}

/// The result of a call, its error with what to do about it.
///
/// # Errors
/// The call's.
pub(crate) fn explained<T>(result: Result<T, ClientError>) -> anyhow::Result<T> {
    match result {
        Err(error) => match error.hint() {
            Some(hint) => Err(error).or_hint(hint),
            None => Err(error.into()),
        },
        Ok(value) => Ok(value),
    }
}

/// The result of a call about `model`; if the server does not know it, the hint names the one that was meant.
///
/// # Errors
/// The call's.
pub(crate) async fn about<T>(
    client: &Client,
    model: &str,
    result: Result<T, ClientError>,
) -> anyhow::Result<T> {
    match result {
        Err(error) if error.is_not_found() => match client.list().await {
            Ok(models) => {
                let ids = models.iter().map(|model| model.id.as_str());
                Err(error).or_hint(config::model_hint(model, ids))
            }
            Err(_) => explained(Err(error)),
        },
        result => explained(result),
    }
}
