//! A foreign file under the names and types that the engines' code uses.
//!
//! Exporters call tensors what they like, and some write halves at the edges. Which tensor is which is told by its
//! shape; the file is rewritten in memory so that everything behind it (sessions, the visual cache) knows one form.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::GraphError;
use super::model::{Model, Named, Place};
use super::proto::{ATTRIBUTE_INT, AttributeProto, FLOAT, NodeProto};
use crate::engine::network::{Expected, Role};

/// `TensorProto.DataType`: 16-bit floats.
const FLOAT16: i32 = 10;

/// What [`adapt`] did.
#[derive(Debug)]
pub(in crate::engine) struct Adapted {
    /// The model, complete in itself.
    pub(in crate::engine) bytes: Vec<u8>,
    /// Whether it is another than the file: an engine that reads the file itself would not find what it looks for.
    pub(in crate::engine) changed: bool,
}

/// Gives the ports of a model the role's names and floats of 32 bits, and takes in weights from `folder`.
///
/// A file whose ports are not those of the role keeps them: the check that follows says what is wrong.
pub(in crate::engine) fn adapt(
    bytes: Vec<u8>,
    role: &Role,
    folder: &Path,
) -> Result<Adapted, GraphError> {
    let mut model = Model::read(&bytes)?;
    let outside = model.has_external_data()?;
    if outside {
        model.take_in(folder)?;
    }
    let ports = Ports::of(&model, role)?;
    let foreign = ports.as_ref().is_some_and(Ports::are_foreign);
    if let Some(ports) = ports.filter(Ports::are_foreign) {
        ports.rename_in(&mut model)?;
    }
    if outside || foreign {
        let bytes = model.write_whole();
        return Ok(Adapted {
            bytes,
            changed: true,
        });
    }
    drop(model);
    Ok(Adapted {
        bytes,
        changed: false,
    })
}

/// A port of the file and what it is to the role.
struct Port {
    name: String,
    element: i32,
    expected: Expected,
}

impl Port {
    fn is_foreign(&self) -> bool {
        self.name != self.expected.name || self.element == FLOAT16
    }
}

struct Ports {
    inputs: Vec<Port>,
    output: Port,
}

impl Ports {
    /// The role's tensors among the file's, by shape and then by name; `None` if one is not there.
    fn of(model: &Model<'_>, role: &Role) -> Result<Option<Self>, GraphError> {
        // Old files list their weights among the inputs as well.
        let weights: HashSet<&str> = model.initializers.iter().map(|w| w.name.as_str()).collect();
        let own: Vec<&Named<'_>> = model
            .inputs
            .iter()
            .filter(|input| !weights.contains(input.name.as_str()))
            .collect();
        let outputs: Vec<&Named<'_>> = model.outputs.iter().collect();
        let mut inputs = Vec::new();
        for expected in role.inputs() {
            match find(*expected, &own)? {
                Some(port) => inputs.push(port),
                None => return Ok(None),
            }
        }
        let Some(output) = find(role.output(), &outputs)? else {
            return Ok(None);
        };
        Ok(Some(Self { inputs, output }))
    }

    fn are_foreign(&self) -> bool {
        self.inputs.iter().any(Port::is_foreign) || self.output.is_foreign()
    }

    fn rename_in(self, model: &mut Model<'_>) -> Result<(), GraphError> {
        let taken: HashSet<String> = model
            .nodes
            .iter()
            .flat_map(|node| node.inputs.iter().chain(&node.outputs))
            .chain(model.initializers.iter().map(|weights| &weights.name))
            .cloned()
            .collect();
        let free = |name: &str| {
            let mut free = format!("{name}_inside");
            while taken.contains(&free) {
                free.push('_');
            }
            free
        };
        let ports = || self.inputs.iter().chain([&self.output]);
        // A tensor inside that bears a role's name makes room; a port takes the role's name, one of halves behind a
        // cast.
        let mut names: HashMap<String, String> = ports()
            .filter(|port| taken.contains(port.expected.name))
            .map(|port| (port.expected.name.to_owned(), free(port.expected.name)))
            .collect();
        for port in ports() {
            let new = if port.element == FLOAT16 {
                free(port.expected.name)
            } else {
                port.expected.name.to_owned()
            };
            names.insert(port.name.clone(), new);
        }
        model.rename(&names)?;
        for port in &self.inputs {
            if port.element == FLOAT16 {
                let inside = &names[&port.name];
                show_floats(&mut model.inputs, inside, port.expected.name)?;
                model.add(&cast(port.expected.name, inside, FLOAT16), Place::First);
            }
        }
        if self.output.element == FLOAT16 {
            let (inside, name) = (&names[&self.output.name], self.output.expected.name);
            show_floats(&mut model.outputs, inside, name)?;
            model.add(&cast(inside, name, FLOAT), Place::Last);
        }
        Ok(())
    }
}

/// Makes the port `inside` one of 32-bit floats called `name`.
fn show_floats(ports: &mut [Named<'_>], inside: &str, name: &str) -> Result<(), GraphError> {
    for port in ports.iter_mut().filter(|port| port.name == inside) {
        port.set_type(name, FLOAT)?;
    }
    Ok(())
}

fn cast(from: &str, to: &str, element: i32) -> NodeProto {
    NodeProto {
        input: vec![from.to_owned()],
        output: vec![to.to_owned()],
        name: format!("{to}_cast"),
        op_type: "Cast".to_owned(),
        attribute: vec![AttributeProto {
            name: "to".to_owned(),
            i: Some(i64::from(element)),
            r#type: ATTRIBUTE_INT,
            ..AttributeProto::default()
        }],
    }
}

/// The one port that can be `expected`; of several, the one that has its name.
fn find(expected: Expected, ports: &[&Named<'_>]) -> Result<Option<Port>, GraphError> {
    let mut found = Vec::new();
    for port in ports {
        let (element, shape) = port.kind()?;
        let fits = shape.is_none_or(|shape| expected.fits(&shape));
        if fits && [FLOAT, FLOAT16].contains(&element) {
            found.push((*port, element));
        }
    }
    let named = found.iter().find(|(port, _)| port.name == expected.name);
    let only = match found.as_slice() {
        [only] => Some(only),
        _ => None,
    };
    Ok(named.or(only).map(|(port, element)| Port {
        name: port.name.clone(),
        element: *element,
        expected,
    }))
}
