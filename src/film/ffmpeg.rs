//! A film by the installed `ffmpeg`: raw frames go into its standard input, the sound through a temporary file.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use tempfile::{NamedTempFile, TempPath};

use super::{Clip, Film, FilmError, beside, frames_covering, parent};
use crate::audio::AudioReader;
use crate::encoder::{Encoded, Format};

/// What ffmpeg says is shown up to this many bytes.
const MESSAGE_BYTES: u64 = 2000;

/// A running ffmpeg.
#[derive(Debug)]
pub struct Ffmpeg {
    path: PathBuf,
    unfinished: Option<TempPath>,
    /// Deleted when the film is finished or dropped.
    _sound: Option<NamedTempFile>,
    child: Child,
    frames: Option<ChildStdin>,
    messages: File,
    /// Frames written so far, and the last of them.
    written: u64,
    last: Option<Encoded>,
    /// Frames that the sound lasts.
    sound_frames: u64,
}

impl Ffmpeg {
    /// Starts ffmpeg on a film at `path`, whose ending says which kind it is.
    ///
    /// # Errors
    /// If it is not installed, or the place or the sound cannot be used.
    pub fn create(path: &Path, clip: Clip, sound: Option<AudioReader>) -> Result<Self, FilmError> {
        let failed = FilmError::write(path);
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        let unfinished = beside(path, 0o666, |builder| builder.tempfile_in(parent(path)))
            .map_err(&failed)?
            .into_temp_path();
        let fps = clip.fps;
        let sound = sound.map(|sound| raw_sound(sound, path)).transpose()?;
        let messages = tempfile::tempfile().map_err(&failed)?;
        let mut command = Command::new("ffmpeg");
        command
            .args(arguments(clip, sound.as_ref(), &ending))
            .arg(&unfinished)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(messages.try_clone().map_err(&failed)?);
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => FilmError::NoFfmpeg,
            _ => failed(error),
        })?;
        Ok(Self {
            path: path.to_owned(),
            unfinished: Some(unfinished),
            written: 0,
            last: None,
            sound_frames: sound.as_ref().map_or(0, |sound| {
                frames_covering(sound.samples, sound.rate_hz, fps)
            }),
            _sound: sound.map(|sound| sound.file),
            frames: child.stdin.take(),
            child,
            messages,
        })
    }

    /// Waits for ffmpeg to end and, unless it succeeded, says what it said.
    fn wait(&mut self) -> Result<(), FilmError> {
        // Closes its input, which is how it knows that the film is over.
        self.frames = None;
        let failed = FilmError::write(&self.path);
        let status = self.child.wait().map_err(&failed)?;
        if status.success() {
            return Ok(());
        }
        let mut said = Vec::new();
        self.messages
            .rewind()
            .and_then(|()| (&self.messages).take(MESSAGE_BYTES).read_to_end(&mut said))
            .map_err(&failed)?;
        Err(FilmError::Ffmpeg {
            path: self.path.clone(),
            status,
            said: String::from_utf8_lossy(&said).trim().to_owned(),
        })
    }
}

impl Film for Ffmpeg {
    fn format(&self) -> Format {
        Format::Rgb
    }

    fn push(&mut self, frame: &Encoded) -> Result<(), FilmError> {
        self.write(frame)?;
        self.written += 1;
        self.last = Some(frame.clone());
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<u64, FilmError> {
        let held = self.sound_frames.saturating_sub(self.written);
        let held = match self.last.take() {
            Some(last) => {
                (0..held).try_for_each(|_| self.write(&last))?;
                held
            }
            None => 0,
        };
        self.wait()?;
        if let Some(unfinished) = self.unfinished.take() {
            unfinished
                .persist(&self.path)
                .map_err(|error| FilmError::write(&self.path)(error.error))?;
        }
        Ok(held)
    }
}

impl Ffmpeg {
    fn write(&mut self, frame: &Encoded) -> Result<(), FilmError> {
        let Some(input) = &mut self.frames else {
            return self.wait();
        };
        let written = frame
            .parts()
            .iter()
            .try_for_each(|part| input.write_all(part));
        match written {
            Ok(()) => Ok(()),
            // It has ended early, and knows why.
            Err(error) => {
                self.wait()?;
                Err(FilmError::write(&self.path)(error))
            }
        }
    }
}

impl Drop for Ffmpeg {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The sound track as ffmpeg reads it.
struct RawSound {
    file: NamedTempFile,
    /// Samples of one channel.
    samples: u64,
    rate_hz: u32,
    channels: usize,
}

/// Decodes `sound` into a temporary file of plain f32 samples.
fn raw_sound(mut sound: AudioReader, path: &Path) -> Result<RawSound, FilmError> {
    let failed = FilmError::write(path);
    let mut file = NamedTempFile::new().map_err(&failed)?;
    let mut writer = io::BufWriter::new(file.as_file_mut());
    let channels = sound.format().channels;
    let mut samples = 0;
    while let Some(chunk) = sound.next_chunk()? {
        samples += (chunk.len() / channels) as u64;
        for sample in chunk {
            writer.write_all(&sample.to_le_bytes()).map_err(&failed)?;
        }
    }
    writer.flush().map_err(&failed)?;
    drop(writer);
    Ok(RawSound {
        file,
        samples,
        rate_hz: sound.format().rate_hz,
        channels,
    })
}

/// All arguments but the name of the film.
fn arguments(clip: Clip, sound: Option<&RawSound>, ending: &str) -> Vec<OsString> {
    let text = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
    let mut all = text("-hide_banner -loglevel error -nostdin -y -f rawvideo -pix_fmt rgb24");
    all.extend(text(&format!("-s {} -r {} -i pipe:0", clip.size, clip.fps)));
    if let Some(sound) = sound {
        all.extend(text(&format!(
            "-f f32le -ar {} -ac {} -i",
            sound.rate_hz, sound.channels
        )));
        all.push(sound.file.path().into());
        all.extend(text(&format!("-ac {}", sound.channels.min(2))));
    }
    // Players expect even sides, a quarter of the colour, and high definition's own matrix.
    all.extend(text(
        "-vf pad=ceil(iw/2)*2:ceil(ih/2)*2,scale=out_color_matrix=bt709:out_range=tv,format=yuv420p",
    ));
    all.extend(text(
        "-colorspace bt709 -color_primaries bt709 -color_trc iec61966-2-1 -color_range tv",
    ));
    if ["mp4", "m4v", "mov"].contains(&ending.to_ascii_lowercase().as_str()) {
        all.extend(text("-movflags +faststart"));
    }
    all
}
