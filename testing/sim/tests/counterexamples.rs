//! The cases that a small model of the design broke, each on the real machines. The numbers are those
//! of docs/protocol.md's list; those of 9 and 12 that are stepwise are in the other files.

use std::time::Duration;

use handover_proto::Side;
use handover_proto::bug::Bug;
use handover_proto::session::{Phase, SnaptPhase, Timer, bound};
use handover_proto::stream::INITIAL_LIMIT;
use handover_proto::wire::Frame;
use handover_sim::{Broken, Closing, Ended, Plan, Reading, World};

const PATIENCE: Duration = Duration::from_secs(120);

/// A world whose link has its spare conduits.
fn ready(seed: u64) -> Result<World, Broken> {
    let mut world = World::attached(seed)?;
    world.run_for(Duration::from_millis(200))?;
    Ok(world)
}

fn hold_plain(world: &mut World, side: Side) {
    for conduit in world.plain_conduits() {
        world.hold(conduit, side);
    }
}

fn release_plain(world: &mut World, side: Side) {
    for conduit in world.plain_conduits() {
        world.release(conduit, side);
    }
}

fn kill_plain(world: &mut World, told: &[Side]) {
    for conduit in world.plain_conduits() {
        world.kill(conduit, told);
    }
}

/// A new conversation passes, and everything comes to its end.
fn check_alive(world: &mut World) -> Result<(), Broken> {
    let key = world.open(Plan::send(50_000), Plan::echo())?;
    world.finish(PATIENCE)?;
    assert_eq!(world.received(key, Side::Cnapt), 50_000);
    Ok(())
}

const TOLD: [&[Side]; 3] = [&[Side::Cnapt], &[Side::Snapt], &[Side::Cnapt, Side::Snapt]];

/// A schedule that passes, and no longer does when the rule that it is about is left out.
fn needs(rule: Bug, schedule: impl Fn(World) -> Result<(), Broken>) -> Result<(), Broken> {
    schedule(ready(1)?)?;
    let without = schedule(ready(1)?.with_bug(rule));
    assert!(without.is_err(), "it passes without {rule:?}, too");
    Ok(())
}

#[test]
fn case_1_credit_that_died_with_its_conduit_is_said_again() -> Result<(), Broken> {
    needs(Bug::ReceivedNotSaidAgain, |mut world| {
        let still = Plan::send(0).reading(Reading::Still);
        let key = world.open(Plan::send(100_000), still)?;
        world.run_for(Duration::from_secs(1))?;
        hold_plain(&mut world, Side::Cnapt);
        world.change(key, Side::Snapt, Reading::All, Closing::Fin);
        world.run_for(Duration::from_millis(100))?;
        let credit = u64::from(INITIAL_LIMIT);
        assert_eq!(world.received(key, Side::Snapt), credit, "all is there");
        kill_plain(&mut world, &[Side::Snapt]);
        world.finish(PATIENCE)
    })
}

#[test]
fn case_1_whoever_hears_of_the_conduits_end() -> Result<(), Broken> {
    for told in TOLD {
        let mut world = ready(1)?;
        let key = world.open(Plan::send(1_000_000), Plan::respond(1_000_000, 0))?;
        world.run_for(Duration::from_millis(40))?;
        hold_plain(&mut world, Side::Cnapt);
        world.run_for(Duration::from_secs(1))?;
        assert!(
            world.received(key, Side::Snapt) < 1_000_000,
            "it waits for credit"
        );
        kill_plain(&mut world, told);
        world.finish(PATIENCE)?;
    }
    Ok(())
}

#[test]
fn case_2_the_acknowledgement_of_an_end_survives_any_conduit() -> Result<(), Broken> {
    needs(Bug::EndAcknowledgedAnywhere, |mut world| {
        let request = Plan::send(10).closing(Closing::Never);
        let key = world.open(request, Plan::respond(10, 10))?;
        world.run_for(Duration::from_millis(300))?;
        let conduit = world.plain_conduits().first().copied();
        let conduit = conduit.ok_or_else(|| world.failure("no conduit".to_owned()))?;
        // Only the CNAPT knows that it is dead, and sends its FIN by another.
        world.kill(conduit, &[Side::Cnapt]);
        world.change(key, Side::Cnapt, Reading::All, Closing::Fin);
        world.finish(PATIENCE)
    })
}

