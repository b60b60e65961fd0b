//! The fast engine: ONNX Runtime, loaded at run time. The only file that knows `ort`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
use ort::ep::{self, ExecutionProvider as _};
use ort::logging::LogLevel;
use ort::session::builder::{AutoDevicePolicy, GraphOptimizationLevel, SessionBuilder};
use ort::session::{RunOptions, Session, SessionInputValue};
use ort::value::{DynValue, Outlet, Shape, TensorElementType, TensorRef, ValueType};

use crate::engine::backend::{BackendInfo, BackendOptions, ExecutionProvider, SkippedProvider};
use crate::engine::network;
use crate::engine::network::{Fingerprint, Port, Role};
use crate::engine::tensor::{DataView, Sink, View};
use crate::engine::{
    AudioEncoder, Backend, Batch, Cancel, Generator, GeneratorNetwork, InferenceError, Plan,
    SessionOptions, library, network_file, plan, provider_failure, visual_cache,
};
use crate::frame::network_io::{FEATURE_LEN, MEL_WINDOW_LEN, ROI_SIDE};

/// The engine's name in messages.
const NAME: &str = "ONNX Runtime";
/// A network of one convolution: what a provider must run to be called working. Made by `tools/make_test_networks.py`.
const PROBE: &[u8] = include_bytes!("probe.onnx");

/// The library of this process: `ort` keeps one, and one environment, for the process's life.
static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

#[derive(Clone)]
struct Loaded {
    path: PathBuf,
    version: String,
    environment: Environment,
}

/// ONNX Runtime with the providers that were proved to work.
#[derive(Debug)]
pub(super) struct OnnxRuntime {
    environment: Environment,
    info: BackendInfo,
    cuda_device: u32,
}

impl OnnxRuntime {
    /// Loads the library and tries the providers.
    pub(super) fn open(path: &Path, options: &BackendOptions) -> Result<Self, InferenceError> {
        let Loaded {
            path,
            version,
            environment,
        } = load(path)?;
        let note = library::is_untried(&version).then(|| {
            format!(
                "version {version} is newer than 1.{}, the newest that was tried",
                library::NEWEST_MINOR
            )
        });
        let mut info = BackendInfo {
            name: NAME,
            version,
            library: Some(path),
            providers: Vec::new(),
            skipped: Vec::new(),
            note,
        };
        for (provider, required) in options.requested_providers() {
            match probe(&environment, provider, options.cuda_device) {
                Ok(()) => info.providers.push(provider),
                Err(reason) if required => {
                    return Err(InferenceError::Provider { provider, reason });
                }
                Err(reason) => info.skipped.push(SkippedProvider { provider, reason }),
            }
        }
        Ok(Self {
            environment,
            info,
            cuda_device: options.cuda_device,
        })
    }

    fn open_network(
        &self,
        path: &Path,
        options: &SessionOptions,
        role: &'static Role,
    ) -> Result<Network, InferenceError> {
        let fingerprint = Fingerprint::of(path)?;
        let network = Network {
            opener: Opener {
                path: path.to_path_buf(),
                environment: self.environment.clone(),
                providers: self.info.providers.clone(),
                cuda_device: self.cuda_device,
                options: options.clone(),
            },
            fingerprint,
            role,
            form: Form::File,
            max_batch: 1,
            first: Mutex::new(None),
        };
        let adapted = network_file::adapted(path, role)?;
        let session = network.open_session_of(adapted.as_deref())?;
        let max_batch = role.check(path, &ports(session.inputs()), &ports(session.outputs()))?;
        Ok(Network {
            form: if adapted.is_some() {
                Form::Adapted
            } else {
                Form::File
            },
            max_batch,
            first: Mutex::new(Some(session)),
            ..network
        })
    }
}

