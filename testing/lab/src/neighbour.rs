//! A host of its own beside the device or the server: the applications live there, and the module's host is a box in
//! front of them (R2, R22).
//!
//! ```text
//!   application                 box                          (the lab's networks)
//!     lan 192.168.N.2 ───────── 192.168.N.1 NAME
//! ```
//!
//! The application's host has a default route by the box, and the box forwards nothing: what gets through goes through
//! handover.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use handover_sandbox::{Namespace, Route};

use crate::topology::{gateway, prefix};

const LAN: &str = "lan";

/// Such a host.
#[derive(Debug)]
pub struct Neighbour {
    /// The host itself.
    pub host: Namespace,
    address: IpAddr,
}

impl Neighbour {
    /// A host called `name` in the subnet 192.168.`subnet`.0/24 of `beside`, which has an interface of that name there.
    pub fn new(name: &str, beside: &Namespace, subnet: u8) -> Result<Self> {
        let host = Namespace::new(name)?;
        host.veth(LAN, beside, name)?;
        let address = IpAddr::from(Ipv4Addr::new(192, 168, subnet, 2));
        beside.add_address(name, gateway(address), prefix(address))?;
        host.add_address(LAN, address, prefix(address))?;
        beside.set_up(name)?;
        host.set_up(LAN)?;
        host.add_route(&Route::default_by(gateway(address), LAN, 0))?;
        Ok(Self { host, address })
    }

    /// Its own address.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// The box's address, as it sees it.
    pub fn box_address(&self) -> IpAddr {
        gateway(self.address)
    }
}