#[test]
fn case_2_whoever_hears_of_the_conduits_end() -> Result<(), Broken> {
    for told in TOLD {
        for millis in (0..160).step_by(5) {
            let mut world = ready(millis)?;
            world.open(Plan::send(10), Plan::respond(10, 30_000))?;
            world.open(Plan::send(30_000), Plan::send(10))?;
            world.run_for(Duration::from_millis(millis))?;
            kill_plain(&mut world, told);
            world.finish(PATIENCE)?;
        }
    }
    Ok(())
}

#[test]
fn case_3_a_request_reset_before_its_open_arrived_is_forgotten() -> Result<(), Broken> {
    let mut world = ready(3)?;
    world.recording = true;
    hold_plain(&mut world, Side::Snapt);
    let key = world.open(Plan::send(100).closing(Closing::Never), Plan::echo())?;
    world.run_for(Duration::from_millis(50))?;
    world.reset_application(key, Side::Cnapt);
    for conduit in world.open_conduits(Side::Cnapt) {
        world.kill(conduit, &[Side::Cnapt, Side::Snapt]);
    }
    world.finish(PATIENCE)?;
    assert_eq!(
        world.conversation(key)?.connects,
        0,
        "nobody was waiting any more"
    );
    let settled = |frame: &Frame| matches!(frame, Frame::Settled { .. });
    assert!(world.saw(Side::Cnapt, settled) > 0);
    Ok(())
}

#[test]
fn cases_4_and_5_no_frame_of_a_stream_overtakes_its_open() -> Result<(), Broken> {
    for closing in [Closing::Fin, Closing::Reset] {
        for millis in (0..400).step_by(20) {
            let mut world = ready(millis)?;
            hold_plain(&mut world, Side::Snapt);
            let request = Plan::send(1).paced(1, Duration::from_millis(10));
            let key = world.open(request.closing(closing), Plan::respond(1, 1))?;
            world.run_for(Duration::from_millis(millis))?;
            let mut conduits = world.plain_conduits();
            conduits.reverse();
            for conduit in conduits {
                world.release(conduit, Side::Snapt);
                world.run_for(Duration::from_millis(30))?;
            }
            world.finish(PATIENCE)?;
            assert!(world.conversation(key)?.connects <= 1);
        }
    }
    Ok(())
}

#[test]
fn a_late_open_of_a_finished_request_does_not_run_it_again() -> Result<(), Broken> {
    let mut world = ready(4)?;
    world.recording = true;
    hold_plain(&mut world, Side::Snapt);
    let conduits = world.plain_conduits();
    let key = world.open(Plan::send(100), Plan::respond(100, 100))?;
    world.run_for(Duration::from_millis(20))?;
    let late = conduits.first().copied();
    for conduit in conduits.into_iter().skip(1) {
        world.release(conduit, Side::Snapt);
    }
    world.finish(PATIENCE)?;
    assert_eq!(
        world.received(key, Side::Cnapt),
        100,
        "the OPEN was repeated elsewhere"
    );
    if let Some(late) = late {
        world.release(late, Side::Snapt);
    }
    world.run_for(Duration::from_secs(1))?;
    let opens = world.saw(Side::Snapt, |frame| matches!(frame, Frame::Open { .. }));
    assert!(opens >= 2, "the late OPEN came");
    assert_eq!(world.conversation(key)?.connects, 1);
    let settled = |frame: &Frame| matches!(frame, Frame::Settled { .. });
    assert!(world.saw(Side::Cnapt, settled) > 0, "and was answered");
    world.check_calm()
}

