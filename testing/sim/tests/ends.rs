//! Ends of streams are truthful, whatever the network does meanwhile.

use std::time::Duration;

use handover_proto::Side;
use handover_sim::{Broken, Closing, Ended, Plan, Reading, World};

const PATIENCE: Duration = Duration::from_secs(120);
const MEGABYTES: u64 = 1_000_000;

#[test]
fn five_megabytes_arrive_after_their_sender_closed_and_the_network_went() -> Result<(), Broken> {
    let mut world = World::attached(1)?;
    let key = world.open(Plan::send(5 * MEGABYTES), Plan::send(0))?;
    world.run_until(PATIENCE, "the sender closed", |world| {
        let client = world.conversation(key).map(|one| one.opener.closed);
        client.is_ok_and(|closed| closed.is_some())
    })?;
    assert!(world.received(key, Side::Snapt) < 5 * MEGABYTES);
    world.cut(0);
    world.link_down(1);
    world.run_for(Duration::from_secs(20))?;
    world.restore(1);
    world.finish(PATIENCE)?;
    assert_eq!(world.received(key, Side::Snapt), 5 * MEGABYTES);
    Ok(())
}

#[test]
fn a_reset_with_bytes_queued_is_no_clean_end() -> Result<(), Broken> {
    for side in [Side::Cnapt, Side::Snapt] {
        for millis in (0..300).step_by(10) {
            let mut world = World::attached(millis)?;
            let writer = Plan::send(2 * MEGABYTES).closing(Closing::Never);
            let key = world.open(writer, writer)?;
            world.run_for(Duration::from_millis(100))?;
            world.reset_application(key, side);
            world.run_for(Duration::from_millis(millis / 3))?;
            world.link_down(0);
            world.finish(PATIENCE)?;
            let conversation = world.conversation(key)?;
            let other = conversation.at(side.other());
            assert_eq!(other.and_then(|one| one.ended), Some(Ended::Reset));
        }
    }
    Ok(())
}

#[test]
fn a_half_closed_conversation_goes_on_across_switches() -> Result<(), Broken> {
    let mut world = World::attached(3)?;
    let answer = Plan::respond(100, MEGABYTES).paced(10_000, Duration::from_millis(50));
    let key = world.open(Plan::send(100), answer)?;
    world.run_for(Duration::from_secs(1))?;
    assert!(world.switch(1)?.planned);
    world.cut(1);
    world.finish(PATIENCE)?;
    assert_eq!(world.received(key, Side::Cnapt), MEGABYTES);
    Ok(())
}

#[test]
fn a_last_acknowledgement_may_die_with_its_link_at_any_moment() -> Result<(), Broken> {
    for millis in 0..120 {
        let mut world = World::attached(millis)?;
        world.open(Plan::send(3_000), Plan::respond(3_000, 3_000))?;
        world.run_for(Duration::from_millis(millis))?;
        let control = world.control()?;
        let told: &[Side] = match millis % 3 {
            0 => &[Side::Cnapt],
            1 => &[Side::Cnapt, Side::Snapt],
            _ => &[Side::Snapt],
        };
        world.kill(control, told);
        world.finish(PATIENCE)?;
    }
    Ok(())
}

#[test]
fn a_reader_that_gave_up_stops_its_writer_and_only_that() -> Result<(), Broken> {
    for millis in (0..200).step_by(10) {
        let mut world = World::attached(millis)?;
        let endless = Plan::send(40 * MEGABYTES).closing(Closing::Never);
        let key = world.open(endless, Plan::send(0).closing(Closing::Never))?;
        let other = world.open(Plan::send(MEGABYTES), Plan::echo())?;
        world.run_for(Duration::from_millis(100))?;
        world.stop_application(key, Side::Snapt);
        world.run_for(Duration::from_millis(millis / 5))?;
        for conduit in world.plain_conduits() {
            world.kill(conduit, &[Side::Cnapt, Side::Snapt]);
        }
        world.finish(PATIENCE)?;
        assert_eq!(world.received(other, Side::Cnapt), MEGABYTES);
    }
    Ok(())
}

#[test]
fn during_an_outage_memory_is_bounded_and_the_producer_waits() -> Result<(), Broken> {
    let mut world = World::attached(5)?;
    let endless = Plan::send(40 * MEGABYTES)
        .paced(100_000, Duration::from_millis(20))
        .closing(Closing::Never);
    let upload = world.open(endless, Plan::respond(40 * MEGABYTES, 0))?;
    let download = world.open(Plan::send(0), endless)?;
    world.run_for(Duration::from_secs(2))?;
    world.cut(0);
    world.link_down(1);
    world.run_for(Duration::from_secs(1))?;
    let before = written(&world, upload)? + written(&world, download)?;
    world.run_for(Duration::from_secs(60))?;
    let bound = 2 * (handover_proto::stream::STREAM_CREDIT + handover_proto::stream::UNSENT_BYTES);
    for streams in [world.cnapt.streams(), world.snapt.streams()] {
        assert!(streams.buffered() > 0 && streams.buffered() <= bound);
    }
    let after = written(&world, upload)? + written(&world, download)?;
    assert!(after - before <= bound, "the producers wait");
    world.restore(0);
    world.change(upload, Side::Cnapt, Reading::All, Closing::Fin);
    world.change(download, Side::Snapt, Reading::All, Closing::Fin);
    world.finish(Duration::from_secs(600))?;
    assert_eq!(world.received(upload, Side::Snapt), 40 * MEGABYTES);
    assert_eq!(world.received(download, Side::Cnapt), 40 * MEGABYTES);
    Ok(())
}

/// What both applications of a conversation have written.
fn written(world: &World, key: handover_sim::Key) -> Result<u64, Broken> {
    let conversation = world.conversation(key)?;
    let server = conversation.acceptor.as_ref().map_or(0, |one| one.written);
    Ok(conversation.opener.written + server)
}
