//! Keys are known by their hashes.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// The SHA-256 of a key.
///
/// A key is long and random, so nothing is gained by a slow hash: nobody guesses 256 bits. Hashes are compared as they
/// are: the time of a comparison tells of the hash, which nobody can turn into a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of a key.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }
}

/// The first bytes are enough to tell keys apart, and no more belongs in a log.
impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        for byte in &self.0[..4] {
            write!(f, "{byte:02x}")?;
        }
        f.write_str("…")
    }
}
