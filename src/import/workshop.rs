//! The folder an avatar is put together in: beside its place, under a hidden name, and renamed when all is in it.
//!
//! It stays when an import is stopped, and the next import of the same files goes on in it. A lock keeps two from
//! working in it at once.

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::encoder;
use crate::frame::Frame;

use super::manifest::{FILE, Manifest};
use super::{Files, ImportError, Step};

/// Holds the lock.
const LOCK: &str = ".lock";

/// An avatar in the making.
#[derive(Debug)]
pub(super) struct Workshop {
    folder: PathBuf,
    pub(super) files: Files,
    /// Locked until it is dropped.
    lock: File,
}

impl Workshop {
    /// Opens the folder for the avatar at `place`, empty unless what is in it was made of the same files.
    pub(super) fn open(place: &Path, manifest: &Manifest) -> Result<Self, ImportError> {
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let folder = place.with_file_name(format!(".{name}.import"));
        fs::create_dir_all(&folder).map_err(ImportError::write(&folder))?;
        let lock = lock(&folder, place)?;
        let files = Files::of(&folder.join("avatar"));
        if files.folder.exists() && !manifest.is_of(&files.folder) {
            fs::remove_dir_all(&files.folder).map_err(ImportError::write(&files.folder))?;
        }
        fs::create_dir_all(&files.frames).map_err(ImportError::write(&files.frames))?;
        let workshop = Self {
            folder,
            files,
            lock,
        };
        let text = manifest.text();
        workshop.write(&workshop.files.folder.join(FILE), text.as_bytes())?;
        Ok(workshop)
    }

    /// Writes a file whole: what is there under its name is complete.
    pub(super) fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), ImportError> {
        self.write_with(path, |file| file.write_all(bytes))
    }

    /// The same, of what `fill` writes.
    pub(super) fn write_with(
        &self,
        path: &Path,
        fill: impl FnOnce(&mut File) -> std::io::Result<()>,
    ) -> Result<(), ImportError> {
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
            fill(file.as_file_mut())?;
            readable(file.path())?;
            file.persist(path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(ImportError::write(path))
    }

    /// The place of a background.
    pub(super) fn frame(&self, index: usize, ending: &str) -> PathBuf {
        self.files.frames.join(format!("frame_{index:04}.{ending}"))
    }

    /// Writes a background, lossless, unless it is there already.
    pub(super) fn write_frame(&self, index: usize, frame: &Frame) -> Result<(), ImportError> {
        let path = self.frame(index, "png");
        if path.exists() {
            return Ok(());
        }
        let mut file = Vec::new();
        encoder::encode_png(frame.data(), frame.size(), &mut file)
            .map_err(|error| ImportError::write(&path)(std::io::Error::other(error)))?;
        self.write(&path, &file)
    }

    /// Puts pictures into the frames' folder: as links where the file system allows, so that they take no room.
    pub(super) fn link(
        &self,
        pictures: &[PathBuf],
        copy: bool,
        on_step: &(dyn Fn(Step) + Sync),
    ) -> Result<(), ImportError> {
        let done = std::sync::atomic::AtomicU64::new(0);
        let total = pictures.len() as u64;
        pictures
            .par_iter()
            .enumerate()
            .try_for_each(|(index, from)| {
                let ending = from.extension().unwrap_or_default().to_string_lossy();
                let to = self.frame(index, &ending.to_ascii_lowercase());
                if !to.exists() {
                    // A link to a link would point to the wrong place.
                    let from = from.canonicalize().map_err(ImportError::read(from))?;
                    if copy || fs::hard_link(&from, &to).is_err() {
                        let mut source = File::open(&from).map_err(ImportError::read(&from))?;
                        self.write_with(&to, |file| std::io::copy(&mut source, file).map(drop))?;
                    }
                }
                let done = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
                on_step(Step {
                    what: "backgrounds",
                    done,
                    total,
                });
                Ok(())
            })
    }

    /// Gives the avatar its place. What was there goes away.
    pub(super) fn finish(self, place: &Files) -> Result<(), ImportError> {
        let failed = ImportError::write(&place.folder);
        if place.folder.exists() {
            let old = self.folder.join("old");
            if old.exists() {
                fs::remove_dir_all(&old).map_err(&failed)?;
            }
            fs::rename(&place.folder, &old).map_err(&failed)?;
        }
        fs::rename(&self.files.folder, &place.folder).map_err(&failed)?;
        drop(self.lock);
        // If something of it cannot be removed, the next import does.
        let _ = fs::remove_dir_all(&self.folder);
        Ok(())
    }
}

fn lock(folder: &Path, place: &Path) -> Result<File, ImportError> {
    let path = folder.join(LOCK);
    let file = File::create(&path).map_err(ImportError::write(&path))?;
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        return Err(ImportError::Busy {
            folder: place.to_owned(),
        });
    }
    // On a file system without locks nobody can be kept out.
    Ok(file)
}

/// Temporary files are their owner's alone; a server may run as somebody else.
#[cfg(unix)]
fn readable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable(_path: &Path) -> std::io::Result<()> {
    Ok(())
}
