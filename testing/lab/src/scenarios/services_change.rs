//! The server takes a service away and adds another while a connection of the first lives: the device
//! follows at once, and the connection lives on, across a switch too.

use anyhow::{Context, Result, ensure};

use super::world::{LIMIT, NETWORKS, ensure_done, two_networks};
use crate::application::{ask, enter};
use crate::handover::{Handover, Service};
use crate::scenario::Lab;
use crate::servers::Echo;
use crate::topology::SERVER;

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = two_networks()?;
    let echo = Echo::start(&topology.server, SERVER.into())?;
    let service = |name, port| Service::tcp(name, echo.address(), port);
    let (leaving, staying) = (service("leaving", 7000), service("staying", 7001));
    let coming = service("coming", 7002);
    let mut handover = Handover::start(lab, &topology, &[leaving, staying], &NETWORKS, "")?;
    let mut living = enter(&topology.device, leaving.entrance())?;
    ask(&mut living, 1)?;

    (handover.server).reload(|text| text.replace("leaving", "coming").replace("7000", "7002"))?;
    handover.wait_for_status("the other service", LIMIT, |status| {
        let names = status["services"].as_array().map(|all| {
            let names = all.iter().filter_map(|one| one["name"].as_str());
            names.collect::<Vec<_>>()
        });
        names.is_some_and(|names| names == ["staying", "coming"])
    })?;
    ask(&mut enter(&topology.device, staying.entrance())?, 2)?;
    ask(&mut enter(&topology.device, coming.entrance())?, 3)?;
    let entrance = leaving.entrance();
    let refused = topology
        .device
        .run(move || std::net::TcpStream::connect(entrance));
    let kind = refused.err().context("the service is still there")?.kind();
    ensure!(kind == std::io::ErrorKind::ConnectionRefused, "{kind}");

    ask(&mut living, 4)?;
    ensure_done(&handover.switch(NETWORKS[1])?, "planned")?;
    ask(&mut living, 5)?;
    ask(&mut enter(&topology.device, coming.entrance())?, 6)?;
    let listed = handover.server.services()?;
    let ours = listed["server_services"].as_array().map(Vec::len);
    ensure!(ours == Some(2), "{listed}");
    Ok(())
}
