//! The code words of CAVLC (H.264, tables 9-5 and 9-7 to 9-10) and the mapping of coded block patterns (table 9-4).

/// One code word.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::encoder::h264::codec) struct Code {
    pub(in crate::encoder::h264::codec) bits: u8,
    pub(in crate::encoder::h264::codec) word: u8,
}

/// A code word from its digits: none if there are no digits.
const fn code(digits: &str) -> Code {
    let digits = digits.as_bytes();
    let (mut word, mut at) = (0, 0);
    while at < digits.len() {
        word = (word << 1) | (digits[at] - b'0');
        at += 1;
    }
    Code {
        bits: digits.len() as u8,
        word,
    }
}

/// Code words from a list of digits.
const fn codes<const N: usize>(digits: [&str; N]) -> [Code; N] {
    let mut out = [Code { bits: 0, word: 0 }; N];
    let mut at = 0;
    while at < N {
        out[at] = code(digits[at]);
        at += 1;
    }
    out
}

/// By coefficients, then by trailing ones.
const fn tokens<const N: usize>(digits: [[&str; 4]; N]) -> [[Code; 4]; N] {
    let mut out = [[Code { bits: 0, word: 0 }; 4]; N];
    let mut at = 0;
    while at < N {
        out[at] = codes(digits[at]);
        at += 1;
    }
    out
}

/// Lists of different lengths, the rest left empty.
const fn lists<const N: usize, const M: usize>(digits: [&[&str]; N]) -> [[Code; M]; N] {
    let mut out = [[Code { bits: 0, word: 0 }; M]; N];
    let mut list = 0;
    while list < N {
        let mut at = 0;
        while at < digits[list].len() {
            out[list][at] = code(digits[list][at]);
            at += 1;
        }
        list += 1;
    }
    out
}

/// `coeff_token` for nC of 0 and 1, 2 and 3, 4 to 7: by coefficients, then by trailing ones. From 8 on it is six bits.
#[rustfmt::skip]
pub(in crate::encoder::h264::codec) static COEFF_TOKEN: [[[Code; 4]; 17]; 3] = [
    tokens([
        ["1", "", "", ""],
        ["000101", "01", "", ""],
        ["00000111", "000100", "001", ""],
        ["000000111", "00000110", "0000101", "00011"],
        ["0000000111", "000000110", "00000101", "000011"],
        ["00000000111", "0000000110", "000000101", "0000100"],
        ["0000000001111", "00000000110", "0000000101", "00000100"],
        ["0000000001011", "0000000001110", "00000000101", "000000100"],
        ["0000000001000", "0000000001010", "0000000001101", "0000000100"],
        ["00000000001111", "00000000001110", "0000000001001", "00000000100"],
        ["00000000001011", "00000000001010", "00000000001101", "0000000001100"],
        ["000000000001111", "000000000001110", "00000000001001", "00000000001100"],
        ["000000000001011", "000000000001010", "000000000001101", "00000000001000"],
        ["0000000000001111", "000000000000001", "000000000001001", "000000000001100"],
        ["0000000000001011", "0000000000001110", "0000000000001101", "000000000001000"],
        ["0000000000000111", "0000000000001010", "0000000000001001", "0000000000001100"],
        ["0000000000000100", "0000000000000110", "0000000000000101", "0000000000001000"],
    ]),
    tokens([
        ["11", "", "", ""],
        ["001011", "10", "", ""],
        ["000111", "00111", "011", ""],
        ["0000111", "001010", "001001", "0101"],
        ["00000111", "000110", "000101", "0100"],
        ["00000100", "0000110", "0000101", "00110"],
        ["000000111", "00000110", "00000101", "001000"],
        ["00000001111", "000000110", "000000101", "000100"],
        ["00000001011", "00000001110", "00000001101", "0000100"],
        ["000000001111", "00000001010", "00000001001", "000000100"],
        ["000000001011", "000000001110", "000000001101", "00000001100"],
        ["000000001000", "000000001010", "000000001001", "00000001000"],
        ["0000000001111", "0000000001110", "0000000001101", "000000001100"],
        ["0000000001011", "0000000001010", "0000000001001", "0000000001100"],
        ["0000000000111", "00000000001011", "0000000000110", "0000000001000"],
        ["00000000001001", "00000000001000", "00000000001010", "0000000000001"],
        ["00000000000111", "00000000000110", "00000000000101", "00000000000100"],
    ]),
    tokens([
        ["1111", "", "", ""],
        ["001111", "1110", "", ""],
        ["001011", "01111", "1101", ""],
        ["001000", "01100", "01110", "1100"],
        ["0001111", "01010", "01011", "1011"],
        ["0001011", "01000", "01001", "1010"],
        ["0001001", "001110", "001101", "1001"],
        ["0001000", "001010", "001001", "1000"],
        ["00001111", "0001110", "0001101", "01101"],
        ["00001011", "00001110", "0001010", "001100"],
        ["000001111", "00001010", "00001101", "0001100"],
        ["000001011", "000001110", "00001001", "00001100"],
        ["000001000", "000001010", "000001101", "00001000"],
        ["0000001101", "000000111", "000001001", "000001100"],
        ["0000001001", "0000001100", "0000001011", "0000001010"],
        ["0000000101", "0000001000", "0000000111", "0000000110"],
        ["0000000001", "0000000100", "0000000011", "0000000010"],
    ]),
];

