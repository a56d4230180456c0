//! What the kernel knows of the networks at one moment, and the two questions asked of it.
//!
//! A network can be used if its interface is up, has an address of the server's family (the wanted
//! one, if the configuration names one) and *its own* route to the server: any route through this
//! interface that covers the server, whatever the route's metric or table. A host with several
//! uplinks has a default route for each, and the best of them says nothing about the others.
//!
//! Whether packets come back only an attempt can tell.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};

use crate::{Interface, Kind};

/// Interfaces and routes at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// All interfaces, in the kernel's order.
    pub interfaces: Vec<Interface>,
    /// All routes that lead out through an interface.
    pub routes: Vec<Route>,
}

/// A way to a range of addresses through one interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The index of the interface.
    pub interface: u32,
    /// The first address of the range.
    pub destination: IpAddr,
    /// How many leading bits an address shares with `destination`: 0 for a default route.
    pub prefix_length: u8,
    /// The next router; none where the range is on the link itself.
    pub gateway: Option<IpAddr>,
}

/// Why a network cannot be used now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The kernel has no interface of this name: unplugged, or misspelt.
    #[error("there is no such interface")]
    NoSuchInterface,
    /// It is switched off or has no carrier.
    #[error("the interface is down")]
    Down,
    /// It has no global address at all.
    #[error("the interface has no address")]
    NoAddressAtAll,
    /// It has no global address of the server's family.
    #[error("the interface has no {} address", family(*.server))]
    NoAddress {
        /// The server.
        server: IpAddr,
    },
    /// The address that the configuration names is not on the interface.
    #[error("the interface does not have the address {address}")]
    AddressNotThere {
        /// The configured address.
        address: IpAddr,
    },
    /// The configured address and the server's are of different families.
    #[error("the address {address} cannot reach the server's address {server}")]
    OtherFamily {
        /// The configured address.
        address: IpAddr,
        /// The server.
        server: IpAddr,
    },
    /// No route leads to the server through the interface.
    #[error("the interface has no route to {server}")]
    NoRoute {
        /// The server.
        server: IpAddr,
    },
}

impl Snapshot {
    /// Whether the network on `interface`, from `address` if one is wanted, can be used to reach
    /// `server`, and from which source address.
    ///
    /// On the loopback interface every address of 127.0.0.0/8 is there, for a server on it.
    ///
    /// # Errors
    ///
    /// The reason why not.
    pub fn usable(
        &self,
        interface: &str,
        address: Option<IpAddr>,
        server: IpAddr,
    ) -> Result<IpAddr, Unusable> {
        let server = server.to_canonical();
        let interface = self.interface_up(interface)?;
        if let Some(address) = address.filter(|address| address.is_ipv4() != server.is_ipv4()) {
            return Err(Unusable::OtherFamily { address, server });
        }
        match (interface.kind == Kind::Loopback, server.is_loopback()) {
            (true, true) => return loopback_source(address, server),
            // A default route covers these addresses, but nothing on the way takes them.
            (false, true) => return Err(Unusable::NoRoute { server }),
            (_, false) => {}
        }
        let source = match address {
            Some(address) if interface.addresses.contains(&address) => address,
            Some(address) => return Err(Unusable::AddressNotThere { address }),
            None => *interface
                .addresses
                .iter()
                .find(|address| address.is_ipv4() == server.is_ipv4())
                .ok_or(Unusable::NoAddress { server })?,
        };
        let has_route = self
            .routes
            .iter()
            .any(|route| route.interface == interface.index && route.covers(server));
        if has_route {
            Ok(source)
        } else {
            Err(Unusable::NoRoute { server })
        }
    }

    /// Whether `interface` is up and has `address`, or any at all, wherever it leads.
    ///
    /// # Errors
    ///
    /// The reason why not.
    pub fn address(&self, interface: &str, address: Option<IpAddr>) -> Result<IpAddr, Unusable> {
        let interface = self.interface_up(interface)?;
        match address {
            Some(address) if interface.addresses.contains(&address) => Ok(address),
            Some(address) => Err(Unusable::AddressNotThere { address }),
            None => interface
                .addresses
                .first()
                .copied()
                .ok_or(Unusable::NoAddressAtAll),
        }
    }

    fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|one| one.name == name)
    }

    fn interface_up(&self, name: &str) -> Result<&Interface, Unusable> {
        let interface = self.interface(name).ok_or(Unusable::NoSuchInterface)?;
        if interface.up {
            Ok(interface)
        } else {
            Err(Unusable::Down)
        }
    }

    /// The next router on the way to `server` through `interface`, if there is one.
    #[must_use]
    pub fn gateway(&self, interface: &str, server: IpAddr) -> Option<IpAddr> {
        let index = self.interface(interface)?.index;
        let through = self.routes.iter().filter(|route| route.interface == index);
        through
            .filter(|route| route.covers(server.to_canonical()))
            .max_by_key(|route| route.prefix_length)?
            .gateway
    }

    /// The interfaces that are networks when the configuration names none, in the kernel's order.
    ///
    /// Bridges and their ports never are. Tunnels and veth pairs are only while nothing with a device
    /// behind it qualifies: on a laptop they are a VPN over one of the real networks, or the inside
    /// of a container host; in a container a veth is all there is.
    #[must_use]
    pub fn candidates(&self, server: IpAddr) -> Vec<String> {
        let qualifying: Vec<&Interface> = self
            .interfaces
            .iter()
            .filter(|interface| interface.kind != Kind::Loopback && !interface.bridge_or_port)
            .filter(|interface| self.usable(&interface.name, None, server).is_ok())
            .collect();
        let has_device = qualifying.iter().any(|interface| interface.has_device);
        qualifying
            .into_iter()
            .filter(|interface| match interface.kind {
                Kind::Tunnel | Kind::Veth => !has_device,
                Kind::Loopback | Kind::Other => true,
            })
            .map(|interface| interface.name.clone())
            .collect()
    }
}

