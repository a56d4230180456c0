//! The world: what it is made of, and how its time passes.

mod act;
mod check;
mod datagrams;
mod drive;
mod hooks;
mod sleep;
mod transport;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use handover_proto::bug::{Bug, Bugs};
use handover_proto::flow::DEFAULT_FLOW_IDLE;
use handover_proto::session::{Cnapt, Event, NetworkId, Snapt, SnaptOptions};
use handover_proto::stream::{CreditPool, Streams};
use handover_proto::wire::{CatalogueEntry, Frame};
use handover_proto::{CnaptId, ConduitId, Instance, Instant, LinkNumber, Side, StreamId};

use crate::application::{Conversation, Key, service};
use crate::network::{Connection, Network};
use crate::random::Random;

use datagrams::Datagrams;
use hooks::Hooks;
use sleep::Sleep;
use watch::Watch;

/// How long a session is kept for a silent CNAPT.
const SWITCH_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the decision task takes to find a network, and to look again.
const DECISION: Duration = Duration::from_millis(50);

/// What the clock of both modules says at first: not 0, so that a time that was never set shows.
const BEGINNING: Instant = Instant::from_micros(1_000_000);

/// More events than this at one instant means that the machines talk without end.
const EVENTS_AT_ONCE: u32 = 200_000;

/// An invariant does not hold, or something did not happen in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at {at}: {what}")]
pub struct Broken {
    /// When.
    pub at: Instant,
    /// What.
    pub what: String,
}

/// Which bytes of a stream were carried, and how many in all, in whatever order.
#[derive(Clone, Copy, Debug, Default)]
struct Carried {
    range: Option<(u64, u64)>,
    count: u64,
}

impl Carried {
    fn note(&mut self, offset: u64, count: u64) {
        let (first, last) = self.range.unwrap_or((offset, offset));
        self.range = Some((first.min(offset), last.max(offset + count)));
        self.count += count;
    }

    /// How many came more than once, if none is missing.
    fn again(&self) -> u64 {
        let different = self.range.map_or(0, |(first, last)| last - first);
        self.count.saturating_sub(different)
    }
}

/// What happens at a time.
#[derive(Clone, Copy, Debug)]
enum Occurrence {
    Arrival {
        conduit: ConduitId,
        to: Side,
    },
    /// A handshake is over; the link is named if the conduit is its first.
    Dialled {
        conduit: ConduitId,
        link: Dial,
    },
    DialFailed {
        link: Dial,
        run: usize,
    },
    Tick {
        key: Key,
        side: Side,
    },
    Decide,
    /// The decision task looks which links to hold beside the one that carries.
    Standby,
    /// The application at a side asks the next question over UDP.
    Ask(Side),
    /// The operating system may give up the connections over a network that is still cut.
    Keepalive {
        network: NetworkId,
        cuts: u64,
    },
    Abandon {
        conduit: ConduitId,
    },
    /// A conduit dies; the CNAPT or the SNAPT hears of it at once, or neither does.
    Kill {
        conduit: ConduitId,
        told: Option<Side>,
    },
    /// One side hears that a conduit ended.
    Ended {
        conduit: ConduitId,
        side: Side,
    },
    /// The device's operating system says that a network is gone.
    NetworkLost(NetworkId),
    /// The hooks that were asked for as number `count` have ended.
    Hook {
        count: u64,
        done: bool,
    },
    /// A network that went away is back, with the address that it had.
    Return {
        network: NetworkId,
        cuts: u64,
    },
    /// A sleeper wakes, if it is this nap that it sleeps.
    Wake {
        side: Side,
        nap: u64,
        timers_first: bool,
    },
    /// The server's kernel gives up on a sleeping device.
    Unacknowledged {
        nap: u64,
    },
}

impl Occurrence {
    /// The modules that have to be awake for it.
    const fn concerns(self) -> [Option<Side>; 2] {
        match self {
            Self::Arrival { to: side, .. }
            | Self::Tick { side, .. }
            | Self::Ask(side)
            | Self::Ended { side, .. } => [Some(side), None],
            Self::DialFailed { .. }
            | Self::Decide
            | Self::Standby
            | Self::NetworkLost(_)
            | Self::Hook { .. } => [Some(Side::Cnapt), None],
            Self::Dialled { .. } => [Some(Side::Cnapt), Some(Side::Snapt)],
            Self::Keepalive { .. }
            | Self::Abandon { .. }
            | Self::Kill { .. }
            | Self::Return { .. }
            | Self::Wake { .. }
            | Self::Unacknowledged { .. } => [None, None],
        }
    }
}

