//! What a network's inputs and outputs must be, whatever engine reads it.

use std::fmt;
use std::path::Path;

use crate::engine::InferenceError;

/// One dimension of a tensor as a network declares it: a size, or `None` for "any".
pub(super) type Dimension = Option<usize>;

/// An input or output as a network declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Port {
    /// Its name.
    pub(super) name: String,
    /// Its element type in lower case: "f32", "f16", "i64".
    pub(super) element: String,
    /// Its shape; `None` where the file does not say.
    pub(super) shape: Option<Vec<Dimension>>,
}

/// `input f32 [N,6,320,320]`.
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.name, self.element)?;
        let Some(shape) = &self.shape else {
            return f.write_str("of unknown shape");
        };
        f.write_str("[")?;
        for (index, dimension) in shape.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match dimension {
                Some(size) => write!(f, "{size}")?,
                None => f.write_str("N")?,
            }
        }
        f.write_str("]")
    }
}

/// A tensor that a role requires: its name and its shape after the first dimension, which is the batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) name: &'static str,
    shape: &'static [usize],
}

impl Expected {
    fn port(self) -> Port {
        Port {
            name: self.name.to_owned(),
            element: "f32".to_owned(),
            shape: Some(
                std::iter::once(None)
                    .chain(self.shape.iter().copied().map(Some))
                    .collect(),
            ),
        }
    }
}

/// What a network is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Role {
    /// With its article.
    name: &'static str,
    inputs: &'static [Expected],
    output: Expected,
}

/// The `SyncTalk_2D` U-Net.
pub(super) const GENERATOR: Role = Role {
    name: "a lip-sync generator",
    inputs: &[
        Expected {
            name: "input",
            shape: &[6, 320, 320],
        },
        Expected {
            name: "audio",
            shape: &[32, 16, 16],
        },
    ],
    output: Expected {
        name: "output",
        shape: &[3, 320, 320],
    },
};

/// The audio encoder.
pub(super) const AUDIO_ENCODER: Role = Role {
    name: "an audio encoder",
    inputs: &[Expected {
        name: "mel",
        shape: &[1, 80, 16],
    }],
    output: Expected {
        name: "emb",
        shape: &[512],
    },
};

impl Role {
    /// The tensors it takes.
    pub(super) fn inputs(&self) -> &'static [Expected] {
        self.inputs
    }

    /// The tensor it gives.
    pub(super) fn output(&self) -> Expected {
        self.output
    }

    /// Checks what a file declares and gives the most frames one run can take: any number, or 1.
    ///
    /// More outputs than the required one are fine, more inputs are not: nobody would fill them.
    pub(super) fn check(
        &self,
        path: &Path,
        inputs: &[Port],
        outputs: &[Port],
    ) -> Result<usize, InferenceError> {
        let refuse = |reason: String| InferenceError::Interface {
            path: path.to_path_buf(),
            role: self.name,
            reason: match relative(inputs) {
                Some(relative) => format!(
                    "it is {relative}; served are generators of 328 pixels for `ave` features alone ({reason})"
                ),
                None => reason,
            },
        };
        let mut max_batch = usize::MAX;
        let required = self
            .inputs
            .iter()
            .map(|expected| (expected, inputs, "input"));
        let produced = std::iter::once((&self.output, outputs, "output"));
        for (expected, found, kind) in required.chain(produced) {
            let port = found
                .iter()
                .find(|port| port.name == expected.name)
                .ok_or_else(|| {
                    refuse(format!(
                        "it has no {kind} {:?}; expected {}, found {}",
                        expected.name,
                        expected.port(),
                        names(found)
                    ))
                })?;
            match expected.check(port).map_err(&refuse)? {
                None => {}
                Some(1) => max_batch = 1,
                Some(_) => {
                    return Err(refuse(format!(
                        "the batch size of {port} is fixed; export it with a dynamic one, or with 1"
                    )));
                }
            }
        }
        if let Some(extra) = inputs.iter().find(|port| {
            self.inputs
                .iter()
                .all(|expected| expected.name != port.name)
        }) {
            return Err(refuse(format!("it has an input too many: {extra}")));
        }
        Ok(max_batch)
    }
}

