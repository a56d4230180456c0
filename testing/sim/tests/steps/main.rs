//! Every step of the spec is told, found, and missed when it is left out.
//!
//! docs/spec has a heading for each of the 97 steps; comments in the code and in the tests link to them; what comes
//! of that is docs/spec/coverage.txt. All three are compared here with [`Step::all`] and with each other.
//!
//! A mark in a trail proves nothing, so each step is left out once, keeping its mark (`Bug::NoEffect`), and every
//! scenario, check and lone machine in this folder that links to the step must find that. Such a link is never
//! untrue. Without a bug all of them hold.

mod alone;
mod checks;
mod coverage;
mod links;
mod scenarios;
mod spec;

use handover_proto::bug::Bug;
use handover_proto::step::{Sequence, Step};

use alone::{Alone, the_cnapt_waits_for_all_redirected, the_snapt_waits_for_the_renewal};
use checks::{
    Check, client_flows_leave_the_old_link, client_services_leave_the_old_link,
    it_is_planned_and_done, no_bound_is_met, no_byte_comes_twice, no_datagram_is_lost,
    no_flow_may_be_sent_in_between, no_old_conduit_is_open_when_the_new_link_is_made,
    no_spare_is_open_when_the_snapt_is_told, no_step_comes_before_its_cause,
    nothing_is_forwarded_in_between, nothing_is_lost, the_decision_task_is_waited_for,
    the_snapt_closes_its_old_conduits, the_trails_are_the_specs,
    what_was_under_way_arrives_by_the_old_link,
};
use scenarios::{
    Scenario, planned, planned_on_a_dead_network, planned_then_given_up, planned_while_idle,
    planned_with_a_late_end, planned_with_a_late_reply, planned_with_a_late_request,
    planned_with_frames_begun, planned_with_one_adapter, planned_without_answer, unexpected,
    unexpected_and_unnoticed, unexpected_with_one_adapter, unexpected_without_answer,
};
use spec::Effect;

/// Functions with their names, as links have them.
macro_rules! named {
    ($kind:ty: $($function:ident),* $(,)?) => {
        &[$((stringify!($function), $function as $kind)),*]
    };
}

/// Scenarios with their names and with what is checked of them.
macro_rules! checked {
    ($($scenario:ident: $checks:ident),* $(,)?) => {
        &[$((stringify!($scenario), $scenario as Scenario, $checks)),*]
    };
}

type Checks = &'static [(&'static str, Check)];

const SCENARIOS: &[(&str, Scenario, Checks)] = checked![
    planned: PLANNED,
    planned_with_one_adapter: WITH_ONE_ADAPTER,
    planned_while_idle: WHILE_IDLE,
    planned_with_frames_begun: WITH_FRAMES_BEGUN,
    planned_without_answer: WITHOUT_ANSWER,
    planned_with_a_late_reply: WITH_MARKERS_LATE,
    planned_with_a_late_request: WITH_MARKERS_LATE,
    planned_with_a_late_end: WITH_OLD_LINK_CLOSED,
    planned_then_given_up: WITH_OLD_LINK_CLOSED,
    planned_on_a_dead_network: WITH_OLD_LINK_CLOSED,
    unexpected: UNEXPECTED,
    unexpected_and_unnoticed: UNEXPECTED,
    unexpected_with_one_adapter: UNEXPECTED_WITH_ONE_ADAPTER,
    unexpected_without_answer: WITHOUT_ANSWER,
];

/// What holds of a planned switch in whose way nothing is.
const PLANNED: Checks = named![Check:
    the_trails_are_the_specs, no_step_comes_before_its_cause, no_bound_is_met,
    it_is_planned_and_done, nothing_is_lost, nothing_is_forwarded_in_between,
    what_was_under_way_arrives_by_the_old_link, no_byte_comes_twice,
    no_old_conduit_is_open_when_the_new_link_is_made, the_snapt_closes_its_old_conduits,
    client_services_leave_the_old_link, client_flows_leave_the_old_link,
    no_flow_may_be_sent_in_between, no_datagram_is_lost,
];

