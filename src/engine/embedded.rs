//! The engine that is always there: rten, compiled in. The only file that knows `rten`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rten::{Dimension, Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value, ValueView};
use rten_tensor::{AsView as _, Layout as _};

use crate::engine::backend::{BackendInfo, ExecutionProvider};
use crate::engine::network;
use crate::engine::network::{Port, Role};
use crate::engine::network_file;
use crate::engine::plan;
use crate::engine::tensor::{DataView, Sink, View};
use crate::engine::visual_cache;
use crate::engine::{
    AudioEncoder, Backend, Batch, Cancel, Generator, GeneratorNetwork, InferenceError, Plan,
    SessionOptions,
};
use crate::frame::network_io::{FEATURE_LEN, MEL_WINDOW_LEN};

/// The engine's name in messages.
const NAME: &str = "rten";
/// The release compiled in; a test holds it to Cargo.lock.
const VERSION: &str = "0.27.0";

/// rten on the CPU.
#[derive(Debug)]
pub(super) struct Embedded {
    info: BackendInfo,
}

impl Embedded {
    /// The engine, with a note on how to get the fast one unless it was `chosen`.
    pub(super) fn new(chosen: bool, unusable_libraries: &[String]) -> Self {
        let note = (!chosen).then(|| {
            let found = if unusable_libraries.is_empty() {
                "no ONNX Runtime library was found".to_owned()
            } else {
                unusable_libraries.join("; ")
            };
            format!(
                "{found}; the embedded engine is about 4 times slower on a full-size network: \
                 pip install onnxruntime for the fast one"
            )
        });
        Self {
            info: BackendInfo {
                name: NAME,
                version: VERSION.to_owned(),
                library: None,
                providers: vec![ExecutionProvider::Cpu],
                skipped: Vec::new(),
                note,
            },
        }
    }
}

impl Backend for Embedded {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn open_generator(
        &self,
        path: &Path,
        options: &SessionOptions,
    ) -> Result<Arc<dyn GeneratorNetwork>, InferenceError> {
        let network = Network::open(path, options, &network::GENERATOR)?;
        let opener = Opener {
            path: path.to_path_buf(),
            intra_threads: network.intra_threads,
        };
        let network: Arc<dyn GeneratorNetwork> = Arc::new(network);
        let whole = |network| {
            plan::open(network, options.plan, true, |bytes, check| {
                let mut network = opener.open(bytes)?;
                network.plan = options.plan;
                check(&mut network.session())?;
                Ok(Arc::new(network))
            })
        };
        Ok(match options.visual_cache {
            None => whole(network),
            Some(limit) => visual_cache::open(network, opener.clone(), limit, options.plan)
                .unwrap_or_else(whole),
        })
    }

    fn open_audio_encoder(
        &self,
        path: &Path,
        options: &SessionOptions,
    ) -> Result<Box<dyn AudioEncoder>, InferenceError> {
        let network = Network::open(path, options, &network::AUDIO_ENCODER)?;
        Ok(Box::new(network.session()))
    }
}

/// A checked network. Its sessions share the weights.
#[derive(Debug)]
struct Network {
    model: Arc<Model>,
    path: PathBuf,
    intra_threads: usize,
    plan: Plan,
}

impl Network {
    fn open(path: &Path, options: &SessionOptions, role: &Role) -> Result<Self, InferenceError> {
        let model = load(path, role)?;
        let ports = |ids: &[NodeId]| ids.iter().map(|&id| port(&model, id)).collect::<Vec<_>>();
        role.check(path, &ports(model.input_ids()), &ports(model.output_ids()))?;
        Ok(Self {
            model: Arc::new(model),
            path: path.to_path_buf(),
            intra_threads: options.intra_threads.max(1),
            plan: Plan::PLAIN,
        })
    }

    fn session(&self) -> Running {
        Running {
            model: Arc::clone(&self.model),
            pool: Arc::new(ThreadPool::with_num_threads(self.intra_threads)),
            path: self.path.clone(),
            intra_threads: self.intra_threads,
        }
    }
}

