//! A network's file: what is read before any engine sees it.

use std::path::Path;
use std::sync::Arc;

use crate::engine::InferenceError;
use crate::engine::graph::GraphError;
use crate::engine::graph::adapt::{Adapted, adapt};
use crate::engine::network::{Fingerprint, Role};

/// The network for an engine: `None` if the engine may read the file itself, otherwise the model to open instead.
pub(super) fn adapted(path: &Path, role: &Role) -> Result<Option<Vec<u8>>, InferenceError> {
    let bytes = read(path)?;
    match adapt(bytes, role, folder(path)) {
        Ok(Adapted { bytes, changed }) => Ok(changed.then_some(bytes)),
        Err(error @ GraphError::ExternalData { .. }) => Err(broken(path, &error)),
        // The engine says what it does not understand, or understands more.
        Err(_) => Ok(None),
    }
}

/// The network as a model complete in itself.
pub(super) fn complete(path: &Path, role: &Role) -> Result<Vec<u8>, InferenceError> {
    let bytes = read(path)?;
    match adapt(bytes, role, folder(path)) {
        Ok(adapted) => Ok(adapted.bytes),
        Err(error) => Err(broken(path, &error)),
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn broken(path: &Path, error: &GraphError) -> InferenceError {
    InferenceError::NotANetwork {
        path: path.to_path_buf(),
        found: error.to_string(),
    }
}

/// The file's bytes, if it can be a network.
fn read(path: &Path) -> Result<Vec<u8>, InferenceError> {
    Fingerprint::of(path)?;
    let bytes = crate::files::read(path).map_err(|source| InferenceError::Read {
        path: path.to_path_buf(),
        source: Arc::new(source),
    })?;
    match mistaken(&bytes) {
        None => Ok(bytes),
        Some(found) => Err(InferenceError::NotANetwork {
            path: path.to_path_buf(),
            found: found.to_owned(),
        }),
    }
}

/// What people have in a network's place, and what to do about it.
fn mistaken(bytes: &[u8]) -> Option<&'static str> {
    let head = &bytes[..bytes.len().min(4096)];
    let has = |text: &str| {
        head.windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    if bytes.is_empty() {
        Some("it is empty; copy or export it again")
    } else if head.starts_with(b"version https://git-lfs.github.com/spec/") {
        Some(
            "it is a pointer of Git LFS, not the file itself; run `git lfs pull` where it was cloned",
        )
    } else if head.starts_with(b"PK\x03\x04") && has("data.pkl") {
        Some("it is a checkpoint of PyTorch (.pth); `lipsync import` makes an avatar of it")
    } else if head.starts_with(b"PK\x03\x04") {
        Some("it is a zip archive; unpack it first")
    } else if head.starts_with(b"\x80\x02") {
        Some(
            "it is a checkpoint of an old PyTorch (.pth); save it again with torch.save, then `lipsync import` makes \
             an avatar of it",
        )
    } else if head.trim_ascii_start().starts_with(b"<") {
        Some("it is a web page; the download failed")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mistaken_for_a_network_is_named() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 48700000\n";
        let checkpoint = b"PK\x03\x04\0\0\x08\x08\0\0archive/data.pkl";
        for (bytes, words) in [
            (&b""[..], "it is empty"),
            (pointer, "git lfs pull"),
            (checkpoint, "lipsync import"),
            (b"PK\x03\x04 and more", "zip archive"),
            (b"\x80\x02\x8a\x0al\xfc", "torch.save"),
            (b"\n<!DOCTYPE html>", "web page"),
        ] {
            let found = mistaken(bytes).unwrap();
            assert!(found.contains(words), "{found}");
        }
        assert_eq!(mistaken(b"\x08\x08\x12\x07pytorch"), None);
    }
}
