//! Which engine runs the networks, and how it was chosen.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::engine::embedded::Embedded;
use crate::engine::library;
use crate::engine::onnxruntime::OnnxRuntime;
use crate::engine::{Backend, InferenceError};

/// Which engine to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendChoice {
    /// ONNX Runtime when a library is found, else the embedded engine.
    #[default]
    Auto,
    /// ONNX Runtime or an error.
    OnnxRuntime,
    /// The embedded engine, whatever is installed.
    Embedded,
}

/// What ONNX Runtime may run a network on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExecutionProvider {
    /// NVIDIA GPUs by CUDA.
    Cuda,
    /// NVIDIA GPUs by `TensorRT`; it builds an engine for each network, which takes minutes the first time.
    TensorRt,
    /// Intel CPUs, GPUs and NPUs by `OpenVINO`.
    OpenVino,
    /// The CPU, by ONNX Runtime's own kernels.
    Cpu,
}

impl ExecutionProvider {
    /// All of them, in the order they are usually preferred.
    pub const ALL: [Self; 4] = [Self::TensorRt, Self::Cuda, Self::OpenVino, Self::Cpu];

    /// Its name in `onnx.execution_providers`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
            Self::OpenVino => "openvino",
            Self::Cpu => "cpu",
        }
    }
}

impl fmt::Display for ExecutionProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ExecutionProvider {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|provider| provider.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                format!("unknown execution provider {text:?}: use cuda, tensorrt, openvino or cpu")
            })
    }
}

/// What [`select`] is asked for.
#[derive(Clone, Debug, Default)]
pub struct BackendOptions {
    /// Which engine.
    pub choice: BackendChoice,
    /// ONNX Runtime's library, or the folder that holds it; `None` looks in the usual places.
    pub library_path: Option<PathBuf>,
    /// Providers in the order of preference. Each one named must work. `None` takes CUDA if it works, then the CPU.
    pub execution_providers: Option<Vec<ExecutionProvider>>,
    /// `Some(true)` requires CUDA, `Some(false)` keeps away from it, `None` leaves it to the list.
    pub cuda: Option<bool>,
    /// Which GPU, as nvidia-smi numbers them.
    pub cuda_device: u32,
    /// Whether a provider that does not work is passed over (`onnx.fallback: cpu`) instead of refused.
    pub fallback_to_cpu: bool,
}

impl BackendOptions {
    /// The providers to try, in order, and whether each must work.
    pub(super) fn requested_providers(&self) -> Vec<(ExecutionProvider, bool)> {
        let named = self.execution_providers.is_some();
        let mut list: Vec<(ExecutionProvider, bool)> = self
            .execution_providers
            .as_deref()
            .unwrap_or(&[ExecutionProvider::Cuda, ExecutionProvider::Cpu])
            .iter()
            .map(|&provider| (provider, named && !self.fallback_to_cpu))
            .collect();
        match self.cuda {
            Some(true) => {
                let required = !self.fallback_to_cpu;
                match list
                    .iter_mut()
                    .find(|(provider, _)| *provider == ExecutionProvider::Cuda)
                {
                    Some(cuda) => cuda.1 = required,
                    None => list.insert(0, (ExecutionProvider::Cuda, required)),
                }
            }
            Some(false) => list.retain(|(provider, _)| {
                !matches!(
                    provider,
                    ExecutionProvider::Cuda | ExecutionProvider::TensorRt
                )
            }),
            None => {}
        }
        // The CPU runs what another provider leaves over, so it is always last.
        list.retain(|(provider, _)| *provider != ExecutionProvider::Cpu);
        list.push((ExecutionProvider::Cpu, true));
        let mut seen = Vec::new();
        list.retain(|(provider, _)| {
            let first = !seen.contains(provider);
            seen.push(*provider);
            first
        });
        list
    }

    /// Whether something was asked for that only ONNX Runtime has, so that the embedded engine must not step in.
    fn needs_onnx_runtime(&self) -> bool {
        self.choice == BackendChoice::OnnxRuntime || self.library_path.is_some()
    }

    /// The first provider that must work and that the embedded engine does not have.
    fn required_accelerator(&self) -> Option<ExecutionProvider> {
        self.requested_providers()
            .into_iter()
            .find(|&(provider, required)| required && provider != ExecutionProvider::Cpu)
            .map(|(provider, _)| provider)
    }
}

/// Which engine runs, and on what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendInfo {
    /// "ONNX Runtime" or "rten".
    pub name: &'static str,
    /// The engine's version.
    pub version: String,
    /// ONNX Runtime's library file.
    pub library: Option<PathBuf>,
    /// Providers that were proved to work, in the order they are used.
    pub providers: Vec<ExecutionProvider>,
    /// Providers that were asked for, or tried, and do not work here.
    pub skipped: Vec<SkippedProvider>,
    /// What an operator should know, with what to do about it.
    pub note: Option<String>,
}

