//! Writes the demo avatars into a folder: drawn, encoded and put in place whole, or not at all.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rayon::iter::{IntoParallelIterator as _, IntoParallelRefIterator as _, ParallelIterator as _};

use super::{Artist, Mouth, SIZE, Who};
use crate::avatar::{Backgrounds, CropRects};
use crate::frame::Frame;

/// The generator, the same for all three: it paints the mouth of the face it is shown.
const GENERATOR: &[u8] = include_bytes!("assets/unet.onnx");
/// The audio encoder.
const AUDIO_ENCODER: &[u8] = include_bytes!("assets/audio_encoder.onnx");

/// Temporary folders older than this were left behind by a run that was killed.
const ABANDONED_AFTER: Duration = Duration::from_mins(15);

/// What was done about one avatar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was there, complete, and was left alone.
    Kept,
    /// It was not there and was written.
    Written,
    /// It was there with something missing or broken, and was written anew.
    Repaired,
}

/// Why the demo avatars cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A file or folder.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A picture.
    #[error("cannot write {}: {source}", path.display())]
    Png {
        /// Which.
        path: PathBuf,
        /// What the encoder said.
        source: png::EncodingError,
    },
}

/// Where the files of one avatar are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The folder of the avatar.
    pub folder: PathBuf,
    /// Its generator.
    pub generator: PathBuf,
    /// Its audio encoder.
    pub audio_encoder: PathBuf,
    /// The folder of its backgrounds.
    pub frames: PathBuf,
    /// Its crop rects.
    pub crop_rects: PathBuf,
}

impl Files {
    /// The files of `who` below `folder`.
    #[must_use]
    pub fn of(folder: &Path, who: Who) -> Self {
        Self::inside(folder.join(who.name()))
    }

    fn inside(folder: PathBuf) -> Self {
        Self {
            generator: folder.join("unet.onnx"),
            audio_encoder: folder.join("audio_encoder.onnx"),
            frames: folder.join("frames"),
            crop_rects: folder.join("crop_rects.json"),
            folder,
        }
    }

    /// Whether everything is there that makes an avatar of `frames` frames.
    fn complete(&self, frames: usize) -> bool {
        let network = |path: &Path| {
            path.metadata()
                .is_ok_and(|file| file.is_file() && file.len() > 0)
        };
        let Ok(backgrounds) = Backgrounds::open(&self.frames) else {
            return false;
        };
        let Ok(rects) = CropRects::load(&self.crop_rects) else {
            return false;
        };
        network(&self.generator)
            && network(&self.audio_encoder)
            && backgrounds.len() == frames
            && backgrounds.size() == SIZE
            && rects.len() == frames
            && rects.check(SIZE, frames, &self.crop_rects).is_ok()
            && (0..frames).all(|index| backgrounds.file(index).is_some_and(ends_as_png))
    }
}

/// Whether a file ends as a PNG does: its header alone does not tell that it was cut.
fn ends_as_png(path: &Path) -> bool {
    use std::io::{Read as _, Seek as _, SeekFrom};
    const END: [u8; 12] = *b"\0\0\0\0IEND\xae\x42\x60\x82";
    let mut tail = [0; END.len()];
    let read = std::fs::File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::End(-(END.len() as i64)))?;
        file.read_exact(&mut tail)
    });
    read.is_ok() && tail == END
}

/// Writes the avatars that are missing or incomplete below `folder`, with their first `frames` frames, on all cores;
/// complete ones are kept.
///
/// `on_frame` is called after every picture with how many are done and how many there will be. A run that is
/// interrupted leaves nothing that looks like an avatar.
///
/// # Errors
/// If a file cannot be written; the avatars finished before stay.
pub fn write_avatars(
    folder: &Path,
    frames: usize,
    on_frame: impl Fn(usize, usize) + Sync,
) -> Result<Vec<(Who, Outcome)>, WriteError> {
    let mut outcomes = Vec::new();
    let missing: Vec<Who> = Who::ALL
        .into_iter()
        .filter(|&who| !Files::of(folder, who).complete(frames))
        .collect();
    let done = std::sync::atomic::AtomicUsize::new(0);
    let total = missing.len() * frames;
    for who in Who::ALL {
        let outcome = write_avatar(folder, who, frames, || {
            let done = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            on_frame(done, total);
        })?;
        outcomes.push((who, outcome));
    }
    Ok(outcomes)
}

