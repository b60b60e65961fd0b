//! `lipsync usage`: what tenants have used.

use std::process::ExitCode;
use std::time::SystemTime;

use indicatif::{BinaryBytes, HumanCount};
use serde::Serialize;

use super::super::Global;
use super::super::connect::{ServerArgs, explained};
use super::super::output::{Output, table};
use crate::client::UsageReport;
use crate::tenants::parse_time;

/// Options of `usage`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// From this time on, by whole hours: a date, or a date and time, in UTC (2027-01-31T12:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<SystemTime>,
    #[command(flatten)]
    server: ServerArgs,
}

fn time(text: &str) -> Result<SystemTime, &'static str> {
    parse_time(text).ok_or("give a date such as 2027-01-31, or 2027-01-31T12:00:00Z")
}

/// What `usage --json` prints.
#[derive(Serialize)]
struct Document<'a> {
    server: &'a str,
    #[serde(flatten)]
    report: &'a UsageReport,
}

/// Runs the command.
///
/// # Errors
/// If no server answers or it refuses.
pub(crate) fn run(global: &Global, args: &Args, output: &Output) -> anyhow::Result<ExitCode> {
    super::super::block_on(async {
        let client = args.server.connect(global).await?;
        let report = explained(client.usage(args.since).await)?;
        let document = Document {
            server: client.server(),
            report: &report,
        };
        output.result(&document, || text(&report))?;
        if !report.kept {
            output
                .hint("the server keeps usage since its start only; server.usage_journal keeps it");
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn text(report: &UsageReport) -> String {
    let mut used = table(
        ["tenant", "model", "frames", "inference", "sent", "loads"],
        2,
    );
    for usage in &report.usage {
        used.add_row([
            usage.tenant.clone(),
            usage.model.clone(),
            HumanCount(usage.frames).to_string(),
            format!("{:.1} s", usage.inference_ms / 1e3),
            BinaryBytes(usage.bytes).to_string(),
            format!("{:.1} s", usage.load_ms / 1e3),
        ]);
    }
    let mut text = used.to_string();
    if !report.refusals.is_empty() {
        let mut refused = table(["tenant", "refused because", "calls"], 2);
        for refusals in &report.refusals {
            refused.add_row([
                refusals.tenant.clone(),
                refusals.reason.clone(),
                HumanCount(refusals.calls).to_string(),
            ]);
        }
        text += "\n\n";
        text += &refused.to_string();
    }
    text
}