#[test]
fn renew_overtakes_an_open_that_died_with_its_link() -> Result<(), Broken> {
    let mut world = ready(5)?;
    world.recording = true;
    hold_plain(&mut world, Side::Snapt);
    let key = world.open(Plan::send(100), Plan::respond(100, 100))?;
    world.run_for(Duration::from_millis(50))?;
    world.link_down(0);
    let open = |frame: &Frame| matches!(frame, Frame::Open { .. });
    let renewed = |frame: &Frame| {
        let Frame::Renew(renew) = frame else {
            return false;
        };
        let mut entries = renew.entries.iter();
        entries.any(|entry| entry.stream == key.stream && entry.end.is_some())
    };
    world.run_until(PATIENCE, "RENEW with the stream's FIN", |world| {
        world.saw(Side::Snapt, renewed) > 0
    })?;
    assert_eq!(world.saw(Side::Snapt, open), 0, "its OPEN never came");
    world.finish(PATIENCE)?;
    assert_eq!(world.saw(Side::Snapt, open), 1);
    assert_eq!(world.conversation(key)?.connects, 1);
    assert_eq!(world.received(key, Side::Cnapt), 100);
    Ok(())
}

#[test]
fn case_6_a_reset_does_not_wait_for_bytes_that_are_lost() -> Result<(), Broken> {
    let mut world = ready(6)?;
    let key = world.open(Plan::send(1_000_000).closing(Closing::Never), Plan::echo())?;
    world.run_for(Duration::from_millis(200))?;
    hold_plain(&mut world, Side::Snapt);
    world.run_for(Duration::from_millis(50))?;
    world.reset_application(key, Side::Cnapt);
    world.run_for(Duration::from_millis(50))?;
    kill_plain(&mut world, &[Side::Cnapt, Side::Snapt]);
    world.finish(PATIENCE)?;
    let server = world.conversation(key)?.acceptor.as_ref();
    assert_eq!(server.and_then(|one| one.ended), Some(Ended::Reset));
    Ok(())
}

#[test]
fn case_6b_a_reset_ends_behind_every_byte_that_may_have_arrived() -> Result<(), Broken> {
    let mut world = ready(7)?;
    let key = world.open(Plan::send(100).closing(Closing::Never), Plan::echo())?;
    world.run_for(Duration::from_millis(12))?;
    assert_eq!(world.received(key, Side::Snapt), 100);
    world.link_down(0);
    world.reset_application(key, Side::Cnapt);
    world.finish(PATIENCE)?;
    let server = world.conversation(key)?.acceptor.as_ref();
    assert_eq!(server.and_then(|one| one.ended), Some(Ended::Reset));
    Ok(())
}

#[test]
fn case_6c_after_a_stop_a_fin_behind_lost_bytes_is_acknowledged() -> Result<(), Broken> {
    for told in TOLD {
        let mut world = ready(8)?;
        let key = world.open(Plan::send(200_000), Plan::send(0).closing(Closing::Never))?;
        world.run_for(Duration::from_millis(60))?;
        hold_plain(&mut world, Side::Snapt);
        world.run_for(Duration::from_millis(60))?;
        world.stop_application(key, Side::Snapt);
        world.run_for(Duration::from_millis(5))?;
        kill_plain(&mut world, told);
        world.finish(PATIENCE)?;
    }
    Ok(())
}

#[test]
fn case_7_an_attached_that_was_lost_leaves_nothing_behind() -> Result<(), Broken> {
    let networks = [10, 30].map(|delay| handover_sim::Network::new(Duration::from_millis(delay)));
    let mut world = World::new(9, networks.to_vec());
    world.start();
    world.run_until(PATIENCE, "the SNAPT has it", |world| {
        world.snapt.phase() == SnaptPhase::Attached
    })?;
    assert_eq!(world.cnapt.phase(), Phase::AwaitRenewal);
    let control = world.control()?;
    world.kill(control, &[Side::Cnapt]);
    check_alive(&mut world)
}

#[test]
fn case_8_a_late_order_of_a_dead_process_moves_nothing() -> Result<(), Broken> {
    let mut world = ready(10)?;
    world.hold_new = true;
    world.link_down(0);
    world.run_for(Duration::from_millis(300))?;
    assert_eq!(
        world.cnapt.phase(),
        Phase::AwaitRenewal,
        "its order is on its way"
    );
    let late = world.control()?;
    world.hold_new = false;
    world.restore(0);
    world.crash_cnapt();
    world.run_until(PATIENCE, "the new process is attached", World::is_attached)?;
    let current = world.snapt.current_link();
    world.release(late, Side::Snapt);
    world.run_for(Duration::from_secs(2))?;
    assert_eq!(world.snapt.current_link(), current);
    check_alive(&mut world)
}

