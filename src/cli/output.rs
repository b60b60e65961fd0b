//! The terminal's one door: results go to stdout, everything else to stderr.
//!
//! With `--json` a command's result is one JSON document on stdout. Status lines, progress bars, warnings and errors are
//! for people and never mix with it. A reader that goes away (`lipsync … | head`) ends the command quietly.

use std::fmt::{self, Display};
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tracing_subscriber::fmt::MakeWriter;

use super::Global;
use crate::config::ConfigErrors;

/// The exit status of a command that was called wrongly, as clap has it.
const USAGE: u8 = 2;

const FRAMES: &str = "{msg:>12} {wide_bar:.cyan} {pos}/{len} frames, {per_sec:.0} · {eta} left";
const STEPS: &str = "{msg:>12} {wide_bar:.cyan} {pos}/{len} · {eta} left";
const TEXT: &str = "{msg}";
const SPINNER: &str = "{spinner:.cyan} {msg} {elapsed:.dim}";

/// How a command talks.
#[derive(Clone, Debug, Default)]
pub struct Output {
    json: bool,
    quiet: bool,
    verbose: u8,
    /// The bars on stderr; whoever writes to the terminal moves them aside first.
    bars: MultiProgress,
}

impl Output {
    /// Talks as the command line asks for.
    pub(crate) fn new(global: &Global) -> Self {
        Self {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
        }
    }

    /// Whether results are JSON documents.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether nothing but results, warnings and errors is wanted.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// How many times `-v` was given.
    #[must_use]
    pub fn verbosity(&self) -> u8 {
        self.verbose
    }

    /// Prints the command's result: `value` as one JSON document, or the text `human` makes.
    ///
    /// # Errors
    /// If stdout cannot be written to; a closed pipe too, which [`Output::failure`] takes for success.
    pub fn result<T: Serialize + ?Sized>(
        &self,
        value: &T,
        human: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        let text = if self.json {
            serde_json::to_string_pretty(value).context("cannot write the result as JSON")?
        } else {
            human()
        };
        self.text(&text)
    }

    /// Prints `text` to stdout, and the newline at its end if there is none.
    ///
    /// # Errors
    /// If stdout cannot be written to.
    pub fn text(&self, text: &str) -> anyhow::Result<()> {
        let newline: &[u8] = if text.is_empty() || text.ends_with('\n') {
            b""
        } else {
            b"\n"
        };
        self.raw(&[text.as_bytes(), newline].concat())
    }

