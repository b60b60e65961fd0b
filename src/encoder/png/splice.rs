//! One frame: the prepared pieces with the rectangle's residuals between them.

use bytes::Bytes;

use super::band::for_each_hole;
use super::bits::BitWriter;
use super::chunk;
use super::huffman::LITERAL_BITS_MAX;
use super::prepared::{PreparedPng, words};
use crate::frame::pool::Pooled;

/// The file's last two chunks: the Adler-32 of the stream and the end.
const END: usize = 2 * chunk::OVERHEAD + 4;
/// An empty stored block, which ends on a byte's boundary: 3 bits, at most 7 of padding, then these.
const STORED_EMPTY: [u8; 4] = [0, 0, 0xff, 0xff];

/// The frame's file in four parts, the first and third of which all frames of the background share.
///
/// # Panics
/// If `patch` is not the rectangle's pixels.
pub(in crate::encoder) fn splice(
    prepared: &PreparedPng,
    patch: &[u8],
    mut out: Pooled<Vec<u8>>,
) -> Vec<Bytes> {
    let band = prepared.band;
    let room = chunk::OVERHEAD + block_bytes_max(prepared) + END;
    if out.len() < room {
        out.resize(room, 0);
    }
    let mut sums = prepared.sums;
    let mut strings = prepared.strings();
    let mut next_string = |bits: u32| {
        let (string, rest) = strings.split_at(words(bits));
        strings = rest;
        string
    };
    let (first, rest) = prepared.run_bits.split_at(1);
    let mut writer = BitWriter::new(&mut out[chunk::DATA..]);
    writer.put_string(next_string(first[0]), first[0] as usize);
    for_each_hole(band, prepared.surroundings(), patch, |k, residuals| {
        writer.put_literals(residuals, &prepared.codes);
        sums.add(residuals, band.after_hole(k));
        writer.put_string(next_string(rest[k]), rest[k] as usize);
    });
    // The last run's string ends with the end of the block; an empty stored block fills up the byte.
    writer.put(0, 3);
    let block = chunk::DATA + writer.align();
    out[block..][..4].copy_from_slice(&STORED_EMPTY);
    let band_end = chunk::close(&mut out, 0, *b"IDAT", block + 4 - chunk::DATA);
    let adler = sums.checksum().to_be_bytes();
    out[band_end + chunk::DATA..][..4].copy_from_slice(&adler);
    let adler_end = chunk::close(&mut out, band_end, *b"IDAT", 4);
    let end = chunk::close(&mut out, adler_end, *b"IEND", 0);

    let made = Bytes::from_owner(out);
    vec![
        prepared.head.clone(),
        made.slice(..band_end),
        prepared.tail.clone(),
        made.slice(band_end..end),
    ]
}

/// Bytes that the band's block takes at most, and eight to spare for the bit writer.
fn block_bytes_max(prepared: &PreparedPng) -> usize {
    let runs: usize = prepared.run_bits.iter().map(|&bits| bits as usize).sum();
    let holes = prepared.band.rows() * prepared.band.hole_bytes();
    (runs + holes * usize::from(LITERAL_BITS_MAX)).div_ceil(8) + 2 + STORED_EMPTY.len() + 8
}
