//! A network's layers with the weights they are made of, as a definition asks for them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::import::checkpoint::{TensorInfo, Weights, shape_text};

/// A weight that is not as the network needs it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mismatch {
    /// There is none of this name.
    Missing { key: String },
    /// It has another shape.
    Shape {
        key: String,
        found: String,
        expected: String,
    },
    /// It does not hold floats.
    Element { key: String },
    /// The network has nothing of this name.
    Extra { key: String, shape: String },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { key } => write!(f, "missing: {key}"),
            Self::Shape {
                key,
                found,
                expected,
            } => write!(f, "misshapen: {key} is {found}, expected {expected}"),
            Self::Element { key } => write!(f, "not floats: {key}"),
            Self::Extra { key, shape } => write!(f, "extra: {key} {shape}"),
        }
    }
}

/// A tensor of the graph.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) name: String,
    /// Its channels; `None` where the weights that would tell are missing.
    channels: Option<u64>,
}

/// A convolution as a definition asks for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conv<'a> {
    /// The convolution's weights: `outc.conv`.
    pub(super) weights: &'a str,
    pub(super) bias: bool,
    /// The batch normalisation after it: `audio_model.bn3`.
    pub(super) norm: Option<&'a str>,
    pub(super) kernel: u64,
    /// Vertical and horizontal.
    pub(super) stride: [i64; 2],
    pub(super) padding: i64,
    /// Whether each channel is filtered by itself.
    pub(super) depthwise: bool,
    /// How many channels it must give; `None` for any number.
    pub(super) channels: Option<u64>,
}

/// An operator of the graph.
#[derive(Debug)]
pub(super) enum Layer {
    Conv {
        weights: String,
        bias: bool,
        norm: Option<String>,
        stride: [i64; 2],
        padding: i64,
        depthwise: bool,
    },
    Relu,
    Sigmoid,
    Add,
    Concat,
    /// Twice as high and wide, bilinear with aligned corners.
    Upsample,
    /// Channels alone remain of `[N,C,1,1]`.
    Flatten,
}

/// A layer in its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) layer: Layer,
    pub(super) inputs: Vec<String>,
    pub(super) output: String,
}

/// An input or output of the network: its name, and its shape without the batch.
pub(super) type Port = (&'static str, &'static [usize]);

/// A network in the making.
#[derive(Debug)]
pub(super) struct Blueprint<'w> {
    available: &'w Weights,
    used: BTreeMap<String, &'w TensorInfo>,
    /// Counters and the like: known, and not needed.
    ignored: BTreeSet<String>,
    problems: BTreeSet<Mismatch>,
    pub(super) name: &'static str,
    pub(super) inputs: Vec<Port>,
    pub(super) nodes: Vec<Node>,
    pub(super) outputs: Vec<Port>,
}

