//! An MP4 that browsers and players open: H.264 by `openh264`, AAC by `fdk-aac`, the boxes by `mp4-atom`.
//!
//! Frames and sound are written as they come into a spool file beside the film; at the end the header, which tells where
//! everything is, goes in front of them, so that a browser can start to play before it has the whole file. Memory does
//! not grow with the film but for some 12 bytes a frame or packet.

mod header;
mod picture;
mod planes;
mod sound;
mod spool;

use std::path::{Path, PathBuf};

use picture::PictureTrack;
use sound::SoundTrack;
use spool::{Spool, TrackKind};

use super::{Clip, Film, FilmError, frames_covering};
use crate::audio::AudioReader;
use crate::encoder::{Encoded, Format};

/// A film in the making.
#[derive(Debug)]
pub struct Mp4 {
    path: PathBuf,
    spool: Spool,
    picture: PictureTrack,
    sound: Option<SoundTrack>,
    fps: u32,
    frames: u64,
}

impl Mp4 {
    /// Starts a film at `path` with `sound`, if there is any, as its sound track.
    ///
    /// # Errors
    /// If the codec cannot hold the frames, or the place or the sound cannot be used.
    pub fn create(path: &Path, clip: Clip, sound: Option<AudioReader>) -> Result<Self, FilmError> {
        Ok(Self {
            path: path.to_owned(),
            picture: PictureTrack::new(clip)?,
            sound: sound.map(SoundTrack::new).transpose()?,
            spool: Spool::create(path)?,
            fps: clip.fps,
            frames: 0,
        })
    }

    /// Writes the sound up to `seconds`, or all that is left.
    fn write_sound(&mut self, seconds: Option<f64>) -> Result<(), FilmError> {
        let Some(sound) = &mut self.sound else {
            return Ok(());
        };
        while seconds.is_none_or(|seconds| sound.seconds() < seconds)
            && let Some(packet) = sound.next_packet()?
        {
            self.spool.write(TrackKind::Sound, packet)?;
        }
        Ok(())
    }
}

impl Film for Mp4 {
    fn format(&self) -> Format {
        Format::Rgb
    }

    fn push(&mut self, frame: &Encoded) -> Result<(), FilmError> {
        let sample = self.picture.encode(frame)?;
        self.spool.write(TrackKind::Picture, sample)?;
        self.frames += 1;
        // Picture and sound of the same moment lie side by side.
        self.write_sound(Some(self.frames as f64 / f64::from(self.fps)))
    }

    fn finish(mut self: Box<Self>) -> Result<u64, FilmError> {
        if self.frames == 0 {
            return Err(FilmError::NoFrames);
        }
        self.write_sound(None)?;
        let sound = self.sound.as_ref().map(SoundTrack::description);
        let covering = sound.as_ref().map_or(0, |sound| {
            frames_covering(sound.frames, sound.rate_hz, self.fps)
        });
        let held = covering.saturating_sub(self.frames);
        for _ in 0..held {
            let sample = self.picture.repeat()?;
            self.spool.write(TrackKind::Picture, sample)?;
        }
        self.spool
            .finish(&self.path, &self.picture.description(), sound.as_ref())?;
        Ok(held)
    }
}
