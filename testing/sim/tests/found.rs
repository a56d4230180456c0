//! What the simulator found by itself: each test is a seed's script by hand, with its story.

use std::time::Duration;

use handover_proto::Side;
use handover_proto::session::{Event, Loss, Phase, bound};
use handover_sim::{Broken, Plan, World};

const PATIENCE: Duration = Duration::from_secs(120);

/// Seeds 126 and 709. The device fell asleep while it waited for ATTACHED (CNAPT-18*). The answer was in
/// the kernel when it woke and was taken for a round trip of 24 s, four of which the machine then
/// waited in every wait of that link: a dead network went unnoticed for minutes. After a night's sleep
/// it would have been more than a day.
#[test]
fn a_round_trip_that_the_device_slept_through_makes_no_wait_longer() -> Result<(), Broken> {
    let mut world = World::attached(1)?;
    world.link_down(0);
    world.run_until(PATIENCE, "CNAPT-18*", |world| {
        world.cnapt.phase() == Phase::AwaitRenewal
    })?;
    world.sleep(Side::Cnapt, Duration::from_secs(24), false);
    world.run_until(PATIENCE, "attached", World::is_attached)?;
    world.run_for(Duration::from_secs(1))?;
    world.cut(1);
    let began = world.now();
    world.run_until(PATIENCE, "the loss", |world| {
        let silent = |event: &Event| {
            matches!(
                event,
                Event::Lost {
                    reason: Loss::Silent,
                    ..
                }
            )
        };
        world.events().iter().any(|(_, _, event)| silent(event))
    })?;
    let most = bound::PROBE_IDLE + 4 * bound::ROUND_TRIP + bound::PROBE_BUSY;
    assert!(world.now().since(began) <= most);
    world.restore(0);
    world.finish(PATIENCE)
}

/// Seed 17483766801545. The SNAPT had just begun, and a CNAPT too: its HELLO was there, its order was
/// still on its way. Then the order of the CNAPT's dead process came by a slower network. Nobody had the
/// session, so nobody had to show that it lives, and the dead one got it; and the living one, which had
/// yet to ask for it, was told that it is superseded and stopped for good.
#[test]
fn a_cnapt_that_has_yet_to_order_is_not_superseded_by_a_dead_one() -> Result<(), Broken> {
    for seed in 0..40 {
        let mut world = World::attached(seed)?;
        let waits = |world: &World| world.cnapt.phase() == Phase::AwaitRenewal;
        world.hold_new = true;
        world.restart_snapt();
        world.run_until(PATIENCE, "an order that comes late", waits)?;
        let dead = world.control()?;
        world.crash_cnapt();
        world.split_percent = 100;
        world.run_until(PATIENCE, "an order in two pieces", waits)?;
        let living = world.control()?;
        world.hold_new = false;
        world.run_for(Duration::from_millis(100))?;
        // What they sent comes in turn: a piece of the living one's, all of the dead one's, the rest.
        world.release(living, Side::Snapt);
        world.release(dead, Side::Snapt);
        world.finish(PATIENCE)?;
    }
    Ok(())
}

/// A device asleep for a night, with the SNAPT's switch timeout far longer: nothing times out because of it,
/// whether its timers fire first when it wakes or the network is heard first.
#[test]
fn a_device_that_sleeps_for_a_night_loses_nothing() -> Result<(), Broken> {
    for timers_first in [false, true] {
        let mut world = World::attached(21)?;
        let pace = Duration::from_millis(20);
        let upload = world.open(Plan::send(400_000).paced(2_000, pace), Plan::echo())?;
        let download = world.open(Plan::send(0), Plan::send(3_000_000))?;
        world.run_for(Duration::from_secs(1))?;
        let night = Duration::from_secs(8 * 60 * 60);
        assert!(world.sleep(Side::Cnapt, night, timers_first));
        world.run_for(night)?;
        world.finish(PATIENCE)?;
        assert_eq!(world.received(upload, Side::Cnapt), 400_000);
        assert_eq!(world.received(download, Side::Cnapt), 3_000_000);
    }
    Ok(())
}

/// Seed 5224534126403: the way back became a second long while something was always on it, so that nothing was
/// asked, and a later switch waited as long as the round trip of before allows.
#[test]
fn the_round_trip_of_a_link_that_is_never_silent_is_measured_anew() -> Result<(), Broken> {
    let mut world = World::attached(1)?;
    let long = Plan::send(400_000).paced(500, Duration::from_millis(100));
    let key = world.open(long, long)?;
    world.run_for(Duration::from_secs(2))?;
    let second = Duration::from_secs(1);
    world.change_weather(0, Duration::from_millis(10), second, Duration::ZERO);
    world.run_for(Duration::from_secs(60))?;
    assert!(!world.is_over(key));
    let report = world.switch(1)?;
    assert!(report.planned && report.done, "{report:?}");
    world.finish(PATIENCE)
}
