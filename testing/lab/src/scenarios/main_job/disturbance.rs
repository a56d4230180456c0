//! The ways in which a network is lost.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::SWITCH_LIMIT;
use crate::handover::Handover;
use crate::scenario::Lab;
use crate::topology::Topology;

/// What strikes the current network.
#[derive(Debug, Clone, Copy)]
pub(super) enum Disturbance {
    SilentCut,
    LinkDown,
    AddressChange,
}

impl Disturbance {
    /// Strikes, waits for the switch, and makes the network good again. `number` makes addresses new.
    pub(super) fn strike(
        self,
        lab: &Lab,
        topology: &mut Topology,
        handover: &mut Handover,
        number: usize,
    ) -> Result<()> {
        let status = handover.client_status()?;
        let current = current_network(&status)?;
        let switches = status["switches"].as_array().map_or(0, Vec::len);
        lab.note(&format!("{self:?} of {current}"));
        match self {
            Self::SilentCut => topology.cut(current)?,
            Self::LinkDown => topology.set_down(current)?,
            Self::AddressChange => {
                let subnet = if current == "wlan0" { 101 } else { 102 };
                let host = u8::try_from(number)?;
                topology.change_address(current, Ipv4Addr::new(10, subnet, host, 2))?;
            }
        }
        let entry = handover.wait_for_switch(switches + 1, SWITCH_LIMIT)?;
        lab.note(&format!("{entry}"));
        ensure!(
            entry["outcome"] == "done" && entry["kind"] == "unexpected",
            "not an unexpected switch: {entry}"
        );
        match self {
            Self::SilentCut => topology.restore(current),
            Self::LinkDown => topology.set_up(current),
            Self::AddressChange => Ok(()),
        }
    }
}

fn current_network(status: &Value) -> Result<&'static str> {
    match status["network"].as_str() {
        Some("wlan0") => Ok("wlan0"),
        Some("wwan0") => Ok("wwan0"),
        other => Err(anyhow::anyhow!("the current network is {other:?}")),
    }
}

/// The network that is not the current one.
pub(super) fn other_network(status: &Value) -> Result<&'static str> {
    let current = current_network(status).context("choose a target")?;
    Ok(if current == "wlan0" { "wwan0" } else { "wlan0" })
}
