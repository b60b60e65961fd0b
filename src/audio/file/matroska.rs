//! Matroska and `WebM`: where the file ends, and what of its last block is padding.

use std::io;

use super::source::{Bytes, Window};

const EBML: [u8; 4] = [0x1a, 0x45, 0xdf, 0xa3];
const SEGMENT: [u8; 4] = [0x18, 0x53, 0x80, 0x67];
const CLUSTER: [u8; 4] = [0x1f, 0x43, 0xb6, 0x75];
/// What stands in a segment or a cluster.
const NAMES: [&[u8]; 19] = [
    &SEGMENT,
    &CLUSTER,
    &[0x11, 0x4d, 0x9b, 0x74],
    &[0x15, 0x49, 0xa9, 0x66],
    &[0x16, 0x54, 0xae, 0x6b],
    &[0x1c, 0x53, 0xbb, 0x6b],
    &[0x12, 0x54, 0xc3, 0x67],
    &[0x19, 0x41, 0xa4, 0x69],
    &[0x10, 0x43, 0xa7, 0x70],
    &[0x58, 0x54],
    &[0xe7],
    &[0xa7],
    &[0xab],
    &[0xa3],
    &[0xa0],
    &[0xae],
    &[0xaf],
    &[0xbf],
    &[0xec],
];
/// `DiscardPadding`, in a block group: nanoseconds to leave out at the end of its block.
const DISCARD_PADDING: [u8; 2] = [0x75, 0xa2];
const BLOCK_GROUP: u8 = 0xa0;
const BLOCK: u8 = 0xa1;
/// Bytes before the end in which the last block group is looked for.
const TAIL_BYTES: u64 = 64 * 1024;

/// A number as EBML writes lengths; `None` inside if it stands for "unknown".
fn length(bytes: &[u8]) -> Option<(usize, Option<u64>)> {
    let first = *bytes.first()?;
    let width = first.leading_zeros() as usize + 1;
    let all = bytes.get(..width).filter(|_| width <= 8)?;
    let value = all[1..].iter().fold(
        u64::from(first) & ((1 << (8 - width)) - 1),
        |value, byte| value << 8 | u64::from(*byte),
    );
    let unknown = (1u64 << (7 * width)) - 1;
    Some((width, Some(value).filter(|value| *value != unknown)))
}

/// Whether a file begins here: the mark, a short header, and the document type in it.
pub(super) fn begins(start: &[u8]) -> bool {
    start.starts_with(&EBML)
        && start
            .windows(3)
            .take(64)
            .any(|three| three == [0x42, 0x82, 0x84] || three == [0x42, 0x82, 0x88])
}

/// Where the file at `start` ends, and whether it says that there should be more.
pub(super) fn end(bytes: &Bytes, start: u64) -> io::Result<(u64, bool)> {
    let mut window = Window::new(bytes);
    let header = window.at(start + 4, 8)?;
    let Some((width, Some(header_length))) = length(header) else {
        return Ok((bytes.len(), false));
    };
    let segment = start + 4 + width as u64 + header_length;
    let named = window.at(segment, 12)?;
    if named.starts_with(&SEGMENT)
        && let Some((width, Some(segment_length))) = length(&named[4..])
    {
        let end = segment
            .saturating_add(4 + width as u64)
            .saturating_add(segment_length);
        return Ok((end.min(bytes.len()), end > bytes.len()));
    }
    // Written to a pipe, as browsers do: it ends where something else begins.
    Ok((live_end(&mut window, segment, bytes.len())?, false))
}

/// Walks elements whose parents do not tell their length, from the segment at `at` on, up to what is none of them.
fn live_end(window: &mut Window<'_>, mut at: u64, end: u64) -> io::Result<u64> {
    while at < end {
        let named = window.at(at, 12)?;
        let Some(name) = NAMES.iter().find(|name| named.starts_with(name)) else {
            return Ok(at);
        };
        let Some((width, length)) = length(&named[name.len()..]) else {
            return Ok(at);
        };
        let is_parent = [&SEGMENT[..], &CLUSTER[..]].contains(name);
        at += (name.len() + width) as u64;
        match length {
            Some(length) => at = at.saturating_add(length),
            None if is_parent => {}
            None => return Ok(end),
        }
    }
    Ok(end)
}

/// Nanoseconds of padding that the last block before `end` of the file at `start` carries.
pub(super) fn padding_ns(bytes: &Bytes, start: u64, end: u64) -> io::Result<u64> {
    let from = end.saturating_sub(TAIL_BYTES).max(start);
    let mut tail = vec![0; (end - from) as usize];
    let count = bytes.read_at(from, &mut tail)?;
    tail.truncate(count);
    let last = (0..tail.len())
        .rev()
        .find_map(|at| group_padding(&tail[at..]));
    Ok(last.unwrap_or(0))
}

/// The padding of the block group that `bytes` begins with, if it is one that says so: a block, and then what is said of
/// it, up to exactly the group's end.
fn group_padding(bytes: &[u8]) -> Option<u64> {
    let (&BLOCK_GROUP, rest) = bytes.split_first()? else {
        return None;
    };
    let (width, group) = length(rest)?;
    let mut group = rest.get(width..)?.get(..usize::try_from(group?).ok()?)?;
    let mut padding = None;
    let mut has_block = false;
    while let Some(&first) = group.first() {
        let name_width = first.leading_zeros() as usize + 1;
        let name = group.get(..name_width)?;
        let (width, body) = length(&group[name_width..])?;
        let body = group
            .get(name_width + width..)?
            .get(..usize::try_from(body?).ok()?)?;
        has_block |= name == [BLOCK];
        if name == DISCARD_PADDING && body.len() <= 8 {
            let value = body
                .iter()
                .fold(0u64, |all, byte| all << 8 | u64::from(*byte));
            let is_negative = body.first().is_some_and(|first| first & 0x80 != 0);
            padding = Some(value).filter(|_| !is_negative);
        }
        group = &group[name_width + width + body.len()..];
    }
    padding.filter(|_| has_block)
}
