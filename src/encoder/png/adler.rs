//! Adler-32 taken apart: what does not change is summed once, what does is added per frame.
//!
//! Over bytes `d[0..n]` the checksum is `a = 1 + sum d[i]` and `b = n + sum (n - i) d[i]`, both modulo 65521. Both
//! sums are linear in the bytes, so any part can be summed on its own and added in any order.

use simd_adler32::Adler32;

const MODULUS: u64 = 65_521;

/// The two sums of a stream, parts of it added in any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) a: u32,
    pub(super) b: u32,
}

impl Sums {
    /// A stream of `length` bytes, all zero.
    pub(super) fn zeros(length: u64) -> Self {
        Self {
            a: 1,
            b: (length % MODULUS) as u32,
        }
    }

    /// Adds `bytes`, which lie in the stream so that `after` bytes follow them.
    pub(super) fn add(&mut self, bytes: &[u8], after: u64) {
        let mut part = Adler32::from_checksum(0);
        part.write(bytes);
        let part = part.finish();
        let (a, b) = (u64::from(part & 0xffff), u64::from(part >> 16));
        self.a = ((u64::from(self.a) + a) % MODULUS) as u32;
        self.b = ((u64::from(self.b) + b + a * (after % MODULUS)) % MODULUS) as u32;
    }

    /// The checksum as it is stored.
    pub(super) fn checksum(self) -> u32 {
        self.b << 16 | self.a
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_in_any_order_are_the_whole(bytes in proptest::collection::vec(any::<u8>(), 0..20_000), cut: usize) {
            let cut = cut % (bytes.len() + 1);
            let (first, second) = bytes.split_at(cut);
            let mut sums = Sums::zeros(bytes.len() as u64);
            sums.add(second, 0);
            sums.add(first, second.len() as u64);
            let (mut a, mut b) = (1_u32, 0_u32);
            for &byte in &bytes {
                a = (a + u32::from(byte)) % 65_521;
                b = (b + a) % 65_521;
            }
            prop_assert_eq!(sums.checksum(), b << 16 | a);
        }
    }
}
