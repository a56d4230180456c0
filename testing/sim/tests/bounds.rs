//! Every wait ends: each bound of the session machines is reached, with its consequence.

use std::time::Duration;

use handover_proto::Side;
use handover_proto::session::{Event, Loss, NetworkId, Phase, Procedure, SnaptPhase, bound};
use handover_proto::step::Step;
use handover_proto::stream::{SPARE_CONDUITS, SPARE_PAUSE};
use handover_sim::{Broken, Closing, Ended, Plan, Wait, World};

const PATIENCE: Duration = Duration::from_secs(120);

/// What round trips add to a bound in [`World::attached`].
const SLACK: Duration = Duration::from_millis(500);

fn busy_world(seed: u64) -> Result<World, Broken> {
    load(World::attached(seed)?)
}

fn load(mut world: World) -> Result<World, Broken> {
    world.run_for(Duration::from_millis(200))?;
    let pace = Duration::from_millis(20);
    for _ in 0..3 {
        world.open(Plan::send(1_000_000).paced(10_000, pace), Plan::echo())?;
    }
    world.run_for(Duration::from_millis(100))?;
    Ok(world)
}

fn lost(world: &World, why: Loss) -> bool {
    let lost = |event: &Event| matches!(event, Event::Lost { reason, .. } if *reason == why);
    world.events().iter().any(|(_, _, event)| lost(event))
}

/// How long the first phase of that kind lasts.
fn lasts(world: &mut World, phase: Phase) -> Result<Duration, Broken> {
    world.run_until(PATIENCE, "the wait", |world| world.cnapt.phase() == phase)?;
    let began = world.now();
    world.run_until(PATIENCE, "its end", |world| world.cnapt.phase() != phase)?;
    Ok(world.now().since(began))
}

//= docs/spec/planned.md#cnapt-07
//= type=test
#[test]
fn cnapt_7_a_decision_task_that_is_gone_is_not_waited_for() -> Result<(), Broken> {
    let mut world = busy_world(1)?;
    world.decision_answers = false;
    world.order(1);
    assert_eq!(
        lasts(&mut world, Phase::AwaitSuspension)?,
        bound::SUSPENSION
    );
    world.run_until(PATIENCE, "the switch", |world| {
        world.switches().count() == 1
    })?;
    assert!(world.switches().all(|one| one.planned));
    world.finish(PATIENCE)
}

//= docs/spec/planned.md#cnapt-11
//= type=test
#[test]
fn cnapt_11_without_an_answer_the_starred_steps_follow() -> Result<(), Broken> {
    let mut world = busy_world(2)?;
    world.cut(0);
    world.order(1);
    assert_eq!(lasts(&mut world, Phase::AwaitAck)?, bound::REPLY);
    world.finish(PATIENCE)
}

//= docs/spec/planned.md#cnapt-13
//= docs/spec/planned.md#snapt-10
//= type=test
#[test]
fn cnapt_13_and_snapt_10_markers_are_not_waited_for_beyond_their_bound() -> Result<(), Broken> {
    let mut world = busy_world(4)?;
    for conduit in world.plain_conduits() {
        world.kill(conduit, &[]);
    }
    world.order(1);
    let lasted = lasts(&mut world, Phase::AwaitMarkers)?;
    // The SNAPT's own bound ends first, and its OK_TO_REDIRECTION is progress.
    assert!(
        lasted >= bound::PROGRESS && lasted < 2 * bound::PROGRESS + SLACK,
        "{lasted:?}"
    );
    world.run_until(PATIENCE, "the switch", |world| {
        world.switches().count() == 1
    })?;
    assert!(world.switches().all(|one| one.done && !one.planned));
    world.finish(PATIENCE)
}

//= docs/spec/planned.md#cnapt-14
//= type=test
#[test]
fn cnapt_14_without_ok_the_starred_steps_follow() -> Result<(), Broken> {
    let mut world = busy_world(5)?;
    world.order(1);
    world.run_until(PATIENCE, "CNAPT-14", |world| {
        world.cnapt.phase() == Phase::AwaitOk
    })?;
    let control = world.control()?;
    world.hold(control, Side::Cnapt);
    let lasted = lasts(&mut world, Phase::AwaitOk)?;
    let whole = bound::PROGRESS + bound::REPLY;
    assert!(
        lasted >= whole - SLACK && lasted < whole + SLACK,
        "{lasted:?}"
    );
    world.run_until(PATIENCE, "the switch", |world| {
        world.switches().count() == 1
    })?;
    assert!(
        world
            .switches()
            .all(|one| one.done && one.procedure == Procedure::Starred)
    );
    world.finish(PATIENCE)
}

