//! What the tests that run the real server share: small avatars, a configuration, a server process.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test's helper: no test needs all of it, and it fails the test it helps"
)]

pub mod avatars;
pub(crate) mod mutations;
pub mod process;
pub mod raw;
pub(crate) mod skip;

use std::time::{Duration, Instant};

/// Longer than anything takes on a busy machine; reached only when something hangs.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until `is_so` gives something.
///
/// # Panics
/// If that takes longer than [`PATIENCE`].
pub async fn eventually<T>(what: &str, mut is_so: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = is_so().await {
            return value;
        }
        assert!(Instant::now() < end, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Random numbers, the same in every run.
pub struct Noise(pub u64);

impl Noise {
    pub fn word(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.word() % end as u64) as usize
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.word() as u8).collect()
    }
}