/// And of an unexpected one.
const UNEXPECTED: Checks = named![Check:
    the_trails_are_the_specs, no_step_comes_before_its_cause, no_bound_is_met, nothing_is_lost,
    no_old_conduit_is_open_when_the_new_link_is_made, the_snapt_closes_its_old_conduits,
    client_flows_leave_the_old_link, no_flow_may_be_sent_in_between,
];

/// The networks' hooks take longer than the switch, so what is said of moments in it does not hold.
const WITH_ONE_ADAPTER: Checks = named![Check:
    the_trails_are_the_specs, no_bound_is_met, it_is_planned_and_done, nothing_is_lost, no_byte_comes_twice,
];

const UNEXPECTED_WITH_ONE_ADAPTER: Checks = named![Check:
    the_trails_are_the_specs, no_bound_is_met, nothing_is_lost,
];

const WHILE_IDLE: Checks = named![Check:
    the_trails_are_the_specs, no_bound_is_met, it_is_planned_and_done, nothing_is_lost,
    no_spare_is_open_when_the_snapt_is_told,
];

const WITHOUT_ANSWER: Checks = named![Check: no_bound_is_met, the_decision_task_is_waited_for];

const WITH_MARKERS_LATE: Checks = named![Check:
    no_bound_is_met, it_is_planned_and_done,
    what_was_under_way_arrives_by_the_old_link, no_byte_comes_twice,
];

const WITH_FRAMES_BEGUN: Checks = named![Check: no_bound_is_met, it_is_planned_and_done];

const WITH_OLD_LINK_CLOSED: Checks = named![Check:
    no_bound_is_met, no_old_conduit_is_open_when_the_new_link_is_made,
    client_services_leave_the_old_link,
];

const ALONE: &[(&str, Alone)] = named![Alone:
    the_cnapt_waits_for_all_redirected, the_snapt_waits_for_the_renewal,
];

#[test]
fn every_step_has_one_heading() -> Result<(), String> {
    let entries = spec::read()?;
    let missing: Vec<String> = Step::all()
        .filter(|step| !entries.contains_key(step))
        .map(|step| step.to_string())
        .collect();
    assert!(missing.is_empty(), "no heading in docs/spec: {missing:?}");
    Ok(())
}

#[test]
fn every_step_with_an_effect_is_linked_from_code_and_tests() -> Result<(), String> {
    let (entries, links) = (spec::read()?, links::read()?);
    for (step, entry) in entries {
        let linked = (
            links.code.contains_key(&step),
            links.tests.contains_key(&step),
        );
        let wanted = match entry.effect {
            Effect::Own | Effect::FulfilledBy(_) => (true, true),
            Effect::ComesWith(_) => (false, false),
        };
        assert_eq!(linked, wanted, "{step}: links from (code, tests)");
    }
    Ok(())
}

#[test]
fn coverage_txt_says_what_the_links_say() -> Result<(), String> {
    let path = spec::root().join("docs/spec/coverage.txt");
    let fresh = coverage::render(&spec::read()?, &links::read()?);
    if std::env::var_os("WRITE_COVERAGE").is_some() {
        std::fs::write(&path, &fresh).map_err(|error| error.to_string())?;
    }
    assert!(
        spec::read_file(&path)? == fresh,
        "docs/spec/coverage.txt is not what the links say. Write it anew and look at the difference:\n\
         WRITE_COVERAGE=1 cargo test -p handover-sim --test steps coverage"
    );
    Ok(())
}

#[test]
fn with_every_effect_everything_holds() {
    for (name, scenario, checks) in SCENARIOS {
        let seen = scenario(None).unwrap_or_else(|broken| panic!("{name}: {broken}"));
        for (check, holds) in *checks {
            assert!(holds(&seen), "{name}: {check}");
        }
    }
    for (name, alone) in ALONE {
        assert_eq!(alone(None), Ok(true), "{name}");
    }
}

