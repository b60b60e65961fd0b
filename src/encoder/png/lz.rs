//! LZ77 over the bytes of the band that no frame changes.
//!
//! The band's stream has holes: the residuals that each frame fills anew. What lies between two holes is a run; a
//! match stays within one run, and so does what it copies, so it holds whatever the holes are filled with.

use std::ops::Range;

use super::huffman::{Codes, Counts, END_OF_BLOCK};

/// Farthest a match reaches back.
pub(super) const WINDOW: usize = 1 << 15;
/// Shorter copies are never worth their cost. Where bytes are cheap, longer ones are not either.
const MATCH_MIN: usize = 4;
const MATCH_MIN_CHEAP: usize = 8;
const MATCH_MAX: usize = 258;
const HASH_BITS: u32 = 16;
/// A match of this length is taken without looking for a better one.
const LONG_ENOUGH: usize = 64;
/// Costs are counted in parts of a bit.
const BIT: u32 = 16;

/// Holes of one length at equal distances; between them, before and after them lie the runs.
#[derive(Clone, Debug)]
pub(super) struct Holes {
    /// Where the first hole begins.
    pub(super) first: usize,
    /// Bytes of a hole.
    pub(super) length: usize,
    /// From the start of one hole to the start of the next.
    pub(super) stride: usize,
    /// How many there are, at least one.
    pub(super) count: usize,
    /// Bytes of the whole stream, holes included.
    pub(super) stream: usize,
}

impl Holes {
    /// The runs between, the first from 0: one more than holes. The first and the last may be empty.
    pub(super) fn runs(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        (0..=self.count).map(|k| {
            let begin = match k {
                0 => 0,
                _ => self.first + (k - 1) * self.stride + self.length,
            };
            begin..self.run_end(k)
        })
    }

    fn run_end(&self, k: usize) -> usize {
        if k < self.count {
            self.first + k * self.stride
        } else {
            self.stream
        }
    }

    /// Where the run that holds `position` ends.
    fn end_of_run_at(&self, position: usize) -> usize {
        match position.checked_sub(self.first) {
            None => self.first,
            Some(past) => self.run_end(past / self.stride + 1),
        }
    }
}

/// A byte as it is, or a copy of earlier bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Literal(u8),
    Match { length: u16, distance: u16 },
}

/// Symbol, and how many of which extra bits follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    pub(super) value: usize,
    pub(super) extra: u32,
    pub(super) extra_bits: u32,
}

/// The symbol of a match length, 3 to 258.
pub(super) fn length_symbol(length: u16) -> Symbol {
    let value = u32::from(length) - 3;
    if value == 255 {
        return Symbol {
            value: 285,
            extra: 0,
            extra_bits: 0,
        };
    }
    stepped(value, 2, 257)
}

/// The symbol of a match distance, 1 to 32768 stored as one less.
pub(super) fn distance_symbol(less_one: u16) -> Symbol {
    stepped(less_one.into(), 1, 0)
}

/// Symbols whose ranges double every `2^step_bits` symbols.
fn stepped(value: u32, step_bits: u32, first: usize) -> Symbol {
    let log = value.max(1).ilog2();
    let extra_bits = log.saturating_sub(step_bits);
    Symbol {
        value: first + ((extra_bits << step_bits) + (value >> extra_bits)) as usize,
        extra: value & ((1 << extra_bits) - 1),
        extra_bits,
    }
}

/// What each symbol costs, extra bits included, in sixteenths of a bit.
struct Costs {
    literals: [u32; 256],
    lengths: Vec<u32>,
    distances: [u32; 30],
}

impl Costs {
    /// A guess from how often each byte occurs.
    fn guess(stream: &[u8], holes: &Holes) -> Self {
        let mut counts = [1_u32; 256];
        for run in holes.runs() {
            for &byte in &stream[run] {
                counts[byte as usize] += 1;
            }
        }
        let total: u32 = counts.iter().sum();
        let bits = |count: u32| (f64::from(total) / f64::from(count)).log2();
        Self::new(
            // No code is shorter than one bit.
            &counts.map(|count| (bits(count).max(1.0) * f64::from(BIT)) as u32),
            |_| 7 * BIT,
            |_| 5 * BIT,
        )
    }

