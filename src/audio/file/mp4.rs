//! MP4, M4A and MOV: where the file ends, and what its edit list cuts off.

use std::io;

use super::pieces;
use super::source::Bytes;

/// Boxes of one level that are looked at.
const BOXES_MAX: usize = 65_536;

/// One box: its name, where its content begins, and where it ends.
struct Box4 {
    name: [u8; 4],
    body: u64,
    end: u64,
}

/// The box at `at`, within `limit`; one that says it goes beyond ends there.
fn box_at(bytes: &Bytes, at: u64, limit: u64) -> io::Result<Option<Box4>> {
    let Some([a, b, c, d, name @ ..]) = bytes.array::<8>(at)? else {
        return Ok(None);
    };
    let (body, length) = match u32::from_be_bytes([a, b, c, d]) {
        0 => (at + 8, limit.saturating_sub(at)),
        1 => match bytes.array(at + 8)? {
            Some(length) => (at + 16, u64::from_be_bytes(length)),
            None => return Ok(None),
        },
        length => (at + 8, length.into()),
    };
    let end = at.saturating_add(length);
    let is_sound =
        end >= body && at + 8 <= limit && name.iter().all(|byte| (b' '..0x7f).contains(byte));
    Ok(is_sound.then_some(Box4 { name, body, end }))
}

/// The boxes between `at` and `limit`.
fn boxes(bytes: &Bytes, at: u64, limit: u64) -> io::Result<Vec<Box4>> {
    let mut all = Vec::new();
    let mut at = at;
    while at < limit
        && all.len() < BOXES_MAX
        && let Some(found) = box_at(bytes, at, limit)?
    {
        at = found.end;
        all.push(found);
    }
    Ok(all)
}

/// Where the file at `at` ends: where another begins, where no more boxes come, or at the end of all; and whether its
/// last box says that there should be more.
pub(super) fn end(bytes: &Bytes, start: u64) -> io::Result<(u64, bool)> {
    let mut at = start;
    let mut has_index = false;
    for _ in 0..BOXES_MAX {
        let Some(found) = box_at(bytes, at, bytes.len())? else {
            break;
        };
        // Boxes of this file with which others begin.
        let is_own = match &found.name {
            b"ftyp" => !has_index,
            b"moov" | b"wide" => true,
            _ => at == start,
        };
        if !is_own && pieces::begins(bytes, at)? {
            break;
        }
        has_index |= &found.name == b"moov";
        at = found.end;
        if at > bytes.len() {
            return Ok((bytes.len(), true));
        }
    }
    Ok((at.min(bytes.len()), false))
}

/// What an edit list keeps of a track: samples to skip, and how many to keep, both in the clock `timescale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) skip: u64,
    /// With the clock of the whole movie.
    pub(super) keep: Option<(u64, u32)>,
    pub(super) timescale: u32,
}

/// The edit list of track `id` of the file between `start` and `end`.
pub(super) fn edit(bytes: &Bytes, start: u64, end: u64, id: u32) -> io::Result<Option<Edit>> {
    for moov in boxes(bytes, start, end)? {
        if &moov.name != b"moov" {
            continue;
        }
        let children = boxes(bytes, moov.body, moov.end.min(end))?;
        let mut movie_timescale = 0;
        for child in &children {
            if &child.name == b"mvhd" {
                movie_timescale = clock(bytes, child.body)?;
            }
        }
        for child in children.iter().filter(|child| &child.name == b"trak") {
            if let Some(edit) = track_edit(bytes, child, id, movie_timescale)? {
                return Ok(Some(edit));
            }
        }
    }
    Ok(None)
}

/// The clock of `mvhd` or `mdhd`: behind two times of 4 or 8 bytes.
fn clock(bytes: &Bytes, body: u64) -> io::Result<u32> {
    let Some([version]) = bytes.array::<1>(body)? else {
        return Ok(0);
    };
    let at = body + if version == 1 { 20 } else { 12 };
    Ok(u32::from_be_bytes(bytes.array(at)?.unwrap_or_default()))
}

fn track_edit(
    bytes: &Bytes,
    track: &Box4,
    id: u32,
    movie_timescale: u32,
) -> io::Result<Option<Edit>> {
    let mut own_id = 0;
    let mut timescale = 0;
    let mut list = None;
    for child in boxes(bytes, track.body, track.end)? {
        match &child.name {
            b"tkhd" => own_id = clock(bytes, child.body)?,
            b"mdia" => {
                for inner in boxes(bytes, child.body, child.end)? {
                    if &inner.name == b"mdhd" {
                        timescale = clock(bytes, inner.body)?;
                    }
                }
            }
            b"edts" => {
                for inner in boxes(bytes, child.body, child.end)? {
                    if &inner.name == b"elst" {
                        list = read_list(bytes, &inner)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(list.filter(|_| own_id == id).map(|(skip, keep)| Edit {
        skip,
        keep: keep
            .filter(|_| movie_timescale > 0)
            .map(|keep| (keep, movie_timescale)),
        timescale,
    }))
}

/// Where the first edit begins, and how long it lasts if it is the only one and does not last to the end.
fn read_list(bytes: &Bytes, list: &Box4) -> io::Result<Option<(u64, Option<u64>)>> {
    let Some([version, _, _, _, count @ ..]) = bytes.array::<8>(list.body)? else {
        return Ok(None);
    };
    let entry_bytes = if version == 1 { 20 } else { 12 };
    let count = u32::from_be_bytes(count).min(16);
    let mut edits = Vec::new();
    for entry in 0..u64::from(count) {
        let at = list.body + 8 + entry * entry_bytes;
        let (length, time) = if version == 1 {
            let Some(both) = bytes.array::<16>(at)? else {
                break;
            };
            let (length, time) = both.split_at(8);
            let read = |bytes: &[u8]| bytes.iter().fold(0u64, |all, b| all << 8 | u64::from(*b));
            (read(length), read(time) as i64)
        } else {
            let Some([a, b, c, d, time @ ..]) = bytes.array::<8>(at)? else {
                break;
            };
            let length = u32::from_be_bytes([a, b, c, d]).into();
            (length, i64::from(i32::from_be_bytes(time)))
        };
        // An edit without a time is silence before the sound, which sets it against a picture that is not ours.
        if let Ok(time) = u64::try_from(time) {
            edits.push((time, length));
        }
    }
    Ok(match edits[..] {
        [] => None,
        [(time, length)] => Some((time, Some(length).filter(|length| *length > 0))),
        [(time, _), ..] => Some((time, None)),
    })
}
