//! What is wrong with a configuration file, and where.

use std::io;
use std::path::{Path, PathBuf};
use std::string::FromUtf8Error;

use serde::Serialize;

/// One thing wrong with a configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Line, from 1; 0 if the problem is not at a place of the file.
    pub line: usize,
    /// Column in characters, from 1; 0 if the problem is not at a place of the file.
    pub column: usize,
    /// Path of the key, such as `models.bob.fps`; empty if the problem is not about one key.
    pub key: String,
    /// The offending value as written; empty if there is none.
    pub value: String,
    /// What is wrong: lower-case, no final period.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Everything wrong with a configuration file, in the order of the file.
///
/// `Display` gives one line; [`ConfigErrors::human`], [`ConfigErrors::json`] and [`ConfigErrors::github`] give all of it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}{}", self.headline(), first(problems))]
pub struct ConfigErrors {
    /// The file.
    pub path: PathBuf,
    /// Its text, for excerpts; empty if it could not be read.
    pub text: String,
    /// The problems; never empty.
    pub problems: Vec<Problem>,
    /// Problems left out because there were too many.
    pub omitted: usize,
}

impl ConfigErrors {
    /// The file and how many problems it has.
    #[must_use]
    pub fn headline(&self) -> String {
        let problems = count(self.problems.len() + self.omitted);
        format!("{}: {problems} in the configuration", self.path.display())
    }

    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => {
                "name the file with --config, or run `lipsync demo` to have one written"
            }
            io::ErrorKind::IsADirectory => "name the file, not its folder",
            _ => "check that the file may be read",
        };
        Self::whole_file(path, format!("cannot be read: {error}"), hint)
    }

    pub(super) fn too_large(path: &Path, bytes_max: u64) -> Self {
        let message = format!(
            "larger than {} MB: not a configuration file",
            bytes_max >> 20
        );
        Self::whole_file(path, message, "name the right file with --config")
    }

    pub(super) fn not_utf8(path: &Path, error: &FromUtf8Error) -> Self {
        let valid = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()])
            .into_owned();
        let mut errors =
            Self::whole_file(path, "not UTF-8 text".to_owned(), "save the file as UTF-8");
        errors.problems[0].line = valid.matches('\n').count() + 1;
        errors.problems[0].column = valid.chars().rev().take_while(|&c| c != '\n').count() + 1;
        errors.text = valid;
        errors
    }

    fn whole_file(path: &Path, message: String, hint: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: String::new(),
            problems: vec![Problem {
                message,
                hint: Some(hint.to_owned()),
                ..Problem::default()
            }],
            omitted: 0,
        }
    }
}

/// "1 problem", "3 problems".
pub(super) fn count(problems: usize) -> String {
    format!("{problems} problem{}", if problems == 1 { "" } else { "s" })
}

/// The first problem, for messages that have one line only.
fn first(problems: &[Problem]) -> String {
    problems
        .first()
        .map_or_else(String::new, |problem| format!(": {}", problem.summary()))
}
