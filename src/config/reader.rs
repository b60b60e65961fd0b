//! Typed access to the raw tree: every read names its key, type, default, range and meaning once.
//!
//! A read never fails: what is wrong becomes a [`Problem`], the default takes its place, and reading goes on.
//! The reads also write the list of known keys, so that the documentation and "did you mean" cannot drift from the code.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::error::Problem;
use super::raw::{Key, Node, Place, Value, shorten};
use super::{Choice, Listen};

/// Problems that are kept; a file with more is wrong from the ground up.
const PROBLEMS_MAX: usize = 100;

/// A key of the file, as the documentation lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyDoc {
    /// The section: `server`, or `models.<id>`.
    pub(super) section: &'static str,
    /// The key.
    pub(super) name: &'static str,
    /// Type, with the range or the words allowed.
    pub(super) kind: String,
    /// Default, as it would be written.
    pub(super) default: String,
    /// What it means.
    pub(super) meaning: &'static str,
}

/// What reading a file found: problems and known keys.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) problems: Vec<Problem>,
    pub(super) omitted: usize,
    pub(super) keys: Vec<KeyDoc>,
    unknown: Vec<Unknown>,
}

#[derive(Debug)]
struct Unknown {
    pattern: &'static str,
    section: String,
    key: Key,
}

impl Report {
    /// Adds a problem at `place`.
    pub(super) fn add(
        &mut self,
        place: Place,
        key: &str,
        value: String,
        message: String,
        hint: Option<String>,
    ) {
        if self.problems.len() == PROBLEMS_MAX {
            self.omitted += 1;
            return;
        }
        self.problems.push(Problem {
            line: place.line,
            column: place.column,
            key: shorten(key),
            value,
            message,
            hint,
        });
    }

    /// Turns unknown keys into problems, now that all known ones are listed, and sorts by place.
    pub(super) fn finish(&mut self) {
        for unknown in std::mem::take(&mut self.unknown) {
            let hint = self.suggestion(&unknown);
            let path = join(&unknown.section, &unknown.key.name);
            self.add(
                unknown.key.place,
                &path,
                String::new(),
                "unknown key".to_owned(),
                Some(hint),
            );
        }
        self.problems
            .sort_by_key(|problem| (problem.line, problem.column));
    }

    fn suggestion(&self, unknown: &Unknown) -> String {
        let name = &unknown.key.name;
        let here: Vec<&str> = self
            .keys
            .iter()
            .filter(|key| key.section == unknown.pattern)
            .map(|key| key.name)
            .collect();
        if let Some(near) = nearest(name, here.iter().copied()) {
            return format!("did you mean `{near}`?");
        }
        if let Some(key) = self.keys.iter().find(|key| key.name == name) {
            return format!("`{name}` belongs in `{}`", key.section);
        }
        format!("known keys here: {}", here.join(", "))
    }
}

/// The known word nearest to `word`, if any is near enough to be meant.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Longer than any key: not worth a quadratic comparison.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    known
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

/// `server` and `port` to `server.port`.
pub(super) fn join(section: &str, key: &str) -> String {
    if section.is_empty() {
        key.to_owned()
    } else {
        format!("{section}.{key}")
    }
}

/// One mapping of the file while it is read.
pub(super) struct Section<'a, 'r> {
    pattern: &'static str,
    path: String,
    place: Place,
    entries: Vec<(&'a Key, &'a Node)>,
    asked: Vec<&'static str>,
    report: &'r mut Report,
}

