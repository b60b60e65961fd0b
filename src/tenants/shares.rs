//! Who gets a place when there are few: calls in progress, streams open.
//!
//! Places are lent, not owned. Half of a tenant's share by weight, rounded up, is guaranteed: nobody else is lent it while
//! the tenant does not hold it, so whoever has less is never refused because others have more. The other half is lent
//! to whoever asks, because streams and batches that have begun are not broken off.
//! Callers without a token are flows that nobody knows beforehand: each has an equal part among those that hold
//! something, and a quarter more than all places is kept for those below theirs.

use std::collections::HashMap;

/// A tenant with a guaranteed part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partner {
    /// Its flow.
    pub flow: u64,
    /// Its share in relation to the others'.
    pub weight: u32,
}

/// Who asks for a place.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Whose place it would be.
    pub flow: u64,
    /// How many it may have at most.
    pub most: Option<usize>,
    /// How many there are.
    pub places: usize,
    /// Those with a guaranteed part; without any, parts are equal.
    pub partners: &'a [Partner],
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// It has as many as it may have.
    OwnLimit(usize),
    /// All are taken.
    Full,
}

/// The places that are held.
#[derive(Debug, Default)]
pub struct Shares {
    held: HashMap<u64, usize>,
    total: usize,
}

impl Shares {
    /// Places that are held.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    /// Takes a place.
    ///
    /// # Errors
    /// Why there is none.
    pub fn enter(&mut self, claim: &Claim<'_>) -> Result<(), NoPlace> {
        let held = self.held.get(&claim.flow).copied().unwrap_or(0);
        if let Some(most) = claim.most
            && held >= most
        {
            return Err(NoPlace::OwnLimit(most));
        }
        let is_free = if claim.partners.is_empty() {
            let flows = self.held.len() + usize::from(held == 0);
            let part = (claim.places / flows).max(1);
            let kept = claim.places.div_ceil(4);
            self.total < claim.places || held < part && self.total < claim.places + kept
        } else {
            let weights: u64 = claim.partners.iter().map(|p| u64::from(p.weight)).sum();
            let mut owed = 0;
            for partner in claim.partners {
                let share = claim.places as u64 * u64::from(partner.weight) / weights.max(1);
                let part = share.div_ceil(2);
                let holds = self.held.get(&partner.flow).copied().unwrap_or(0);
                let missing = (part as usize).saturating_sub(holds);
                if partner.flow != claim.flow {
                    owed += missing;
                } else if missing > 0 {
                    // Its own; nobody was lent it.
                    owed = 0;
                    break;
                }
            }
            self.total + owed < claim.places
        };
        if !is_free {
            return Err(NoPlace::Full);
        }
        *self.held.entry(claim.flow).or_default() += 1;
        self.total += 1;
        Ok(())
    }

    /// Gives a place back.
    pub fn leave(&mut self, flow: u64) {
        if let Some(held) = self.held.get_mut(&flow) {
            *held -= 1;
            self.total -= 1;
            if *held == 0 {
                self.held.remove(&flow);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn enter(
        shares: &mut Shares,
        flow: u64,
        places: usize,
        partners: &[Partner],
    ) -> Result<(), NoPlace> {
        shares.enter(&Claim {
            flow,
            most: None,
            places,
            partners,
        })
    }

    #[test]
    fn a_stranger_uses_all_and_the_next_still_finds_a_place() {
        let mut shares = Shares::default();
        for _ in 0..8 {
            enter(&mut shares, 1, 8, &[]).unwrap();
        }
        assert_eq!(enter(&mut shares, 1, 8, &[]), Err(NoPlace::Full));
        enter(&mut shares, 2, 8, &[]).unwrap();
        enter(&mut shares, 2, 8, &[]).unwrap();
        assert_eq!(
            enter(&mut shares, 2, 8, &[]),
            Err(NoPlace::Full),
            "ten are all"
        );
        let limited = Claim {
            flow: 3,
            most: Some(0),
            places: 8,
            partners: &[],
        };
        assert_eq!(shares.enter(&limited), Err(NoPlace::OwnLimit(0)));
        for _ in 0..8 {
            shares.leave(1);
        }
        assert_eq!((shares.total(), shares.held.len()), (2, 1));
    }

    #[test]
    fn one_place_is_one_place() {
        let mut shares = Shares::default();
        enter(&mut shares, 1, 1, &[]).unwrap();
        assert_eq!(enter(&mut shares, 1, 1, &[]), Err(NoPlace::Full));
    }

    proptest! {
        /// Whatever the others do, a tenant below its part is let in, and there are never more places than there are.
        #[test]
        fn a_tenant_below_its_part_is_never_refused(
            weights in prop::collection::vec(1..5_u32, 1..6),
            places in 6..40_usize,
            steps in prop::collection::vec((0..7_u64, any::<bool>()), 0..200),
        ) {
            let partners: Vec<Partner> = weights
                .iter()
                .enumerate()
                .map(|(flow, weight)| Partner { flow: flow as u64, weight: *weight })
                .collect();
            let total: u32 = weights.iter().sum();
            let mut shares = Shares::default();
            for (flow, comes) in steps {
                if !comes {
                    shares.leave(flow);
                    continue;
                }
                let held = shares.held.get(&flow).copied().unwrap_or(0);
                let part = weights
                    .get(flow as usize)
                    .map_or(0, |weight| (places * *weight as usize / total as usize).div_ceil(2));
                let entered = enter(&mut shares, flow, places, &partners);
                prop_assert!(entered.is_ok() || held >= part, "{flow} holds {held} of {part}");
                prop_assert!(shares.total() <= places);
                prop_assert_eq!(shares.total(), shares.held.values().sum::<usize>());
            }
        }
    }
}
