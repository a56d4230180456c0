//! What the simulator found by itself: each test is a seed's script by hand, with its story.

use std::time::Duration;

use handover_proto::Side;
use handover_proto::session::{Event, Loss, Phase, bound};
use handover_sim::{Broken, World};

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
