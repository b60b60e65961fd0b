//! PNG chunks: length, type, data, CRC-32 of type and data.

/// The eight bytes that every PNG file begins with.
pub(super) const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";
/// Where a chunk's data begins.
pub(super) const DATA: usize = 8;
/// Bytes of a chunk besides its data.
pub(super) const OVERHEAD: usize = 12;

/// Completes the chunk at `start`, whose `data_bytes` of data are in place; gives where the next one begins.
///
/// # Panics
/// If the data is 2 GiB or longer.
pub(super) fn close(out: &mut [u8], start: usize, kind: [u8; 4], data_bytes: usize) -> usize {
    assert!(
        i32::try_from(data_bytes).is_ok(),
        "a chunk has a 31-bit length"
    );
    out[start..][..4].copy_from_slice(&(data_bytes as u32).to_be_bytes());
    out[start + 4..][..4].copy_from_slice(&kind);
    let data_end = start + DATA + data_bytes;
    let crc = crc32fast::hash(&out[start + 4..data_end]);
    out[data_end..][..4].copy_from_slice(&crc.to_be_bytes());
    data_end + 4
}

/// A whole chunk at the end of `out`.
pub(super) fn push(out: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&[0; DATA]);
    out.extend_from_slice(data);
    out.extend_from_slice(&[0; OVERHEAD - DATA]);
    close(out, start, kind, data.len());
}
