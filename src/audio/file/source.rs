//! Where the bytes of a file come from: a file on disk, a pipe written to a temporary file, or memory.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions};

use super::AudioError;

/// The file name that stands for standard input.
pub const STANDARD_INPUT: &str = "-";
/// What errors call it.
const STANDARD_INPUT_NAME: &str = "standard input";
/// A pipe gives at most this many bytes, as much as a WAV can say it holds: the disk is not filled by one that never ends.
const PIPE_BYTES_MAX: u64 = 1 << 32;

/// A speech file: on disk, or a pipe or standard input copied to a temporary file, so that it can be read more than
/// once and from any place. Cheap to clone.
#[derive(Clone)]
pub struct SpeechFile {
    name: String,
    bytes: Arc<Bytes>,
}

impl std::fmt::Debug for SpeechFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpeechFile")
            .field("name", &self.name)
            .field("bytes", &self.bytes.len)
            .finish()
    }
}

impl SpeechFile {
    /// Opens `path`, or standard input if it is `-`; reads all of what cannot be read twice.
    ///
    /// # Errors
    /// [`AudioError::Read`], [`AudioError::Empty`] or [`AudioError::PipeTooLong`].
    pub fn open(path: &Path) -> Result<Self, AudioError> {
        if path.as_os_str() == STANDARD_INPUT {
            return Self::copy(STANDARD_INPUT_NAME.to_owned(), io::stdin().lock());
        }
        let name = path.display().to_string();
        let failed = |source| AudioError::Read {
            name: name.clone(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(ErrorKind::IsADirectory.into()));
        }
        if !metadata.is_file() {
            return Self::copy(name, file);
        }
        Self::new(name, metadata.len(), Content::File(Mutex::new(file)))
    }

    /// A file's bytes in memory; `name` is what errors call it.
    ///
    /// # Errors
    /// [`AudioError::Empty`].
    pub fn from_bytes(
        name: &str,
        bytes: impl AsRef<[u8]> + Send + Sync + 'static,
    ) -> Result<Self, AudioError> {
        let length = bytes.as_ref().len() as u64;
        Self::new(name.to_owned(), length, Content::Memory(Box::new(bytes)))
    }

    /// What errors call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn bytes(&self) -> &Arc<Bytes> {
        &self.bytes
    }

    fn new(name: String, len: u64, content: Content) -> Result<Self, AudioError> {
        if len == 0 {
            return Err(AudioError::Empty { name });
        }
        Ok(Self {
            name,
            bytes: Arc::new(Bytes { len, content }),
        })
    }

    /// Copies a pipe to a temporary file, which the system deletes when it is closed.
    fn copy(name: String, pipe: impl Read) -> Result<Self, AudioError> {
        let copied = tempfile::tempfile().and_then(|mut file| {
            let length = io::copy(&mut pipe.take(PIPE_BYTES_MAX + 1), &mut file)?;
            Ok((length, file))
        });
        match copied {
            Ok((length, _)) if length > PIPE_BYTES_MAX => Err(AudioError::PipeTooLong {
                name,
                max_bytes: PIPE_BYTES_MAX,
            }),
            Ok((length, file)) => Self::new(name, length, Content::File(Mutex::new(file))),
            Err(source) => Err(AudioError::Read { name, source }),
        }
    }
}

/// Bytes that can be read from any place.
pub(super) struct Bytes {
    len: u64,
    content: Content,
}

enum Content {
    File(Mutex<File>),
    Memory(Box<dyn AsRef<[u8]> + Send + Sync>),
}

impl Bytes {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Reads at `at`, as much as there is up to the length of `buffer`.
    pub(super) fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let buffer = &mut buffer[..wanted];
        if wanted == 0 {
            return Ok(0);
        }
        match &self.content {
            Content::Memory(bytes) => {
                buffer.copy_from_slice(&(**bytes).as_ref()[at as usize..][..wanted]);
                Ok(wanted)
            }
            Content::File(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(at))?;
                let mut filled = 0;
                while filled < wanted {
                    match file.read(&mut buffer[filled..]) {
                        Ok(0) => break,
                        Ok(count) => filled += count,
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(filled)
            }
        }
    }