    /// What `codes` spend; symbols without a code cost as much as a rare one.
    fn of(codes: &Codes) -> Self {
        let bits = |code: u32| BIT * if code == 0 { 12 } else { code >> 16 };
        let mut literals = [0; 256];
        for (cost, &code) in literals.iter_mut().zip(&codes.literals) {
            *cost = bits(code);
        }
        Self::new(
            &literals,
            |symbol| bits(codes.literals[symbol]),
            |symbol| bits(codes.distances[symbol]),
        )
    }

    fn new(
        literals: &[u32; 256],
        length: impl Fn(usize) -> u32,
        distance: impl Fn(usize) -> u32,
    ) -> Self {
        let with_extra = |s: Symbol, bits: u32| bits + BIT * s.extra_bits;
        let lengths = (3..=MATCH_MAX as u16).map(length_symbol);
        let mut distances = [0; 30];
        for (symbol, cost) in distances.iter_mut().enumerate() {
            let extra_bits = (symbol as u32 / 2).saturating_sub(1);
            *cost = distance(symbol) + BIT * extra_bits;
        }
        Self {
            literals: *literals,
            lengths: lengths.map(|s| with_extra(s, length(s.value))).collect(),
            distances,
        }
    }

    /// How long a match from far away has to be to cost less than bytes of `literal` each, within what is looked for.
    /// Shorter ones from nearby may pay too, but save so little that looking for them does not.
    fn shortest_match(&self, literal: u64) -> usize {
        const FAR: u32 = 8 * BIT;
        let cheapest = self.lengths.iter().min().zip(self.distances.iter().min());
        let cost = cheapest.map_or(0, |(length, distance)| u64::from(length + distance + FAR));
        ((cost / literal.max(1)) as usize + 1).clamp(MATCH_MIN, MATCH_MIN_CHEAP)
    }

    fn of_match(&self, length: usize, distance: usize) -> u32 {
        let distance = distance_symbol((distance - 1) as u16).value;
        self.lengths[length - 3] + self.distances[distance]
    }
}

/// The tokens of every run, and where each run's tokens end.
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) tokens: Vec<Token>,
    pub(super) run_ends: Vec<usize>,
}

impl Tokens {
    /// Finds tokens for the bytes of `stream` from `start` on, which lies in the first run; what is before `start`
    /// may be copied from. Looks at up to `chain` earlier places for each match, and weighs it by `codes` if a
    /// search before this one gave them.
    pub(super) fn find(
        stream: &[u8],
        start: usize,
        holes: &Holes,
        chain: usize,
        codes: Option<&Codes>,
    ) -> Self {
        assert!(start <= holes.first && stream.len() == holes.stream);
        let costs = codes.map_or_else(|| Costs::guess(stream, holes), Costs::of);
        Self::pass(stream, start, holes, chain, &costs)
    }

    /// Adds every symbol used.
    pub(super) fn count(&self, counts: &mut Counts) {
        for token in &self.tokens {
            match *token {
                Token::Literal(byte) => counts.literals[byte as usize] += 1,
                Token::Match { length, distance } => {
                    counts.literals[length_symbol(length).value] += 1;
                    counts.distances[distance_symbol(distance).value] += 1;
                }
            }
        }
        counts.literals[END_OF_BLOCK] += 1;
    }

    fn pass(stream: &[u8], start: usize, holes: &Holes, chain: usize, costs: &Costs) -> Self {
        let mut finder = Finder::new(stream, holes, chain, costs);
        let mut tokens = Vec::new();
        let mut run_ends = Vec::with_capacity(holes.count + 1);
        for run in holes.runs() {
            let mut at = run.start;
            while at < start.min(run.end) {
                finder.insert(at, run.end);
                at += 1;
            }
            let mut found = None;
            while at < run.end {
                let here = found.take().unwrap_or_else(|| finder.find(at, run.end));
                finder.insert(at, run.end);
                let Some(best) = here else {
                    tokens.push(Token::Literal(stream[at]));
                    at += 1;
                    continue;
                };
                // A better match one byte on is worth a literal here.
                let next = match best.length {
                    LONG_ENOUGH.. => None,
                    _ => finder.find(at + 1, run.end),
                };
                if next.as_ref().is_some_and(|next| next.saved > best.saved) {
                    tokens.push(Token::Literal(stream[at]));
                    at += 1;
                    found = Some(next);
                    continue;
                }
                for inside in at + 1..at + best.length {
                    finder.insert(inside, run.end);
                }
                tokens.push(Token::Match {
                    length: best.length as u16,
                    distance: (best.distance - 1) as u16,
                });
                at += best.length;
            }
            run_ends.push(tokens.len());
        }
        Self { tokens, run_ends }
    }
}

