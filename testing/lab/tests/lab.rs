//! All scenarios as tests. They are sensitive to time, so they run one after the other, but for those in which
//! little else passes, after the process has entered its sandbox; where there is none, or a program is
//! missing, a scenario is reported as ignored, with the reason.

use std::sync::{PoisonError, RwLock};

use handover_lab::scenario::{Sandboxed, Scenario, enter_sandbox};
use handover_lab::scenarios::{self, BESIDE_EACH_OTHER};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// Held by a scenario that runs alone, shared by those that may run beside each other.
static MACHINE: RwLock<()> = RwLock::new(());

fn main() {
    let mut arguments = Arguments::from_args();
    let sandboxed = enter_sandbox().map_err(|error| format!("{error:#}"));
    arguments.test_threads = Some(BESIDE_EACH_OTHER.len());
    let trials = scenarios::ALL.iter().map(|scenario| {
        let sandboxed = sandboxed.clone();
        Trial::ignorable_test(scenario.name, move || run(scenario, sandboxed))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

fn run(scenario: &Scenario, sandboxed: Result<Sandboxed, String>) -> Result<Completion, Failed> {
    let sandboxed = match sandboxed {
        Ok(sandboxed) => sandboxed,
        Err(reason) => return Ok(Completion::ignored_with(reason)),
    };
    if let Some(reason) = scenario.missing() {
        return Ok(Completion::ignored_with(reason));
    }
    let beside = BESIDE_EACH_OTHER.contains(&scenario.name);
    let _alone = (!beside).then(|| MACHINE.write().unwrap_or_else(PoisonError::into_inner));
    let _beside = beside.then(|| MACHINE.read().unwrap_or_else(PoisonError::into_inner));
    match scenario.run(sandboxed, false) {
        Ok(()) => Ok(Completion::Completed),
        Err(error) => Err(Failed::from(format!("{error:#}"))),
    }
}
