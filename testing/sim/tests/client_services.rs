//! Client services: streams that the SNAPT opens to applications on the device.

use std::time::Duration;

use handover_proto::Side;
use handover_proto::wire::Frame;
use handover_sim::{Broken, Plan, World};

const PATIENCE: Duration = Duration::from_secs(60);

/// The first bytes take the control channel, and a conduit follows on demand.
//= docs/spec/planned.md#cnapt-27
//= docs/spec/unexpected.md#cnapt-star-15
//= type=test
#[test]
fn the_snapt_waits_for_no_handshake_and_asks_for_a_conduit_of_the_link() -> Result<(), Broken> {
    let mut world = World::attached(1)?;
    world.recording = true;
    for network in [0, 1] {
        let key = world.open_at(Side::Snapt, Plan::send(300_000), Plan::echo())?;
        world.run_for(Duration::from_millis(35))?;
        assert!(world.received(key, Side::Cnapt) > 0, "one way is enough");
        world.finish(PATIENCE)?;
        assert_eq!(world.received(key, Side::Snapt), 300_000);
        let dial = |frame: &Frame| matches!(frame, Frame::Dial { .. });
        assert_eq!(world.saw(Side::Cnapt, dial), 1 + network);
        world.switch(1 - network)?;
        world.run_for(Duration::from_secs(1))?;
    }
    Ok(())
}

#[test]
fn many_at_once_share_as_many_conduits_as_a_link_may_have() -> Result<(), Broken> {
    let mut world = World::attached(2)?;
    let long = Plan::send(200_000);
    let keys = (0..40).map(|_| world.open_at(Side::Snapt, long, Plan::echo()));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    world.finish(PATIENCE)?;
    for key in keys {
        assert_eq!(world.received(key, Side::Snapt), 200_000);
    }
    Ok(())
}

#[test]
fn one_that_begins_while_the_client_is_away_waits_for_it() -> Result<(), Broken> {
    let mut world = World::attached(3)?;
    for network in [0, 1] {
        world.link_down(network);
    }
    world.run_for(Duration::from_secs(40))?;
    let key = world.open_at(Side::Snapt, Plan::send(70_000), Plan::echo())?;
    world.run_for(Duration::from_secs(20))?;
    world.restore(1);
    world.finish(PATIENCE)?;
    let conversation = world.conversation(key)?;
    assert_eq!((conversation.connects, conversation.excused), (1, false));
    Ok(())
}

/// Ids of the new session's streams begin anew, and what the CNAPT still says of the old ones is not
/// taken for them.
#[test]
fn a_new_snapt_mistakes_no_stream_of_the_old_for_its_own() -> Result<(), Broken> {
    let mut world = World::attached(4)?;
    let old = world.open_at(Side::Snapt, Plan::send(50_000), Plan::echo())?;
    world.run_for(Duration::from_millis(100))?;
    world.restart_snapt();
    world.run_until(PATIENCE, "attached", World::is_attached)?;
    let new = world.open_at(Side::Snapt, Plan::send(70_000), Plan::echo())?;
    world.finish(PATIENCE)?;
    assert_eq!(new.stream, old.stream);
    assert_eq!(world.received(new, Side::Snapt), 70_000);
    Ok(())
}
