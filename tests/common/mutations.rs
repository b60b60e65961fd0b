//! Bounded mutations of what is right, for every reader of bytes from outside: what a fuzzer does, on a stable compiler
//! and in seconds. They are the same in every run; `LIPSYNC_MUTATIONS` sets their number, for longer runs.

/// Mutations of one corpus where nothing else is said.
const ROUNDS: u64 = 1_000;
/// Numbers at which readers break: none, one, the ends of the integers, lengths that no file has.
const NUMBERS: [u64; 10] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x0102_0304_0506_0708,
    u64::MAX,
];

/// Gives `read` each of `corpus`, and many mutations of them; it fails by panicking, or by never returning.
pub(crate) fn each(corpus: &[Vec<u8>], mut read: impl FnMut(&[u8])) {
    let rounds = std::env::var("LIPSYNC_MUTATIONS").map_or(ROUNDS, |rounds| {
        rounds.parse().expect("LIPSYNC_MUTATIONS is a number")
    });
    let mut chance = Chance(0x11b5);
    for whole in corpus {
        read(whole);
    }
    for _ in 0..rounds {
        let mut bytes = corpus[chance.below(corpus.len())].clone();
        for _ in 0..=chance.below(4) {
            mutate(&mut bytes, corpus, &mut chance);
        }
        read(&bytes);
    }
}

fn mutate(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], chance: &mut Chance) {
    let at = chance.below(bytes.len() + 1);
    let end = (at + chance.below(64)).min(bytes.len());
    match chance.below(8) {
        0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
        1 if at < bytes.len() => bytes[at] = chance.next() as u8,
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        // What there is, once more.
        4 => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        // A piece of another.
        5 => {
            let other = &corpus[chance.below(corpus.len())];
            let from = chance.below(other.len() + 1);
            let to = (from + chance.below(256)).min(other.len());
            bytes.splice(at..end, other[from..to].iter().copied());
        }
        6 => {
            let number = NUMBERS[chance.below(NUMBERS.len())].to_le_bytes();
            let length = [1, 2, 4, 8][chance.below(4)].min(bytes.len() - at);
            bytes[at..at + length].copy_from_slice(&number[..length]);
        }
        _ => {
            let byte = chance.next() as u8;
            bytes.splice(at..at, std::iter::repeat_n(byte, end - at));
        }
    }
}

/// Random numbers, the same in every run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}
