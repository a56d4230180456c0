//! Rescue: a link is left while it is only silent, under all its brakes.

use std::time::Duration;

use handover_proto::Side;
use handover_proto::session::{NetworkId, Procedure};
use handover_sim::{Broken, Closing, Plan, Reading, World};

const PATIENCE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(5);

/// Something flows both ways over 10 ms one way; the other network has 30 ms.
fn flowing(standbys: bool) -> Result<World, Broken> {
    let mut world = World::attached(5)?;
    world.overlaps = true;
    world.standbys = standbys;
    world.rescues = true;
    world.hold_links();
    world.open(Plan::send(2_000_000).paced(1_000, TICK), Plan::echo())?;
    world.run_for(Duration::from_secs(1))?;
    Ok(world)
}

#[test]
fn a_silent_link_is_left_before_it_is_known_to_be_dead() -> Result<(), Broken> {
    for (standbys, round_trips) in [(true, 1), (false, 4)] {
        let mut world = flowing(standbys)?;
        let cut = world.now();
        world.cut(0);
        world.run_until(PATIENCE, "the rescue", |world| world.switches().count() > 0)?;
        let report = world.switches().next().cloned();
        let Some(report) = report.filter(|one| one.done && one.procedure == Procedure::Rescue)
        else {
            return Err(world.failure("no rescue".to_owned()));
        };
        let took = report.ended.since(cut);
        let most = Duration::from_millis(150 + 60 * round_trips);
        assert!(took <= most, "{took:?}, standby {standbys}");
        world.finish(PATIENCE)?;
        assert_eq!(
            world.switches().count(),
            1,
            "what is dead is not gone back to"
        );
    }
    Ok(())
}

#[test]
fn a_false_alarm_is_one_rescue_and_one_way_back_and_longer_the_next_time() -> Result<(), Broken> {
    let mut world = flowing(true)?;
    let mut before = Duration::ZERO;
    for alarm in 1..=3 {
        world.open(Plan::send(1_000_000).paced(1_000, TICK), Plan::echo())?;
        world.run_for(Duration::from_secs(1))?;
        let began = world.now();
        world.cut(0);
        world.run_for(Duration::from_millis(300))?;
        world.restore(0);
        world.run_until(PATIENCE, "the way back", |world| {
            world.switches().count() >= 2 * alarm
        })?;
        let two: Vec<_> = world.switches().skip(2 * alarm - 2).cloned().collect();
        assert_eq!(two[0].procedure, Procedure::Rescue);
        assert_eq!(
            (two[1].procedure, two[1].planned),
            (Procedure::Overlapped, true)
        );
        assert_eq!(world.cnapt.network(), Some(NetworkId(0)));
        let took = world.now().since(began);
        assert!(took > before, "the pause grows: {took:?} after {before:?}");
        before = took;
        // The next rescue by the same networks waits for the end of that pause.
        world.run_for(Duration::from_secs(60))?;
    }
    world.finish(PATIENCE)
}

/// Nothing flows yet, and a link stands by.
fn resting(seed: u64) -> Result<World, Broken> {
    let mut world = World::attached(seed)?;
    world.standbys = true;
    world.rescues = true;
    world.hold_links();
    Ok(world)
}

#[test]
fn a_reader_that_stands_still_is_no_silent_link() -> Result<(), Broken> {
    let mut world = resting(6)?;
    let still = Plan {
        reading: Reading::Still,
        ..Plan::echo()
    };
    let key = world.open(Plan::send(1_000_000), still)?;
    world.run_for(Duration::from_secs(30))?;
    assert_eq!(world.switches().count(), 0);
    world.change(key, Side::Snapt, Reading::All, Closing::Fin);
    world.finish(PATIENCE)
}

#[test]
fn a_healthy_link_may_be_silent_for_long() -> Result<(), Broken> {
    let mut world = resting(8)?;
    world.open(Plan::send(100_000), Plan::echo())?;
    world.finish(PATIENCE)?;
    world.run_for(Duration::from_secs(100))?;
    assert_eq!(world.switches().count(), 0);
    Ok(())
}

#[test]
fn more_than_a_metered_network_may_carry_again_waits_for_certainty() -> Result<(), Broken> {
    let mut world = flowing(true)?;
    world.rescue_budget = Some(100);
    world.cut(0);
    world.run_until(PATIENCE, "the switch", |world| world.switches().count() > 0)?;
    let report = world.switches().next().cloned();
    assert!(report.is_some_and(|one| one.done && one.procedure == Procedure::Starred));
    world.finish(PATIENCE)
}
