//! How many calls or streams are in progress, and that they are never more than allowed.

use std::sync::Arc;

use tokio::sync::watch;

/// Counts what is in progress.
#[derive(Clone, Debug)]
pub(in crate::server) struct Occupancy {
    now: Arc<watch::Sender<usize>>,
}

impl Occupancy {
    /// Nothing is in progress.
    pub(in crate::server) fn new() -> Self {
        Self {
            now: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Takes a place, unless `limit` are taken.
    pub(in crate::server) fn enter(&self, limit: usize) -> Option<Place> {
        let entered = self.now.send_if_modified(|now| {
            let free = *now < limit;
            *now += usize::from(free);
            free
        });
        entered.then(|| Place(self.clone()))
    }

    /// How many places are taken.
    pub(in crate::server) fn now(&self) -> usize {
        *self.now.borrow()
    }

    /// Waits until no place is taken.
    pub(in crate::server) async fn emptied(&self) {
        // The sender is `self`'s own, so the channel cannot be closed.
        let _ = self.now.subscribe().wait_for(|now| *now == 0).await;
    }
}

/// One place; dropping it frees it.
#[derive(Debug)]
pub struct Place(Occupancy);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.now.send_modify(|now| *now -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_are_limited_and_come_back() {
        let occupancy = Occupancy::new();
        let first = occupancy.enter(2).unwrap();
        let second = occupancy.enter(2).unwrap();
        assert!(occupancy.enter(2).is_none());
        assert_eq!(occupancy.now(), 2);
        drop(first);
        assert!(occupancy.enter(2).is_some());
        let emptied = tokio::spawn({
            let occupancy = occupancy.clone();
            async move { occupancy.emptied().await }
        });
        drop(second);
        emptied.await.unwrap();
        assert_eq!(occupancy.now(), 0);
    }
}