impl Backend for OnnxRuntime {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn open_generator(
        &self,
        path: &Path,
        options: &SessionOptions,
    ) -> Result<Arc<dyn GeneratorNetwork>, InferenceError> {
        let network = self.open_network(path, options, &network::GENERATOR)?;
        // A batch wins nothing on a CPU.
        let one_frame = self.info.providers == [ExecutionProvider::Cpu];
        let max_batch = if one_frame { 1 } else { network.max_batch };
        let opener = network.opener.clone();
        let network: Arc<dyn GeneratorNetwork> = Arc::new(network);
        let whole = |network| {
            plan::open(network, options.plan, one_frame, |bytes, check| {
                let session = opener.open(|builder| builder.commit_from_memory(&bytes))?;
                let mut session = Running::new(session, path.to_path_buf(), max_batch)?;
                check(&mut session)?;
                Ok(Arc::new(Network {
                    opener: opener.clone(),
                    fingerprint: Fingerprint::of(path)?,
                    role: &network::GENERATOR,
                    form: Form::Rewritten {
                        plan: options.plan,
                        one_frame,
                    },
                    max_batch,
                    first: Mutex::new(Some(session.session)),
                }))
            })
        };
        let Some(limit) = options.visual_cache else {
            return Ok(whole(network));
        };
        if !one_frame {
            tracing::warn!("visual_cache_mb has no effect: it serves networks on the CPU");
            return Ok(whole(network));
        }
        let split = visual_cache::open(network, opener.clone(), limit, options.plan);
        Ok(split.unwrap_or_else(whole))
    }

    fn open_audio_encoder(
        &self,
        path: &Path,
        options: &SessionOptions,
    ) -> Result<Box<dyn AudioEncoder>, InferenceError> {
        let network = self.open_network(path, options, &network::AUDIO_ENCODER)?;
        Ok(Box::new(network.running()?))
    }
}

/// All it takes to open sessions of a network or of its parts.
#[derive(Clone, Debug)]
struct Opener {
    path: PathBuf,
    environment: Environment,
    providers: Vec<ExecutionProvider>,
    cuda_device: u32,
    options: SessionOptions,
}

impl Opener {
    fn open(
        &self,
        commit: impl FnOnce(&mut SessionBuilder) -> ort::Result<Session>,
    ) -> Result<Session, InferenceError> {
        let (providers, device) = (&self.providers, self.cuda_device);
        builder(&self.environment, providers, device, &self.options)
            .and_then(|mut builder| commit(&mut builder).map_err(|e| message(&e)))
            .map_err(|reason| InferenceError::Load {
                path: self.path.clone(),
                engine: NAME,
                reason,
            })
    }
}

impl visual_cache::Engine for Opener {
    type Part = Running;

    fn open_part(&self, model: Vec<u8>) -> Result<Running, InferenceError> {
        let session = self.open(|builder| builder.commit_from_memory(&model))?;
        Running::new(session, self.path.clone(), 1)
    }
}

/// A checked network.
#[derive(Debug)]
struct Network {
    opener: Opener,
    fingerprint: Fingerprint,
    role: &'static Role,
    form: Form,
    max_batch: usize,
    /// The session that was opened for the check, until somebody takes it.
    first: Mutex<Option<Session>>,
}

/// What sessions of a network are opened on.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// The file.
    File,
    /// The file as [`network_file::adapted`] gives it.
    Adapted,
    /// The file as [`plan::rewritten`] gives it.
    Rewritten { plan: Plan, one_frame: bool },
}

impl Network {
    fn session(&self) -> Result<Session, InferenceError> {
        let first = self
            .first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match first {
            Some(session) => Ok(session),
            None => self.new_session(),
        }
    }

    fn new_session(&self) -> Result<Session, InferenceError> {
        let path = &self.opener.path;
        self.fingerprint.still_of(path)?;
        let model = match self.form {
            Form::File => None,
            Form::Adapted => network_file::adapted(path, self.role)?,
            Form::Rewritten { plan, one_frame } => plan::rewritten(path, plan, one_frame)
                .map_err(|_| InferenceError::Changed { path: path.clone() })?,
        };
        self.open_session_of(model.as_deref())
    }

    /// A session of `model`, or of the file.
    fn open_session_of(&self, model: Option<&[u8]>) -> Result<Session, InferenceError> {
        self.opener.open(|builder| match model {
            Some(bytes) => builder.commit_from_memory(bytes),
            None => builder.commit_from_file(&self.opener.path),
        })
    }

