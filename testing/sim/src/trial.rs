//! A trial: a seeded run of everything that can go wrong, in any order, which must end well.

use std::time::Duration;

use handover_proto::Side;
use handover_proto::bug::Bug;
use handover_proto::session::{Event, Procedure};

use crate::application::{Closing, Key, Plan, Reading};
use crate::network::Network;
use crate::random::Random;
use crate::world::{Broken, World};

/// How long everything may take to come to an end once nothing disturbs it any more: the keepalive,
/// some failed dials and retries, and the slowest reader.
const CALM: Duration = Duration::from_secs(240);

/// Things that happen in one trial, at most.
const ACTIONS: u64 = 40;

/// What trials came across.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Planned switches that were planned to the end.
    pub planned: u64,
    /// Other switches that were done.
    pub unexpected: u64,
    /// Switches that failed.
    pub failed: u64,
    /// Links that were lost.
    pub lost: u64,
    /// Sessions that one side forgot.
    pub sessions_lost: u64,
    /// Conversations.
    pub conversations: u64,
    /// Conversations that something reset.
    pub disturbed: u64,
    /// Bytes that arrived.
    pub bytes: u64,
}

impl Coverage {
    /// Adds what another trial came across.
    pub const fn add(&mut self, other: Self) {
        self.planned += other.planned;
        self.unexpected += other.unexpected;
        self.failed += other.failed;
        self.lost += other.lost;
        self.sessions_lost += other.sessions_lost;
        self.conversations += other.conversations;
        self.disturbed += other.disturbed;
        self.bytes += other.bytes;
    }

    fn of(world: &World) -> Self {
        let mut coverage = Self::default();
        for (_, _, event) in world.events() {
            match event {
                Event::Switched(report) if !report.done => coverage.failed += 1,
                Event::Switched(report)
                    if report.procedure == Procedure::Stepwise && report.planned =>
                {
                    coverage.planned += 1;
                }
                Event::Switched(_) => coverage.unexpected += 1,
                Event::Lost { .. } => coverage.lost += 1,
                Event::SessionLost { .. } | Event::TakenOver { .. } => coverage.sessions_lost += 1,
                Event::Attached { .. }
                | Event::Unreachable { .. }
                | Event::Began { .. }
                | Event::Settled { .. }
                | Event::Refused { .. }
                | Event::Detached
                | Event::Redirected { .. }
                | Event::Released { .. } => {}
            }
        }
        for (_, conversation) in world.conversations() {
            coverage.conversations += 1;
            coverage.disturbed += u64::from(conversation.excused);
            let server = conversation.server.as_ref();
            coverage.bytes += conversation.client.received + server.map_or(0, |one| one.received);
        }
        coverage
    }
}

/// Runs the trial of `seed`.
///
/// # Errors
///
/// If an invariant breaks, or the world does not come to an end.
pub fn trial(seed: u64) -> Result<Coverage, Broken> {
    trial_with(seed, None)
}

/// As [`trial`], with a rule left out.
///
/// # Errors
///
/// As [`trial`].
pub fn trial_with(seed: u64, bug: Option<Bug>) -> Result<Coverage, Broken> {
    let mut random = Random::new(seed);
    let count = 1 + random.below(3);
    let networks = (0..count).map(|_| {
        let mut network = Network::new(random.duration(Duration::from_millis(300)));
        network.back = random.duration(Duration::from_millis(300));
        network
    });
    let networks = networks.collect();
    let mut world = World::new(random.next(), networks);
    if let Some(bug) = bug {
        world = world.with_bug(bug);
    }
    world.start();
    match live(&mut world, &mut random) {
        Ok(()) => Ok(Coverage::of(&world)),
        Err(mut broken) => {
            let events = world.events().iter();
            for (at, side, event) in
                events.filter(|(_, _, event)| !matches!(event, Event::Settled { .. }))
            {
                broken.what += &format!("\n{at} {side:?} {event:?}");
            }
            Err(broken)
        }
    }
}

fn live(world: &mut World, random: &mut Random) -> Result<(), Broken> {
    let mut keys = Vec::new();
    for _ in 0..random.below(ACTIONS) {
        act(world, random, &mut keys)?;
        world.run_for(random.duration(Duration::from_secs(4)))?;
    }
    calm_down(world, &keys);
    world.finish(CALM)
}

fn act(world: &mut World, random: &mut Random, keys: &mut Vec<Key>) -> Result<(), Broken> {
    let network = usize::try_from(random.below(world.networks.len() as u64)).unwrap_or(0);
    let what = random.below(100);
    match what {
        0..30 => keys.push(world.open(plan(random, false), plan(random, true))?),
        30..45 => {
            world.order(network);
        }
        45..53 => world.cut(network),
        53..60 => world.link_down(network),
        60..72 => world.restore(network),
        72..75 => world.change_address(network),
        75..85 => disturb_conduit(world, random),
        85..94 => disturb_application(world, random, keys),
        94 => world.restart_cnapt(),
        95 => world.crash_cnapt(),
        96..98 => world.restart_snapt(),
        _ => world.decision_answers = !world.decision_answers,
    }
    Ok(())
}

fn plan(random: &mut Random, server: bool) -> Plan {
    let size = |random: &mut Random| {
        let magnitude = random.below(21);
        random.below(1 << magnitude)
    };
    let interval = |random: &mut Random| {
        Duration::from_millis(1) + random.duration(Duration::from_millis(500))
    };
    let plan = match random.below(3) {
        0 if server => Plan::echo(),
        _ => Plan::send(size(random)),
    };
    let closing = match random.below(10) {
        0 => Closing::Reset,
        1 | 2 => Closing::Never,
        _ => Closing::Fin,
    };
    let reading = match random.below(6) {
        0 => Reading::Still,
        1 => Reading::Slow(1 + size(random), interval(random)),
        _ => Reading::All,
    };
    let plan = plan.closing(closing).reading(reading);
    if random.chance(40) {
        plan.paced(1 + size(random) / 8, interval(random))
    } else {
        plan
    }
}

fn side(random: &mut Random) -> Side {
    if random.chance(50) {
        Side::Cnapt
    } else {
        Side::Snapt
    }
}

fn disturb_conduit(world: &mut World, random: &mut Random) {
    let all = world.open_conduits(side(random));
    let Some(conduit) = random.pick(&all) else {
        return;
    };
    let side = side(random);
    match random.below(4) {
        0 => world.hold(conduit, side),
        1 => world.release(conduit, side),
        2 => world.kill(conduit, &[side]),
        _ => world.kill(conduit, &[side, side.other()]),
    }
}

fn disturb_application(world: &mut World, random: &mut Random, keys: &[Key]) {
    let Some(key) = random.pick(keys) else { return };
    let side = side(random);
    match random.below(3) {
        0 => world.reset_application(key, side),
        1 => world.stop_application(key, side),
        _ => world.change(key, side, Reading::All, Closing::Fin),
    }
}

/// Nothing disturbs any more, and every application reads all and comes to its end.
fn calm_down(world: &mut World, keys: &[Key]) {
    world.decision_answers = true;
    for network in 0..world.networks.len() {
        world.restore(network);
    }
    for side in [Side::Cnapt, Side::Snapt] {
        for conduit in world.open_conduits(side) {
            world.release(conduit, Side::Cnapt);
            world.release(conduit, Side::Snapt);
        }
    }
    for key in keys {
        for side in [Side::Cnapt, Side::Snapt] {
            world.change(*key, side, Reading::All, Closing::Fin);
        }
    }
}
