//! What most scenarios begin with: two ordinary networks, and an application that asks and is answered.

use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::application::enter;
use crate::handover::{Handover, Service};
use crate::link::Conditions;
use crate::scenario::Lab;
use crate::servers::Manual;
use crate::topology::{Medium, SERVER, Topology};

/// For anything that takes some seconds at most, on a busy machine.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// The device's networks, the preferred one first.
pub(super) const NETWORKS: [&str; 2] = ["wlan0", "wwan0"];

/// Two networks of 100 Mbit/s and 5 ms one way.
pub(super) fn two_networks() -> Result<Topology> {
    let link = Medium::Emulated(Conditions::new(100, 5));
    Topology::new(&NETWORKS.map(|name| (name, link)))
}

/// One such network: while it is away there is no other.
pub(super) fn one_network() -> Result<Topology> {
    let link = Medium::Emulated(Conditions::new(100, 5));
    Topology::new(&[(NETWORKS[0], link)])
}

/// A fast network and a slower, longer one, both with jitter and losses.
pub(super) fn unequal_networks() -> Result<Topology> {
    let wlan = Conditions::new(150, 10).with_jitter(2).with_loss(0.005);
    let wwan = Conditions::new(50, 30).with_jitter(5).with_loss(0.005);
    Topology::new(&[
        (NETWORKS[0], Medium::Emulated(wlan)),
        (NETWORKS[1], Medium::Emulated(wwan)),
    ])
}

/// A server application in the scenario's hands, reached through handover over two networks.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) handover: Handover,
    pub(super) service: Service<'static>,
    pub(super) server: Manual,
    pub(super) topology: Topology,
}

impl Pair {
    pub(super) fn start(lab: &Lab) -> Result<Self> {
        Self::start_over(lab, two_networks()?, &NETWORKS)
    }

    /// With a client that has these keys, too.
    pub(super) fn start_so(lab: &Lab, options: &str) -> Result<Self> {
        Self::start_with(two_networks()?, |topology, services| {
            Handover::start(lab, topology, services, &NETWORKS, options)
        })
    }

    /// Over one network only.
    pub(super) fn start_alone(lab: &Lab) -> Result<Self> {
        Self::start_over(lab, one_network()?, &NETWORKS[..1])
    }

    /// With daemons whose use of the machine is looked at.
    pub(super) fn start_for_accounting(lab: &Lab) -> Result<Self> {
        Self::start_with(two_networks()?, |topology, services| {
            Handover::start_for_accounting(lab, topology, services, &NETWORKS)
        })
    }

    fn start_over(lab: &Lab, topology: Topology, networks: &[&str]) -> Result<Self> {
        Self::start_with(topology, |topology, services| {
            Handover::start(lab, topology, services, networks, "")
        })
    }

    pub(super) fn start_with(
        topology: Topology,
        start: impl FnOnce(&Topology, &[Service<'_>]) -> Result<Handover>,
    ) -> Result<Self> {
        let server = Manual::start(&topology.server, SERVER.into())?;
        let service = Service::tcp("manual", server.address(), 7000);
        Ok(Self {
            handover: start(&topology, &[service])?,
            service,
            server,
            topology,
        })
    }

    /// A connection from end to end: the client application's socket and the server application's.
    pub(super) fn connect(&self) -> Result<(TcpStream, TcpStream)> {
        let client = enter(&self.topology.device, self.service.entrance())?;
        Ok((client, self.server.accept(LIMIT)?))
    }
}

/// Fails unless the switch was done, and of this kind.
pub(super) fn ensure_done(entry: &Value, kind: &str) -> Result<()> {
    ensure!(
        entry["outcome"] == "done" && entry["kind"] == kind,
        "not a {kind} switch that was done: {entry}"
    );
    Ok(())
}
