//! Opening what is a file. A pipe under a file's name would be waited for, and a device read, for ever.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Opens the regular file at `path`.
///
/// # Errors
/// If it cannot be opened, or is a folder, a pipe, a socket or a device.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a file",
        ));
    }
    File::open(path)
}

/// The content of the regular file at `path`.
///
/// # Errors
/// If it cannot be opened or read.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = open(path)?;
    let bytes = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut content = Vec::new();
    // How large a file is, is said from outside: too large for the memory there is must be an error.
    content.try_reserve_exact(bytes)?;
    file.read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some");
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::write(&path, b"content").unwrap();
        assert_eq!(read(&path).unwrap(), b"content");
        let error = read(folder.path()).unwrap_err();
        assert!(error.to_string().contains("not a file"), "{error}");
    }

    /// It would hang otherwise, and with it the test.
    #[test]
    #[cfg(unix)]
    fn a_pipe_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        assert!(open(&path).is_err());
    }
}
