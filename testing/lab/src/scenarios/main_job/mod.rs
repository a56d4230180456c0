//! The main job: two ordinary networks, six planned and six unexpected switches, and every kind of
//! application at once. Nobody loses a byte or sees an error, and both daemons are afterwards what they
//! were before.

mod disturbance;
mod use_of_machine;
mod workload;

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::facility::Facility;
use crate::gate::Gate;
use crate::handover::Handover;
use crate::link::Conditions;
use crate::openssh;
use crate::scenario::Lab;
use crate::topology::{Medium, Topology};

use disturbance::{Disturbance, other_network};
use use_of_machine::Before;
use workload::{Servers, Workload};

/// A switch and its outage, on a busy machine. Trying a dead network first costs 5 s of it.
const SWITCH_LIMIT: Duration = Duration::from_secs(30);

/// So many answers between two switches show that all conversations have gone on.
const ANSWERS_BETWEEN: u64 = 150;

/// What happens, in turn; `None` is a planned switch. Both networks are struck by everything.
const EVENTS: [Option<Disturbance>; 12] = [
    None,
    Some(Disturbance::SilentCut),
    Some(Disturbance::LinkDown),
    None,
    None,
    Some(Disturbance::AddressChange),
    Some(Disturbance::SilentCut),
    None,
    None,
    Some(Disturbance::LinkDown),
    Some(Disturbance::AddressChange),
    None,
];

/// What it needs: networks to strike, and programs that nobody here wrote.
pub(super) const NEEDS: [Facility; 6] = [
    Facility::Tun,
    Facility::Program("curl"),
    openssh::NEEDS[0],
    openssh::NEEDS[1],
    openssh::NEEDS[2],
    openssh::NEEDS[3],
];

pub(super) fn run(lab: &Lab) -> Result<()> {
    let wlan = Conditions::new(150, 10).with_jitter(2).with_loss(0.005);
    let wwan = Conditions::new(50, 30).with_jitter(5).with_loss(0.005);
    let networks = [
        ("wlan0", Medium::Emulated(wlan)),
        ("wwan0", Medium::Emulated(wwan)),
    ];
    let mut topology = Topology::new(&networks)?;
    let still = Gate::shut();
    let servers = Servers::start(lab, &topology, &still)?;
    let services = servers.services();
    let mut handover = Handover::start(lab, &topology, &services, &["wlan0", "wwan0"], "")?;
    let before = Before::read(&handover)?;

    let workload = Workload::start(lab, &topology, &servers, &still)?;
    for (number, event) in EVENTS.iter().enumerate() {
        workload.wait_for_answers(ANSWERS_BETWEEN)?;
        match event {
            None => switch(lab, &mut handover)?,
            Some(disturbance) => {
                disturbance.strike(lab, &mut topology, &mut handover, number)?;
            }
        }
    }
    workload.wait_for_answers(ANSWERS_BETWEEN)?;
    workload.finish(lab)?;
    // Conduits that the applications needed stay for the next ones; a switch renews them all.
    switch(lab, &mut handover)?;
    before.ensure_restored(lab, &mut handover)
}

fn switch(lab: &Lab, handover: &mut Handover) -> Result<()> {
    let target = other_network(&handover.client_status()?)?;
    let entry = handover.switch(target)?;
    lab.note(&format!("to {target}: {entry}"));
    ensure!(
        entry["outcome"] == "done" && entry["kind"] == "planned",
        "not a planned switch: {entry}"
    );
    Ok(())
}