impl GeneratorNetwork for Network {
    fn path(&self) -> &Path {
        &self.path
    }

    /// One: a batch wins nothing on a CPU, and between frames a run can be stopped.
    fn max_batch(&self) -> usize {
        1
    }

    fn open_session(&self) -> Result<Box<dyn Generator>, InferenceError> {
        Ok(Box::new(self.session()))
    }

    fn plan(&self) -> Plan {
        self.plan
    }
}

/// All it takes to open a network in another form, or its parts.
#[derive(Clone, Debug)]
struct Opener {
    path: PathBuf,
    intra_threads: usize,
}

impl Opener {
    fn open(&self, model: Vec<u8>) -> Result<Network, InferenceError> {
        let model =
            ModelOptions::with_all_ops()
                .load(model)
                .map_err(|error| InferenceError::Load {
                    path: self.path.clone(),
                    engine: NAME,
                    reason: error.to_string(),
                })?;
        Ok(Network {
            model: Arc::new(model),
            path: self.path.clone(),
            intra_threads: self.intra_threads,
            plan: Plan::PLAIN,
        })
    }
}

impl visual_cache::Engine for Opener {
    type Part = Running;

    fn open_part(&self, model: Vec<u8>) -> Result<Running, InferenceError> {
        Ok(self.open(model)?.session())
    }
}

/// The shared network with threads of its own.
struct Running {
    model: Arc<Model>,
    pool: Arc<ThreadPool>,
    path: PathBuf,
    intra_threads: usize,
}

