//! All scenarios as tests. They are sensitive to time, so they run one after the other, after the
//! process has entered its sandbox; where there is none, or a program is missing, a scenario is reported
//! as ignored, with the reason.

use handover_lab::scenario::{Sandboxed, Scenario, enter_sandbox};
use handover_lab::scenarios;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

fn main() {
    let mut arguments = Arguments::from_args();
    let sandboxed = enter_sandbox().map_err(|error| format!("{error:#}"));
    arguments.test_threads = Some(1);
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
    match scenario.run(sandboxed, false) {
        Ok(()) => Ok(Completion::Completed),
        Err(error) => Err(Failed::from(format!("{error:#}"))),
    }
}
