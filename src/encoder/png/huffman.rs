//! Length-limited prefix codes and the header of a dynamic block (RFC 1951, 3.2.7).

use super::bits::{BitWriter, Code, code};

/// Literals, end of block and match lengths.
pub(super) const LITERALS: usize = 286;
/// Match distances.
pub(super) const DISTANCES: usize = 30;
/// The symbol that ends a block.
pub(super) const END_OF_BLOCK: usize = 256;
/// Longest code of a literal or length: four of them fit a 64-bit word with 7 bits pending.
pub(super) const LITERAL_BITS_MAX: u8 = 12;
/// Longest code of a distance.
const DISTANCE_BITS_MAX: u8 = 15;

/// How often each symbol occurs.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    pub(super) literals: [u32; LITERALS],
    pub(super) distances: [u32; DISTANCES],
}

impl Counts {
    /// Nothing counted, but what must have a code in any case: every byte, the end of the block, and two distances,
    /// because some decoders refuse a distance code of fewer.
    pub(super) fn new() -> Self {
        let mut literals = [0; LITERALS];
        literals[..=END_OF_BLOCK].fill(1);
        let mut distances = [0; DISTANCES];
        distances[..2].fill(1);
        Self {
            literals,
            distances,
        }
    }
}

/// The two codes of a dynamic block.
#[derive(Clone, Debug)]
pub(super) struct Codes {
    pub(super) literals: [Code; LITERALS],
    pub(super) distances: [Code; DISTANCES],
}

impl Codes {
    /// The best codes for `counts`.
    pub(super) fn new(counts: &Counts) -> Self {
        Self {
            literals: canonical(lengths(&counts.literals, LITERAL_BITS_MAX)),
            distances: canonical(lengths(&counts.distances, DISTANCE_BITS_MAX)),
        }
    }

    /// Writes the header of a block that is not the last.
    pub(super) fn put_header(&self, bits: &mut BitWriter<'_>) {
        /// The order in which the lengths of the code's own code are sent.
        const ORDER: [usize; 19] = [
            16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
        ];
        let used = |codes: &[Code], least: usize| {
            let used = codes.iter().rposition(|&c| c != 0).map_or(0, |i| i + 1);
            used.max(least)
        };
        let literals = used(&self.literals, 257);
        let distances = used(&self.distances, 1);
        let all = self.literals[..literals]
            .iter()
            .chain(&self.distances[..distances]);
        let runs = run_lengths(&all.map(|&c| (c >> 16) as u8).collect::<Vec<_>>());
        let mut counts = [0_u32; 19];
        for run in &runs {
            counts[run.symbol] += 1;
        }
        let codes = canonical(lengths(&counts, 7));
        let sent = ORDER.iter().rposition(|&s| codes[s] != 0).unwrap_or(0) + 1;
        let sent = sent.max(4);

        bits.put(0b100, 3);
        bits.put((literals - 257) as u64, 5);
        bits.put((distances - 1) as u64, 5);
        bits.put((sent - 4) as u64, 4);
        for symbol in &ORDER[..sent] {
            bits.put(u64::from(codes[*symbol] >> 16), 3);
        }
        for run in &runs {
            let code = codes[run.symbol];
            bits.put(u64::from(code & 0xffff), code >> 16);
            bits.put(u64::from(run.extra), run.extra_bits);
        }
    }
}

/// A symbol of the code lengths' own alphabet.
struct Run {
    symbol: usize,
    extra: u8,
    extra_bits: u32,
}