/// `coeff_token` of chroma DC.
#[rustfmt::skip]
pub(in crate::encoder::h264::codec) static COEFF_TOKEN_DC: [[Code; 4]; 5] = tokens([
    ["01", "", "", ""],
    ["000111", "1", "", ""],
    ["000100", "000110", "001", ""],
    ["000011", "0000011", "0000010", "000101"],
    ["000010", "00000011", "00000010", "0000000"],
]);

/// `total_zeros` by coefficients, of which there is at least one, then by zeros.
#[rustfmt::skip]
pub(in crate::encoder::h264::codec) static TOTAL_ZEROS: [[Code; 16]; 15] = lists([
    &["1", "011", "010", "0011", "0010", "00011", "00010", "000011", "000010", "0000011", "0000010", "00000011", "00000010", "000000011", "000000010", "000000001"],
    &["111", "110", "101", "100", "011", "0101", "0100", "0011", "0010", "00011", "00010", "000011", "000010", "000001", "000000"],
    &["0101", "111", "110", "101", "0100", "0011", "100", "011", "0010", "00011", "00010", "000001", "00001", "000000"],
    &["00011", "111", "0101", "0100", "110", "101", "100", "0011", "011", "0010", "00010", "00001", "00000"],
    &["0101", "0100", "0011", "111", "110", "101", "100", "011", "0010", "00001", "0001", "00000"],
    &["000001", "00001", "111", "110", "101", "100", "011", "010", "0001", "001", "000000"],
    &["000001", "00001", "101", "100", "011", "11", "010", "0001", "001", "000000"],
    &["000001", "0001", "00001", "011", "11", "10", "010", "001", "000000"],
    &["000001", "000000", "0001", "11", "10", "001", "01", "00001"],
    &["00001", "00000", "001", "11", "10", "01", "0001"],
    &["0000", "0001", "001", "010", "1", "011"],
    &["0000", "0001", "01", "1", "001"],
    &["000", "001", "1", "01"],
    &["00", "01", "1"],
    &["0", "1"],
]);

/// `total_zeros` of chroma DC.
#[rustfmt::skip]
pub(in crate::encoder::h264::codec) static TOTAL_ZEROS_DC: [[Code; 4]; 3] = lists([
    &["1", "01", "001", "000"],
    &["1", "01", "00"],
    &["1", "0"],
]);

/// `run_before` by zeros left, of which there is at least one (7 stands for more), then by the run.
#[rustfmt::skip]
pub(in crate::encoder::h264::codec) static RUN_BEFORE: [[Code; 15]; 7] = lists([
    &["1", "0"],
    &["1", "01", "00"],
    &["11", "10", "01", "00"],
    &["11", "10", "01", "001", "000"],
    &["11", "10", "011", "010", "001", "000"],
    &["11", "000", "001", "011", "010", "101", "100"],
    &["111", "110", "101", "100", "011", "010", "001", "0001", "00001", "000001", "0000001", "00000001", "000000001", "0000000001", "00000000001"],
]);

/// The code number of an Intra 4x4 macroblock's coded block pattern.
#[rustfmt::skip]
pub(in crate::encoder::h264::codec) static PATTERN_INTRA: [u8; 48] = [
    3, 29, 30, 17, 31, 18, 37, 8, 32, 38, 19, 9, 20, 10, 11, 2,
    16, 33, 34, 21, 35, 22, 39, 4, 36, 40, 23, 5, 24, 6, 7, 1,
    41, 42, 43, 25, 44, 26, 46, 12, 45, 47, 27, 13, 28, 14, 15, 0,
];

/// The code number of an inter macroblock's coded block pattern.
#[rustfmt::skip]
pub(in crate::encoder::h264::codec) static PATTERN_INTER: [u8; 48] = [
    0, 2, 3, 7, 4, 8, 17, 13, 5, 18, 9, 14, 10, 15, 16, 11,
    1, 32, 33, 36, 34, 37, 44, 40, 35, 45, 38, 41, 39, 42, 43, 19,
    6, 24, 25, 20, 26, 21, 46, 28, 27, 47, 22, 29, 23, 30, 31, 12,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A table's words are a prefix code without gaps, but for those that the standard leaves unused.
    fn check<'a>(codes: impl Iterator<Item = &'a Code>, unused: u32) {
        let used: Vec<_> = codes.filter(|code| code.bits > 0).collect();
        for (i, a) in used.iter().enumerate() {
            for b in &used[i + 1..] {
                let bits = a.bits.min(b.bits);
                let first = |code: &Code| u32::from(code.word) >> (code.bits - bits);
                assert_ne!(first(a), first(b), "one word begins with another");
            }
        }
        let taken: u32 = used
            .iter()
            .map(|code| 1 << (16 - u32::from(code.bits)))
            .sum();
        assert_eq!(taken + unused, 1 << 16);
    }

    #[test]
    fn tables_are_prefix_codes() {
        for (table, unused) in COEFF_TOKEN.iter().zip([2, 8, 64]) {
            check(table.iter().flatten(), unused);
        }
        check(COEFF_TOKEN_DC.iter().flatten(), 0);
        for (list, unused) in TOTAL_ZEROS.iter().zip([128].into_iter().chain([0; 14])) {
            check(list.iter(), unused);
        }
        for list in &TOTAL_ZEROS_DC {
            check(list.iter(), 0);
        }
        for (list, unused) in RUN_BEFORE.iter().zip([0, 0, 0, 0, 0, 0, 32]) {
            check(list.iter(), unused);
        }
        for pattern in [PATTERN_INTRA, PATTERN_INTER] {
            let mut numbers = pattern;
            numbers.sort_unstable();
            assert!(numbers.into_iter().eq(0..48));
        }
    }
}
