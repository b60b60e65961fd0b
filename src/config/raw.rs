//! The file as written: a tree of values that know their place.
//!
//! The tree is read before any meaning is looked for, so that one wrong value cannot hide the next.
//! Aliases and merge keys are expanded here, within limits; duplicate keys are kept, to be reported by name.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::options::NonFiniteFloatPolicy;
use serde_yaml::{DuplicateKeyPolicy, Location, SnippetMode, Spanned, UserMessageFormatter};

use super::error::Problem;

/// Characters of a value that are shown in a message.
const SHOWN_CHARS: usize = 60;

/// A line and column, both from 1; 0 where the file has no such place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        Self {
            line: location.line() as usize,
            column: location.column() as usize,
        }
    }
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// A value, its type inferred as YAML 1.2 does (and `yes`, `no`, `on`, `off` are booleans, as YAML 1.1 had it).
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping and its place.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) place: Place,
}

impl Node {
    /// The value in a few characters, for a message.
    pub(super) fn shown(&self) -> String {
        match &self.value {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Integer(value) => value.to_string(),
            Value::Float(value) if value.is_nan() => ".nan".to_owned(),
            Value::Float(value) if value.is_infinite() => {
                if *value > 0.0 { ".inf" } else { "-.inf" }.to_owned()
            }
            Value::Float(value) => value.to_string(),
            Value::Text(text) => shorten(text),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// `text` without control characters, cut to a length that fits a line.
pub(super) fn shorten(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .take(SHOWN_CHARS)
        .collect();
    if text.chars().nth(SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// Reads `text` as one YAML document.
///
/// # Errors
/// What is wrong with the YAML. A parser cannot go on after that, so it is one problem.
pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let options = serde_yaml::options! {
        // Far above any real file, far below what hurts: nesting, aliases of aliases, endless lists.
        budget: serde_yaml::budget! {
            max_depth: 32,
            max_events: 200_000,
            max_nodes: 100_000,
            max_documents: 1,
            // Many models may share one anchor; the replay limits below bound what that costs.
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_yaml::alias_limits! {
            max_total_replayed_events: 200_000,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        reject_unsupported_tags: true,
    };
    serde_yaml::from_str_with_options(text, options).map_err(|error| syntax_problem(&error))
}

/// The parser's complaint in our words.
fn syntax_problem(error: &serde_yaml::Error) -> Problem {
    let rendered = error.render_with_options(serde_yaml::render_options! {
        formatter: &UserMessageFormatter,
        snippets: SnippetMode::Off,
    });
    let place = error.location().map(Place::from).unwrap_or_default();
    if rendered.contains("limits breached: Documents") {
        return Problem {
            line: place.line,
            column: place.column,
            key: String::new(),
            value: String::new(),
            message: "the file holds more than one YAML document".to_owned(),
            hint: Some("a line `---` begins another one: keep one document, without such a line in its middle".to_owned()),
        };
    }
    let line = rendered.lines().next().unwrap_or_default();
    let message = line.rsplit_once(" at line ").map_or(line, |(head, _)| head);
    let hint = if message.contains("escape") {
        "between double quotes a backslash starts an escape; write Windows paths between single quotes or without quotes"
    } else if message.contains("tab") {
        "indent with spaces"
    } else {
        "the place may be just after the real mistake: look at the indentation, quotes and colons before it"
    };
    Problem {
        line: place.line,
        column: place.column,
        key: String::new(),
        value: String::new(),
        message: format!("not valid YAML: {}", lower_first(message)),
        hint: Some(hint.to_owned()),
    }
}

/// `text` beginning with a small letter, unless it begins with an acronym.
fn lower_first(text: &str) -> String {
    let mut chars = text.trim_end_matches('.').chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), second) if !second.is_some_and(char::is_uppercase) => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.trim_end_matches('.').to_owned(),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            value: spanned.value,
            place: spanned.referenced.into(),
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(Value::Integer(i128::try_from(value).unwrap_or(i128::MAX)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(Value::Text(String::from_utf8_lossy(value).into_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = access.next_element()? {
            list.push(node);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            let key = Key {
                place: key.referenced.into(),
                name: key.value,
            };
            map.push((key, access.next_value()?));
        }
        Ok(Value::Map(map))
    }
}