/// Writes the first `frames` frames of one avatar below `folder`, and its networks; kept if it is there already.
///
/// `on_frame` is called after every picture.
///
/// # Errors
/// If a file cannot be written; then nothing is left.
pub fn write_avatar(
    folder: &Path,
    who: Who,
    frames: usize,
    on_frame: impl Fn() + Sync,
) -> Result<Outcome, WriteError> {
    let files = Files::of(folder, who);
    if files.complete(frames) {
        return Ok(Outcome::Kept);
    }
    std::fs::create_dir_all(folder).map_err(io(folder))?;
    sweep(folder, who);
    let temporary = tempfile::Builder::new()
        .prefix(&temporary_prefix(who))
        .tempdir_in(folder)
        .map_err(io(folder))?;
    let new = Files::inside(temporary.path().join("new"));
    fill(&new, who, frames, on_frame)?;
    // What was there goes away with the temporary folder.
    let repaired = files.folder.exists();
    if repaired {
        let old = temporary.path().join("old");
        std::fs::rename(&files.folder, &old).map_err(io(&files.folder))?;
    }
    std::fs::rename(&new.folder, &files.folder).map_err(io(&files.folder))?;
    Ok(if repaired {
        Outcome::Repaired
    } else {
        Outcome::Written
    })
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> WriteError + use<> {
    let path = path.to_owned();
    move |source| WriteError::Io { path, source }
}

/// Hidden, so that nobody takes it for an avatar.
fn temporary_prefix(who: Who) -> String {
    format!(".{}-", who.name())
}

/// Removes what runs that were killed left behind.
fn sweep(folder: &Path, who: Who) {
    let prefix = temporary_prefix(who);
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let abandoned = entry
            .metadata()
            .and_then(|data| data.modified())
            .is_ok_and(|time| time.elapsed().is_ok_and(|age| age > ABANDONED_AFTER));
        if abandoned && entry.file_name().to_string_lossy().starts_with(&prefix) {
            // If it cannot be removed it is only untidy.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Writes everything into a folder nobody looks at yet.
fn fill(
    files: &Files,
    who: Who,
    frames: usize,
    on_frame: impl Fn() + Sync,
) -> Result<(), WriteError> {
    std::fs::create_dir_all(&files.frames).map_err(io(&files.frames))?;
    let artist = Artist::new(who);
    (0..frames).into_par_iter().try_for_each(|index| {
        let path = files.frames.join(format!("frame_{index:04}.png"));
        write_png(&path, &artist.draw(index, Mouth::SHUT))?;
        on_frame();
        Ok(())
    })?;
    let rects: Vec<[u32; 4]> = (0..frames)
        .map(|index| artist.rect(index))
        .map(|rect| [rect.x1(), rect.y1(), rect.x2(), rect.y2()])
        .collect();
    let rects = serde_json::json!(rects).to_string();
    [
        (&files.generator, GENERATOR),
        (&files.audio_encoder, AUDIO_ENCODER),
        (&files.crop_rects, rects.as_bytes()),
    ]
    .par_iter()
    .try_for_each(|(path, bytes)| std::fs::write(path, bytes).map_err(io(path)))
}

fn write_png(path: &Path, frame: &Frame) -> Result<(), WriteError> {
    let file = std::fs::File::create_new(path).map_err(io(path))?;
    let size = frame.size();
    let mut encoder = png::Encoder::new(std::io::BufWriter::new(file), size.width, size.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::Fast);
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(frame.data())?;
        writer.finish()
    });
    written.map_err(|source| WriteError::Png {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(_: usize, _: usize) {}

    #[test]
    fn an_avatar_is_written_once_and_then_kept() {
        let folder = tempfile::tempdir().unwrap();
        let write = || write_avatar(folder.path(), Who::Bob, 2, || {}).unwrap();
        assert_eq!(write(), Outcome::Written);
        let files = Files::of(folder.path(), Who::Bob);
        let backgrounds = Backgrounds::open(&files.frames).unwrap();
        assert_eq!((backgrounds.len(), backgrounds.size()), (2, SIZE));
        let artist = Artist::new(Who::Bob);
        assert!(backgrounds.decode(1).unwrap() == artist.draw(1, Mouth::SHUT));
        let rects = CropRects::load(&files.crop_rects).unwrap();
        assert_eq!(rects.get(1), Some(artist.rect(1)));
        let before = files.frames.metadata().unwrap().modified().unwrap();
        assert_eq!(write(), Outcome::Kept);
        assert_eq!(files.frames.metadata().unwrap().modified().unwrap(), before);
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn whatever_is_missing_or_broken_is_repaired() {
        let folder = tempfile::tempdir().unwrap();
        let write = || write_avatar(folder.path(), Who::Jane, 1, || {}).unwrap();
        assert_eq!(write(), Outcome::Written);
        let files = Files::of(folder.path(), Who::Jane);
        let frame = files.frames.join("frame_0000.png");
        let whole = std::fs::read(&frame).unwrap();
        let damages: [&dyn Fn() -> std::io::Result<()>; 6] = [
            &|| std::fs::remove_file(&files.generator),
            &|| std::fs::write(&files.audio_encoder, b""),
            &|| std::fs::write(&files.crop_rects, b"[[1,2"),
            &|| std::fs::write(&frame, &whole[..whole.len() / 2]),
            &|| std::fs::write(files.frames.join("frame_0001.png"), &whole),
            &|| std::fs::remove_dir_all(&files.frames),
        ];
        for (turn, damage) in damages.iter().enumerate() {
            damage().unwrap();
            assert_eq!(write(), Outcome::Repaired, "damage {turn}");
            assert!(files.complete(1), "damage {turn}");
            assert_eq!(std::fs::read(&frame).unwrap(), whole);
        }
    }

    #[test]
    fn a_run_that_fails_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("models");
        std::fs::write(&file, b"in the way").unwrap();
        let error = write_avatars(&file, 1, count).unwrap_err().to_string();
        assert!(error.contains("models"), "{error}");
        let panicked = std::panic::catch_unwind(|| {
            write_avatar(folder.path(), Who::Bob, 1, || panic!("interrupted"))
        });
        assert!(panicked.is_err());
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}
