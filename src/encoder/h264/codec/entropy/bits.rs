//! Writing bits: fixed lengths, Exp-Golomb codes, and the NAL unit around them.

/// Bits in the order in which they are sent.
#[derive(Clone, Debug, Default)]
pub(in crate::encoder::h264::codec) struct BitWriter {
    bytes: Vec<u8>,
    /// The bits not yet in `bytes`, the newest lowest.
    pending: u64,
    pending_bits: u32,
}

impl BitWriter {
    /// Forgets everything written.
    pub(in crate::encoder::h264::codec) fn clear(&mut self) {
        self.bytes.clear();
        self.pending = 0;
        self.pending_bits = 0;
    }

    /// Writes the low `count` bits of `value`, which has no others; at most 32.
    #[inline]
    pub(in crate::encoder::h264::codec) fn put(&mut self, count: u32, value: u32) {
        debug_assert!(count <= 32 && u64::from(value) < 1 << count);
        self.pending = self.pending << count | u64::from(value);
        self.pending_bits += count;
        if self.pending_bits >= 32 {
            self.pending_bits -= 32;
            let word = (self.pending >> self.pending_bits) as u32;
            self.bytes.extend_from_slice(&word.to_be_bytes());
        }
    }

    /// An unsigned Exp-Golomb code.
    #[inline]
    pub(in crate::encoder::h264::codec) fn put_ue(&mut self, value: u32) {
        debug_assert!(value < u32::from(u16::MAX));
        self.put(2 * (value + 1).ilog2() + 1, value + 1);
    }

    /// A signed Exp-Golomb code: 0, 1, -1, 2, -2…
    #[inline]
    pub(in crate::encoder::h264::codec) fn put_se(&mut self, value: i32) {
        self.put_ue(if value > 0 {
            2 * value as u32 - 1
        } else {
            2 * value.unsigned_abs()
        });
    }

    /// Ends with a one and zeros up to a whole byte, and gives all bytes.
    pub(in crate::encoder::h264::codec) fn finish(&mut self) -> &[u8] {
        self.put(1, 1);
        let rest = self.pending_bits.next_multiple_of(8) - self.pending_bits;
        self.put(rest, 0);
        let bytes = self.pending_bits / 8;
        let word = self.pending.to_be_bytes();
        self.bytes.extend_from_slice(&word[8 - bytes as usize..]);
        self.pending_bits = 0;
        &self.bytes
    }
}

/// Bits of an unsigned Exp-Golomb code.
pub(in crate::encoder::h264::codec) fn ue_bits(value: u32) -> u32 {
    2 * (value + 1).ilog2() + 1
}

/// Bits of a signed Exp-Golomb code.
pub(in crate::encoder::h264::codec) fn se_bits(value: i32) -> u32 {
    ue_bits(2 * value.unsigned_abs() - u32::from(value > 0))
}

/// What stands before a NAL unit in a byte stream. A file of another layout puts a length in the same four bytes.
const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// Appends a NAL unit: a start code, `header`, and the payload with a 3 put in where two zeros would be followed by
/// a byte below 4, so that no start code occurs inside.
pub(in crate::encoder::h264::codec) fn put_nal(header: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&START_CODE);
    out.push(header);
    let (mut from, mut at) = (0, 0);
    let mut zeros = 0;
    while at < payload.len() {
        if zeros == 2 && payload[at] <= 3 {
            out.extend_from_slice(&payload[from..at]);
            out.push(3);
            (from, zeros) = (at, 0);
        }
        zeros = if payload[at] == 0 { zeros + 1 } else { 0 };
        at += 1;
    }
    out.extend_from_slice(&payload[from..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(writer: &mut BitWriter) -> String {
        let bits = 8 * writer.bytes.len() + writer.pending_bits as usize;
        let bytes = writer.finish().to_vec();
        let bit = |at: usize| bytes[at / 8] >> (7 - at % 8) & 1;
        (0..bits)
            .map(|at| if bit(at) == 1 { '1' } else { '0' })
            .collect()
    }

    #[test]
    fn exp_golomb_codes_are_those_of_the_standard() {
        let mut bits = BitWriter::default();
        for value in 0..5 {
            bits.put_ue(value);
        }
        assert_eq!(text(&mut bits), "1010011".to_owned() + "00100" + "00101");
        let mut bits = BitWriter::default();
        for value in [0, 1, -1, 2, -2] {
            bits.put_se(value);
        }
        assert_eq!(text(&mut bits), "1010011".to_owned() + "00100" + "00101");
    }

    #[test]
    fn start_codes_cannot_occur_inside() {
        for (payload, expected) in [
            (&[0, 0, 0][..], &[0, 0, 3, 0][..]),
            (&[0, 0, 1], &[0, 0, 3, 1]),
            (&[0, 0, 2], &[0, 0, 3, 2]),
            (&[0, 0, 3], &[0, 0, 3, 3]),
            (&[0, 0, 4], &[0, 0, 4]),
            (&[0, 0, 0, 0, 0, 0], &[0, 0, 3, 0, 0, 3, 0, 0]),
            (&[0, 0, 0, 0, 1], &[0, 0, 3, 0, 0, 3, 1]),
            (&[0, 1, 0, 0], &[0, 1, 0, 0]),
        ] {
            let mut out = Vec::new();
            put_nal(0x65, payload, &mut out);
            assert_eq!(out[..5], [0, 0, 0, 1, 0x65]);
            assert_eq!(&out[5..], expected, "{payload:?}");
        }
    }

    proptest! {
        #[test]
        fn what_a_reader_takes_out_is_what_was_put_in(payload in prop::collection::vec(0u8..5, 0..200)) {
            let mut out = Vec::new();
            put_nal(1, &payload, &mut out);
            let mut back = Vec::new();
            let mut zeros = 0;
            for &byte in &out[5..] {
                prop_assert!(zeros < 2 || byte >= 3, "a start code inside");
                if zeros == 2 && byte == 3 {
                    zeros = 0;
                    continue;
                }
                zeros = if byte == 0 { zeros + 1 } else { 0 };
                back.push(byte);
            }
            prop_assert_eq!(back, payload);
        }
    }
}
