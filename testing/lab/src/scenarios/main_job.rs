//! The main job: two ordinary networks, six planned and six unexpected switches, and every kind of
//! application at once. Nobody loses a byte or sees an error, and both daemons are afterwards what they
//! were before.

use anyhow::Result;

use super::sky::{Disturbance, Sky, order_other};
use super::use_of_machine::Before;
use super::workload::{Servers, Workload};
use super::world::{NETWORKS, unequal_networks};
use crate::handover::Handover;
use crate::scenario::Lab;

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

pub(super) fn run(lab: &Lab) -> Result<()> {
    let mut sky = Sky::over(unequal_networks()?);
    let servers = Servers::start(lab, &sky.topology)?;
    let mut handover =
        Handover::start_for_accounting(lab, &sky.topology, &servers.services(), &NETWORKS)?;
    let before = Before::read(&handover)?;

    let mut workload = Workload::start(lab, &sky.topology, &servers)?;
    for event in EVENTS {
        workload.wait_for_progress()?;
        match event {
            None => order_other(lab, &handover.client)?,
            Some(disturbance) => sky.strike_current(lab, &mut handover.client, disturbance)?,
        }
    }
    workload.wait_for_progress()?;
    workload.finish(lab)?;
    // Conduits that the applications needed stay for the next ones; a switch renews them all.
    order_other(lab, &handover.client)?;
    before.ensure_restored(lab, &mut handover)
}
