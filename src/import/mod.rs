//! Trained avatars as others leave them become avatars as this program serves them.
//!
//! ```text
//! N.pth, audio_visual_encoder.pth ──> checkpoint (a reader that runs nothing) ──> network (one definition) ──> ONNX
//! landmarks, pictures, films ───────> dataset ──> crop rects, backgrounds
//!                                        └──> workshop: a folder beside the avatar's, renamed when all is in it
//! ```

pub(crate) mod checkpoint;
pub(crate) mod dataset;
mod error;
mod film;
mod manifest;
pub(crate) mod network;
mod onnx;
mod rects;
mod workshop;

use std::path::{Path, PathBuf};

pub(crate) use error::ImportError;

use crate::avatar::Backgrounds;
use crate::frame::Size;
use checkpoint::Checkpoint;
use dataset::{Dataset, Pictures};
use manifest::Manifest;
use network::Role;
use workshop::Workshop;

/// What is imported, and where to.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The folder the avatar was trained from, or a package of it.
    pub(crate) dataset: PathBuf,
    /// The avatar's folder; its name is the avatar's.
    pub(crate) folder: PathBuf,
    /// The generator, a checkpoint or an ONNX network; `None` for the one in the dataset.
    pub(crate) generator: Option<PathBuf>,
    /// The audio encoder likewise.
    pub(crate) encoder: Option<PathBuf>,
    /// The film that holds the backgrounds, if not the dataset's pictures.
    pub(crate) film: Option<PathBuf>,
    /// Copy pictures that could be linked.
    pub(crate) copy: bool,
    /// Replace an avatar of this name.
    pub(crate) force: bool,
}

/// The files of an imported avatar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) folder: PathBuf,
    pub(crate) generator: PathBuf,
    pub(crate) encoder: PathBuf,
    pub(crate) frames: PathBuf,
    pub(crate) rects: PathBuf,
}

impl Files {
    pub(crate) fn of(folder: &Path) -> Self {
        Self {
            generator: folder.join("generator.onnx"),
            encoder: folder.join("audio_encoder.onnx"),
            frames: folder.join("frames"),
            rects: folder.join("crop_rects.json"),
            folder: folder.to_owned(),
        }
    }

    /// Whether one of them is called so, or may be.
    fn has(&self, name: &Path) -> bool {
        let own = [&self.generator, &self.encoder, &self.frames, &self.rects];
        let is_json = name.extension().is_some_and(|ending| ending == "json");
        is_json
            || own
                .iter()
                .any(|path| path.file_name() == Some(name.as_os_str()))
    }
}

/// What an import does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) what: &'static str,
    pub(crate) done: u64,
    /// 0 where nobody knows.
    pub(crate) total: u64,
}

/// What became of an import.
#[derive(Clone, Debug)]
pub(crate) struct Imported {
    /// Whether it was there already, made of the same files.
    pub(crate) was_there: bool,
    pub(crate) frames: usize,
    pub(crate) size: Size,
    pub(crate) generator: PathBuf,
    pub(crate) encoder: PathBuf,
    /// What was found where.
    pub(crate) details: Vec<String>,
    /// What the user should know of.
    pub(crate) notes: Vec<String>,
}