/// A match that is cheaper than its literals.
struct Best {
    length: usize,
    distance: usize,
    saved: u32,
}

/// Finds earlier copies through chains of places with the same four bytes.
struct Finder<'a> {
    stream: &'a [u8],
    holes: &'a Holes,
    chain: usize,
    costs: &'a Costs,
    /// Shortest match looked for.
    shortest: usize,
    /// Cost of the literals before each place.
    spent: Vec<u32>,
    heads: Vec<u32>,
    previous: Vec<u32>,
}

impl<'a> Finder<'a> {
    fn new(stream: &'a [u8], holes: &'a Holes, chain: usize, costs: &'a Costs) -> Self {
        let mut spent = Vec::with_capacity(stream.len() + 1);
        let mut sum = 0_u64;
        spent.push(0);
        spent.extend(stream.iter().map(|&byte| {
            sum += u64::from(costs.literals[byte as usize]);
            // Only differences over one match are read, so the sum may wrap.
            sum as u32
        }));
        Self {
            stream,
            holes,
            chain,
            costs,
            shortest: costs.shortest_match(sum / stream.len().max(1) as u64),
            spent,
            heads: vec![u32::MAX; 1 << HASH_BITS],
            previous: vec![u32::MAX; WINDOW],
        }
    }

    fn hash(&self, at: usize) -> usize {
        // Near the end, where eight bytes are not left, no match is looked for.
        let bytes = self.stream[at..]
            .first_chunk()
            .map_or(0, |b| u64::from_le_bytes(*b));
        let kept = bytes << (64 - 8 * self.shortest);
        (kept.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - HASH_BITS)) as usize
    }

    /// Makes the bytes at `at` known, if enough of them lie in their run.
    fn insert(&mut self, at: usize, run_end: usize) {
        if at + self.shortest <= run_end {
            let hash = self.hash(at);
            let head = &mut self.heads[hash];
            self.previous[at % WINDOW] = *head;
            *head = at as u32;
        }
    }

    /// The match at `at` that saves the most, if any saves anything.
    fn find(&self, at: usize, run_end: usize) -> Option<Best> {
        let longest = MATCH_MAX.min(run_end.saturating_sub(at));
        if longest < self.shortest {
            return None;
        }
        let target = &self.stream[at..][..longest];
        let mut best: Option<Best> = None;
        let mut length_best = self.shortest - 1;
        let mut candidate = self.heads[self.hash(at)];
        for _ in 0..self.chain {
            let from = candidate as usize;
            if candidate == u32::MAX || at - from > WINDOW {
                break;
            }
            candidate = self.previous[from % WINDOW];
            // Only a longer match can save more, so the byte that would make it longer is looked at first.
            if self.stream[from + length_best] != target[length_best] {
                continue;
            }
            let most = longest.min(self.holes.end_of_run_at(from) - from);
            let length = common(&self.stream[from..][..most], &target[..most]);
            if length <= length_best {
                continue;
            }
            let literals = self.spent[at + length].wrapping_sub(self.spent[at]);
            let saved = literals.saturating_sub(self.costs.of_match(length, at - from));
            if saved > best.as_ref().map_or(0, |best| best.saved) {
                length_best = length;
                best = Some(Best {
                    length,
                    distance: at - from,
                    saved,
                });
            }
            if length == longest {
                break;
            }
        }
        best
    }
}

/// How many bytes two slices of one length have in common at their start.
fn common(a: &[u8], b: &[u8]) -> usize {
    let (blocks, _) = a.as_chunks::<8>();
    let (others, _) = b.as_chunks::<8>();
    let whole = blocks
        .iter()
        .zip(others)
        .take_while(|(a, b)| a == b)
        .count()
        * 8;
    let rest = a[whole..].iter().zip(&b[whole..]);
    whole + rest.take_while(|(a, b)| a == b).count()
}
