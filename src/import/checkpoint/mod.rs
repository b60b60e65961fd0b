//! Checkpoints of torch: `.pth` files, which are zip archives of a pickle and the tensors' numbers.
//!
//! The pickle is read by a machine that runs nothing ([`pickle`]). A [`Checkpoint`] knows every dictionary of weights in
//! it; numbers are read only once it is known that their shapes are right ([`Checkpoint::read`]).

mod kinds;
mod names;
mod pickle;
mod tensor;

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use zip::{CompressionMethod, ZipArchive};

use pickle::{Id, Object, Objects};
use tensor::Storage;

pub(crate) use pickle::PickleError;
pub(crate) use tensor::{TensorInfo, shape_text};

/// Bytes of one storage at most: a whole generator takes 50 MB.
const STORAGE_BYTES_MAX: u64 = 1 << 30;
/// How deep dictionaries of weights may lie in others.
const DEPTH_MAX: usize = 4;
/// Bytes of a name at most.
const KEY_BYTES_MAX: usize = 256;
/// Put before every name by what wraps a network: parallel training, compiling.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

/// Why a checkpoint cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointError {
    #[error("cannot read {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// It is another kind of file.
    #[error("{} is {what}, not a checkpoint of torch", path.display())]
    Other {
        path: PathBuf,
        what: &'static str,
        hint: String,
    },
    #[error("the archive {} is damaged: {reason}", path.display())]
    Archive { path: PathBuf, reason: String },
    #[error("the checkpoint {} cannot be read: {source}", path.display())]
    Pickle { path: PathBuf, source: PickleError },
    #[error("{} holds no weights", path.display())]
    Empty { path: PathBuf },
    #[error("{} of {} holds a number that is none (NaN or infinite)", key, path.display())]
    NotFinite { path: PathBuf, key: String },
}

impl CheckpointError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Other { hint, .. } => Some(hint.clone()),
            Self::Pickle {
                source: PickleError::Foreign(_),
                ..
            } => Some(
                "nothing of it was run; if it is your own, save the weights alone: \
                 torch.save(net.state_dict(), \"weights.pth\")"
                    .to_owned(),
            ),
            Self::Archive { .. } | Self::Pickle { .. } => {
                Some("copy or download it again: it may have been cut".to_owned())
            }
            Self::NotFinite { .. } => {
                Some("the training has diverged; take an earlier checkpoint".to_owned())
            }
            _ => None,
        }
    }
}

/// A dictionary of weights by name, without what wrappers put before the names.
pub(crate) type Weights = BTreeMap<String, TensorInfo>;

/// An opened checkpoint.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    path: PathBuf,
    archive: ZipArchive<BufReader<File>>,
    /// The folder that everything in the archive is in, with its slash.
    folder: String,
    /// The dictionaries of weights in it, each with the keys that lead to it.
    dictionaries: Vec<(String, Weights)>,
}