/// What a conduit was asked for.
#[derive(Clone, Copy, Debug)]
enum Dial {
    Link(LinkNumber),
    Conduit(ConduitId),
}

/// Everything.
#[derive(Debug)]
pub struct World {
    now: Instant,
    random: Random,
    agenda: BTreeMap<(Instant, u64), Occurrence>,
    sequence: u64,
    events_now: u32,
    /// The networks, in order of preference.
    pub networks: Vec<Network>,
    connections: BTreeMap<ConduitId, Connection>,
    /// What came by these the SNAPT has not looked at, because it held them.
    unread: BTreeSet<ConduitId>,
    next_conduit: u64,
    /// The machine at the device.
    pub cnapt: Cnapt,
    /// The machine at the server.
    pub snapt: Snapt,
    run: usize,
    snapt_run: u64,
    session: u64,
    switch_timeout: Duration,
    pools: [CreditPool; 2],
    conversations: BTreeMap<Key, Conversation>,
    /// Which conversation a stream at the SNAPT belongs to.
    serving: BTreeMap<StreamId, Key>,
    events: Vec<(Instant, Side, Event)>,
    frames: Vec<(Side, Frame)>,
    /// The conduit that is being read.
    reading: Option<ConduitId>,
    /// Streams with bytes that its task will deliver when it has read.
    deliverable: Vec<StreamId>,
    /// Whether new connections hold back what goes to the SNAPT, until [`World::release`].
    pub hold_new: bool,
    /// Whether frames are kept for [`World::saw`].
    pub recording: bool,
    /// Whether the decision task says that it is suspended.
    pub decision_answers: bool,
    datagrams: Option<Datagrams>,
    hooks: Hooks,
    /// Whether the shell says what became of its hooks.
    pub hooks_answer: bool,
    /// Whether only one of the networks with hooks can be open at a time.
    pub one_adapter: bool,
    /// Whether planned switches overlap where they can.
    pub overlaps: bool,
    /// Whether links are held beside the one that carries.
    pub standbys: bool,
    /// Whether a silent link is left before it is known to be dead.
    pub rescues: bool,
    /// Whether the decision task looks for networks by itself.
    pub automatic: bool,
    /// How many networks the decision task has tried since the session last ran.
    attempts: usize,
    /// The session that the CNAPT believed in until the call that is going on.
    believed: Option<u64>,
    /// How often what is written at once travels in two pieces, in percent.
    pub split_percent: u64,
    sleeps: [Sleep; 2],
    watches: [Watch; 2],
    /// The longest that anything was under way to each side.
    slowest: [Duration; 2],
    /// The same, without what that side slept through.
    slowest_awake: [Duration; 2],
    /// The most credit that each side had given at once.
    most_credit: [u64; 2],
    /// How many markers the last order promised, and how many each side has read since.
    markers: (u32, [u32; 2]),
    trace: Option<Vec<String>>,
    broken: Option<Broken>,
    bug: Option<Bug>,
    /// What has come to a side of each stream, kept on demand.
    carried: Option<BTreeMap<(Side, StreamId), Carried>>,
    /// Which run of the CNAPT moved the session last, and by which order.
    redirected: (usize, u64),
}

impl World {
    /// A world with these networks, in which nothing has happened.
    pub fn new(seed: u64, networks: Vec<Network>) -> Self {
        let pools = [CreditPool::default(), CreditPool::default()];
        Self {
            now: BEGINNING,
            random: Random::new(seed),
            agenda: BTreeMap::new(),
            sequence: 0,
            events_now: 0,
            networks,
            connections: BTreeMap::new(),
            unread: BTreeSet::new(),
            next_conduit: 0,
            cnapt: new_cnapt(0, vec![service()], &pools),
            snapt: new_snapt(0, 1, SWITCH_TIMEOUT, vec![service()], &pools),
            run: 0,
            snapt_run: 0,
            session: 1,
            switch_timeout: SWITCH_TIMEOUT,
            pools,
            conversations: BTreeMap::new(),
            serving: BTreeMap::new(),
            events: Vec::new(),
            frames: Vec::new(),
            reading: None,
            deliverable: Vec::new(),
            hold_new: false,
            recording: false,
            decision_answers: true,
            datagrams: None,
            hooks: Hooks::default(),
            hooks_answer: true,
            one_adapter: false,
            overlaps: false,
            standbys: false,
            rescues: false,
            automatic: true,
            attempts: 0,
            believed: None,
            split_percent: 0,
            sleeps: Default::default(),
            watches: [(); 2].map(|()| Watch::new(BEGINNING)),
            slowest: [Duration::ZERO; 2],
            slowest_awake: [Duration::ZERO; 2],
            most_credit: [0; 2],
            markers: (0, [0; 2]),
            trace: None,
            broken: None,
            bug: None,
            carried: None,
            redirected: (0, 0),
        }
    }

