//! `lipsync import`: a trained `SyncTalk_2D` avatar in one command, up to the first look at it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use indicatif::ProgressBar;
use serde::Serialize;

use super::Global;
use super::infer::offline::{self, Job, Speech};
use super::infer::report::Report;
use super::output::{OrHint as _, Output, usage};
use crate::config::Config;
use crate::config::add_model::{AddError, Added, add_model};
use crate::engine;
use crate::film::Target;
use crate::import::{self, Files, ImportError, Imported, Request, Step};
use crate::pipeline::inspect::inspect;
use crate::pipeline::loader::backend_options;

/// Seconds of speech in the film that shows a new avatar.
const PREVIEW_SECONDS: u32 = 2;
/// That film, in the avatar's folder.
const PREVIEW: &str = "preview.mp4";

/// Options of `import`.
#[derive(Debug, clap::Args)]
#[expect(
    clippy::doc_markdown,
    reason = "the terminal shows these texts as they stand"
)]
pub(crate) struct Args {
    /// The folder the avatar was trained from (dataset/NAME), or a package of it
    dataset: PathBuf,
    /// What the avatar is to be called, by clients and in the configuration
    #[arg(long, value_name = "ID")]
    name: String,
    /// The generator: N.pth of the training, or an ONNX network [default: the one in the dataset, or the latest of
    /// checkpoint/NAME beside it]
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// The audio encoder: audio_visual_encoder.pth, or an ONNX network [default: the one in the dataset, or in
    /// model/checkpoints beside it]
    #[arg(long, value_name = "FILE")]
    audio_encoder: Option<PathBuf>,
    /// The film whose frames are the backgrounds, where the dataset has no pictures
    #[arg(long, value_name = "FILE")]
    film: Option<PathBuf>,
    /// The folder that gets the avatar's [default: models, beside the configuration]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Copy the pictures instead of linking to them
    #[arg(long)]
    copy: bool,
    /// Replace the avatar of this name
    #[arg(long)]
    force: bool,
    /// Render no film to look at
    #[arg(long)]
    no_preview: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    name: &'a str,
    folder: &'a Path,
    /// Whether it was there already, made of the same files.
    was_there: bool,
    frames: usize,
    width: u32,
    height: u32,
    generator: &'a Path,
    audio_encoder: &'a Path,
    config: &'a Path,
    /// Whether the configuration had to be changed.
    config_changed: bool,
    notes: &'a [String],
    preview: Option<Report>,
}

/// Imports, adds, checks, renders, and says how to look at it.
pub(crate) fn run(global: &Global, args: &Args, output: &Output) -> anyhow::Result<ExitCode> {
    let base = global.config.parent().unwrap_or(Path::new(""));
    let folder = args.folder.clone().unwrap_or_else(|| base.join("models"));
    if args.name.starts_with('.') || args.name.contains(['/', '\\']) {
        return Err(usage(
            "--name is the name of a folder too: without slashes, and no dot first",
        ));
    }
    let files = Files::of(&folder.join(&args.name));
    let entry = entry(base, &files)?;
    // Before the long work: what is wrong with the configuration, or with the name.
    add(&global.config, args, &entry)?;
    let imported = make(global, args, &files, output)?;
    for detail in &imported.details {
        output.detail(detail);
    }
    for note in &imported.notes {
        output.warning(note);
    }
    let place = files.folder.display();
    if imported.was_there {
        output.status(format_args!("kept {place}: it was made of the same files"));
    } else {
        output.status(format_args!("wrote {place}"));
    }
    let config_changed = write(&global.config, args, &entry, output)?;
    let config = Config::load(&global.config)?;
    let preview = if args.no_preview {
        None
    } else {
        Some(render(&config, args, &files, output)?)
    };
    let document = Document {
        name: &args.name,
        folder: &files.folder,
        was_there: imported.was_there,
        frames: imported.frames,
        width: imported.size.width,
        height: imported.size.height,
        generator: &imported.generator,
        audio_encoder: &imported.encoder,
        config: &global.config,
        config_changed,
        notes: &imported.notes,
        preview,
    };
    output.result(&document, || human(&document))?;
    let name = &args.name;
    let look = if args.no_preview {
        "in the page, when it is served".to_owned()
    } else {
        files.folder.join(PREVIEW).display().to_string()
    };
    output.hint(format_args!(
        "look at it: {look}
      let it say anything: lipsync infer --model {name} --audio speech.wav --out talk.mp4
      serve it: lipsync serve (a running server takes it in on SIGHUP)"
    ));
    Ok(ExitCode::SUCCESS)
}

/// What is said about a finished import.
fn human(document: &Document<'_>) -> String {
    let preview = match &document.preview {
        Some(report) => format!(", shown in {}", report.output.display()),
        None => String::new(),
    };
    format!(
        "{}: {} frames of {}x{}{preview}",
        document.name, document.frames, document.width, document.height
    )
}

/// Makes the avatar's folder, with a bar.
fn make(global: &Global, args: &Args, files: &Files, output: &Output) -> anyhow::Result<Imported> {
    let request = Request {
        dataset: args.dataset.clone(),
        folder: files.folder.clone(),
        generator: args.checkpoint.clone(),
        encoder: args.audio_encoder.clone(),
        film: args.film.clone(),
        copy: args.copy,
        force: args.force,
    };
    let bar = output.steps_bar(0);
    let imported = import::import(&request, &|step| show(&bar, step), |files| {
        check(global, files)
    });
    bar.finish_and_clear();
    imported.map_err(hinted)
}

