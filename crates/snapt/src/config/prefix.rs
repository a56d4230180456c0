//! A block of addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// All addresses that begin with the same bits, such as `127.77.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// The pool where the configuration names none. Any block of 127/8 works on Linux without set-up; this one is
    /// away from the ends, where other programs put themselves.
    pub const DEFAULT_POOL: Self = Self {
        address: IpAddr::V4(Ipv4Addr::new(127, 77, 0, 0)),
        length: 16,
    };

    /// The first address.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// How many bits all addresses share.
    #[must_use]
    pub fn length(self) -> u8 {
        self.length
    }

    /// Whether `address` is one of them.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && first_address(address, self.length) == self.address
    }

    /// Whether all of them are loopback addresses, which no other host can be.
    #[must_use]
    pub fn is_loopback(self) -> bool {
        match self.address {
            IpAddr::V4(address) => address.is_loopback() && self.length >= LOOPBACK_BITS,
            IpAddr::V6(address) => address.is_loopback() && self.length == BITS_V6,
        }
    }
}

/// The text names no block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParsePrefixError {
    /// It is no address and length.
    #[error("expected a block of addresses such as `127.77.0.0/16`")]
    Malformed,
    /// The address has bits beyond the length.
    #[error("the block begins at {0}: write `{0}`")]
    Beyond(Prefix),
}

impl FromStr for Prefix {
    type Err = ParsePrefixError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = ParsePrefixError::Malformed;
        let (address, length) = text.split_once('/').ok_or(malformed)?;
        let address: IpAddr = address.parse().map_err(|_| malformed)?;
        let length: u8 = length.parse().map_err(|_| malformed)?;
        let bits = if address.is_ipv4() { BITS_V4 } else { BITS_V6 };
        if length > bits {
            return Err(malformed);
        }
        let prefix = Self {
            address: first_address(address, length),
            length,
        };
        if prefix.address == address {
            Ok(prefix)
        } else {
            Err(ParsePrefixError::Beyond(prefix))
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// `address` with all bits after the first `length` cleared.
fn first_address(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let after = u32::from(BITS_V4.saturating_sub(length));
            let mask = u32::MAX.checked_shl(after).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let after = u32::from(BITS_V6.saturating_sub(length));
            let mask = u128::MAX.checked_shl(after).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

const BITS_V4: u8 = 32;
const BITS_V6: u8 = 128;

/// 127.0.0.0/8.
const LOOPBACK_BITS: u8 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_contains_what_begins_with_its_bits() {
        let pool: Prefix = "127.77.0.0/16".parse().unwrap();
        assert_eq!(pool, Prefix::DEFAULT_POOL);
        assert_eq!(pool.to_string(), "127.77.0.0/16");
        for (address, inside) in [
            ("127.77.0.0", true),
            ("127.77.255.255", true),
            ("127.78.0.0", false),
            ("127.76.255.255", false),
            ("::1", false),
        ] {
            assert_eq!(pool.contains(address.parse().unwrap()), inside, "{address}");
        }
        let all: Prefix = "::/0".parse().unwrap();
        assert!(all.contains("2001:db8::1".parse().unwrap()));
        assert!(!all.contains("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn only_a_block_within_127_is_loopback() {
        for (block, loopback) in [
            ("127.77.0.0/16", true),
            ("127.0.0.0/8", true),
            ("126.0.0.0/7", false),
            ("10.0.0.0/8", false),
            ("::1/128", true),
            ("fd00::/8", false),
        ] {
            let prefix: Prefix = block.parse().unwrap();
            assert_eq!(prefix.is_loopback(), loopback, "{block}");
        }
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for text in [
            "",
            "127.77.0.0",
            "127.77.0.0/33",
            "127.77/16",
            "::/129",
            "x/8",
        ] {
            let error = text.parse::<Prefix>().unwrap_err();
            assert_eq!(error, ParsePrefixError::Malformed, "{text:?}");
        }
        let error = "127.77.0.10/16".parse::<Prefix>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the block begins at 127.77.0.0/16: write `127.77.0.0/16`"
        );
    }
}
