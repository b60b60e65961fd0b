//! `lipsync doctor`: what one asks first when something does not run, in one look, on the machine and by the
//! configuration it is about. It changes nothing and needs no server.

mod machine;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::Global;
use super::infer::offline::{Speech, windows};
use super::output::{Output, table};
use crate::config::{Config, Listen};
use crate::encoder::Format;
use crate::engine::{self, Backend, BackendInfo, BackendOptions};
use crate::frame::network_io::AUDIO_LEN;
use crate::pipeline::inspect::{Finding, inspect};
use crate::pipeline::loader::backend_options;
use crate::pipeline::{FrameOrder, LoadOptions, LoadedModel, cpu, render_frame};

/// Files that a server has open beside its connections: libraries, networks, backgrounds being read, the log.
const OTHER_FILES: u64 = 256;
const GIB: f64 = (1_u64 << 30) as f64;

/// Options of `doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Neither open the avatars' files nor make a frame: at once, also with a thousand avatars
    #[arg(long)]
    quick: bool,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Ok,
    /// It runs, and something is to be known.
    Warning,
    /// It does not run.
    Failed,
}

/// One thing looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: String,
    state: State,
    /// What was found.
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// All of them.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    /// The worst of the checks.
    state: State,
    checks: Vec<Check>,
}

impl Report {
    fn add(&mut self, name: &str, state: State, found: impl Into<String>, hint: Option<&str>) {
        self.checks.push(Check {
            name: name.to_owned(),
            state,
            found: found.into(),
            hint: hint.map(str::to_owned),
        });
    }

    fn text(&self) -> String {
        let mut rows = table(["check", "state", "found"], 3);
        for check in &self.checks {
            let state = match check.state {
                State::Ok => "ok",
                State::Warning => "warning",
                State::Failed => "failed",
            };
            let found = match &check.hint {
                Some(hint) => format!("{}\n{hint}", check.found),
                None => check.found.clone(),
            };
            rows.add_row([&check.name, state, &found]);
        }
        rows.to_string()
    }
}

/// Looks at everything; 0 if nothing failed, 1 otherwise. Warnings are no failures.
pub(crate) fn run(global: &Global, args: &Args, output: &Output) -> anyhow::Result<ExitCode> {
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        state: State::Ok,
        checks: Vec::new(),
    };
    let kind = if cfg!(debug_assertions) {
        "a debug build: many times slower than a release build"
    } else {
        "a release build"
    };
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let program = format!("lipsync {} for {arch} {os}, {kind}", report.version);
    report.add("program", State::Ok, program, None);
    let config = match Config::load(&global.config) {
        Ok(config) => {
            let found = format!("{}, models: {}", config.path.display(), config.models.len());
            report.add("configuration", State::Ok, found, None);
            Some(config)
        }
        Err(errors) => {
            let hint = "`lipsync validate-config` tells all of it with its lines";
            report.add(
                "configuration",
                State::Failed,
                errors.to_string(),
                Some(hint),
            );
            None
        }
    };
    look_at_machine(&mut report, config.as_ref());
    let backend = look_at_engine(&mut report, config.as_ref());
    if let Some(config) = &config {
        look_at_port(&mut report, "port", &config.server.listen);
        if let Some(http) = &config.server.http {
            look_at_port(&mut report, "http_port", http);
        }
        if let Some(metrics) = &config.server.metrics {
            look_at_port(&mut report, "metrics_port", metrics);
        }
    }
    if let (Some(config), Some(backend), false) = (&config, backend, args.quick) {
        look_at_models(&mut report, config, &backend, output);
    }
    let worst = report.checks.iter().map(|check| check.state);
    report.state = worst.max_by_key(|state| *state as u8).unwrap_or(State::Ok);
    output.result(&report, || report.text())?;
    Ok(match report.state {
        State::Failed => ExitCode::FAILURE,
        State::Ok | State::Warning => ExitCode::SUCCESS,
    })
}

fn look_at_machine(report: &mut Report, config: Option<&Config>) {
    let cores = format!("{} for this process", cpu::cores());
    report.add("processors", State::Ok, cores, None);
    if let Some(memory) = machine::memory() {
        let may_take = config.map_or(0, |config| {
            config.capacity.max_memory_bytes + config.server.messages.memory_bytes as u64
        });
        let fits = may_take <= memory.bytes;
        let (state, hint) = if fits {
            (State::Ok, None)
        } else {
            let hint = format!(
                "capacity.max_memory_gb and server.message_memory_mb allow {:.1} GB: the system may end the server before that; lower them",
                may_take as f64 / GIB
            );
            (State::Warning, Some(hint))
        };
        report.add("memory", state, memory.to_string(), hint.as_deref());
    }
    if let Some(files) = machine::open_files() {
        let needed = config.map_or(0, |config| {
            let ports = 1 + u64::from(config.server.http.is_some());
            config.server.max_connections as u64 * ports + OTHER_FILES
        });
        let (state, hint) = if files >= needed {
            (State::Ok, None)
        } else {
            let hint = format!(
                "server.max_connections on each port may need {needed}: fewer connections are taken; raise the limit (`ulimit -Hn`, systemd: LimitNOFILE)"
            );
            (State::Warning, Some(hint))
        };
        let found = format!("{files} may be open");
        report.add("files", state, found, hint.as_deref());
    }
    match machine::clock_behind() {
        None => report.add("clock", State::Ok, "after the program was installed", None),
        Some(behind) => {
            let found = format!(
                "{} days before the program was installed",
                behind.as_secs() / 86_400
            );
            let hint = "set it, or have it set (chrony, systemd-timesyncd): logs are read by it";
            report.add("clock", State::Warning, found, Some(hint));
        }
    }
}

