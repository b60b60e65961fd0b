//! The same network in other operators, which cost less: exact in algebra, other in rounding.
//!
//! [`split_up`] takes a convolution before a Resize, [`groups`] computes wide blocks some channels at a time. Both find
//! their places in any file of the family and leave everything else as it is. [`draft`] is a model with its edges,
//! [`sizes`] what is known of its tensors, [`values`] the small numbers that exporters compute from shapes.

mod convolution;
mod draft;
mod groups;
mod sizes;
mod split_up;
#[cfg(test)]
mod tests;
mod values;

use crate::engine::Plan;
use crate::engine::graph::GraphError;
use crate::engine::graph::model::Model;
use draft::Draft;

/// Oldest operators whose Resize is understood.
const OPSET_MIN: i64 = 11;

/// A model rewritten by `plan`; `None` if the plan has nothing to do in it.
pub(in crate::engine) fn rewrite(bytes: &[u8], plan: Plan) -> Result<Option<Vec<u8>>, GraphError> {
    let mut model = Model::read(bytes)?;
    if plan.is_plain() || model.opset() < OPSET_MIN {
        return Ok(None);
    }
    let mut changed = false;
    if plan.split_up {
        let changes = split_up::changes(&Draft::of(&model)?);
        changed |= !changes.is_empty();
        model.apply(changes);
    }
    if let Some(bytes) = plan.group_bytes {
        let changes = groups::changes(&Draft::of(&model)?, bytes);
        changed |= !changes.is_empty();
        model.apply(changes);
    }
    Ok(changed.then(|| model.write_whole()))
}
