//! Tensors as they go into an engine and come out of it, outside any engine.

use crate::engine::{InferenceError, network};

/// A tensor of one frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tensor {
    pub(super) shape: Vec<usize>,
    pub(super) data: Data,
}

/// Elements of the types that cross a cut: floats, and bytes in a quantised network.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    F32(Vec<f32>),
    U8(Vec<u8>),
    I8(Vec<i8>),
}

impl Default for Data {
    fn default() -> Self {
        Self::F32(Vec::new())
    }
}

impl Data {
    /// `TensorProto.DataType` of the elements.
    fn onnx_element(&self) -> i32 {
        match self {
            Self::F32(_) => 1,
            Self::U8(_) => 2,
            Self::I8(_) => 3,
        }
    }
}

/// What a tensor is, without its elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) shape: Vec<usize>,
    /// `TensorProto.DataType`.
    pub(super) element: i32,
}

impl Kind {
    /// Bytes of the elements.
    pub(super) fn bytes(&self) -> u64 {
        let size = if self.element == 1 {
            size_of::<f32>()
        } else {
            1
        };
        (self.shape.iter().product::<usize>() * size) as u64
    }
}

impl Tensor {
    /// What it is.
    pub(super) fn kind(&self) -> Kind {
        Kind {
            shape: self.shape.clone(),
            element: self.data.onnx_element(),
        }
    }

    /// Bytes of its elements.
    pub(super) fn bytes(&self) -> u64 {
        self.kind().bytes()
    }

    /// It, borrowed.
    pub(super) fn view(&self) -> View<'_> {
        View {
            shape: &self.shape,
            data: match &self.data {
                Data::F32(floats) => DataView::F32(floats),
                Data::U8(bytes) => DataView::U8(bytes),
                Data::I8(bytes) => DataView::I8(bytes),
            },
        }
    }

    /// Becomes a copy of `view`, in the memory it has if that is enough.
    pub(super) fn copy_from(&mut self, view: View<'_>) {
        self.shape.clear();
        self.shape.extend_from_slice(view.shape);
        match (&mut self.data, view.data) {
            (Data::F32(old), DataView::F32(new)) => replace(old, new),
            (Data::U8(old), DataView::U8(new)) => replace(old, new),
            (Data::I8(old), DataView::I8(new)) => replace(old, new),
            (data, DataView::F32(new)) => *data = Data::F32(new.to_vec()),
            (data, DataView::U8(new)) => *data = Data::U8(new.to_vec()),
            (data, DataView::I8(new)) => *data = Data::I8(new.to_vec()),
        }
    }
}

fn replace<T: Copy>(old: &mut Vec<T>, new: &[T]) {
    old.clear();
    // Not a byte more than needed: what is kept is counted.
    old.reserve_exact(new.len());
    old.extend_from_slice(new);
}

/// A tensor somebody else holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) shape: &'a [usize],
    pub(super) data: DataView<'a>,
}

/// The elements of a [`View`].
#[derive(Clone, Copy, Debug)]
pub(super) enum DataView<'a> {
    F32(&'a [f32]),
    U8(&'a [u8]),
    I8(&'a [i8]),
}

impl<'a> View<'a> {
    /// A tensor of floats.
    pub(super) fn floats(shape: &'a [usize], floats: &'a [f32]) -> Self {
        Self {
            shape,
            data: DataView::F32(floats),
        }
    }
}

/// Where an output goes.
#[derive(Debug)]
pub(super) enum Sink<'a> {
    /// So many floats, exactly.
    Floats(&'a mut [f32]),
    /// Whatever comes.
    Tensor(&'a mut Tensor),
}

impl Sink<'_> {
    /// Copies an output.
    pub(super) fn fill(&mut self, output: View<'_>) -> Result<(), InferenceError> {
        match (self, output.data) {
            (Self::Floats(floats), DataView::F32(found)) => {
                network::check_length("the network's output", found.len(), floats.len())?;
                floats.copy_from_slice(found);
            }
            (Self::Floats(floats), _) => {
                // The interface was checked: an output of another type has no floats.
                network::check_length("the network's output", 0, floats.len())?;
            }
            (Self::Tensor(tensor), _) => tensor.copy_from(output),
        }
        Ok(())
    }
}