    /// `N` bytes at `at`, or fewer at the end; the others are 0.
    pub(super) fn peek<const N: usize>(&self, at: u64) -> io::Result<([u8; N], usize)> {
        let mut bytes = [0; N];
        let count = self.read_at(at, &mut bytes)?;
        Ok((bytes, count))
    }

    /// `N` bytes at `at`, if there are so many.
    pub(super) fn array<const N: usize>(&self, at: u64) -> io::Result<Option<[u8; N]>> {
        let (bytes, count) = self.peek(at)?;
        Ok((count == N).then_some(bytes))
    }
}

/// Reads forward through bytes in large steps, for walks that look at a few bytes every few hundred.
pub(super) struct Window<'a> {
    bytes: &'a Bytes,
    buffer: Vec<u8>,
    start: u64,
}

impl<'a> Window<'a> {
    const BYTES: usize = 64 * 1024;

    pub(super) fn new(bytes: &'a Bytes) -> Self {
        Self {
            bytes,
            buffer: Vec::new(),
            start: 0,
        }
    }

    /// Up to `count` bytes at `at`; fewer only at the end. At most [`Self::BYTES`].
    pub(super) fn at(&mut self, at: u64, count: usize) -> io::Result<&[u8]> {
        let held = self.start..self.start + self.buffer.len() as u64;
        let end = (at + count as u64).min(self.bytes.len());
        if at < held.start || end > held.end {
            self.buffer.resize(Self::BYTES, 0);
            let filled = self.bytes.read_at(at, &mut self.buffer)?;
            self.buffer.truncate(filled);
            self.start = at;
        }
        let from = (at - self.start) as usize;
        let to = (from + count).min(self.buffer.len());
        Ok(self.buffer.get(from..to).unwrap_or_default())
    }

    /// The first place from `from` on, before `end`, where `is_match` says yes to the `count` bytes there.
    pub(super) fn find(
        &mut self,
        from: u64,
        end: u64,
        count: usize,
        is_match: impl Fn(&[u8]) -> bool,
    ) -> io::Result<Option<u64>> {
        let mut at = from;
        while at + count as u64 <= end {
            let wanted = Self::BYTES.min((end - at) as usize);
            let block = self.at(at, wanted)?;
            if block.len() < count {
                break;
            }
            if let Some(found) = block.windows(count).position(&is_match) {
                return Ok(Some(at + found as u64));
            }
            at += (block.len() - count + 1) as u64;
        }
        Ok(None)
    }
}

/// A part of a file as a file of its own: `head`, then the bytes from `start` to `end`.
pub(super) struct Span {
    bytes: Arc<Bytes>,
    head: Vec<u8>,
    start: u64,
    end: u64,
    at: u64,
}

impl Span {
    pub(super) fn new(bytes: &Arc<Bytes>, head: Vec<u8>, start: u64, end: u64) -> Self {
        Self {
            bytes: Arc::clone(bytes),
            head,
            start,
            end: end.max(start),
            at: 0,
        }
    }

    pub(super) fn stream(self) -> MediaSourceStream<'static> {
        MediaSourceStream::new(Box::new(self), MediaSourceStreamOptions::default())
    }

    fn length(&self) -> u64 {
        self.head.len() as u64 + self.end - self.start
    }
}

impl Read for Span {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let head = self.head.len() as u64;
        let count = if self.at < head {
            let left = &self.head[self.at as usize..];
            let count = left.len().min(buffer.len());
            buffer[..count].copy_from_slice(&left[..count]);
            count
        } else {
            let left = usize::try_from(self.length().saturating_sub(self.at)).unwrap_or(usize::MAX);
            let count = left.min(buffer.len());
            self.bytes
                .read_at(self.start + self.at - head, &mut buffer[..count])?
        };
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Span {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.length().checked_add_signed(by),
        };
        self.at = at.ok_or(ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

impl MediaSource for Span {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.length())
    }
}
