//! Switches that are played with the effect of a step left out, and what is noted of them.

use std::cell::RefCell;
use std::time::Duration;

use handover_proto::bug::Bug;
use handover_proto::session::{NetworkId, Phase, SnaptPhase, SwitchReport, bound};
use handover_proto::stream::ServiceKind;
use handover_proto::{ConduitId, Instant, Side};
use handover_sim::{Broken, Key, Plan, World};

/// For all applications to be through, even where CNAPT-14 is prolonged as often as it may be.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a conduit is held back, where one is: longer than all round trips of a switch together, and
/// shorter than every bound.
pub(crate) const HELD: Duration = Duration::from_millis(600);

/// From one question over UDP to the next.
const TICK: Duration = Duration::from_millis(5);

/// How long a hook takes, where there are any.
const HOOK: Duration = Duration::from_millis(200);

/// Beyond it a wait has met its bound: the round trips over both networks of [`World::attached`], often
/// enough for every message.
const QUICK: Duration = Duration::from_millis(500);

/// What can be seen of both modules at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    pub(crate) at: Instant,
    pub(crate) cnapt: Phase,
    pub(crate) snapt: SnaptPhase,
    /// Open conduits of the link that is left, by side.
    pub(crate) old: [Vec<ConduitId>; 2],
    /// Bytes that all applications at a side have written.
    pub(crate) written: [u64; 2],
    /// And read.
    pub(crate) read: [u64; 2],
    /// Whether streams of client services may have a place on a link, by side.
    pub(crate) client_services: [bool; 2],
    /// The same of flows of client services.
    pub(crate) client_flows: [bool; 2],
    /// Whether flows may be sent, by side.
    pub(crate) flows_forward: [bool; 2],
}

/// A switch that ended.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) world: World,
    pub(crate) report: SwitchReport,
    pub(crate) moments: Vec<Moment>,
    /// Questions over UDP that were not answered, by the side of the application that asked.
    pub(crate) datagrams_lost: [u64; 2],
    /// A line about every event: when, who, what.
    pub(crate) trace: Vec<String>,
    /// The longest that it may have taken.
    pub(crate) limit: Duration,
    /// The SNAPT heard of the loss before the order came.
    pub(crate) noticed: bool,
}

impl Seen {
    /// The first moment of which this is true.
    pub(crate) fn first(&self, is: impl Fn(&Moment) -> bool) -> Option<&Moment> {
        self.moments.iter().find(|moment| is(moment))
    }
}

/// Plays one switch, perhaps with a bug.
pub(crate) type Scenario = fn(Option<Bug>) -> Result<Seen, Broken>;

/// Under load both ways an order comes, and nothing is in the way. Afterwards the old network dies.
//= docs/spec/planned.md#cnapt-05
//= docs/spec/planned.md#cnapt-09
//= docs/spec/planned.md#cnapt-24
//= docs/spec/planned.md#cnapt-25
//= docs/spec/planned.md#cnapt-26
//= docs/spec/planned.md#cnapt-31
//= docs/spec/planned.md#cnapt-32
//= docs/spec/planned.md#cnapt-34
//= docs/spec/planned.md#snapt-05
//= docs/spec/planned.md#snapt-18
//= docs/spec/planned.md#snapt-21
//= docs/spec/planned.md#snapt-23
//= type=test
pub(crate) fn planned(bug: Option<Bug>) -> Result<Seen, Broken> {
    let mut stage = Stage::loaded(bug)?;
    stage.world.order(1);
    stage.watch_switch()?;
    stage.world.cut(0);
    stage.end()
}

/// As [`planned`], but one adapter is all there is: the old network is closed before the new one opens.
//= docs/spec/planned.md#cnapt-22
//= docs/spec/planned.md#cnapt-23
//= type=test
pub(crate) fn planned_with_one_adapter(bug: Option<Bug>) -> Result<Seen, Broken> {
    let mut stage = Stage::with_one_adapter(bug)?;
    stage.limit += 3 * HOOK;
    stage.world.order(1);
    stage.watch_switch()?;
    stage.end_at(1)
}

