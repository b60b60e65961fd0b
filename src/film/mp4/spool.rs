//! The samples on their way: in a file beside the film until its header can be written.

use std::io::{self, BufWriter, Read as _, Seek as _, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::header::{PictureDescription, SoundDescription};
use crate::film::{FilmError, beside, parent};

/// One encoded frame or packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample<'a> {
    pub(super) data: &'a [u8],
    /// Whether decoding can start here.
    pub(super) is_key: bool,
}

/// Which track a sample belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TrackKind {
    Picture,
    Sound,
}

/// All samples in a file beside the film, and where each of them is.
#[derive(Debug)]
pub(super) struct Spool {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
    pub(super) length: u64,
    last: Option<TrackKind>,
    pub(super) picture: Samples,
    pub(super) sound: Samples,
}

/// The samples of one track.
#[derive(Debug, Default)]
pub(super) struct Samples {
    pub(super) sizes: Vec<u32>,
    /// Number, from 1, of every sample at which decoding can start.
    pub(super) keys: Vec<u32>,
    /// Where each run of samples begins, and how many it has.
    pub(super) chunks: Vec<(u64, u32)>,
}

impl Spool {
    /// An empty spool beside the film at `path`.
    pub(super) fn create(path: &Path) -> Result<Self, FilmError> {
        let file = beside(path, 0o666, |builder| builder.tempfile_in(parent(path)))
            .map_err(FilmError::write(path))?;
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::with_capacity(1 << 18, file),
            length: 0,
            last: None,
            picture: Samples::default(),
            sound: Samples::default(),
        })
    }

    /// Appends a sample.
    pub(super) fn write(&mut self, track: TrackKind, sample: Sample<'_>) -> Result<(), FilmError> {
        self.file
            .write_all(sample.data)
            .map_err(FilmError::write(&self.path))?;
        let samples = match track {
            TrackKind::Picture => &mut self.picture,
            TrackKind::Sound => &mut self.sound,
        };
        if self.last.replace(track) != Some(track) {
            samples.chunks.push((self.length, 0));
        }
        if let Some((_, count)) = samples.chunks.last_mut() {
            *count += 1;
        }
        samples.sizes.push(sample.data.len() as u32);
        if sample.is_key {
            samples.keys.push(samples.sizes.len() as u32);
        }
        self.length += sample.data.len() as u64;
        Ok(())
    }

    /// Writes the film: the header, then the samples; and gives it its name.
    pub(super) fn finish(
        self,
        path: &Path,
        picture: &PictureDescription<'_>,
        sound: Option<&SoundDescription<'_>>,
    ) -> Result<(), FilmError> {
        let header = self.header(picture, sound)?;
        let Self { file, length, .. } = self;
        let failed = FilmError::write(path);
        let write = || -> io::Result<()> {
            let mut samples = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            samples.rewind()?;
            let mut film = beside(path, 0o666, |builder| builder.tempfile_in(parent(path)))?;
            film.write_all(&header)?;
            let copied = io::copy(&mut samples.as_file_mut().take(length), film.as_file_mut())?;
            if copied != length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            film.persist(path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(failed)
    }
}
