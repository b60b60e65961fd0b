//! Typed access to the raw tree: every read names its key, type, default, range and meaning once.
//!
//! A read never fails: what is wrong becomes a [`Problem`], the default takes its place, and reading goes on.
//! The reads also write the list of known keys, so that the documentation and "did you mean" cannot drift from the code.

use std::collections::HashMap;
use std::fmt::Display;

use super::error::Problem;
use super::raw::{Key, Node, Place, Value, shorten};
use super::successors;

/// Problems that are kept; a file with more is wrong from the ground up.
pub(super) const PROBLEMS_MAX: usize = 100;

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
    /// Where the value of every key that is set stands, by the key's path.
    pub(super) places: HashMap<String, Place>,
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
        let unknown = std::mem::take(&mut self.unknown);
        let foreign = unknown
            .iter()
            .find(|unknown| successors::hint(unknown.pattern, &unknown.key.name).is_some());
        if let Some(foreign) = foreign {
            self.add(
                foreign.key.place,
                "",
                String::new(),
                successors::RECOGNISED.to_owned(),
                None,
            );
        }
        for unknown in unknown {
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
        if let Some(hint) = successors::hint(unknown.pattern, name) {
            return hint.to_owned();
        }
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

    /// Whether `key` is absent, or set to nothing.
    pub(super) fn is_blank(&self, key: &str) -> bool {
        let entry = self.entries.iter().find(|(entry, _)| entry.name == key);
        entry.is_none_or(|(_, node)| match &node.value {
            Value::Null => true,
            Value::Text(text) => text.is_empty(),
            _ => false,
        })
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
        let path = join(&self.path, name);
        self.report.places.insert(path, node.place);
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
}
