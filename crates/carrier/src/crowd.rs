//! Which unfinished handshake must go when there are too many.
//!
//! A stranger can open any number of connections and say nothing. Each takes a place until its time
//! is up, and a place is what a returning client needs. So when all places are taken, a newcomer
//! gets the place of the oldest handshake of the most crowded source. One flooding host only ever
//! displaces its own connections; a flood from many addresses displaces the oldest strangers first,
//! and a client that answers within a few round trips is long done by then.
//!
//! A source is what one host can have at no cost: an IPv4 address, or the /64 of an IPv6 address.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};

/// The unfinished handshakes, each known by a key `K`, by source and in order of arrival.
#[derive(Debug)]
pub(crate) struct Crowd<K> {
    by_source: BTreeMap<IpAddr, VecDeque<(u64, K)>>,
    arrivals: u64,
}

impl<K: PartialEq> Crowd<K> {
    pub(crate) fn new() -> Self {
        Self {
            by_source: BTreeMap::new(),
            arrivals: 0,
        }
    }

    pub(crate) fn enter(&mut self, from: IpAddr, key: K) {
        self.by_source
            .entry(source(from))
            .or_default()
            .push_back((self.arrivals, key));
        self.arrivals += 1;
    }

    pub(crate) fn leave(&mut self, from: IpAddr, key: &K) {
        let source = source(from);
        let Some(waiting) = self.by_source.get_mut(&source) else {
            return;
        };
        waiting.retain(|(_, other)| other != key);
        if waiting.is_empty() {
            self.by_source.remove(&source);
        }
    }

    /// Takes out the one that has to go, if there is any.
    pub(crate) fn displace(&mut self) -> Option<K> {
        let (&source, waiting) = self.by_source.iter_mut().max_by_key(|(_, waiting)| {
            let oldest = waiting.front().map_or(u64::MAX, |(arrival, _)| *arrival);
            (waiting.len(), std::cmp::Reverse(oldest))
        })?;
        let (_, key) = waiting.pop_front()?;
        if waiting.is_empty() {
            self.by_source.remove(&source);
        }
        Some(key)
    }
}

fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & HOST_PREFIX)),
    }
}

/// The upper 64 bits: the smallest network that a provider hands out.
const HOST_PREFIX: u128 = !0 << 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flooding_source_displaces_its_own_oldest() {
        let mut crowd = crowd(&["192.0.2.1", "198.51.100.7", "198.51.100.7", "198.51.100.7"]);
        assert_eq!(crowd.displace(), Some(1));
        assert_eq!(crowd.displace(), Some(2));
    }

    #[test]
    fn among_equals_the_oldest_goes() {
        let mut crowd = crowd(&["203.0.113.3", "203.0.113.1", "203.0.113.2"]);
        assert_eq!((crowd.displace(), crowd.displace()), (Some(0), Some(1)));
        assert_eq!((crowd.displace(), crowd.displace()), (Some(2), None));
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_are_one_source() {
        let mut crowd = crowd(&["2001:db8:1::1", "2001:db8:2::1", "2001:db8:2::ffff:2"]);
        assert_eq!(crowd.displace(), Some(1));
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address_it_stands_for() {
        let mut crowd = crowd(&["192.0.2.9", "::ffff:192.0.2.1", "192.0.2.1"]);
        assert_eq!(crowd.displace(), Some(1));
    }

    #[test]
    fn one_that_has_left_is_not_counted() {
        let mut crowd = crowd(&["192.0.2.1", "192.0.2.2", "192.0.2.2"]);
        crowd.leave("192.0.2.2".parse().unwrap(), &1);
        assert_eq!(crowd.displace(), Some(0));
        crowd.leave("192.0.2.2".parse().unwrap(), &2);
        assert_eq!(crowd.displace(), None);
    }

    fn crowd(sources: &[&str]) -> Crowd<usize> {
        let mut crowd = Crowd::new();
        for (key, source) in sources.iter().enumerate() {
            crowd.enter(source.parse().unwrap(), key);
        }
        crowd
    }
}
