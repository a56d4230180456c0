//! A port that another program has on the device: a line in the status, no hindrance to the other
//! services, and taken as soon as it is free.

use std::net::TcpListener;

use anyhow::{Context, Result, ensure};

use super::world::{LIMIT, NETWORKS, two_networks};
use crate::application::{ask, enter};
use crate::handover::{Handover, Service};
use crate::scenario::Lab;
use crate::servers::Echo;
use crate::topology::SERVER;

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = two_networks()?;
    let echo = Echo::start(&topology.server, SERVER.into())?;
    let service = |name, port| Service::tcp(name, echo.address(), port);
    let (taken, free) = (service("taken", 7000), service("free", 7001));
    let entrance = taken.entrance();
    let other = topology.device.run(move || TcpListener::bind(entrance));
    let other = other.context("take the port")?;
    let mut handover = Handover::start(lab, &topology, &[taken, free], &NETWORKS, "")?;

    let status = handover.client_status()?;
    let services = status["services"].as_array().context("no services")?;
    let line = |name: &str| services.iter().find(|one| one["name"] == name);
    let error = line("taken").and_then(|one| one["error"].as_str());
    ensure!(error.is_some_and(|text| text.contains("7000")), "{status}");
    ensure!(
        line("free").is_some_and(|one| one["error"].is_null()),
        "{status}"
    );
    ask(&mut enter(&topology.device, free.entrance())?, 1)?;

    drop(other);
    handover.wait_for_status("the port", LIMIT, |status| {
        let services = status["services"].as_array();
        services.is_some_and(|all| all.iter().all(|one| one["error"].is_null()))
    })?;
    ask(&mut enter(&topology.device, taken.entrance())?, 2)
}