fn show(bar: &ProgressBar, step: Step) {
    bar.set_message(step.what);
    if step.total == 0 {
        bar.unset_length();
    } else {
        bar.set_length(step.total);
    }
    bar.set_position(step.done);
}

fn hinted(error: ImportError) -> anyhow::Error {
    match error.hint() {
        Some(hint) => match Err::<(), _>(error).or_hint(hint) {
            Err(error) => error,
            Ok(()) => unreachable!("an error stays one"),
        },
        None => error.into(),
    }
}

/// Opens everything of the avatar, as `validate-config --assets` does.
fn check(global: &Global, files: &Files) -> Result<(), String> {
    let text = |error: anyhow::Error| format!("{error:#}");
    let whole = std::path::absolute(&files.folder).map_err(|error| error.to_string())?;
    let entry = entry(Path::new(""), &Files::of(&whole)).map_err(text)?;
    let added = add_model(None, Path::new("config.yaml"), "avatar", &entry);
    let Ok(Added::Text(config)) = added else {
        return Err("its files cannot be named in a configuration".to_owned());
    };
    let model =
        Config::parse(&config, Path::new("config.yaml")).map_err(|error| error.to_string())?;
    // The engine that will run it, if there is a configuration that says which.
    let settings = Config::load(&global.config).unwrap_or_else(|_| model.clone());
    let backend =
        engine::select(&backend_options(&settings.onnx)).map_err(|error| error.to_string())?;
    let faults = inspect(&model.models[0], &*backend).faults;
    let faults: Vec<String> = faults.into_iter().map(|fault| fault.message).collect();
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("\n  "))
    }
}

/// The avatar's entry in a configuration in `base`.
fn entry(base: &Path, files: &Files) -> anyhow::Result<Vec<(&'static str, String)>> {
    let whole = |path: &Path| {
        std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))
    };
    let base = if base == Path::new("") {
        std::env::current_dir().context("there is no current folder")?
    } else {
        whole(base)?
    };
    let named = |path: &Path| -> anyhow::Result<String> {
        let path = whole(path)?;
        let text = match path.strip_prefix(&base) {
            Ok(inside) => {
                let parts: Vec<_> = inside.iter().map(|part| part.to_string_lossy()).collect();
                format!("./{}", parts.join("/"))
            }
            Err(_) => path.to_str().map(str::to_owned).with_context(|| {
                format!("{} cannot be written in a configuration", path.display())
            })?,
        };
        Ok(text)
    };
    Ok(vec![
        ("model_path", named(&files.generator)?),
        ("audio_encoder_path", named(&files.encoder)?),
        ("background_dir", named(&files.frames)?),
        ("crop_rects_path", named(&files.rects)?),
        ("audio_padding", "zeros".to_owned()),
    ])
}

/// What the configuration becomes, and the text it was.
fn add(
    path: &Path,
    args: &Args,
    entry: &[(&str, String)],
) -> anyhow::Result<(Option<String>, Added)> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
    };
    match add_model(text.as_deref(), path, &args.name, entry) {
        Ok(added) => Ok((text, added)),
        Err(error @ AddError::Taken { .. }) => {
            Err(error).or_hint("choose another --name, or remove that entry")
        }
        // Told with every place in the file.
        Err(AddError::Config(errors)) => Err(errors.into()),
        Err(error) => Err(error.into()),
    }
}

/// Adds the avatar to the configuration; whether that changed anything.
fn write(
    path: &Path,
    args: &Args,
    entry: &[(&str, String)],
    output: &Output,
) -> anyhow::Result<bool> {
    let (before, added) = add(path, args, entry)?;
    let Added::Text(text) = added else {
        output.detail(format_args!("{} has it already", path.display()));
        return Ok(false);
    };
    replace(path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    match before {
        Some(_) => output.status(format_args!("added {} to {}", args.name, path.display())),
        None => output.status(format_args!("wrote {}", path.display())),
    }
    Ok(true)
}

/// Writes a file whole, so that a server that reads it meanwhile sees the old or the new one. A link stays one.
pub(super) fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let target = match path.canonicalize() {
        Ok(target) => target,
        Err(_) => std::path::absolute(path)?,
    };
    let folder = target.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new()
        .permissions(mode())
        .tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    if let Ok(data) = std::fs::metadata(&target) {
        file.as_file().set_permissions(data.permissions())?;
    }
    file.persist(&target).map_err(|error| error.error)?;
    Ok(())
}

/// As any new file has it.
#[cfg(unix)]
fn mode() -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::Permissions::from_mode(0o666)
}

/// Renders the film to look at.
fn render(config: &Config, args: &Args, files: &Files, output: &Output) -> anyhow::Result<Report> {
    let job = Job {
        model: args.name.clone(),
        speech: Speech::sample_start(PREVIEW_SECONDS)?,
        start_frame: 0,
        target: Target::Mp4(files.folder.join(PREVIEW)),
    };
    offline::render(config, &job, output).context("the avatar is imported, but cannot be shown")
}
