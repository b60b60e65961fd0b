//! Keys are known by their hashes.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// What a hash is written with.
const PREFIX: &str = "sha256:";
/// Random bytes of a key.
const KEY_BYTES: usize = 32;

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

/// A new key, of characters that need no quotes anywhere.
///
/// # Errors
/// If the system has no random numbers.
pub fn new_key() -> Result<String, getrandom::Error> {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(format!("lipsync_{}", hex(&bytes)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A text does not refuse to be written to.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// As it stands in a file.
impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", hex(&self.0))
    }
}

impl FromStr for KeyHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "must be `sha256:` and 64 hexadecimal digits";
        let digits = text.strip_prefix(PREFIX).ok_or(WRONG)?;
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(WRONG);
        }
        let mut bytes = [0; 32];
        for (byte, place) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&digits[place..place + 2], 16).map_err(|_| WRONG)?;
        }
        Ok(Self(bytes))
    }
}

/// The first bytes are enough to tell keys apart, and no more belongs in a log.
impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}…", hex(&self.0[..4]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_written_and_read() {
        let hash = KeyHash::of(b"abc");
        let text = hash.to_string();
        assert!(text.starts_with("sha256:ba7816bf8f01cfea"), "{text}");
        assert_eq!(text.parse(), Ok(hash));
        assert_eq!(format!("{hash:?}"), "sha256:ba7816bf…");
        for wrong in [
            "",
            "abc",
            "sha256:",
            "sha256:ü",
            &text[..70],
            &text.replace('b', "g"),
        ] {
            assert!(wrong.parse::<KeyHash>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_are_new() {
        let (a, b) = (new_key().unwrap(), new_key().unwrap());
        assert!(a != b && a.len() == 72, "{a}");
    }
}
