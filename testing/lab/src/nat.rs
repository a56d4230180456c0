//! Routers that hide the hosts behind them, with the kernel's own connection tracking, set up by the real `nft`.
//!
//! They are as strict as a provider's: a packet of a connection that they do not know, or have forgotten, is dropped
//! without a word, from either side. Most routers are kinder to the inside, and let it take a forgotten connection
//! up again.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use handover_sandbox::{Namespace, Route};

use crate::facility::Facility;
use crate::program::administer;
use crate::topology::{gateway, prefix};

/// What a scenario with these routers needs.
pub const NEEDS: [Facility; 2] = [Facility::Program("nft"), Facility::Program("conntrack")];

const INSIDE: &str = "inside";
const OUTSIDE: &str = "outside";

/// Hides the inside, and drops what belongs to nothing that came from there.
const RULES: &str = "
table ip router {
    chain input {
        type filter hook input priority filter
        iifname \"outside\" drop
    }
    chain forward {
        type filter hook forward priority filter
        ct state invalid drop
    }
    chain postrouting {
        type nat hook postrouting priority srcnat
        oifname \"outside\" masquerade
    }
}
";

/// How long this one remembers an established connection in which nothing happens. RFC 5382 asks for two hours;
/// some routers take minutes.
const DAYS: Duration = Duration::from_secs(5 * 24 * 60 * 60);

/// One router, with an interface on each side.
#[derive(Debug)]
pub struct Nat {
    host: Namespace,
    address: Ipv4Addr,
}

impl Nat {
    /// A router whose outside is the second address of the subnet of `gateway`, which the host beyond gets on its
    /// new interface.
    pub fn new(
        name: &str,
        (beyond, interface): (&Namespace, &str),
        gateway: Ipv4Addr,
    ) -> Result<Self> {
        let host = Namespace::new(name)?;
        host.veth(OUTSIDE, beyond, interface)?;
        beyond.add_address(interface, gateway.into(), prefix(gateway.into()))?;
        beyond.set_up(interface)?;
        host.set_up(OUTSIDE)?;
        host.set_sysctl("ipv4/ip_forward", "1")?;
        let nat = Self {
            host,
            address: second(gateway),
        };
        nat.give_address()?;
        nat.load_rules()?;
        nat.host
            .set_sysctl("netfilter/nf_conntrack_tcp_loose", "0")?;
        nat.forget_after(DAYS)?;
        Ok(nat)
    }

    /// The router itself.
    pub const fn host(&self) -> &Namespace {
        &self.host
    }

    /// Where hosts that it hides are to be connected.
    pub const fn inside(&self) -> (&Namespace, &'static str) {
        (&self.host, INSIDE)
    }

    /// Its address on the outside, which is everybody's behind it.
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// From now on it forgets an established connection in which nothing has happened for so long.
    pub fn forget_after(&self, silence: Duration) -> Result<()> {
        let seconds = silence.as_secs().to_string();
        let name = "netfilter/nf_conntrack_tcp_timeout_established";
        Ok(self.host.set_sysctl(name, &seconds)?)
    }

    /// It forgets every connection, as all do that are idle for too long.
    pub fn forget(&self) -> Result<()> {
        administer(&self.host, "conntrack", &["-F"], "")?;
        Ok(())
    }

    /// Gives it another address on the outside, as a provider may at any time; the kernel then forgets what it had
    /// hidden behind the old one.
    pub fn change_address(&mut self, address: Ipv4Addr) -> Result<()> {
        let old = self.address.into();
        self.host.remove_address(OUTSIDE, old, prefix(old))?;
        self.address = address;
        self.give_address()
    }

    fn give_address(&self) -> Result<()> {
        let address = self.address.into();
        self.host.add_address(OUTSIDE, address, prefix(address))?;
        let route = Route::default_by(gateway(address), OUTSIDE, 0);
        Ok(self.host.add_route(&route)?)
    }

    fn load_rules(&self) -> Result<()> {
        administer(&self.host, "nft", &["-f", "-"], RULES).map(drop)
    }
}

fn second(first: Ipv4Addr) -> Ipv4Addr {
    Ipv4Addr::from_bits(first.to_bits() + 1)
}
