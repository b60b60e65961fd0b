//! Which background frame `k` of endless speech shows: avatars have N backgrounds, speech has no end.

/// How the frame index walks over the backgrounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sequence {
    /// `0..N-1`, then back `N-2..1`, then `0` again: no jump anywhere.
    #[default]
    PingPong,
    /// `k mod N`: jumps from the last background to the first.
    Wrap,
    /// Stays on the last background; a request that starts past it is out of range.
    Clamp,
}

impl Sequence {
    /// The background shown at frame `k` of an avatar with `count` backgrounds (at least one).
    #[must_use]
    pub fn background(self, k: u64, count: usize) -> usize {
        let n = count.max(1) as u64;
        let index = match self {
            Self::PingPong => {
                let period = (2 * (n - 1)).max(1);
                let step = k % period;
                if step < n { step } else { period - step }
            }
            Self::Wrap => k % n,
            Self::Clamp => k.min(n - 1),
        };
        index as usize
    }

    /// The first frame index that may not be asked for, if there is one.
    #[must_use]
    pub fn end(self, count: usize) -> Option<u64> {
        (self == Self::Clamp).then_some(count as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::Sequence;

    fn walk(sequence: Sequence, count: usize, frames: u64) -> Vec<usize> {
        (0..frames).map(|k| sequence.background(k, count)).collect()
    }

    #[test]
    fn ping_pong_turns_without_repeating_an_end() {
        assert_eq!(walk(Sequence::PingPong, 4, 9), [0, 1, 2, 3, 2, 1, 0, 1, 2]);
    }

    #[test]
    fn one_or_two_backgrounds_are_enough() {
        assert_eq!(walk(Sequence::PingPong, 1, 3), [0, 0, 0]);
        assert_eq!(walk(Sequence::PingPong, 2, 4), [0, 1, 0, 1]);
    }

    #[test]
    fn ping_pong_never_jumps_however_far() {
        for count in 1..20 {
            for k in (0..100).chain(u64::MAX - 50..u64::MAX) {
                let here = Sequence::PingPong.background(k, count);
                let next = Sequence::PingPong.background(k + 1, count);
                assert!(here < count && here.abs_diff(next) <= 1, "{count} {k}");
            }
        }
    }

    #[test]
    fn wrap_starts_again_and_clamp_stays() {
        assert_eq!(walk(Sequence::Wrap, 3, 5), [0, 1, 2, 0, 1]);
        assert_eq!(walk(Sequence::Clamp, 3, 5), [0, 1, 2, 2, 2]);
        assert_eq!(Sequence::Clamp.end(3), Some(3));
        assert_eq!(Sequence::Wrap.end(3), None);
    }
}