impl<'w> Blueprint<'w> {
    pub(super) fn new(available: &'w Weights) -> Self {
        Self {
            available,
            used: BTreeMap::new(),
            ignored: BTreeSet::new(),
            problems: BTreeSet::new(),
            name: "",
            inputs: Vec::new(),
            nodes: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// An input of the network.
    pub(super) fn input(&mut self, name: &'static str, shape: &'static [usize]) -> Value {
        self.inputs.push((name, shape));
        Value {
            name: name.to_owned(),
            channels: shape.first().map(|&channels| channels as u64),
        }
    }

    /// A convolution, and the batch normalisation after it.
    pub(super) fn conv(&mut self, x: &Value, conv: Conv<'_>) -> Value {
        let weight = format!("{}.weight", conv.weights);
        let channels = if conv.depthwise {
            x.channels
        } else {
            conv.channels.or_else(|| self.channels(&weight, conv.norm))
        };
        let inner = if conv.depthwise { Some(1) } else { x.channels };
        let kernel = Some(conv.kernel);
        self.require(&weight, &[channels, inner, kernel, kernel]);
        if conv.bias {
            self.require(&format!("{}.bias", conv.weights), &[channels]);
        }
        if let Some(norm) = conv.norm {
            for part in ["weight", "bias", "running_mean", "running_var"] {
                self.require(&format!("{norm}.{part}"), &[channels]);
            }
            self.ignored.insert(format!("{norm}.num_batches_tracked"));
        }
        let layer = Layer::Conv {
            weights: conv.weights.to_owned(),
            bias: conv.bias,
            norm: conv.norm.map(str::to_owned),
            stride: conv.stride,
            padding: conv.padding,
            depthwise: conv.depthwise,
        };
        self.node(layer, &[x], conv.weights.to_owned(), channels)
    }

    /// How many channels a convolution gives: what most of its own and its normalisation's weights say, so that one
    /// that is misshapen is found and not all others.
    fn channels(&self, weight: &str, norm: Option<&str>) -> Option<u64> {
        let norms = norm.into_iter().flat_map(|norm| {
            ["weight", "bias", "running_mean", "running_var"].map(|part| format!("{norm}.{part}"))
        });
        let keys = std::iter::once(weight.to_owned()).chain(norms);
        let mut votes: BTreeMap<u64, usize> = BTreeMap::new();
        for key in keys {
            if let Some(&size) = self.available.get(&key).and_then(|t| t.shape().first()) {
                *votes.entry(size).or_default() += 1;
            }
        }
        let most = votes.into_iter().max_by_key(|&(_, votes)| votes);
        most.map(|(size, _)| size)
    }

    /// Notes a weight of the network, and what is wrong with it.
    fn require(&mut self, key: &str, expected: &[Option<u64>]) {
        let key = key.to_owned();
        let Some(tensor) = self.available.get(&key) else {
            self.problems.insert(Mismatch::Missing { key });
            return;
        };
        let shape = tensor.shape();
        let fits = shape.len() == expected.len()
            && shape.iter().zip(expected).all(|(&size, expected)| {
                size > 0 && expected.is_none_or(|expected| size == expected)
            });
        if !fits {
            self.problems.insert(Mismatch::Shape {
                key: key.clone(),
                found: shape_text(shape),
                expected: expected_text(expected),
            });
        } else if !tensor.is_float() {
            self.problems.insert(Mismatch::Element { key: key.clone() });
        }
        self.used.insert(key, tensor);
    }

    pub(super) fn relu(&mut self, x: &Value) -> Value {
        self.node(Layer::Relu, &[x], format!("{}.relu", x.name), x.channels)
    }

    pub(super) fn add(&mut self, x: &Value, y: &Value) -> Value {
        self.node(Layer::Add, &[x, y], format!("{}.sum", y.name), x.channels)
    }

    /// Joins by channels, `x` first.
    pub(super) fn concat(&mut self, x: &Value, y: &Value) -> Value {
        let channels = x.channels.zip(y.channels);
        let channels = channels.map(|(x, y)| x.saturating_add(y));
        self.node(
            Layer::Concat,
            &[x, y],
            format!("{}.joined", x.name),
            channels,
        )
    }

    pub(super) fn upsample(&mut self, x: &Value) -> Value {
        self.node(Layer::Upsample, &[x], format!("{}.up", x.name), x.channels)
    }

    /// The network's output: the sigmoid of `x`, or its channels alone.
    pub(super) fn output(&mut self, x: &Value, layer: Layer, port: Port) {
        self.outputs.push(port);
        self.node(layer, &[x], port.0.to_owned(), x.channels);
    }

    fn node(
        &mut self,
        layer: Layer,
        inputs: &[&Value],
        output: String,
        channels: Option<u64>,
    ) -> Value {
        self.nodes.push(Node {
            layer,
            inputs: inputs.iter().map(|value| value.name.clone()).collect(),
            output: output.clone(),
        });
        Value {
            name: output,
            channels,
        }
    }

    /// Everything that is missing, misshapen or not of this network.
    pub(super) fn mismatches(&mut self) -> Vec<Mismatch> {
        for (key, tensor) in self.available {
            if !self.used.contains_key(key) && !self.ignored.contains(key) {
                self.problems.insert(Mismatch::Extra {
                    key: key.clone(),
                    shape: shape_text(tensor.shape()),
                });
            }
        }
        self.problems.iter().cloned().collect()
    }

    /// The weights of the network by name.
    pub(super) fn tensors(&self) -> BTreeMap<&str, &'w TensorInfo> {
        let used = self.used.iter();
        used.map(|(key, &tensor)| (key.as_str(), tensor)).collect()
    }

    /// How many numbers they hold; a checkpoint may claim any sizes.
    pub(super) fn parameters(&self) -> u64 {
        let sizes = self.used.values().map(|tensor| {
            let shape = tensor.shape().iter();
            shape.fold(1_u64, |count, &size| count.saturating_mul(size))
        });
        sizes.fold(0, u64::saturating_add)
    }

    /// The shape of a weight that is there.
    pub(super) fn shape(&self, key: &str) -> Vec<usize> {
        let shape = self.used[key].shape().iter();
        shape.map(|&size| size as usize).collect()
    }
}

/// `[64,?,3,3]`
fn expected_text(shape: &[Option<u64>]) -> String {
    let size = |size: &Option<u64>| size.map_or_else(|| "?".to_owned(), |size| size.to_string());
    let sizes: Vec<String> = shape.iter().map(size).collect();
    format!("[{}]", sizes.join(","))
}
