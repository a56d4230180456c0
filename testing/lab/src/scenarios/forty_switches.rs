//! Forty switches of every kind in a random order at random moments, under the load of the main job; behind
//! every ten, two begin at once, of which often one is left in the end. Nobody loses a byte or sees an error, and both
//! daemons are afterwards what they were before.

use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::sky::{
    Disturbance, Sky, count_switches, current_network, order, order_other, random, wait_for_answers,
};
use super::use_of_machine::Before;
use super::workload::{Servers, Workload};
use super::world::{LIMIT, NETWORKS, unequal_networks};
use crate::gate::Gate;
use crate::handover::Handover;
use crate::random::Random;
use crate::scenario::Lab;
use crate::wait::wait_for;

/// So many rounds of [`ROUND`] switches.
const ROUNDS: usize = 4;

/// Besides them, in each round, two changes of which one begins while the switch after the other is under way.
const ROUND: usize = 10;

/// An ordered switch takes some round trips, so most attempts to begin another meanwhile succeed.
const MEETINGS: usize = 8;

/// The longest time between two switches, and for which a network stays as two blows at once left it.
const LONGEST_LULL_MS: u64 = 1000;

pub(super) fn run(lab: &Lab) -> Result<()> {
    let mut random = random(lab)?;
    let mut sky = Sky::over(unequal_networks()?);
    let servers = Servers::start(lab, &sky.topology)?;
    let mut handover =
        Handover::start_for_accounting(lab, &sky.topology, &servers.services(), &NETWORKS)?;
    let before = Before::read(&handover)?;

    let mut workload = Workload::start(lab, &sky.topology, &servers)?;
    for _ in 0..ROUNDS {
        let hurried = random.below(ROUND as u64);
        for number in 0..=ROUND as u64 {
            lull(&mut random);
            if number == hurried {
                two_that_meet(lab, &mut sky, &mut handover, &mut random)?;
                continue;
            }
            match Disturbance::draw(&mut random) {
                None => order_other(lab, &handover.client)?,
                Some(disturbance) => sky.strike_current(lab, &mut handover.client, disturbance)?,
            }
        }
        workload.wait_for_progress()?;
    }
    workload.finish(lab)?;
    let switches = count_switches(&handover.client_status()?);
    lab.note(&format!(
        "{switches} switches, {ROUNDS} of them met another"
    ));
    ensure!(switches >= ROUNDS * ROUND, "only {switches} switches");
    // Conduits that the applications needed stay for the next ones; a switch renews them all.
    order_other(lab, &handover.client)?;
    before.ensure_restored(lab, &mut handover)
}

fn lull(random: &mut Random) {
    Gate::slow(Duration::from_millis(random.below(LONGEST_LULL_MS))).pass();
}

/// As [`two_at_once`], until the second has met the first: a switch may be over before the other begins.
fn two_that_meet(
    lab: &Lab,
    sky: &mut Sky,
    handover: &mut Handover,
    random: &mut Random,
) -> Result<()> {
    for _ in 0..MEETINGS {
        if two_at_once(lab, sky, handover, random)? {
            return Ok(());
        }
    }
    bail!("no switch began while another was under way, in {MEETINGS} attempts");
}

/// An order or a blow while the switch after another is under way; then both networks become good again.
/// Says whether the first was under way still when the second had begun.
fn two_at_once(
    lab: &Lab,
    sky: &mut Sky,
    handover: &mut Handover,
    random: &mut Random,
) -> Result<bool> {
    let status = handover.client_status()?;
    let (current, switches) = (current_network(&status)?, count_switches(&status));
    let first = begin(lab, sky, handover, Disturbance::draw(random), current)?;
    let met = wait_for("the switch to begin", LIMIT, || {
        let status = handover.client_status()?;
        let over = count_switches(&status) > switches;
        let under_way = status["state"] != "attached";
        Ok((over || under_way).then_some(under_way))
    })?;
    let index = usize::from(random.below(2) == 1);
    let second = if sky.is_ill(index) {
        None
    } else {
        Disturbance::draw(random)
    };
    let second = begin(lab, sky, handover, second, index)?;
    let met = met && count_switches(&handover.client_status()?) == switches;
    lull(random);
    for index in 0..NETWORKS.len() {
        sky.heal(index)?;
    }
    wait_for_answers([first, second].into_iter().flatten())?;
    let status = handover.wait_for_status("the end of both", LIMIT, |status| {
        status["state"] == "attached" && count_switches(status) > switches
    })?;
    let ended = status["switches"].as_array().context("no switches")?;
    lab.note(&format!("met: {met}; {:?}", &ended[switches..]));
    Ok(met)
}

/// Strikes a network, or orders a switch away from it and waits for nothing.
fn begin(
    lab: &Lab,
    sky: &mut Sky,
    handover: &Handover,
    change: Option<Disturbance>,
    index: usize,
) -> Result<Option<Child>> {
    lab.note(&format!("two at once: {change:?} of {}", NETWORKS[index]));
    if let Some(disturbance) = change {
        sky.strike(disturbance, index)?;
        return Ok(None);
    }
    order(handover, NETWORKS[1 - index]).map(Some)
}
