//! The weather over the device's networks: what strikes them, and how they become good again.

use std::env;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::world::{NETWORKS, ensure_done};
use crate::handover::{Daemon, Handover};
use crate::random::Random;
use crate::scenario::Lab;
use crate::topology::Topology;
use crate::wait::wait_until;

/// Another run is another seed.
const SEED: u64 = 1;

/// A switch and its outage, on a busy machine. Trying a dead network first costs 5 s of it.
const SWITCH_LIMIT: Duration = Duration::from_secs(30);

/// What strikes a network.
#[derive(Debug, Clone, Copy)]
pub(super) enum Disturbance {
    SilentCut,
    LinkDown,
    AddressChange,
}

impl Disturbance {
    pub(super) const ALL: [Self; 3] = [Self::SilentCut, Self::LinkDown, Self::AddressChange];

    /// What comes next, all equally likely; `None` is an order.
    pub(super) fn draw(random: &mut Random) -> Option<Self> {
        let all = Self::ALL.map(Some);
        let index = usize::try_from(random.below(all.len() as u64 + 1)).ok()?;
        all.get(index).copied().flatten()
    }
}

/// The random numbers of a scenario, from the seed in `HANDOVER_LAB_SEED`, which is noted.
pub(super) fn random(lab: &Lab) -> Result<Random> {
    let seed = match env::var("HANDOVER_LAB_SEED") {
        Ok(seed) => seed.parse().context("HANDOVER_LAB_SEED")?,
        Err(_) => SEED,
    };
    lab.note(&format!("HANDOVER_LAB_SEED={seed}"));
    Ok(Random::new(seed))
}

/// The networks of [`NETWORKS`], by their index, and what has become of them.
#[derive(Debug)]
pub(super) struct Sky {
    pub(super) topology: Topology,
    is_cut: [bool; 2],
    is_down: [bool; 2],
}

impl Sky {
    pub(super) const fn over(topology: Topology) -> Self {
        Self {
            topology,
            is_cut: [false; 2],
            is_down: [false; 2],
        }
    }

    pub(super) const fn is_ill(&self, index: usize) -> bool {
        self.is_cut[index] || self.is_down[index]
    }

    /// Strikes a network that is not ill.
    pub(super) fn strike(&mut self, disturbance: Disturbance, index: usize) -> Result<()> {
        let network = NETWORKS[index];
        match disturbance {
            Disturbance::SilentCut => {
                self.is_cut[index] = true;
                self.topology.cut(network)
            }
            Disturbance::LinkDown => {
                self.is_down[index] = true;
                self.topology.set_down(network)
            }
            Disturbance::AddressChange => {
                let address = self.topology.new_address();
                self.topology.change_address(network, address)
            }
        }
    }

    pub(super) fn heal(&mut self, index: usize) -> Result<()> {
        let network = NETWORKS[index];
        if std::mem::take(&mut self.is_cut[index]) {
            self.topology.restore(network)?;
        }
        if std::mem::take(&mut self.is_down[index]) {
            self.topology.set_up(network)?;
        }
        Ok(())
    }

    /// Strikes the current network, waits for the switch, and makes the network good again.
    pub(super) fn strike_current(
        &mut self,
        lab: &Lab,
        client: &mut Daemon,
        disturbance: Disturbance,
    ) -> Result<()> {
        self.strike_current_and_tell(lab, client, disturbance, || ())
    }

    /// The same. `noticed` is called once the client has noticed it.
    pub(super) fn strike_current_and_tell(
        &mut self,
        lab: &Lab,
        client: &mut Daemon,
        disturbance: Disturbance,
        noticed: impl FnOnce(),
    ) -> Result<()> {
        let status = client.status()?;
        let current = current_network(&status)?;
        lab.note(&format!("{disturbance:?} of {}", NETWORKS[current]));
        let said = client.program().lines().len();
        self.strike(disturbance, current)?;
        let told = client.program();
        // It is lost, or silent.
        let about_it = format!(" network={}", NETWORKS[current]);
        told.wait_for_line_after(said, &about_it, SWITCH_LIMIT)?;
        noticed();
        let entry = client.wait_for_switch(count_switches(&status) + 1, SWITCH_LIMIT)?;
        lab.note(&format!("{entry}"));
        ensure_done(&entry, "unexpected")?;
        if entry["procedure"] == "rescue" {
            // Else the session goes back by itself when it is well.
            let lost = format!("lost network={}", NETWORKS[current]);
            let told = client.program();
            told.wait_for_line_after(said, &lost, SWITCH_LIMIT)?;
        }
        self.heal(current)
    }
}

/// Orders a switch to the network that is not the current one.
pub(super) fn order_other(lab: &Lab, client: &Daemon) -> Result<()> {
    let target = NETWORKS[1 - current_network(&client.status()?)?];
    let entry = client.switch(target)?;
    lab.note(&format!("to {target}: {entry}"));
    ensure_done(&entry, "planned")
}

/// An order that nobody waits for, and that may well fail: see [`wait_for_answers`].
pub(super) fn order(handover: &Handover, network: &str) -> Result<Child> {
    let mut command = handover.client.command(&["switch", network]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.spawn()?)
}

/// Every order has to be answered, however.
pub(super) fn wait_for_answers(orders: impl IntoIterator<Item = Child>) -> Result<()> {
    for mut order in orders {
        wait_until("the answer to an order", SWITCH_LIMIT, || {
            Ok(order.try_wait()?.is_some())
        })?;
    }
    Ok(())
}

/// The index of the current network.
pub(super) fn current_network(status: &Value) -> Result<usize> {
    let current = NETWORKS.iter().position(|one| status["network"] == *one);
    current.with_context(|| format!("the current network is {}", status["network"]))
}

pub(super) fn count_switches(status: &Value) -> usize {
    status["switches"].as_array().map_or(0, Vec::len)
}