    /// Writes `bytes` to stdout as they are.
    ///
    /// # Errors
    /// If stdout cannot be written to.
    pub fn raw(&self, bytes: &[u8]) -> anyhow::Result<()> {
        self.bars
            .suspend(|| {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes)?;
                stdout.flush()
            })
            .context("cannot write to stdout")
    }

    /// Says what the command is doing; not with `-q`.
    pub fn status(&self, text: impl Display) {
        if !self.quiet {
            self.say(&text);
        }
    }

    /// Says what only `-v` wants to know.
    pub fn detail(&self, text: impl Display) {
        if self.verbose > 0 {
            self.say(&text);
        }
    }

    /// Says what to do next; not with `-q`.
    pub fn hint(&self, text: impl Display) {
        if !self.quiet {
            self.say(&format_args!("{HINT}hint:{RESET} {text}"));
        }
    }

    /// Says that something is not as it should be.
    pub fn warning(&self, text: impl Display) {
        self.say(&format_args!("{WARNING}warning:{RESET} {text}"));
    }

    /// Says why the command failed, with causes and hint, and gives its exit status: 1, or 2 after [`usage`].
    /// A reader that closed the pipe is no failure.
    #[must_use]
    pub fn failure(&self, error: &anyhow::Error) -> ExitCode {
        if is_closed_pipe(error) {
            return ExitCode::SUCCESS;
        }
        self.say(&Explained(error));
        match find::<Usage>(error) {
            Some(_) => ExitCode::from(USAGE),
            None => ExitCode::FAILURE,
        }
    }

    /// A line on stderr, above the bars. If stderr is closed nobody is there to be told.
    fn say(&self, text: &dyn Display) {
        self.bars.suspend(|| {
            let _ = writeln!(anstream::stderr().lock(), "{text}");
        });
    }

    /// A bar for `total` frames: rate and remaining time. Hidden with `-q` and where stderr is not a terminal.
    #[must_use]
    pub fn frames_bar(&self, total: u64) -> ProgressBar {
        self.bar(ProgressBar::new(total), FRAMES)
    }

    /// A bar for `total` steps of anything.
    #[must_use]
    pub fn steps_bar(&self, total: u64) -> ProgressBar {
        self.bar(ProgressBar::new(total), STEPS)
    }

    /// A spinner for work of unknown length.
    #[must_use]
    pub fn spinner(&self) -> ProgressBar {
        let spinner = self.bar(ProgressBar::new_spinner(), SPINNER);
        spinner.enable_steady_tick(Duration::from_millis(100));
        spinner
    }

    /// A place on stdout that is drawn anew again and again; `None` where stdout is not a terminal.
    #[must_use]
    pub fn live(&self) -> Option<Live> {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
        bar.set_style(ProgressStyle::with_template(TEXT).ok()?);
        (!bar.is_hidden()).then_some(Live(bar))
    }

    /// Where log lines go: stderr, one whole line at a time, above the bars.
    #[must_use]
    pub fn log_lines(&self) -> LogLines {
        LogLines(self.bars.clone())
    }

    fn bar(&self, bar: ProgressBar, template: &str) -> ProgressBar {
        if self.quiet {
            return ProgressBar::hidden();
        }
        // The templates are constants of this file; a test reads each of them.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        self.bars.add(bar)
    }
}

/// Text that is replaced in place, see [`Output::live`]. What was drawn last stays when it is dropped.
#[derive(Debug)]
pub struct Live(ProgressBar);

