//! Either module restarts; the other does not.

use std::time::Duration;

use handover_proto::Side;
use handover_proto::session::{Event, SnaptPhase};
use handover_sim::{Broken, Closing, Ended, Plan, World};

const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn a_new_cnapt_with_the_same_key_takes_the_session_over() -> Result<(), Broken> {
    for crash in [World::restart_cnapt, World::crash_cnapt] {
        let mut world = World::attached(1)?;
        let old = world.open(Plan::send(1_000_000), Plan::echo().closing(Closing::Never))?;
        world.run_for(Duration::from_millis(100))?;
        crash(&mut world);
        world.run_until(PATIENCE, "attached", World::is_attached)?;
        let new = world.open(Plan::send(100_000), Plan::echo())?;
        world.finish(PATIENCE)?;
        assert_eq!(world.received(new, Side::Cnapt), 100_000);
        let server = world.conversation(old)?.acceptor.as_ref();
        assert_eq!(server.and_then(|one| one.ended), Some(Ended::Reset));
        let taken = |event: &Event| matches!(event, Event::TakenOver { streams: 1 });
        assert!(world.events().iter().any(|(_, _, event)| taken(event)));
    }
    Ok(())
}

#[test]
fn a_new_snapt_resets_what_ran_and_opens_what_was_never_sent() -> Result<(), Broken> {
    let mut world = World::attached(2)?;
    let old = world.open(Plan::send(1_000_000), Plan::echo())?;
    world.run_for(Duration::from_millis(100))?;
    world.link_down(0);
    world.link_down(1);
    world.run_for(Duration::from_millis(100))?;
    let waiting = world.open(Plan::send(70_000), Plan::echo())?;
    world.restart_snapt();
    world.run_for(Duration::from_secs(5))?;
    world.restore(1);
    world.finish(PATIENCE)?;
    let conversation = world.conversation(waiting)?;
    assert_eq!((conversation.connects, conversation.excused), (1, false));
    assert_eq!(conversation.opener.received, 70_000);
    let conversation = world.conversation(old)?;
    assert_eq!(conversation.connects, 1);
    assert_eq!(conversation.opener.ended, Some(Ended::Reset));
    Ok(())
}

#[test]
fn both_may_restart_at_any_moment_of_a_switch() -> Result<(), Broken> {
    for millis in (0..400).step_by(9) {
        let restart = if millis % 2 == 0 {
            World::restart_cnapt
        } else {
            World::restart_snapt
        };
        let mut world = World::attached(millis)?;
        world.open(Plan::send(300_000), Plan::echo())?;
        world.run_for(Duration::from_millis(50))?;
        world.order(1);
        world.run_for(Duration::from_millis(millis))?;
        restart(&mut world);
        world.finish(PATIENCE)?;
        let key = world.open(Plan::send(10_000), Plan::echo())?;
        world.finish(PATIENCE)?;
        assert_eq!(world.received(key, Side::Cnapt), 10_000);
    }
    Ok(())
}

//= docs/spec/unexpected.md#snapt-star-00
//= type=test
#[test]
fn a_session_is_released_after_the_switch_timeout() -> Result<(), Broken> {
    let mut world = World::attached(3)?;
    world.set_switch_timeout(Duration::from_secs(100));
    world.restart_snapt();
    world.run_until(PATIENCE, "attached", World::is_attached)?;
    let key = world.open(Plan::send(1_000_000), Plan::echo())?;
    world.run_for(Duration::from_millis(100))?;
    world.link_down(0);
    world.link_down(1);
    world.run_until(PATIENCE, "SNAPT-0*", |world| {
        world.snapt.phase() == SnaptPhase::AwaitUnexpected
    })?;
    world.run_for(Duration::from_secs(99))?;
    assert_eq!(world.snapt.phase(), SnaptPhase::AwaitUnexpected);
    world.run_for(Duration::from_secs(2))?;
    assert_eq!(world.snapt.phase(), SnaptPhase::Released);
    assert!(world.snapt.streams().is_empty());
    world.restore(0);
    world.finish(PATIENCE)?;
    assert_eq!(world.conversation(key)?.opener.ended, Some(Ended::Reset));
    Ok(())
}
