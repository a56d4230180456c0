//! The ways from the application on the device to the one on the server that are measured side by side.

use std::error::Error;
use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use socket2::Protocol;

use super::event::Event;
use super::world::{Condition, Path, WLAN, WWAN, World};
use crate::application::PATIENCE;
use crate::facility::Facility;
use crate::handover::{Client, Handover, KNOWN_CLIENTS, Service};
use crate::multipath;
use crate::scenario::Carrier;
use crate::scenario::Lab;
use crate::servers::Manual;
use crate::sockets::{connect_all, connect_by};
use crate::wait::wait_until;

/// A way, before it is taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Way {
    Handover(Carrier, Standby),
    /// Multipath TCP of the kernel.
    Multipath,
    /// A TCP connection over one network.
    Plain(&'static Path),
}

/// Whether a link is held ready on the network that is not the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standby {
    Yes,
    No,
}

/// A way that is there.
#[derive(Debug)]
pub(super) enum Running {
    Handover {
        modules: Box<Handover>,
        standby: Standby,
        /// What had crossed the second network before.
        packets: u64,
    },
    Multipath {
        /// Backup subflows that were joined before.
        joined: u64,
    },
    Plain(&'static Path),
}

/// What is called a standby is none.
#[derive(Debug)]
pub(super) struct NoStandby;

impl fmt::Display for NoStandby {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no standby link is held: nothing crossed {} in {STANDBY_LIMIT:?}",
            WWAN.name
        )
    }
}

impl Error for NoStandby {}

/// Where handover offers the server application on the device.
const PORT: u16 = 7101;

const NETWORKS: [&str; 2] = [WLAN.name, WWAN.name];

/// A server that was asked accepts.
const ACCEPT_LIMIT: Duration = Duration::from_secs(30);

/// Fewer than may wait at a listener.
const AT_ONCE: usize = 64;

/// No carrier attaches with fewer, and the kernel's own solicitations are not so many.
const STANDBY_PACKETS: u64 = 6;

/// Dialling begins with the session.
const STANDBY_LIMIT: Duration = Duration::from_secs(5);

/// A backup subflow is joined some round trips after the first bytes.
const JOIN_LIMIT: Duration = Duration::from_secs(10);

impl Way {
    /// All of them, over these carriers.
    pub(super) fn all(carriers: &[Carrier]) -> Vec<Self> {
        let with = |standby| {
            carriers
                .iter()
                .map(move |carrier| Self::Handover(*carrier, standby))
        };
        let peers = [Self::Multipath, Self::Plain(&WLAN), Self::Plain(&WWAN)];
        with(Standby::Yes)
            .chain(with(Standby::No))
            .chain(peers)
            .collect()
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::Handover(carrier, Standby::Yes) => {
                format!("handover {}, standby", carrier.name())
            }
            Self::Handover(carrier, Standby::No) => format!("handover {}, cold", carrier.name()),
            Self::Multipath => "MPTCP, backup subflow".to_owned(),
            Self::Plain(path) => format!("TCP on {}", path.name),
        }
    }

    /// Whether there is anything to learn from it.
    pub(super) fn knows(self, event: Event, condition: Condition) -> bool {
        match self {
            _ if !condition.is_for(event) => false,
            Self::Handover(..) => true,
            Self::Multipath => !event.is_passing(),
            // It lives through none.
            Self::Plain(_) => event == Event::None,
        }
    }

    /// Why it cannot be taken on this machine, if it cannot.
    pub(super) fn missing(self) -> Option<String> {
        let needs: &[Facility] = match self {
            Self::Handover(..) | Self::Plain(_) => &[],
            Self::Multipath => &multipath::NEEDS,
        };
        needs.iter().find_map(|need| need.missing())
    }

    pub(super) fn start(self, lab: &Lab, world: &World) -> Result<Running> {
        Ok(match self {
            Self::Handover(carrier, standby) => Running::Handover {
                standby,
                packets: world.count_packets(&WWAN)?,
                modules: Box::new(start_handover(lab, world, carrier, standby)?),
            },
            Self::Multipath => {
                multipath::begin(&world.topology, WLAN.name, WWAN.name)?;
                let joined = multipath::count_joined(&world.topology.server)?;
                Running::Multipath { joined }
            }
            Self::Plain(path) => Running::Plain(path),
        })
    }
}