impl Live {
    /// Draws `text` instead of what was there.
    pub fn draw(&self, text: String) {
        self.0.set_message(text);
        self.0.tick();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// A table in the house's look: a line under the header, numbers (all columns but the first `text_columns`) to the right.
#[must_use]
pub fn table<const N: usize>(header: [&str; N], text_columns: usize) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_header(header);
    for column in table.column_iter_mut().skip(text_columns) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

// Stripped by anstream where stderr is no terminal or NO_COLOR is set.
const ERROR: &str = "\x1b[1;31m";
const WARNING: &str = "\x1b[1;33m";
const HINT: &str = "\x1b[1;36m";
const RESET: &str = "\x1b[0m";

/// A command called in a way clap cannot see is wrong: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// An error for a command that was called wrongly.
#[must_use]
pub fn usage(message: impl Display) -> anyhow::Error {
    Usage(message.to_string()).into()
}

/// An error and what to do about it. It reads as the error alone; the hint is shown below everything.
#[derive(Debug)]
struct Hinted {
    error: anyhow::Error,
    hint: String,
}

impl Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Hinted {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// Gives errors a `hint:` line.
pub trait OrHint<T> {
    /// Adds what to do about the error; of several hints the outermost is shown.
    ///
    /// # Errors
    /// The error, with the hint.
    fn or_hint(self, hint: impl Display) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> OrHint<T> for Result<T, E> {
    fn or_hint(self, hint: impl Display) -> anyhow::Result<T> {
        self.map_err(|error| {
            let error = error.into();
            let hint = hint.to_string();
            Hinted { error, hint }.into()
        })
    }
}

/// The error of type `T` in `error`, below contexts and hints.
fn find<T: std::error::Error + Send + Sync + 'static>(error: &anyhow::Error) -> Option<&T> {
    let hinted = || {
        error
            .downcast_ref::<Hinted>()
            .and_then(|hinted| find(&hinted.error))
    };
    error.downcast_ref().or_else(hinted)
}

/// An error, its causes and its hint, for people.
struct Explained<'a>(&'a anyhow::Error);

impl Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(error) = self;
        if let Some(errors) = find::<ConfigErrors>(error) {
            return write!(
                f,
                "{}{ERROR}error:{RESET} {}",
                errors.human(),
                errors.headline()
            );
        }
        write!(f, "{ERROR}error:{RESET} {error}")?;
        let mut said = error.to_string();
        for cause in error.chain().skip(1).map(ToString::to_string) {
            // Some errors say their source in their own text.
            if !said.contains(&cause) {
                write!(f, "\n  caused by: {cause}")?;
            }
            said = cause;
        }
        if let Some(Hinted { hint, .. }) = find(error) {
            write!(f, "\n{HINT}hint:{RESET} {hint}")?;
        }
        Ok(())
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Whether text on stderr may be coloured: a terminal, and `NO_COLOR` is not set.
#[must_use]
pub fn is_coloured() -> bool {
    let stderr = io::stderr();
    stderr.is_terminal() && anstream::AutoStream::choice(&stderr) != anstream::ColorChoice::Never
}

/// Writes log lines to stderr, see [`Output::log_lines`].
#[derive(Clone, Debug)]
pub struct LogLines(MultiProgress);

impl<'a> MakeWriter<'a> for LogLines {
    type Writer = LogLine<'a>;

    fn make_writer(&'a self) -> LogLine<'a> {
        LogLine {
            bars: &self.0,
            line: Vec::new(),
        }
    }
}

/// One log line, written when it is complete.
#[derive(Debug)]
pub struct LogLine<'a> {
    bars: &'a MultiProgress,
    line: Vec<u8>,
}

impl Write for LogLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine<'_> {
    fn drop(&mut self) {
        self.bars.suspend(|| {
            let _ = io::stderr().lock().write_all(&self.line);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(error: &anyhow::Error) -> String {
        anstream::adapter::strip_str(&Explained(error).to_string()).to_string()
    }

    fn missing() -> Result<(), io::Error> {
        Err(io::Error::new(io::ErrorKind::NotFound, "no such file"))
    }

    #[test]
    fn errors_tell_causes_and_hint() {
        let error = missing()
            .context("cannot open a.wav")
            .or_hint("name another file")
            .context("cannot render")
            .unwrap_err();
        assert_eq!(
            explained(&error),
            "error: cannot render\n  caused by: cannot open a.wav\n  caused by: no such file\nhint: name another file"
        );
    }

    #[test]
    fn a_cause_that_was_said_already_is_not_repeated() {
        let error = missing()
            .context("cannot open a.wav: no such file")
            .unwrap_err();
        assert_eq!(explained(&error), "error: cannot open a.wav: no such file");
    }

    #[test]
    fn configuration_errors_show_every_problem() {
        let errors = crate::config::Config::parse("", std::path::Path::new("c.yaml")).unwrap_err();
        let text = explained(&anyhow::Error::from(errors).context("cannot start"));
        assert!(text.starts_with("c.yaml:1:1: models: no models"), "{text}");
        assert!(
            text.ends_with("error: c.yaml: 1 problem in the configuration"),
            "{text}"
        );
    }

    #[test]
    fn exit_codes() {
        let output = Output::default();
        let code = |error: anyhow::Error| format!("{:?}", output.failure(&error));
        let expected = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(code(missing().unwrap_err().into()), expected(1));
        assert_eq!(code(usage("--batch takes 1 to 25")), expected(2));
        assert_eq!(
            code(
                Err::<(), _>(usage("x"))
                    .or_hint("y")
                    .context("z")
                    .unwrap_err()
            ),
            expected(2)
        );
        let closed = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(
            code(anyhow::Error::from(closed).context("cannot write to stdout")),
            expected(0)
        );
    }

    #[test]
    fn the_templates_of_the_bars_are_valid() {
        for template in [FRAMES, STEPS, SPINNER] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
