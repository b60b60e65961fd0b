//! The types of values: how each is read, and what is said when it is something else.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::raw::{Node, Value};
use super::reader::{Section, nearest};
use super::{Choice, Listen};

impl Section<'_, '_> {
    /// `true` or `false`.
    pub(super) fn bool(
        &mut self,
        name: &'static str,
        default: bool,
        meaning: &'static str,
    ) -> bool {
        match self.take(name, "true, false", &default.to_string(), meaning) {
            None => default,
            Some(Node {
                value: Value::Bool(value),
                ..
            }) => *value,
            Some(node) => {
                self.wrong(name, node, "must be true or false".to_owned(), None);
                default
            }
        }
    }

    /// A whole number within `range`.
    pub(super) fn integer(
        &mut self,
        name: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
        meaning: &'static str,
    ) -> u64 {
        let node = self.take(name, &integer_kind(&range), &default.to_string(), meaning);
        node.and_then(|node| self.integer_in(name, node, &range))
            .unwrap_or(default)
    }

    /// A whole number within `range`, or not set; `otherwise` says what that means.
    pub(super) fn optional_integer(
        &mut self,
        name: &'static str,
        otherwise: &str,
        range: RangeInclusive<u64>,
        meaning: &'static str,
    ) -> Option<u64> {
        let node = self.take(name, &integer_kind(&range), otherwise, meaning)?;
        self.integer_in(name, node, &range)
    }

    fn integer_in(&mut self, name: &str, node: &Node, range: &RangeInclusive<u64>) -> Option<u64> {
        let number = match node.value {
            Value::Integer(value) => u64::try_from(value).ok(),
            // 25.0 is a whole number too; u64::MAX as f64 rounds up, hence the strict bound.
            Value::Float(value)
                if value.fract() == 0.0 && (0.0..u64::MAX as f64).contains(&value) =>
            {
                Some(value as u64)
            }
            Value::Float(_) => None,
            _ => {
                let hint = quoted_number_hint(node);
                self.wrong(
                    name,
                    node,
                    format!("must be a {}", integer_kind(range)),
                    hint,
                );
                return None;
            }
        };
        let valid = number.filter(|number| range.contains(number));
        if valid.is_none() {
            self.wrong(
                name,
                node,
                format!("must be a {}", integer_kind(range)),
                None,
            );
        }
        valid
    }

    /// A number within `range`, fractions allowed.
    pub(super) fn number(
        &mut self,
        name: &'static str,
        default: f64,
        range: RangeInclusive<f64>,
        meaning: &'static str,
    ) -> f64 {
        let kind = format!("number from {} to {}", range.start(), range.end());
        let Some(node) = self.take(name, &kind, &default.to_string(), meaning) else {
            return default;
        };
        let number = match node.value {
            Value::Integer(value) => value as f64,
            Value::Float(value) => value,
            _ => f64::NAN,
        };
        // NaN is in no range.
        if range.contains(&number) {
            return number;
        }
        let hint = quoted_number_hint(node);
        self.wrong(name, node, format!("must be a {kind}"), hint);
        default
    }

    /// A time in seconds.
    pub(super) fn seconds(
        &mut self,
        name: &'static str,
        default: f64,
        range: RangeInclusive<f64>,
        meaning: &'static str,
    ) -> Duration {
        Duration::from_secs_f64(self.number(name, default, range, meaning))
    }

    /// A time in milliseconds.
    pub(super) fn milliseconds(
        &mut self,
        name: &'static str,
        default: f64,
        range: RangeInclusive<f64>,
        meaning: &'static str,
    ) -> Duration {
        Duration::from_secs_f64(self.number(name, default, range, meaning) / 1000.0)
    }

    /// One of the words of `T`.
    pub(super) fn choice<T: Choice>(
        &mut self,
        name: &'static str,
        default: T,
        meaning: &'static str,
    ) -> T {
        let node = self.take(name, &words::<T>().join(", "), default.word(), meaning);
        node.and_then(|node| self.word(name, node))
            .unwrap_or(default)
    }

    /// One of the words of `T`; where none is set, `otherwise`, which some other key has chosen.
    pub(super) fn choice_or<T: Choice>(
        &mut self,
        name: &'static str,
        shown: T,
        otherwise: T,
        meaning: &'static str,
    ) -> T {
        let node = self.take(name, &words::<T>().join(", "), shown.word(), meaning);
        node.and_then(|node| self.word(name, node))
            .unwrap_or(otherwise)
    }