/// Makes the avatar's folder. `check` opens the finished avatar before it gets its name.
///
/// What an import that was stopped has made is used by the next one of the same files.
pub(crate) fn import(
    request: &Request,
    on_step: &(dyn Fn(Step) + Sync),
    check: impl FnOnce(&Files) -> Result<(), String>,
) -> Result<Imported, ImportError> {
    let dataset = Dataset::find(&request.dataset, request.film.as_deref())?;
    let network = |given: &Option<PathBuf>, found: &Option<PathBuf>, what, option| {
        let path = given.as_ref().or(found.as_ref()).cloned();
        path.ok_or_else(|| ImportError::NoNetwork {
            what,
            option,
            dataset: request.dataset.clone(),
        })
    };
    let generator = network(
        &request.generator,
        &dataset.generator,
        "generator",
        "--checkpoint",
    )?;
    let generator = dataset::latest(&generator).unwrap_or(generator);
    let encoder = network(
        &request.encoder,
        &dataset.encoder,
        "audio encoder",
        "--audio-encoder",
    )?;
    let manifest = Manifest::of(&generator, &encoder, &dataset)?;
    let files = Files::of(&request.folder);
    let mut imported = Imported {
        was_there: false,
        frames: 0,
        size: Size {
            width: 0,
            height: 0,
        },
        generator,
        encoder,
        details: Vec::new(),
        notes: dataset.notes.clone(),
    };
    if files.folder.exists() {
        let backgrounds = Backgrounds::open(&files.frames);
        if !request.force
            && manifest.is_of(&files.folder)
            && let Ok(backgrounds) = backgrounds
        {
            imported.was_there = true;
            (imported.frames, imported.size) = (backgrounds.len(), backgrounds.size());
            return Ok(imported);
        }
        if !request.force {
            return Err(ImportError::Exists {
                folder: files.folder,
            });
        }
    }
    let workshop = Workshop::open(&request.folder, &manifest)?;
    fill(&workshop, request, &dataset, &mut imported, on_step)?;
    on_step(Step {
        what: "checking",
        done: 0,
        total: 0,
    });
    check(&workshop.files).map_err(ImportError::Unusable)?;
    workshop.finish(&files)?;
    Ok(imported)
}

/// Puts everything into the workshop that is not there yet.
fn fill(
    workshop: &Workshop,
    request: &Request,
    dataset: &Dataset,
    imported: &mut Imported,
    on_step: &(dyn Fn(Step) + Sync),
) -> Result<(), ImportError> {
    // First of all what takes no time and is most often wrong.
    let rects = rects::read(&dataset.rects)?;
    let networks = [
        (
            imported.generator.clone(),
            Role::Generator,
            &workshop.files.generator,
        ),
        (
            imported.encoder.clone(),
            Role::AudioEncoder,
            &workshop.files.encoder,
        ),
    ];
    for (done, (from, role, to)) in networks.into_iter().enumerate() {
        on_step(Step {
            what: "networks",
            done: done as u64,
            total: 2,
        });
        if !to.is_file() {
            imported
                .details
                .push(put_network(workshop, &from, role, to)?);
        }
    }
    let pictures = match &dataset.pictures {
        Pictures::Files(pictures) => {
            let used = pictures.len().min(rects.len());
            workshop.link(&pictures[..used], request.copy, on_step)?;
            pictures.len()
        }
        Pictures::Film(film) => film::extract(workshop, film, rects.len(), on_step)?,
    };
    let frames = pictures.min(rects.len());
    if pictures != rects.len() {
        imported.notes.push(format!(
            "there are {pictures} pictures and {} crop rects: the first {frames} are used",
            rects.len()
        ));
    }
    let backgrounds = Backgrounds::open(&workshop.files.frames)?;
    let (fitted, cut) = rects::fit(&rects[..frames], backgrounds.size())?;
    if cut > 0 {
        imported.notes.push(format!(
            "{cut} crop rects left the picture and were cut at its edge, as the reference does"
        ));
    }
    rects::write(&fitted, &workshop.files.rects)?;
    (imported.frames, imported.size) = (frames, backgrounds.size());
    Ok(())
}

/// Puts a network into the workshop, and tells what it was made of.
fn put_network(
    workshop: &Workshop,
    from: &Path,
    role: Role,
    to: &Path,
) -> Result<String, ImportError> {
    let is_onnx = from
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("onnx"));
    if is_onnx {
        onnx::copy(from, role, to, workshop)?;
        return Ok(format!("{}: copied", from.display()));
    }
    let mut checkpoint = Checkpoint::open(from).map_err(network::NetworkError::from)?;
    let converted = network::convert(&mut checkpoint, role)?;
    workshop.write(to, &converted.onnx)?;
    let within = match converted.dictionary.as_str() {
        "" => String::new(),
        dictionary => format!(", in its dictionary {dictionary}"),
    };
    Ok(format!(
        "{}: {} parameters{within}",
        from.display(),
        converted.parameters
    ))
}
