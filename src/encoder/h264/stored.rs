//! A prepared group as bytes: what the next load reads instead of encoding it again.

use bytes::Bytes;

use super::base::Base;
use super::codec::slices::Slices;
use super::group::{Prepared, PreparedGroup};
use super::plan::Plan;

/// The first bytes; the last of them is the version of the layout.
const MAGIC: [u8; 8] = *b"LSH264\x00\x01";
/// After the magic: the checksum of everything behind it, and the quantiser.
const QP_AT: usize = MAGIC.len() + 4;

/// Why bytes are not a prepared group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// Other data, or written by another version.
    #[error("not a prepared video of this version: prepare it anew")]
    Version,
    /// Cut off or damaged.
    #[error("a prepared video is damaged: prepare it anew")]
    Damaged,
    /// Of another avatar, or another quantiser.
    #[error("a prepared video does not belong to this avatar: prepare it anew")]
    Other,
}

/// A group and its backgrounds, each once and in the order in which they are first shown.
pub(super) fn write<'a>(
    group: &PreparedGroup,
    bases: impl Iterator<Item = &'a Base>,
    qp: u8,
) -> Vec<u8> {
    let mut bytes = [&MAGIC[..], &[0; 4], &[qp]].concat();
    for picture in &group.pictures {
        for slices in [&picture.around, &picture.rest] {
            let (data, lengths) = slices.parts();
            for length in lengths {
                bytes.extend_from_slice(&length.to_le_bytes());
            }
            bytes.extend_from_slice(data);
        }
    }
    for base in bases {
        base.write(&mut bytes);
    }
    let checksum = crc32fast::hash(&bytes[QP_AT..]);
    bytes[MAGIC.len()..QP_AT].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The quantiser of a stored group, if all of it is there and undamaged.
///
/// # Errors
/// If it is not.
pub fn stored_qp(bytes: &[u8]) -> Result<u8, StoredError> {
    if bytes.first_chunk() != Some(&MAGIC) {
        return Err(StoredError::Version);
    }
    let rest = bytes.get(QP_AT..).ok_or(StoredError::Damaged)?;
    let checksum = crc32fast::hash(rest);
    if bytes[MAGIC.len()..QP_AT] != checksum.to_le_bytes() {
        return Err(StoredError::Damaged);
    }
    rest.first().copied().ok_or(StoredError::Damaged)
}

/// What [`write`] wrote of a group of `plan`: the pictures, and each background with its place.
pub(super) fn read(
    plan: &Plan,
    group: usize,
    qp: u8,
    bytes: &[u8],
) -> Result<(PreparedGroup, Vec<(usize, Base)>), StoredError> {
    if stored_qp(bytes)? != qp {
        return Err(StoredError::Other);
    }
    let mut rest = &bytes[QP_AT + 1..];
    // The checksum says that all is as it was written; whether it was written for this plan, only the lengths say.
    parts(plan, group, &mut rest)
        .filter(|_| rest.is_empty())
        .ok_or(StoredError::Other)
}

fn parts(
    plan: &Plan,
    group: usize,
    bytes: &mut &[u8],
) -> Option<(PreparedGroup, Vec<(usize, Base)>)> {
    let layout = plan.group(group);
    let mut pictures = Vec::new();
    for _ in plan.backgrounds(group) {
        pictures.push(Prepared {
            around: slices(layout.around.len(), bytes)?,
            rest: slices(layout.inside.slices.len(), bytes)?,
        });
    }
    let bases = plan
        .group_backgrounds(group)
        .map(|background| Some((background, Base::read(plan, background, bytes)?)));
    let bases = bases.collect::<Option<_>>()?;
    Some((PreparedGroup { pictures }, bases))
}

fn slices(count: usize, bytes: &mut &[u8]) -> Option<Slices> {
    let lengths = bytes.split_off(..4 * count)?;
    let lengths: Vec<u32> = lengths
        .as_chunks()
        .0
        .iter()
        .map(|length| u32::from_le_bytes(*length))
        .collect();
    let all = lengths.iter().map(|length| *length as usize).sum();
    let data = Bytes::copy_from_slice(bytes.split_off(..all)?);
    Slices::from_parts(data, &lengths)
}
