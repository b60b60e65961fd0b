//! Numbered pictures in a folder.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Film, FilmError, beside, parent};
use crate::encoder::{Encoded, Format};

/// `render_000000.png` and so on, in a folder that appears when all of them are there.
///
/// A folder that holds nothing but frames of an earlier render is replaced; anything else in it is left alone, and an
/// error. The names differ from those of backgrounds, so that no avatar is ever taken for a render.
#[derive(Debug)]
pub struct Pictures {
    folder: PathBuf,
    unfinished: TempDir,
    format: Format,
    frames: u64,
}

impl Pictures {
    /// Starts a folder of pictures in `format`.
    ///
    /// # Errors
    /// If the folder holds something else, or cannot be made.
    pub fn create(folder: &Path, format: Format) -> Result<Self, FilmError> {
        check(folder)?;
        let unfinished = beside(folder, 0o777, |builder| builder.tempdir_in(parent(folder)))
            .map_err(FilmError::write(folder))?;
        Ok(Self {
            folder: folder.to_owned(),
            unfinished,
            format,
            frames: 0,
        })
    }

    fn ending(&self) -> &'static str {
        match self.format {
            Format::Png => "png",
            Format::Jpeg { .. } => "jpg",
            Format::Rgb => "rgb",
            Format::I420 => "yuv",
        }
    }
}

impl Film for Pictures {
    fn format(&self) -> Format {
        self.format
    }

    fn push(&mut self, frame: &Encoded) -> Result<(), FilmError> {
        let name = format!("{PREFIX}{:06}.{}", self.frames, self.ending());
        let written =
            fs::File::create_new(self.unfinished.path().join(&name)).and_then(|mut file| {
                frame
                    .parts()
                    .iter()
                    .try_for_each(|part| file.write_all(part))
            });
        written.map_err(FilmError::write(&self.folder.join(name)))?;
        self.frames += 1;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<u64, FilmError> {
        // Somebody may have put a file there since.
        check(&self.folder)?;
        let moved = match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::rename(self.unfinished.path(), &self.folder),
        };
        moved.map_err(FilmError::write(&self.folder))?;
        // Its folder has moved; there is nothing left to remove.
        let _ = self.unfinished.keep();
        Ok(0)
    }
}

/// How our pictures are called.
const PREFIX: &str = "render_";

/// Whether `folder` may be replaced: it is not there, or holds nothing but our pictures.
fn check(folder: &Path) -> Result<(), FilmError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(FilmError::write(folder))?,
    };
    for entry in entries {
        let name = entry.map_err(FilmError::write(folder))?.file_name();
        let name = name.to_string_lossy();
        if !is_ours(&name) {
            return Err(FilmError::Occupied {
                folder: folder.to_owned(),
                found: name.into_owned(),
            });
        }
    }
    Ok(())
}

fn is_ours(name: &str) -> bool {
    let number = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split_once('.'))
        .filter(|(_, ending)| matches!(*ending, "png" | "jpg" | "rgb" | "yuv"));
    number.is_some_and(|(number, _)| {
        number.len() >= 6 && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn film(folder: &Path) -> Result<Box<Pictures>, FilmError> {
        Pictures::create(folder, Format::Png).map(Box::new)
    }

    fn frame(text: &'static str) -> Encoded {
        Encoded::from(vec![
            Bytes::from_static(text.as_bytes()),
            Bytes::from_static(b"!"),
        ])
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_folder_appears_when_it_is_whole() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("frames");
        let mut film = film(&folder).unwrap();
        film.push(&frame("a")).unwrap();
        film.push(&frame("b")).unwrap();
        assert!(!folder.exists());
        film.finish().unwrap();
        assert_eq!(names(place.path()), ["frames"]);
        assert_eq!(names(&folder), ["render_000000.png", "render_000001.png"]);
        assert_eq!(fs::read(folder.join("render_000001.png")).unwrap(), b"b!");
    }

    #[test]
    fn a_film_that_is_dropped_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let mut film = film(&place.path().join("frames")).unwrap();
        film.push(&frame("a")).unwrap();
        drop(film);
        assert!(names(place.path()).is_empty());
    }

    #[test]
    fn an_earlier_render_is_replaced_whole() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("frames");
        for frames in [3, 1] {
            let mut film = film(&folder).unwrap();
            (0..frames).for_each(|_| film.push(&frame("x")).unwrap());
            film.finish().unwrap();
        }
        assert_eq!(names(&folder), ["render_000000.png"]);
    }

    #[test]
    fn a_folder_with_anything_else_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        for name in [
            "frame_000000.png",
            "0.png",
            "render_1.txt",
            "render_000000.txt",
            "notes",
        ] {
            let folder = place.path().join(name);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join(name), "precious").unwrap();
            let error = film(&folder).unwrap_err().to_string();
            assert!(error.contains("such as") && error.contains(name), "{error}");
            assert_eq!(names(&folder), [name]);
        }
    }

    #[test]
    fn a_file_that_came_meanwhile_is_not_lost() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("frames");
        let mut film = film(&folder).unwrap();
        film.push(&frame("a")).unwrap();
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("notes"), "precious").unwrap();
        assert!(film.finish().is_err());
        assert_eq!(names(place.path()), ["frames"]);
        assert_eq!(names(&folder), ["notes"]);
    }
}
