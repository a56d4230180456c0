//! A daemon that stands still for half a minute, as on a machine that is suspended or out of memory, under
//! the load of the main job. The other one notices; when it goes on, so does everything, by itself.

use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;

use super::sky::{count_switches, order_other};
use super::use_of_machine::Before;
use super::workload::{Servers, Workload};
use super::world::{LIMIT, NETWORKS, unequal_networks};
use crate::handover::{Daemon, Handover};
use crate::scenario::Lab;
use crate::wait::wait_until;

/// Longer than every bound of a switch, and than the other side's kernel waits for an acknowledgement.
const STOP: Duration = Duration::from_secs(31);

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = unequal_networks()?;
    let servers = Servers::start(lab, &topology)?;
    let services = servers.services();
    let mut handover = Handover::start_for_accounting(lab, &topology, &services, &NETWORKS)?;
    let before = Before::read(&handover)?;
    let mut workload = Workload::start(lab, &topology, &servers)?;
    for name in ["server", "client"] {
        workload.wait_for_progress()?;
        let daemon = match name {
            "server" => &mut handover.server,
            _ => &mut handover.client,
        };
        stop(lab, name, daemon)?;
        let went_on = Instant::now();
        workload.wait_for_progress()?;
        lab.note(&format!("all went on after {:?}", went_on.elapsed()));
    }
    let status =
        handover.wait_for_status("the session", LIMIT, |status| status["state"] == "attached")?;
    lab.note(&format!("{} switches", count_switches(&status)));
    workload.finish(lab)?;
    // Conduits that the applications needed stay for the next ones; a switch renews them all.
    order_other(lab, &handover.client)?;
    before.ensure_restored(lab, &mut handover)
}

fn stop(lab: &Lab, name: &str, daemon: &mut Daemon) -> Result<()> {
    lab.note(&format!("the {name} stands still for {STOP:?}"));
    daemon.program().signal(Signal::SIGSTOP)?;
    let stopped = Instant::now();
    wait_until("the end of the stop", 2 * STOP, || {
        Ok(stopped.elapsed() >= STOP)
    })?;
    lab.note(&format!("the {name} goes on"));
    daemon.program().signal(Signal::SIGCONT)
}
