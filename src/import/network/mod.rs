//! The two networks of an avatar, each defined once: which weights it is made of, and which graph they make.
//!
//! A definition ([`generator`], [`encoder`]) is a function that walks from the inputs to the output and asks a
//! [`Blueprint`] for every layer. The blueprint looks the layer's weights up, takes the numbers of channels from their
//! shapes, and notes what is missing or does not fit. Only when nothing is wrong are numbers read and the graph written.

mod blueprint;
mod encoder;
mod family;
mod generator;
mod write;

use std::fmt::Write as _;
use std::path::PathBuf;

use super::checkpoint::{Checkpoint, CheckpointError, Weights};
use blueprint::Blueprint;
pub(crate) use blueprint::Mismatch;
pub(crate) use family::family_of_inputs;

/// Parameters of a network at most; the generator has 12 million.
const PARAMETERS_MAX: u64 = 128_000_000;
/// Mismatches that are named one by one.
const NAMED_MAX: usize = 40;

/// Which network a checkpoint is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The U-Net.
    Generator,
    /// The audio encoder.
    AudioEncoder,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Generator => "a SyncTalk_2D generator (328 pixels, `ave` audio)",
            Self::AudioEncoder => "SyncTalk_2D's audio encoder",
        }
    }

    fn blueprint(self, weights: &Weights) -> Blueprint<'_> {
        let mut blueprint = Blueprint::new(weights);
        match self {
            Self::Generator => generator::define(&mut blueprint),
            Self::AudioEncoder => encoder::define(&mut blueprint),
        }
        blueprint
    }
}

/// Why a checkpoint does not become a network.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// It is a network of another kind.
    #[error("{} is {family}, not {}", path.display(), role.name())]
    Family {
        path: PathBuf,
        role: Role,
        family: &'static str,
        hint: &'static str,
    },
    /// Its weights are not those of the network.
    #[error(
        "the weights of {} are not those of {}: {} {}{}",
        path.display(),
        role.name(),
        mismatches.len(),
        if mismatches.len() == 1 { "does not fit" } else { "do not fit" },
        listed(mismatches)
    )]
    Mismatches {
        path: PathBuf,
        role: Role,
        mismatches: Vec<Mismatch>,
    },
    /// Two dictionaries in it would do.
    #[error(
        "{} holds {} twice: as {first} and as {second}",
        path.display(),
        role.name()
    )]
    Ambiguous {
        path: PathBuf,
        role: Role,
        first: String,
        second: String,
    },
    #[error("{} has {parameters} parameters, more than any {} has", path.display(), role.name())]
    TooLarge {
        path: PathBuf,
        role: Role,
        parameters: u64,
    },
}

impl NetworkError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Checkpoint(error) => error.hint(),
            Self::Family { hint, .. } => Some((*hint).to_owned()),
            Self::Ambiguous { first, .. } => Some(format!(
                "save the one that is meant: torch.save(torch.load('…')['{first}'], 'weights.pth')"
            )),
            Self::Mismatches { .. } => Some(
                "is it a checkpoint of this network, of another version, or of a changed one?"
                    .to_owned(),
            ),
            Self::TooLarge { .. } => None,
        }
    }
}

/// The mismatches, one a line.
fn listed(mismatches: &[Mismatch]) -> String {
    let mut text = String::new();
    for mismatch in mismatches.iter().take(NAMED_MAX) {
        let _ = write!(text, "\n  {mismatch}");
    }
    if mismatches.len() > NAMED_MAX {
        let _ = write!(text, "\n  and {} more", mismatches.len() - NAMED_MAX);
    }
    text
}

/// A network that was made of a checkpoint.
#[derive(Debug)]
pub(crate) struct Converted {
    /// The ONNX file.
    pub(crate) onnx: Vec<u8>,
    /// How many parameters went into it.
    pub(crate) parameters: u64,
    /// The dictionary they were in, if not the file itself.
    pub(crate) dictionary: String,
}

/// Makes an ONNX network of the weights in `checkpoint`.
pub(crate) fn convert(checkpoint: &mut Checkpoint, role: Role) -> Result<Converted, NetworkError> {
    let path = checkpoint.path().to_owned();
    let (dictionary, weights) = choose(checkpoint, role)?;
    let mut blueprint = role.blueprint(&weights);
    let mismatches = blueprint.mismatches();
    if !mismatches.is_empty() {
        return Err(NetworkError::Mismatches {
            path,
            role,
            mismatches,
        });
    }
    let parameters = blueprint.parameters();
    if parameters > PARAMETERS_MAX {
        return Err(NetworkError::TooLarge {
            path,
            role,
            parameters,
        });
    }
    let numbers = checkpoint.read(&blueprint.tensors())?;
    let onnx = write::write(&blueprint, &numbers);
    Ok(Converted {
        onnx,
        parameters,
        dictionary,
    })
}

/// The dictionary that holds the network: the one with the fewest mismatches.
fn choose(checkpoint: &Checkpoint, role: Role) -> Result<(String, Weights), NetworkError> {
    let path = || checkpoint.path().to_owned();
    let mut candidates: Vec<(usize, &str, Weights)> = checkpoint
        .dictionaries()
        .iter()
        .map(|(name, weights)| {
            let weights = match role {
                Role::Generator => weights.clone(),
                Role::AudioEncoder => encoder::without_owner(weights.clone()),
            };
            let mismatches = role.blueprint(&weights).mismatches().len();
            (mismatches, name.as_str(), weights)
        })
        .collect();
    candidates.sort_by_key(|&(mismatches, ..)| mismatches);
    if let [(0, first, _), (0, second, _), ..] = candidates[..] {
        return Err(NetworkError::Ambiguous {
            path: path(),
            role,
            first: first.to_owned(),
            second: second.to_owned(),
        });
    }
    // An opened checkpoint has at least one.
    let (mismatches, name, weights) = candidates.swap_remove(0);
    if mismatches > 0
        && let Some((family, hint)) = family::recognise(&weights, role)
    {
        return Err(NetworkError::Family {
            path: path(),
            role,
            family,
            hint,
        });
    }
    Ok((name.to_owned(), weights))
}

#[cfg(test)]
mod tests;