#[test]
fn case_8_nor_do_they_if_the_snapt_never_heard_of_that_process() -> Result<(), Broken> {
    let networks = [10, 30].map(|delay| handover_sim::Network::new(Duration::from_millis(delay)));
    let mut world = World::new(10, networks.to_vec());
    world.hold_new = true;
    world.start();
    world.run_until(PATIENCE, "its order is on its way", |world| {
        world.cnapt.phase() == Phase::AwaitRenewal
    })?;
    let late = world.control()?;
    world.hold_new = false;
    world.crash_cnapt();
    world.run_until(PATIENCE, "the new process is attached", World::is_attached)?;
    let current = world.snapt.current_link();
    world.release(late, Side::Snapt);
    world.run_for(Duration::from_secs(2))?;
    assert_eq!(world.snapt.current_link(), current);
    check_alive(&mut world)
}

#[test]
fn case_10_a_request_that_ran_at_a_dead_snapt_is_not_run_again() -> Result<(), Broken> {
    let mut world = ready(11)?;
    for conduit in world.open_conduits(Side::Cnapt) {
        world.hold(conduit, Side::Cnapt);
    }
    let server = Plan::echo().closing(Closing::Never);
    let key = world.open(Plan::send(100), server)?;
    world.run_for(Duration::from_millis(15))?;
    assert_eq!(world.conversation(key)?.connects, 1);
    world.restart_snapt();
    for conduit in world.open_conduits(Side::Cnapt) {
        world.release(conduit, Side::Cnapt);
    }
    world.finish(PATIENCE)?;
    let conversation = world.conversation(key)?;
    assert_eq!(conversation.connects, 1);
    assert_eq!(conversation.opener.ended, Some(Ended::Reset));
    check_alive(&mut world)
}

#[test]
fn case_11_a_step_2_that_comes_after_the_snapt_gave_up_is_taken() -> Result<(), Broken> {
    let mut world = ready(12)?;
    world.open(Plan::send(500_000), Plan::echo())?;
    world.run_for(Duration::from_millis(100))?;
    world.order(1);
    world.run_until(PATIENCE, "SNAPT-16", |world| {
        world.snapt.phase() == SnaptPhase::AwaitStep2
    })?;
    let now = world.now();
    world.snapt.handle_timer(Timer::OtherNetwork, now);
    assert_eq!(world.snapt.phase(), SnaptPhase::AwaitUnexpected);
    world.run_until(PATIENCE, "the switch", |world| {
        world.switches().count() == 1
    })?;
    let report = world.switches().next().cloned();
    assert!(report.is_some_and(|one| one.done && !one.planned));
    world.finish(PATIENCE)
}

#[test]
fn cases_13_and_16_orders_of_a_link_that_was_given_up_come_too_late() -> Result<(), Broken> {
    let mut world = ready(13)?;
    world.open(Plan::send(500_000), Plan::echo())?;
    world.run_for(Duration::from_millis(100))?;
    world.hold_new = true;
    world.order(1);
    world.run_until(PATIENCE, "CNAPT-30", |world| {
        world.cnapt.phase() == Phase::AwaitRenewal
    })?;
    let late = world.control()?;
    world.hold_new = false;
    world.run_until(PATIENCE, "back", |world| world.switches().count() == 1)?;
    assert!(world.switches().all(|one| !one.done));
    let current = world.snapt.current_link();
    world.release(late, Side::Snapt);
    world.run_for(Duration::from_secs(1))?;
    assert_eq!(world.snapt.current_link(), current);
    world.finish(PATIENCE)?;
    check_alive(&mut world)
}

