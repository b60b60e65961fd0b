//! Preparing backgrounds ahead of the frames that will show them, on threads that give way to everything else.
//!
//! The threads take the backgrounds in the order in which the frames from the last one asked for on will show them.
//! They hold the avatar's small part only ([`Sources`]) and look for the rest when they have something to put there, so
//! an unloaded avatar's memory is free at once, and they end with the background they are at.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::sources::Sources;
use super::{BackgroundError, Kept, Sequence};

/// Bytes that preparing one background takes for the time being, in frames of RGB.
pub(super) const SCRATCH_FRAMES: usize = 8;
/// How far behind everything else the threads stand, as `nice` counts: a tenth of a share beside a busy thread.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// The work and who does it. Dropping it stops the threads without waiting for them.
#[derive(Debug)]
pub(super) struct Preparation {
    shared: Arc<Shared>,
    threads: usize,
    started: AtomicBool,
}

#[derive(Debug)]
struct Shared {
    sources: Arc<Sources>,
    kept: Weak<Kept>,
    sequence: Sequence,
    /// The frame from which on backgrounds are wanted.
    from: AtomicU64,
    stop: AtomicBool,
    over: AtomicBool,
    work: Mutex<Work>,
}

#[derive(Debug)]
struct Work {
    /// Backgrounds that a thread has taken on.
    taken: Vec<bool>,
    /// Backgrounds not taken on yet, or not finished.
    left: usize,
}

impl Preparation {
    pub(super) fn new(
        sources: &Arc<Sources>,
        kept: &Arc<Kept>,
        sequence: Sequence,
        threads: usize,
    ) -> Self {
        let frames = sources.backgrounds().len();
        Self {
            shared: Arc::new(Shared {
                sources: Arc::clone(sources),
                kept: Arc::downgrade(kept),
                sequence,
                from: AtomicU64::new(0),
                stop: AtomicBool::new(false),
                over: AtomicBool::new(threads == 0),
                work: Mutex::new(Work {
                    taken: vec![false; frames],
                    left: frames,
                }),
            }),
            threads: threads.min(frames),
            started: AtomicBool::new(false),
        }
    }

    /// Frames from `k` on come next.
    pub(super) fn from(&self, k: u64) {
        if self.is_over() {
            return;
        }
        self.shared.from.store(k, Ordering::Relaxed);
        if !self.started.swap(true, Ordering::Relaxed) {
            for _ in 0..self.threads {
                let shared = Arc::clone(&self.shared);
                let thread = std::thread::Builder::new().name("prepare".to_owned());
                if let Err(error) = thread.spawn(move || shared.run()) {
                    tracing::warn!(%error, "no thread to prepare backgrounds: PNG frames cost more until there is one");
                    self.started.store(false, Ordering::Relaxed);
                    return;
                }
            }
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.shared.over.load(Ordering::Acquire)
    }

    /// Bytes the threads may take while they work.
    pub(super) fn memory_bytes_max(&self) -> usize {
        if self.is_over() {
            0
        } else {
            let frame = self.shared.sources.backgrounds().size().rgb_bytes();
            self.threads * SCRATCH_FRAMES * frame
        }
    }
}

impl Drop for Preparation {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn run(&self) {
        give_way();
        while let Some(index) = self.take() {
            match self.prepare(index) {
                Ok(true) => {}
                // No room, in memory or on disk: what else would be prepared could not be kept either.
                Ok(false) => self.stop.store(true, Ordering::Relaxed),
                // Whoever asks for this frame is told; the others are prepared all the same.
                Err(error) => tracing::warn!(%error, "a background cannot be prepared"),
            }
            self.finish();
        }
    }

    /// The background to prepare next.
    fn take(&self) -> Option<usize> {
        if self.stopped() {
            return None;
        }
        let mut work = self.work();
        let next = next(
            self.sequence,
            self.from.load(Ordering::Relaxed),
            &work.taken,
        )?;
        work.taken[next] = true;
        Some(next)
    }

    /// Prepares one background; false if there is no place to keep it.
    fn prepare(&self, index: usize) -> Result<bool, BackgroundError> {
        let file = self.sources.read(index)?;
        let background = if let Some(stored) = self.sources.stored(index, &file) {
            stored
        } else {
            let frame = self.sources.backgrounds().decode_file(index, &file)?;
            if self.stopped() {
                return Ok(false);
            }
            self.sources.prepare(index, &file, &frame)
        };
        let Some(kept) = self.kept.upgrade() else {
            return Ok(false);
        };
        let has_room = kept.prepared.offer(index, Arc::new(background));
        if has_room && !kept.pixels_wanted.load(Ordering::Relaxed) {
            kept.raw.remove(index);
        }
        Ok(has_room || self.sources.has_store())
    }

    fn finish(&self) {
        let mut work = self.work();
        work.left -= 1;
        let done = work.left == 0;
        if !done && !self.stopped() {
            return;
        }
        if let Some(kept) = self.kept.upgrade()
            && done
        {
            if kept.prepared.held().count == work.taken.len() {
                kept.prepared.settle();
            }
            tracing::debug!(
                folder = %self.sources.backgrounds().folder().display(),
                backgrounds = kept.prepared.held().count,
                bytes = kept.prepared.held().bytes,
                "backgrounds prepared"
            );
        }
        self.over.store(true, Ordering::Release);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        // No code that can panic runs under the lock.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The background to prepare next: of those not taken, the one that frames from `from` on show first.
fn next(sequence: Sequence, from: u64, taken: &[bool]) -> Option<usize> {
    let frames = taken.len();
    // Twice as many frames as backgrounds show each at least once, except those a clamped sequence has passed.
    (0..2 * frames as u64)
        .map(|step| sequence.background(from.saturating_add(step), frames))
        .find(|&index| !taken[index])
        .or_else(|| taken.iter().position(|taken| !taken))
}

/// Leaves the processor to the threads that make frames. Only Linux lets one thread do that.
pub(super) fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "preparing backgrounds at normal priority");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(sequence: Sequence, from: u64) -> Vec<usize> {
        let mut taken = [false; 5];
        std::iter::from_fn(|| {
            let index = next(sequence, from, &taken)?;
            taken[index] = true;
            Some(index)
        })
        .collect()
    }

    #[test]
    fn backgrounds_are_taken_in_the_order_they_will_be_shown() {
        assert_eq!(order(Sequence::PingPong, 0), [0, 1, 2, 3, 4]);
        assert_eq!(order(Sequence::PingPong, 3), [3, 4, 2, 1, 0]);
        assert_eq!(order(Sequence::PingPong, 6), [2, 1, 0, 3, 4]);
        assert_eq!(order(Sequence::Wrap, 8), [3, 4, 0, 1, 2]);
        assert_eq!(order(Sequence::Clamp, 3), [3, 4, 0, 1, 2]);
        assert_eq!(order(Sequence::Clamp, u64::MAX), [4, 0, 1, 2, 3]);
    }
}
