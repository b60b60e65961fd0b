//! `lipsync validate-config`: all problems of a configuration file in one run, for people and for CI jobs.

mod assets;

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::Global;
use super::output::Output;
use crate::config::{Config, ConfigErrors};

/// Options of `validate-config`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file to check [default: the one of --config]
    file: Option<PathBuf>,
    /// How to print the problems
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Open every file it names too: networks, crop rects and backgrounds
    #[arg(long)]
    assets: bool,
}

/// How problems are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Place, line and hint, for people
    Human,
    /// One JSON document
    Json,
    /// Workflow commands that annotate lines on GitHub
    Github,
}

/// What is printed about a valid file as JSON; the fields of an invalid one, and the models.
#[derive(Serialize)]
struct Document<'a> {
    path: String,
    valid: bool,
    problems: [(); 0],
    omitted: usize,
    models: Vec<&'a str>,
    /// Whether the files it names were opened.
    assets: bool,
    /// What may surprise about them, and is as it should be.
    notes: &'a [String],
}

/// Checks the file; 0 if it is valid, 1 if not.
pub(crate) fn run(global: &Global, args: &Args, output: &Output) -> ExitCode {
    let path = args.file.as_ref().unwrap_or(&global.config);
    let format = match args.format {
        Some(format) => format,
        None if output.is_json() => Format::Json,
        None => Format::Human,
    };
    let checked = Config::load_with_source(path).and_then(|(config, source)| {
        let (faults, notes) = if args.assets {
            assets::problems(&config, &source, output)
        } else {
            (Vec::new(), Vec::new())
        };
        match source.errors(faults) {
            Some(errors) => Err(errors),
            None => Ok((config, notes)),
        }
    });
    let (report, code) = match checked {
        Ok((config, notes)) => (
            praise(&config, format, args.assets, &notes),
            ExitCode::SUCCESS,
        ),
        Err(errors) => (complaint(&errors, format), ExitCode::FAILURE),
    };
    // A reader that has seen enough does not make the file valid.
    if let Err(error) = output.text(&report)
        && output.failure(&error) != ExitCode::SUCCESS
    {
        return ExitCode::FAILURE;
    }
    code
}

/// What is said about a valid file.
fn praise(config: &Config, format: Format, assets: bool, notes: &[String]) -> String {
    let path = config.path.display().to_string();
    let models: Vec<&str> = config
        .models
        .iter()
        .map(|model| model.id.as_str())
        .collect();
    match format {
        Format::Human | Format::Github => {
            let plural = if models.len() == 1 { "" } else { "s" };
            let files = if assets { ", all their files open" } else { "" };
            let valid = format!(
                "{path}: valid, {} model{plural}: {}{files}",
                models.len(),
                models.join(", ")
            );
            let lines = std::iter::once(valid).chain(notes.iter().cloned());
            lines.collect::<Vec<_>>().join("\n")
        }
        Format::Json => format!(
            "{:#}",
            serde_json::json!(Document {
                path,
                valid: true,
                problems: [],
                omitted: 0,
                models,
                assets,
                notes,
            })
        ),
    }
}

/// What is said about an invalid one.
fn complaint(errors: &ConfigErrors, format: Format) -> String {
    match format {
        Format::Human => format!("{}{}", errors.human(), errors.headline()),
        Format::Json => format!("{:#}", errors.json()),
        Format::Github => errors.github(),
    }
}
