//! A bounded store of what is made of each background, filled as the frames are first shown.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One value per index, of which at most `limit` are kept: the least recently used leaves.
///
/// Each value is made once however many threads ask for it at the same time; threads that ask for different
/// values do not wait for each other.
#[derive(Debug)]
pub(super) struct Cache<T> {
    slots: Vec<Slot<T>>,
    limit: usize,
    held: AtomicUsize,
    clock: AtomicU64,
}

#[derive(Debug)]
struct Slot<T> {
    value: Mutex<Option<Arc<T>>>,
    used: AtomicU64,
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<T>>> {
        // The value is replaced whole, so a panic elsewhere cannot have left it half made.
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Cache<T> {
    /// A cache for indices `0..count` that keeps at most `limit` values, and at least one.
    pub(super) fn new(count: usize, limit: usize) -> Self {
        let slots = std::iter::repeat_with(|| Slot {
            value: Mutex::new(None),
            used: AtomicU64::new(0),
        });
        Self {
            slots: slots.take(count).collect(),
            limit: limit.max(1),
            held: AtomicUsize::new(0),
            clock: AtomicU64::new(1),
        }
    }

    /// Most values kept at once.
    pub(super) fn limit(&self) -> usize {
        self.limit.min(self.slots.len())
    }

    /// The value at `index` if it is there already; never waits for one that is being made.
    pub(super) fn peek(&self, index: usize) -> Option<Arc<T>> {
        let slot = &self.slots[index];
        let value = slot.value.try_lock().ok()?.clone()?;
        self.touch(slot);
        Some(value)
    }

    /// The value at `index`, made by `make` if it is not there.
    pub(super) fn get_or_make<E>(
        &self,
        index: usize,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let slot = &self.slots[index];
        let mut value = slot.lock();
        self.touch(slot);
        if let Some(value) = &*value {
            return Ok(Arc::clone(value));
        }
        let made = Arc::new(make()?);
        *value = Some(Arc::clone(&made));
        drop(value);
        if self.held.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.drop_oldest(index);
        }
        Ok(made)
    }

    fn touch(&self, slot: &Slot<T>) {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        slot.used.store(now, Ordering::Relaxed);
    }

    /// Drops the least recently used value other than `keep`; a slot in use at this moment is not the oldest.
    fn drop_oldest(&self, keep: usize) {
        let mut order: Vec<_> = (0..self.slots.len()).filter(|&i| i != keep).collect();
        order.sort_unstable_by_key(|&i| self.slots[i].used.load(Ordering::Relaxed));
        for index in order {
            let Ok(mut value) = self.slots[index].value.try_lock() else {
                continue;
            };
            if value.take().is_some() {
                self.held.fetch_sub(1, Ordering::Relaxed);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn get(cache: &Cache<usize>, index: usize, made: &AtomicUsize) -> usize {
        let value = cache.get_or_make(index, || {
            made.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(index * 10)
        });
        *value.unwrap()
    }

    #[test]
    fn values_are_made_once_and_the_oldest_leaves() {
        let (cache, made) = (Cache::new(5, 2), AtomicUsize::new(0));
        for index in [0, 1, 0, 2, 0, 1] {
            assert_eq!(get(&cache, index, &made), index * 10);
        }
        // 0 stayed throughout, 1 left for 2 and came back.
        assert_eq!(made.load(Ordering::Relaxed), 4);
        assert_eq!(cache.held.load(Ordering::Relaxed), 2);
        assert!(cache.peek(0).is_some() && cache.peek(2).is_none());
    }

    #[test]
    fn a_failure_is_not_kept() {
        let cache = Cache::<usize>::new(1, 1);
        assert_eq!(cache.get_or_make(0, || Err("broken")), Err("broken"));
        assert_eq!(cache.get_or_make(0, || Ok::<_, &str>(7)).as_deref(), Ok(&7));
    }

    #[test]
    fn many_threads_make_each_value_once() {
        let (cache, made) = (Cache::new(8, 8), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (cache, made) = (&cache, &made);
                scope.spawn(move || {
                    for k in 0..80 {
                        get(cache, (k + thread) % 8, made);
                    }
                });
            }
        });
        assert_eq!(made.load(Ordering::Relaxed), 8);
    }

    #[test]
    fn the_limit_holds_under_contention() {
        let (cache, made) = (Cache::new(16, 3), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (cache, made) = (&cache, &made);
                scope.spawn(move || {
                    for k in 0..400 {
                        get(cache, (k * 7 + thread * 5) % 16, made);
                    }
                });
            }
        });
        let held = cache.slots.iter().filter(|s| s.lock().is_some()).count();
        assert_eq!(held, cache.held.load(Ordering::Relaxed));
        // A value being read by another thread at that moment may stay a little longer.
        assert!(held <= 3 + 4, "{held}");
    }
}
