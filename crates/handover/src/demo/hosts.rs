//! The stage in namespaces: a device, a server, and between them a gateway for each of two networks.
//!
//! ```text
//!            wlan0 ── gateway of the wireless network ──┐
//!   device                                              server 10.0.0.1
//!            wwan0 ── gateway of the mobile network ────┘
//! ```
//!
//! A cut network is one whose gateway forwards nothing any more. The kernel then drops packets without an answer, and
//! the device's interface stays up: nothing but silence tells it.

use std::net::{IpAddr, Ipv4Addr};

use handover_sandbox::{Namespace, NetworkError, Route};

use super::stage::Network;

/// Where the server is, on its loopback interface: reached over either network.
pub(super) const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// All cables have networks of this size.
const PREFIX_LENGTH: u8 = 24;

/// The hosts; what they share are cables only.
#[derive(Debug)]
pub(super) struct Hosts {
    pub(super) device: Namespace,
    pub(super) server: Namespace,
    /// In the order of [`Network::ALL`].
    gateways: [Namespace; 2],
}

impl Hosts {
    /// Makes the hosts and connects them.
    pub(super) fn build() -> Result<Self, NetworkError> {
        let (device, server) = (Namespace::new("device")?, Namespace::new("server")?);
        server.add_address("lo", SERVER, 32)?;
        let connect = |network| connect(network, &device, &server);
        let gateways = [connect(Network::Wireless)?, connect(Network::Mobile)?];
        Ok(Self {
            device,
            server,
            gateways,
        })
    }

    /// Lets a network swallow everything, for good.
    pub(super) fn cut(&self, network: Network) -> Result<(), NetworkError> {
        self.gateways[network as usize].set_sysctl("ipv4/ip_forward", "0")
    }
}

/// The device's address on a network.
pub(super) fn device_address(network: Network) -> Ipv4Addr {
    address(network, 0, 2)
}

/// Lays the cables from the device to the server over a new gateway, which is returned.
fn connect(
    network: Network,
    device: &Namespace,
    server: &Namespace,
) -> Result<Namespace, NetworkError> {
    let interface = network.name();
    let gateway = Namespace::new(&format!("gateway of {interface}"))?;
    gateway.set_sysctl("ipv4/ip_forward", "1")?;
    device.veth(interface, &gateway, NEAR)?;
    gateway.veth(FAR, server, interface)?;
    let ends = [
        (device, interface, device_address(network)),
        (&gateway, NEAR, address(network, 0, 1)),
        (&gateway, FAR, address(network, 1, 1)),
        (server, interface, address(network, 1, 2)),
    ];
    for (host, interface, address) in ends {
        host.add_address(interface, address.into(), PREFIX_LENGTH)?;
        host.set_up(interface)?;
    }
    device.add_route(&Route::default_by(
        address(network, 0, 1).into(),
        interface,
        100 * (1 + network as u32),
    ))?;
    gateway.add_route(&Route {
        destination: (SERVER, 32),
        gateway: Some(address(network, 1, 2).into()),
        interface: FAR.to_owned(),
        metric: None,
    })?;
    server.add_route(&Route {
        destination: (address(network, 0, 0).into(), PREFIX_LENGTH),
        gateway: Some(address(network, 1, 1).into()),
        interface: interface.to_owned(),
        metric: None,
    })?;
    Ok(gateway)
}

/// 10.1.x.x is the wireless network, 10.2.x.x the mobile one; `cable` 0 is the device's, 1 the server's.
fn address(network: Network, cable: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1 + network as u8, cable, host)
}

/// A gateway's interface towards the device.
const NEAR: &str = "near";

/// A gateway's interface towards the server.
const FAR: &str = "far";
