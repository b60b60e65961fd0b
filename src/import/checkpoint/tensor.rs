//! Tensors of a checkpoint: what the pickle says of them, and their numbers.

use super::pickle::{Id, Object};

/// Dimensions of a tensor at most; weights have four.
const DIMENSIONS_MAX: usize = 8;

/// The type of a storage's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F16,
    Bf16,
    F32,
    F64,
    /// Whole numbers, which no weight is: their size in bytes.
    Whole(u8),
    /// Complex, quantised, of no type: not read.
    Other,
}

impl Element {
    /// As the storage's class is called: `Half` of `HalfStorage`.
    pub(super) fn of_storage(name: &str) -> Option<Self> {
        Some(match name {
            "Half" => Self::F16,
            "BFloat16" => Self::Bf16,
            "Float" => Self::F32,
            "Double" => Self::F64,
            "Long" => Self::Whole(8),
            "Int" => Self::Whole(4),
            "Short" => Self::Whole(2),
            "Char" | "Byte" | "Bool" => Self::Whole(1),
            "Untyped" | "ComplexFloat" | "ComplexDouble" | "QInt8" | "QUInt8" | "QInt32" => {
                Self::Other
            }
            _ => return None,
        })
    }

    /// Bytes of one; `None` if it is not a number that a weight can be.
    pub(super) fn bytes(self) -> Option<usize> {
        match self {
            Self::F16 | Self::Bf16 => Some(2),
            Self::F32 => Some(4),
            Self::F64 => Some(8),
            Self::Whole(_) | Self::Other => None,
        }
    }

    /// One number from its bytes.
    fn read(self, bytes: &[u8]) -> f32 {
        match (self, bytes) {
            (Self::F16, &[a, b]) => half(u16::from_le_bytes([a, b])),
            (Self::Bf16, &[a, b]) => f32::from_bits(u32::from(u16::from_le_bytes([a, b])) << 16),
            (Self::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            (Self::F64, &[a, b, c, d, e, f, g, h]) => {
                f64::from_le_bytes([a, b, c, d, e, f, g, h]) as f32
            }
            // Numbers of another length are never asked for.
            _ => f32::NAN,
        }
    }
}

/// The value of a number of IEEE 754's half precision.
fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f32::from(bits & 0x3ff);
    sign * match exponent {
        0 => fraction * 2_f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + fraction) * 2_f32.powi(exponent - 25),
    }
}

/// Numbers that lie in a file of their own in the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Storage {
    /// The file's name below `data/`.
    pub(super) key: String,
    pub(super) element: Element,
    pub(super) elements: u64,
}

/// A view of a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TensorInfo {
    pub(super) storage: Storage,
    /// The first element.
    offset: u64,
    shape: Vec<u64>,
    /// How many elements apart neighbours along each dimension are.
    strides: Vec<u64>,
}

impl TensorInfo {
    /// What `_rebuild_tensor_v2(storage, offset, shape, strides, …)` would make.
    pub(super) fn of<'o>(
        arguments: &[&'o Object],
        object: impl Fn(Id) -> &'o Object,
    ) -> Result<Self, String> {
        let [
            Object::Storage(storage),
            Object::Int(offset),
            Object::List(shape),
            Object::List(strides),
            ..,
        ] = arguments
        else {
            return Err("a tensor that is described as torch does not".to_owned());
        };
        let sizes = |ids: &[Id]| -> Option<Vec<u64>> {
            if ids.len() > DIMENSIONS_MAX {
                return None;
            }
            let size = |&id: &Id| match object(id) {
                Object::Int(size) => u64::try_from(*size).ok(),
                _ => None,
            };
            ids.iter().map(size).collect()
        };
        let tensor = Self {
            storage: storage.clone(),
            offset: u64::try_from(*offset).map_err(|_| "a tensor with a negative offset")?,
            shape: sizes(shape).ok_or("a tensor whose shape is no list of sizes")?,
            strides: sizes(strides).ok_or("a tensor whose strides are no list of sizes")?,
        };
        tensor.check()?;
        Ok(tensor)
    }

    /// Whether it lies in its storage.
    fn check(&self) -> Result<(), String> {
        if self.shape.len() != self.strides.len() {
            return Err("a tensor whose shape and strides do not fit together".to_owned());
        }
        if self.shape.contains(&0) {
            return Ok(());
        }
        let mut steps = self.shape.iter().zip(&self.strides);
        let last = steps.try_fold(self.offset, |last, (&size, &stride)| {
            last.checked_add((size - 1).checked_mul(stride)?)
        });
        let count = self
            .shape
            .iter()
            .try_fold(1_u64, |count, &size| count.checked_mul(size));
        match (last, count) {
            (Some(last), Some(_)) if last < self.storage.elements => Ok(()),
            _ => Err(format!(
                "a tensor of shape {} that reaches past its storage of {} elements",
                shape_text(&self.shape),
                self.storage.elements
            )),
        }
    }

