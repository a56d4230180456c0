//! Datagrams of applications, without and with trouble.

use std::time::Duration;

use handover_proto::Side;
use handover_proto::session::{Phase, bound};
use handover_proto::stream::SPARE_CONDUITS;
use handover_sim::{Broken, Plan, World};

const TICK: Duration = Duration::from_millis(5);

const PATIENCE: Duration = Duration::from_secs(30);

/// Found by trial 810: the network fell silent towards the device just when the conduit for datagrams was dialled.
/// Nothing came of the dial, the link lived on, and nothing asked for that conduit again, so no datagram ever left.
#[test]
fn a_conduit_for_datagrams_that_could_not_be_made_is_asked_for_again() -> Result<(), Broken> {
    let mut world = World::attached_with_datagrams(1, TICK)?;
    world.hear_datagrams(PATIENCE)?;
    let conduits = world.plain_conduits();
    assert_eq!(conduits.len(), SPARE_CONDUITS + 1);
    world.networks[0].open = false;
    for conduit in conduits {
        world.kill(conduit, &[Side::Cnapt, Side::Snapt]);
    }
    world.run_for(Duration::from_secs(5))?;
    assert!(world.plain_conduits().is_empty());
    let asked = world.asked();
    assert!(world.unanswered(asked).iter().all(|lost| *lost > 0));
    world.networks[0].open = true;
    world.hear_datagrams(PATIENCE)
}

#[test]
fn a_network_that_is_away_for_longer_than_a_flow_may_be_idle_ends_none() -> Result<(), Broken> {
    let mut world = World::attached_with_datagrams(2, TICK)?;
    world.hear_datagrams(PATIENCE)?;
    let flows = [world.cnapt.streams(), world.snapt.streams()].map(|one| one.flows().len());
    assert_eq!(flows, [2, 2]);
    world.link_down(0);
    world.link_down(1);
    world.run_for(Duration::from_secs(600))?;
    let flows = [world.cnapt.streams(), world.snapt.streams()].map(|one| one.flows().len());
    assert_eq!(flows, [2, 2]);
    world.restore(0);
    world.hear_datagrams(PATIENCE)
}

/// Seed 555007003: the SNAPT had followed, and what the CNAPT said from then on was kept back. Its datagrams had no
/// conduit, and the SNAPT asked for one every second, which the CNAPT took for progress: it waited for ever (CNAPT-18*).
#[test]
fn datagrams_that_wait_at_the_other_side_prolong_no_wait() -> Result<(), Broken> {
    let mut world = World::attached_with_datagrams(3, TICK)?;
    world.hear_datagrams(PATIENCE)?;
    let old = world.control()?;
    world.link_down(0);
    world.run_until(PATIENCE, "the SNAPT followed", |world| {
        let control = world.control().ok();
        control != Some(old) && world.snapt.current_link() == control
    })?;
    let control = world.control()?;
    assert_eq!(world.cnapt.phase(), Phase::AwaitRenewal);
    world.hold(control, Side::Cnapt);
    world.hold(control, Side::Snapt);
    world.run_for(bound::PROGRESS + Duration::from_millis(500))?;
    assert_eq!(world.cnapt.phase(), Phase::AwaitRenewal, "ordered again");
    world.release(control, Side::Cnapt);
    world.run_until(PATIENCE, "the end of the wait", |world| {
        world.cnapt.phase() != Phase::AwaitRenewal
    })?;
    world.hear_datagrams(PATIENCE)
}

/// Seed 700033093: streams had used every conduit of the link and were over. So many were there that no other was
/// dialled, but none was a spare: when the one for datagrams was lost, none took its place.
#[test]
fn conduits_that_streams_once_used_are_no_reason_not_to_make_one_for_datagrams()
-> Result<(), Broken> {
    let mut world = World::attached_with_datagrams(4, TICK)?;
    world.hear_datagrams(PATIENCE)?;
    let for_datagrams = world.plain_conduits()[0];
    let long = Plan::send(40_000).paced(500, Duration::from_millis(20));
    world.open(long, Plan::echo())?;
    world.run_for(Duration::from_millis(500))?;
    world.networks[0].open = false;
    for _ in 0..SPARE_CONDUITS {
        world.open(long, Plan::echo())?;
    }
    world.run_for(Duration::from_secs(5))?;
    world.networks[0].open = true;
    world.finish(PATIENCE)?;
    assert_eq!(world.plain_conduits().len(), 1 + 1 + SPARE_CONDUITS);
    world.kill(for_datagrams, &[Side::Cnapt, Side::Snapt]);
    world.hear_datagrams(PATIENCE)
}