    /// A list of words of `T`, each at most once; one word may stand without brackets.
    pub(super) fn choices<T: Choice>(
        &mut self,
        name: &'static str,
        otherwise: &str,
        meaning: &'static str,
    ) -> Option<Vec<T>> {
        let kind = format!("list of {}", words::<T>().join(", "));
        let node = self.take(name, &kind, otherwise, meaning)?;
        let Value::List(list) = &node.value else {
            return Some(vec![self.word(name, node)?]);
        };
        if list.is_empty() {
            self.wrong(name, node, format!("must be a {kind}, not empty"), None);
        }
        let mut values = Vec::new();
        for item in list {
            let Some(value) = self.word::<T>(name, item) else {
                continue;
            };
            if values.contains(&value) {
                self.wrong(name, item, "listed twice".to_owned(), None);
            } else {
                values.push(value);
            }
        }
        (!values.is_empty()).then_some(values)
    }

    fn word<T: Choice>(&mut self, name: &str, node: &Node) -> Option<T> {
        let written = match &node.value {
            Value::Text(text) => text.to_lowercase(),
            _ => node.shown(),
        };
        if let Some((_, value)) = T::WORDS.iter().find(|(word, _)| *word == written) {
            return Some(*value);
        }
        let hint = nearest(&written, T::WORDS.iter().map(|(word, _)| *word))
            .map(|near| format!("did you mean `{near}`?"));
        self.wrong(
            name,
            node,
            format!("must be one of {}", words::<T>().join(", ")),
            hint,
        );
        None
    }

    /// A path as written, or `None` if not set or empty.
    pub(super) fn path(
        &mut self,
        name: &'static str,
        otherwise: &str,
        meaning: &'static str,
    ) -> Option<PathBuf> {
        let node = self.take(name, "path", otherwise, meaning)?;
        match &node.value {
            Value::Text(text) if text.contains('\0') => {
                self.wrong(
                    name,
                    node,
                    "must be a path, and no path holds a zero byte".to_owned(),
                    None,
                );
                None
            }
            Value::Text(text) => (!text.is_empty()).then(|| PathBuf::from(text)),
            // Numbers and booleans are legal names of files.
            Value::Integer(_) | Value::Bool(_) | Value::Float(_) => {
                let hint = Some(format!("put it between quotes: '{}'", node.shown()));
                self.wrong(name, node, "must be a path".to_owned(), hint);
                None
            }
            _ => {
                self.wrong(name, node, "must be a path".to_owned(), None);
                None
            }
        }
    }

    /// A path that must be set.
    pub(super) fn required_path(
        &mut self,
        name: &'static str,
        example: &str,
        meaning: &'static str,
    ) -> PathBuf {
        let path = self.path(name, "required", meaning);
        // One problem a key: a wrong value is not missing as well.
        if self.is_blank(name) {
            self.missing(name, example);
        }
        path.unwrap_or_default()
    }

    /// An address to listen on; a bare port is on `default.host`. 0, false or `off` is `None`.
    pub(super) fn listen(
        &mut self,
        name: &'static str,
        default: &Listen,
        kind: &str,
        meaning: &'static str,
    ) -> Option<Listen> {
        let Some(node) = self.take(name, kind, &default.to_string(), meaning) else {
            return Some(default.clone());
        };
        let bare = |port: u16| Listen {
            host: default.host.clone(),
            port,
        };
        let listen = match &node.value {
            Value::Bool(false) | Value::Integer(0) => return None,
            Value::Integer(port) => u16::try_from(*port).ok().map(bare),
            Value::Text(text) if matches!(text.trim(), "" | "0" | "off") => return None,
            Value::Text(text) => match text.trim().parse() {
                Ok(port) => Some(bare(port)),
                Err(_) => parse_address(text.trim()),
            },
            _ => None,
        };
        if listen.is_none() {
            let hint = Some(
                "for example :50053 (every interface) or 127.0.0.1:50053 (this machine only)"
                    .to_owned(),
            );
            self.wrong(name, node, format!("must be a {kind}"), hint);
        }
        Some(listen.unwrap_or_else(|| default.clone()))
    }
}

/// `host:port`, `:port` or `[v6]:port`.
fn parse_address(text: &str) -> Option<Listen> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = match bare {
        Some(host) => Some(host.parse::<std::net::Ipv6Addr>().ok()?.to_string()),
        None if host.is_empty() || host == "*" => None,
        None => {
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            host.chars().all(legal).then(|| Some(host.to_owned()))?
        }
    };
    Some(Listen { host, port })
}

fn words<T: Choice>() -> Vec<&'static str> {
    let mut shown: Vec<T> = Vec::new();
    let mut words = Vec::new();
    for (word, value) in T::WORDS {
        if !shown.contains(value) {
            shown.push(*value);
            words.push(*word);
        }
    }
    words
}

fn integer_kind(range: &RangeInclusive<u64>) -> String {
    format!("whole number from {} to {}", range.start(), range.end())
}

/// A number between quotes is text; say so.
fn quoted_number_hint(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) if text.trim().parse::<f64>().is_ok() => {
            Some("remove the quotes".to_owned())
        }
        _ => None,
    }
}
