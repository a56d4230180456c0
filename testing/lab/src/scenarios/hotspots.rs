//! Two hotspots on one interface (R11, R20): a hook leaves the one by joining the other, with its address and route.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};

use super::hooked::{Hooked, HookedNetwork};
use super::world::{LIMIT, ensure_done, one_network};
use crate::application::{Application, ask};
use crate::scenario::Lab;
use crate::servers::echo;

/// Associating is not the lab's affair; what it leads to is.
const JOIN_CAFE: &str = "ip address flush dev wlan0
ip address add 10.1.0.2/24 dev wlan0
ip route add default via 10.1.0.1 dev wlan0";

const JOIN_STATION: &str = "ip address flush dev wlan0
ip address add 10.3.0.2/24 dev wlan0
ip route add default via 10.3.0.1 dev wlan0";

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = one_network()?;
    let gateway = Ipv4Addr::new(10, 3, 0, 1).into();
    topology.server.add_address("far-1", gateway, 24)?;
    let hotspot = |name, hooks| HookedNetwork {
        name,
        interface: "wlan0",
        options: "",
        hooks,
    };
    let networks = [
        hotspot("cafe", &[("up", JOIN_CAFE)]),
        hotspot("station", &[("up", JOIN_STATION)]),
    ];
    let mut world = Hooked::start(lab, topology, &networks, "")?;
    world.ensure_log(&["up cafe wlan0"])?;
    let (mut client, server) = world.pair.connect()?;
    let answering = Application::start("echo", move || Ok(echo(server)?))?;
    ask(&mut client, 1)?;

    let entry = world.pair.handover.switch("station")?;
    lab.note(&format!("{entry}"));
    ensure_done(&entry, "planned")?;
    let addresses = ["from_address", "to_address"].map(|name| entry[name].as_str());
    ensure!(addresses == ["10.1.0.2", "10.3.0.2"].map(Some), "{entry}");
    world.ensure_log(&["up station wlan0"])?;
    ask(&mut client, 2)?;

    // The station is left behind.
    let lost = Ipv4Addr::new(10, 3, 0, 2).into();
    world
        .pair
        .topology
        .device
        .remove_address("wlan0", lost, 24)?;
    ensure_done(
        &world.pair.handover.wait_for_switch(2, LIMIT)?,
        "unexpected",
    )?;
    world.ensure_log(&["up cafe wlan0"])?;
    ask(&mut client, 3)?;
    drop(client);
    answering.finish(LIMIT)
}
