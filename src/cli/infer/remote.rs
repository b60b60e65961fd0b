//! `infer --server`: the same, made by a server.

use super::Args;
use super::report::Report;
use crate::cli::Global;
use crate::cli::output::{Output, usage};
use crate::film::Target;

/// Renders on the server at `url`.
pub(super) fn render(
    _global: &Global,
    _args: &Args,
    url: &str,
    _target: Target,
    _output: &Output,
) -> anyhow::Result<Report> {
    Err(usage(format!(
        "this build cannot render on a server ({url}): leave --server and LIPSYNC_SERVER out to render here"
    )))
}
