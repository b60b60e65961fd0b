//! OGG: walks from page to page to where one stream ends and a chained one begins.

use std::io;

use super::source::{Bytes, Window};

const MARK: &[u8] = b"OggS";
const IS_FIRST: u8 = 2;

/// Where the stream at `start` ends, and whether its last page is cut off.
pub(super) fn end(bytes: &Bytes, start: u64) -> io::Result<(u64, bool)> {
    let mut window = Window::new(bytes);
    let mut at = start;
    let mut in_headers = true;
    loop {
        let page = window.at(at, 27 + 255)?;
        if page.is_empty() || !page.starts_with(MARK) {
            return Ok((at, false));
        }
        let Some(segments) = page.get(26).map(|count| usize::from(*count)) else {
            return Ok((bytes.len(), true));
        };
        // Streams side by side all begin before anything else; what begins later is chained.
        let is_first = page[5] & IS_FIRST != 0;
        if is_first && !in_headers {
            return Ok((at, false));
        }
        in_headers &= is_first;
        let Some(lengths) = page.get(27..27 + segments) else {
            return Ok((bytes.len(), true));
        };
        let body: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
        let next = at + 27 + segments as u64 + body;
        if next > bytes.len() {
            return Ok((bytes.len(), true));
        }
        // Rubbish between pages is stepped over as far as the next one.
        at = match window.at(next, 4)? {
            MARK => next,
            _ => resync(&mut window, next, bytes.len())?.unwrap_or(next),
        };
    }
}

/// The next page within reach of rubbish no longer than one.
fn resync(window: &mut Window<'_>, from: u64, end: u64) -> io::Result<Option<u64>> {
    let reach = end.min(from + 65_536);
    window.find(from, reach, 5, |start| {
        start.starts_with(MARK) && start[4] == 0
    })
}
