//! Where the demo plays: two hosts with two networks between them, or the machine's loopback interface.
//!
//! Hosts of their own need user namespaces. Where the machine refuses them, two loopback addresses stand for the two
//! networks, and a [`Forwarder`](super::forwarder) for what lies between: the daemons are the same, and have no idea.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::Context as _;
use handover_sandbox::{EnterError, enter_user_namespace};
use nix::sys::statvfs::{FsFlags, statvfs};

use super::forwarder::Forwarder;
use super::hosts::{self, Hosts};

/// One of the two networks; the first is preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    Wireless = 0,
    Mobile = 1,
}

impl Network {
    /// In order of preference.
    pub(super) const ALL: [Self; 2] = [Self::Wireless, Self::Mobile];

    /// What it is called in the client's configuration.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Wireless => "wlan0",
            Self::Mobile => "wwan0",
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One of the two hosts; on the loopback stage both are this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Device,
    Server,
}

/// What the machine permits.
#[derive(Debug)]
pub(super) enum Setting {
    /// Hosts of the demo's own.
    Hosts,
    /// The loopback interface, because of this.
    Loopback { reason: String },
}

impl Setting {
    /// Enters a user namespace, or finds out why not. The process must have one thread only.
    pub(super) fn choose(loopback: bool) -> Result<Self, EnterError> {
        if loopback {
            let reason = "--loopback was given".to_owned();
            return Ok(Self::Loopback { reason });
        }
        if has_settings_read_only() {
            let reason = format!("{SETTINGS} is read-only here");
            return Ok(Self::Loopback { reason });
        }
        match enter_user_namespace() {
            Ok(_) => Ok(Self::Hosts),
            Err(error @ EnterError::Refused { .. }) => Ok(Self::Loopback {
                reason: error.to_string(),
            }),
            Err(error @ EnterError::HalfEntered { .. }) => Err(error),
        }
    }

    /// What the user should know before it begins.
    pub(super) fn introduction(&self) -> String {
        match self {
            Self::Hosts => format!(
                "Two hosts of the demo's own, in namespaces: a device with {} and {}, a server.",
                Network::Wireless,
                Network::Mobile,
            ),
            Self::Loopback { reason } => format!(
                "No hosts of the demo's own ({reason}).\n\
                 So both networks are loopback addresses, with a forwarder of the demo's in front of the server.",
            ),
        }
    }
}

/// In some containers: then no host of one's own can be made a gateway.
fn has_settings_read_only() -> bool {
    statvfs(SETTINGS).is_ok_and(|file_system| file_system.flags().contains(FsFlags::ST_RDONLY))
}

const SETTINGS: &str = "/proc/sys/net";

/// The place itself.
#[derive(Debug)]
pub(super) enum Stage {
    Hosts {
        hosts: Box<Hosts>,
        server: SocketAddr,
    },
    Loopback {
        forwarder: Forwarder,
        server: SocketAddr,
    },
}

impl Stage {
    /// Builds it. Needs a runtime.
    pub(super) fn build(setting: Setting) -> anyhow::Result<Self> {
        match setting {
            Setting::Hosts => Ok(Self::Hosts {
                hosts: Box::new(Hosts::build()?),
                server: SocketAddr::new(hosts::SERVER, SERVER_PORT),
            }),
            Setting::Loopback { .. } => {
                let server =
                    SocketAddr::new(LOOPBACK_OF_SERVER, free_ports(LOOPBACK_OF_SERVER, 1)?[0]);
                let forwarder = Forwarder::start(server).context("the forwarder")?;
                Ok(Self::Loopback { forwarder, server })
            }
        }
    }

    /// Does something on a host.
    pub(super) fn run<T, F>(&self, host: Host, job: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        match (self, host) {
            (Self::Hosts { hosts, .. }, Host::Device) => hosts.device.run(job),
            (Self::Hosts { hosts, .. }, Host::Server) => hosts.server.run(job),
            (Self::Loopback { .. }, Host::Device | Host::Server) => job(),
        }
    }

    /// The address at which the client's applications find the services.
    pub(super) const fn entrance(&self) -> IpAddr {
        match self {
            Self::Hosts { .. } => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Self::Loopback { .. } => LOOPBACK_OF_ENTRANCES,
        }
    }

    /// Ports at the entrance that nobody uses.
    pub(super) fn free_ports(&self, count: usize) -> anyhow::Result<Vec<u16>> {
        let entrance = self.entrance();
        self.run(Host::Device, move || free_ports(entrance, count))
    }

    /// Where the server has to listen.
    pub(super) fn server(&self) -> SocketAddr {
        match self {
            Self::Hosts { server, .. } | Self::Loopback { server, .. } => *server,
        }
    }

    /// Where the client finds the server.
    pub(super) fn server_as_seen_by_the_client(&self) -> SocketAddr {
        match self {
            Self::Hosts { server, .. } => *server,
            Self::Loopback { forwarder, .. } => forwarder.address(),
        }
    }

    /// The interface that leads to a network, and the device's address on it.
    pub(super) fn path(&self, network: Network) -> (&'static str, IpAddr) {
        match self {
            Self::Hosts { .. } => (network.name(), hosts::device_address(network).into()),
            Self::Loopback { .. } => {
                let address = Ipv4Addr::new(127, 0, 1 + network as u8, 2);
                ("lo", address.into())
            }
        }
    }

    /// Lets a network swallow every packet from now on; nobody is told.
    pub(super) fn cut(&self, network: Network) -> anyhow::Result<()> {
        match self {
            Self::Hosts { hosts, .. } => hosts.cut(network)?,
            Self::Loopback { forwarder, .. } => forwarder.cut(self.path(network).1),
        }
        Ok(())
    }
}

/// Free at this moment; if another program takes one in the next, a daemon says so and the demo fails.
fn free_ports(address: IpAddr, count: usize) -> anyhow::Result<Vec<u16>> {
    // All are held until all are known: else the same one might come twice.
    let listeners: Vec<_> = (0..count)
        .map(|_| TcpListener::bind((address, 0)))
        .collect::<Result<_, _>>()
        .context("no port is free")?;
    let ports = listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()));
    ports.collect()
}

/// Nothing else of the demo binds here, so no other part of it can take the server's port.
const LOOPBACK_OF_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Nor here, so none can take a port that was found free before the client listens on it.
const LOOPBACK_OF_ENTRANCES: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

/// On a host of its own every port is free: this is the one that the documentation uses.
const SERVER_PORT: u16 = 7400;
