//! The lab's world: a roaming device with several networks, and a server that all of them reach.
//!
//! ```text
//!   device                                               server
//!     wlan0  10.1.0.2 ───────────────── 10.1.0.1  far-1 ┐
//!     wwan0  10.2.0.2 ───────────────── 10.2.0.1  far-2 ┴ lo 10.0.0.1
//! ```
//!
//! The n-th network is 10.n.0.0/24, or 2001:db8:n::/64, or both. The device has a default route over each, the
//! first the most preferred, as a laptop has; only sockets bound to an interface use the others. The server answers
//! over the network whose address it is asked from. Its own addresses are on its loopback interface.
//!
//! A network may lie behind two routers that hide it, one at home and one of the provider: see [`crate::nat`]. Hosts
//! beside the device and the server are [`crate::neighbour`]'s.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};

use anyhow::{Context, Result};
use handover_sandbox::{Namespace, Route};

use crate::link::{Conditions, EmulatedLink};
use crate::nat::Nat;

/// Where the server is, over whichever network that knows IPv4.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// Where the server is, over whichever network that knows IPv6.
pub const SERVER_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// Addresses that need no check whether somebody else has them: it takes a second, and here nobody has.
const NO_DUPLICATES: (&str, &str) = ("ipv6/conf/default/accept_dad", "0");

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
    pub server: Arc<Namespace>,
    taken: Arc<Taken>,
}

/// What is not to be given twice, by all devices of a server.
#[derive(Debug, Default)]
struct Taken {
    networks: AtomicU8,
    new_addresses: AtomicU16,
}

#[derive(Debug)]
struct Network {
    name: String,
    far_name: String,
    /// One of each family that it knows.
    addresses: Vec<IpAddr>,
    metric: u32,
    /// `None` for a cable.
    link: Option<EmulatedLink>,
    /// The routers on the way to the server, from the device on.
    nats: Vec<Nat>,
}

/// A version of the Internet Protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// With a server at [`SERVER`].
    Ipv4,
    /// With a server at [`SERVER_IPV6`].
    Ipv6,
}

impl Topology {
    /// Builds the world with these networks, all up. An interface on the device has its network's name.
    pub fn new(networks: &[(&str, Medium)]) -> Result<Self> {
        let server = Namespace::new("server")?;
        prepare(&server)?;
        server.add_address("lo", SERVER.into(), 32)?;
        server.add_address("lo", SERVER_IPV6.into(), 128)?;
        Self::with_server(Arc::new(server), Arc::default(), networks)
    }

    /// One more device, with networks of its own, to the same server.
    pub fn another(&self, networks: &[(&str, Medium)]) -> Result<Self> {
        let (server, taken) = (Arc::clone(&self.server), Arc::clone(&self.taken));
        Self::with_server(server, taken, networks)
    }

    fn with_server(
        server: Arc<Namespace>,
        taken: Arc<Taken>,
        networks: &[(&str, Medium)],
    ) -> Result<Self> {
        let mut topology = Self {
            networks: Vec::new(),
            device: Namespace::new("device")?,
            server,
            taken,
        };
        prepare(&topology.device)?;
        for (name, medium) in networks {
            topology.add_network(name, *medium)?;
        }
        Ok(topology)
    }

    /// Adds one more network and puts it up.
    pub fn add_network(&mut self, name: &str, medium: Medium) -> Result<()> {
        self.add_network_with(name, medium, &[Family::Ipv4])
    }

    /// As [`Topology::add_network`], of other families.
    pub fn add_network_with(
        &mut self,
        name: &str,
        medium: Medium,
        families: &[Family],
    ) -> Result<()> {
        let number = self.take_number();
        let far_name = format!("far-{number}");
        self.connect((name, number), &far_name, medium, families, Vec::new())
    }

    /// As [`Topology::add_network`], behind a router at home that is itself behind a router of the provider.
    pub fn add_network_behind_nats(&mut self, name: &str, medium: Medium) -> Result<()> {
        let number = self.take_number();
        let server = (&*self.server, format!("far-{number}"));
        let carrier_gateway = Ipv4Addr::new(198, 18, number, 1);
        let carrier = Nat::new("carrier", (server.0, &server.1), carrier_gateway)?;
        let home_gateway = Ipv4Addr::new(100, 64, number, 1);
        let home = Nat::new("home", carrier.inside(), home_gateway)?;
        let (_, inside) = home.inside();
        let nats = vec![home, carrier];
        self.connect((name, number), inside, medium, &[Family::Ipv4], nats)
    }

