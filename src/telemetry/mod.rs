//! Log lines: what is logged, in which form, and where to.
//!
//! The program logs through `tracing`; this module decides which events become lines. They go to the terminal's writer
//! (stderr, through the one door) and, if configured, to a file, through a bounded queue of its own thread: a slow disk
//! never holds up a request, and lines it cannot take are counted instead. So are lines that say the same over and over.

mod file;
mod repeats;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tracing::Subscriber;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, fmt};

use crate::config::{LogFormat, LogLevel, Logging};
use file::{Control, LogFile};
use repeats::Repeats;

/// Lines that may wait for the disk; more are dropped and counted.
const FILE_LINES_MAX: usize = 8192;

/// Levels from the least to the most talkative.
const LEVELS: [LogLevel; 5] = [
    LogLevel::Error,
    LogLevel::Warn,
    LogLevel::Info,
    LogLevel::Debug,
    LogLevel::Trace,
];

/// What is logged, in which form, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The least important level that is logged.
    pub level: LogLevel,
    /// The form of a line.
    pub format: LogFormat,
    /// A file that gets every line as well.
    pub file: Option<PathBuf>,
    /// Warnings and errors of one kind within ten seconds; 0: any number.
    pub repeats_max: u64,
    /// `RUST_LOG`: directives in the syntax of [`EnvFilter`] that replace `level`.
    pub directives: Option<String>,
}

impl Options {
    /// For the server: as configured, and one level more with every `-v`; errors only with `-q`.
    #[must_use]
    pub fn server(logging: &Logging, verbose: u8, quiet: bool) -> Self {
        Self {
            level: level(logging.level, verbose, quiet),
            format: logging.format,
            file: logging.log_file.clone(),
            repeats_max: logging.max_repeated_lines,
            directives: directives(),
        }
    }

    /// For a command that ends: warnings, and one level more with every `-v`; errors only with `-q`.
    #[must_use]
    pub fn command(verbose: u8, quiet: bool) -> Self {
        Self {
            level: level(LogLevel::Warn, verbose, quiet),
            format: LogFormat::Human,
            file: None,
            repeats_max: 0,
            directives: directives(),
        }
    }

    /// The filter of these options: our own events from `level` on, those of libraries only if they warn.
    fn filter(&self) -> Result<EnvFilter, TelemetryError> {
        let Some(directives) = &self.directives else {
            let others = if self.level == LogLevel::Error {
                LogLevel::Error
            } else {
                LogLevel::Warn
            };
            // What the sound decoders have to say of a file, our own errors and notes say in the user's words.
            let rules = format!("{others},symphonia=off,lipsync={}", self.level);
            return Ok(EnvFilter::new(rules));
        };
        EnvFilter::builder()
            .parse(directives)
            .map_err(|error| TelemetryError::Directives(directives.clone(), error))
    }
}

/// `base`, moved by the command line.
fn level(base: LogLevel, verbose: u8, quiet: bool) -> LogLevel {
    if quiet {
        return LogLevel::Error;
    }
    let at = LEVELS
        .iter()
        .position(|level| *level == base)
        .unwrap_or_default();
    LEVELS[(at + usize::from(verbose)).min(LEVELS.len() - 1)]
}

/// `RUST_LOG`, if it says anything.
fn directives() -> Option<String> {
    std::env::var("RUST_LOG")
        .ok()
        .filter(|directives| !directives.trim().is_empty())
}

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `RUST_LOG` is not understood.
    #[error(
        "RUST_LOG is `{0}`, which is not a list of directives such as `info` or `lipsync=debug,h2=info`"
    )]
    Directives(String, #[source] ParseError),
    /// The log file cannot be opened.
    #[error("cannot open the log file {}: check `logging.log_file`", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// The program logs already.
    #[error("logging has been started before")]
    Twice,
}

/// Keeps the log file's thread alive. Dropped, it writes what is queued, and says what is missing.
#[derive(Debug)]
#[must_use = "dropped, the log file gets nothing more"]
pub struct Guard {
    watch: Watch,
    _worker: Option<WorkerGuard>,
}

impl Guard {
    /// For whoever looks after the log while the program runs.
    #[must_use]
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.watch.tell();
    }
}

/// What a running program does for its log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Watch {
    repeats: Repeats,
    file: Option<FileWatch>,
}

#[derive(Clone, Debug)]
struct FileWatch {
    control: Control,
    dropped: ErrorCounter,
    /// Dropped lines that have been told.
    told: Arc<AtomicUsize>,
}

impl Watch {
    /// How often [`Watch::tell`] is worth calling.
    pub const PERIOD: Duration = Duration::from_secs(10);

    /// Logs what is missing in the log since the last time: lines left out as repeated, lines that the file did not take.
    pub fn tell(&self) {
        for left_out in self.repeats.left_out() {
            tracing::warn!(
                lines = left_out.lines,
                of = left_out.message,
                "log lines like an earlier one were left out (logging.max_repeated_lines)"
            );
        }
        let Some(file) = &self.file else { return };
        if let Some((lines, error)) = file.control.failures() {
            tracing::error!(lines, %error, "the log file cannot be written: lines are missing in it");
        }
        let dropped = file.dropped.dropped_lines();
        let lines = dropped.saturating_sub(file.told.swap(dropped, Ordering::Relaxed));
        if lines > 0 {
            tracing::warn!(
                lines,
                "the log file could not keep up: lines are missing in it"
            );
        }
    }

    /// Has the log file opened anew, by its name: what was renamed meanwhile gets nothing more.
    pub fn reopen(&self) {
        if let Some(file) = &self.file {
            file.control.reopen();
        }
    }
}