impl<'a, 'r> Section<'a, 'r> {
    /// Opens a mapping; an absent or empty one has no entries. `pattern` is its path with `<id>` for a model's name.
    pub(super) fn open(
        node: Option<&'a Node>,
        pattern: &'static str,
        path: String,
        place: Place,
        report: &'r mut Report,
    ) -> Self {
        let mut entries: Vec<(&Key, &Node)> = Vec::new();
        match node.map(|node| (node, &node.value)) {
            None | Some((_, Value::Null)) => {}
            Some((_, Value::Map(map))) => {
                for (key, node) in map {
                    if let Some((first, _)) =
                        entries.iter().find(|(other, _)| other.name == key.name)
                    {
                        let message =
                            format!("set twice; the first is on line {}", first.place.line);
                        let hint = Some("keep one of the two".to_owned());
                        report.add(
                            key.place,
                            &join(&path, &key.name),
                            node.shown(),
                            message,
                            hint,
                        );
                    } else {
                        entries.push((key, node));
                    }
                }
            }
            Some((node, _)) => {
                let hint = Some("put its keys below it, indented by two spaces".to_owned());
                report.add(
                    node.place,
                    &path,
                    node.shown(),
                    "must be a mapping of keys to values".to_owned(),
                    hint,
                );
            }
        }
        Self {
            pattern,
            path,
            place,
            entries,
            asked: Vec::new(),
            report,
        }
    }

    /// The mapping's entries, for one whose keys are free names; all count as known.
    pub(super) fn into_entries(self) -> (Vec<(&'a Key, &'a Node)>, &'r mut Report) {
        (self.entries, self.report)
    }

    /// Ends reading: what was never asked for is unknown.
    pub(super) fn finish(self) {
        for (key, _) in self.entries {
            // `x-…` at the top is the place for anchors that several models share.
            let shared = self.pattern.is_empty() && key.name.starts_with("x-");
            if !shared && !self.asked.contains(&key.name.as_str()) {
                self.report.unknown.push(Unknown {
                    pattern: self.pattern,
                    section: self.path.clone(),
                    key: key.clone(),
                });
            }
        }
    }

    /// Where the section itself is.
    pub(super) fn own_place(&self) -> Place {
        self.place
    }

    /// The place of `key`'s value, or of the section if it is not set.
    pub(super) fn place(&self, key: &str) -> Place {
        let entry = self.entries.iter().find(|(entry, _)| entry.name == key);
        entry.map_or(self.place, |(_, node)| node.place)
    }

    /// Whether `key` is set to something.
    pub(super) fn has(&self, key: &str) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|(entry, node)| entry.name == key && !matches!(node.value, Value::Null))
    }

    /// Reports that `key` does not agree with the rest.
    pub(super) fn conflict(&mut self, key: &str, value: &dyn Display, message: &str, hint: &str) {
        let path = join(&self.path, key);
        let place = self.place(key);
        self.report.add(
            place,
            &path,
            shorten(&value.to_string()),
            message.to_owned(),
            Some(hint.to_owned()),
        );
    }

    /// The node of `key`, noting the key as known. A key set to nothing counts as not set.
    pub(super) fn take(
        &mut self,
        name: &'static str,
        kind: &str,
        default: &str,
        meaning: &'static str,
    ) -> Option<&'a Node> {
        self.asked.push(name);
        let known = &mut self.report.keys;
        if !known
            .iter()
            .any(|key| key.section == self.pattern && key.name == name)
        {
            known.push(KeyDoc {
                section: self.pattern,
                name,
                kind: kind.to_owned(),
                default: default.to_owned(),
                meaning,
            });
        }
        let (_, node) = self.entries.iter().find(|(key, _)| key.name == name)?;
        (!matches!(node.value, Value::Null)).then_some(*node)
    }

    /// Reports that the value of `name` is wrong.
    pub(super) fn wrong(&mut self, name: &str, node: &Node, message: String, hint: Option<String>) {
        self.report.add(
            node.place,
            &join(&self.path, name),
            node.shown(),
            message,
            hint,
        );
    }

    /// Reports that a required key is missing.
    pub(super) fn missing(&mut self, name: &'static str, example: &str) {
        let hint = Some(format!("add `{name}: {example}`"));
        let path = join(&self.path, name);
        self.report.add(
            self.place,
            &path,
            String::new(),
            "required, but not set".to_owned(),
            hint,
        );
    }

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
        let problems = self.report.problems.len() + self.report.omitted;
        let path = self.path(name, "required", meaning);
        // One problem a key: a wrong value is not missing as well.
        if path.is_none() && self.report.problems.len() + self.report.omitted == problems {
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
