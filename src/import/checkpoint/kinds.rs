//! What a file is that was given as a checkpoint: by its first bytes, and by what its archive holds.

use std::fs::File;
use std::io::{BufReader, Read, Seek as _, SeekFrom};
use std::path::Path;

use zip::ZipArchive;

use super::{CheckpointError, entry};

/// How a pickle of torch before 1.6 begins: a number that only it has.
const LEGACY: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// An error if the file is something else than a zip archive, saying what. Leaves the file at its start.
pub(super) fn refuse_others(path: &Path, file: &mut File) -> Result<(), CheckpointError> {
    let read = |source| CheckpointError::Read {
        path: path.to_owned(),
        source,
    };
    let mut start = Vec::new();
    Read::by_ref(file)
        .take(64)
        .read_to_end(&mut start)
        .map_err(read)?;
    file.seek(SeekFrom::Start(0)).map_err(read)?;
    let name = path.display();
    let (what, hint) = if start.starts_with(b"PK\x03\x04") {
        return Ok(());
    } else if start.is_empty() {
        ("an empty file", "copy or download it again".to_owned())
    } else if start.windows(LEGACY.len()).any(|part| part == LEGACY) {
        (
            "in the format of torch before 1.6",
            format!(
                "save it again where torch is: python -c \"import torch; \
                 torch.save(torch.load('{name}', map_location='cpu'), 'new.pth')\""
            ),
        )
    } else if start.starts_with(b"version https://git-lfs") {
        (
            "a pointer of Git LFS",
            "fetch the file itself: git lfs pull".to_owned(),
        )
    } else if start.get(8..10) == Some(b"{\"") {
        (
            "a file of safetensors",
            "save it where torch is, as a dictionary: torch.save(safetensors.torch.load_file(…), 'new.pth')".to_owned(),
        )
    } else if start.starts_with(b"\x80") {
        (
            "a pickle that torch has not saved",
            "save the weights with torch.save(net.state_dict(), 'weights.pth')".to_owned(),
        )
    } else if start.starts_with(b"<") {
        (
            "a web page",
            "download the file itself, not the page about it".to_owned(),
        )
    } else if start[0] == 8 {
        (
            "perhaps an ONNX network",
            "give a network in a file whose name ends in .onnx".to_owned(),
        )
    } else {
        (
            "of an unknown kind",
            "--checkpoint takes N.pth as SyncTalk_2D's training saves it, or an .onnx file"
                .to_owned(),
        )
    };
    Err(CheckpointError::Other {
        path: path.to_owned(),
        what,
        hint,
    })
}

/// The folder in the archive that holds the pickle, with its slash.
pub(super) fn folder(
    path: &Path,
    archive: &ZipArchive<BufReader<File>>,
) -> Result<String, CheckpointError> {
    // A name that is no text is none of those looked for.
    let names = || archive.file_names().flatten();
    let other = |what, hint: &str| CheckpointError::Other {
        path: path.to_owned(),
        what,
        hint: hint.to_owned(),
    };
    if names().any(|name| name.ends_with("/constants.pkl")) {
        return Err(other(
            "a TorchScript program",
            "save the weights alone: torch.save(net.state_dict(), 'weights.pth')",
        ));
    }
    let mut folders = names().filter_map(|name| name.strip_suffix("data.pkl").map(str::to_owned));
    match (folders.next(), folders.next()) {
        (Some(folder), None) if folder.is_empty() || folder.ends_with('/') => Ok(folder),
        (Some(_), _) => Err(CheckpointError::Archive {
            path: path.to_owned(),
            reason: "it holds more than one data.pkl".to_owned(),
        }),
        (None, _) => Err(other(
            "a zip archive without a data.pkl",
            "unpack it: the checkpoint may be inside",
        )),
    }
}

/// An error if the numbers are big-endian.
pub(super) fn check_byte_order(
    path: &Path,
    archive: &mut ZipArchive<BufReader<File>>,
    folder: &str,
) -> Result<(), CheckpointError> {
    let name = format!("{folder}byteorder");
    if archive.index_for_name(&name).is_none() {
        return Ok(());
    }
    let order = entry(archive, &name, 64).map_err(|reason| CheckpointError::Archive {
        path: path.to_owned(),
        reason,
    })?;
    if order == b"little" {
        return Ok(());
    }
    Err(CheckpointError::Other {
        path: path.to_owned(),
        what: "from a big-endian machine",
        hint: "load and save it again on a little-endian one".to_owned(),
    })
}
