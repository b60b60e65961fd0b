//! Prepared backgrounds on disk: what the next load reads instead of preparing them again.
//!
//! A folder of files, one a background or a group of its video, each named by the hash of everything it was made of: the picture's bytes, the
//! rect and the version of what is made. So a file is never out of date, only unused; a changed picture has another
//! name. Files are checked whole when read and written under another name first: one that is damaged or missing
//! is made anew, and the folder may be deleted at any time, by anyone.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use sha1::{Digest, Sha1};

use crate::encoder::PreparedPng;
use crate::frame::{Frame, Rect, Size};

/// The first bytes of a file; the last of them is the version of its layout.
const MAGIC: [u8; 8] = *b"LSBACK\x00\x01";
/// Changes whenever the pixels of a crop or the pieces of a background would come out differently.
const CONTENT_VERSION: u32 = 3;
const HEADER_BYTES: usize = MAGIC.len() + KEY_BYTES + 4;
const KEY_BYTES: usize = 20;
/// Larger files are not ours.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// A file nobody has read for this long makes way.
const UNUSED_MAX: Duration = Duration::from_hours(30 * 24);
/// An unfinished file this old was left by a process that ended.
const UNFINISHED_MAX: Duration = Duration::from_hours(1);
/// How often it is noted that a file is still in use.
const NOTED_EVERY: Duration = Duration::from_hours(24);
const ENDING: &str = "background";
/// A group of pictures of the avatar's H.264, which says itself whether it is whole.
const ENDING_VIDEO: &str = "video";
const ENDING_UNFINISHED: &str = "unfinished";

/// The name of what is made of one background.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; KEY_BYTES]);

impl Key {
    /// Of a picture, as its file holds it, and a rect.
    pub(super) fn of(picture: &[u8], rect: Rect) -> Self {
        let mut hash = Sha1::new();
        for number in [CONTENT_VERSION, rect.x1(), rect.y1(), rect.x2(), rect.y2()] {
            hash.update(number.to_le_bytes());
        }
        hash.update(picture);
        Self(hash.finalize().into())
    }

    fn file_name(&self, ending: &str) -> String {
        format!("{}.{ending}", hex(&self.0))
    }
}

impl From<Sha1> for Key {
    /// Of all that was hashed.
    fn from(hash: Sha1) -> Self {
        Self(hash.finalize().into())
    }
}

/// Two digits a byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The folder.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    bytes_max: u64,
    /// Bytes in the folder, once this store has looked, and what it has written since.
    bytes: Mutex<Option<u64>>,
    /// Set when writing has failed: that is said once and not tried again.
    read_only: AtomicBool,
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) raw_rect: Frame,
    pub(super) png: PreparedPng,
}

impl Store {
    /// A store in `folder`, which need not exist yet, that keeps at most `bytes_max` there.
    pub(super) fn new(folder: PathBuf, bytes_max: u64) -> Self {
        Self {
            folder,
            bytes_max,
            bytes: Mutex::default(),
            read_only: AtomicBool::new(false),
        }
    }

    /// The file of `key`, whose rect has the size `rect`, if it is there and whole; a damaged one is removed.
    pub(super) fn load(&self, key: &Key, rect: Size) -> Option<Stored> {
        let path = self.folder.join(key.file_name(ENDING));
        match read(&path, key, rect) {
            Ok(stored) => {
                note_use(&path);
                Some(stored)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "preparing a background again: its stored form cannot be used");
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    /// Keeps what was made, as far as the limit allows. A folder that cannot be written to is said once.
    pub(super) fn save(&self, key: &Key, raw_rect: &Frame, png: &PreparedPng) {
        let checksum = crc32fast::hash(raw_rect.data()).to_le_bytes();
        let parts = [
            &MAGIC[..],
            &key.0,
            &checksum,
            raw_rect.data(),
            png.as_bytes(),
        ];
        self.keep(&key.file_name(ENDING), &parts);
    }

    /// The group of video of `key`, if it is there.
    pub(super) fn load_video(&self, key: &Key) -> Option<Vec<u8>> {
        let path = self.folder.join(key.file_name(ENDING_VIDEO));
        let length = fs::metadata(&path).ok()?.len();
        if length > FILE_BYTES_MAX {
            return None;
        }
        match fs::read(&path) {
            Ok(bytes) => {
                note_use(&path);
                Some(bytes)
            }
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "preparing a group of video again: its stored form cannot be read");
                None
            }
        }
    }