    fn running(&self) -> Result<Running, InferenceError> {
        Running::new(self.session()?, self.opener.path.clone(), self.max_batch)
    }
}

impl GeneratorNetwork for Network {
    fn path(&self) -> &Path {
        &self.opener.path
    }

    fn max_batch(&self) -> usize {
        self.max_batch
    }

    fn open_session(&self) -> Result<Box<dyn Generator>, InferenceError> {
        Ok(Box::new(self.running()?))
    }

    fn plan(&self) -> Plan {
        match self.form {
            Form::Rewritten { plan, .. } => plan,
            Form::File | Form::Adapted => Plan::PLAIN,
        }
    }
}

/// A session and what its runs need.
struct Running {
    session: Session,
    path: PathBuf,
    max_batch: usize,
    /// Shared with the cancel hook of a run under way.
    options: Arc<RunOptions>,
}

impl Running {
    fn new(session: Session, path: PathBuf, max_batch: usize) -> Result<Self, InferenceError> {
        let options = RunOptions::new().map_err(|error| InferenceError::Engine {
            engine: NAME,
            reason: message(&error),
        })?;
        Ok(Self {
            session,
            path,
            max_batch,
            options: Arc::new(options),
        })
    }

    /// One run. The inputs are read where they are; the outputs are copied once, out of the session's memory, as
    /// `ort` cannot bind a borrowed output.
    fn run_once(
        &mut self,
        inputs: &[(&str, View<'_>)],
        outputs: &mut [(&str, Sink<'_>)],
        cancel: &Cancel,
    ) -> Result<(), InferenceError> {
        let options = Arc::clone(&self.options);
        let hooked = Arc::clone(&options);
        let hook = move || {
            if let Err(error) = hooked.terminate() {
                tracing::warn!(%error, "cannot terminate a run");
            }
        };
        let session = &mut self.session;
        let result = cancel.while_running(hook, || {
            let mut values = Vec::with_capacity(inputs.len());
            for &(name, view) in inputs {
                values.push((name, value(view)?));
            }
            let found = session.run_with_options(values, &options)?;
            for (name, sink) in outputs {
                let Some(value) = found.get(*name) else {
                    return Err(ort::Error::new(format!("it gave no {name:?}")));
                };
                if let Err(error) = fill(sink, value)? {
                    return Ok(Err(error));
                }
            }
            Ok(Ok(()))
        });
        if cancel.is_cancelled() {
            // The flag would stop the session's next run too.
            self.options.unterminate().map_err(|e| self.failed(&e))?;
        }
        match result {
            None => Err(InferenceError::Cancelled),
            Some(Ok(done)) => done,
            Some(Err(_)) if cancel.is_cancelled() => Err(InferenceError::Cancelled),
            Some(Err(error)) => Err(self.failed(&error)),
        }
    }

    fn failed(&self, error: &ort::Error) -> InferenceError {
        InferenceError::Run {
            path: self.path.clone(),
            reason: message(error),
        }
    }
}

impl visual_cache::Part for Running {
    fn run(
        &mut self,
        inputs: &[(&str, View<'_>)],
        outputs: &mut [(&str, Sink<'_>)],
        cancel: &Cancel,
    ) -> Result<(), InferenceError> {
        self.run_once(inputs, outputs, cancel)
    }

    /// ONNX Runtime arranges the weights anew for each session.
    fn share(&self) -> Option<Self> {
        None
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
        for (part, output) in batch.runs(self.max_batch, output) {
            let visual = [part.frames, 6, ROI_SIDE, ROI_SIDE];
            let audio = [part.frames, 32, 16, 16];
            let inputs = [
                ("input", View::floats(&visual, part.visual)),
                ("audio", View::floats(&audio, part.audio)),
            ];
            self.run_once(&inputs, &mut [("output", Sink::Floats(output))], cancel)?;
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
        let run = self.max_batch.clamp(1, windows.max(1));
        let parts = mel
            .chunks(run * MEL_WINDOW_LEN)
            .zip(output.chunks_mut(run * FEATURE_LEN));
        for (mel, output) in parts {
            let windows = mel.len() / MEL_WINDOW_LEN;
            let shape = [windows, 1, 80, 16];
            let outputs = &mut [("emb", Sink::Floats(output))];
            self.run_once(
                &[("mel", View::floats(&shape, mel))],
                outputs,
                &Cancel::new(),
            )?;
        }
        Ok(())
    }
}

/// A tensor as ONNX Runtime wants it, read where it is.
fn value(view: View<'_>) -> ort::Result<SessionInputValue<'_>> {
    let shape = view.shape.to_vec();
    Ok(match view.data {
        DataView::F32(floats) => TensorRef::from_array_view((shape, floats))?.into(),
        DataView::U8(bytes) => TensorRef::from_array_view((shape, bytes))?.into(),
        DataView::I8(bytes) => TensorRef::from_array_view((shape, bytes))?.into(),
    })
}

/// Copies an output.
fn fill(sink: &mut Sink<'_>, value: &DynValue) -> ort::Result<Result<(), InferenceError>> {
    let sizes = |shape: &Shape| -> Vec<usize> { shape.iter().map(|&size| size as usize).collect() };
    let element = match value.dtype() {
        ValueType::Tensor { ty, .. } => *ty,
        _ => TensorElementType::Undefined,
    };
    Ok(match element {
        TensorElementType::Uint8 => {
            let (shape, bytes) = value.try_extract_tensor::<u8>()?;
            sink.fill(View {
                shape: &sizes(shape),
                data: DataView::U8(bytes),
            })
        }
        TensorElementType::Int8 => {
            let (shape, bytes) = value.try_extract_tensor::<i8>()?;
            sink.fill(View {
                shape: &sizes(shape),
                data: DataView::I8(bytes),
            })
        }
        _ => {
            let (shape, floats) = value.try_extract_tensor::<f32>()?;
            sink.fill(View::floats(&sizes(shape), floats))
        }
    })
}

/// Loads the library at `path`, or gives the one that is loaded.
fn load(path: &Path) -> Result<Loaded, InferenceError> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(loaded) = &*loaded {
        return Ok(loaded.clone());
    }
    let version = library::check(path)?;
    let refuse = |reason: String| InferenceError::Library {
        path: path.to_path_buf(),
        reason,
    };
    // `ort` looks for a relative path beside the executable: give it the file that was checked.
    let absolute = std::path::absolute(path).map_err(|e| refuse(e.to_string()))?;
    let environment = ort::init_from(&absolute)
        .map_err(|e| refuse(e.to_string()))?
        .with_name("lipsync")
        .with_telemetry(false)
        .build()
        .map_err(|e| refuse(message(&e)))?;
    environment.set_log_level(LogLevel::Warning);
    let new = Loaded {
        path: absolute,
        version,
        environment,
    };
    *loaded = Some(new.clone());
    Ok(new)
}

/// Runs a tiny network on the provider alone, so that "works" is a fact and not a compile flag.
fn probe(
    environment: &Environment,
    provider: ExecutionProvider,
    cuda_device: u32,
) -> Result<(), String> {
    try_out(environment, provider, cuda_device).map_err(|text| {
        tracing::debug!(%provider, %text, "the provider does not work");
        provider_failure::reason(&text)
    })
}

fn try_out(
    environment: &Environment,
    provider: ExecutionProvider,
    cuda_device: u32,
) -> Result<(), String> {
    let compiled_in = match provider {
        ExecutionProvider::Cuda => ep::CUDA::is_available(),
        ExecutionProvider::TensorRt => ep::TensorRT::is_available(),
        ExecutionProvider::OpenVino => ep::OpenVINO::is_available(),
        ExecutionProvider::Cpu => ep::CPU::is_available(),
    };
    if !compiled_in.map_err(|e| message(&e))? {
        return Err("this ONNX Runtime was built without it".to_owned());
    }
    let mut builder = builder(
        environment,
        &[provider],
        cuda_device,
        &SessionOptions::default(),
    )?;
    if provider != ExecutionProvider::Cpu {
        builder = builder
            .with_disable_cpu_fallback()
            .map_err(|e| message(&e))?;
    }
    let mut session = builder.commit_from_memory(PROBE).map_err(|e| message(&e))?;
    let x = TensorRef::from_array_view(([1_usize, 1, 4, 4], &[1.0_f32; 16][..]))
        .map_err(|e| message(&e))?;
    let outputs = session.run(ort::inputs![x]).map_err(|e| message(&e))?;
    let (_, floats) = outputs[0]
        .try_extract_tensor::<f32>()
        .map_err(|e| message(&e))?;
    // The probe sums a 3x3 neighbourhood: ones give 9 inside.
    if floats.get(5) == Some(&9.0) {
        Ok(())
    } else {
        Err("it computed a wrong result".to_owned())
    }
}

/// A builder with the providers in order and the options that section "sessions" of docs/performance.md argues for.
fn builder(
    environment: &Environment,
    providers: &[ExecutionProvider],
    cuda_device: u32,
    options: &SessionOptions,
) -> Result<SessionBuilder, String> {
    let accelerators: Vec<_> = providers
        .iter()
        .filter_map(|&provider| dispatch(provider, cuda_device, options))
        .chain([ep::CPU::default()
            .with_arena_allocator(options.arena)
            .build()])
        .map(ep::ExecutionProviderDispatch::error_on_failure)
        .collect();
    let build = || -> ort::Result<SessionBuilder> {
        Ok(Session::builder(environment)?
            .with_auto_device(AutoDevicePolicy::PreferCPU)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(options.intra_threads.max(1))?
            .with_inter_threads(1)?
            .with_parallel_execution(false)?
            .with_intra_op_spinning(options.spinning)?
            .with_inter_op_spinning(false)?
            .with_memory_pattern(options.arena)?
            .with_execution_providers(accelerators)?)
    };
    build().map_err(|e| message(&e))
}

/// The provider's settings; nothing for the CPU, which every session ends with.
fn dispatch(
    provider: ExecutionProvider,
    cuda_device: u32,
    options: &SessionOptions,
) -> Option<ep::ExecutionProviderDispatch> {
    match provider {
        ExecutionProvider::Cuda => Some(cuda(cuda_device).build()),
        ExecutionProvider::TensorRt => Some(tensorrt(cuda_device).build()),
        ExecutionProvider::OpenVino => Some(
            ep::OpenVINO::default()
                .with_device_type("CPU")
                .with_num_threads(options.intra_threads.max(1))
                .build(),
        ),
        ExecutionProvider::Cpu => None,
    }
}

fn cuda(device: u32) -> ep::CUDA {
    ep::CUDA::default()
        .with_device_id(device as i32)
        .with_arena_extend_strategy(ep::ArenaExtendStrategy::SameAsRequested)
}

fn tensorrt(device: u32) -> ep::TensorRT {
    ep::TensorRT::default().with_device_id(device as i32)
}

/// The ports as the check wants them.
fn ports(outlets: &[Outlet]) -> Vec<Port> {
    outlets
        .iter()
        .map(|outlet| {
            let (element, shape) = match outlet.dtype() {
                ValueType::Tensor { ty, shape, .. } => (
                    ty.to_string(),
                    Some(
                        shape
                            .iter()
                            .map(|&size| usize::try_from(size).ok())
                            .collect(),
                    ),
                ),
                other => (format!("{other:?}"), None),
            };
            Port {
                name: outlet.name().to_owned(),
                element,
                shape,
            }
        })
        .collect()
}

/// The runtime's message on one line.
fn message<R>(error: &ort::Error<R>) -> String {
    error
        .to_string()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What ONNX Runtime is told.
    #[test]
    fn the_gpu_that_is_configured_is_the_one_that_is_used() {
        for told in [format!("{:?}", cuda(3)), format!("{:?}", tensorrt(3))] {
            let after = told.split("device_id").nth(1);
            let value = after.and_then(|rest| rest.split('"').find(|part| part.contains('3')));
            assert_eq!(value, Some("3"), "{told}");
        }
    }
}
