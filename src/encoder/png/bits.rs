//! Bits as DEFLATE packs them: least significant first.

/// One symbol of a prefix code: its bits, already in the order they are sent, and above bit 16 how many they are.
pub(super) type Code = u32;

/// A code of `bits` bits, at most 16.
pub(super) fn code(value: u16, bits: u8) -> Code {
    u32::from(bits) << 16 | u32::from(value)
}

/// How many bits a code has.
pub(super) fn code_bits(code: Code) -> u32 {
    code >> 16
}

/// Writes bits into a buffer that is large enough: eight bytes more than what is written.
///
/// Bytes after the last bit written so far hold anything.
#[derive(Debug)]
pub(super) struct BitWriter<'a> {
    out: &'a mut [u8],
    position: usize,
    /// Bits not in `out` yet, fewer than 8 between calls.
    pending: u64,
    pending_bits: u32,
}

impl<'a> BitWriter<'a> {
    pub(super) fn new(out: &'a mut [u8]) -> Self {
        Self {
            out,
            position: 0,
            pending: 0,
            pending_bits: 0,
        }
    }

    /// Appends the low `bits` bits of `value`, at most 56; the others are zero.
    #[inline]
    pub(super) fn put(&mut self, value: u64, bits: u32) {
        debug_assert!(bits <= 56 && value >> bits == 0);
        self.pending |= value << self.pending_bits;
        self.pending_bits += bits;
        self.flush();
    }

    #[inline]
    fn flush(&mut self) {
        self.store(self.pending);
        self.position += (self.pending_bits / 8) as usize;
        // Shifts by at most 56: `pending_bits` is below 64.
        self.pending >>= self.pending_bits & !7;
        self.pending_bits &= 7;
    }

    #[inline]
    fn store(&mut self, value: u64) {
        self.out[self.position..][..8].copy_from_slice(&value.to_le_bytes());
    }

    /// Appends one code a byte, of at most 12 bits each.
    pub(super) fn put_literals(&mut self, bytes: &[u8], codes: &[Code; 256]) {
        let (groups, rest) = bytes.as_chunks::<4>();
        for group in groups {
            let [a, b, c, d] = group.map(|byte| codes[byte as usize]);
            let low = u64::from(a & 0xffff) | u64::from(b & 0xffff) << code_bits(a);
            let high = u64::from(c & 0xffff) | u64::from(d & 0xffff) << code_bits(c);
            let low_bits = code_bits(a) + code_bits(b);
            self.pending |= (low | high << low_bits) << self.pending_bits;
            self.pending_bits += low_bits + code_bits(c) + code_bits(d);
            self.flush();
        }
        for &byte in rest {
            let code = codes[byte as usize];
            self.put(u64::from(code & 0xffff), code_bits(code));
        }
    }

    /// Appends the first `bits` bits of `words`, little-endian; what follows them is zero.
    pub(super) fn put_string(&mut self, words: &[[u8; 8]], bits: usize) {
        let (whole, rest) = words[..bits.div_ceil(64)].split_at(bits / 64);
        for word in whole {
            let word = u64::from_le_bytes(*word);
            self.store(self.pending | word << self.pending_bits);
            self.position += 8;
            // In two steps, for a shift by 64 when nothing is pending.
            self.pending = word >> 1 >> (63 - self.pending_bits);
        }
        if let [last] = rest {
            let (last, left) = (u64::from_le_bytes(*last), bits as u32 % 64);
            self.put(last & 0xffff_ffff, left.min(32));
            self.put(last >> 32, left.saturating_sub(32));
        }
    }

    /// Fills the last byte with zero bits; gives how many bytes are written.
    pub(super) fn align(&mut self) -> usize {
        self.put(0, self.pending_bits.wrapping_neg() & 7);
        self.position
    }

    /// Bits written.
    pub(super) fn bits(&self) -> usize {
        8 * self.position + self.pending_bits as usize
    }
}
