//! The command line: one file a subcommand; only [`output`] prints.

mod bench;
mod completions;
mod connect;
mod demo;
mod doctor;
mod format;
mod import;
mod infer;
mod latency;
mod models;
pub mod output;
mod serve;
mod stats;
mod tenants;
mod validate_config;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::shutdown::Signals;
use crate::telemetry;
use output::Output;

/// Makes any number of trained avatars talk.
#[derive(Debug, Parser)]
#[command(
    name = "lipsync",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options every subcommand takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// The configuration file
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = "config.yaml",
        env = "LIPSYNC_CONFIG",
        hide_env_values = true
    )]
    pub(crate) config: PathBuf,
    /// Print results as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print nothing but results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more; twice for every step
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the demo avatars, and serve them or render a film
    Demo(demo::Args),
    /// Make an avatar of what a training leaves, and add it to the configuration
    Import(import::Args),
    /// Serve the configured models over gRPC
    Serve(serve::Args),
    /// Say which models a server has; load and unload them
    Models(models::Args),
    /// Show what a server does, once or continuously
    Stats(stats::Args),
    /// Render a talking avatar from speech
    Infer(infer::Args),
    /// Measure how fast frames are made
    Bench(bench::Args),
    /// Say who may call a server, and give them keys
    Tenants(tenants::Args),
    /// Show what tenants have used
    Usage(tenants::usage::Args),
    /// Check a configuration file
    ValidateConfig(validate_config::Args),
    /// Look at the machine, the engine, the configuration and its avatars, and say what does not run
    Doctor(doctor::Args),
    /// Print what a shell needs to complete commands and options
    Completions(completions::Args),
}

/// Parses the command line, runs it, and gives the exit code: 0 done, 1 failed, 2 wrong usage.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(&cli.global);
    run(&cli, &output).unwrap_or_else(|error| output.failure(&error))
}

fn run(cli: &Cli, output: &Output) -> anyhow::Result<ExitCode> {
    let _log = match &cli.command {
        // Its log is as configured.
        Command::Serve(_) => None,
        Command::Demo(args) if args.serves() => None,
        _ => Some(log_command(&cli.global, output)?),
    };
    match &cli.command {
        Command::Demo(args) => demo::run(&cli.global, args, output),
        Command::Import(args) => import::run(&cli.global, args, output),
        Command::Serve(args) => serve::run(&cli.global, args, output),
        Command::Models(args) => models::run(&cli.global, args, output),
        Command::Stats(args) => stats::run(&cli.global, args, output),
        Command::Infer(args) => infer::run(&cli.global, args, output),
        Command::Completions(args) => completions::run(args, output),
        Command::Tenants(args) => tenants::run(&cli.global, args, output),
        Command::Usage(args) => tenants::usage::run(&cli.global, args, output),
        Command::Bench(args) => bench::run(&cli.global, args, output),
        Command::Doctor(args) => doctor::run(&cli.global, args, output),
        Command::ValidateConfig(args) => Ok(validate_config::run(&cli.global, args, output)),
    }
}

/// Starts the log lines of a command that ends.
fn log_command(global: &Global, output: &Output) -> anyhow::Result<telemetry::Guard> {
    let options = telemetry::Options::command(global.verbose, global.quiet);
    Ok(telemetry::init(
        &options,
        output.log_lines(),
        output::is_coloured(),
    )?)
}

/// Runs an async command to its end on a runtime of its own.
///
/// # Errors
/// The command's, or the runtime cannot be started.
pub fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?
        .block_on(future)
}

/// Runs `work`, unless Ctrl-C or another request to end comes first: then drops it where it is.
///
/// # Errors
/// Those of `work`, or that it was stopped.
async fn until_stopped<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let mut signals = Signals::listen().context("cannot listen to signals")?;
    tokio::select! {
        result = work => result,
        // A terminal that is closed ends a command too.
        _ = signals.next() => Err(anyhow::anyhow!("stopped before it was finished; nothing was written")),
    }
}