impl Expected {
    /// The batch size if it is fixed.
    fn check(self, port: &Port) -> Result<Option<usize>, String> {
        let mismatch = || format!("found {port}, expected {}", self.port());
        if port.element != "f32" {
            return Err(mismatch());
        }
        let Some(shape) = &port.shape else {
            return Ok(None);
        };
        let [batch, ..] = shape.as_slice() else {
            return Err(mismatch());
        };
        if !self.fits(shape) || *batch == Some(0) {
            return Err(mismatch());
        }
        Ok(*batch)
    }

    /// Whether a tensor of this shape, batch first, holds the same floats; ones at the end change nothing.
    pub(super) fn fits(self, shape: &[Dimension]) -> bool {
        let [_, rest @ ..] = shape else {
            return false;
        };
        if rest.len() < self.shape.len() {
            return false;
        }
        let (sizes, ones) = rest.split_at(self.shape.len());
        let mut pairs = sizes.iter().zip(self.shape);
        pairs.all(|(found, expected)| found.is_none_or(|size| size == *expected))
            && ones.iter().all(|one| one.is_none_or(|size| size == 1))
    }
}

/// What a network of the family is that is not served, from the shapes of its tensors.
fn relative(ports: &[Port]) -> Option<&'static str> {
    let is = |port: &Port, sizes: &[usize]| {
        port.shape.as_ref().is_some_and(|shape| {
            shape.len() == sizes.len() + 1
                && shape[1..]
                    .iter()
                    .zip(sizes)
                    .all(|(found, size)| *found == Some(*size))
        })
    };
    let has = |sizes: &[usize]| ports.iter().any(|port| is(port, sizes));
    if has(&[32, 32, 32]) {
        Some("a generator for hubert features")
    } else if has(&[256, 16, 32]) {
        Some("a generator for wenet features")
    } else if has(&[6, 160, 160]) {
        Some("a generator of 160 pixels")
    } else {
        None
    }
}

/// The ports in words.
fn names(ports: &[Port]) -> String {
    if ports.is_empty() {
        return "none".to_owned();
    }
    let list: Vec<String> = ports.iter().map(Port::to_string).collect();
    list.join(" and ")
}

/// Whether a file is still the one that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    length: u64,
    modified: Option<std::time::SystemTime>,
}

impl Fingerprint {
    /// Of the file as it is now.
    pub(super) fn of(path: &Path) -> Result<Self, InferenceError> {
        let read = |source: std::io::Error| InferenceError::Read {
            path: path.to_path_buf(),
            source: std::sync::Arc::new(source),
        };
        let metadata = std::fs::metadata(path).map_err(read)?;
        if metadata.is_dir() {
            return Err(read(std::io::Error::from(std::io::ErrorKind::IsADirectory)));
        }
        // A pipe would be waited for without end.
        if !metadata.is_file() {
            return Err(read(std::io::Error::other("it is not a regular file")));
        }
        Ok(Self {
            length: metadata.len(),
            modified: metadata.modified().ok(),
        })
    }

    /// An error if the file has changed.
    pub(super) fn still_of(&self, path: &Path) -> Result<(), InferenceError> {
        if Self::of(path)? == *self {
            Ok(())
        } else {
            Err(InferenceError::Changed {
                path: path.to_path_buf(),
            })
        }
    }
}

