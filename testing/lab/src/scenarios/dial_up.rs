//! An adapter without a MAC address that hooks bring up and down (R20): a point-to-point TUN interface. The kernels
//! that the lab runs on have no PPP, which would look the same from here.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::hooked::{Hooked, HookedNetwork};
use super::world::{LIMIT, ensure_done, two_networks};
use crate::application::{Application, ask};
use crate::scenario::Lab;
use crate::servers::echo;

/// With the far end's address as the peer, as PPP does; no gateway.
const UP: &str = "ip address add 10.2.0.2 peer 10.2.0.1 dev wwan0
ip link set wwan0 up
ip route add default dev wwan0 metric 200";

const DOWN: &str = "ip link set wwan0 down
ip address flush dev wwan0";

const DIALLED: &str = "up modem wwan0";
const HUNG_UP: &str = "down modem wwan0";

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = two_networks()?;
    topology.device.set_down("wwan0")?;
    topology
        .device
        .remove_address("wwan0", Ipv4Addr::new(10, 2, 0, 2).into(), 24)?;
    let networks = [
        HookedNetwork {
            name: "wifi",
            interface: "wlan0",
            options: "",
            hooks: &[],
        },
        HookedNetwork {
            name: "modem",
            interface: "wwan0",
            options: "",
            hooks: &[("up", UP), ("down", DOWN)],
        },
    ];
    let mut world = Hooked::start(lab, topology, &networks, "")?;
    let (mut client, server) = world.pair.connect()?;
    let answering = Application::start("echo", move || Ok(echo(server)?))?;
    ask(&mut client, 1)?;
    world.ensure_log(&[])?;
    ensure_state(&world, "closed")?;

    ensure_done(&world.pair.handover.switch("modem")?, "planned")?;
    world.ensure_log(&[DIALLED])?;
    ensure_steps(&world.pair.handover.trace()?)?;
    ask(&mut client, 2)?;
    ensure_done(&world.pair.handover.switch("wifi")?, "planned")?;
    world.ensure_log(&[HUNG_UP])?;
    ensure_state(&world, "closed")?;
    ask(&mut client, 3)?;

    fail(lab, &mut world)?;
    ask(&mut client, 4)?;

    // Unplanned, in both directions.
    world.pair.topology.set_down("wlan0")?;
    ensure_done(
        &world.pair.handover.wait_for_switch(4, LIMIT)?,
        "unexpected",
    )?;
    world.ensure_log(&[DIALLED])?;
    ask(&mut client, 5)?;
    world.pair.topology.set_up("wlan0")?;
    world.pair.topology.cut("wwan0")?;
    ensure_done(
        &world.pair.handover.wait_for_switch(5, LIMIT)?,
        "unexpected",
    )?;
    world.ensure_log(&[HUNG_UP])?;
    ask(&mut client, 6)?;
    drop(client);
    answering.finish(LIMIT)
}

/// A modem that does not dial: the order fails and says why, and the session stays where it was.
fn fail(lab: &Lab, world: &mut Hooked) -> Result<()> {
    world.set_failing("up", true)?;
    let output = world
        .pair
        .handover
        .client
        .run(&["switch", "modem", "--json"])?;
    ensure!(output.status.code() == Some(1), "{}", output.status);
    let entry: Value = serde_json::from_slice(&output.stdout).context("not JSON")?;
    lab.note(&format!("{entry}"));
    let reason = entry["reason"].as_str().unwrap_or_default();
    ensure!(
        reason == "the hook up of modem failed: exit status: 5, \"no carrier\"",
        "{entry}"
    );
    world
        .pair
        .handover
        .wait_for_status("the way back", LIMIT, |status| {
            status["state"] == "attached" && status["network"] == "wifi"
        })?;
    world.set_failing("up", false)?;
    world.ensure_log(&[DIALLED])
}

/// Two hooks belong to two steps, and both were taken.
fn ensure_steps(trace: &Value) -> Result<()> {
    let steps = trace["steps"].as_array().context("no steps")?;
    for step in ["CNAPT-22", "CNAPT-23", "CNAPT-24"] {
        ensure!(
            steps.iter().any(|one| one["step"] == step),
            "no {step}: {trace}"
        );
    }
    Ok(())
}

fn ensure_state(world: &Hooked, state: &str) -> Result<()> {
    let networks = world.pair.handover.client.networks()?;
    let modem = &networks["networks"][1];
    ensure!(modem["state"] == state, "not {state}: {modem}");
    Ok(())
}
