//! Opening everything a model names, to find all that is wrong with it.

use std::collections::BTreeMap;
use std::error::Error;

use crate::avatar;
use crate::config;
use crate::engine::{Backend, InferenceError, SessionOptions};

/// Faults of one file that are told one by one.
const FAULTS_MAX: usize = 10;

/// Something about a file of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The key that names the file, as in `models.<id>.<key>`.
    pub key: &'static str,
    /// What it is, naming the file.
    pub message: String,
}

/// What there is to say about the files of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// What must be mended.
    pub faults: Vec<Finding>,
    /// What may surprise, and is as it should be.
    pub notes: Vec<Finding>,
}

/// Opens the networks of `model` on `backend` and checks their inputs and outputs, reads every rect, and decodes every
/// background. Takes seconds.
#[must_use]
pub fn inspect(model: &config::Model, backend: &dyn Backend) -> Inspection {
    let options = SessionOptions::default();
    let mut faults = Vec::new();
    let mut network = |key, opened: Result<(), InferenceError>| {
        if let Err(error) = opened {
            faults.push((key, with_causes(&error)));
        }
    };
    let generator = backend.open_generator(&model.model_path, &options);
    network("model_path", generator.map(drop));
    if let Some(path) = &model.audio_encoder_path {
        let encoder = backend.open_audio_encoder(path, &options);
        network("audio_encoder_path", encoder.map(drop));
    }
    let pictures = avatar::inspect(model);
    let wrong = pictures.faults.into_iter();
    faults.extend(wrong.map(|(key, error)| (key, with_causes(&error))));
    Inspection {
        faults: bounded(faults),
        notes: bounded(pictures.notes),
    }
}

/// The error and its causes on one line, those left out that it tells itself.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |&cause| cause.source()) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// The same faults, those beyond the first few of a key as one.
fn bounded(faults: Vec<(&'static str, String)>) -> Vec<Finding> {
    let mut counts = BTreeMap::<&str, usize>::new();
    let mut told = Vec::new();
    for (key, message) in faults {
        let count = counts.entry(key).or_default();
        *count += 1;
        if *count <= FAULTS_MAX {
            told.push(Finding { key, message });
        }
    }
    for (key, count) in counts {
        if count > FAULTS_MAX {
            let message = format!("and {} more like these", count - FAULTS_MAX);
            told.push(Finding { key, message });
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_faults_of_one_key_do_not_hide_those_of_another() {
        let faults = (0..30).map(|frame| ("crop_rects_path", format!("frame {frame}")));
        let faults = bounded(faults.chain([("model_path", "gone".to_owned())]).collect());
        assert_eq!(faults.len(), FAULTS_MAX + 2);
        assert_eq!(faults[FAULTS_MAX].message, "gone");
        assert_eq!(faults[FAULTS_MAX + 1].message, "and 20 more like these");
    }
}
