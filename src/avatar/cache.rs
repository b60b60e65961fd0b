//! A bounded store of what is made of each background, filled as the frames are shown.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How much a [`Cache`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    /// Values.
    pub(super) count: usize,
    /// Bytes of all values.
    pub(super) bytes: usize,
}

/// One value per index, within a limit that is never exceeded: the least recently used values leave first.
///
/// A value made by [`Cache::get_or_make`] is made once however many threads ask for it at the same time; threads that
/// ask for different values do not wait for each other.
#[derive(Debug)]
pub(super) struct Cache<T> {
    state: Mutex<State<T>>,
    /// Held by whoever makes the value of that index.
    making: Vec<Mutex<()>>,
    size: fn(&T) -> usize,
}

#[derive(Debug)]
struct State<T> {
    slots: Vec<Option<Held<T>>>,
    held: Limit,
    limit: Limit,
    clock: u64,
}

#[derive(Debug)]
struct Held<T> {
    value: Arc<T>,
    bytes: usize,
    used: u64,
}

impl<T> Cache<T> {
    /// A cache for indices `0..indices`; `size` gives a value's bytes.
    pub(super) fn new(indices: usize, limit: Limit, size: fn(&T) -> usize) -> Self {
        let none = Limit { count: 0, bytes: 0 };
        Self {
            state: Mutex::new(State {
                slots: std::iter::repeat_with(|| None).take(indices).collect(),
                held: none,
                limit,
                clock: 0,
            }),
            making: std::iter::repeat_with(Mutex::default)
                .take(indices)
                .collect(),
            size,
        }
    }

    /// The value at `index` if it is there already; never waits for one that is being made.
    pub(super) fn peek(&self, index: usize) -> Option<Arc<T>> {
        self.lock().get(index)
    }

    /// The value at `index`, made by `make` if it is not there. One too large for the limit is made but not kept.
    pub(super) fn get_or_make<E>(
        &self,
        index: usize,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        // Nothing is behind this lock, so a panic of an earlier maker has broken nothing.
        let _turn = self.making[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = self.peek(index) {
            return Ok(value);
        }
        let value = Arc::new(make()?);
        self.insert(index, Arc::clone(&value));
        Ok(value)
    }

    /// Keeps `value` in place of the one at `index`, if any; false if it is too large to be kept.
    pub(super) fn insert(&self, index: usize, value: Arc<T>) -> bool {
        let bytes = (self.size)(&value);
        self.lock().insert(index, value, bytes)
    }

    /// Keeps `value` only if there is room without letting go of another.
    pub(super) fn offer(&self, index: usize, value: Arc<T>) -> bool {
        let bytes = (self.size)(&value);
        let mut state = self.lock();
        let there = state.slots[index].is_some();
        let full = state.held.count >= state.limit.count;
        if !there && (full || state.held.bytes + bytes > state.limit.bytes) {
            return false;
        }
        state.insert(index, value, bytes)
    }

    /// Lets go of the value at `index`.
    pub(super) fn remove(&self, index: usize) {
        drop(self.lock().take(index));
    }

    /// What is kept now.
    pub(super) fn held(&self) -> Limit {
        self.lock().held
    }

    /// What may be kept.
    pub(super) fn limit(&self) -> Limit {
        self.lock().limit
    }

    /// Lowers the limit to what is held: no more will come.
    pub(super) fn settle(&self) {
        let mut state = self.lock();
        state.limit = state.held;
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn get(&mut self, index: usize) -> Option<Arc<T>> {
        self.clock += 1;
        let held = self.slots[index].as_mut()?;
        held.used = self.clock;
        Some(Arc::clone(&held.value))
    }

    fn insert(&mut self, index: usize, value: Arc<T>, bytes: usize) -> bool {
        drop(self.take(index));
        if bytes > self.limit.bytes {
            return false;
        }
        while self.held.count >= self.limit.count || self.held.bytes + bytes > self.limit.bytes {
            let Some(oldest) = self.oldest() else {
                return false;
            };
            drop(self.take(oldest));
        }
        self.clock += 1;
        self.slots[index] = Some(Held {
            value,
            bytes,
            used: self.clock,
        });
        self.held.count += 1;
        self.held.bytes += bytes;
        true
    }

    fn take(&mut self, index: usize) -> Option<Held<T>> {
        let held = self.slots[index].take()?;
        self.held.count -= 1;
        self.held.bytes -= held.bytes;
        Some(held)
    }

    fn oldest(&self) -> Option<usize> {
        let held = self.slots.iter().enumerate();
        held.filter_map(|(index, slot)| Some((slot.as_ref()?.used, index)))
            .min()
            .map(|(_, index)| index)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::*;

    fn cache(indices: usize, count: usize) -> Cache<usize> {
        let bytes = usize::MAX;
        Cache::new(indices, Limit { count, bytes }, |value| *value)
    }

    fn get(cache: &Cache<usize>, index: usize, made: &AtomicUsize) -> usize {
        let value = cache.get_or_make(index, || {
            made.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(index * 10)
        });
        *value.unwrap()
    }

    #[test]
    fn values_are_made_once_and_the_oldest_leaves() {
        let (cache, made) = (cache(5, 2), AtomicUsize::new(0));
        for index in [0, 1, 0, 2, 0, 1] {
            assert_eq!(get(&cache, index, &made), index * 10);
        }
        // 0 stayed throughout, 1 left for 2 and came back.
        assert_eq!(made.load(Ordering::Relaxed), 4);
        assert_eq!(cache.held().count, 2);
        assert!(cache.peek(0).is_some() && cache.peek(2).is_none());
    }

    #[test]
    fn a_failure_is_not_kept() {
        let cache = cache(1, 1);
        assert_eq!(cache.get_or_make(0, || Err("broken")), Err("broken"));
        assert_eq!(cache.get_or_make(0, || Ok::<_, &str>(7)).as_deref(), Ok(&7));
    }

    #[test]
    fn many_threads_make_each_value_once() {
        let (cache, made) = (cache(8, 8), AtomicUsize::new(0));
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
        let (cache, made) = (cache(16, 3), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (cache, made) = (&cache, &made);
                scope.spawn(move || {
                    for k in 0..400 {
                        get(cache, (k * 7 + thread * 5) % 16, made);
                        assert!(cache.held().count <= 3);
                    }
                });
            }
        });
    }

    proptest! {
        /// What is held is what was counted, and never more than allowed, whatever comes and goes.
        #[test]
        fn bytes_are_counted_exactly(
            count in 1..6_usize,
            bytes in 0..100_usize,
            steps in prop::collection::vec((0..8_usize, 0..60_usize, any::<bool>()), 0..60),
        ) {
            let limit = Limit { count, bytes };
            let cache = Cache::new(8, limit, |value: &usize| *value);
            for (index, size, remove) in steps {
                if remove {
                    cache.remove(index);
                } else {
                    prop_assert_eq!(cache.insert(index, Arc::new(size)), size <= bytes);
                    prop_assert_eq!(cache.peek(index).map(|v| *v), (size <= bytes).then_some(size));
                }
                let held: Vec<usize> = (0..8).filter_map(|i| cache.peek(i)).map(|v| *v).collect();
                prop_assert_eq!(cache.held(), Limit { count: held.len(), bytes: held.iter().sum() });
                prop_assert!(held.len() <= count && held.iter().sum::<usize>() <= bytes);
            }
            cache.settle();
            prop_assert_eq!(cache.limit(), cache.held());
        }
    }
}