//= docs/spec/planned.md#cnapt-19
//= type=test
#[test]
fn cnapt_19_without_an_answer_the_starred_steps_follow() -> Result<(), Broken> {
    let mut world = busy_world(6)?;
    world.order(1);
    world.run_until(PATIENCE, "CNAPT-14", |world| {
        world.cnapt.phase() == Phase::AwaitOk
    })?;
    world.run_until(PATIENCE, "CNAPT-19", |world| {
        world.cnapt.phase() == Phase::AwaitServerServices
    })?;
    world.cut(0);
    assert_eq!(lasts(&mut world, Phase::AwaitServerServices)?, bound::REPLY);
    world.finish(PATIENCE)
}

//= docs/spec/planned.md#cnapt-22
//= docs/spec/planned.md#cnapt-23
//= docs/spec/planned.md#cnapt-24
//= type=test
#[test]
fn cnapt_22_to_24_a_shell_without_an_answer_is_not_waited_for_for_ever() -> Result<(), Broken> {
    for (before, step) in [(19, 22), (22, 23), (23, 24)] {
        let waits =
            |world: &World, step| world.wait(Side::Cnapt) == Some(Wait::At(Step::cnapt(step)));
        let mut world = load(World::attached_with_one_adapter(16, SLACK)?)?;
        world.order(1);
        world.run_until(PATIENCE, "the wait before", |world| waits(world, before))?;
        world.hooks_answer = false;
        world.run_until(PATIENCE, "the wait", |world| waits(world, step))?;
        let began = world.now();
        let patience = bound::NETWORKS + bound::DIAL;
        world.run_until(patience, "its end", |world| !waits(world, step))?;
        assert_eq!(world.now().since(began), bound::NETWORKS);
        world.hooks_answer = true;
        // The way back is a wait of its own.
        world.run_until(patience, "the way back", |world| {
            world.switches().count() == 1
        })?;
        assert!(world.switches().all(|one| !one.done));
        world.finish(PATIENCE)?;
    }
    Ok(())
}

//= docs/spec/planned.md#cnapt-28
//= type=test
#[test]
fn cnapt_28_a_network_that_does_not_answer_is_left() -> Result<(), Broken> {
    let mut world = busy_world(7)?;
    world.cut(1);
    world.order(1);
    // The way back is dialled at the same instant.
    let lasted = lasts(&mut world, Phase::AwaitControl)?;
    assert!(
        lasted >= bound::DIAL && lasted < bound::DIAL + SLACK,
        "{lasted:?}"
    );
    world.run_until(PATIENCE, "the switch", |world| {
        world.switches().count() == 1
    })?;
    assert!(world.switches().all(|one| !one.done));
    world.finish(PATIENCE)
}

//= docs/spec/planned.md#cnapt-30
//= type=test
#[test]
fn cnapt_30_without_renew_it_is_ordered_anew_and_then_given_up() -> Result<(), Broken> {
    let mut world = busy_world(8)?;
    world.recording = true;
    world.hold_new = true;
    world.order(1);
    world.run_until(PATIENCE, "CNAPT-30", |world| {
        world.cnapt.phase() == Phase::AwaitRenewal
    })?;
    world.hold_new = false;
    let late = world.control()?;
    let lasted = lasts(&mut world, Phase::AwaitRenewal)?;
    let whole = bound::PROGRESS * (bound::RETRIES + 1);
    assert!(lasted >= whole && lasted < whole + SLACK, "{lasted:?}");
    world.finish(PATIENCE)?;
    world.release(late, Side::Snapt);
    world.run_for(SLACK)?;
    assert!(world.is_calm() && world.switches().all(|one| !one.done));
    Ok(())
}

//= docs/spec/planned.md#snapt-10
//= docs/spec/planned.md#snapt-12
//= type=test
#[test]
fn snapt_10_and_12_a_cnapt_that_vanished_is_waited_for_as_after_a_loss() -> Result<(), Broken> {
    let mut world = busy_world(10)?;
    world.automatic = false;
    world.order(1);
    world.run_until(PATIENCE, "SNAPT-10", |world| {
        world.snapt.phase() == SnaptPhase::AwaitMarkers
    })?;
    world.crash_cnapt();
    let began = world.now();
    world.run_until(PATIENCE, "SNAPT-12", |world| {
        world.snapt.phase() == SnaptPhase::AwaitClientServices
    })?;
    assert!(world.now().since(began) <= bound::PROGRESS + SLACK);
    world.run_until(PATIENCE, "SNAPT-0*", |world| {
        world.snapt.phase() == SnaptPhase::AwaitUnexpected
    })?;
    assert!(world.now().since(began) <= bound::PROGRESS + bound::OTHER_NETWORK + SLACK);
    world.automatic = true;
    world.start();
    world.finish(PATIENCE)
}