/// As [`planned`], but no application is there.
pub(crate) fn planned_while_idle(bug: Option<Bug>) -> Result<Seen, Broken> {
    let mut stage = Stage::idle(bug)?;
    stage.world.order(1);
    stage.watch_switch()?;
    stage.end()
}

/// As [`planned`], but the decision task does not say that it rests.
pub(crate) fn planned_without_answer(bug: Option<Bug>) -> Result<Seen, Broken> {
    let mut stage = Stage::loaded(bug)?;
    stage.world.decision_answers = false;
    stage.limit += bound::SUSPENSION;
    stage.world.order(1);
    stage.watch_switch()?;
    stage.end()
}

/// As [`planned`], but what comes to the CNAPT by one conduit is late.
//= docs/spec/planned.md#cnapt-13
//= type=test
pub(crate) fn planned_with_a_late_reply(bug: Option<Bug>) -> Result<Seen, Broken> {
    planned_with_something_late(bug, Side::Cnapt)
}

/// As [`planned`], but what comes to the SNAPT by one conduit is late.
//= docs/spec/planned.md#snapt-10
//= type=test
pub(crate) fn planned_with_a_late_request(bug: Option<Bug>) -> Result<Seen, Broken> {
    planned_with_something_late(bug, Side::Snapt)
}

fn planned_with_something_late(bug: Option<Bug>, side: Side) -> Result<Seen, Broken> {
    let mut stage = Stage::loaded(bug)?;
    stage.limit += HELD;
    let late = stage.used_conduit()?;
    stage.world.hold(late, side);
    stage.world.order(1);
    stage.watch_for(HELD)?;
    stage.world.release(late, side);
    stage.watch_switch()?;
    stage.end()
}

/// As [`planned`], but the end of one conduit comes late to the CNAPT, which is to close it first.
pub(crate) fn planned_with_a_late_end(bug: Option<Bug>) -> Result<Seen, Broken> {
    let mut stage = Stage::loaded(bug)?;
    let late = stage.used_conduit()?;
    stage.watch_until(Phase::AwaitServerServices)?;
    stage.world.hold(late, Side::Cnapt);
    stage.watch_switch()?;
    stage.end()
}

/// As [`planned`], but more is under way than a connection takes, so that frames have begun.
//= docs/spec/planned.md#cnapt-06
//= docs/spec/planned.md#snapt-06
//= type=test
pub(crate) fn planned_with_frames_begun(bug: Option<Bug>) -> Result<Seen, Broken> {
    let mut stage = Stage::idle(bug)?;
    for _ in 0..2 {
        let heavy = Plan::send(2_000_000);
        stage.keys.push(stage.world.open(heavy, heavy)?);
    }
    stage.world.run_for(Duration::from_millis(55))?;
    stage.world.order(1);
    stage.watch_switch()?;
    stage.end()
}

/// The order comes on a network that has died silently: what was under way is lost.
//= docs/spec/unexpected.md#cnapt-star-22
//= type=test
pub(crate) fn planned_on_a_dead_network(bug: Option<Bug>) -> Result<Seen, Broken> {
    let mut stage = Stage::loaded(bug)?;
    stage.limit += bound::REPLY;
    stage.world.cut(0);
    stage.watch_for(Duration::from_millis(100))?;
    stage.world.order(1);
    stage.watch_switch()?;
    stage.end()
}

/// The SNAPT's leave to go on does not come, so the planned steps are given up on a link that lives.
pub(crate) fn planned_then_given_up(bug: Option<Bug>) -> Result<Seen, Broken> {
    let mut stage = Stage::loaded(bug)?;
    stage.limit += bound::PROGRESS + bound::REPLY;
    stage.watch_until(Phase::AwaitOk)?;
    let control = stage.world.control()?;
    stage.world.hold(control, Side::Cnapt);
    stage.watch_switch()?;
    stage.end()
}