impl Checkpoint {
    /// Opens a file and reads its pickle, but no number.
    pub(crate) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let read = |source| CheckpointError::Read {
            path: path.to_owned(),
            source,
        };
        let damaged = |reason: String| CheckpointError::Archive {
            path: path.to_owned(),
            reason,
        };
        let mut file = File::open(path).map_err(read)?;
        kinds::refuse_others(path, &mut file)?;
        let mut archive =
            ZipArchive::new(BufReader::new(file)).map_err(|error| damaged(error.to_string()))?;
        let folder = kinds::folder(path, &archive)?;
        kinds::check_byte_order(path, &mut archive, &folder)?;
        let bytes = entry(
            &mut archive,
            &format!("{folder}data.pkl"),
            pickle::BYTES_MAX,
        )
        .map_err(damaged)?;
        let objects = pickle::read(&bytes).map_err(|source| CheckpointError::Pickle {
            path: path.to_owned(),
            source,
        })?;
        let dictionaries = dictionaries(&objects);
        if dictionaries.is_empty() {
            return Err(CheckpointError::Empty {
                path: path.to_owned(),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            archive,
            folder,
            dictionaries,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The dictionaries of weights in it, each with the keys that lead to it: `""` for the file itself, `net`.
    pub(crate) fn dictionaries(&self) -> &[(String, Weights)] {
        &self.dictionaries
    }

    /// The numbers of these tensors, all finite, each by its key.
    pub(crate) fn read(
        &mut self,
        tensors: &BTreeMap<&str, &TensorInfo>,
    ) -> Result<BTreeMap<String, Vec<f32>>, CheckpointError> {
        // A storage may hold many tensors; each is read once and kept only while it is needed.
        let mut by_storage: BTreeMap<&str, Vec<(&str, &TensorInfo)>> = BTreeMap::new();
        for (&key, &tensor) in tensors {
            let storage = by_storage.entry(&tensor.storage.key).or_default();
            storage.push((key, tensor));
        }
        let mut numbers = BTreeMap::new();
        for tensors in by_storage.into_values() {
            let bytes = self.storage(&tensors[0].1.storage)?;
            for (key, tensor) in tensors {
                let read = tensor
                    .read(&bytes)
                    .ok_or_else(|| CheckpointError::Archive {
                        path: self.path.clone(),
                        reason: format!("the storage of {key} is too short"),
                    })?;
                if read.iter().any(|number| !number.is_finite()) {
                    return Err(CheckpointError::NotFinite {
                        path: self.path.clone(),
                        key: key.to_owned(),
                    });
                }
                numbers.insert(key.to_owned(), read);
            }
        }
        Ok(numbers)
    }

    /// The bytes of a storage.
    fn storage(&mut self, storage: &Storage) -> Result<Vec<u8>, CheckpointError> {
        let name = format!("{}data/{}", self.folder, storage.key);
        entry(&mut self.archive, &name, STORAGE_BYTES_MAX).map_err(|reason| {
            CheckpointError::Archive {
                path: self.path.clone(),
                reason,
            }
        })
    }
}

/// Reads a file of the archive. torch does not compress, so nothing here can grow beyond the archive's own size.
fn entry(
    archive: &mut ZipArchive<BufReader<File>>,
    name: &str,
    bytes_max: u64,
) -> Result<Vec<u8>, String> {
    let broken = |error: &dyn std::fmt::Display| format!("{name}: {error}");
    let file = archive.by_name(name).map_err(|error| broken(&error))?;
    if file.compression() != CompressionMethod::Stored {
        return Err(broken(&"it is compressed, and torch does not compress"));
    }
    let size = file.size();
    if size > bytes_max {
        return Err(broken(&format_args!(
            "it has {size} bytes, more than the {bytes_max} that weights need"
        )));
    }
    // The size is the archive's word: memory is taken as bytes really come.
    let mut bytes = Vec::new();
    file.take(bytes_max)
        .read_to_end(&mut bytes)
        .map_err(|error| broken(&error))?;
    if bytes.len() as u64 == size {
        Ok(bytes)
    } else {
        Err(broken(&"it is cut"))
    }
}

/// Every dictionary that holds tensors by name, the outer ones first.
fn dictionaries(objects: &Objects) -> Vec<(String, Weights)> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut open: Vec<(Id, String, usize)> = vec![(objects.root, String::new(), 0)];
    let mut next = 0;
    while let Some((id, path, depth)) = open.get(next).cloned() {
        next += 1;
        if !seen.insert(id) {
            continue;
        }
        let Object::Dict(items) = objects.get(id) else {
            continue;
        };
        let mut weights = Weights::new();
        for &(key, value) in items {
            let Object::Text(key) = objects.get(key) else {
                continue;
            };
            if key.len() > KEY_BYTES_MAX {
                continue;
            }
            match objects.get(value) {
                Object::Tensor(tensor) => {
                    weights.insert(key.clone(), tensor.clone());
                }
                Object::Dict(_) if depth < DEPTH_MAX => {
                    let path = if path.is_empty() {
                        key.clone()
                    } else {
                        format!("{path}.{key}")
                    };
                    open.push((value, path, depth + 1));
                }
                _ => {}
            }
        }
        if !weights.is_empty() {
            found.push((path, unwrapped(weights)));
        }
    }
    found
}

/// The same weights without what wrappers put before all their names.
fn unwrapped(mut weights: Weights) -> Weights {
    while let Some(wrapper) = WRAPPERS
        .iter()
        .find(|wrapper| has_prefix(&weights, wrapper))
    {
        weights = without_prefix(weights, wrapper);
    }
    weights
}

/// Whether all names begin with `prefix`.
pub(crate) fn has_prefix(weights: &Weights, prefix: &str) -> bool {
    !weights.is_empty() && weights.keys().all(|key| key.starts_with(prefix))
}

/// The same weights without a prefix that all have.
pub(crate) fn without_prefix(weights: Weights, prefix: &str) -> Weights {
    let weights = weights.into_iter();
    weights
        .map(|(key, tensor)| (key[prefix.len()..].to_owned(), tensor))
        .collect()
}

#[cfg(test)]
mod tests;
