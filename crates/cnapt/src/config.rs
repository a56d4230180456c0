//! What a CNAPT is told before it starts, in types that cannot hold anything wrong.
//!
//! The file that people write is read elsewhere; whoever makes a [`Config`] in another way, such as a test, needs
//! nothing but the types' own constructors.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use handover_carrier::{PrivateKey, PublicKey};

pub use handover_relay::Service;

/// Everything that a CNAPT is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the server is: addresses and names of one and the same SNAPT, never empty.
    pub server: Vec<ServerAddress>,
    /// Who the server is.
    pub server_key: PublicKey,
    /// Who this CNAPT is.
    pub key: PrivateKey,
    /// The control socket.
    pub control: PathBuf,
    /// Where applications find the server's services: loopback, or the address of a dedicated box (R2, R22).
    pub bind: Vec<IpAddr>,
    /// What links run over.
    pub carrier: Carrier,
    /// Whether both networks may carry at once for the moment of a planned switch.
    pub overlap: bool,
    /// Who decides when to switch.
    pub decision: Decision,
    /// Told of what happens to the session; run by `sh -c`.
    pub notify: Option<String>,
    /// How long a hook may take before it is killed.
    pub hook_timeout: Duration,
    /// How long a flow lives on which nothing moves, in whole seconds.
    pub flow_idle: Duration,
    /// The networks in order of preference; empty: every usable interface is one, named after itself.
    pub networks: Vec<NetworkConfig>,
    /// Services of applications on the device, for applications at the server (R5). Names differ, and ports of
    /// one protocol are of one service.
    pub services: Vec<Service>,
}

/// A modem dials for half a minute; who waits for an answer longer has none.
pub const HOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// The hooks of a switch together stay within the session's own bound: closing two networks is four of them.
pub const LONGEST_HOOK_TIMEOUT: Duration = Duration::from_secs(120);

/// Probing more often than NATs forget costs a radio its sleep, and finds nothing that the applications' own
/// traffic would not.
pub const LEAST_KEEPALIVE: Duration = Duration::from_secs(1);

/// One way to name the server: a host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerAddress {
    /// Its name or its address.
    pub host: Host,
    /// Its port.
    pub port: NonZeroU16,
}

/// A host as people write it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// Its address.
    Address(IpAddr),
    /// Its name, which the system's resolver is asked for.
    Name(String),
}

/// What links run over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// The best that a network lets through.
    Auto,
    /// TLS 1.3 over TCP.
    Tls,
    /// QUIC over UDP.
    Quic,
}

/// Who decides when to switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A lost network is replaced by itself.
    Automatic,
    /// The user orders every change of network; the same network is attached again by itself.
    Manual,
    /// The device holds one network at a time: the user orders every switch, also back to the same one (R19).
    Single,
}

/// One network that the device may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkConfig {
    /// What the user calls it.
    pub name: String,
    /// The interface that leads to it.
    pub interface: String,
    /// The source address to use on it; none: the interface's own choice.
    pub address: Option<IpAddr>,
    /// What its bytes cost.
    pub cost: Cost,
    /// Whether a link is kept ready on it while another carries.
    pub standby: Standby,
    /// How long nothing may pass on an idle link before it shows that it lives; none: as on every network.
    pub keepalive: Option<Duration>,
    /// Brings the network up (R20); run by `sh -c`. Without it the network is there or not.
    pub up: Option<String>,
    /// Takes it down.
    pub down: Option<String>,
    /// The VPN that links over it go through (R21).
    pub vpn: Option<Vpn>,
}

/// A VPN between the device and the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vpn {
    /// The interface that it has while it is up.
    pub interface: String,
    /// Brings it up; run by `sh -c`.
    pub up: String,
    /// Takes it down.
    pub down: Option<String>,
}

impl NetworkConfig {
    /// A network of which nothing is known but its interface.
    #[must_use]
    pub const fn of_interface(name: String, interface: String) -> Self {
        Self {
            name,
            interface,
            address: None,
            cost: Cost::Free,
            standby: Standby::Auto,
            keepalive: None,
            up: None,
            down: None,
            vpn: None,
        }
    }
}

/// What a network's bytes cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cost {
    /// Nothing.
    Free,
    /// They count against an allowance.
    Metered,
    /// Each is paid for.
    Expensive,
}

/// Whether a link is kept ready on a network while another carries the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standby {
    /// On a free network.
    Auto,
    /// Always.
    Yes,
    /// Never.
    No,
}

/// The text names no host and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a host and a port, such as `server.example.org:7400`, `192.0.2.1:7400` or `[2001:db8::1]:7400`"
)]
pub struct ParseServerAddressError;

impl FromStr for ServerAddress {
    type Err = ParseServerAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = text.rsplit_once(':').ok_or(ParseServerAddressError)?;
        Ok(Self {
            host: host.parse()?,
            port: port.parse().map_err(|_| ParseServerAddressError)?,
        })
    }
}

impl FromStr for Host {
    type Err = ParseServerAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(inside) = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            let address: Ipv6Addr = inside.parse().map_err(|_| ParseServerAddressError)?;
            return Ok(Self::Address(address.into()));
        }
        let looks_like_an_address = text
            .chars()
            .all(|character| character.is_ascii_digit() || character == '.');
        if looks_like_an_address {
            let address = text.parse().map_err(|_| ParseServerAddressError)?;
            return Ok(Self::Address(address));
        }
        if is_host_name(text) {
            return Ok(Self::Name(text.into()));
        }
        Err(ParseServerAddressError)
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(address) => SocketAddr::new(*address, self.port.get()).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=LABEL_BYTES).contains(&label.len())
            && label.bytes().all(inside)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A final dot says that the name is complete.
    let name = text.strip_suffix('.').unwrap_or(text);
    name.len() <= HOST_NAME_BYTES && name.split('.').all(is_label)
}

/// RFC 1035, section 2.3.4.
const LABEL_BYTES: usize = 63;

/// RFC 1035, section 2.3.4: 255 on the wire are 253 in text.
const HOST_NAME_BYTES: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_name_or_an_address_with_a_port() {
        for text in [
            "server.example.org:7400",
            "localhost:1",
            "192.0.2.1:65535",
            "[2001:db8::1]:7400",
        ] {
            let server: ServerAddress = text.parse().unwrap();
            assert_eq!(server.to_string(), text);
        }
        let server: ServerAddress = "192.0.2.1:7400".parse().unwrap();
        assert_eq!(server.host, Host::Address([192, 0, 2, 1].into()));
    }

    #[test]
    fn a_server_without_a_port_or_with_a_mistyped_address_is_refused() {
        for text in [
            "",
            "server.example.org",
            "server.example.org:",
            "server.example.org:0",
            "server.example.org:65536",
            ":7400",
            "2001:db8::1:7400",
            "[192.0.2.1]:7400",
            "192.0.2.256:7400",
            "192.0.2:7400",
            "two words:7400",
            "-x.org:7400",
            "a..b:7400",
            "http://server:7400",
        ] {
            let result = text.parse::<ServerAddress>();
            assert_eq!(result, Err(ParseServerAddressError), "{text:?}");
        }
    }
}