    /// The same, with a rule left out of both modules, or a step without effect in the one that takes it.
    #[must_use]
    pub fn with_bug(mut self, bug: Bug) -> Self {
        self.bug = Some(bug);
        self.give_bugs();
        self
    }

    /// To be called when a machine has been replaced.
    fn give_bugs(&mut self) {
        let bug = self.bug;
        for side in [Side::Cnapt, Side::Snapt] {
            let bugs = bug.map_or_else(Bugs::default, |bug| Bugs::of(bug, side));
            self.streams(side).set_bugs(bugs);
        }
    }

    /// Two networks, 10 ms and 30 ms one way, and the session attached over the first.
    ///
    /// # Errors
    ///
    /// If it does not attach.
    pub fn attached(seed: u64) -> Result<Self, Broken> {
        let networks = [10, 30].map(|delay| Network::new(Duration::from_millis(delay)));
        Self::attach(Self::new(seed, networks.to_vec()))
    }

    /// The same, but hooks that take so long open and close the networks, one of which can be open.
    ///
    /// # Errors
    ///
    /// If it does not attach.
    pub fn attached_with_one_adapter(seed: u64, hook: Duration) -> Result<Self, Broken> {
        let networks =
            [10, 30].map(|delay| Network::new(Duration::from_millis(delay)).with_hooks(hook));
        let mut world = Self::new(seed, networks.to_vec());
        world.one_adapter = true;
        Self::attach(world)
    }

    /// The same as [`World::attached`], and applications ask over UDP, too.
    ///
    /// # Errors
    ///
    /// If it does not attach.
    pub fn attached_with_datagrams(seed: u64, interval: Duration) -> Result<Self, Broken> {
        let networks = [10, 30].map(|delay| Network::new(Duration::from_millis(delay)));
        let mut world = Self::new(seed, networks.to_vec());
        world.talk_by_datagrams(interval);
        Self::attach(world)
    }

    fn attach(mut world: Self) -> Result<Self, Broken> {
        world.start();
        world.run_until(Duration::from_secs(5), "attached", Self::is_attached)?;
        Ok(world)
    }

    /// What the clock of both modules says.
    pub const fn now(&self) -> Instant {
        self.now
    }

    fn streams(&mut self, side: Side) -> &mut Streams {
        match side {
            Side::Cnapt => self.cnapt.streams_mut(),
            Side::Snapt => self.snapt.streams_mut(),
        }
    }

    fn schedule(&mut self, at: Instant, what: Occurrence) {
        self.sequence += 1;
        self.agenda.insert((at.max(self.now), self.sequence), what);
    }

    /// Lets time pass until `done`, at most for `patience`.
    ///
    /// # Errors
    ///
    /// If an invariant breaks, or `done` does not come about.
    pub fn run_until(
        &mut self,
        patience: Duration,
        what: &str,
        done: impl Fn(&Self) -> bool,
    ) -> Result<(), Broken> {
        if !self.comes_about(patience, done)? {
            let what = format!("not in time: {what}; {}", self.describe());
            return Err(self.failure(what));
        }
        self.failed()
    }

