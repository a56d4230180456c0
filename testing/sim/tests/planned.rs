//! The planned switch, where something is in the way.

use std::time::Duration;

use handover_proto::Side;
use handover_proto::session::{Ordered, Procedure, bound};
use handover_proto::step::Step;
use handover_proto::wire::Frame;
use handover_sim::{Broken, Closing, Plan, Reading, Wait, World};

const PATIENCE: Duration = Duration::from_secs(60);

/// Both round trips of [`World::attached`]'s networks, often enough for every message of the spec.
const QUICK: Duration = Duration::from_millis(400);

#[test]
fn it_costs_round_trips_and_no_bound() -> Result<(), Broken> {
    let mut world = World::attached(1)?;
    for _ in 0..20 {
        world.open(Plan::send(200_000), Plan::respond(0, 200_000))?;
    }
    world.run_for(Duration::from_millis(55))?;
    let report = world.switch(1)?;
    assert!(report.planned && report.done);
    assert!(report.ended.since(report.started) < QUICK, "{report:?}");
    world.finish(PATIENCE)
}

#[test]
fn a_conduit_numbered_just_before_the_order_is_marked_too() -> Result<(), Broken> {
    let mut world = World::attached(2)?;
    world.run_for(Duration::from_secs(1))?;
    world.open_unpumped(Plan::send(10), Plan::respond(10, 10))?;
    let report = world.switch(1)?;
    assert!(
        report.planned && report.ended.since(report.started) < QUICK,
        "{report:?}"
    );
    world.finish(PATIENCE)
}

#[test]
fn a_reader_that_stands_still_does_not_hold_it_up() -> Result<(), Broken> {
    let mut world = World::attached(3)?;
    let still = Plan::send(0)
        .reading(Reading::Still)
        .closing(Closing::Never);
    let key = world.open(still, Plan::send(3_000_000))?;
    let upload = world.open(Plan::send(3_000_000), still)?;
    world.run_for(Duration::from_secs(2))?;
    let report = world.switch(1)?;
    assert!(report.planned && report.ended.since(report.started) < QUICK);
    world.cut(1);
    world.run_until(PATIENCE, "back", |world| world.switches().count() == 2)?;
    assert_eq!(world.received(key, Side::Cnapt), 0);
    assert_eq!(world.received(upload, Side::Snapt), 0);
    world.change(key, Side::Cnapt, Reading::All, Closing::Fin);
    world.change(upload, Side::Snapt, Reading::All, Closing::Fin);
    world.finish(PATIENCE)
}

#[test]
fn an_upload_that_nobody_reads_leaves_the_download_alone() -> Result<(), Broken> {
    let mut world = World::attached(4)?;
    let server = Plan::send(2_000_000)
        .paced(20_000, Duration::from_millis(20))
        .reading(Reading::Still);
    let key = world.open(Plan::send(5_000_000), server)?;
    world.run_for(Duration::from_secs(1))?;
    assert!(world.switch(1)?.planned);
    world.cut(1);
    world.run_until(PATIENCE, "the whole download", |world| {
        world.received(key, Side::Cnapt) == 2_000_000
    })?;
    assert_eq!(world.received(key, Side::Snapt), 0);
    world.change(key, Side::Snapt, Reading::All, Closing::Fin);
    world.finish(PATIENCE)
}

#[test]
fn to_the_network_that_carries_nothing_happens() -> Result<(), Broken> {
    let mut world = World::attached(5)?;
    assert_eq!(world.order(0), Ordered::AlreadyThere);
    world.run_for(Duration::from_secs(1))?;
    assert_eq!(world.switches().count(), 0);
    Ok(())
}

#[test]
fn a_second_order_waits_for_the_first() -> Result<(), Broken> {
    let mut world = World::attached(6)?;
    assert_eq!(world.order(1), Ordered::Began);
    assert_eq!(world.order(1), Ordered::Busy);
    world.run_until(PATIENCE, "the switch", |world| {
        world.switches().count() == 1
    })?;
    assert!(world.switch(0)?.planned);
    Ok(())
}