//= docs/spec/planned.md#snapt-16
//= type=test
#[test]
fn snapt_16_a_cnapt_that_finds_no_network_is_waited_for_as_after_a_loss() -> Result<(), Broken> {
    let mut world = busy_world(11)?;
    world.automatic = false;
    world.order(1);
    world.run_until(PATIENCE, "SNAPT-16", |world| {
        world.snapt.phase() == SnaptPhase::AwaitStep2
    })?;
    let began = world.now();
    world.crash_cnapt();
    world.run_until(PATIENCE, "SNAPT-0*", |world| {
        world.snapt.phase() == SnaptPhase::AwaitUnexpected
    })?;
    assert_eq!(world.now().since(began), bound::OTHER_NETWORK);
    world.automatic = true;
    world.start();
    world.finish(PATIENCE)
}

#[test]
fn a_link_on_which_nothing_comes_is_lost() -> Result<(), Broken> {
    let mut world = busy_world(13)?;
    world.cut(0);
    let began = world.now();
    world.run_until(PATIENCE, "the loss", |world| lost(world, Loss::Silent))?;
    let took = world.now().since(began);
    assert!(took >= bound::SILENCE && took <= bound::SILENCE + bound::PROBE_BUSY + SLACK);
    world.finish(PATIENCE)
}

#[test]
fn an_idle_link_on_which_nothing_comes_is_lost_later() -> Result<(), Broken> {
    let mut world = World::attached(14)?;
    world.run_for(Duration::from_secs(60))?;
    assert!(!lost(&world, Loss::Silent));
    world.cut(0);
    let began = world.now();
    world.run_until(PATIENCE, "the loss", |world| lost(world, Loss::Silent))?;
    let took = world.now().since(began);
    assert!(took <= bound::PROBE_IDLE + bound::SILENCE + bound::PROBE_BUSY);
    world.finish(PATIENCE)
}

#[test]
fn a_connection_without_network_waits_like_a_syn() -> Result<(), Broken> {
    let mut world = World::attached(15)?;
    world.link_down(0);
    world.link_down(1);
    let key = world.open(Plan::send(10).closing(Closing::Never), Plan::echo())?;
    world.run_for(Duration::from_secs(119))?;
    assert_eq!(world.conversation(key)?.opener.ended, None);
    world.run_for(Duration::from_secs(2))?;
    assert_eq!(world.conversation(key)?.opener.ended, Some(Ended::Reset));
    world.restore(1);
    world.finish(PATIENCE)?;
    assert_eq!(world.conversation(key)?.connects, 0);
    Ok(())
}

#[test]
fn spares_that_something_closes_at_once_are_replaced_with_a_pause() -> Result<(), Broken> {
    let mut world = World::attached(17)?;
    let is_up = |world: &World| !world.plain_conduits().is_empty();
    world.run_until(PATIENCE, "spares", is_up)?;
    let began = world.now();
    let (rounds, mut closed) = (20, 0);
    for _ in 0..rounds {
        world.run_until(PATIENCE, "fresh spares", is_up)?;
        for conduit in world.plain_conduits() {
            world.kill(conduit, &[Side::Cnapt, Side::Snapt]);
            closed += 1;
        }
    }
    // Of a pair that was asked for together the second may come behind the death of the first.
    let pauses = (rounds - 1) / u32::try_from(SPARE_CONDUITS).unwrap_or(1);
    assert!(closed >= rounds && world.now().since(began) >= SPARE_PAUSE * pauses);
    world.open(Plan::send(100), Plan::echo())?;
    world.finish(PATIENCE)
}

#[test]
fn an_idle_link_shows_that_it_lives_as_often_as_its_network_needs() -> Result<(), Broken> {
    let mut world = World::attached(18)?;
    let often = Duration::from_secs(4);
    world.cnapt.set_keepalive(NetworkId(0), often);
    world.run_for(bound::PROBE_IDLE)?;
    world.cut(0);
    let began = world.now();
    world.run_until(PATIENCE, "the loss", |world| lost(world, Loss::Silent))?;
    let took = world.now().since(began);
    assert!(
        took <= often + bound::SILENCE + bound::PROBE_BUSY,
        "{took:?}"
    );
    world.finish(PATIENCE)
}
