//! A valid file and where its keys are: for problems that only show when the files it names are opened.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::error::{ConfigErrors, Problem};
use super::raw::Place;
use super::reader::PROBLEMS_MAX;

/// The text of a valid configuration file, and the place of every key that is set in it.
#[derive(Clone, Debug)]
pub struct Source {
    path: PathBuf,
    text: String,
    places: HashMap<String, Place>,
}

impl Source {
    pub(super) fn new(path: &Path, text: &str, places: HashMap<String, Place>) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            places,
        }
    }

    /// A problem with the value of `key` (`models.bob.model_path`), or, if that is not set, with the section it is in.
    #[must_use]
    pub fn problem(&self, key: &str, message: String, hint: Option<String>) -> Problem {
        let mut sections = std::iter::successors(Some(key), |key| Some(key.rsplit_once('.')?.0));
        let place = sections.find_map(|key| self.places.get(key));
        let place = place.copied().unwrap_or_default();
        Problem {
            line: place.line,
            column: place.column,
            key: key.to_owned(),
            value: String::new(),
            message,
            hint,
        }
    }

    /// The problems as those of the file are told, in its order; `None` if there are none.
    #[must_use]
    pub fn errors(&self, mut problems: Vec<Problem>) -> Option<ConfigErrors> {
        problems.sort_by_key(|problem| (problem.line, problem.column));
        let omitted = problems.len().saturating_sub(PROBLEMS_MAX);
        problems.truncate(PROBLEMS_MAX);
        (!problems.is_empty()).then(|| ConfigErrors {
            path: self.path.clone(),
            text: self.text.clone(),
            problems,
            omitted,
        })
    }
}