    /// Keeps a group of video, as [`Store::save`] does a background.
    pub(super) fn save_video(&self, key: &Key, bytes: &[u8]) {
        self.keep(&key.file_name(ENDING_VIDEO), &[bytes]);
    }

    fn keep(&self, name: &str, parts: &[&[u8]]) {
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        // One at a time, so that what is counted is what is there. A number is whole whoever panicked.
        let mut counted = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        if self.read_only.load(Ordering::Relaxed) {
            return;
        }
        let room = self.bytes_max.saturating_sub(bytes);
        let held = match *counted {
            Some(held) if held <= room => held,
            _ => tidy(&self.folder, room),
        };
        *counted = Some(held);
        if held + bytes > self.bytes_max {
            return;
        }
        match self.write(name, parts) {
            Ok(()) => *counted = Some(held + bytes),
            Err(error) => {
                self.read_only.store(true, Ordering::Relaxed);
                tracing::warn!(
                    folder = %self.folder.display(), %error,
                    "prepared backgrounds cannot be kept for the next load: make the folder writable, set \
                     capacity.prepared_cache_dir, or prepared_cache_mb to 0"
                );
            }
        }
    }

    fn write(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let mut file = tempfile::Builder::new()
            .suffix(&format!(".{ENDING_UNFINISHED}"))
            .tempfile_in(&self.folder)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.persist(self.folder.join(name))
            .map_err(|error| error.error)?;
        Ok(())
    }
}

/// Removes what was left unfinished, what nobody uses any more, and the longest unused until the rest is no more than
/// `bytes_max`. Gives the bytes that stay.
fn tidy(folder: &Path, bytes_max: u64) -> u64 {
    let mut files = Vec::new();
    let mut bytes = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let ending = path.extension().unwrap_or_default();
        let Ok(data) = entry.metadata() else { continue };
        let unused = data.modified().ok().and_then(|at| at.elapsed().ok());
        let unused = unused.unwrap_or_default();
        let is_ours = ending == ENDING || ending == ENDING_VIDEO;
        if (is_ours && unused > UNUSED_MAX)
            || (ending == ENDING_UNFINISHED && unused > UNFINISHED_MAX)
        {
            let _ = fs::remove_file(&path);
        } else if is_ours {
            bytes += data.len();
            files.push((unused, data.len(), path));
        }
    }
    files.sort_unstable();
    while bytes > bytes_max
        && let Some((_, length, path)) = files.pop()
    {
        let _ = fs::remove_file(&path);
        bytes -= length;
    }
    bytes
}

/// Reads a file and checks all of it.
fn read(path: &Path, key: &Key, rect: Size) -> io::Result<Stored> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    let mut header = [0; HEADER_BYTES];
    let mut raw_rect = vec![0; rect.rgb_bytes()];
    let png_bytes = length
        .checked_sub((HEADER_BYTES + raw_rect.len()) as u64)
        .filter(|_| length <= FILE_BYTES_MAX)
        .ok_or_else(|| invalid("wrong length"))?;
    file.read_exact(&mut header)?;
    file.read_exact(&mut raw_rect)?;
    let (magic, rest) = header.split_at(MAGIC.len());
    let (name, checksum) = rest.split_at(KEY_BYTES);
    if magic != MAGIC || name != key.0 {
        return Err(invalid("not what its name says"));
    }
    if checksum != crc32fast::hash(&raw_rect).to_le_bytes() {
        return Err(invalid("damaged"));
    }
    // Its own buffer: the pieces stay in it, the rest of the file does not.
    let mut png = vec![0; png_bytes as usize];
    file.read_exact(&mut png)?;
    let png = PreparedPng::from_bytes(Bytes::from(png)).map_err(io::Error::other)?;
    let raw_rect = Frame::from_rgb(rect, raw_rect).ok_or_else(|| invalid("wrong length"))?;
    Ok(Stored { raw_rect, png })
}

/// Makes the file's time tell that it is in use, once a day.
fn note_use(path: &Path) {
    let noted = || -> io::Result<()> {
        let age = fs::metadata(path)?.modified()?.elapsed();
        if age.is_ok_and(|age| age > NOTED_EVERY) {
            fs::File::options()
                .append(true)
                .open(path)?
                .set_modified(SystemTime::now())?;
        }
        Ok(())
    };
    // A read-only folder keeps its times; such files are not ours to tidy up either.
    let _ = noted();
}