impl Running {
    /// One run of one frame. The inputs are read where they are; the outputs are copied once.
    fn run_once(
        &self,
        inputs: &[(&str, View<'_>)],
        outputs: &mut [(&str, Sink<'_>)],
    ) -> Result<(), InferenceError> {
        let failed = |reason: String| InferenceError::Run {
            path: self.path.clone(),
            reason,
        };
        let node = |name: &str| self.model.node_id(name).map_err(|e| failed(e.to_string()));
        let mut values = Vec::with_capacity(inputs.len());
        for &(name, view) in inputs {
            values.push((node(name)?, value(view).map_err(failed)?.into()));
        }
        let mut wanted = Vec::with_capacity(outputs.len());
        for (name, _) in &*outputs {
            wanted.push(node(name)?);
        }
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&self.pool)));
        let found = self
            .model
            .run(values, &wanted, Some(options))
            .map_err(|e| failed(e.to_string()))?;
        for ((name, sink), value) in outputs.iter_mut().zip(found) {
            match value {
                Value::FloatTensor(tensor) => {
                    let shape: Vec<usize> = tensor.shape().into();
                    sink.fill(View::floats(&shape, &tensor.to_slice()))?;
                }
                Value::UInt8Tensor(tensor) => {
                    let shape: Vec<usize> = tensor.shape().into();
                    let data = DataView::U8(&tensor.to_slice());
                    sink.fill(View {
                        shape: &shape,
                        data,
                    })?;
                }
                Value::Int8Tensor(tensor) => {
                    let shape: Vec<usize> = tensor.shape().into();
                    let data = DataView::I8(&tensor.to_slice());
                    sink.fill(View {
                        shape: &shape,
                        data,
                    })?;
                }
                _ => {
                    return Err(failed(format!(
                        "{name:?} is not a tensor of floats or bytes"
                    )));
                }
            }
        }
        Ok(())
    }
}

/// A tensor as rten wants it, read where it is.
fn value(view: View<'_>) -> Result<ValueView<'_>, String> {
    match view.data {
        DataView::F32(floats) => {
            ValueView::from_shape(view.shape, floats).map_err(|e| e.to_string())
        }
        DataView::U8(bytes) => ValueView::from_shape(view.shape, bytes).map_err(|e| e.to_string()),
        DataView::I8(bytes) => ValueView::from_shape(view.shape, bytes).map_err(|e| e.to_string()),
    }
}

impl visual_cache::Part for Running {
    /// rten cannot be stopped part way: the flag is looked at before.
    fn run(
        &mut self,
        inputs: &[(&str, View<'_>)],
        outputs: &mut [(&str, Sink<'_>)],
        cancel: &Cancel,
    ) -> Result<(), InferenceError> {
        if cancel.is_cancelled() {
            return Err(InferenceError::Cancelled);
        }
        self.run_once(inputs, outputs)
    }

    fn share(&self) -> Option<Self> {
        Some(Self {
            model: Arc::clone(&self.model),
            pool: Arc::new(ThreadPool::with_num_threads(self.intra_threads)),
            path: self.path.clone(),
            intra_threads: self.intra_threads,
        })
    }
}

impl Generator for Running {
    fn run(
        &mut self,
        batch: &Batch<'_>,
        output: &mut [f32],
        cancel: &Cancel,
    ) -> Result<(), InferenceError> {
        batch.check(output)?;
        for (frame, output) in batch.runs(1, output) {
            if cancel.is_cancelled() {
                return Err(InferenceError::Cancelled);
            }
            let inputs = [
                ("input", View::floats(&[1, 6, 320, 320], frame.visual)),
                ("audio", View::floats(&[1, 32, 16, 16], frame.audio)),
            ];
            self.run_once(&inputs, &mut [("output", Sink::Floats(output))])?;
        }
        Ok(())
    }
}

impl AudioEncoder for Running {
    fn run(
        &mut self,
        mel: &[f32],
        windows: usize,
        output: &mut [f32],
    ) -> Result<(), InferenceError> {
        network::check_length("the mel tensor", mel.len(), windows * MEL_WINDOW_LEN)?;
        network::check_length("the features", output.len(), windows * FEATURE_LEN)?;
        let parts = mel
            .chunks(MEL_WINDOW_LEN)
            .zip(output.chunks_mut(FEATURE_LEN));
        for (mel, output) in parts {
            let outputs = &mut [("emb", Sink::Floats(output))];
            self.run_once(&[("mel", View::floats(&[1, 1, 80, 16], mel))], outputs)?;
        }
        Ok(())
    }
}

/// Reads the file, complete with the weights beside it.
fn load(path: &Path, role: &Role) -> Result<Model, InferenceError> {
    let bytes = match network_file::adapted(path, role)? {
        Some(bytes) => bytes,
        None => crate::files::read(path).map_err(|source| InferenceError::Read {
            path: path.to_path_buf(),
            source: Arc::new(source),
        })?,
    };
    let loaded = ModelOptions::with_all_ops().load(bytes);
    loaded.map_err(|error| InferenceError::Load {
        path: path.to_path_buf(),
        engine: NAME,
        reason: error.to_string(),
    })
}

/// A node as the check wants it.
fn port(model: &Model, id: NodeId) -> Port {
    let info = model.node_info(id);
    let info = info.as_ref();
    Port {
        name: info
            .and_then(rten::NodeInfo::name)
            .unwrap_or_default()
            .to_owned(),
        element: match info.and_then(rten::NodeInfo::dtype) {
            Some(rten::ValueType::Tensor(element)) => element.to_string(),
            Some(other) => other.to_string(),
            None => "of unknown type".to_owned(),
        },
        shape: info.and_then(rten::NodeInfo::shape).map(|shape| {
            shape
                .into_iter()
                .map(|dimension| match dimension {
                    Dimension::Fixed(size) => Some(size),
                    Dimension::Symbolic(_) => None,
                })
                .collect()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_compiled_in() {
        let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock");
        let lock = std::fs::read_to_string(lock).unwrap();
        let entry = format!("name = \"rten\"\nversion = \"{VERSION}\"\n");
        assert!(lock.contains(&entry), "Cargo.lock has another rten");
    }

    #[test]
    fn the_note_tells_how_to_get_the_fast_engine() {
        let note = Embedded::new(false, &[]).info.note.unwrap();
        assert!(note.contains("pip install onnxruntime"), "{note}");
        assert_eq!(Embedded::new(true, &[]).info.note, None);
    }
}
