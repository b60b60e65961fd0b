//! What is wrong with a configuration file, and where.

use std::path::PathBuf;

/// One thing wrong with a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}: {} in the configuration", path.display(), count(problems.len()))]
pub struct ConfigErrors {
    /// The file.
    pub path: PathBuf,
    /// Its text, for excerpts; empty if it could not be read.
    pub text: String,
    /// The problems; never empty.
    pub problems: Vec<Problem>,
}

/// "1 problem", "3 problems".
fn count(problems: usize) -> String {
    format!("{problems} problem{}", if problems == 1 { "" } else { "s" })
}
