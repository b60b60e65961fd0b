//! How many calls or streams are in progress, and whose they are.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::tenants::shares::{Claim, NoPlace, Shares};

/// Counts what is in progress.
#[derive(Clone, Debug)]
pub(in crate::server) struct Occupancy(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shares: Mutex<Shares>,
    now: watch::Sender<usize>,
}

impl Occupancy {
    /// Nothing is in progress.
    pub(in crate::server) fn new() -> Self {
        Self(Arc::new(Inner {
            shares: Mutex::default(),
            now: watch::Sender::new(0),
        }))
    }

    /// Takes a place, if there is one for its claimant.
    pub(in crate::server) fn enter(&self, claim: &Claim<'_>) -> Result<Place, NoPlace> {
        let mut shares = self.0.shares();
        shares.enter(claim)?;
        self.0.now.send_replace(shares.total());
        Ok(Place {
            occupancy: self.clone(),
            flow: claim.flow,
        })
    }

    /// How many places are taken.
    pub(in crate::server) fn now(&self) -> usize {
        *self.0.now.borrow()
    }

    /// Waits until no place is taken.
    pub(in crate::server) async fn emptied(&self) {
        // The sender is `self`'s own, so the channel cannot be closed.
        let _ = self.0.now.subscribe().wait_for(|now| *now == 0).await;
    }
}

impl Inner {
    fn shares(&self) -> MutexGuard<'_, Shares> {
        // Nothing that can panic runs under the lock.
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One place; dropping it frees it.
#[derive(Debug)]
pub(in crate::server) struct Place {
    occupancy: Occupancy,
    flow: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let inner = &self.occupancy.0;
        let mut shares = inner.shares();
        shares.leave(self.flow);
        inner.now.send_replace(shares.total());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_are_limited_and_come_back() {
        let occupancy = Occupancy::new();
        let claim = Claim {
            flow: 1,
            most: None,
            places: 2,
            partners: &[],
        };
        let first = occupancy.enter(&claim).unwrap();
        let second = occupancy.enter(&claim).unwrap();
        assert_eq!(occupancy.enter(&claim).unwrap_err(), NoPlace::Full);
        assert_eq!(occupancy.now(), 2);
        drop(first);
        assert!(occupancy.enter(&claim).is_ok());
        let emptied = tokio::spawn({
            let occupancy = occupancy.clone();
            async move { occupancy.emptied().await }
        });
        drop(second);
        emptied.await.unwrap();
        assert_eq!(occupancy.now(), 0);
    }
}