/// Starts logging for the whole program: to `terminal`, coloured or not, and to the file of `options`.
///
/// # Errors
/// If the file cannot be opened, `RUST_LOG` is not understood, or logging was started before.
pub fn init<W>(options: &Options, terminal: W, coloured: bool) -> Result<Guard, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (file, guard) = open_file(options)?;
    let repeats = guard.watch.repeats.clone();
    subscriber(options, terminal, coloured, file)?
        .with(repeats)
        .try_init()
        .map_err(|_| TelemetryError::Twice)?;
    Ok(guard)
}

/// The writer of the log file, if there is one, and what keeps it alive.
fn open_file(options: &Options) -> Result<(Option<NonBlocking>, Guard), TelemetryError> {
    let repeats = Repeats::new(options.repeats_max);
    let Some(path) = &options.file else {
        let watch = Watch {
            repeats,
            file: None,
        };
        let guard = Guard {
            watch,
            _worker: None,
        };
        return Ok((None, guard));
    };
    let control = Control::default();
    let file = LogFile::open(path, control.clone())
        .map_err(|error| TelemetryError::File(path.clone(), error))?;
    let (writer, worker) = NonBlockingBuilder::default()
        .buffered_lines_limit(FILE_LINES_MAX)
        .lossy(true)
        .thread_name("log-file")
        .finish(file);
    let file = FileWatch {
        control,
        dropped: writer.error_counter(),
        told: Arc::default(),
    };
    let watch = Watch {
        repeats,
        file: Some(file),
    };
    let guard = Guard {
        watch,
        _worker: Some(worker),
    };
    Ok((Some(writer), guard))
}

/// The subscriber of `options`.
fn subscriber<W>(
    options: &Options,
    terminal: W,
    coloured: bool,
    file: Option<NonBlocking>,
) -> Result<impl Subscriber + for<'a> LookupSpan<'a> + Send + Sync, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let terminal = lines(options.format, terminal, coloured);
    let file = file.map(|file| lines(options.format, file, false));
    Ok(tracing_subscriber::registry()
        .with(options.filter()?)
        .with(terminal)
        .with(file))
}

/// Lines of one form to one writer.
fn lines<S, W>(format: LogFormat, writer: W, coloured: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer).with_ansi(coloured);
    match format {
        LogFormat::Human => layer.with_target(false).boxed(),
        LogFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .boxed(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Keeps lines for the test.
    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Memory {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Memory {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    fn options(level: LogLevel, format: LogFormat) -> Options {
        Options {
            level,
            format,
            file: None,
            repeats_max: 0,
            directives: None,
        }
    }

    /// What is logged when a model is loaded, a library chatters and a detail is given.
    fn logged(options: &Options, file: Option<NonBlocking>) -> String {
        let memory = Memory::default();
        let subscriber = subscriber(options, memory.clone(), false, file).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(model = "bob", seconds = 0.25, "model loaded");
            tracing::debug!("a detail");
            tracing::info!(target: "h2::frame", "chatter");
            tracing::warn!(target: "h2::frame", "trouble");
        });
        memory.text()
    }

    #[test]
    fn levels_choose_our_lines_and_mute_libraries() {
        let lines = |level| {
            logged(&options(level, LogFormat::Human), None)
                .lines()
                .count()
        };
        assert_eq!(LEVELS.map(lines), [0, 1, 2, 3, 3]);
        let text = logged(&options(LogLevel::Info, LogFormat::Human), None);
        assert!(
            text.contains(r#" INFO model loaded model="bob" seconds=0.25"#),
            "{text}"
        );
        assert!(!text.contains('\x1b'), "{text}");
    }

    #[test]
    fn json_lines_have_the_fields() {
        let text = logged(&options(LogLevel::Info, LogFormat::Json), None);
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(line["message"], "model loaded");
        assert_eq!(line["model"], "bob");
        assert_eq!(line["seconds"], 0.25);
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn the_file_is_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lipsync.log");
        std::fs::write(&path, "before\n").unwrap();
        let options = Options {
            file: Some(path.clone()),
            ..options(LogLevel::Info, LogFormat::Human)
        };
        let (file, guard) = open_file(&options).unwrap();
        let terminal = logged(&options, file);
        drop(guard);
        // The timestamps of the two writers differ.
        let events = |text: &str| {
            text.lines()
                .map(|line| line.split_once(' ').map(|(_, event)| event.to_owned()))
                .collect::<Vec<_>>()
        };
        let written = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            events(written.strip_prefix("before\n").unwrap()),
            events(&terminal)
        );
        assert_eq!(written.lines().count(), 3);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            file: Some(folder.path().join("no/such/folder.log")),
            ..options(LogLevel::Info, LogFormat::Human)
        };
        let message = open_file(&options).unwrap_err().to_string();
        assert!(message.contains("folder.log"), "{message}");
    }

    #[test]
    fn the_command_line_moves_the_level() {
        assert_eq!(level(LogLevel::Warn, 0, false), LogLevel::Warn);
        assert_eq!(level(LogLevel::Warn, 1, false), LogLevel::Info);
        assert_eq!(level(LogLevel::Debug, 9, false), LogLevel::Trace);
        assert_eq!(level(LogLevel::Trace, 0, true), LogLevel::Error);
    }

    #[test]
    fn directives_replace_the_level() {
        let directives = |text: &str| Options {
            directives: Some(text.to_owned()),
            ..options(LogLevel::Error, LogFormat::Human)
        };
        assert_eq!(logged(&directives("h2=info"), None).lines().count(), 2);
        let error = directives("lipsync=shout").filter().unwrap_err();
        assert!(error.to_string().contains("lipsync=shout"), "{error}");
    }
}
