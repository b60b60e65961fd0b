//! What an avatar was made of, kept in its folder: an import of the same files need not be done twice.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::ImportError;
use super::dataset::{Dataset, Pictures, Rects};

/// Its name in the avatar's folder.
pub(super) const FILE: &str = "import.json";
/// Changes when an import makes other files of the same sources.
const VERSION: u32 = 1;

/// The files an avatar was made of.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    version: u32,
    generator: Source,
    encoder: Source,
    pictures: Source,
    rects: Source,
}

/// A file, or all files of a folder.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Source {
    path: PathBuf,
    files: usize,
    bytes: u64,
    /// The latest change, in milliseconds since 1970.
    changed: u64,
}

impl Manifest {
    pub(super) fn of(
        generator: &Path,
        encoder: &Path,
        dataset: &Dataset,
    ) -> Result<Self, ImportError> {
        let rects = match &dataset.rects {
            Rects::File(path) => Source::of_files(path, std::slice::from_ref(path))?,
            Rects::Landmarks(folder) => {
                Source::of_files(folder, &crate::avatar::landmarks::list(folder)?)?
            }
        };
        let pictures = match &dataset.pictures {
            Pictures::Film(path) => Source::of_files(path, std::slice::from_ref(path))?,
            Pictures::Files(files) => {
                Source::of_files(files[0].parent().unwrap_or(Path::new("")), files)?
            }
        };
        Ok(Self {
            version: VERSION,
            generator: Source::of_files(generator, &[generator.to_owned()])?,
            encoder: Source::of_files(encoder, &[encoder.to_owned()])?,
            pictures,
            rects,
        })
    }

    /// Whether the avatar, or what there is of it, in `folder` was made of these files.
    pub(super) fn is_of(&self, folder: &Path) -> bool {
        let text = std::fs::read(folder.join(FILE)).ok();
        let found = text.and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        found.as_ref() == Some(self)
    }

    /// The text for [`FILE`].
    pub(super) fn text(&self) -> String {
        // Plain values always become JSON.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

impl Source {
    fn of_files(path: &Path, files: &[PathBuf]) -> Result<Self, ImportError> {
        let mut source = Self {
            path: std::path::absolute(path).map_err(ImportError::read(path))?,
            files: files.len(),
            bytes: 0,
            changed: 0,
        };
        for file in files {
            let data = std::fs::metadata(file).map_err(ImportError::read(file))?;
            let changed = data.modified().ok();
            let changed = changed.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let changed = changed.map_or(0, |time| time.as_millis() as u64);
            source.bytes += data.len();
            source.changed = source.changed.max(changed);
        }
        Ok(source)
    }
}
