//! The file in which usage is kept: lines that are only ever added, each with a checksum, so that a process that is killed
//! at any moment loses nothing that it had counted.
//!
//! A line is written by one call of the system before the work that it stands for is handed over. What was written stays
//! when the process dies; a line that is cut short by a crash of the machine is left out. When the file has grown it is
//! replaced by one line for every hour, tenant and model; days where they are long past.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::usage::Usage;

/// A file is replaced by its sums at this size, or at twice what they took the last time.
const SUM_UP_BYTES: u64 = 16 << 20;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// After so long days are enough.
const HOURS_KEPT: u64 = 60 * DAY;

/// Whose usage, of what, in which hour (or day): seconds since 1970, tenant, model.
pub(super) type Bucket = (u64, String, String);

/// Usage by bucket.
pub type Buckets = BTreeMap<Bucket, Usage>;

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It cannot be read or written.
    #[error("cannot use {} (server.usage_journal)", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has it.
    #[error("{} (server.usage_journal) is in use by another server: give each its own", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
}

#[derive(Serialize, Deserialize)]
struct Line {
    at: u64,
    tenant: String,
    model: String,
    #[serde(flatten)]
    usage: Usage,
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines.
    length: u64,
    sum_up_at: u64,
    /// What could not be written yet.
    unwritten: Buckets,
}

impl Journal {
    /// Opens the file, or makes it, and gives what it holds. Damaged lines are left out; how many is said.
    ///
    /// # Errors
    /// If it cannot be read and written, or another process has it.
    pub fn open(path: &Path, now: u64) -> Result<(Self, Buckets, usize), JournalError> {
        let failed = |source| JournalError::Io {
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(failed)?;
        lock(&file, path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let mut buckets = Buckets::new();
        let mut damaged = 0;
        let mut length = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match parse(line) {
                Some(line) => {
                    add(
                        &mut buckets,
                        bucket(line.at, now),
                        line.tenant,
                        line.model,
                        line.usage,
                    );
                }
                None => damaged += 1,
            }
            if line.ends_with(b"\n") {
                length += line.len() as u64;
            }
        }
        // What a crash cut short would spoil the next line.
        file.set_len(length).map_err(failed)?;
        let journal = Self {
            path: path.to_owned(),
            file,
            length,
            sum_up_at: SUM_UP_BYTES,
            unwritten: Buckets::new(),
        };
        Ok((journal, buckets, damaged))
    }

    /// Writes what was used; with it, what could not be written before.
    ///
    /// # Errors
    /// If it cannot be written: it is kept, and written with the next.
    pub fn append(&mut self, at: u64, tenant: &str, model: &str, usage: Usage) -> io::Result<()> {
        let key = (tenant.to_owned(), model.to_owned());
        add(&mut self.unwritten, bucket(at, at), key.0, key.1, usage);
        let mut text = Vec::new();
        for ((at, tenant, model), usage) in &self.unwritten {
            write_line(&mut text, *at, tenant, model, *usage)?;
        }
        if let Err(error) = self.file.write_all(&text) {
            // Half a line must not stay: the next would continue it.
            let _ = self.file.set_len(self.length);
            return Err(error);
        }
        self.length += text.len() as u64;
        self.unwritten.clear();
        Ok(())
    }

    /// Whether the file has grown enough to be replaced by its sums.
    #[must_use]
    pub fn is_long(&self) -> bool {
        self.length >= self.sum_up_at
    }

    /// Replaces the file by its sums, whole or not at all.
    ///
    /// # Errors
    /// If the new one cannot be written: the old one stays.
    pub fn sum_up(&mut self, buckets: &Buckets) -> io::Result<()> {
        // Even if it fails, the next attempt is not made with the next line.
        self.sum_up_at = self.length + SUM_UP_BYTES;
        let mut text = Vec::new();
        for ((at, tenant, model), usage) in buckets {
            write_line(&mut text, *at, tenant, model, *usage)?;
        }
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut new = tempfile::NamedTempFile::new_in(folder)?;
        new.write_all(&text)?;
        new.as_file().sync_all()?;
        new.as_file()
            .set_permissions(self.file.metadata()?.permissions())?;
        new.as_file().try_lock().map_err(io::Error::other)?;
        let file = new.persist(&self.path).map_err(|error| error.error)?;
        drop(std::mem::replace(&mut self.file, file));
        self.file.seek(SeekFrom::End(0))?;
        self.length = text.len() as u64;
        self.sum_up_at = SUM_UP_BYTES.max(2 * self.length);
        self.unwritten.clear();
        Ok(())
    }
}

fn lock(file: &File, path: &Path) -> Result<(), JournalError> {
    file.try_lock().map_err(|error| match error {
        std::fs::TryLockError::WouldBlock => JournalError::InUse {
            path: path.to_owned(),
        },
        std::fs::TryLockError::Error(source) => JournalError::Io {
            path: path.to_owned(),
            source,
        },
    })
}

/// The bucket of a time.
pub(super) fn bucket(at: u64, now: u64) -> u64 {
    let width = if at + HOURS_KEPT < now { DAY } else { HOUR };
    at - at % width
}

pub(super) fn add(buckets: &mut Buckets, at: u64, tenant: String, model: String, usage: Usage) {
    *buckets.entry((at, tenant, model)).or_default() += usage;
}

fn write_line(
    text: &mut Vec<u8>,
    at: u64,
    tenant: &str,
    model: &str,
    usage: Usage,
) -> io::Result<()> {
    let line = serde_json::to_string(&Line {
        at,
        tenant: tenant.to_owned(),
        model: model.to_owned(),
        usage,
    })?;
    let sum = crc32fast::hash(line.as_bytes());
    writeln!(text, "{sum:08x} {line}")
}

/// A whole line.
fn parse(line: &[u8]) -> Option<Line> {
    let line = line.strip_suffix(b"\n")?;
    let (sum, line) = line.split_at_checked(8)?;
    let line = line.strip_prefix(b" ")?;
    let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    if sum != crc32fast::hash(line) {
        return None;
    }
    serde_json::from_slice(line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn frames(frames: u64) -> Usage {
        Usage {
            frames,
            ..Usage::default()
        }
    }

    fn total(buckets: &Buckets) -> u64 {
        buckets.values().map(|usage| usage.frames).sum()
    }

    #[test]
    fn what_was_written_is_there_again_wherever_the_file_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usage");
        {
            let (mut journal, ..) = Journal::open(&path, NOW).unwrap();
            for _ in 0..3 {
                journal.append(NOW, "a", "red", frames(25)).unwrap();
            }
            assert!(matches!(
                Journal::open(&path, NOW),
                Err(JournalError::InUse { .. })
            ));
        }
        let whole = std::fs::read(&path).unwrap();
        let line = whole.len() / 3;
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (mut journal, buckets, damaged) = Journal::open(&path, NOW).unwrap();
            let lines = (cut / line) as u64;
            assert_eq!(total(&buckets), 25 * lines, "cut at {cut}");
            assert_eq!(damaged, usize::from(cut % line != 0));
            journal.append(NOW, "a", "red", frames(1)).unwrap();
            drop(journal);
            let (_, buckets, damaged) = Journal::open(&path, NOW).unwrap();
            assert_eq!((total(&buckets), damaged), (25 * lines + 1, 0));
        }
    }

