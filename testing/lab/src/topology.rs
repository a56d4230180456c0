//! The lab's world: a roaming device with several networks, and a server that all of them reach.
//!
//! ```text
//!   device                                               server
//!     wlan0  10.1.0.2 ───────────────── 10.1.0.1  far-wlan0 ┐
//!     wwan0  10.2.0.2 ───────────────── 10.2.0.1  far-wwan0 ┴ lo 10.0.0.1
//! ```
//!
//! The n-th network is 10.n.0.0/24. The device has a default route over each, the first the most
//! preferred, as a laptop has; only sockets bound to an interface use the others. The server answers
//! over the network whose address it is asked from. Its own address is on its loopback interface.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use handover_sandbox::{Namespace, Route};

use crate::link::{Conditions, EmulatedLink};

/// Where the server is, over whichever network.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// The prefix length of each network.
const PREFIX: u8 = 24;

/// What the first network's default route costs; each further one costs as much more.
const METRIC_STEP: u32 = 100;

/// How much one connection may have under way: the machine's own setting should not be what limits it.
/// Least, initial and most, in bytes; 64 MiB are 2 Gbit/s over 100 ms, with the kernel's own overhead.
const BUFFERS: [(&str, &str); 2] = [
    ("ipv4/tcp_wmem", "4096 16384 67108864"),
    ("ipv4/tcp_rmem", "4096 131072 67108864"),
];

/// What lies between the two ends of a network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Medium {
    /// The kernel's virtual cable: fast, perfect; it can be put down, but not cut silently.
    Cable,
    /// The lab's own link.
    Emulated(Conditions),
}

/// The device, the server and the networks between them.
#[derive(Debug)]
pub struct Topology {
    // The links go before the namespaces that their ends are in.
    networks: Vec<Network>,
    /// The roaming host.
    pub device: Namespace,
    /// The host of the server side.
    pub server: Namespace,
}

#[derive(Debug)]
struct Network {
    name: String,
    far_name: String,
    address: Ipv4Addr,
    metric: u32,
    /// `None` for a cable.
    link: Option<EmulatedLink>,
}

impl Topology {
    /// Builds the world with these networks, all up. An interface on the device has its network's name.
    pub fn new(networks: &[(&str, Medium)]) -> Result<Self> {
        let mut topology = Self {
            networks: Vec::new(),
            device: Namespace::new("device")?,
            server: Namespace::new("server")?,
        };
        for (name, value) in BUFFERS {
            topology.device.set_sysctl(name, value)?;
            topology.server.set_sysctl(name, value)?;
        }
        topology.server.add_address("lo", SERVER.into(), 32)?;
        for (name, medium) in networks {
            topology.add_network(name, *medium)?;
        }
        Ok(topology)
    }

    /// Adds one more network and puts it up.
    pub fn add_network(&mut self, name: &str, medium: Medium) -> Result<()> {
        let number = u8::try_from(self.networks.len() + 1).context("too many networks")?;
        let far_name = format!("far-{name}");
        let (near, far) = ((&self.device, name), (&self.server, far_name.as_str()));
        let link = match medium {
            Medium::Cable => {
                self.device.veth(name, &self.server, &far_name)?;
                None
            }
            Medium::Emulated(conditions) => {
                Some(EmulatedLink::new(near, far, conditions, number.into())?)
            }
        };
        let network = Network {
            name: name.to_owned(),
            far_name,
            address: Ipv4Addr::new(10, number, 0, 2),
            metric: METRIC_STEP * u32::from(number),
            link,
        };
        self.server.set_up(&network.far_name)?;
        self.device.set_up(name)?;
        self.networks.push(network);
        self.give_address(name)
    }

    /// The device's address on a network.
    pub fn address(&self, network: &str) -> Result<IpAddr> {
        Ok(self.network(network)?.address.into())
    }

    /// Puts the device's interface down. Its route goes with it.
    pub fn set_down(&self, network: &str) -> Result<()> {
        Ok(self.device.set_down(&self.network(network)?.name)?)
    }

    /// Puts the device's interface up again, with its route.
    pub fn set_up(&self, network: &str) -> Result<()> {
        let network = self.network(network)?;
        self.device.set_up(&network.name)?;
        Ok(self.device.add_route(&network.default_route())?)
    }

    /// Moves the device to another address on the same network, as when a hotspot hands out a new one:
    /// first the old one goes, with everything bound to it, then the new one comes. The gateway is the
    /// new subnet's first address.
    pub fn change_address(&mut self, network: &str, address: Ipv4Addr) -> Result<()> {
        let old = self.network(network)?;
        self.device
            .remove_address(network, old.address.into(), PREFIX)?;
        self.server
            .remove_address(&old.far_name, old.gateway().into(), PREFIX)?;
        self.network_mut(network)?.address = address;
        self.give_address(network)
    }

    /// Loses everything on a network from now on; both ends stay up.
    pub fn cut(&self, network: &str) -> Result<()> {
        self.link(network)?.cut()
    }

    /// Ends a cut.
    pub fn restore(&self, network: &str) -> Result<()> {
        self.link(network)?.restore()
    }

    /// The emulated link of a network.
    pub fn link(&self, network: &str) -> Result<&EmulatedLink> {
        let link = self.network(network)?.link.as_ref();
        link.with_context(|| format!("{network} is a cable, not an emulated link"))
    }

    /// Far end first: an address that the device shows is one that works.
    fn give_address(&self, network: &str) -> Result<()> {
        let network = self.network(network)?;
        let (address, gateway) = (network.address.into(), network.gateway().into());
        self.server
            .add_address(&network.far_name, gateway, PREFIX)?;
        self.device.add_address(&network.name, address, PREFIX)?;
        Ok(self.device.add_route(&network.default_route())?)
    }

    fn network(&self, name: &str) -> Result<&Network> {
        let found = self.networks.iter().find(|network| network.name == name);
        found.with_context(|| format!("the lab has no network {name}"))
    }

    fn network_mut(&mut self, name: &str) -> Result<&mut Network> {
        let found = self
            .networks
            .iter_mut()
            .find(|network| network.name == name);
        found.with_context(|| format!("the lab has no network {name}"))
    }
}

impl Network {
    fn gateway(&self) -> Ipv4Addr {
        let [a, b, c, _] = self.address.octets();
        Ipv4Addr::new(a, b, c, 1)
    }

    fn default_route(&self) -> Route {
        Route::default_ipv4(self.gateway(), &self.name, self.metric)
    }
}
