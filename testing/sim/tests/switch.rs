//! The main job: streams live through a planned and an unexpected switch.

use std::time::Duration;

use handover_proto::session::Procedure;
use handover_sim::{Broken, Plan, World};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_request_and_its_answer_pass() -> Result<(), Broken> {
    let mut world = World::attached(1)?;
    world.open(Plan::send(300), Plan::respond(300, 100_000))?;
    world.finish(PATIENCE)
}

#[test]
fn an_echo_lives_through_a_planned_switch() -> Result<(), Broken> {
    let mut world = World::attached(2)?;
    let echo = world.open(
        Plan::send(2_000_000).paced(10_000, Duration::from_millis(5)),
        Plan::echo(),
    )?;
    world.run_for(Duration::from_millis(300))?;
    let report = world.switch(1)?;
    assert!(report.done && report.planned, "{report:?}");
    assert_eq!(report.procedure, Procedure::Stepwise);
    assert!(!world.is_over(echo), "the switch came in the middle");
    world.finish(PATIENCE)
}

#[test]
fn an_echo_lives_through_an_unexpected_switch() -> Result<(), Broken> {
    let mut world = World::attached(3)?;
    let echo = world.open(
        Plan::send(2_000_000).paced(10_000, Duration::from_millis(5)),
        Plan::echo(),
    )?;
    world.run_for(Duration::from_millis(300))?;
    world.cut(0);
    world.run_until(PATIENCE, "the switch", |world| world.switches().count() > 0)?;
    let report = world.switches().next().cloned();
    assert!(report.is_some_and(|one| one.done && one.procedure == Procedure::Starred));
    assert!(!world.is_over(echo), "the switch came in the middle");
    world.finish(PATIENCE)
}
