//! Which CNAPT has which virtual IP.
//!
//! An address of the pool follows from the CNAPT ID, so that it is the same after a restart, without
//! anything being written down: the hash of the ID chooses, and where that is taken the next free one
//! is. Whoever has an address of its own in the configuration keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use handover_carrier::PublicKey;

use crate::config::{ClientConfig, Prefix};

/// No address of the pool is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the pool of virtual IPs has fewer addresses than there are clients: give `virtual_ips` a shorter prefix"
)]
pub struct PoolIsFull;

/// Every client's virtual IP.
///
/// # Errors
///
/// If the pool is too small.
pub(crate) fn assign(
    pool: Prefix,
    clients: &[ClientConfig],
) -> Result<BTreeMap<PublicKey, IpAddr>, PoolIsFull> {
    let mut assigned: BTreeMap<PublicKey, IpAddr> = clients
        .iter()
        .filter_map(|client| Some((client.key, client.virtual_ip?)))
        .collect();
    let mut taken: BTreeSet<IpAddr> = assigned.values().copied().collect();
    for client in clients.iter().filter(|client| client.virtual_ip.is_none()) {
        let address = probe(pool, &client.key, &taken).ok_or(PoolIsFull)?;
        taken.insert(address);
        assigned.insert(client.key, address);
    }
    Ok(assigned)
}

fn probe(pool: Prefix, key: &PublicKey, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let (base, bits) = match pool.address() {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32 - u32::from(pool.length())),
        IpAddr::V6(address) => (address.to_bits(), 128 - u32::from(pool.length())),
    };
    // The first and the last address of a prefix name the network and its broadcast.
    let hosts = 1_u128
        .checked_shl(bits)
        .unwrap_or(u128::MAX)
        .checked_sub(2)
        .filter(|n| *n > 0)?;
    let mut hash = [0; 16];
    hash.copy_from_slice(&key.id()[..16]);
    let start = u128::from_be_bytes(hash) % hosts;
    // One more try than there are addresses taken finds a free one, if there is any.
    (0..hosts.min(taken.len() as u128 + 1))
        .map(|step| base + 1 + (start + step) % hosts)
        .map(|bits| to_address(pool, bits))
        .find(|address| !taken.contains(address))
}

fn to_address(pool: Prefix, bits: u128) -> IpAddr {
    match pool.address() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(u32::MAX))),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(bits)),
    }
}

#[cfg(test)]
mod tests {
    use handover_carrier::PrivateKey;

    use super::*;

    fn client(virtual_ip: Option<IpAddr>) -> ClientConfig {
        ClientConfig {
            name: "one".into(),
            key: PrivateKey::generate().public_key(),
            virtual_ip,
            services: "1024-65535".parse().unwrap(),
        }
    }

    #[test]
    fn the_same_key_gets_the_same_address_and_no_two_share_one() {
        let pool: Prefix = "127.77.0.0/28".parse().unwrap();
        let fixed: IpAddr = "127.77.0.3".parse().unwrap();
        let mut clients = vec![client(Some(fixed))];
        clients.extend((0..13).map(|_| client(None)));
        let first = assign(pool, &clients).unwrap();
        assert_eq!(first, assign(pool, &clients).unwrap());
        let distinct: BTreeSet<IpAddr> = first.values().copied().collect();
        assert_eq!(distinct.len(), 14);
        assert!(distinct.iter().all(|address| pool.contains(*address)));

        clients.push(client(None));
        assert_eq!(assign(pool, &clients), Err(PoolIsFull));
    }
}
