//! One network interface, as rtnetlink describes it.

use std::net::IpAddr;

use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressScope,
};
use rtnetlink::packet_route::link::{
    InfoKind, InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State,
};

/// A network interface and the addresses that it could be used from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number of it.
    pub index: u32,
    /// Its name, as the configuration uses it.
    pub name: String,
    /// Whether it can carry traffic: switched on, with a carrier, and ready or of unknown state (as
    /// many wireless and tunnel drivers report).
    pub up: bool,
    /// Its global addresses that can be bound, the preferred ones first.
    pub addresses: Vec<IpAddr>,
    /// Whether it is a bridge or a port of one: the inside of a machine, not a way out of it.
    pub bridge_or_port: bool,
    /// Whether there is a device behind it (/sys/class/net/NAME/device). Told by the kernel itself
    /// since Linux 5.14, so that it is true in a network namespace as well; before, never set.
    pub has_device: bool,
    /// What kind of interface it is.
    pub kind: Kind,
}

/// The kinds of interface that make a difference here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The machine itself.
    Loopback,
    /// One end of a pair between two namespaces of the machine.
    Veth,
    /// A private network inside another network: TUN or TAP, WireGuard, IPsec.
    Tunnel,
    /// Everything else: Ethernet, Wi-Fi, a modem, a VLAN …
    Other,
}

impl Interface {
    /// The interface of a link message, as yet without addresses; `None` if it has no name.
    pub(crate) fn from_message(message: &LinkMessage) -> Option<Self> {
        let mut interface = Self {
            index: message.header.index,
            name: String::new(),
            up: false,
            addresses: Vec::new(),
            bridge_or_port: false,
            has_device: false,
            kind: Kind::Other,
        };
        let flags = message.header.flags;
        let mut ready = false;
        for attribute in &message.attributes {
            if let LinkAttribute::IfName(name) = attribute {
                interface.name.clone_from(name);
            } else if let LinkAttribute::OperState(state) = attribute {
                ready = matches!(state, State::Up | State::Unknown);
            } else if let LinkAttribute::ParentDevName(_) = attribute {
                interface.has_device = true;
            } else if let LinkAttribute::LinkInfo(infos) = attribute {
                infos.iter().for_each(|info| interface.learn(info));
            }
        }
        interface.up = ready && flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
        if flags.contains(LinkFlags::Loopback) {
            interface.kind = Kind::Loopback;
        }
        (!interface.name.is_empty()).then_some(interface)
    }

    fn learn(&mut self, info: &LinkInfo) {
        if let LinkInfo::Kind(kind) = info {
            self.bridge_or_port |= *kind == InfoKind::Bridge;
            if *kind == InfoKind::Veth {
                self.kind = Kind::Veth;
            } else if [InfoKind::Tun, InfoKind::Wireguard, InfoKind::Xfrm].contains(kind) {
                self.kind = Kind::Tunnel;
            }
        } else if let LinkInfo::PortKind(InfoPortKind::Bridge) = info {
            self.bridge_or_port = true;
        }
    }
}

/// An address that a socket can be bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) interface: u32,
    pub(crate) address: IpAddr,
    /// Secondary and deprecated addresses work, but are not what new connections should use.
    pub(crate) preferred: bool,
}

