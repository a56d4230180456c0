//! What can be done to the interfaces of a [`Namespace`], by rtnetlink.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkMessage};
use netlink_packet_route::route::{RouteMessage, RouteScope, RouteType};
use rtnetlink::{
    AddressMessageBuilder, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};

use crate::{Namespace, NetworkError};

/// A route to be added or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Network and prefix length; the default route is `0.0.0.0/0` or `::/0`.
    pub destination: (IpAddr, u8),
    /// The next hop, or `None` for whatever is at the other end of the link.
    pub gateway: Option<IpAddr>,
    /// The interface to leave by.
    pub interface: String,
    /// The lower, the better, among routes to the same destination; `None` leaves it to the kernel.
    pub metric: Option<u32>,
}

impl Route {
    /// The default route over `interface`, of the gateway's family.
    pub fn default_by(gateway: IpAddr, interface: &str, metric: u32) -> Self {
        let everywhere = match gateway {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Self {
            destination: (everywhere, 0),
            gateway: Some(gateway),
            interface: interface.to_owned(),
            metric: Some(metric),
        }
    }

    fn message(&self, interface: u32) -> Result<RouteMessage, rtnetlink::Error> {
        let (network, length) = self.destination;
        let invalid = |error| rtnetlink::Error::InvalidNla(format!("{error}"));
        let mut route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(network, length)
            .map_err(invalid)?
            .output_interface(interface);
        if let Some(gateway) = self.gateway {
            route = route.gateway(gateway).map_err(invalid)?;
        }
        if let Some(metric) = self.metric {
            route = route.priority(metric);
        }
        Ok(route.build())
    }
}

impl Namespace {
    /// Connects two namespaces by a virtual cable; both ends are down and without address.
    pub fn veth(&self, name: &str, peer: &Self, peer_name: &str) -> Result<(), NetworkError> {
        let far_end = LinkMessageBuilder::<LinkUnspec>::default()
            .name(peer_name)
            .setns_by_fd(peer.descriptor())
            .build();
        let link = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(name)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(far_end)))
            .build();
        let action = format!("connect {name} to {peer_name} of {}", peer.name());
        self.netlink(action, |netlink| netlink.link().add(link).execute())
    }

    /// Puts an interface up.
    pub fn set_up(&self, interface: &str) -> Result<(), NetworkError> {
        let change = LinkUnspec::new_with_name(interface).up().build();
        self.change_link(format!("set {interface} up"), change)
    }

    /// Puts an interface down: its routes go, its addresses stay.
    pub fn set_down(&self, interface: &str) -> Result<(), NetworkError> {
        let change = LinkUnspec::new_with_name(interface).down().build();
        self.change_link(format!("set {interface} down"), change)
    }

    /// Sets how many packets may wait in the interface's own queue.
    pub fn set_queue_length(&self, interface: &str, packets: u32) -> Result<(), NetworkError> {
        let change = LinkUnspec::new_with_name(interface)
            .txqueuelen(packets)
            .build();
        self.change_link(format!("set the queue of {interface}"), change)
    }

    /// Removes an interface (of a virtual cable: both ends).
    pub fn remove_link(&self, interface: &str) -> Result<(), NetworkError> {
        let name = interface.to_owned();
        self.netlink(format!("remove {interface}"), |netlink| async move {
            let index = index_of(&netlink, &name).await?;
            netlink.link().del(index).execute().await
        })
    }

    /// Gives an interface an address.
    pub fn add_address(
        &self,
        interface: &str,
        address: IpAddr,
        prefix_length: u8,
    ) -> Result<(), NetworkError> {
        let name = interface.to_owned();
        let action = format!("add {address}/{prefix_length} to {interface}");
        self.netlink(action, move |netlink| async move {
            let index = index_of(&netlink, &name).await?;
            let request = netlink.address().add(index, address, prefix_length);
            request.execute().await
        })
    }

    /// Takes an address from an interface. With the last one the interface's routes go too.
    pub fn remove_address(
        &self,
        interface: &str,
        address: IpAddr,
        prefix_length: u8,
    ) -> Result<(), NetworkError> {
        let name = interface.to_owned();
        let action = format!("remove {address}/{prefix_length} from {interface}");
        self.netlink(action, move |netlink| async move {
            let index = index_of(&netlink, &name).await?;
            let message = address_message(index, address, prefix_length);
            netlink.address().del(message).execute().await
        })
    }

    /// Adds a route.
    pub fn add_route(&self, route: &Route) -> Result<(), NetworkError> {
        let route = route.clone();
        self.netlink(format!("add {route:?}"), |netlink| async move {
            let index = index_of(&netlink, &route.interface).await?;
            netlink.route().add(route.message(index)?).execute().await
        })
    }

    /// Removes a route.
    pub fn remove_route(&self, route: &Route) -> Result<(), NetworkError> {
        let route = route.clone();
        self.netlink(format!("remove {route:?}"), |netlink| async move {
            let index = index_of(&netlink, &route.interface).await?;
            netlink.route().del(route.message(index)?).execute().await
        })
    }

    /// Makes every address of a range the host's own, without adding one: `ip route add local RANGE dev lo`.
    pub fn add_local_range(&self, range: IpAddr, prefix_length: u8) -> Result<(), NetworkError> {
        let action = format!("make {range}/{prefix_length} local");
        self.netlink(action, move |netlink| async move {
            let route = RouteMessageBuilder::<IpAddr>::new()
                .destination_prefix(range, prefix_length)
                .map_err(|error| rtnetlink::Error::InvalidNla(format!("{error}")))?
                .output_interface(index_of(&netlink, "lo").await?)
                .kind(RouteType::Local)
                .scope(RouteScope::Host)
                .table_id(TABLE_LOCAL)
                .build();
            netlink.route().add(route).execute().await
        })
    }

    fn change_link(&self, action: String, change: LinkMessage) -> Result<(), NetworkError> {
        self.netlink(action, |netlink| netlink.link().change(change).execute())
    }
}

async fn index_of(netlink: &rtnetlink::Handle, name: &str) -> Result<u32, rtnetlink::Error> {
    let mut links = netlink.link().get().match_name(name).execute();
    // The kernel says ENODEV where there is none; an empty answer would break its own rules.
    let link = links
        .try_next()
        .await?
        .ok_or(rtnetlink::Error::RequestFailed)?;
    Ok(link.header.index)
}

fn address_message(index: u32, address: IpAddr, prefix_length: u8) -> AddressMessage {
    match address {
        IpAddr::V4(address) => AddressMessageBuilder::<Ipv4Addr>::new()
            .index(index)
            .address(address, prefix_length)
            .build(),
        IpAddr::V6(address) => AddressMessageBuilder::<Ipv6Addr>::new()
            .index(index)
            .address(address, prefix_length)
            .build(),
    }
}

/// The kernel's table of its own addresses (rtnetlink(7)).
const TABLE_LOCAL: u32 = 255;
