//! Problems for people, for programs and for GitHub's annotations.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::error::{ConfigErrors, Problem, count};

/// Characters of a source line that are shown.
const EXCERPT_CHARS: usize = 120;

impl Problem {
    /// Key, message and value on one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut line = String::new();
        if !self.key.is_empty() {
            let _ = write!(line, "{}: ", self.key);
        }
        line.push_str(&self.message);
        if !self.value.is_empty() {
            let _ = write!(line, ", found `{}`", self.value);
        }
        line
    }

    /// `file:line:column`, as far as it is known.
    fn place(&self, path: &Path) -> String {
        match (self.line, self.column) {
            (0, _) => path.display().to_string(),
            (line, 0) => format!("{}:{line}", path.display()),
            (line, column) => format!("{}:{line}:{column}", path.display()),
        }
    }
}

/// What [`ConfigErrors::json`] writes.
#[derive(Serialize)]
struct Document<'a> {
    path: String,
    valid: bool,
    problems: &'a [Problem],
    omitted: usize,
}

impl ConfigErrors {
    /// For people: every problem with its place, the line it is on, and what to do; ends with a newline.
    #[must_use]
    pub fn human(&self) -> String {
        let mut text = String::new();
        for problem in &self.problems {
            let _ = writeln!(text, "{}: {}", problem.place(&self.path), problem.summary());
            let line = problem
                .line
                .checked_sub(1)
                .and_then(|index| self.text.lines().nth(index));
            if let Some(line) = line {
                excerpt(&mut text, line, problem);
            }
            if let Some(hint) = &problem.hint {
                let _ = writeln!(text, "  hint: {hint}");
            }
        }
        if self.omitted > 0 {
            let _ = writeln!(text, "and {} more", count(self.omitted));
        }
        text
    }

    /// For programs: one JSON document with `path`, `valid`, `problems` and `omitted`.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!(Document {
            path: self.path.display().to_string(),
            valid: false,
            problems: &self.problems,
            omitted: self.omitted,
        })
    }

    /// For GitHub Actions: a workflow command per problem, which annotates its line; ends with a newline.
    #[must_use]
    pub fn github(&self) -> String {
        let mut text = String::new();
        let file = escape_property(&self.path.display().to_string());
        for problem in &self.problems {
            let _ = write!(text, "::error file={file}");
            if problem.line > 0 {
                let _ = write!(text, ",line={}", problem.line);
            }
            if problem.column > 0 {
                let _ = write!(text, ",col={}", problem.column);
            }
            let hint = problem
                .hint
                .as_deref()
                .map_or_else(String::new, |hint| format!("\nhint: {hint}"));
            let message = escape_data(&format!("{}{hint}", problem.summary()));
            let _ = writeln!(text, ",title=lipsync configuration::{message}");
        }
        if self.omitted > 0 {
            let _ = writeln!(
                text,
                "::error file={file}::and {} more",
                count(self.omitted)
            );
        }
        text
    }
}

/// The line of the problem and a caret below its column.
fn excerpt(text: &mut String, line: &str, problem: &Problem) {
    let column = problem.column.saturating_sub(1);
    // A very long line is shown from a little before the place.
    let skipped = if column >= EXCERPT_CHARS {
        column - EXCERPT_CHARS / 2
    } else {
        0
    };
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let shown: String = line
        .chars()
        .skip(skipped)
        .take(EXCERPT_CHARS)
        .map(plain)
        .collect();
    let number = problem.line.to_string();
    let margin = " ".repeat(number.len());
    let _ = writeln!(text, "  {number} | {}", shown.trim_end());
    if problem.column > 0 {
        let _ = writeln!(text, "  {margin} | {}^", " ".repeat(column - skipped));
    }
}

/// The escapes of a workflow command's message.
fn escape_data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// The escapes of a workflow command's properties.
fn escape_property(text: &str) -> String {
    escape_data(text).replace(':', "%3A").replace(',', "%2C")
}
