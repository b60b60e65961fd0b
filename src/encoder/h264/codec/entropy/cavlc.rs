//! Residual blocks as CAVLC codes them (H.264, 9.2).

use super::bits::BitWriter;
use super::tables::{COEFF_TOKEN, COEFF_TOKEN_DC, Code, RUN_BEFORE, TOTAL_ZEROS, TOTAL_ZEROS_DC};

/// What a level may be at most: a level's prefix is 15 at most in the Baseline profile.
pub(in crate::encoder::h264::codec) const LEVEL_MAX: i16 = 2063;

/// Which table codes how many coefficients there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::encoder::h264::codec) enum Context {
    /// By the coefficients of the blocks around.
    Neighbours(u8),
    /// Chroma DC, four coefficients.
    ChromaDc,
}

/// Writes `levels`, which stand in the order of the scan, and gives how many are not zero.
#[inline]
pub(in crate::encoder::h264::codec) fn put_block(
    bits: &mut BitWriter,
    levels: &[i16],
    context: Context,
) -> u8 {
    debug_assert!(levels.len() <= 16 && levels.iter().all(|l| l.abs() <= LEVEL_MAX));
    // From the last level to the first, with the zeros in front of each.
    let mut values = [0_i16; 16];
    let mut runs = [0_u8; 16];
    let (mut count, mut last) = (0, 0);
    for (at, &level) in levels.iter().enumerate() {
        if level != 0 {
            values[count] = level;
            runs[count] = (at - last) as u8;
            last = at + 1;
            count += 1;
        }
    }
    let trailing = trailing_ones(&values[..count]);
    put_token(bits, count, trailing, context);
    if count == 0 {
        return 0;
    }
    for value in values[count - trailing..count].iter().rev() {
        bits.put(1, u32::from(*value < 0));
    }
    put_levels(bits, &values[..count - trailing], trailing);
    let zeros = last - count;
    if count < levels.len() {
        put(
            bits,
            match context {
                Context::ChromaDc => TOTAL_ZEROS_DC[count - 1][zeros],
                Context::Neighbours(_) => TOTAL_ZEROS[count - 1][zeros],
            },
        );
    }
    let mut left = zeros;
    for &run in runs[1..count].iter().rev() {
        if left == 0 {
            break;
        }
        put(bits, RUN_BEFORE[left.min(7) - 1][usize::from(run)]);
        left -= usize::from(run);
    }
    count as u8
}

fn put(bits: &mut BitWriter, code: Code) {
    bits.put(u32::from(code.bits), u32::from(code.word));
}

/// How many levels at the end are 1 or -1, three at most.
fn trailing_ones(values: &[i16]) -> usize {
    let ones = values.iter().rev().take(3);
    ones.take_while(|value| value.unsigned_abs() == 1).count()
}

fn put_token(bits: &mut BitWriter, count: usize, trailing: usize, context: Context) {
    let table = match context {
        Context::ChromaDc => return put(bits, COEFF_TOKEN_DC[count][trailing]),
        Context::Neighbours(0..=1) => 0,
        Context::Neighbours(2..=3) => 1,
        Context::Neighbours(4..=7) => 2,
        Context::Neighbours(_) => {
            let word = match count {
                0 => 3,
                _ => ((count - 1) << 2) | trailing,
            };
            return bits.put(6, word as u32);
        }
    };
    put(bits, COEFF_TOKEN[table][count][trailing]);
}

/// The levels that are no trailing ones, from the last to the first (9.2.2.1, the other way round).
fn put_levels(bits: &mut BitWriter, values: &[i16], trailing: usize) {
    let total = values.len() + trailing;
    let mut suffix_bits = u32::from(total > 10 && trailing < 3);
    for (at, &value) in values.iter().rev().enumerate() {
        let magnitude = u32::from(value.unsigned_abs());
        let mut code = 2 * (magnitude - 1) + u32::from(value < 0);
        // Behind less than three trailing ones comes no other one.
        if at == 0 && trailing < 3 {
            code -= 2;
        }
        put_level(bits, code, suffix_bits);
        if suffix_bits == 0 {
            suffix_bits = 1;
        }
        if suffix_bits < 6 && magnitude > 3 << (suffix_bits - 1) {
            suffix_bits += 1;
        }
    }
}

fn put_level(bits: &mut BitWriter, code: u32, suffix_bits: u32) {
    if suffix_bits == 0 {
        if code < 14 {
            return bits.put(code + 1, 1);
        }
        if code < 30 {
            bits.put(15, 1);
            return bits.put(4, code - 14);
        }
        bits.put(16, 1);
        return bits.put(12, code - 30);
    }
    let prefix = code >> suffix_bits;
    if prefix < 15 {
        bits.put(prefix + 1, 1);
        return bits.put(suffix_bits, code & ((1 << suffix_bits) - 1));
    }
    bits.put(16, 1);
    bits.put(12, code - (15 << suffix_bits));
}
