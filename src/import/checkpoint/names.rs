//! The names that a checkpoint may use: those torch needs for tensors, and a few that training loops save beside them.

use super::tensor::Element;

/// What a name of Python stands for here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// The type of a storage.
    Storage(Element),
    /// The function that makes a tensor of a storage.
    Tensor,
    /// The function that makes a parameter of a tensor.
    Parameter,
    /// A dictionary.
    Dict,
    /// The shape of a tensor.
    Size,
    /// Something harmless that nobody asks for: whatever is made of it is forgotten.
    Inert,
}

/// The meaning of `module.name`, if a checkpoint may say it.
pub(super) fn find(module: &str, name: &str) -> Option<Name> {
    Some(match (module, name) {
        ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Name::Tensor,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Name::Parameter,
        ("collections", "OrderedDict" | "defaultdict") | ("builtins" | "__builtin__", "dict") => {
            Name::Dict
        }
        ("torch", "Size") => Name::Size,
        ("torch" | "torch.storage", name) => match name.strip_suffix("Storage") {
            Some(element) => Name::Storage(Element::of_storage(element)?),
            None if is_element(name) || name == "device" => Name::Inert,
            None => return None,
        },
        // Epochs, losses and options, as training loops save them beside the weights.
        ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar" | "_reconstruct")
        | ("numpy", "dtype" | "ndarray" | "float64" | "float32" | "int64")
        | ("_codecs", "encode")
        | ("builtins" | "__builtin__", "set" | "list" | "tuple" | "int" | "float" | "bool")
        | ("argparse", "Namespace")
        | ("pathlib", "Path" | "PosixPath" | "PurePosixPath" | "WindowsPath" | "PureWindowsPath") => {
            Name::Inert
        }
        _ => return None,
    })
}

/// Whether `torch.NAME` is the type of an element, which optimisers save.
fn is_element(name: &str) -> bool {
    matches!(
        name,
        "float32"
            | "float"
            | "float64"
            | "double"
            | "float16"
            | "half"
            | "bfloat16"
            | "int64"
            | "int32"
            | "int16"
            | "int8"
            | "uint8"
            | "bool"
    )
}
