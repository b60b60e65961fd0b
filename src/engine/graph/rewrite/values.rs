//! Small constants of a graph, and the arithmetic of sizes that exporters write into it.

use prost::Message as _;

use crate::engine::graph::proto::{AttributeProto, FLOAT, INT32, INT64, NodeProto, TensorProto};

/// Most elements that count as a size and not as data.
const LEN_MAX: usize = 256;

/// A small tensor of numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Value {
    pub(super) shape: Vec<usize>,
    pub(super) data: Vec<f64>,
    /// Whether division drops what is left over.
    integer: bool,
}

impl Value {
    /// A list of sizes.
    pub(super) fn sizes(sizes: &[usize]) -> Self {
        Self {
            shape: vec![sizes.len()],
            data: sizes.iter().map(|&size| size as f64).collect(),
            integer: true,
        }
    }

    /// The numbers of a small tensor in the file; `None` if it is large or of another type.
    pub(super) fn read(tensor: &TensorProto) -> Option<Self> {
        let shape = shape(&tensor.dims)?;
        let len: usize = shape.iter().product();
        if len > LEN_MAX {
            return None;
        }
        let raw = &tensor.raw_data;
        let data: Vec<f64> = match tensor.data_type {
            FLOAT if raw.is_empty() => tensor.float_data.iter().map(|&x| f64::from(x)).collect(),
            FLOAT => numbers(raw, |bytes| f64::from(f32::from_le_bytes(bytes))),
            INT64 if raw.is_empty() => tensor.int64_data.iter().map(|&x| x as f64).collect(),
            INT64 => numbers(raw, |bytes| i64::from_le_bytes(bytes) as f64),
            INT32 if raw.is_empty() => tensor.int32_data.iter().map(|&x| f64::from(x)).collect(),
            INT32 => numbers(raw, |bytes| f64::from(i32::from_le_bytes(bytes))),
            _ => return None,
        };
        (data.len() == len).then_some(Self {
            shape,
            data,
            integer: tensor.data_type != FLOAT,
        })
    }

    /// What a `Constant` holds.
    pub(super) fn constant(node: &NodeProto) -> Option<Self> {
        let attribute = node.attribute.first()?;
        let list = |data: Vec<f64>, integer| Self {
            shape: vec![data.len()],
            data,
            integer,
        };
        match attribute.name.as_str() {
            "value" => Self::read(attribute.t.as_ref()?),
            "value_int" => Some(Self {
                shape: Vec::new(),
                data: vec![attribute.i? as f64],
                integer: true,
            }),
            "value_ints" => Some(list(
                attribute.ints.iter().map(|&x| x as f64).collect(),
                true,
            )),
            "value_floats" => Some(list(
                attribute.floats.iter().map(|&x| f64::from(x)).collect(),
                false,
            )),
            _ => None,
        }
    }

    /// What an operator makes of small tensors; `None` if it is not one of those that compute sizes.
    pub(super) fn compute(node: &NodeProto, inputs: &[Option<&Self>]) -> Option<Self> {
        let input = |index: usize| inputs.get(index).copied().flatten();
        let first = input(0)?;
        match node.op_type.as_str() {
            "Identity" => Some(first.clone()),
            "Cast" => {
                let integer = integer(node, "to")? != i64::from(FLOAT);
                Some(first.map(integer, |x| if integer { x.trunc() } else { x }))
            }
            "Floor" => Some(first.map(first.integer, f64::floor)),
            "Ceil" => Some(first.map(first.integer, f64::ceil)),
            "Add" => first.with(input(1)?, |a, b| a + b),
            "Sub" => first.with(input(1)?, |a, b| a - b),
            "Mul" => first.with(input(1)?, |a, b| a * b),
            "Div" if input(1)?.data.contains(&0.0) => None,
            "Div" => {
                let whole = first.integer;
                first.with(
                    input(1)?,
                    move |a, b| if whole { (a / b).trunc() } else { a / b },
                )
            }
            "Gather" => first.gather(input(1)?),
            "Squeeze" | "Unsqueeze" if first.data.len() == 1 => {
                // A number becomes a list of one, or is one again.
                let shape = if node.op_type == "Squeeze" {
                    Vec::new()
                } else {
                    vec![1]
                };
                Some(Self {
                    shape,
                    ..first.clone()
                })
            }
            "Concat" => {
                let mut data = Vec::new();
                for part in inputs {
                    let part = (*part)?;
                    if part.shape.len() != 1 {
                        return None;
                    }
                    data.extend_from_slice(&part.data);
                }
                Some(Self {
                    shape: vec![data.len()],
                    data,
                    integer: first.integer,
                })
            }
            "ConstantOfShape" => {
                let len = *first.data.first().filter(|_| first.data.len() == 1)?;
                let fill = attribute(node, "value").and_then(|a| Self::read(a.t.as_ref()?));
                let len = (0.0..=LEN_MAX as f64)
                    .contains(&len)
                    .then_some(len as usize)?;
                Some(Self {
                    shape: vec![len],
                    data: vec![fill.as_ref().map_or(0.0, |fill| fill.data[0]); len],
                    integer: fill.is_some_and(|fill| fill.integer),
                })
            }
            "Reshape" => first.reshape(input(1)?),
            "Slice" => first.slice(inputs),
            "Transpose" => first.transpose(),
            _ => None,
        }
    }

