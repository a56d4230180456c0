//! The steps that both machines take are the spec's, in the spec's order.

use std::time::Duration;

use handover_proto::step::{Step, merge};
use handover_proto::{Instant, Side};
use handover_sim::{Broken, Plan, World};

const PATIENCE: Duration = Duration::from_secs(60);

fn busy_world(seed: u64) -> Result<World, Broken> {
    let mut world = World::attached(seed)?;
    let pace = Duration::from_millis(10);
    for _ in 0..3 {
        world.open(Plan::send(400_000).paced(2_000, pace), Plan::echo())?;
    }
    world.run_for(Duration::from_millis(500))?;
    Ok(world)
}

fn names(trail: &[(Step, Instant)]) -> Vec<String> {
    trail.iter().map(|(step, _)| step.to_string()).collect()
}

fn sequence(name: &str, numbers: std::ops::RangeInclusive<u8>, star: &str) -> Vec<String> {
    numbers
        .map(|number| format!("{name}-{number}{star}"))
        .collect()
}

/// Both trails as one list, a line per step, the SNAPT's steps indented.
fn ladder(world: &World) -> String {
    merge(world.cnapt.trail().steps(), world.snapt.trail().steps())
        .iter()
        .map(|(step, _)| match step.side() {
            Side::Cnapt => format!("{:<10}{:12}{}\n", step.to_string(), "", step.text()),
            Side::Snapt => format!("{:12}{:<10}{}\n", "", step.to_string(), step.text()),
        })
        .collect()
}

#[test]
fn a_planned_switch_takes_every_step_in_the_specs_order() -> Result<(), Broken> {
    let mut world = busy_world(1)?;
    assert!(world.switch(1)?.planned);
    assert_eq!(
        names(world.cnapt.trail().steps()),
        sequence("CNAPT", 1..=34, "")
    );
    assert_eq!(
        names(world.snapt.trail().steps()),
        sequence("SNAPT", 1..=23, "")
    );
    assert_eq!(ladder(&world), include_str!("planned.ladder"));
    world.finish(PATIENCE)
}

#[test]
fn an_unexpected_switch_takes_every_starred_step() -> Result<(), Broken> {
    let mut world = busy_world(2)?;
    let control = world.control()?;
    world.kill(control, &[Side::Snapt, Side::Cnapt]);
    world.run_until(PATIENCE, "the switch", |world| world.switches().count() > 0)?;
    assert_eq!(
        names(world.cnapt.trail().steps()),
        sequence("CNAPT", 1..=23, "*")
    );
    assert_eq!(
        names(world.snapt.trail().steps()),
        sequence("SNAPT", 0..=16, "*")
    );
    assert_eq!(ladder(&world), include_str!("unexpected.ladder"));
    world.finish(PATIENCE)
}

#[test]
fn a_snapt_that_noticed_nothing_begins_with_the_order() -> Result<(), Broken> {
    let mut world = busy_world(3)?;
    world.link_down(0);
    world.run_until(PATIENCE, "the switch", |world| world.switches().count() > 0)?;
    assert_eq!(
        names(world.snapt.trail().steps()),
        sequence("SNAPT", 1..=16, "*")
    );
    world.finish(PATIENCE)
}

#[test]
fn the_steps_of_one_switch_are_forgotten_at_the_next() -> Result<(), Broken> {
    let mut world = busy_world(4)?;
    world.switch(1)?;
    world.link_down(1);
    world.run_until(PATIENCE, "back", |world| world.switches().count() > 1)?;
    world.restore(1);
    let control = world.control()?;
    world.kill(control, &[Side::Snapt, Side::Cnapt]);
    world.run_until(PATIENCE, "again", |world| world.switches().count() > 2)?;
    assert_eq!(
        names(world.cnapt.trail().steps()),
        sequence("CNAPT", 1..=23, "*")
    );
    assert_eq!(
        names(world.snapt.trail().steps()),
        sequence("SNAPT", 0..=16, "*")
    );
    world.finish(PATIENCE)
}

#[test]
fn each_side_learns_the_others_steps_and_the_gap() -> Result<(), Broken> {
    let mut world = busy_world(5)?;
    let report = world.switch(1)?;
    world.run_for(Duration::from_secs(2))?;
    for side in [Side::Cnapt, Side::Snapt] {
        let settled = world.settled(side, report.number);
        let Some((gap, steps)) = settled else {
            return Err(world.failure("not settled".to_owned()));
        };
        let took = report.ended.since(report.started);
        assert!(gap.is_some_and(|gap| gap > Duration::from_millis(60) && gap < took * 2));
        assert_eq!(steps, if side == Side::Cnapt { 23 } else { 34 });
    }
    world.finish(PATIENCE)
}
