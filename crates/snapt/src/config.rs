//! What a SNAPT is told before it starts, in types that cannot hold anything wrong.
//!
//! The file that people write is read elsewhere; whoever makes a [`Config`] in another way, such as a test, needs
//! nothing but the types' own constructors.

mod ports;
mod prefix;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use handover_carrier::{PrivateKey, PublicKey};

pub use handover_relay::Service;
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
    /// How long a flow lives on which nothing moves, in whole seconds.
    pub flow_idle: Duration,
    /// Where clients that have no virtual IP of their own get one from.
    pub virtual_ips: Prefix,
    /// Who may attach. Names, keys and virtual IPs differ.
    pub clients: Vec<ClientConfig>,
    /// What clients can reach. Names differ, and ports of one protocol are of one service.
    pub services: Vec<Service>,
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
