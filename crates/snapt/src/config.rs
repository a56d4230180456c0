//! What a SNAPT is told before it starts, in types that cannot hold anything wrong.
//!
//! The file that people write is read elsewhere; whoever makes a [`Config`] in another way, such as a test, needs
//! nothing but the types' own constructors.

mod ports;
mod prefix;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use handover_carrier::{PrivateKey, PublicKey};
use handover_proto::wire::TransportProtocol;

pub use ports::{ParsePortSetError, PortSet};
pub use prefix::{ParsePrefixError, Prefix};

/// Everything that a SNAPT is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen for clients, never empty.
    pub listen: Vec<SocketAddr>,
    /// Who this SNAPT is.
    pub key: PrivateKey,
    /// The control socket.
    pub control: PathBuf,
    /// How long the session of a silent client is kept (R13).
    pub switch_timeout: Duration,
    /// Where clients that have no virtual IP of their own get one from.
    pub virtual_ips: Prefix,
    /// Who may attach. Names, keys and virtual IPs differ.
    pub clients: Vec<ClientConfig>,
    /// What clients can reach. Names differ, and ports of one protocol are of one service.
    pub services: Vec<ServerService>,
}

/// One client that may attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// What the administrator calls it.
    pub name: String,
    /// Who it is.
    pub key: PublicKey,
    /// Its own virtual IP; none: one from the pool.
    pub virtual_ip: Option<IpAddr>,
    /// The ports on which it may offer services at its virtual IP.
    pub services: PortSet,
}

/// One service that the SNAPT reaches for its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerService {
    /// Its name, under which clients ask for it.
    pub name: String,
    /// What it speaks.
    pub protocol: TransportProtocol,
    /// Where the server application listens: for the first of `ports`, and for the others as far behind it.
    pub target: SocketAddr,
    /// Where client applications find it: never port 0, never none, and never beyond the target's last port.
    pub ports: RangeInclusive<u16>,
}

impl ServerService {
    /// Where the server application listens for `port`, which is one of the service's.
    #[must_use]
    pub fn target_of(&self, port: u16) -> SocketAddr {
        let behind = port.saturating_sub(*self.ports.start());
        let target = self.target.port().saturating_add(behind);
        SocketAddr::new(self.target.ip(), target)
    }
}
