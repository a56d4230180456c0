//! Datagrams both ways, small ones and the largest, through planned and unexpected switches: never twice,
//! none lost by a planned one, and the applications that are asked see one address and port from first to last.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Result, ensure};

use super::client_services::virtual_ip;
use super::talk::{Answering, Talks, application};
use super::world::{LIMIT, NETWORKS, ensure_done, two_networks};
use crate::handover::{Client, Handover, Service};
use crate::scenario::Lab;
use crate::topology::SERVER;

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = two_networks()?;
    let server = Answering::start(&topology.server, SERVER.into())?;
    let device = Answering::start(&topology.device, Ipv4Addr::LOCALHOST.into())?;
    let client = Client {
        services: &[Service::udp("agent", device.address, 9000)],
        ..Client::named("client", &NETWORKS)
    };
    let service = Service::udp("answers", server.address, 7000);
    let mut handover = Handover::start_with(lab, &topology, &[service], &client, "")?;
    let agent = SocketAddr::new(virtual_ip(&handover)?, 9000);
    let applications = [
        application(&topology.device, service.entrance())?,
        application(&topology.server, agent)?,
    ];

    let talks = Talks::start(&applications, 0)?;
    for network in ["wwan0", "wlan0", "wwan0", "wlan0"] {
        talks.wait_for_answers()?;
        ensure_done(&handover.switch(network)?, "planned")?;
    }
    talks.wait_for_answers()?;
    let planned = talks.finish()?;
    lab.note(&format!("planned: {planned:?}"));
    ensure!(
        planned.iter().all(|one| one.lost.is_empty()),
        "a planned switch lost datagrams: {planned:?}"
    );

    let talks = Talks::start(&applications, planned[0].asked.max(planned[1].asked))?;
    for (index, network) in ["wlan0", "wwan0", "wlan0"].into_iter().enumerate() {
        talks.wait_for_answers()?;
        topology.cut(network)?;
        let switch = handover.wait_for_switch(5 + index, LIMIT)?;
        ensure_done(&switch, "unexpected")?;
        topology.restore(network)?;
    }
    talks.wait_for_answers()?;
    lab.note(&format!("unexpected: {:?}", talks.finish()?));

    for (name, application) in [("server", server), ("client", device)] {
        application.ensure_steady(name)?;
    }
    ensure_flows(lab, &handover)
}

fn ensure_flows(lab: &Lab, handover: &Handover) -> Result<()> {
    let (client, server) = (handover.client_status()?, handover.server_status()?);
    for (name, status) in [("CNAPT", &client), ("SNAPT", &server["clients"][0])] {
        lab.note(&format!("{name} dropped {}", status["datagrams_dropped"]));
        ensure!(status["flows"] == 2, "flows of the {name}: {status}");
    }
    Ok(())
}