/// Checks that a tensor has the length its shape needs.
pub(crate) fn check_length(
    tensor: &'static str,
    found: usize,
    expected: usize,
) -> Result<(), InferenceError> {
    if found == expected {
        Ok(())
    } else {
        Err(InferenceError::Length {
            tensor,
            found,
            expected,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, element: &str, shape: &[i64]) -> Port {
        Port {
            name: name.to_owned(),
            element: element.to_owned(),
            shape: Some(
                shape
                    .iter()
                    .map(|&size| usize::try_from(size).ok())
                    .collect(),
            ),
        }
    }

    fn generator(batch: i64) -> ([Port; 2], [Port; 1]) {
        (
            [
                port("input", "f32", &[batch, 6, 320, 320]),
                port("audio", "f32", &[batch, 32, 16, 16]),
            ],
            [port("output", "f32", &[batch, 3, 320, 320])],
        )
    }

    fn refusal(inputs: &[Port], outputs: &[Port]) -> String {
        GENERATOR
            .check(Path::new("a.onnx"), inputs, outputs)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_dynamic_and_a_fixed_batch_are_told_apart() {
        let (inputs, outputs) = generator(-1);
        let path = Path::new("a.onnx");
        assert_eq!(
            GENERATOR.check(path, &inputs, &outputs).unwrap(),
            usize::MAX
        );
        let (inputs, outputs) = generator(1);
        assert_eq!(GENERATOR.check(path, &inputs, &outputs).unwrap(), 1);
    }

    #[test]
    fn a_fixed_batch_holds_even_where_the_output_is_open() {
        let (inputs, _) = generator(1);
        let (_, outputs) = generator(-1);
        let max_batch = GENERATOR.check(Path::new("a.onnx"), &inputs, &outputs);
        assert_eq!(max_batch.unwrap(), 1);
    }

    #[test]
    fn a_wrong_name_says_what_is_there() {
        let (mut inputs, outputs) = generator(-1);
        inputs[1].name = "sound".to_owned();
        assert_eq!(
            refusal(&inputs, &outputs),
            "the network a.onnx is not a lip-sync generator: it has no input \"audio\"; \
             expected audio f32 [N,32,16,16], found input f32 [N,6,320,320] and sound f32 [N,32,16,16]"
        );
    }

    #[test]
    fn a_wrong_shape_or_type_says_what_is_expected() {
        let (mut inputs, outputs) = generator(-1);
        inputs[0] = port("input", "f32", &[-1, 6, 256, 256]);
        assert_eq!(
            refusal(&inputs, &outputs),
            "the network a.onnx is not a lip-sync generator: \
             found input f32 [N,6,256,256], expected input f32 [N,6,320,320]"
        );
        inputs[0] = port("input", "f16", &[-1, 6, 320, 320]);
        assert!(refusal(&inputs, &outputs).contains("found input f16"));
        inputs[0] = port("input", "f32", &[6, 320, 320]);
        assert!(refusal(&inputs, &outputs).contains("found input f32 [6,320,320]"));
    }

    #[test]
    fn an_input_nobody_would_fill_is_refused() {
        let (inputs, outputs) = generator(-1);
        let mut inputs = inputs.to_vec();
        inputs.push(port("style", "f32", &[-1, 8]));
        assert!(refusal(&inputs, &outputs).ends_with("an input too many: style f32 [N,8]"));
    }

    #[test]
    fn a_fixed_batch_of_more_than_one_is_refused() {
        let (mut inputs, outputs) = generator(-1);
        inputs[1] = port("audio", "f32", &[2, 32, 16, 16]);
        let message = refusal(&inputs, &outputs);
        assert!(
            message.contains("the batch size of audio f32 [2,32,16,16] is fixed"),
            "{message}"
        );
    }

    #[test]
    fn a_changed_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.onnx");
        std::fs::write(&path, b"one").unwrap();
        let fingerprint = Fingerprint::of(&path).unwrap();
        fingerprint.still_of(&path).unwrap();
        std::fs::write(&path, b"other").unwrap();
        let error = fingerprint.still_of(&path).unwrap_err();
        assert!(matches!(error, InferenceError::Changed { .. }), "{error}");
    }
}
