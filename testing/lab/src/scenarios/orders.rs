//! What users ask by mistake, or twice: every command ends with the right status and tells the truth
//! about its own order.

use std::process::{Child, Output, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::world::{LIMIT, NETWORKS, Pair, ensure_done};
use crate::handover::Daemon;
use crate::link::Conditions;
use crate::scenario::Lab;
use crate::topology::Topology;

pub(super) fn run(lab: &Lab) -> Result<()> {
    let mut pair = Pair::start(lab)?;
    ensure_refused(&pair.handover.client, "wlan7", 2)?;
    pair.topology.set_down("wwan0")?;
    wait_for_state(&pair.handover.client, "wwan0", "unavailable")?;
    ensure_refused(&pair.handover.client, "wwan0", 1)?;
    bring_back(&pair.topology, &pair.handover.client)?;

    let there = pair.handover.switch("wlan0")?;
    ensure!(there.is_null(), "a switch to the current network: {there}");
    let listed = pair.handover.client_status()?;
    ensure!(listed["switches"] == Value::Array(Vec::new()), "{listed}");

    let entries = at_once(&pair.handover.client, ["wwan0", "wwan0"])?;
    lab.note(&format!("twice to the same: {entries:?}"));
    ensure_done(&entries[0], "planned")?;
    ensure!(
        entries[1].is_null() || entries[1] == entries[0],
        "{entries:?}"
    );

    one_after_the_other(lab, &mut pair)
}

/// An order while a switch to elsewhere is going on is carried out after it. The networks are slow, so
/// that there is time for it.
fn one_after_the_other(lab: &Lab, pair: &mut Pair) -> Result<()> {
    for network in NETWORKS {
        let slow = Conditions::new(100, 60);
        pair.topology.link(network)?.set_conditions(slow)?;
    }
    let first = spawn(&pair.handover.client, "wlan0")?;
    pair.handover
        .wait_for_status("the switch to begin", LIMIT, |status| {
            status["state"] == "switching"
        })?;
    let second = spawn(&pair.handover.client, "wwan0")?;
    let third = spawn(&pair.handover.client, "wlan0")?;
    let mut entries = Vec::new();
    for order in [first, second, third] {
        entries.push(entry_of(&order.wait_with_output()?)?);
    }
    lab.note(&format!("one after the other: {entries:?}"));
    ensure!(
        entries[0]["to"] == "wlan0" && entries[1]["to"] == "wwan0",
        "{entries:?}"
    );
    // The third may have joined the first, or wait for the second, as it came.
    ensure!(entries[2]["to"] == "wlan0", "{entries:?}");
    entries
        .iter()
        .try_for_each(|entry| ensure_done(entry, "planned"))
}

/// The command ends with this status and names the networks that there are.
fn ensure_refused(client: &Daemon, network: &str, status: i32) -> Result<()> {
    let output = client.run(&["switch", network])?;
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(status),
        "switch {network} ended with {}: {message}",
        output.status
    );
    ensure!(
        message.contains("wlan0") && message.contains("wwan0"),
        "the known networks are not in {message:?}"
    );
    Ok(())
}

fn bring_back(topology: &Topology, client: &Daemon) -> Result<()> {
    topology.set_up("wwan0")?;
    wait_for_state(client, "wwan0", "available")
}

fn wait_for_state(client: &Daemon, network: &str, state: &str) -> Result<()> {
    crate::wait::wait_until(&format!("{network} to be {state}"), LIMIT, || {
        let all = client.networks()?;
        let all = all["networks"].as_array().context("no networks")?;
        let found = all.iter().find(|one| one["name"] == network);
        Ok(found.is_some_and(|one| one["state"] == state))
    })
}

/// Gives both orders without waiting in between; both must be carried out.
fn at_once(client: &Daemon, networks: [&str; 2]) -> Result<Vec<Value>> {
    let running = networks.map(|network| spawn(client, network));
    let entry = |child: Result<Child>| entry_of(&child?.wait_with_output()?);
    running.into_iter().map(entry).collect()
}

fn spawn(client: &Daemon, network: &str) -> Result<Child> {
    let mut command = client.command(&["switch", network, "--json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command.spawn()?)
}

fn entry_of(output: &Output) -> Result<Value> {
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {message}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}