/// Under load the control channel breaks, and both modules notice.
//= docs/spec/unexpected.md#cnapt-star-05
//= docs/spec/unexpected.md#cnapt-star-06
//= docs/spec/unexpected.md#cnapt-star-13
//= docs/spec/unexpected.md#cnapt-star-14
//= docs/spec/unexpected.md#cnapt-star-16
//= docs/spec/unexpected.md#cnapt-star-17
//= docs/spec/unexpected.md#cnapt-star-19
//= docs/spec/unexpected.md#cnapt-star-20
//= docs/spec/unexpected.md#cnapt-star-23
//= docs/spec/unexpected.md#snapt-star-01
//= docs/spec/unexpected.md#snapt-star-05
//= docs/spec/unexpected.md#snapt-star-06
//= docs/spec/unexpected.md#snapt-star-09
//= docs/spec/unexpected.md#snapt-star-10
//= docs/spec/unexpected.md#snapt-star-11
//= docs/spec/unexpected.md#snapt-star-13
//= docs/spec/unexpected.md#snapt-star-14
//= docs/spec/unexpected.md#snapt-star-16
//= type=test
pub(crate) fn unexpected(bug: Option<Bug>) -> Result<Seen, Broken> {
    let mut stage = Stage::loaded(bug)?;
    stage.noticed = true;
    let control = stage.world.control()?;
    stage.world.kill(control, &[Side::Snapt, Side::Cnapt]);
    stage.watch_switch()?;
    stage.end()
}

/// Under load the network goes down, which only the device knows.
//= docs/spec/unexpected.md#snapt-star-15
//= type=test
pub(crate) fn unexpected_and_unnoticed(bug: Option<Bug>) -> Result<Seen, Broken> {
    let mut stage = Stage::loaded(bug)?;
    stage.world.link_down(0);
    stage.watch_switch()?;
    stage.end()
}

/// As [`unexpected`], but the decision task does not say that it rests.
pub(crate) fn unexpected_without_answer(bug: Option<Bug>) -> Result<Seen, Broken> {
    let mut stage = Stage::loaded(bug)?;
    stage.noticed = true;
    stage.world.decision_answers = false;
    stage.limit += bound::SUSPENSION;
    let control = stage.world.control()?;
    stage.world.kill(control, &[Side::Snapt, Side::Cnapt]);
    stage.watch_switch()?;
    stage.end()
}

/// As [`unexpected`], but one adapter is all there is.
//= docs/spec/unexpected.md#cnapt-star-12
//= type=test
pub(crate) fn unexpected_with_one_adapter(bug: Option<Bug>) -> Result<Seen, Broken> {
    let mut stage = Stage::with_one_adapter(bug)?;
    stage.noticed = true;
    stage.limit += 3 * HOOK;
    let control = stage.world.control()?;
    stage.world.kill(control, &[Side::Snapt, Side::Cnapt]);
    stage.world.cut(0);
    stage.watch_switch()?;
    stage.end_at(1)
}

/// A scenario while it is played.
struct Stage {
    world: World,
    keys: Vec<Key>,
    old: Vec<ConduitId>,
    moments: RefCell<Vec<Moment>>,
    limit: Duration,
    noticed: bool,
}

impl Stage {
    fn idle(bug: Option<Bug>) -> Result<Self, Broken> {
        Self::idle_in(World::attached(1)?, bug)
    }

    fn idle_in(world: World, bug: Option<Bug>) -> Result<Self, Broken> {
        let mut world = match bug {
            Some(bug) => world.with_bug(bug),
            None => world,
        };
        world.run_for(Duration::from_secs(1))?;
        world.start_trace();
        Ok(Self {
            old: world.open_conduits(Side::Cnapt),
            world,
            keys: Vec::new(),
            moments: RefCell::default(),
            limit: QUICK,
            noticed: false,
        })
    }

    /// Of either kind of service questions over UDP, echoes, an upload and a download that last longer than any switch here.
    fn loaded(bug: Option<Bug>) -> Result<Self, Broken> {
        Self::idle_in(World::attached_with_datagrams(1, TICK)?, bug)?.load()
    }

    /// Under the same load, but hooks open and close the networks, of which there can be one at a time.
    fn with_one_adapter(bug: Option<Bug>) -> Result<Self, Broken> {
        Self::idle_in(World::attached_with_one_adapter(1, HOOK)?, bug)?.load()
    }

