//! What users ask by mistake, or twice: every command ends with the right status and tells the truth
//! about its own order.

use std::process::{Output, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::world::{LIMIT, Pair, ensure_done};
use crate::handover::Daemon;
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

    let entries = at_once(&pair.handover.client, ["wlan0", "wwan0"])?;
    lab.note(&format!("to two different ones: {entries:?}"));
    ensure!(
        entries[0].is_null() || entries[0]["to"] == "wlan0",
        "{entries:?}"
    );
    ensure!(
        entries[1].is_null() || entries[1]["to"] == "wwan0",
        "{entries:?}"
    );
    pair.handover
        .wait_for_status("the end of it", LIMIT, |status| {
            status["state"] == "attached"
        })?;
    Ok(())
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
    let mut running = Vec::new();
    for network in networks {
        let mut command = client.command(&["switch", network, "--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        running.push(command.spawn()?);
    }
    running
        .into_iter()
        .map(|child| entry_of(&child.wait_with_output()?))
        .collect()
}

fn entry_of(output: &Output) -> Result<Value> {
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {message}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}
