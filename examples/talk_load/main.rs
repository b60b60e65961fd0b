//! Measures the Talk streams of a running server.
//!
//! ```console
//! $ cargo run --release --example talk_load -- hold --streams 4,8,12,16,20
//! $ cargo run --release --example talk_load -- first-frame
//! $ cargo run --release --example talk_load -- lookahead
//! $ cargo run --release --example talk_load -- vanish
//! ```
//!
//! `--help` of each says what its figures mean.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]

mod cable;
mod figures;
mod first_frame;
mod hold;
mod judge;
mod lookahead;
mod stream;
mod vanish;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use serde::Serialize;

/// Measures the Talk streams of a running server, with the bundled sample of speech
///
/// The server should be alone on its machine, but for this program: figures of a busy machine are those of what else
/// runs.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    server: ServerArgs,
    /// Print the figures as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// Which server, which avatar.
#[derive(Clone, Debug, Args)]
struct ServerArgs {
    /// The server's gRPC address
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:50053"
    )]
    server: String,
    /// The avatar that talks
    #[arg(long, global = true, value_name = "ID", default_value = "sanders")]
    model: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    Hold(hold::HoldArgs),
    FirstFrame(first_frame::FirstFrameArgs),
    Lookahead(lookahead::LookaheadArgs),
    Vanish(vanish::VanishArgs),
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let server = &cli.server;
    match &cli.command {
        Command::Hold(args) => show(cli.json, &hold::run(server, args).await?, hold::Held::human),
        Command::FirstFrame(args) => show(
            cli.json,
            &first_frame::run(server, args).await?,
            first_frame::FirstFrames::human,
        ),
        Command::Lookahead(args) => show(
            cli.json,
            &lookahead::run(server, args).await?,
            lookahead::Costs::human,
        ),
        Command::Vanish(args) => show(
            cli.json,
            &vanish::run(server, args).await?,
            vanish::Vanished::human,
        ),
    }
}

/// Prints what was measured: one JSON document, or tables.
fn show<T: Serialize>(json: bool, figures: &T, human: fn(&T) -> String) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(figures)?);
    } else {
        println!("{}", human(figures).trim_end());
    }
    Ok(())
}
