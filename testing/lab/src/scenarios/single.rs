//! Every switch is the user's: `single = true` (R19), where nothing happens by itself after a loss, and
//! `decision = "manual"`, where only the same network is attached again.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::hooked::{Hooked, HookedNetwork, NOTIFIED};
use super::world::{LIMIT, NETWORKS, ensure_done, two_networks};
use crate::application::{Application, ask};
use crate::scenario::Lab;
use crate::servers::echo;

fn start(lab: &Lab, options: &str) -> Result<Hooked> {
    let networks = NETWORKS.map(|name| HookedNetwork {
        name,
        interface: name,
        options: "",
        hooks: &[],
    });
    Hooked::start(lab, two_networks()?, &networks, options)
}

pub(super) fn run_single(lab: &Lab) -> Result<()> {
    let mut world = start(lab, &format!("single = true\n{NOTIFIED}"))?;
    let (mut client, server) = world.pair.connect()?;
    let answering = Application::start("echo", move || Ok(echo(server)?))?;
    ask(&mut client, 1)?;
    world.await_log(&["notify attached wlan0"])?;

    world.pair.topology.set_down("wlan0")?;
    let status = world
        .pair
        .handover
        .wait_for_status("the loss", LIMIT, |status| status["state"] == "detached")?;
    let error = status["error"].as_str().unwrap_or_default();
    ensure!(error.contains("handover switch NETWORK"), "{status}");
    world.await_log(&["notify lost wlan0"])?;
    // It is back, and the other was there all the time: whoever switches by itself does it now.
    world.pair.topology.set_up("wlan0")?;
    let entry = world.pair.handover.switch("wwan0")?;
    ensure_done(&entry, "unexpected")?;
    ensure_only(&world, &[("wlan0", "wwan0")])?;
    world.await_log(&["notify switched wwan0"])?;
    ask(&mut client, 2)?;

    // Back to the same one.
    world.pair.topology.set_down("wwan0")?;
    world.await_log(&["notify lost wwan0"])?;
    world.pair.topology.set_up("wwan0")?;
    ensure_done(&world.pair.handover.switch("wwan0")?, "unexpected")?;
    ask(&mut client, 3)?;
    ensure_done(&world.pair.handover.switch("wlan0")?, "planned")?;
    let all = [("wlan0", "wwan0"), ("wwan0", "wwan0"), ("wwan0", "wlan0")];
    ensure_only(&world, &all)?;
    world.await_log(&["notify switched wwan0", "notify switched wlan0"])?;
    drop(client);
    answering.finish(LIMIT)
}

pub(super) fn run_manual(lab: &Lab) -> Result<()> {
    let mut world = start(lab, "decision = \"manual\"")?;
    let (mut client, server) = world.pair.connect()?;
    let answering = Application::start("echo", move || Ok(echo(server)?))?;
    ask(&mut client, 1)?;
    world.pair.topology.set_down("wlan0")?;
    world
        .pair
        .handover
        .wait_for_status("the loss", LIMIT, |status| status["state"] == "detached")?;
    world.pair.topology.set_up("wlan0")?;
    ensure_done(
        &world.pair.handover.wait_for_switch(1, LIMIT)?,
        "unexpected",
    )?;
    ask(&mut client, 2)?;
    ensure_done(&world.pair.handover.switch("wwan0")?, "planned")?;
    ensure_only(&world, &[("wlan0", "wlan0"), ("wlan0", "wwan0")])?;
    ask(&mut client, 3)?;
    drop(client);
    answering.finish(LIMIT)
}

/// These switches there were, and no other.
fn ensure_only(world: &Hooked, expected: &[(&str, &str)]) -> Result<()> {
    let status = world.pair.handover.client_status()?;
    let none = Vec::new();
    let switches: &[Value] = status["switches"].as_array().unwrap_or(&none);
    let ends = switches
        .iter()
        .map(|one| (one["from"].as_str(), one["to"].as_str()));
    let expected = expected.iter().map(|(from, to)| (Some(*from), Some(*to)));
    ensure!(ends.eq(expected), "other switches: {status}");
    Ok(())
}