    fn take_number(&self) -> u8 {
        self.taken.networks.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn connect(
        &mut self,
        (name, number): (&str, u8),
        far_name: &str,
        medium: Medium,
        families: &[Family],
        nats: Vec<Nat>,
    ) -> Result<()> {
        let far_host = nats.first().map_or(&*self.server, Nat::host);
        let (near, far) = ((&self.device, name), (far_host, far_name));
        let link = match medium {
            Medium::Cable => {
                self.device.veth(name, far_host, far_name)?;
                None
            }
            Medium::Emulated(conditions) => {
                Some(EmulatedLink::new(near, far, conditions, number.into())?)
            }
        };
        far_host.set_up(far_name)?;
        self.device.set_up(name)?;
        let network = Network {
            name: name.to_owned(),
            far_name: far_name.to_owned(),
            addresses: families.iter().map(|one| one.address(number)).collect(),
            metric: METRIC_STEP * u32::from(number),
            link,
            nats,
        };
        for address in &network.addresses {
            self.give_address(&network, *address)?;
        }
        self.networks.push(network);
        Ok(())
    }

    /// The device's address on a network, the first of several.
    pub fn address(&self, network: &str) -> Result<IpAddr> {
        let first = self.network(network)?.addresses.first().copied();
        first.with_context(|| format!("{network} has no address"))
    }

    /// Puts the device's interface down. Its route goes with it.
    pub fn set_down(&self, network: &str) -> Result<()> {
        Ok(self.device.set_down(&self.network(network)?.name)?)
    }

    /// Puts the device's interface up again, with its routes.
    pub fn set_up(&self, network: &str) -> Result<()> {
        let network = self.network(network)?;
        self.device.set_up(&network.name)?;
        for address in &network.addresses {
            if address.is_ipv6() {
                // The kernel takes them away with the interface.
                self.device
                    .add_address(&network.name, *address, prefix(*address))?;
            }
            self.device.add_route(&network.default_route(*address))?;
        }
        Ok(())
    }

    /// Moves the device to another address of the same family on the same network, as when a hotspot hands out a
    /// new one: first the old one goes, with everything bound to it, then the new one comes. The gateway is the new
    /// subnet's first address.
    pub fn change_address(&mut self, network: &str, address: impl Into<IpAddr>) -> Result<()> {
        let address = address.into();
        let index = self.index(network)?;
        let network = &mut self.networks[index];
        let same_family = |one: &&mut IpAddr| one.is_ipv4() == address.is_ipv4();
        let place = network.addresses.iter_mut().find(same_family);
        let place = place.with_context(|| format!("no address like {address} to change"))?;
        let old = std::mem::replace(place, address);
        let network = &self.networks[index];
        self.device
            .remove_address(&network.name, old, prefix(old))?;
        self.far_host(network)
            .remove_address(&network.far_name, gateway(old), prefix(old))?;
        self.give_address(network, address)
    }

    /// An address that no device of this server has had, for [`Topology::change_address`].
    pub fn new_address(&self) -> Ipv4Addr {
        let number = self.taken.new_addresses.fetch_add(1, Ordering::Relaxed) + 1;
        let [high, low] = number.to_be_bytes();
        Ipv4Addr::new(10, 100 + high, low, 2)
    }

    /// The routers that hide a network, from the device on.
    pub fn nats(&self, network: &str) -> Result<&[Nat]> {
        Ok(&self.network(network)?.nats)
    }

    /// The routers that hide a network, for changing them.
    pub fn nats_mut(&mut self, network: &str) -> Result<&mut [Nat]> {
        let index = self.index(network)?;
        Ok(&mut self.networks[index].nats)
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
    fn give_address(&self, network: &Network, address: IpAddr) -> Result<()> {
        self.far_host(network)
            .add_address(&network.far_name, gateway(address), prefix(address))?;
        self.device
            .add_address(&network.name, address, prefix(address))?;
        Ok(self.device.add_route(&network.default_route(address))?)
    }

    /// The host at the other end of a network.
    fn far_host<'a>(&'a self, network: &'a Network) -> &'a Namespace {
        network.nats.first().map_or(&*self.server, Nat::host)
    }

    fn network(&self, name: &str) -> Result<&Network> {
        Ok(&self.networks[self.index(name)?])
    }

    fn index(&self, name: &str) -> Result<usize> {
        let found = self.networks.iter().position(|one| one.name == name);
        found.with_context(|| format!("the lab has no network {name}"))
    }
}

fn prepare(host: &Namespace) -> Result<()> {
    for (name, value) in BUFFERS.into_iter().chain([NO_DUPLICATES]) {
        host.set_sysctl(name, value)?;
    }
    Ok(())
}

impl Network {
    fn default_route(&self, address: IpAddr) -> Route {
        Route::default_by(gateway(address), &self.name, self.metric)
    }
}

impl Family {
    /// The device's address on the n-th network.
    fn address(self, number: u8) -> IpAddr {
        match self {
            Self::Ipv4 => Ipv4Addr::new(10, number, 0, 2).into(),
            Self::Ipv6 => Ipv6Addr::new(0x2001, 0xdb8, number.into(), 0, 0, 0, 0, 2).into(),
        }
    }
}

/// The first address of the subnet that an address is in.
pub(crate) fn gateway(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            Ipv4Addr::new(a, b, c, 1).into()
        }
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 1).into()
        }
    }
}

/// The length of every subnet's prefix.
pub(crate) const fn prefix(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 24,
        IpAddr::V6(_) => 64,
    }
}
