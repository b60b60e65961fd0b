//! Where a graph is cut: pure, by what each node depends on.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::GraphError;
use super::model::Model;

/// What a tensor depends on, as bits.
type Dependence = u8;
const NOTHING: Dependence = 0;
const VISUAL: Dependence = 1;
const AUDIO: Dependence = 2;
const BOTH: Dependence = VISUAL | AUDIO;

/// Turns bytes back into floats. One between two parts goes with the later: the bytes are what is kept, a quarter of
/// the floats, and the engine sees the pair it fuses.
const DEQUANTIZE: &str = "DequantizeLinear";

/// Read a tensor's sizes. Exporters of a dynamic batch compute paddings from them, in chains of integers. Sizes say
/// nothing of what is in the picture, and what reads them computes them again from the tensor itself.
const SIZES: [&str; 2] = ["Shape", "Size"];

/// The three parts of a generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Cut {
    /// What depends on `input` alone.
    pub(in crate::engine) visual: Part,
    /// What depends on `audio` alone; it may have no node.
    pub(in crate::engine) audio: Part,
    /// The rest. Its inputs are the outputs of the other two, and whatever it takes from the network's own.
    pub(in crate::engine) joint: Part,
}

/// A part of a graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct Part {
    /// Its nodes by index, in the graph's order. Constants are in every part that uses them.
    pub(in crate::engine) nodes: Vec<usize>,
    /// The tensors it reads.
    pub(in crate::engine) inputs: Vec<String>,
    /// The tensors it gives.
    pub(in crate::engine) outputs: Vec<String>,
}

impl Cut {
    /// Cuts a generator: inputs `input` and `audio`, output `output`.
    pub(in crate::engine) fn of(model: &Model<'_>) -> Result<Self, GraphError> {
        let graph = Graph::new(model)?;
        let joint = graph.part(BTreeSet::from(["output"]), BOTH);
        let crossing = |depends: Dependence| -> BTreeSet<&str> {
            joint
                .inputs
                .iter()
                .map(String::as_str)
                .filter(|name| graph.producers.contains_key(name) && graph.depends[name] == depends)
                .collect()
        };
        let cut = Self {
            visual: graph.part(crossing(VISUAL), VISUAL),
            audio: graph.part(crossing(AUDIO), AUDIO),
            joint: joint.clone(),
        };
        if cut.visual.nodes.is_empty() {
            return Err(GraphError::NothingToKeep);
        }
        Ok(cut)
    }
}

/// The edges of a model.
struct Graph<'m> {
    model: &'m Model<'m>,
    producers: HashMap<&'m str, usize>,
    depends: HashMap<&'m str, Dependence>,
    /// Tensors that are computed from sizes and constants alone.
    sizes: HashSet<&'m str>,
}

impl<'m> Graph<'m> {
    fn new(model: &'m Model<'_>) -> Result<Self, GraphError> {
        let mut depends: HashMap<&str, Dependence> = HashMap::new();
        for input in &model.inputs {
            depends.insert(
                &input.name,
                match input.name.as_str() {
                    "input" => VISUAL,
                    "audio" => AUDIO,
                    _ => NOTHING,
                },
            );
        }
        for initializer in &model.initializers {
            depends.insert(&initializer.name, NOTHING);
        }
        let mut producers = HashMap::new();
        let mut sizes = HashSet::new();
        for (index, node) in model.nodes.iter().enumerate() {
            let mut all = NOTHING;
            // An optional input that is left out has an empty name.
            for input in node.inputs.iter().filter(|name| !name.is_empty()) {
                all |= *depends
                    .get(input.as_str())
                    .ok_or_else(|| GraphError::Unknown {
                        tensor: input.clone(),
                    })?;
            }
            let mut changing = node
                .inputs
                .iter()
                .filter(|name| depends.get(name.as_str()).is_some_and(|d| *d != NOTHING));
            let of_sizes = all != NOTHING && changing.all(|name| sizes.contains(name.as_str()));
            if of_sizes || SIZES.contains(&node.operator.as_str()) {
                sizes.extend(node.outputs.iter().map(String::as_str));
            }
            for output in &node.outputs {
                depends.insert(output, all);
                producers.insert(output.as_str(), index);
            }
        }
        if depends.get("output") != Some(&BOTH) {
            return Err(GraphError::NothingToKeep);
        }
        Ok(Self {
            model,
            producers,
            depends,
            sizes,
        })
    }

    /// What it takes to compute `outputs` from tensors that depend on less than `depends`.
    fn part(&self, outputs: BTreeSet<&str>, depends: Dependence) -> Part {
        let mut nodes = BTreeSet::new();
        let mut inputs = BTreeSet::new();
        let mut seen = HashSet::new();
        let mut open: Vec<&str> = outputs.iter().copied().collect();
        while let Some(tensor) = open.pop() {
            if tensor.is_empty() || !seen.insert(tensor) {
                continue;
            }
            match self.producers.get(tensor) {
                Some(&index) if self.is_of(index, tensor, depends) => {
                    nodes.insert(index);
                    open.extend(self.model.nodes[index].inputs.iter().map(String::as_str));
                }
                None if self.depends[tensor] == NOTHING => {}
                _ => {
                    inputs.insert(tensor);
                }
            }
        }
        let owned = |names: BTreeSet<&str>| names.into_iter().map(str::to_owned).collect();
        Part {
            nodes: nodes.into_iter().collect(),
            inputs: owned(inputs),
            outputs: owned(outputs),
        }
    }

    /// Whether the node that makes `tensor` is of the part with this dependence.
    fn is_of(&self, node: usize, tensor: &str, depends: Dependence) -> bool {
        let own = self.depends[tensor];
        own == depends
            || own == NOTHING
            || self.sizes.contains(tensor)
            || self.model.nodes[node].operator == DEQUANTIZE
    }
}
