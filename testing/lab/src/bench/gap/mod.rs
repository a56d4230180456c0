//! What an application notices of a switch: the longest pause between two arrivals, for a steady stream of small
//! messages in either direction.
//!
//! handover with a standby and without, over each carrier, takes turns with Multipath TCP of the kernel and with plain
//! TCP that meets no switch, over the same two networks. Every way is taken anew for each run, so no run inherits
//! anything. Beside each goes a control that only sleeps ([`crate::stall`]); a run near whose event the machine stood
//! still is made again, and counted. Every byte is compared: a gap of something that lost a message is no figure.
//!
//! The bounds are those of [`event`]; they hold for the medians. A way that the daemons refuse is not available, and
//! says why.

mod event;
mod table;
mod trial;
mod way;
mod world;

use std::io::Write;

use anyhow::{Result, ensure};

pub(super) use event::Event;
pub(super) use world::Condition;

use super::machine;
use crate::handover::Refused;
use crate::scenario::{Lab, Scenario};
use table::Table;
use trial::{Direction, Trial};
use way::{NoStandby, Way};
use world::World;

/// `bench gap`.
pub const GAP: Scenario = Scenario {
    name: "gap",
    about: "the application's pause at a switch: handover, Multipath TCP, and TCP that meets none",
    needs: world::NEEDS,
    run,
};

fn run(lab: &Lab) -> Result<()> {
    let machine = machine::describe()?;
    let mut world = World::new()?;
    let mut table = Table::default();
    let (trials, runs) = (trials(lab), lab.selection.runs());
    for run in 1..=runs {
        for trial in &trials {
            // Short outages are of all lengths up to the longest.
            let share = run as f64 / runs as f64;
            measure(lab, &mut world, &mut table, &Trial { share, ..*trial })?;
        }
        lab.note(&format!("run {run} of {runs} is over"));
    }
    write!(std::io::stdout(), "{machine}\n\n{table}")?;
    let missed = table.count_missed();
    ensure!(missed == 0, "{missed} rows are not as they must be");
    Ok(())
}

/// All that is to be measured, those beside each other that are compared.
fn trials(lab: &Lab) -> Vec<Trial> {
    let selection = &lab.selection;
    let mut trials = Vec::new();
    for condition in selection.conditions() {
        for event in selection.events() {
            for direction in Direction::ALL {
                let ways = Way::all(&selection.carriers()).into_iter();
                let ways = ways.filter(|way| way.knows(event, condition));
                trials.extend(ways.map(|way| Trial {
                    condition,
                    event,
                    way,
                    direction,
                    share: 1.0,
                }));
            }
        }
    }
    trials
}

fn measure(lab: &Lab, world: &mut World, table: &mut Table, trial: &Trial) -> Result<()> {
    if !table.wants(trial) {
        return Ok(());
    }
    if let Some(reason) = trial.way.missing() {
        table.set_missing(trial, &reason);
        return Ok(());
    }
    match trial.run_undisturbed(lab, world) {
        Ok((outcome, repeated)) => {
            lab.note(&format!("{trial}: {:?}", outcome.gaps));
            table.add(trial, &outcome, repeated);
        }
        Err(error) => match not_available(&error) {
            Some(reason) => table.set_missing(trial, &reason),
            None => {
                lab.note(&format!("{trial} failed: {error:#}"));
                table.add_fault(trial, &format!("{error:#}"));
            }
        },
    }
    Ok(())
}

/// The reason, if the way is not there at all.
fn not_available(error: &anyhow::Error) -> Option<String> {
    let refused = error.downcast_ref::<Refused>().map(ToString::to_string);
    refused.or_else(|| error.downcast_ref::<NoStandby>().map(ToString::to_string))
}