impl Address {
    /// The address of a message; `None` if it is not global or cannot be bound (yet).
    pub(crate) fn from_message(message: &AddressMessage) -> Option<Self> {
        let header = &message.header;
        if !matches!(header.scope, AddressScope::Universe | AddressScope::Site) {
            return None;
        }
        let mut flags = AddressFlags::from_bits_retain(header.flags.bits().into());
        let (mut local, mut address) = (None, None);
        for attribute in &message.attributes {
            if let AddressAttribute::Local(own) = attribute {
                local = Some(*own);
            } else if let AddressAttribute::Address(either) = attribute {
                address = Some(*either);
            } else if let AddressAttribute::Flags(all) = attribute {
                flags = *all;
            }
        }
        if flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed)
            && !flags.contains(AddressFlags::Optimistic)
        {
            return None;
        }
        let preferred = !flags.intersects(AddressFlags::Secondary | AddressFlags::Deprecated);
        // On a point-to-point link the plain address is the other end's.
        Some(Self {
            interface: header.index,
            address: local.or(address)?,
            preferred,
        })
    }
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::address::AddressHeaderFlags;

    use super::*;

    #[test]
    fn up_needs_the_switch_the_carrier_and_a_state_that_is_not_down() {
        let on = LinkFlags::Up | LinkFlags::LowerUp;
        for (flags, state, up) in [
            (on, State::Up, true),
            (on, State::Unknown, true),
            (on, State::Dormant, false),
            (on, State::Down, false),
            (LinkFlags::Up, State::Unknown, false),
            (LinkFlags::Up, State::Up, false),
            (LinkFlags::LowerUp, State::Up, false),
        ] {
            let message = link("wlan0", flags, vec![LinkAttribute::OperState(state)]);
            assert_eq!(
                Interface::from_message(&message).unwrap().up,
                up,
                "{flags:?} {state:?}"
            );
        }
    }

    #[test]
    fn the_kind_is_recognised() {
        let of = |flags, infos| {
            let message = link("x", flags, vec![LinkAttribute::LinkInfo(infos)]);
            let interface = Interface::from_message(&message).unwrap();
            (interface.kind, interface.bridge_or_port)
        };
        let none = LinkFlags::empty();
        assert_eq!(of(LinkFlags::Loopback, vec![]), (Kind::Loopback, false));
        assert_eq!(
            of(none, vec![LinkInfo::Kind(InfoKind::Bridge)]),
            (Kind::Other, true)
        );
        assert_eq!(
            of(none, vec![LinkInfo::Kind(InfoKind::Wireguard)]),
            (Kind::Tunnel, false)
        );
        let port = vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::PortKind(InfoPortKind::Bridge),
        ];
        assert_eq!(of(none, port), (Kind::Veth, true));
    }

    #[test]
    fn a_device_behind_it_is_seen() {
        let parent = LinkAttribute::ParentDevName("0000:00:1f.6".into());
        let with = link("eth0", LinkFlags::Up, vec![parent]);
        assert!(Interface::from_message(&with).unwrap().has_device);
        let without = link("veth0", LinkFlags::Up, vec![]);
        assert!(!Interface::from_message(&without).unwrap().has_device);
    }

    #[test]
    fn a_point_to_point_address_is_the_own_one() {
        let own: IpAddr = "10.64.0.2".parse().unwrap();
        let other: IpAddr = "10.64.0.1".parse().unwrap();
        let message = address(vec![
            AddressAttribute::Address(other),
            AddressAttribute::Local(own),
        ]);
        assert_eq!(Address::from_message(&message).unwrap().address, own);
    }

    #[test]
    fn only_addresses_that_can_be_bound_count() {
        let global: IpAddr = "2001:db8::2".parse().unwrap();
        let mut message = address(vec![AddressAttribute::Address(global)]);
        assert!(Address::from_message(&message).unwrap().preferred);
        message.header.flags = AddressHeaderFlags::Deprecated;
        assert!(!Address::from_message(&message).unwrap().preferred);
        message
            .attributes
            .push(AddressAttribute::Flags(AddressFlags::Tentative));
        assert_eq!(Address::from_message(&message), None);
        message.attributes.pop();
        message.header.scope = AddressScope::Link;
        assert_eq!(Address::from_message(&message), None);
    }

    fn link(name: &str, flags: LinkFlags, attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.flags = flags;
        message.attributes = attributes;
        message.attributes.push(LinkAttribute::IfName(name.into()));
        message
    }

    fn address(attributes: Vec<AddressAttribute>) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.attributes = attributes;
        message
    }
}