#[test]
fn case_14_a_conduit_that_turns_up_late_is_marked_at_once() -> Result<(), Broken> {
    let mut world = ready(14)?;
    world.run_for(Duration::from_secs(1))?;
    hold_plain(&mut world, Side::Snapt);
    world.open(Plan::send(100), Plan::respond(100, 100))?;
    world.order(1);
    world.run_until(PATIENCE, "SNAPT-10", |world| {
        world.snapt.phase() == SnaptPhase::AwaitMarkers
    })?;
    release_plain(&mut world, Side::Snapt);
    let released = world.now();
    world.run_until(PATIENCE, "the switch", |world| {
        world.switches().count() == 1
    })?;
    assert!(world.switches().all(|one| one.planned && one.done));
    assert!(
        world.now().since(released) < bound::REPLY,
        "no bound was waited out"
    );
    world.finish(PATIENCE)
}

#[test]
fn case_15_ordered_again_on_the_same_link_all_conduits_are_fresh() -> Result<(), Broken> {
    let mut world = ready(15)?;
    world.recording = true;
    world.open(Plan::send(500_000), Plan::echo())?;
    world.run_for(Duration::from_millis(100))?;
    let old = world.control()?;
    world.link_down(0);
    world.run_until(PATIENCE, "the SNAPT followed", |world| {
        let control = world.control().ok();
        control != Some(old) && world.snapt.current_link() == control
    })?;
    let control = world.control()?;
    world.hold(control, Side::Cnapt);
    world.run_for(bound::PROGRESS + Duration::from_millis(500))?;
    world.release(control, Side::Cnapt);
    world.run_until(PATIENCE, "the switch", |world| {
        world.switches().count() == 1
    })?;
    let orders = |frame: &Frame| matches!(frame, Frame::SwitchUnexpected(_));
    assert_eq!(world.saw(Side::Snapt, orders), 2);
    assert_eq!(world.control()?, control, "on the same link");
    world.finish(PATIENCE)?;
    check_alive(&mut world)
}

#[test]
fn case_16_a_late_message_of_a_dead_attempt_changes_nothing() -> Result<(), Broken> {
    for phase in [Phase::AwaitAck, Phase::AwaitOk, Phase::AwaitServerServices] {
        let mut world = ready(16)?;
        world.recording = true;
        world.open(Plan::send(500_000), Plan::echo())?;
        world.run_for(Duration::from_millis(100))?;
        let old = world.control()?;
        if phase == Phase::AwaitAck {
            world.hold(old, Side::Snapt);
        }
        world.order(1);
        world.run_until(PATIENCE, "that wait", |world| world.cnapt.phase() == phase)?;
        world.hold(old, Side::Snapt);
        world.run_until(PATIENCE, "the switch", |world| {
            world.switches().count() == 1
        })?;
        assert!(world.switches().all(|one| one.done && !one.planned));
        world.release(old, Side::Snapt);
        world.finish(PATIENCE)?;
        check_alive(&mut world)?;
    }
    Ok(())
}

#[test]
fn case_17_settled_takes_no_bytes_from_an_application_that_has_yet_to_read() -> Result<(), Broken> {
    let mut world = ready(17)?;
    world.recording = true;
    let server = Plan::send(1_000).reading(Reading::Still);
    let key = world.open(Plan::send(10_000), server)?;
    let control = world.control()?;
    world.run_for(Duration::from_millis(12))?;
    world.hold(control, Side::Snapt);
    world.run_until(PATIENCE, "the CNAPT is through", |world| {
        world.cnapt.streams().is_empty()
    })?;
    world.kill(control, &[Side::Cnapt, Side::Snapt]);
    world.run_for(Duration::from_secs(3))?;
    let settled = |frame: &Frame| matches!(frame, Frame::Settled { .. });
    assert!(world.saw(Side::Snapt, settled) > 0);
    assert_eq!(world.received(key, Side::Snapt), 0);
    world.change(key, Side::Snapt, Reading::All, Closing::Fin);
    world.finish(PATIENCE)?;
    assert_eq!(world.received(key, Side::Snapt), 10_000);
    Ok(())
}

#[test]
fn case_18_a_new_process_begins_its_numbers_anew() -> Result<(), Broken> {
    let mut world = ready(18)?;
    world.switch(1)?;
    world.switch(0)?;
    world.crash_cnapt();
    world.run_until(PATIENCE, "attached", World::is_attached)?;
    check_alive(&mut world)?;
    assert!(world.switch(1)?.planned);
    check_alive(&mut world)
}