#[test]
fn on_a_silently_dead_network_it_goes_on_with_the_starred_steps() -> Result<(), Broken> {
    let mut world = World::attached(7)?;
    world.open(Plan::send(3_000_000), Plan::echo())?;
    world.run_for(Duration::from_millis(100))?;
    world.cut(0);
    let report = world.switch(1)?;
    assert!(report.done && !report.planned);
    assert_eq!(report.procedure, Procedure::Starred);
    let took = report.ended.since(report.started);
    assert!(
        took >= bound::REPLY && took < bound::REPLY + QUICK,
        "{took:?}"
    );
    world.finish(PATIENCE)
}

#[test]
fn with_a_dead_target_it_goes_back_and_says_so() -> Result<(), Broken> {
    let mut world = World::attached(8)?;
    world.open(Plan::send(3_000_000), Plan::echo())?;
    world.run_for(Duration::from_millis(100))?;
    for dead in [World::cut, World::link_down] {
        dead(&mut world, 1);
        let report = world.switch(1)?;
        assert!(!report.done && report.to.0 == 1, "{report:?}");
        assert!(world.is_attached() && world.cnapt.network().is_some_and(|one| one.0 == 0));
        world.restore(1);
    }
    world.finish(PATIENCE)
}

#[test]
fn a_hook_that_fails_or_hangs_brings_it_back_to_the_old_network() -> Result<(), Broken> {
    for dooms in [World::fail_hooks, World::hang_hooks] {
        for step in 22..=24 {
            let mut world = World::attached_with_one_adapter(10, QUICK)?;
            world.open(Plan::send(3_000_000), Plan::echo())?;
            world.run_for(Duration::from_millis(100))?;
            world.order(1);
            let wait = Some(Wait::At(Step::cnapt(step)));
            world.run_until(PATIENCE, "the hook", |world| {
                world.wait(Side::Cnapt) == wait
            })?;
            assert!(dooms(&mut world));
            world.run_until(PATIENCE, "the switch", |world| {
                world.switches().count() == 1
            })?;
            assert!(world.is_attached() && world.switches().all(|one| !one.done));
            assert_eq!(world.cnapt.network().map(|one| one.0), Some(0));
            assert!(world.switch(1)?.planned, "the next one works");
            world.finish(PATIENCE)?;
        }
    }
    Ok(())
}

#[test]
fn it_ends_on_the_new_network_when_the_old_one_dies_at_any_moment() -> Result<(), Broken> {
    for millis in (0..300).step_by(7) {
        let mut world = World::attached(millis)?;
        world.open(Plan::send(1_000_000), Plan::echo())?;
        world.run_for(Duration::from_millis(100))?;
        world.order(1);
        world.run_for(Duration::from_millis(millis))?;
        world.cut(0);
        world.run_until(PATIENCE, "the switch", |world| {
            world.switches().count() == 1
        })?;
        let report = world.switches().next().cloned();
        assert!(report.is_some_and(|one| one.done && one.to.0 == 1));
        world.finish(PATIENCE)?;
    }
    Ok(())
}

#[test]
fn it_ends_somewhere_when_the_new_network_dies_at_any_moment() -> Result<(), Broken> {
    for millis in (0..400).step_by(7) {
        let mut world = World::attached(millis)?;
        world.open(
            Plan::send(1_000_000).paced(10_000, Duration::from_millis(20)),
            Plan::echo(),
        )?;
        world.run_for(Duration::from_millis(100))?;
        world.order(1);
        world.run_for(Duration::from_millis(millis))?;
        world.cut(1);
        world.finish(PATIENCE)?;
        assert!(world.cnapt.network().is_some_and(|one| one.0 == 0));
    }
    Ok(())
}

#[test]
fn a_marker_of_a_conduit_that_died_is_not_waited_for_beyond_the_bound() -> Result<(), Broken> {
    let mut world = World::attached(9)?;
    world.open(Plan::send(2_000_000), Plan::echo())?;
    world.run_for(Duration::from_millis(200))?;
    world.recording = true;
    for conduit in world.plain_conduits() {
        world.kill(conduit, &[]);
    }
    let report = world.switch(1)?;
    assert!(
        report.done && !report.planned,
        "a marker was lost: {report:?}"
    );
    assert_eq!(report.procedure, Procedure::Stepwise);
    assert!(report.ended.since(report.started) < 2 * bound::PROGRESS + QUICK);
    let incomplete = |frame: &Frame| {
        matches!(
            frame,
            Frame::OkToRedirection {
                complete: false,
                ..
            }
        )
    };
    assert_eq!(world.saw(Side::Cnapt, incomplete), 1);
    world.finish(PATIENCE)
}
