//! A mere change of address on the only network (R11): a switch from the network to itself.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};

use super::world::{LIMIT, NETWORKS, ensure_done, one_network};
use crate::application::{ask, enter};
use crate::handover::{Handover, Service};
use crate::scenario::Lab;
use crate::servers::Echo;
use crate::topology::SERVER;

pub(super) fn run(lab: &Lab) -> Result<()> {
    let mut topology = one_network()?;
    let echo = Echo::start(&topology.server, SERVER.into())?;
    let service = Service::tcp("echo", echo.address(), 7000);
    let mut handover = Handover::start(lab, &topology, &[service], &NETWORKS[..1], "")?;
    let mut stream = enter(&topology.device, service.entrance())?;
    ask(&mut stream, 1)?;

    topology.change_address("wlan0", Ipv4Addr::new(10, 1, 7, 2))?;
    let entry = handover.wait_for_switch(1, LIMIT)?;
    lab.note(&format!("{entry}"));
    ensure_done(&entry, "unexpected")?;
    let fields = ["from", "to", "from_address", "to_address"].map(|name| entry[name].as_str());
    ensure!(
        fields == ["wlan0", "wlan0", "10.1.0.2", "10.1.7.2"].map(Some),
        "not a change of address: {entry}"
    );
    ask(&mut stream, 2)
}
