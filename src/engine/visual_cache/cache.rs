//! What the visual part gave for each background, within a bound.

use std::collections::HashMap;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::tensor::Tensor;

/// How much a network may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VisualCacheLimit {
    /// Bytes of all its backgrounds together.
    pub bytes: u64,
    /// Backgrounds the avatar has.
    pub backgrounds: usize,
}

/// What the cache of one network holds and how often it helped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VisualCacheStats {
    /// Frames whose background was there.
    pub hits: u64,
    /// Frames whose background was not. A frame that names none, as with a tensor its client made, counts as neither.
    pub misses: u64,
    /// Backgrounds it holds.
    pub backgrounds: usize,
    /// Bytes it holds.
    pub bytes: u64,
    /// Bytes of one background.
    pub background_bytes: u64,
    /// Bytes it will hold when it is full.
    pub bytes_max: u64,
}

impl VisualCacheStats {
    /// Hits among the frames that named a background, from 0 to 1; 0 before the first.
    #[must_use]
    pub fn hit_rate(&self) -> f64 {
        let frames = self.hits + self.misses;
        if frames == 0 {
            0.0
        } else {
            self.hits as f64 / frames as f64
        }
    }

    /// What remains to be told of it when it is freed.
    #[must_use]
    pub fn freed(self) -> Self {
        Self {
            hits: self.hits,
            misses: self.misses,
            ..Self::default()
        }
    }
}

/// Adds up the caches of several generations.
impl AddAssign for VisualCacheStats {
    fn add_assign(&mut self, other: Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.backgrounds += other.backgrounds;
        self.bytes += other.bytes;
        self.background_bytes = self.background_bytes.max(other.background_bytes);
        self.bytes_max += other.bytes_max;
    }
}

/// The visual part's outputs by background.
///
/// First come, kept: frames walk over the backgrounds in circles, so each is as likely to come next as any other, and
/// throwing one out for another would only cost the copy. With too little room the hit rate is the share that fits.
#[derive(Debug)]
pub(super) struct VisualCache {
    limit: VisualCacheLimit,
    background_bytes: u64,
    kept: Mutex<Kept>,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    tensors: HashMap<usize, Arc<[Tensor]>>,
    bytes: u64,
}

impl VisualCache {
    /// An empty cache for tensors of `background_bytes` a background.
    pub(super) fn new(limit: VisualCacheLimit, background_bytes: u64) -> Self {
        Self {
            limit,
            background_bytes,
            kept: Mutex::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// Backgrounds that fit, of those the avatar has.
    pub(super) fn backgrounds_max(&self) -> usize {
        let fit = self.limit.bytes / self.background_bytes.max(1);
        self.limit
            .backgrounds
            .min(usize::try_from(fit).unwrap_or(usize::MAX))
    }

    fn bytes_max(&self) -> u64 {
        self.background_bytes * self.backgrounds_max() as u64
    }

    /// The tensors of a background, if they are there; counts the frame.
    pub(super) fn get(&self, background: usize) -> Option<Arc<[Tensor]>> {
        let found = self.lock().tensors.get(&background).cloned();
        let counter = if found.is_some() {
            &self.hits
        } else {
            &self.misses
        };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Keeps the tensors of a background if there is room, and gives them back; else leaves them where they are.
    pub(super) fn keep(
        &self,
        background: usize,
        tensors: &mut Vec<Tensor>,
    ) -> Option<Arc<[Tensor]>> {
        let bytes: u64 = tensors.iter().map(Tensor::bytes).sum();
        let mut kept = self.lock();
        if let Some(known) = kept.tensors.get(&background) {
            // Another session was faster.
            return Some(Arc::clone(known));
        }
        if kept.bytes + bytes > self.limit.bytes {
            return None;
        }
        let empty = vec![Tensor::default(); tensors.len()];
        let tensors: Arc<[Tensor]> = std::mem::replace(tensors, empty).into();
        kept.bytes += bytes;
        kept.tensors.insert(background, Arc::clone(&tensors));
        Some(tensors)
    }

    pub(super) fn stats(&self) -> VisualCacheStats {
        let kept = self.lock();
        VisualCacheStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            backgrounds: kept.tensors.len(),
            bytes: kept.bytes,
            background_bytes: self.background_bytes,
            bytes_max: self.bytes_max(),
        }
    }

    /// No code that can panic runs between two changes, so a poisoned lock still guards a consistent map.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tensor::Data;

    fn limit(bytes: u64, backgrounds: usize) -> VisualCacheLimit {
        VisualCacheLimit { bytes, backgrounds }
    }

    /// Tensors of 12 bytes.
    fn tensors(value: f32) -> Vec<Tensor> {
        vec![
            Tensor {
                shape: vec![2],
                data: Data::F32(vec![value; 2]),
            },
            Tensor {
                shape: vec![4],
                data: Data::U8(vec![value as u8; 4]),
            },
        ]
    }

    #[test]
    fn it_keeps_what_fits_and_nothing_more() {
        let cache = VisualCache::new(limit(30, 100), 12);
        for background in 0..3 {
            assert_eq!(cache.get(background), None);
            let mut made = tensors(background as f32);
            let kept = cache.keep(background, &mut made);
            assert_eq!(kept.is_some(), background < 2);
            // What was not kept stays with the session, which uses its memory again.
            assert_eq!(made[0].shape.is_empty(), background < 2);
        }
        assert_eq!(cache.get(1).unwrap().to_vec(), tensors(1.0));
        let stats = cache.stats();
        assert_eq!((stats.hits, stats.misses), (1, 3));
        assert_eq!((stats.backgrounds, stats.bytes), (2, 24));
        assert!((stats.hit_rate() - 0.25).abs() < 1e-9);
        assert_eq!(stats.bytes_max, 24);
    }

    #[test]
    fn a_background_that_two_sessions_made_is_kept_once() {
        let cache = VisualCache::new(limit(100, 3), 12);
        cache.keep(5, &mut tensors(1.0));
        let second = cache.keep(5, &mut tensors(1.0)).unwrap();
        assert_eq!(second.to_vec(), tensors(1.0));
        assert_eq!(cache.stats().bytes, 12);
        assert_eq!(cache.stats().bytes_max, 36);
    }
}