#[test]
fn a_planned_step_left_out_at_the_cnapt_is_found() -> Result<(), String> {
    leave_out_each_of(Sequence::Cnapt)
}

#[test]
fn a_planned_step_left_out_at_the_snapt_is_found() -> Result<(), String> {
    leave_out_each_of(Sequence::Snapt)
}

#[test]
fn a_starred_step_left_out_at_the_cnapt_is_found() -> Result<(), String> {
    leave_out_each_of(Sequence::CnaptStar)
}

#[test]
fn a_starred_step_left_out_at_the_snapt_is_found() -> Result<(), String> {
    leave_out_each_of(Sequence::SnaptStar)
}

#[test]
fn a_step_that_is_said_to_have_no_effect_of_its_own_has_none() -> Result<(), String> {
    for (step, entry) in spec::read()? {
        if entry.effect == Effect::Own {
            continue;
        }
        let bug = Some(Bug::NoEffect(step));
        for (name, alone) in ALONE {
            assert_eq!(
                alone(bug),
                Ok(true),
                "{name} finds {step}: docs/spec is wrong"
            );
        }
        for (name, scenario, checks) in SCENARIOS {
            let seen = scenario(bug).map_err(|broken| format!("{name} finds {step}: {broken}"))?;
            for (check, holds) in *checks {
                assert!(
                    holds(&seen),
                    "{check} finds {step} in {name}: docs/spec is wrong"
                );
            }
        }
    }
    Ok(())
}

/// Prints what found each step, and fails if something that links to a step did not.
#[expect(
    clippy::print_stdout,
    reason = "`--nocapture` shows what found which step"
)]
fn leave_out_each_of(sequence: Sequence) -> Result<(), String> {
    let (entries, links) = (spec::read()?, links::read()?);
    let mut missed = Vec::new();
    let own = |step: &Step| {
        entries
            .get(step)
            .is_some_and(|one| one.effect == Effect::Own)
    };
    for step in Step::all().filter(|step| step.sequence() == sequence && own(step)) {
        let here = links.tests.get(&step).into_iter().flatten();
        let mut linked = here
            .filter(|place| place.file.starts_with("testing/sim/tests/steps/"))
            .peekable();
        if linked.peek().is_none() {
            missed.push(format!("{step}: nothing here links to it"));
        }
        for place in linked {
            match finds(&place.function, step) {
                Ok(how) => println!("{:9} {how}", step.to_string()),
                Err(seen) => missed.push(format!("{step}: {}: {seen:?}", place.function)),
            }
        }
    }
    assert!(missed.is_empty(), "left out, and not found: {missed:#?}");
    Ok(())
}

/// How the scenario, check or lone machine of that name finds the step left out, or what was seen instead.
fn finds(finder: &str, step: Step) -> Result<String, Vec<String>> {
    let bug = Some(Bug::NoEffect(step));
    let mut seen_instead = Vec::new();
    for (name, alone) in ALONE.iter().filter(|(name, _)| *name == finder) {
        match alone(bug) {
            Ok(true) => seen_instead.push(format!("{name} holds")),
            Ok(false) | Err(_) => return Ok((*name).to_owned()),
        }
    }
    for (name, scenario, checks) in SCENARIOS {
        let check = checks.iter().find(|(check, _)| *check == finder);
        if *name != finder && check.is_none() {
            continue;
        }
        match (scenario(bug), check) {
            (Ok(seen), Some((check, holds))) if !holds(&seen) => {
                return Ok(format!("{name}: {check}"));
            }
            (Err(broken), None) => return Ok(format!("{name}: {}", first_line(&broken.what))),
            (Ok(_), _) => seen_instead.push(format!("{name} holds")),
            (Err(broken), Some(_)) => {
                seen_instead.push(format!("{name} breaks: {}", first_line(&broken.what)));
            }
        }
    }
    Err(seen_instead)
}

/// What broke, without where everything stood then.
fn first_line(what: &str) -> &str {
    what.split([';', '{', '\n']).next().unwrap_or(what)
}
