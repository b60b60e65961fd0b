//! The pictures of a film: H.264 in an MP4, by the decoder that comes with the encoder that is compiled in.
//!
//! Pictures come in the order in which they are shown. Whatever this does not read (another codec, a fragmented file,
//! interlaced or 10-bit pictures) is named, with the command that makes pictures of it.

mod colour;
mod container;

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use openh264::OpenH264API;
use openh264::decoder::{DecodedYUV, Decoder, DecoderConfig, Flush};
use openh264::formats::YUVSource as _;

use rayon::prelude::*;

use super::workshop::Workshop;
use super::{ImportError, Step};
use crate::frame::Frame;
use colour::Colours;
use container::Track;

/// Pictures that the decoder may hold back to put them in order.
const HELD_MAX: usize = 64;

/// Pictures that are written at once.
const BATCH: usize = 16;

/// An opened film.
pub(super) struct Film {
    path: PathBuf,
    file: File,
    track: Track,
    decoder: Decoder,
    /// Samples given to the decoder, and pictures that have come out.
    given: usize,
    shown: usize,
    /// Pictures that came out and were not yet asked for.
    waiting: std::collections::VecDeque<Frame>,
    is_flushed: bool,
}

impl Film {
    pub(super) fn open(path: &Path) -> Result<Self, ImportError> {
        let mut file = File::open(path).map_err(ImportError::read(path))?;
        let track = Track::read(&mut file).map_err(|reason| refused(path, reason))?;
        let config = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
        let mut decoder = Decoder::with_api_config(OpenH264API::from_source(), config)
            .map_err(|error| refused(path, format!("the decoder does not start: {error}")))?;
        if !track.parameters.is_empty() {
            let read = decoder.decode(&track.parameters);
            read.map_err(|error| refused(path, format!("its parameters cannot be read: {error}")))?;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            track,
            decoder,
            given: 0,
            shown: 0,
            waiting: std::collections::VecDeque::new(),
            is_flushed: false,
        })
    }

    /// How many pictures are shown.
    pub(super) fn pictures(&self) -> usize {
        self.track.samples.len() - self.track.hidden
    }

    /// The next picture; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, ImportError> {
        while self.waiting.is_empty() && !self.is_flushed {
            if self.given < self.track.samples.len() {
                self.decode_sample()?;
            } else {
                self.flush()?;
            }
        }
        let next = self.waiting.pop_front();
        if next.is_none() && self.shown != self.track.samples.len() {
            let reason = format!(
                "of its {} pictures {} came out of the decoder",
                self.track.samples.len(),
                self.shown
            );
            return Err(refused(&self.path, reason));
        }
        Ok(next)
    }

    /// Gives the decoder the next sample.
    fn decode_sample(&mut self) -> Result<(), ImportError> {
        let (offset, size) = self.track.samples[self.given];
        let mut sample = Vec::new();
        self.file
            .seek(SeekFrom::Start(offset))
            .and_then(|_| (&self.file).take(u64::from(size)).read_to_end(&mut sample))
            .map_err(ImportError::read(&self.path))?;
        let broken = |reason: &str| {
            refused(
                &self.path,
                format!("picture {} is damaged: {reason}", self.given),
            )
        };
        if sample.len() != size as usize {
            return Err(broken("the file ends before it"));
        }
        let stream = self
            .track
            .annex_b(&sample)
            .ok_or_else(|| broken("its units are longer than it"))?;
        let decoded = self.decoder.decode(&stream);
        let frame = match decoded {
            Ok(picture) => picture.map(|picture| frame(&picture, self.track.colours)),
            Err(error) => return Err(broken(&error.to_string())),
        };
        self.given += 1;
        if let Some(frame) = frame {
            self.take(frame)?;
        }
        if self.given - self.shown > HELD_MAX {
            return Err(refused(
                &self.path,
                "the decoder gives no pictures".to_owned(),
            ));
        }
        Ok(())
    }

    /// Takes the pictures that the decoder has held back.
    fn flush(&mut self) -> Result<(), ImportError> {
        self.is_flushed = true;
        let colours = self.track.colours;
        let held = self.decoder.flush_remaining().map(|pictures| {
            let frames = pictures.iter().map(|picture| frame(picture, colours));
            frames.collect::<Vec<_>>()
        });
        let held = held.map_err(|error| refused(&self.path, error.to_string()))?;
        held.into_iter().try_for_each(|frame| self.take(frame))
    }

    /// A picture came out; those before the film's start are not shown.
    fn take(&mut self, frame: Option<Frame>) -> Result<(), ImportError> {
        let Some(frame) = frame else {
            return Err(refused(&self.path, "a picture without a size".to_owned()));
        };
        self.shown += 1;
        if self.shown > self.track.hidden {
            self.waiting.push_back(frame);
        }
        Ok(())
    }
}

/// A picture as RGB.
fn frame(picture: &DecodedYUV<'_>, colours: Colours) -> Option<Frame> {
    let (width, height) = picture.dimensions();
    let planes = colour::Planes {
        y: picture.y(),
        u: picture.u(),
        v: picture.v(),
        strides: picture.strides(),
    };
    colour::to_rgb(&planes, width, height, colours)
}

fn refused(path: &Path, reason: String) -> ImportError {
    ImportError::Film {
        path: path.to_owned(),
        reason,
    }
}

/// Writes the film's first `frames` pictures into the workshop; gives how many it has.
pub(super) fn extract(
    workshop: &Workshop,
    path: &Path,
    frames: usize,
    on_step: &(dyn Fn(Step) + Sync),
) -> Result<usize, ImportError> {
    let mut film = Film::open(path)?;
    let pictures = film.pictures();
    let used = pictures.min(frames);
    let mut index = 0;
    while index < used {
        let mut batch = Vec::with_capacity(BATCH);
        while batch.len() < BATCH.min(used - index)
            && let Some(frame) = film.next()?
        {
            batch.push(frame);
        }
        batch
            .par_iter()
            .enumerate()
            .try_for_each(|(place, frame)| workshop.write_frame(index + place, frame))?;
        index += batch.len();
        on_step(Step {
            what: "backgrounds",
            done: index as u64,
            total: used as u64,
        });
    }
    Ok(pictures)
}

#[cfg(test)]
mod tests;