    /// One of floats with this shape, for tests of what only looks at shapes.
    #[cfg(test)]
    pub(crate) fn of_shape(shape: &[u64]) -> Self {
        Self {
            storage: Storage {
                key: "0".to_owned(),
                element: Element::F32,
                elements: 0,
            },
            offset: 0,
            shape: shape.to_vec(),
            strides: vec![0; shape.len()],
        }
    }

    /// Its shape.
    pub(crate) fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Whether its elements are floats.
    pub(crate) fn is_float(&self) -> bool {
        self.storage.element.bytes().is_some()
    }

    /// Its numbers in order, from the bytes of its storage; `None` if those are too few.
    pub(super) fn read(&self, storage: &[u8]) -> Option<Vec<f32>> {
        let bytes = self.storage.element.bytes()?;
        let count: u64 = self.shape.iter().product();
        let mut numbers = Vec::with_capacity(usize::try_from(count).ok()?);
        let mut index = vec![0; self.shape.len()];
        for _ in 0..count {
            let steps = index.iter().zip(&self.strides);
            let place = self.offset + steps.map(|(&index, &stride)| index * stride).sum::<u64>();
            let start = usize::try_from(place).ok()?.checked_mul(bytes)?;
            let number = storage.get(start..start.checked_add(bytes)?)?;
            numbers.push(self.storage.element.read(number));
            advance(&mut index, &self.shape);
        }
        Some(numbers)
    }
}

/// The next index in a shape, the last dimension first.
fn advance(index: &mut [u64], shape: &[u64]) {
    for (index, &size) in index.iter_mut().zip(shape).rev() {
        *index += 1;
        if *index < size {
            return;
        }
        *index = 0;
    }
}

/// `[64,32,3,3]`
pub(crate) fn shape_text(shape: &[u64]) -> String {
    let sizes: Vec<String> = shape.iter().map(u64::to_string).collect();
    format!("[{}]", sizes.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_read_as_ieee_754_has_it() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333_251_95),
            (0x7bff, 65504.0),
            (0x0400, 6.103_515_6e-5),
            (0x0001, 5.960_464_5e-8),
            (0x7c00, f32::INFINITY),
        ] {
            assert_eq!(half(bits).to_bits(), f32::to_bits(value), "{bits:04x}");
        }
        assert!(half(0x7e00).is_nan());
    }

    fn view(offset: u64, shape: &[u64], strides: &[u64]) -> TensorInfo {
        TensorInfo {
            storage: Storage {
                key: "0".to_owned(),
                element: Element::F32,
                elements: 6,
            },
            offset,
            shape: shape.to_vec(),
            strides: strides.to_vec(),
        }
    }

    #[test]
    fn strides_and_offsets_are_followed() {
        let bytes: Vec<u8> = (0..6_u8).flat_map(|n| f32::from(n).to_le_bytes()).collect();
        let read = |tensor: TensorInfo| tensor.read(&bytes).unwrap();
        assert_eq!(read(view(0, &[2, 3], &[3, 1])), [0., 1., 2., 3., 4., 5.]);
        assert_eq!(read(view(0, &[3, 2], &[1, 3])), [0., 3., 1., 4., 2., 5.]);
        assert_eq!(read(view(2, &[2], &[2])), [2., 4.]);
        assert_eq!(read(view(1, &[2, 2], &[0, 1])), [1., 2., 1., 2.]);
        assert_eq!(read(view(4, &[], &[])), [4.]);
        assert_eq!(view(0, &[2, 3], &[3, 1]).read(&bytes[..20]), None);
    }

    #[test]
    fn a_view_past_its_storage_is_refused() {
        view(0, &[2, 3], &[3, 1]).check().unwrap();
        view(9, &[0, 3], &[3, 1]).check().unwrap();
        view(1, &[2, 3], &[3, 1]).check().unwrap_err();
        view(0, &[2, 3], &[u64::MAX, 1]).check().unwrap_err();
        view(u64::MAX, &[2], &[1]).check().unwrap_err();
        view(0, &[u64::MAX, u64::MAX], &[0, 0]).check().unwrap_err();
        view(0, &[2], &[1, 1]).check().unwrap_err();
    }
}
