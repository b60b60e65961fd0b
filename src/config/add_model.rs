//! Adds a model to the text of a configuration, and changes no other byte of it.
//!
//! The text is looked at as lines: where the section `models` is, how far its entries are indented, where it ends. What
//! comes out is parsed and compared with what went in, so a file that is written in a way this does not understand is
//! left alone, with the lines to add by hand.

use std::fmt::Write as _;
use std::path::Path;

use super::{Config, ConfigErrors};

/// An entry of `models`: keys and their values, in order.
pub type Entry<'a> = [(&'a str, String)];

/// What became of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// The text with the model.
    Text(String),
    /// The model is there already, as it is to be.
    Present,
}

/// Why a model cannot be added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The configuration, or what it would become, is not valid.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// There is another one of this name.
    #[error("{} has another model {id:?} already", path.display())]
    Taken {
        /// The configuration.
        path: std::path::PathBuf,
        /// The name.
        id: String,
    },
    /// The file is written in a way that cannot be added to.
    #[error("cannot add to {} without changing more of it; add this to its section `models`:\n{entry}", path.display())]
    Form {
        /// The configuration.
        path: std::path::PathBuf,
        /// The lines.
        entry: String,
    },
}

/// Adds the model `id` to `text`, the content of the configuration at `path`; `None` if there is no such file yet.
///
/// # Errors
/// If the text is not valid before or after, has another model of this name, or cannot be added to.
pub fn add_model(
    text: Option<&str>,
    path: &Path,
    id: &str,
    entry: &Entry<'_>,
) -> Result<Added, AddError> {
    let Some(text) = text else {
        let text = format!("{HEADER}models:\n{}", block(id, entry, 2, 2, "\n"));
        Config::parse(&text, path)?;
        return Ok(Added::Text(text));
    };
    let before = Config::parse(text, path);
    let alone = Config::parse(&format!("models:\n{}", block(id, entry, 2, 2, "\n")), path)?;
    if let Ok(before) = &before
        && let Some(present) = before.model(id)
    {
        return if Some(present) == alone.model(id) {
            Ok(Added::Present)
        } else {
            Err(AddError::Taken {
                path: path.to_owned(),
                id: id.to_owned(),
            })
        };
    }
    let edited = insert(text, id, entry);
    let after = edited.as_ref().map(|edited| Config::parse(edited, path));
    match (before, edited, after) {
        (Ok(mut expected), Some(edited), Some(Ok(mut after))) => {
            expected.models.extend(alone.models);
            expected.models.sort_by(|a, b| a.id.cmp(&b.id));
            after.models.sort_by(|a, b| a.id.cmp(&b.id));
            if after == expected {
                return Ok(Added::Text(edited));
            }
        }
        // A file that lacks nothing but its first model is not valid before.
        (Err(_), Some(edited), Some(Ok(after))) if after.models == alone.models => {
            return Ok(Added::Text(edited));
        }
        (Err(errors), ..) => return Err(errors.into()),
        _ => {}
    }
    Err(AddError::Form {
        path: path.to_owned(),
        entry: block(id, entry, 2, 2, "\n"),
    })
}

/// What a new file begins with.
const HEADER: &str = "\
# The configuration of lipsync. Every key, its range and its meaning: docs/configuration.md.
# Only `models` must be there; relative paths start at the folder of this file.

";

/// The text with the entry in its place; `None` if no place was found.
fn insert(text: &str, id: &str, entry: &Entry<'_>) -> Option<String> {
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let Some(models) = lines.iter().position(|line| is_models(line)) else {
        if let Some(place) = flow_place(text, "\"models\"") {
            return Some(with_flow(text, place, id, entry));
        }
        let mut edited = text.to_owned();
        if !text.trim_start_matches('\u{feff}').trim().is_empty() {
            end_line(&mut edited, newline);
            edited += newline;
        }
        let block = block(id, entry, 2, 2, newline);
        let _ = write!(edited, "models:{newline}{block}");
        return Some(edited);
    };
    let start: usize = lines[..models].iter().map(|line| line.len()).sum();
    let value = lines[models].split_once(':')?.1.trim();
    if value.starts_with('{') {
        let place = start + flow_place(&text[start..], "models")?;
        return Some(with_flow(text, place, id, entry));
    }
    let section = Section::of(&lines[models + 1..]);
    let place: usize = lines[..=models + section.lines]
        .iter()
        .map(|line| line.len())
        .sum();
    let mut edited = text[..place].to_owned();
    end_line(&mut edited, newline);
    if section.is_spaced {
        edited += newline;
    }
    edited += &block(id, entry, section.indent, section.step, newline);
    edited += &text[place..];
    Some(edited)
}