impl BackendInfo {
    /// Whether networks run on an NVIDIA GPU.
    #[must_use]
    pub fn cuda_available(&self) -> bool {
        self.providers.iter().any(|provider| {
            matches!(
                provider,
                ExecutionProvider::Cuda | ExecutionProvider::TensorRt
            )
        })
    }
}

/// `ONNX Runtime 1.24.1 (cuda, cpu)`.
impl fmt::Display for BackendInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let providers: Vec<&str> = self.providers.iter().map(|p| p.name()).collect();
        write!(
            f,
            "{} {} ({})",
            self.name,
            self.version,
            providers.join(", ")
        )
    }
}

/// A provider that does not work here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedProvider {
    /// Which.
    pub provider: ExecutionProvider,
    /// Why.
    pub reason: String,
}

/// Chooses the engine.
///
/// A library named by `library_path` or by the environment's `ORT_DYLIB_PATH` must work. One that was only found is
/// passed over when it does not, with the reason in [`BackendInfo::note`] and in the log.
/// ONNX Runtime is loaded once a process: a later call gets the library of the first.
///
/// # Errors
/// When what was asked for cannot be had: the library, or a provider that must work.
pub fn select(options: &BackendOptions) -> Result<Arc<dyn Backend>, InferenceError> {
    if options.choice == BackendChoice::Embedded {
        return embedded(options, Vec::new());
    }
    let mut unusable = Vec::new();
    for candidate in library::candidates(options.library_path.as_deref()) {
        match OnnxRuntime::open(&candidate.path, options) {
            Ok(backend) => return Ok(Arc::new(backend)),
            // A provider that must work is a decision of the operator, not a fault of this library.
            Err(error @ InferenceError::Provider { .. }) => return Err(error),
            Err(error) if candidate.named => return Err(error),
            Err(error) => {
                tracing::warn!(library = %candidate.path.display(), %error, "passing over an ONNX Runtime library");
                unusable.push(error.to_string());
            }
        }
    }
    if options.needs_onnx_runtime() {
        return Err(InferenceError::LibraryNotFound { searched: unusable });
    }
    embedded(options, unusable)
}

/// The embedded engine, unless an accelerator is required, which it does not have.
fn embedded(
    options: &BackendOptions,
    unusable: Vec<String>,
) -> Result<Arc<dyn Backend>, InferenceError> {
    if let Some(provider) = options.required_accelerator() {
        let reason = if options.choice == BackendChoice::Embedded {
            "the embedded engine runs on the CPU only".to_owned()
        } else {
            InferenceError::LibraryNotFound { searched: unusable }.to_string()
        };
        return Err(InferenceError::Provider { provider, reason });
    }
    let chosen = options.choice == BackendChoice::Embedded;
    Ok(Arc::new(Embedded::new(chosen, &unusable)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ExecutionProvider::{Cpu, Cuda, OpenVino, TensorRt};

    #[test]
    fn the_default_list_requires_nothing_but_the_cpu() {
        let options = BackendOptions::default();
        assert_eq!(options.requested_providers(), [(Cuda, false), (Cpu, true)]);
    }

    #[test]
    fn a_named_list_keeps_its_order_and_must_work() {
        let options = BackendOptions {
            execution_providers: Some(vec![OpenVino, Cpu, TensorRt, OpenVino]),
            ..BackendOptions::default()
        };
        assert_eq!(
            options.requested_providers(),
            [(OpenVino, true), (TensorRt, true), (Cpu, true)]
        );
    }

    #[test]
    fn cuda_enabled_requires_it_unless_a_fallback_is_allowed() {
        let mut options = BackendOptions {
            cuda: Some(true),
            execution_providers: Some(vec![Cpu]),
            ..BackendOptions::default()
        };
        assert_eq!(options.requested_providers(), [(Cuda, true), (Cpu, true)]);
        options.fallback_to_cpu = true;
        assert_eq!(options.requested_providers(), [(Cuda, false), (Cpu, true)]);
        options.cuda = Some(false);
        assert_eq!(options.requested_providers(), [(Cpu, true)]);
    }

    #[test]
    fn the_embedded_engine_refuses_a_required_accelerator() {
        let options = BackendOptions {
            choice: BackendChoice::Embedded,
            cuda: Some(true),
            ..BackendOptions::default()
        };
        let error = select(&options).unwrap_err();
        assert!(
            matches!(error, InferenceError::Provider { provider: Cuda, .. }),
            "{error}"
        );
    }

    #[test]
    fn a_library_that_was_named_must_exist() {
        let options = BackendOptions {
            library_path: Some("nowhere/libonnxruntime.so".into()),
            ..BackendOptions::default()
        };
        let error = select(&options).unwrap_err().to_string();
        assert!(error.contains("nowhere"), "{error}");
    }

    #[test]
    fn provider_names_parse_in_any_case() {
        assert_eq!("CUDA".parse(), Ok(Cuda));
        assert!("gpu".parse::<ExecutionProvider>().is_err());
    }
}