    fn load(self) -> Result<Self, Broken> {
        let mut stage = self;
        let long = Plan::send(400_000).paced(4_000, Duration::from_millis(10));
        for (client, server) in [
            (long, Plan::echo()),
            (long, Plan::echo()),
            (Plan::send(100), long),
            (long, Plan::send(100)),
        ] {
            for side in [Side::Cnapt, Side::Snapt] {
                stage.keys.push(stage.world.open_at(side, client, server)?);
            }
        }
        stage.world.run_for(Duration::from_millis(300))?;
        stage.old = stage.world.open_conduits(Side::Cnapt);
        Ok(stage)
    }

    /// A conduit that carries streams: the oldest.
    fn used_conduit(&self) -> Result<ConduitId, Broken> {
        let first = self.world.plain_conduits().first().copied();
        first.ok_or_else(|| self.world.failure("no conduit".to_owned()))
    }

    /// An order comes, and the CNAPT has got so far.
    fn watch_until(&mut self, phase: Phase) -> Result<(), Broken> {
        self.world.order(1);
        self.watch("the phase", |world| world.cnapt.phase() == phase)
    }

    fn watch_switch(&mut self) -> Result<(), Broken> {
        self.watch("the switch", |world| world.switches().count() > 0)
    }

    fn watch(&mut self, what: &str, done: impl Fn(&World) -> bool) -> Result<(), Broken> {
        let (keys, old, moments) = (&self.keys, &self.old, &self.moments);
        self.world.run_until(PATIENCE, what, |world| {
            moments.borrow_mut().push(moment(world, keys, old));
            done(world)
        })
    }

    fn watch_for(&mut self, duration: Duration) -> Result<(), Broken> {
        let end = self.world.now() + duration;
        self.watch("time", |world| world.now() >= end)
    }

    /// As [`Stage::end`], and the session is on that network.
    fn end_at(self, network: usize) -> Result<Seen, Broken> {
        if self.world.cnapt.network() != Some(NetworkId(network)) {
            return Err(self.world.failure("the switch failed".to_owned()));
        }
        self.end()
    }

    /// Everything arrives, and nothing but that happens.
    fn end(mut self) -> Result<Seen, Broken> {
        self.world.finish(PATIENCE)?;
        let asked = self.world.asked();
        self.world.hear_datagrams(PATIENCE)?;
        let datagrams_lost = self.world.unanswered(asked);
        let reports: Vec<SwitchReport> = self.world.switches().cloned().collect();
        let [report] = &reports[..] else {
            return Err(self.world.failure("not one switch".to_owned()));
        };
        Ok(Seen {
            report: report.clone(),
            datagrams_lost,
            trace: self.world.take_trace(),
            world: self.world,
            moments: self.moments.into_inner(),
            limit: self.limit,
            noticed: self.noticed,
        })
    }
}

fn moment(world: &World, keys: &[Key], old: &[ConduitId]) -> Moment {
    let sides = [Side::Cnapt, Side::Snapt];
    let written = |side| {
        let at_side = |key| world.conversation(key).ok().and_then(|one| one.at(side));
        let all = keys.iter().filter_map(|key| at_side(*key));
        all.map(|application| application.written).sum()
    };
    let open = |side| {
        let mut open = world.open_conduits(side);
        open.retain(|conduit| old.contains(conduit));
        open
    };
    Moment {
        at: world.now(),
        cnapt: world.cnapt.phase(),
        snapt: world.snapt.phase(),
        old: sides.map(open),
        written: sides.map(written),
        read: sides.map(|side| keys.iter().map(|key| world.received(*key, side)).sum()),
        client_services: [world.cnapt.streams(), world.snapt.streams()]
            .map(|streams| streams.place_of(ServiceKind::Client).is_some()),
        client_flows: [world.cnapt.streams(), world.snapt.streams()]
            .map(|streams| streams.flow_place_of(ServiceKind::Client).is_some()),
        flows_forward: [world.cnapt.streams(), world.snapt.streams()]
            .map(|streams| streams.flows_forward()),
    }
}