fn look_at_engine(report: &mut Report, config: Option<&Config>) -> Option<Arc<dyn Backend>> {
    let options = config.map_or_else(BackendOptions::default, |config| {
        backend_options(&config.onnx)
    });
    let selected = engine::select(&options);
    let driver = machine::nvidia_driver();
    let backend = match selected {
        Ok(backend) => backend,
        Err(error) => {
            report.add("engine", State::Failed, error.to_string(), None);
            look_at_gpu(report, driver.as_deref(), None);
            return None;
        }
    };
    let info = backend.info();
    let mut found = info.to_string();
    if let Some(library) = &info.library {
        found = format!("{found}, {}", library.display());
    }
    for skipped in &info.skipped {
        found = format!("{found}\nnot {}: {}", skipped.provider, skipped.reason);
    }
    report.add("engine", State::Ok, found, info.note.as_deref());
    look_at_gpu(report, driver.as_deref(), Some(info));
    Some(backend)
}

/// A GPU that is there and not used is worth a word.
fn look_at_gpu(report: &mut Report, driver: Option<&str>, info: Option<&BackendInfo>) {
    let used = info.is_some_and(BackendInfo::cuda_available);
    match driver {
        Some(driver) if used => report.add("gpu", State::Ok, driver, None),
        Some(driver) => {
            let hint = "it is not used: `pip install onnxruntime-gpu`, and `onnx.cuda_enabled: true` says why it cannot be";
            report.add("gpu", State::Warning, driver, Some(hint));
        }
        None if used => report.add("gpu", State::Ok, "used by the engine", None),
        None => report.add("gpu", State::Ok, "no NVIDIA driver", None),
    }
}

/// Whether the server could listen there. What listens there already may well be the server.
fn look_at_port(report: &mut Report, key: &str, listen: &Listen) {
    let bound = listen.addresses().and_then(|addresses| {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            match std::net::TcpListener::bind(address) {
                Ok(_) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    });
    let name = format!("server.{key}");
    match bound {
        Ok(()) => report.add(&name, State::Ok, format!("{listen} is free"), None),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let hint = "by a running server, or by another program: `lipsync stats` asks it";
            report.add(
                &name,
                State::Warning,
                format!("{listen} is in use"),
                Some(hint),
            );
        }
        Err(error) => {
            let hint = format!("name another address with server.{key}");
            report.add(
                &name,
                State::Failed,
                format!("{listen}: {error}"),
                Some(&hint),
            );
        }
    }
}

/// Opens every avatar's files, and makes a frame of the first that has no fault.
fn look_at_models(
    report: &mut Report,
    config: &Config,
    backend: &Arc<dyn Backend>,
    output: &Output,
) {
    let bar = output.steps_bar(config.models.len() as u64);
    let mut whole = None;
    for model in &config.models {
        bar.set_message(model.id.clone());
        let inspection = inspect(model, &**backend);
        let told = |findings: &[Finding]| {
            let lines = findings
                .iter()
                .map(|finding| format!("{}: {}", finding.key, finding.message));
            lines.collect::<Vec<_>>().join("\n")
        };
        let name = format!("models.{}", model.id);
        if inspection.faults.is_empty() {
            whole = whole.or(Some(model));
            let notes = told(&inspection.notes);
            let hint = (!notes.is_empty()).then_some(&*notes);
            report.add(&name, State::Ok, "all its files open", hint);
        } else {
            report.add(&name, State::Failed, told(&inspection.faults), None);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if let Some(model) = whole {
        match frame(config, model, backend) {
            Ok(found) => report.add("frame", State::Ok, found, None),
            Err(error) => report.add(
                "frame",
                State::Failed,
                format!("{}: {error:#}", model.id),
                None,
            ),
        }
    }
}

/// Makes a frame as the server does: of the bundled speech, if the avatar hears.
fn frame(
    config: &Config,
    model: &crate::config::Model,
    backend: &Arc<dyn Backend>,
) -> anyhow::Result<String> {
    let started = Instant::now();
    let loaded = LoadedModel::open(&**backend, model, &LoadOptions::new(config, &**backend))?;
    let load = started.elapsed();
    let audio = if loaded.hears() {
        let mut first = windows(&loaded, &mut Speech::sample()?.open()?, 1)?;
        first.swap_remove(0).1
    } else {
        Arc::new(vec![0.0; AUDIO_LEN])
    };
    let order = FrameOrder {
        index: 0,
        visual: None,
        audio,
        flow: 0,
        deadline: None,
    };
    let started = Instant::now();
    let rendered = super::block_on(async {
        Ok(render_frame(&loaded, order, Format::Jpeg { quality: 90 }).await?)
    })?;
    let network = rendered.timings.inference.as_secs_f64() * 1000.0;
    Ok(format!(
        "{}: loaded in {:.2} s, first frame in {:.0} ms, {network:.0} ms of it in the network",
        model.id,
        load.as_secs_f64(),
        started.elapsed().as_secs_f64() * 1000.0,
    ))
}