    #[test]
    fn a_damaged_line_costs_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usage");
        let (mut journal, ..) = Journal::open(&path, NOW).unwrap();
        for _ in 0..3 {
            journal.append(NOW, "a", "red", frames(25)).unwrap();
        }
        drop(journal);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let (_, buckets, damaged) = Journal::open(&path, NOW).unwrap();
        assert_eq!((total(&buckets), damaged), (50, 1));
    }

    #[test]
    fn sums_take_the_place_of_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usage");
        let (mut journal, mut buckets, _) = Journal::open(&path, NOW).unwrap();
        for second in 0..100 {
            journal.append(NOW + second, "a", "red", frames(2)).unwrap();
            add(
                &mut buckets,
                bucket(NOW + second, NOW),
                "a".into(),
                "red".into(),
                frames(2),
            );
        }
        let long = std::fs::metadata(&path).unwrap().len();
        journal.sum_up(&buckets).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() * 20 < long);
        journal.append(NOW + 200, "b", "red", frames(7)).unwrap();
        assert!(matches!(
            Journal::open(&path, NOW),
            Err(JournalError::InUse { .. })
        ));
        drop(journal);
        let later = NOW + 2 * HOURS_KEPT;
        let (_, buckets, damaged) = Journal::open(&path, later).unwrap();
        assert_eq!((total(&buckets), damaged), (207, 0));
        assert!(
            buckets.keys().all(|(at, ..)| at % DAY == 0),
            "days are enough by then"
        );
    }
}
