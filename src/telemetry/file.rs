//! The log file: opened anew when a rotated one is to be let go, and told about when it cannot be written.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What the log's thread writes to.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    control: Control,
    /// A write failed: a part of a line may have been written.
    torn: bool,
}

/// What others ask of the log file, and are told of it. Clones are of one file.
#[derive(Clone, Debug, Default)]
pub(super) struct Control(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    reopen: AtomicBool,
    failed: AtomicU64,
    last: Mutex<Option<io::Error>>,
}

impl Control {
    /// Has the file opened anew, by its name, before the next line.
    pub(super) fn reopen(&self) {
        self.0.reopen.store(true, Ordering::Relaxed);
    }

    /// Writes that failed since this was last asked, and why the last one did.
    pub(super) fn failures(&self) -> Option<(u64, io::Error)> {
        let last = self.last().take()?;
        Some((self.0.failed.swap(0, Ordering::Relaxed), last))
    }

    fn failed(&self, error: io::Error) {
        self.0.failed.fetch_add(1, Ordering::Relaxed);
        *self.last() = Some(error);
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<io::Error>> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogFile {
    /// Opens the file at `path`; it is appended to.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(super) fn open(path: &Path, control: Control) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: appended(path)?,
            control,
            torn: false,
        })
    }

    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.control.0.reopen.swap(false, Ordering::Relaxed) {
            // One that cannot be opened leaves the old one in use.
            match appended(&self.path) {
                Ok(file) => (self.file, self.torn) = (file, false),
                Err(error) => self.control.failed(error),
            }
        }
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        self.file.write_all(line)
    }
}

fn appended(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

impl Write for LogFile {
    /// Takes whole lines. A failure is counted and not given on: the thread that writes has nobody to tell.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.write_line(line) {
            self.torn = true;
            self.control.failed(error);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_file_is_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let (path, rotated) = (folder.path().join("log"), folder.path().join("log.1"));
        let control = Control::default();
        let mut file = LogFile::open(&path, control.clone()).unwrap();
        file.write_all(b"one\n").unwrap();
        std::fs::rename(&path, &rotated).unwrap();
        file.write_all(b"two\n").unwrap();
        control.reopen();
        file.write_all(b"three\n").unwrap();
        assert_eq!(std::fs::read(&rotated).unwrap(), b"one\ntwo\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"three\n");
        assert!(control.failures().is_none());
    }

    #[test]
    fn a_name_that_cannot_be_opened_anew_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let (inner, away) = (folder.path().join("logs"), folder.path().join("away"));
        std::fs::create_dir(&inner).unwrap();
        let control = Control::default();
        let mut file = LogFile::open(&inner.join("log"), control.clone()).unwrap();
        std::fs::rename(&inner, &away).unwrap();
        control.reopen();
        file.write_all(b"one\n").unwrap();
        assert_eq!(std::fs::read(away.join("log")).unwrap(), b"one\n");
        assert_eq!(control.failures().unwrap().0, 1);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_counted() {
        let control = Control::default();
        let mut file = LogFile::open(Path::new("/dev/full"), control.clone()).unwrap();
        for _ in 0..3 {
            file.write_all(b"line\n").unwrap();
        }
        let (failed, error) = control.failures().unwrap();
        assert_eq!((failed, error.kind()), (3, io::ErrorKind::StorageFull));
        assert!(control.failures().is_none());
    }
}