    /// Lets time pass until `done`, at most for `patience`; says whether it came about.
    ///
    /// # Errors
    ///
    /// If an invariant breaks.
    pub fn comes_about(
        &mut self,
        patience: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Result<bool, Broken> {
        let deadline = self.now + patience;
        self.settle();
        while !done(self) {
            if !self.step(deadline)? {
                self.now = deadline;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lets `duration` pass.
    ///
    /// # Errors
    ///
    /// If an invariant breaks.
    pub fn run_for(&mut self, duration: Duration) -> Result<(), Broken> {
        let deadline = self.now + duration;
        self.settle();
        while self.step(deadline)? {}
        self.now = deadline;
        self.failed()
    }

    /// The next thing happens, if it does before `deadline`.
    fn step(&mut self, deadline: Instant) -> Result<bool, Broken> {
        self.failed()?;
        let agenda = self.agenda.keys().next().map(|(at, _)| *at);
        let timeouts = [self.timeout(Side::Cnapt), self.timeout(Side::Snapt)];
        let next = timeouts.into_iter().chain([agenda]).flatten().min();
        let Some(next) = next.map(|at| at.max(self.now)).filter(|at| *at <= deadline) else {
            return Ok(false);
        };
        self.events_now = if next > self.now {
            0
        } else {
            self.events_now + 1
        };
        if self.events_now > EVENTS_AT_ONCE {
            return Err(self.failure(format!("no end of events; {}", self.describe())));
        }
        self.now = next;
        if agenda == Some(next) || agenda.is_some_and(|at| at <= next) {
            if let Some((_, what)) = self.agenda.pop_first() {
                self.happen(what);
            }
        } else if timeouts[0].is_some_and(|at| at <= next) {
            self.fire_timers(Side::Cnapt);
        } else {
            self.fire_timers(Side::Snapt);
        }
        self.settle();
        self.check_always();
        self.failed()?;
        Ok(true)
    }

    /// When the machine at `side` wants to be woken, if it can be.
    fn timeout(&self, side: Side) -> Option<Instant> {
        if self.is_asleep(side) {
            return None;
        }
        match side {
            Side::Cnapt => self.cnapt.next_timeout(),
            Side::Snapt => self.snapt.next_timeout(),
        }
    }

    fn fire_timers(&mut self, side: Side) {
        match side {
            Side::Cnapt => self.cnapt.handle_timeout(self.now),
            Side::Snapt => self.snapt.handle_timeout(self.now),
        }
    }

    fn happen(&mut self, what: Occurrence) {
        if self.put_off(what) {
            return;
        }
        match what {
            Occurrence::Arrival { conduit, to } => self.arrive(conduit, to),
            Occurrence::Dialled { conduit, link } => self.dialled(conduit, link),
            Occurrence::DialFailed { link, run } => self.dial_failed(link, run),
            Occurrence::Tick { key, side } => self.tick(key, side),
            Occurrence::Decide => self.decide(),
            Occurrence::Standby => self.hold_standbys(),
            Occurrence::Ask(side) => self.ask(side),
            Occurrence::Keepalive { network, cuts } => self.keepalive(network, cuts),
            Occurrence::Abandon { conduit } => self.abandon(conduit),
            Occurrence::Kill { conduit, told } => self.kill(conduit, told.as_slice()),
            Occurrence::Ended { conduit, side } => self.ended(conduit, side),
            Occurrence::Hook { count, done } => self.hooks_end(count, done),
            Occurrence::NetworkLost(network) => self.cnapt.network_lost(network, self.now),
            Occurrence::Return { network, cuts } => self.come_back(network, cuts),
            Occurrence::Wake {
                side,
                nap,
                timers_first,
            } => self.wake_from(side, nap, timers_first),
            Occurrence::Unacknowledged { nap } => self.unacknowledged(nap),
        }
    }

    /// Keeps a line about every event from now on.
    pub fn start_trace(&mut self) {
        self.trace = Some(Vec::new());
    }

    /// The lines so far: when, who, what.
    pub fn take_trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }

    /// Adds a line to the trace, if there is one.
    pub(crate) fn say(&mut self, who: &str, what: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let line = format!("{:>16} {who:<6} {}", self.now.to_string(), what(self));
            self.trace.get_or_insert_default().push(line);
        }
    }

    /// This went wrong now.
    pub fn failure(&self, what: String) -> Broken {
        Broken { at: self.now, what }
    }

    fn failed(&self) -> Result<(), Broken> {
        self.broken.clone().map_or(Ok(()), Err)
    }

    /// Notes the first broken invariant.
    fn break_with(&mut self, what: String) {
        if self.broken.is_none() {
            self.broken = Some(self.failure(what));
        }
    }
}

/// The CNAPT ID of the only device.
const CNAPT: CnaptId = CnaptId([7; 32]);

fn new_cnapt(run: usize, services: Vec<CatalogueEntry>, pools: &[CreditPool; 2]) -> Cnapt {
    let streams = Streams::new(Side::Cnapt, &services, pools[0].clone());
    Cnapt::new(CNAPT, Instance(100 + run as u64), services, streams)
}

fn new_snapt(
    run: u64,
    session: u64,
    switch_timeout: Duration,
    services: Vec<CatalogueEntry>,
    pools: &[CreditPool; 2],
) -> Snapt {
    let options = SnaptOptions {
        cnapt: CNAPT,
        instance: Instance(1_000 + run),
        session,
        virtual_ip: IpAddr::V4(Ipv4Addr::new(127, 77, 0, 1)),
        services,
        switch_timeout,
        flow_idle: DEFAULT_FLOW_IDLE,
    };
    Snapt::new(options, pools[1].clone())
}