    fn map(&self, integer: bool, by: impl Fn(f64) -> f64) -> Self {
        Self {
            shape: self.shape.clone(),
            data: self.data.iter().map(|&x| by(x)).collect(),
            integer,
        }
    }

    /// Element by element; a tensor of one element goes with any other.
    fn with(&self, other: &Self, by: impl Fn(f64, f64) -> f64) -> Option<Self> {
        let (a, b) = (&self.data, &other.data);
        let (shape, data) = match (a.len(), b.len()) {
            (_, 1) => (&self.shape, a.iter().map(|&x| by(x, b[0])).collect()),
            (1, _) => (&other.shape, b.iter().map(|&y| by(a[0], y)).collect()),
            _ if self.shape == other.shape => (
                &self.shape,
                a.iter().zip(b).map(|(&x, &y)| by(x, y)).collect(),
            ),
            _ => return None,
        };
        Some(Self {
            shape: shape.clone(),
            data,
            integer: self.integer,
        })
    }

    fn gather(&self, indices: &Self) -> Option<Self> {
        let [len] = self.shape[..] else { return None };
        let pick = |&index: &f64| {
            let index = if index < 0.0 {
                index + len as f64
            } else {
                index
            };
            self.data.get(index as usize).copied()
        };
        Some(Self {
            shape: indices.shape.clone(),
            data: indices.data.iter().map(pick).collect::<Option<_>>()?,
            integer: self.integer,
        })
    }

    fn reshape(&self, to: &Self) -> Option<Self> {
        let known: f64 = to.data.iter().filter(|&&size| size > 0.0).product();
        let sizes = to.data.iter().map(|&size| {
            let size = if size < 0.0 {
                self.data.len() as f64 / known
            } else {
                size
            };
            (size >= 0.0).then_some(size as usize)
        });
        let shape: Vec<usize> = sizes.collect::<Option<_>>()?;
        (shape.iter().product::<usize>() == self.data.len()).then(|| Self {
            shape,
            ..self.clone()
        })
    }

    /// Along the first axis.
    fn slice(&self, inputs: &[Option<&Self>]) -> Option<Self> {
        let number = |index: usize| -> Option<f64> {
            let value = inputs.get(index).copied().flatten()?;
            value
                .data
                .first()
                .copied()
                .filter(|_| value.data.len() == 1)
        };
        if inputs.len() > 3 && number(3)? != 0.0 {
            return None;
        }
        let step = if inputs.len() > 4 { number(4)? } else { 1.0 };
        let rows = *self.shape.first()? as f64;
        let row = self.data.len() / (rows as usize).max(1);
        let place = |at: f64| if at < 0.0 { at + rows } else { at };
        let (start, end) = (place(number(1)?), place(number(2)?));
        let steps = |from: f64| std::iter::successors(Some(from), move |at| Some(at + step));
        let picked: Vec<f64> = if step > 0.0 {
            let (start, end) = (start.clamp(0.0, rows), end.clamp(0.0, rows));
            steps(start).take_while(|&at| at < end).collect()
        } else if step < 0.0 {
            let (start, end) = (start.clamp(-1.0, rows - 1.0), end.clamp(-1.0, rows));
            steps(start).take_while(|&at| at > end).collect()
        } else {
            return None;
        };
        let mut shape = self.shape.clone();
        shape[0] = picked.len();
        let rows = picked.iter().map(|&at| at as usize);
        Some(Self {
            shape,
            data: rows
                .flat_map(|at| self.data[at * row..(at + 1) * row].iter().copied())
                .collect(),
            integer: self.integer,
        })
    }

    /// Rows become columns.
    fn transpose(&self) -> Option<Self> {
        let [rows, columns] = self.shape[..] else {
            return None;
        };
        let data = (0..columns).flat_map(|c| (0..rows).map(move |r| self.data[r * columns + c]));
        Some(Self {
            shape: vec![columns, rows],
            data: data.collect(),
            integer: self.integer,
        })
    }
}

/// A shape as the file has it; `None` if a size is not one.
pub(super) fn shape(dims: &[i64]) -> Option<Vec<usize>> {
    let sizes = dims.iter().map(|&size| usize::try_from(size).ok());
    sizes.collect()
}

fn numbers<const N: usize>(raw: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    let chunks = raw.chunks_exact(N);
    chunks
        .filter_map(|chunk| chunk.try_into().ok())
        .map(read)
        .collect()
}

/// A setting of a node.
pub(super) fn attribute<'n>(node: &'n NodeProto, name: &str) -> Option<&'n AttributeProto> {
    node.attribute
        .iter()
        .find(|attribute| attribute.name == name)
}

/// A setting that is one integer.
pub(super) fn integer(node: &NodeProto, name: &str) -> Option<i64> {
    attribute(node, name)?.i
}

/// Reads a weight of the file.
pub(super) fn tensor(message: &[u8]) -> Option<TensorProto> {
    TensorProto::decode(message).ok()
}