fn start_handover(
    lab: &Lab,
    world: &World,
    carrier: Carrier,
    standby: Standby,
) -> Result<Handover> {
    let standby = match standby {
        Standby::Yes => "yes",
        Standby::No => "no",
    };
    let client = Client {
        network_options: &format!("standby = \"{standby}\""),
        ..Client::named(KNOWN_CLIENTS[0], &NETWORKS)
    };
    let service = service(world);
    let lab = lab.over(carrier)?;
    Handover::start_with(&lab, &world.topology, &[service], &client, "")
}

fn service(world: &World) -> Service<'static> {
    Service::tcp("ticks", world.server.address(), PORT)
}

impl Running {
    /// A connection from end to end: the client application's socket and the server application's.
    pub(super) fn connect(&self, world: &World) -> Result<(TcpStream, TcpStream)> {
        let device = &world.topology.device;
        let interface = match self {
            Self::Plain(path) => Some(path.name),
            Self::Handover { .. } | Self::Multipath { .. } => None,
        };
        let (protocol, entrance) = self.entrance(world)?;
        let client = connect_by(protocol, device, interface, entrance, PATIENCE)?;
        client.set_read_timeout(Some(PATIENCE))?;
        client.set_write_timeout(Some(PATIENCE))?;
        Ok((client, self.server(world)?.accept(ACCEPT_LIMIT)?))
    }

    /// As many connections, of which nobody asks which end belongs to which.
    pub(super) fn crowd(&self, world: &World, count: usize) -> Result<Vec<TcpStream>> {
        let (device, (protocol, entrance)) = (&world.topology.device, self.entrance(world)?);
        let mut ends = Vec::new();
        for begin in (0..count).step_by(AT_ONCE) {
            let batch = AT_ONCE.min(count - begin);
            ends.extend(connect_all(protocol, device, entrance, PATIENCE, batch)?);
            for _ in 0..batch {
                ends.push(self.server(world)?.accept(ACCEPT_LIMIT)?);
            }
        }
        Ok(ends)
    }

    /// Waits until `count` connections that are in use have everything that a switch may need.
    pub(super) fn wait_until_ready(&self, world: &World, count: usize) -> Result<()> {
        match self {
            Self::Handover {
                standby: Standby::Yes,
                packets,
                ..
            } => {
                let held = wait_until("a standby link", STANDBY_LIMIT, || {
                    Ok(world.count_packets(&WWAN)? >= packets + STANDBY_PACKETS)
                });
                held.map_err(|_| NoStandby.into())
            }
            Self::Multipath { joined } => {
                let server = &world.topology.server;
                wait_until("the backup subflows", JOIN_LIMIT, || {
                    Ok(multipath::count_joined(server)? >= joined + count as u64)
                })
            }
            Self::Handover {
                standby: Standby::No,
                ..
            }
            | Self::Plain(_) => Ok(()),
        }
    }

    /// Orders a switch and waits for its end.
    pub(super) fn order(&self, world: &World, from: &Path, to: &Path) -> Result<()> {
        match self {
            Self::Handover { modules, .. } => {
                let entry = modules.switch(to.name)?;
                ensure!(entry["outcome"] == "done", "the switch failed: {entry}");
                Ok(())
            }
            Self::Multipath { .. } => multipath::switch(&world.topology, from.name, to.name),
            Self::Plain(path) => anyhow::bail!("TCP stays on {}", path.name),
        }
    }

    /// The switches that it lists, oldest first.
    pub(super) fn switches(&self) -> Result<Vec<Value>> {
        let Self::Handover { modules, .. } = self else {
            return Ok(Vec::new());
        };
        let status = modules.client_status()?;
        status["switches"]
            .as_array()
            .cloned()
            .context("no switches in the status")
    }

    /// Where the client application connects, and by what.
    fn entrance(&self, world: &World) -> Result<(Protocol, SocketAddr)> {
        Ok(match self {
            Self::Handover { .. } => (Protocol::TCP, service(world).entrance()),
            Self::Multipath { .. } => (Protocol::MPTCP, self.server(world)?.address()),
            Self::Plain(_) => (Protocol::TCP, self.server(world)?.address()),
        })
    }

    fn server<'a>(&self, world: &'a World) -> Result<&'a Manual> {
        match self {
            Self::Handover { .. } | Self::Plain(_) => Ok(&world.server),
            Self::Multipath { .. } => {
                let server = world.multipath_server.as_ref();
                server.context("there is no server of Multipath TCP")
            }
        }
    }
}
