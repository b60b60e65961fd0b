//! One way to write the band: its tokens, the one code for all of them, and the strings of bits they become.

use super::adler::Sums;
use super::band::Band;
use super::bits::{BitWriter, Code};
use super::huffman::{Codes, Counts, END_OF_BLOCK};
use super::lz::{Holes, Token, Tokens, WINDOW, distance_symbol, length_symbol};

/// Earlier places looked at for each match, at first and in the end.
const CHAIN_SHORT: usize = 8;
const CHAIN_LONG: usize = 32;

/// One way to write the band.
pub(super) struct Plan {
    /// What may be copied from, then the band.
    stream: Vec<u8>,
    start: usize,
    pub(super) filters: Vec<u8>,
    holes: Holes,
    tokens: Tokens,
    pub(super) codes: Codes,
    counts: Counts,
}

impl Plan {
    /// A first plan, found by a short search. `changed` is how often each byte is to be expected in the holes.
    pub(super) fn new(
        band: Band,
        before: &[u8],
        rows: &[u8],
        filters: &[u8],
        changed: &[u32; 256],
    ) -> Self {
        let before = &before[before.len().saturating_sub(WINDOW)..];
        let start = before.len();
        let stream = [before, rows].concat();
        let holes = Holes {
            first: start + band.hole_start(),
            length: band.hole_bytes(),
            stride: band.row_bytes(),
            count: band.rows(),
            stream: stream.len(),
        };
        let tokens = Tokens::find(&stream, start, &holes, CHAIN_SHORT, None);
        let counts = count(&tokens, changed);
        Self {
            stream,
            start,
            filters: filters.to_vec(),
            holes,
            tokens,
            codes: Codes::new(&counts),
            counts,
        }
    }

    /// A better plan, by a longer search that knows this one's codes.
    pub(super) fn refine(self, changed: &[u32; 256]) -> Self {
        let codes = Some(&self.codes);
        let tokens = Tokens::find(&self.stream, self.start, &self.holes, CHAIN_LONG, codes);
        let counts = count(&tokens, changed);
        Self {
            tokens,
            codes: Codes::new(&counts),
            counts,
            ..self
        }
    }

    /// Bits of the band's block, but for the header and the extra bits of matches' symbols.
    pub(super) fn cost_bits(&self) -> u64 {
        let sum = |counts: &[u32], codes: &[Code]| -> u64 {
            let each = counts.iter().zip(codes);
            each.map(|(&n, &code)| u64::from(n) * u64::from(code >> 16))
                .sum()
        };
        let extra = |token: &Token| match *token {
            Token::Literal(_) => 0,
            Token::Match { length, distance } => {
                u64::from(length_symbol(length).extra_bits + distance_symbol(distance).extra_bits)
            }
        };
        sum(&self.counts.literals, &self.codes.literals)
            + sum(&self.counts.distances, &self.codes.distances)
            + self.tokens.tokens.iter().map(extra).sum::<u64>()
    }

    /// Adds the runs to the stream's checksum.
    pub(super) fn add_fixed(&self, band: Band, sums: &mut Sums) {
        let rows_below = band.size().height as usize - band.bottom();
        let after_band = (rows_below * band.row_bytes()) as u64;
        for run in self.holes.runs() {
            let run = run.start.max(self.start)..run.end;
            let after = after_band + (self.stream.len() - run.end) as u64;
            sums.add(&self.stream[run], after);
        }
    }

    /// Every run as bits, each in whole words, and their lengths in bits. The first begins with the block's header,
    /// the last ends with the end of the block.
    pub(super) fn strings(&self) -> (Vec<u8>, Vec<u32>) {
        let (mut strings, mut run_bits) = (Vec::new(), Vec::new());
        let mut from = 0;
        for (k, &to) in self.tokens.run_ends.iter().enumerate() {
            let tokens = &self.tokens.tokens[from..to];
            // A token has at most 48 bits, a header fewer than 500 bytes.
            let mut room = vec![0; 8 * tokens.len() + 512];
            let mut bits = BitWriter::new(&mut room);
            if k == 0 {
                self.codes.put_header(&mut bits);
            }
            for &token in tokens {
                self.put(token, &mut bits);
            }
            if to == self.tokens.tokens.len() && k == self.holes.count {
                let end = self.codes.literals[END_OF_BLOCK];
                bits.put(u64::from(end & 0xffff), end >> 16);
            }
            run_bits.push(bits.bits() as u32);
            let end = bits.align();
            strings.extend_from_slice(&room[..end]);
            strings.resize(strings.len().next_multiple_of(8), 0);
            from = to;
        }
        (strings, run_bits)
    }

    fn put(&self, token: Token, bits: &mut BitWriter<'_>) {
        let mut code = |code: Code| bits.put(u64::from(code & 0xffff), code >> 16);
        match token {
            Token::Literal(byte) => code(self.codes.literals[byte as usize]),
            Token::Match { length, distance } => {
                let (length, distance) = (length_symbol(length), distance_symbol(distance));
                code(self.codes.literals[length.value]);
                bits.put(u64::from(length.extra), length.extra_bits);
                let far = self.codes.distances[distance.value];
                bits.put(u64::from(far & 0xffff), far >> 16);
                bits.put(u64::from(distance.extra), distance.extra_bits);
            }
        }
    }
}

/// How often each symbol occurs in the runs and, presumably, in the holes.
fn count(tokens: &Tokens, changed: &[u32; 256]) -> Counts {
    let mut counts = Counts::new();
    tokens.count(&mut counts);
    for (count, changed) in counts.literals.iter_mut().zip(changed) {
        *count += changed;
    }
    counts
}
