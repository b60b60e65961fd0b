//! `lipsync models`: which models a server has, and which of them are in its memory.

use std::process::ExitCode;

use indicatif::BinaryBytes;
use serde::Serialize;

use super::Global;
use super::connect::{ServerArgs, about, explained};
use super::output::{Output, table};
use crate::client::{Client, ClientError, LoadReport, ModelFigures, ModelReport};

/// Options of `models`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the models a server has
    List {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Load models into a server's memory
    Load {
        /// The models, by name
        #[arg(required = true, value_name = "MODEL")]
        models: Vec<String>,
        /// Load again what is loaded; requests in progress finish on what they began with
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Unload models from a server's memory; requests in progress finish first
    Unload {
        /// The models, by name
        #[arg(required = true, value_name = "MODEL")]
        models: Vec<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Runs the command; 1 if the server refused one of several models.
///
/// # Errors
/// If no server answers or it refuses.
pub(crate) fn run(global: &Global, args: &Args, output: &Output) -> anyhow::Result<ExitCode> {
    super::block_on(async {
        match &args.command {
            Command::List { server } => list(&server.connect(global).await?, output).await,
            Command::Load {
                models,
                force,
                server,
            } => load(&server.connect(global).await?, models, *force, output).await,
            Command::Unload { models, server } => {
                unload(&server.connect(global).await?, models, output).await
            }
        }
    })
}

/// What `models list --json` prints.
#[derive(Serialize)]
struct List<'a> {
    server: &'a str,
    models: &'a [ModelReport],
}

async fn list(client: &Client, output: &Output) -> anyhow::Result<ExitCode> {
    let models = explained(client.list().await)?;
    let list = List {
        server: client.server(),
        models: &models,
    };
    output.result(&list, || list_table(&models))?;
    Ok(ExitCode::SUCCESS)
}

fn list_table(models: &[ModelReport]) -> String {
    let header = [
        "model", "status", "speech", "size", "frames", "fps", "memory",
    ];
    let mut table = table(header, 3);
    for model in models {
        let size = match (model.width, model.height) {
            (0, _) | (_, 0) => String::new(),
            (width, height) => format!("{width}x{height}"),
        };
        let frames = match model.num_frames {
            0 => String::new(),
            frames => frames.to_string(),
        };
        table.add_row([
            model.id.clone(),
            status(model),
            if model.hears { "yes" } else { "no" }.to_owned(),
            size,
            frames,
            model.fps.to_string(),
            memory(&model.figures),
        ]);
    }
    let failures = models.iter().filter_map(|model| {
        let error = model.last_error.as_ref()?;
        Some(format!("\n{}: {error}", model.id))
    });
    std::iter::once(table.to_string()).chain(failures).collect()
}

/// A model's status in a table.
pub(super) fn status(model: &ModelReport) -> String {
    if model.stale {
        format!("{}, changed", model.status)
    } else {
        model.status.clone()
    }
}

/// What a model takes in memory, in a table; nothing if it is not there.
pub(super) fn memory(figures: &ModelFigures) -> String {
    match figures.memory_bytes {
        0 => String::new(),
        memory => BinaryBytes(memory).to_string(),
    }
}

/// What `models load --json` and `models unload --json` print.
#[derive(Serialize)]
struct Changes<'a> {
    server: &'a str,
    models: Vec<Change<'a>>,
}

/// What became of one model.
#[derive(Serialize)]
struct Change<'a> {
    id: &'a str,
    done: bool,
    #[serde(flatten)]
    load: Option<LoadReport>,
    error: Option<String>,
}

async fn load(
    client: &Client,
    models: &[String],
    force: bool,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let one = async |model: &str| client.load(model, force).await.map(Some);
    change(client, models, "loading", one, output).await
}

async fn unload(client: &Client, models: &[String], output: &Output) -> anyhow::Result<ExitCode> {
    let one = async |model: &str| client.unload(model).await.map(|()| None);
    change(client, models, "unloading", one, output).await
}

/// Changes one model after the other. Of several, one that fails does not keep the rest from being tried.
async fn change(
    client: &Client,
    models: &[String],
    doing: &str,
    one: impl AsyncFn(&str) -> Result<Option<LoadReport>, ClientError>,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let spinner = output.spinner();
    let mut changes = Vec::with_capacity(models.len());
    let mut failed = None;
    for model in models {
        spinner.set_message(format!("{doing} {model}"));
        let result = one(model).await;
        let (load, error) = match &result {
            Ok(load) => (load.clone(), None),
            Err(error) => (None, Some(error.to_string())),
        };
        changes.push(Change {
            id: model,
            done: result.is_ok(),
            load,
            error,
        });
        if let Err(error) = result {
            let away = error.is_away();
            failed = Some(error);
            if away {
                break;
            }
        }
    }
    spinner.finish_and_clear();
    let changes = Changes {
        server: client.server(),
        models: changes,
    };
    // With one model its error is the command's, hint and all.
    let alone = models.len() == 1;
    if failed.is_none() || !alone || output.is_json() {
        output.result(&changes, || changes_text(&changes, doing))?;
    }
    match failed {
        None => Ok(ExitCode::SUCCESS),
        Some(error) if alone => about(client, &models[0], Err(error)).await,
        Some(_) => Ok(ExitCode::FAILURE),
    }
}

fn changes_text(changes: &Changes<'_>, doing: &str) -> String {
    let done = doing.strip_suffix("ing").unwrap_or(doing);
    let line = |change: &Change<'_>| {
        let id = change.id;
        match (&change.error, &change.load) {
            (Some(error), _) => format!("{id}: not {done}ed: {error}\n"),
            (None, None) => format!("{id}: {done}ed\n"),
            (None, Some(load)) => {
                let took = if load.load_time_ms > 0.0 {
                    format!(" in {:.2} s", load.load_time_ms / 1000.0)
                } else {
                    " already".to_owned()
                };
                let memory = BinaryBytes(load.figures.memory_bytes);
                format!("{id}: {done}ed{took}, {memory}\n")
            }
        }
    };
    changes.models.iter().map(line).collect()
}
