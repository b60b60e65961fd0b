//! A bounded pool of reusable buffers: a frame's big allocations happen once, not per frame.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Buffers that return here when dropped. Cloning gives another handle to the same pool.
///
/// At most `capacity` idle values are kept; one that returns to a full pool is freed. Values come back with
/// whatever the last user left in them, so a taker overwrites what it reads.
#[derive(Clone, Debug)]
pub struct Pool<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    idle: Mutex<Vec<T>>,
    capacity: usize,
}

impl<T: Default> Pool<T> {
    /// An empty pool that keeps at most `capacity` idle values.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let idle = Mutex::new(Vec::with_capacity(capacity));
        Self {
            shared: Arc::new(Shared { idle, capacity }),
        }
    }

    /// An idle value, or a new one. Never waits for another user.
    #[must_use]
    pub fn take(&self) -> Pooled<T> {
        let idle = self.shared.lock().pop();
        Pooled {
            value: idle.unwrap_or_default(),
            home: Arc::clone(&self.shared),
        }
    }

    /// Values waiting to be taken.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.shared.lock().len()
    }
}

impl<T> Shared<T> {
    // A push or pop cannot leave the list half changed, so a poisoned lock is still good.
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<T>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A value on loan from a [`Pool`]; goes back when dropped.
#[derive(Debug)]
pub struct Pooled<T: Default> {
    value: T,
    home: Arc<Shared<T>>,
}

impl<T: Default> Deref for Pooled<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Default> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

// What `bytes::Bytes::from_owner` asks for: a pooled buffer can go out on the wire and still come home.
impl<T: Default + AsRef<U>, U: ?Sized> AsRef<U> for Pooled<T> {
    fn as_ref(&self) -> &U {
        self.value.as_ref()
    }
}

impl<T: Default> Drop for Pooled<T> {
    fn drop(&mut self) {
        let value = std::mem::take(&mut self.value);
        let mut idle = self.home.lock();
        if idle.len() < self.home.capacity {
            idle.push(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_with_its_memory() {
        let pool = Pool::<Vec<u8>>::new(2);
        let mut first = pool.take();
        first.resize(1000, 7);
        let address = first.as_ptr();
        drop(first);
        assert_eq!(pool.idle(), 1);
        assert_eq!(pool.take().as_ptr(), address);
    }

    #[test]
    fn no_more_than_the_capacity_is_kept() {
        let pool = Pool::<Vec<u8>>::new(2);
        let lent: Vec<_> = (0..5).map(|_| pool.take()).collect();
        drop(lent);
        assert_eq!(pool.idle(), 2);
    }

    #[test]
    fn bytes_made_of_a_pooled_buffer_return_it() {
        let pool = Pool::<Vec<u8>>::new(1);
        let mut buffer = pool.take();
        buffer.extend_from_slice(b"abc");
        let bytes = bytes::Bytes::from_owner(buffer);
        let part = bytes.slice(1..);
        drop(bytes);
        assert_eq!((&part[..], pool.idle()), (&b"bc"[..], 0));
        drop(part);
        assert_eq!(pool.idle(), 1);
    }
}
