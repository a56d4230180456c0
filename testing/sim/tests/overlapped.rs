//! The overlapped switch: nobody stops, and whatever dies meanwhile, no byte is lost.

use std::time::Duration;

use handover_proto::session::{NetworkId, Procedure};
use handover_proto::wire::Frame;
use handover_proto::{Side, StreamId};
use handover_sim::{Broken, Key, Plan, World};

const PATIENCE: Duration = Duration::from_secs(60);

/// An answer every 5 ms, both ways, over 10 ms one way; the other network has 30 ms.
const TICK: Duration = Duration::from_millis(5);

fn ticking(standbys: bool) -> Result<(World, Key), Broken> {
    let mut world = World::attached(7)?;
    world.overlaps = true;
    world.standbys = standbys;
    let key = world.open(Plan::send(3_000_000).paced(1_000, TICK), Plan::echo())?;
    world.start();
    world.run_for(Duration::from_secs(1))?;
    Ok((world, key))
}

#[test]
fn nobody_stops_there_and_back() -> Result<(), Broken> {
    for standbys in [false, true] {
        let (mut world, key) = ticking(standbys)?;
        world.hold_links();
        world.run_for(Duration::from_secs(1))?;
        assert_eq!(world.cnapt.has_standby(NetworkId(1)), standbys);
        for to in [1, 0] {
            let report = world.switch(to)?;
            assert!(report.done && report.planned, "{report:?}");
            assert_eq!(report.procedure, Procedure::Overlapped);
            world.run_for(Duration::from_secs(2))?;
            let settled = world.settled(Side::Cnapt, report.number);
            let gap = settled.and_then(|(gap, _)| gap).unwrap_or(PATIENCE);
            // What an echo has gone through is the longer way twice.
            let explained = 2 * Duration::from_millis(20) + TICK;
            assert!(gap <= explained, "a gap of {gap:?} on the way to {to}");
        }
        assert!(!world.is_over(key), "the switches came in the middle");
        world.finish(PATIENCE)?;
    }
    Ok(())
}

#[test]
fn a_network_that_is_not_reached_is_not_gone_to_and_nothing_stops() -> Result<(), Broken> {
    let (mut world, key) = ticking(false)?;
    world.cut(1);
    let report = world.switch(1)?;
    assert!(!report.done, "{report:?}");
    assert_eq!(world.cnapt.network(), Some(NetworkId(0)));
    assert!(!world.is_over(key), "the order came in the middle");
    world.finish(PATIENCE)
}

#[test]
fn an_old_network_that_dies_in_the_middle_loses_nothing() -> Result<(), Broken> {
    for told in [false, true] {
        let (mut world, _) = ticking(true)?;
        world.hold_links();
        world.run_for(Duration::from_secs(1))?;
        world.order(1);
        if told {
            world.link_down(0);
        } else {
            world.cut(0);
        }
        world.run_until(PATIENCE, "the switch", |world| world.switches().count() > 0)?;
        let report = world.switches().next().cloned();
        assert!(
            report.is_some_and(|one| one.done && !one.planned),
            "told {told}"
        );
        world.finish(PATIENCE)?;
    }
    Ok(())
}

#[test]
fn a_new_network_that_dies_in_the_middle_is_left_again() -> Result<(), Broken> {
    let (mut world, _) = ticking(true)?;
    world.hold_links();
    world.run_for(Duration::from_secs(1))?;
    world.order(1);
    world.run_for(Duration::from_millis(35))?;
    world.link_down(1);
    world.run_until(PATIENCE, "the switch", |world| world.switches().count() > 0)?;
    assert_eq!(world.cnapt.network(), Some(NetworkId(0)));
    let report = world.switches().next().cloned();
    assert!(
        report.is_some_and(|one| !one.done),
        "it failed, and led back"
    );
    world.finish(PATIENCE)
}

/// The acknowledgement of an end goes by the control channel, which no marker ends.
#[test]
fn an_acknowledgement_that_dies_with_the_old_control_channel_is_given_again() -> Result<(), Broken>
{
    let mut world = World::attached(9)?;
    world.overlaps = true;
    world.standbys = true;
    world.hold_links();
    world.run_for(Duration::from_secs(1))?;
    let old = world.control_of(0)?;
    world.open(Plan::send(500), Plan::echo())?;
    world.recording = true;
    world.kill(old, &[]);
    world.run_for(Duration::from_millis(100))?;
    let report = world.switch(1)?;
    assert!(report.done, "{report:?}");
    world.finish(PATIENCE)?;
    let first = StreamId::new(Side::Cnapt, 0);
    let ends = world.saw(
        Side::Snapt,
        |frame| matches!(frame, Frame::End { stream, .. } if *stream == first),
    );
    assert!(ends > 1, "the end was told once more");
    Ok(())
}

/// The traffic has to go where a link that is to stand by is being made.
#[test]
fn a_network_has_one_link_however_many_were_dialled() -> Result<(), Broken> {
    let (mut world, _) = ticking(false)?;
    world.standbys = true;
    world.hold_links();
    assert!(!world.cnapt.has_standby(NetworkId(1)), "it is dialled");
    world.link_down(0);
    world.run_until(PATIENCE, "the switch", |world| world.switches().count() > 0)?;
    assert_eq!(world.cnapt.network(), Some(NetworkId(1)));
    world.run_for(Duration::from_secs(1))?;
    assert!(!world.cnapt.has_standby(NetworkId(1)), "it carries");
    world.finish(PATIENCE)
}