/// Code lengths with repetitions folded.
fn run_lengths(lengths: &[u8]) -> Vec<Run> {
    let mut runs = Vec::new();
    for group in lengths.chunk_by(|a, b| a == b) {
        let (value, mut left) = (group[0], group.len());
        if value != 0 {
            runs.push(Run {
                symbol: value.into(),
                extra: 0,
                extra_bits: 0,
            });
            left -= 1;
        }
        while left > 0 {
            // (symbol, fewest, most, extra bits)
            let (symbol, least, most, extra_bits) = match (value, left) {
                (0, 11..) => (18, 11, 138, 7),
                (0, 3..) => (17, 3, 10, 3),
                (1.., 3..) => (16, 3, 6, 2),
                _ => (value.into(), 1, 1, 0),
            };
            let taken = left.min(most);
            runs.push(Run {
                symbol,
                extra: (taken - least) as u8,
                extra_bits,
            });
            left -= taken;
        }
    }
    runs
}

/// Code lengths of at most `limit` bits that spend the fewest bits on `counts`, by package-merge; 0 for what does
/// not occur. A single symbol gets one bit.
fn lengths<const N: usize>(counts: &[u32; N], limit: u8) -> [u8; N] {
    let mut leaves: Vec<(u64, Vec<u16>)> = counts
        .iter()
        .enumerate()
        .filter(|&(_, &count)| count > 0)
        .map(|(symbol, &count)| (u64::from(count), vec![symbol as u16]))
        .collect();
    leaves.sort_by_key(|&(weight, _)| weight);
    let mut lengths = [0; N];
    if let [(_, only)] = &leaves[..] {
        lengths[only[0] as usize] = 1;
        return lengths;
    }
    let mut level = leaves.clone();
    for _ in 1..limit {
        let packages = level.chunks_exact(2).map(|pair| {
            let ((a, left), (b, right)) = (&pair[0], &pair[1]);
            (a + b, [&left[..], right].concat())
        });
        level = packages.chain(leaves.iter().cloned()).collect();
        level.sort_by_key(|&(weight, _)| weight);
    }
    let chosen = (2 * leaves.len()).saturating_sub(2);
    for symbol in level.iter().take(chosen).flat_map(|(_, symbols)| symbols) {
        lengths[*symbol as usize] += 1;
    }
    lengths
}

/// The canonical code of these lengths, bits reversed for sending.
fn canonical<const N: usize>(lengths: [u8; N]) -> [Code; N] {
    let mut codes = [0; N];
    let mut next = 0_u16;
    for bits in 1..=DISTANCE_BITS_MAX {
        for (symbol, _) in lengths.iter().enumerate().filter(|&(_, &l)| l == bits) {
            codes[symbol] = code(next.reverse_bits() >> (16 - bits), bits);
            next += 1;
        }
        next <<= 1;
    }
    codes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn codes_are_complete_and_short(counts: [u32; 40], limit in 6_u8..=15) {
            let counts = counts.map(|count| count >> (count % 32));
            let used = counts.iter().filter(|&&count| count > 0).count();
            prop_assume!(used >= 2);
            let lengths = lengths(&counts, limit);
            let kraft: u32 = lengths.iter().filter(|&&l| l > 0).map(|&l| 1 << (15 - l)).sum();
            prop_assert_eq!(kraft, 1 << 15);
            for (length, count) in lengths.iter().zip(counts) {
                prop_assert_eq!(*length == 0, count == 0);
                prop_assert!(*length <= limit);
            }
            if limit == 15 && used < 15 {
                prop_assert_eq!(cost(&counts, &lengths), huffman_cost(&counts));
            }
        }
    }

    fn cost(counts: &[u32], lengths: &[u8]) -> u64 {
        let each = counts.iter().zip(lengths);
        each.map(|(&count, &length)| u64::from(count) * u64::from(length))
            .sum()
    }

    /// What Huffman's own algorithm, without a limit, would spend.
    fn huffman_cost(counts: &[u32]) -> u64 {
        let mut weights: Vec<u64> = counts
            .iter()
            .filter(|&&c| c > 0)
            .map(|&c| c.into())
            .collect();
        let mut total = 0;
        while weights.len() > 1 {
            weights.sort_unstable_by(|a, b| b.cmp(a));
            let pair = weights.pop().unwrap() + weights.pop().unwrap();
            total += pair;
            weights.push(pair);
        }
        total
    }
}