/// Whether a line is the key of the section.
fn is_models(line: &str) -> bool {
    let line = line.trim_start_matches('\u{feff}');
    ["models", "\"models\"", "'models'"].iter().any(|key| {
        line.strip_prefix(key).is_some_and(|rest| {
            let rest = rest.trim_start_matches(' ');
            rest.strip_prefix(':')
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
        })
    })
}

fn end_line(text: &mut String, newline: &str) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push_str(newline);
    }
}

/// How a section is laid out.
struct Section {
    /// How many of its lines come before the place for another entry.
    lines: usize,
    /// Columns before an entry's name, and from there to its keys.
    indent: usize,
    step: usize,
    /// Whether blank lines part its entries.
    is_spaced: bool,
}

impl Section {
    /// Of the lines after the section's key.
    fn of(lines: &[&str]) -> Self {
        let mut section = Self {
            lines: 0,
            indent: 0,
            step: 0,
            is_spaced: false,
        };
        let mut after_blank = false;
        for (index, line) in lines.iter().enumerate() {
            let content = line.trim();
            let indent = line.len() - line.trim_start_matches(' ').len();
            if content.is_empty() {
                after_blank = true;
                continue;
            }
            let is_comment = content.starts_with('#');
            if indent == 0 && !is_comment {
                break;
            }
            if is_comment {
                // One that is not indented belongs to what follows.
                if indent > 0 && indent >= section.indent {
                    section.lines = index + 1;
                }
            } else {
                if section.indent == 0 {
                    section.indent = indent;
                } else if indent == section.indent {
                    section.is_spaced = after_blank;
                } else if section.step == 0 && indent > section.indent {
                    section.step = indent - section.indent;
                }
                section.lines = index + 1;
            }
            after_blank = false;
        }
        if section.indent == 0 {
            section.indent = 2;
        }
        if section.step == 0 {
            section.step = 2;
        }
        section
    }
}

/// The place after the brace that opens the value of `key`.
fn flow_place(text: &str, key: &str) -> Option<usize> {
    let after = text.find(key)? + key.len();
    let rest = text[after..].trim_start_matches(['"', '\'', ' ']);
    let rest = rest.strip_prefix(':')?.trim_start();
    let rest = rest.strip_prefix('{')?;
    Some(text.len() - rest.len())
}

/// The text with the entry after a brace, as JSON, which YAML takes within braces.
fn with_flow(text: &str, place: usize, id: &str, entry: &Entry<'_>) -> String {
    let json = |text: &str| serde_json::Value::from(text).to_string();
    let keys = entry.iter().map(|(key, value)| {
        let value = match value.parse::<u64>() {
            Ok(_) => value.clone(),
            Err(_) => json(value),
        };
        format!("{}: {value}", json(key))
    });
    let keys: Vec<String> = keys.collect();
    let is_last = text[place..].trim_start().starts_with('}');
    let comma = if is_last { "" } else { "," };
    let added = format!("{}: {{{}}}{comma}", json(id), keys.join(", "));
    let space = if text[place..].starts_with(char::is_whitespace) || is_last {
        ""
    } else {
        " "
    };
    format!("{}{added}{space}{}", &text[..place], &text[place..])
}

/// The entry as lines.
fn block(id: &str, entry: &Entry<'_>, indent: usize, step: usize, newline: &str) -> String {
    let mut text = format!("{:indent$}{}:{newline}", "", scalar(id));
    for (key, value) in entry {
        let _ = write!(
            text,
            "{:1$}{key}: {2}{newline}",
            "",
            indent + step,
            scalar(value)
        );
    }
    text
}

/// A value as YAML: plain where nobody can misread it, else between single quotes.
fn scalar(value: &str) -> String {
    let plain = value
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
        && value.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '.'))
        && !is_word(value)
        || value.parse::<u64>().is_ok() && !value.starts_with('0');
    if plain {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', "''"))
    }
}

/// Whether YAML has a meaning of its own for a word, or reads it as a number.
fn is_word(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    [
        "true", "false", "yes", "no", "on", "off", "null", "y", "n", "inf", "nan",
    ]
    .contains(&lower.trim_start_matches('.'))
        || lower.parse::<f64>().is_ok()
        || lower.chars().all(|c| c == '.')
}
