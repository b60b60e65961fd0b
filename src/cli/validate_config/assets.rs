//! `validate-config --assets`: the files that the configuration names.

use std::sync::Arc;

use crate::cli::output::Output;
use crate::config::{Config, Problem, Source};
use crate::engine;
use crate::engine::{Backend, BackendChoice, BackendOptions, ExecutionProvider};
use crate::pipeline::inspect::inspect;

/// Opens every file `config` names and gives all that is wrong with them, each at the key that names the file, and what
/// else is to be said about them.
pub(super) fn problems(
    config: &Config,
    source: &Source,
    output: &Output,
) -> (Vec<Problem>, Vec<String>) {
    let mut problems = Vec::new();
    let mut notes = Vec::new();
    let mut add = |key: &str, message: String, hint: Option<&str>| {
        problems.push(source.problem(key, message, hint.map(str::to_owned)));
    };
    if let Some(file) = &config.logging.log_file
        && let Some(folder) = file.parent()
        && !folder.as_os_str().is_empty()
        && !folder.is_dir()
    {
        let message = format!("there is no folder {}", folder.display());
        add(
            "logging.log_file",
            message,
            Some("make it, or name another"),
        );
    }
    let backend = match engine(config, config.onnx.backend) {
        Ok(backend) => Some(backend),
        Err(error) => {
            let key = match config.onnx.library_path {
                Some(_) => "onnx.library_path",
                None => "onnx.backend",
            };
            add(key, error.to_string(), None);
            // The networks can be opened without it.
            engine(config, BackendChoice::Embedded).ok()
        }
    };
    let Some(backend) = backend else {
        return (problems, notes);
    };
    output.detail(format_args!("engine: {}", backend.info()));
    let bar = output.steps_bar(config.models.len() as u64);
    for model in &config.models {
        bar.set_message(model.id.clone());
        let place = |key: &str| format!("models.{}.{key}", model.id);
        let found = inspect(model, &*backend);
        for fault in found.faults {
            add(&place(fault.key), fault.message, None);
        }
        let told = found.notes.into_iter();
        notes.extend(told.map(|note| format!("{}: {}", place(note.key), note.message)));
        bar.inc(1);
    }
    bar.finish_and_clear();
    (problems, notes)
}

/// The engine on the CPU: files are checked on machines that have no GPU.
fn engine(
    config: &Config,
    choice: BackendChoice,
) -> Result<Arc<dyn Backend>, engine::InferenceError> {
    engine::select(&BackendOptions {
        choice,
        library_path: match choice {
            BackendChoice::Embedded => None,
            _ => config.onnx.library_path.clone(),
        },
        execution_providers: Some(vec![ExecutionProvider::Cpu]),
        cuda: Some(false),
        cuda_device: config.onnx.cuda_device,
        fallback_to_cpu: true,
    })
}
