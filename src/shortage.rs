//! Tells what the machine lacks for the moment from what is wrong with a file.
//!
//! Whoever opens a healthy file while the process is out of file handles gets an error like that of a missing one.
//! Clients and operators must not be told that the file is broken then.

use std::error::Error;
use std::io;

/// What the process is out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// File handles: of this process (`EMFILE`), or of the whole machine (`ENFILE`).
    Handles,
    /// Memory (`ENOMEM`).
    Memory,
}

impl Shortage {
    /// What `error`, or any cause of it, says the process is out of.
    #[must_use]
    pub(crate) fn behind(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            let code = error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::raw_os_error);
            // Libraries drop the cause and keep its text.
            if let Some(found) = code
                .and_then(of_code)
                .or_else(|| of_text(&error.to_string()))
            {
                return Some(found);
            }
            next = error.source();
        }
        None
    }

    /// The noun for messages.
    #[must_use]
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Handles => "file handles",
            Self::Memory => "memory",
        }
    }
}

fn of_code(code: i32) -> Option<Shortage> {
    if cfg!(windows) {
        return match code {
            4 => Some(Shortage::Handles),
            8 | 14 => Some(Shortage::Memory),
            _ => None,
        };
    }
    match code {
        23 | 24 => Some(Shortage::Handles),
        12 => Some(Shortage::Memory),
        _ => None,
    }
}

fn of_text(text: &str) -> Option<Shortage> {
    if text.contains("oo many open files") {
        return Some(Shortage::Handles);
    }
    let memory = text.contains("Cannot allocate memory") || text.contains("std::bad_alloc");
    memory.then_some(Shortage::Memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error with a cause.
    #[derive(Debug, thiserror::Error)]
    #[error("cannot read rects.json")]
    struct Outer(#[source] io::Error);

    #[test]
    #[cfg(unix)]
    fn a_shortage_is_found_however_deep_it_is() {
        let handles = || io::Error::from_raw_os_error(24);
        assert_eq!(Shortage::behind(&handles()), Some(Shortage::Handles));
        assert_eq!(Shortage::behind(&Outer(handles())), Some(Shortage::Handles));
        // Only the text is left of it.
        let text = io::Error::other(format!("frame_0001.png: {}", handles()));
        assert_eq!(Shortage::behind(&Outer(text)), Some(Shortage::Handles));
        let memory = Outer(io::Error::from_raw_os_error(12));
        assert_eq!(Shortage::behind(&memory), Some(Shortage::Memory));
    }

    #[test]
    fn a_missing_or_broken_file_is_none() {
        for kind in [io::ErrorKind::NotFound, io::ErrorKind::InvalidData] {
            assert_eq!(Shortage::behind(&Outer(kind.into())), None);
        }
    }
}
