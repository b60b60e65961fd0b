//! How many connections are open, in all and from each address.
//!
//! A connection costs a handle and its windows before anybody has said who calls. So there is a limit for all, a share
//! for each address, and a few places that only this machine may take: whoever fills the rest, a probe gets through.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Places beyond the limit, for connections from this machine.
const LOCAL_PLACES: usize = 16;

/// The places of one port.
#[derive(Clone, Debug)]
pub(super) struct Places {
    limit: usize,
    limit_per_address: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Why a connection has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// All places are taken.
    All,
    /// All that one address may have.
    Address,
}

impl Places {
    pub(super) fn new(limit: usize, limit_per_address: usize) -> Self {
        Self {
            limit,
            limit_per_address,
            taken: Arc::default(),
        }
    }

    /// Takes a place for a connection from `peer`.
    pub(super) fn take(&self, peer: IpAddr) -> Result<Place, Full> {
        let address = subscriber(peer);
        let is_local = address.is_loopback();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = self.limit + if is_local { LOCAL_PLACES } else { 0 };
        if taken.all >= limit {
            return Err(Full::All);
        }
        let of_address = taken.by_address.entry(address).or_default();
        if *of_address >= self.limit_per_address && !is_local {
            return Err(Full::Address);
        }
        *of_address += 1;
        taken.all += 1;
        Ok(Place {
            address,
            taken: Arc::clone(&self.taken),
        })
    }
}

/// Whose address it is: a subscriber of IPv6 has a /64 to himself.
fn subscriber(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(network))
        }
        other => other,
    }
}

/// One place; dropping it frees it.
#[derive(Debug)]
pub(super) struct Place {
    address: IpAddr,
    taken: Arc<Mutex<Taken>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(count) = taken.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_a_share_and_this_machine_places_of_its_own() {
        let places = Places::new(3, 2);
        let stranger = address("192.0.2.1");
        let first = places.take(stranger).unwrap();
        let second = places.take(stranger).unwrap();
        assert_eq!(places.take(stranger).unwrap_err(), Full::Address);
        // The same address as IPv6 writes it.
        let mapped = address("::ffff:192.0.2.1");
        assert_eq!(places.take(mapped).unwrap_err(), Full::Address);
        let other = places.take(address("192.0.2.2")).unwrap();
        assert_eq!(places.take(address("192.0.2.3")).unwrap_err(), Full::All);
        let local: Vec<_> = (0..LOCAL_PLACES)
            .map(|_| places.take(address("127.0.0.1")).unwrap())
            .collect();
        assert_eq!(places.take(address("::1")).unwrap_err(), Full::All);
        drop(local);
        drop(first);
        let again = places.take(stranger).unwrap();
        drop((second, other, again));
        let taken = places.taken.lock().unwrap();
        assert!(taken.all == 0 && taken.by_address.is_empty());
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one_address() {
        let places = Places::new(10, 1);
        let _first = places.take(address("2001:db8::1")).unwrap();
        let same = places.take(address("2001:db8::ffff:2")).unwrap_err();
        assert_eq!(same, Full::Address);
        let _other = places.take(address("2001:db8:0:1::1")).unwrap();
    }
}
