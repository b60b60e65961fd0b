//! Networks that are ONNX already: told by their inputs, and copied with the files that hold their weights.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use prost::Message as _;

use super::ImportError;
use super::network::{NetworkError, Role};
use super::workshop::Workshop;
use crate::engine::graph::proto::{ModelProto, ValueInfoProto};

/// `TensorProto.DataLocation`: beside the file.
const EXTERNAL: i32 = 1;

/// Copies a network into the workshop, unless it is known to be of a family that is not served.
pub(super) fn copy(
    from: &Path,
    role: Role,
    to: &Path,
    workshop: &Workshop,
) -> Result<(), ImportError> {
    let bytes = std::fs::read(from).map_err(ImportError::read(from))?;
    // What cannot be read here may be another version's: the engine has the last word, and says what is wrong.
    if let Ok(model) = ModelProto::decode(&*bytes) {
        let graph = model.graph.unwrap_or_default();
        if let Some((family, hint)) = family(&graph.input, role) {
            return Err(NetworkError::Family {
                path: from.to_owned(),
                role,
                family,
                hint,
            }
            .into());
        }
        let beside = graph
            .initializer
            .iter()
            .filter(|tensor| tensor.data_location == EXTERNAL)
            .flat_map(|tensor| &tensor.external_data)
            .filter(|entry| entry.key == "location")
            .map(|entry| entry.value.as_str());
        for location in beside.collect::<BTreeSet<_>>() {
            copy_weights(from, location, to, workshop)?;
        }
    }
    workshop.write(to, &bytes)
}

/// Copies a file of weights that the network names, which must be beside it.
fn copy_weights(
    network: &Path,
    location: &str,
    to: &Path,
    workshop: &Workshop,
) -> Result<(), ImportError> {
    let name = Path::new(location);
    let is_beside = matches!(
        name.components().collect::<Vec<_>>()[..],
        [Component::Normal(_)]
    );
    // Nor may it take the place of a file that the avatar has.
    if !is_beside || workshop.files.has(name) {
        return Err(ImportError::WeightsElsewhere {
            path: network.to_owned(),
            location: location.to_owned(),
        });
    }
    let (from, to): (PathBuf, PathBuf) = (network.with_file_name(name), to.with_file_name(name));
    let bytes = std::fs::read(&from).map_err(ImportError::read(&from))?;
    match std::fs::read(&to) {
        // An earlier run has copied it, or both networks share it.
        Ok(there) if there == bytes => Ok(()),
        Ok(_) => Err(ImportError::SameWeights {
            path: network.to_owned(),
            location: location.to_owned(),
        }),
        Err(_) => workshop.write(&to, &bytes),
    }
}

/// Which network that is not served takes these inputs.
fn family(inputs: &[ValueInfoProto], role: Role) -> Option<(&'static str, &'static str)> {
    let shapes: Vec<Vec<i64>> = inputs.iter().filter_map(shape).collect();
    let shapes: Vec<&[i64]> = shapes.iter().map(Vec::as_slice).collect();
    let takes = |wanted: &[i64]| shapes.iter().any(|shape| shape.get(1..) == Some(wanted));
    super::network::family_of_inputs(role, takes)
}

/// The sizes of an input's dimensions; 0 for any.
fn shape(input: &ValueInfoProto) -> Option<Vec<i64>> {
    let shape = input
        .r#type
        .as_ref()?
        .tensor_type
        .as_ref()?
        .shape
        .as_ref()?;
    let sizes = shape.dim.iter();
    Some(
        sizes
            .map(|dimension| dimension.dim_value.unwrap_or(0))
            .collect(),
    )
}