impl Route {
    /// Whether `address` lies in this route's range.
    #[must_use]
    pub fn covers(&self, address: IpAddr) -> bool {
        let length = u32::from(self.prefix_length);
        match (self.destination, address) {
            (IpAddr::V4(destination), IpAddr::V4(address)) => {
                let differing = destination.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= length
            }
            (IpAddr::V6(destination), IpAddr::V6(address)) => {
                let differing = destination.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= length
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// The routes of a message: none if it leads nowhere, several if it spreads over interfaces.
    pub(crate) fn from_message(message: &RouteMessage) -> Vec<Self> {
        let header = &message.header;
        if header.kind != RouteType::Unicast || header.table == TABLE_LOCAL {
            return Vec::new();
        }
        let is_ipv4 = header.address_family == AddressFamily::Inet;
        let mut destination = if is_ipv4 {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        } else {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        };
        let (mut interfaces, mut gateway) = (Vec::new(), None);
        for attribute in &message.attributes {
            if let RouteAttribute::Destination(RouteAddress::Inet(address)) = attribute {
                destination = (*address).into();
            } else if let RouteAttribute::Destination(RouteAddress::Inet6(address)) = attribute {
                destination = (*address).into();
            } else if let RouteAttribute::Oif(index) = attribute {
                interfaces.push((*index, None));
            } else if let RouteAttribute::Gateway(address) = attribute {
                gateway = to_ip(address);
            } else if let RouteAttribute::MultiPath(hops) = attribute {
                interfaces.extend(hops.iter().map(|hop| {
                    let own = hop.attributes.iter().find_map(|attribute| {
                        if let RouteAttribute::Gateway(address) = attribute {
                            to_ip(address)
                        } else {
                            None
                        }
                    });
                    (hop.interface_index, own)
                }));
            }
        }
        let prefix_length = header.destination_prefix_length;
        let through = |(interface, own): (u32, Option<IpAddr>)| Self {
            interface,
            destination,
            prefix_length,
            gateway: own.or(gateway),
        };
        interfaces.into_iter().map(through).collect()
    }
}

fn loopback_source(address: Option<IpAddr>, server: IpAddr) -> Result<IpAddr, Unusable> {
    match address {
        Some(address) if address.is_loopback() => Ok(address),
        Some(address) => Err(Unusable::AddressNotThere { address }),
        None if server.is_ipv4() => Ok(Ipv4Addr::LOCALHOST.into()),
        None => Ok(Ipv6Addr::LOCALHOST.into()),
    }
}

/// Only an IPv4 or IPv6 router can be told to anybody.
fn to_ip(address: &RouteAddress) -> Option<IpAddr> {
    if let RouteAddress::Inet(address) = address {
        Some((*address).into())
    } else if let RouteAddress::Inet6(address) = address {
        Some((*address).into())
    } else {
        None
    }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// The kernel's table of its own addresses (rtnetlink(7)): what leads there stays on the machine.
const TABLE_LOCAL: u8 = 255;

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE_MAIN: u8 = 254;

    #[test]
    fn the_gateway_is_that_of_the_narrowest_route_through_the_interface() {
        let mut snapshot = laptop();
        assert_eq!(snapshot.gateway("wlan0", server()), None);
        let via = |route: Route, gateway| Route {
            gateway: Some(ip(gateway)),
            ..route
        };
        snapshot.routes = vec![
            via(route(2, "192.0.2.0", 24), "10.1.0.7"),
            via(route(2, "0.0.0.0", 0), "10.1.0.1"),
            via(route(3, "0.0.0.0", 0), "10.2.0.1"),
        ];
        assert_eq!(snapshot.gateway("wlan0", server()), Some(ip("10.1.0.7")));
        assert_eq!(snapshot.gateway("wwan0", server()), Some(ip("10.2.0.1")));
        assert_eq!(snapshot.gateway("eth0", server()), None);
    }

    #[test]
    fn an_address_is_there_wherever_it_leads() {
        let mut snapshot = laptop();
        snapshot.routes.clear();
        assert_eq!(snapshot.address("wlan0", None), Ok(ip("10.1.0.2")));
        let address = ip("10.9.0.2");
        let elsewhere = Err(Unusable::AddressNotThere { address });
        assert_eq!(snapshot.address("wlan0", Some(address)), elsewhere);
        assert_eq!(snapshot.address("lo", None), Err(Unusable::NoAddressAtAll));
    }

    #[test]
    fn each_interface_needs_its_own_route_whatever_the_others_have() {
        let mut snapshot = laptop();
        assert_eq!(snapshot.usable("wlan0", None, server()), Ok(ip("10.1.0.2")));
        assert_eq!(snapshot.usable("wwan0", None, server()), Ok(ip("10.2.0.2")));
        snapshot.routes.retain(|route| route.interface != 2);
        let no_route = Unusable::NoRoute { server: server() };
        assert_eq!(snapshot.usable("wlan0", None, server()), Err(no_route));
        assert_eq!(
            snapshot.usable("wlan0", None, ip("10.1.0.9")),
            Err(Unusable::NoRoute {
                server: ip("10.1.0.9")
            })
        );
        snapshot.routes.push(route(2, "10.1.0.0", 24));
        assert_eq!(
            snapshot.usable("wlan0", None, ip("10.1.0.9")),
            Ok(ip("10.1.0.2"))
        );
    }

    #[test]
    fn the_reason_is_the_first_thing_that_is_wrong() {
        let mut snapshot = laptop();
        assert_eq!(
            snapshot.usable("eth9", None, server()),
            Err(Unusable::NoSuchInterface)
        );
        let over_ipv6 = ip("2001:db8::1");
        let no_address = Unusable::NoAddress { server: over_ipv6 };
        assert_eq!(snapshot.usable("wlan0", None, over_ipv6), Err(no_address));
        assert_eq!(no_address.to_string(), "the interface has no IPv6 address");
        snapshot.interfaces[1].up = false;
        assert_eq!(
            snapshot.usable("wlan0", None, server()),
            Err(Unusable::Down)
        );
    }

    #[test]
    fn a_configured_address_must_be_there_and_of_the_servers_family() {
        let mut snapshot = laptop();
        let wanted = ip("10.1.0.77");
        let missing = Unusable::AddressNotThere { address: wanted };
        assert_eq!(
            snapshot.usable("wlan0", Some(wanted), server()),
            Err(missing)
        );
        snapshot.interfaces[1].addresses.push(wanted);
        assert_eq!(snapshot.usable("wlan0", Some(wanted), server()), Ok(wanted));
        let over_ipv6 = ip("2001:db8::1");
        let other = Unusable::OtherFamily {
            address: wanted,
            server: over_ipv6,
        };
        assert_eq!(
            snapshot.usable("wlan0", Some(wanted), over_ipv6),
            Err(other)
        );
    }

    #[test]
    fn loopback_has_all_of_its_range_for_a_server_on_it_only() {
        let snapshot = laptop();
        let (second, server_here) = (ip("127.0.0.2"), ip("127.0.0.1"));
        assert_eq!(snapshot.usable("lo", Some(second), server_here), Ok(second));
        assert_eq!(
            snapshot.usable("lo", None, server_here),
            Ok(ip("127.0.0.1"))
        );
        let elsewhere = Unusable::AddressNotThere {
            address: ip("10.1.0.2"),
        };
        assert_eq!(
            snapshot.usable("lo", Some(ip("10.1.0.2")), server_here),
            Err(elsewhere)
        );
        snapshot.usable("lo", None, server()).unwrap_err();
    }

    #[test]
    fn a_mapped_server_address_is_the_ipv4_address_it_stands_for() {
        let mapped = ip("::ffff:192.0.2.80");
        assert_eq!(laptop().usable("wlan0", None, mapped), Ok(ip("10.1.0.2")));
    }

    #[test]
    fn every_usable_interface_is_a_network_but_loopback_and_bridges() {
        let mut snapshot = laptop();
        assert_eq!(snapshot.candidates(server()), ["wlan0", "wwan0"]);
        snapshot.interfaces[2].bridge_or_port = true;
        assert_eq!(snapshot.candidates(server()), ["wlan0"]);
        assert!(snapshot.candidates(ip("127.0.0.1")).is_empty());
    }

    #[test]
    fn tunnels_and_veths_count_only_while_no_device_qualifies() {
        let mut snapshot = laptop();
        snapshot.interfaces[1].has_device = true;
        snapshot.interfaces[2].kind = Kind::Tunnel;
        assert_eq!(snapshot.candidates(server()), ["wlan0"]);
        snapshot.interfaces[1].up = false;
        assert_eq!(snapshot.candidates(server()), ["wwan0"]);
        snapshot.interfaces[1].up = true;
        snapshot.interfaces[1].has_device = false;
        snapshot.interfaces[1].kind = Kind::Veth;
        assert_eq!(snapshot.candidates(server()), ["wlan0", "wwan0"]);
    }

    #[test]
    fn a_route_covers_its_range() {
        for (destination, length, address, covered) in [
            ("0.0.0.0", 0, "192.0.2.80", true),
            ("192.0.2.0", 24, "192.0.2.80", true),
            ("192.0.3.0", 24, "192.0.2.80", false),
            ("192.0.2.80", 32, "192.0.2.80", true),
            ("192.0.2.81", 32, "192.0.2.80", false),
            ("::", 0, "192.0.2.80", false),
            ("::", 0, "2001:db8::1", true),
            ("2001:db8::", 64, "2001:db8:0:1::1", false),
            ("2001:db8::1", 128, "2001:db8::1", true),
        ] {
            let route = route(1, destination, length);
            assert_eq!(
                route.covers(ip(address)),
                covered,
                "{destination}/{length} {address}"
            );
        }
    }

    #[test]
    fn only_routes_that_lead_out_are_taken() {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.kind = RouteType::Unicast;
        message.header.table = TABLE_MAIN;
        message.attributes = vec![RouteAttribute::Oif(3)];
        assert_eq!(Route::from_message(&message), [route(3, "0.0.0.0", 0)]);
        message.header.kind = RouteType::BlackHole;
        assert!(Route::from_message(&message).is_empty());
        message.header.kind = RouteType::Unicast;
        message.header.table = TABLE_LOCAL;
        assert!(Route::from_message(&message).is_empty());
    }

    fn laptop() -> Snapshot {
        Snapshot {
            interfaces: vec![
                interface(1, "lo", Kind::Loopback, &[]),
                interface(2, "wlan0", Kind::Other, &["10.1.0.2"]),
                interface(3, "wwan0", Kind::Other, &["10.2.0.2"]),
            ],
            routes: vec![route(2, "0.0.0.0", 0), route(3, "0.0.0.0", 0)],
        }
    }

    fn interface(index: u32, name: &str, kind: Kind, addresses: &[&str]) -> Interface {
        Interface {
            index,
            name: name.into(),
            up: true,
            addresses: addresses.iter().map(|address| ip(address)).collect(),
            bridge_or_port: false,
            has_device: false,
            kind,
        }
    }

    fn route(interface: u32, destination: &str, prefix_length: u8) -> Route {
        Route {
            interface,
            destination: ip(destination),
            prefix_length,
            gateway: None,
        }
    }

    fn server() -> IpAddr {
        ip("192.0.2.80")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }
}
