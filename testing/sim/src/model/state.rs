//! A state of the model: what there is, what can happen, and what then happens.

mod shell;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use handover_proto::bug::Bugs;
use handover_proto::session::{
    Close, Cnapt, NetworkId, Phase, Snapt, SnaptOptions, SnaptPhase, Timer,
};
use handover_proto::step::{Step, StepTrail};
use handover_proto::stream::{Accepted, CreditPool, PeerMisbehaved, Streams};
use handover_proto::wire::{Frame, Move, OldLink};
use handover_proto::{CnaptId, ConduitId, Instance, Instant, LinkNumber, Side, StreamId};

use super::Configuration;
use super::fold::Fold;
use super::talk::Talk;
use crate::application::service;
use crate::trail::{may_begin, may_follow};

/// The credit that a stream begins with, in bytes: one more, and the writer waits.
pub(super) const CREDIT: u32 = 2;

/// Credit of all streams of all states together never runs out.
const POOL: u64 = u64::MAX / 2;

const NOW: Instant = Instant::from_micros(1_000_000);
const CNAPT: CnaptId = CnaptId([7; 32]);
const SIDES: [Side; 2] = [Side::Cnapt, Side::Snapt];

/// One thing that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The next frame of a connection, or its end, comes to a side.
    Deliver(ConduitId, Side),
    /// The rest of a connection that the other side has reset never comes.
    LoseRest(ConduitId, Side),
    /// A handshake is over.
    Connected(usize),
    /// A network cannot be reached.
    Unreachable(usize),
    /// Hooks have ended.
    HooksEnd,
    /// Hooks have failed.
    HooksFail,
    /// The decision task has found a network.
    Decide,
    /// The user orders a switch to the other network.
    Order,
    /// A client application connects.
    Open,
    /// A server application connects to a client service.
    OpenClientService,
    /// The reader that stood still goes on.
    Read(usize),
    /// A timer fires.
    Fire(Side, Timer),
    /// A connection dies with what is under way.
    Die(ConduitId),
    /// A connection dies for the CNAPT; what it has sent may still arrive.
    Break(ConduitId),
    /// A module is killed and started anew.
    Restart(Side),
}

#[derive(Clone, Debug, Hash)]
enum Carried {
    Frame(Frame),
    Data(StreamId, u64, Vec<u8>),
    End,
}

#[derive(Clone, Debug, Hash)]
struct Connection {
    /// The control conduit of its link; its own id if it is that.
    link: ConduitId,
    run: u8,
    pipes: [VecDeque<Carried>; 2],
    open: [bool; 2],
    /// Of the SNAPT that it was made to.
    snapt_run: u8,
    /// The SNAPT has read its HELLO.
    greeted: bool,
    /// The other side has reset it, so that the rest may be lost.
    reset: [bool; 2],
}

/// What hooks are to do, in the switch of that number.
#[derive(Clone, Copy, Debug, Hash)]
enum Hooks {
    Close(u64),
    Open(u64),
    OpenVpn(u64),
}

/// Both machines and everything around them.
#[derive(Clone, Debug, Hash)]
pub(super) struct State {
    cnapt: Cnapt,
    snapt: Snapt,
    run: u8,
    snapt_run: u8,
    connections: BTreeMap<ConduitId, Connection>,
    next_conduit: u64,
    /// Links whose control channels are being made.
    dials: Vec<LinkNumber>,
    /// What hooks are running for.
    hooks: Option<Hooks>,
    decides: bool,
    next_network: usize,
    talks: Vec<Talk>,
    /// The SNAPT forgot the session, and the CNAPT has yet to learn it.
    session_lost: bool,
    /// How many markers the last SWITCH_STEP1 promised, and how many each side has read since.
    markers: (u32, [u32; 2]),
    /// Which run of the CNAPT moved the session last, and by which order.
    redirected: (u8, u64),
    /// The SNAPT has closed a link of the present run before it followed its first order: a dead process's
    /// order came in between.
    turned_away: bool,
    deaths: u8,
    breaks: u8,
    orders: u8,
    restarts: u8,
    early: u8,
    late: u8,
    client_services: u8,
}

/// What must not be.
pub(super) type Broken = String;

impl State {
    /// Where everything begins: the first application has connected, and there is no network yet.
    pub(super) fn new(configuration: &Configuration) -> Result<Self, Broken> {
        let mut state = Self {
            cnapt: new_cnapt(0, configuration),
            snapt: new_snapt(0, 0, configuration),
            run: 0,
            snapt_run: 0,
            connections: BTreeMap::new(),
            next_conduit: 0,
            dials: Vec::new(),
            hooks: None,
            decides: true,
            next_network: 0,
            talks: Vec::new(),
            session_lost: false,
            markers: (0, [0; 2]),
            redirected: (0, 0),
            turned_away: false,
            deaths: configuration.deaths,
            breaks: configuration.breaks,
            orders: configuration.orders,
            restarts: configuration.restarts,
            early: configuration.early,
            late: configuration.late,
            client_services: configuration.client_services,
        };
        for kind in 0..configuration.streams {
            state.open(Side::Cnapt, kind)?;
        }
        state.settle(configuration)?;
        Ok(state)
    }

    /// The steps in both trails, one bit each.
    pub(super) fn steps(&self) -> u128 {
        let trails = [self.cnapt.trail(), self.snapt.trail()];
        let steps = trails.into_iter().flat_map(|trail| trail.steps());
        steps.fold(0, |bits, (step, _)| bits | 1 << step_index(*step))
    }

    /// Everything arrived and nothing is left over, and it stays so while nothing strikes.
    pub(super) fn is_calm(&self) -> bool {
        self.cnapt.phase() == Phase::Attached
            && self.snapt.phase() == SnaptPhase::Attached
            && self.cnapt.streams().is_empty()
            && self.snapt.streams().is_empty()
            && (self.late, self.client_services) == (0, 0)
            && self.talks.iter().all(Talk::is_over)
            && self.is_quiet()
    }

    /// What both machines wait for.
    pub(super) fn phases(&self) -> String {
        format!("{:?} | {:?}", self.cnapt.phase(), self.snapt.phase())
    }

    /// What keeps it from being calm.
    pub(super) fn leftovers(&self) -> String {
        let talks = self.talks.iter().filter(|talk| !talk.is_over());
        format!(
            "CNAPT has {} streams, SNAPT {}; not over: {:?}",
            self.cnapt.streams().len(),
            self.snapt.streams().len(),
            talks.collect::<Vec<_>>()
        )
    }

    /// An action with what it concerns.
    pub(super) fn describe(&self, action: Action) -> String {
        if let Action::Deliver(conduit, side) = action
            && let Some(connection) = self.connections.get(&conduit)
            && let Some(carried) = connection.pipes[side as usize].front()
        {
            return format!("{side:?} reads {} from {carried:?}", conduit.0);
        }
        format!("{action:?}")
    }

    // === What can happen ===

    /// Every choice in this state.
    pub(super) fn actions(&self, world: &Configuration, actions: &mut Vec<Action>) {
        actions.clear();
        self.ordinary(actions);
        let quiet = actions.is_empty();
        if quiet && !self.is_calm() {
            actions.extend(self.next_timers(world));
        }
        if self.early > 0 && !quiet {
            let early = self.timers().filter(|(_, timer)| may_be_early(*timer));
            actions.extend(early.map(|(side, timer)| Action::Fire(side, timer)));
        }
        if self.orders > 0 && matches!(self.cnapt.phase(), Phase::Attached | Phase::Detached) {
            actions.push(Action::Order);
        }
        if self.deaths > 0 {
            let both = |one: &Connection| one.open == [true; 2];
            let living = self.connections.iter().filter(|(_, one)| both(one));
            actions.extend(living.map(|(conduit, _)| Action::Die(*conduit)));
            actions.extend((0..self.dials.len()).map(Action::Unreachable));
            actions.extend(self.hooks.iter().map(|_| Action::HooksFail));
        }
        if self.breaks > 0 {
            let living = self
                .connections
                .iter()
                .filter(|(_, one)| one.open[Side::Cnapt as usize]);
            actions.extend(living.map(|(conduit, _)| Action::Break(*conduit)));
        }
        if self.restarts > 0 {
            actions.extend(SIDES.map(Action::Restart));
        }
    }

    fn is_quiet(&self) -> bool {
        let mut ordinary = Vec::new();
        self.ordinary(&mut ordinary);
        ordinary.is_empty()
    }

    /// What happens by itself, sooner or later.
    fn ordinary(&self, actions: &mut Vec<Action>) {
        for (conduit, connection) in &self.connections {
            for side in SIDES {
                if connection.pipes[side as usize].is_empty() {
                    continue;
                }
                let held =
                    side == Side::Snapt && connection.greeted && self.snapt.is_held(*conduit);
                if !held {
                    actions.push(Action::Deliver(*conduit, side));
                }
                if connection.reset[side as usize] && connection.pipes[side as usize].len() > 1 {
                    actions.push(Action::LoseRest(*conduit, side));
                }
            }
        }
        actions.extend((0..self.dials.len()).map(Action::Connected));
        actions.extend(self.hooks.iter().map(|_| Action::HooksEnd));
        if self.decides {
            actions.push(Action::Decide);
        }
        if self.late > 0 {
            actions.push(Action::Open);
        }
        let begun = !matches!(self.snapt.phase(), SnaptPhase::New | SnaptPhase::Released);
        if self.client_services > 0 && begun {
            actions.push(Action::OpenClientService);
        }
        for (index, talk) in self.talks.iter().enumerate() {
            if !talk.reads && talk.run == self.run && talk.opener.ended.is_none() {
                actions.push(Action::Read(index));
            }
        }
    }

    fn timers(&self) -> impl Iterator<Item = (Side, Timer)> {
        let cnapt = self.cnapt.armed_timers().into_iter();
        let snapt = self.snapt.armed_timers().into_iter();
        let cnapt = cnapt.map(|timer| (Side::Cnapt, timer));
        cnapt.chain(snapt.map(|timer| (Side::Snapt, timer)))
    }

    /// Nothing else can happen, so the shortest of the timers fire; but one that comes round and changes
    /// nothing is not waited for.
    fn next_timers(&self, world: &Configuration) -> Vec<Action> {
        let mut armed: Vec<(u8, Action)> = self
            .timers()
            .filter_map(|(side, timer)| Some((length(timer)?, Action::Fire(side, timer))))
            .collect();
        armed.sort_by_key(|(length, _)| *length);
        let changes = |action: &Action| match self.after(*action, world) {
            Ok(next) => Fold::of(&next) != Fold::of(self),
            Err(_) => true,
        };
        for same in armed.chunk_by(|one, other| one.0 == other.0) {
            let actions = same.iter().map(|(_, action)| *action);
            let useful: Vec<Action> = actions.filter(changes).collect();
            if !useful.is_empty() {
                return useful;
            }
        }
        Vec::new()
    }

    // === What then happens ===

    /// The state after `action`.
    pub(super) fn after(&self, action: Action, world: &Configuration) -> Result<Self, Broken> {
        let mut next = self.clone();
        next.perform(action, world)?;
        next.settle(world)?;
        check_trail(self.cnapt.trail(), next.cnapt.trail())?;
        check_trail(self.snapt.trail(), next.snapt.trail())?;
        Ok(next)
    }

    fn perform(&mut self, action: Action, world: &Configuration) -> Result<(), Broken> {
        match action {
            Action::Deliver(conduit, side) => self.deliver(conduit, side, world)?,
            Action::LoseRest(conduit, side) => {
                if let Some(connection) = self.connections.get_mut(&conduit) {
                    connection.pipes[side as usize] = VecDeque::from([Carried::End]);
                }
            }
            Action::Connected(index) => self.connected(index),
            Action::Unreachable(index) => {
                self.deaths -= 1;
                let link = self.dials.remove(index);
                self.cnapt.control_failed(link, NOW);
            }
            Action::HooksEnd => self.hooks_end(true),
            Action::HooksFail => {
                self.deaths -= 1;
                self.hooks_end(false);
            }
            Action::Decide => {
                self.decides = false;
                self.cnapt.attach(NetworkId(self.next_network), NOW);
            }
            Action::Order => self.order(world),
            Action::Open => {
                self.late -= 1;
                self.open(Side::Cnapt, 0)?;
            }
            Action::OpenClientService => {
                self.client_services -= 1;
                self.open(Side::Snapt, 0)?;
            }
            Action::Read(index) => {
                self.talks[index].reads = true;
                self.serve(Side::Cnapt, self.talks[index].stream)?;
            }
            Action::Fire(side, timer) => {
                if !self.is_quiet() {
                    self.early -= 1;
                } else if self.nothing_struck(world) && is_bound(timer) {
                    return Err(format!("nothing struck, and yet {timer:?} passed"));
                }
                match side {
                    Side::Cnapt => self.cnapt.handle_timer(timer, NOW),
                    Side::Snapt => self.snapt.handle_timer(timer, NOW),
                }
            }
            Action::Die(conduit) => {
                self.deaths -= 1;
                if let Some(connection) = self.connections.get_mut(&conduit) {
                    connection.pipes = [const { VecDeque::new() }; 2].map(|mut pipe| {
                        pipe.push_back(Carried::End);
                        pipe
                    });
                }
            }
            Action::Break(conduit) => {
                self.breaks -= 1;
                self.put(Side::Cnapt, conduit, Carried::End);
                if let Some(connection) = self.connections.get_mut(&conduit) {
                    connection.reset[Side::Snapt as usize] = true;
                }
                self.end(conduit, Side::Cnapt);
            }
            Action::Restart(side) => self.restart(side, world)?,
        }
        Ok(())
    }

    fn order(&mut self, world: &Configuration) {
        self.orders -= 1;
        let to = self.cnapt.network().map_or(0, |network| 1 - network.0);
        if world.overlap {
            self.cnapt.order_overlapped(NetworkId(to), NOW);
        } else {
            self.cnapt.order(NetworkId(to), NOW);
        }
    }

    fn nothing_struck(&self, world: &Configuration) -> bool {
        self.restarts == world.restarts && self.only_restarts_struck(world)
    }

    fn only_restarts_struck(&self, world: &Configuration) -> bool {
        (self.deaths, self.breaks, self.early) == (world.deaths, world.breaks, world.early)
    }

    fn connected(&mut self, index: usize) {
        let link = self.dials.remove(index);
        let control = self.connect_conduit(None);
        self.cnapt.control_up(link, control, NOW);
    }

    /// A new connection: a control channel, or a conduit of the link that has this one.
    fn connect_conduit(&mut self, control: Option<ConduitId>) -> ConduitId {
        let conduit = ConduitId(self.next_conduit);
        self.next_conduit += 1;
        self.connections.insert(
            conduit,
            Connection {
                link: control.unwrap_or(conduit),
                run: self.run,
                snapt_run: self.snapt_run,
                pipes: Default::default(),
                open: [true; 2],
                greeted: false,
                reset: [false; 2],
            },
        );
        conduit
    }

    fn restart(&mut self, side: Side, world: &Configuration) -> Result<(), Broken> {
        self.restarts -= 1;
        let open: Vec<ConduitId> = self
            .connections
            .iter()
            .filter(|(_, one)| one.open[side as usize])
            .map(|(conduit, _)| *conduit)
            .collect();
        for conduit in open {
            self.close(side, conduit, Close::Reset, &[]);
        }
        match side {
            Side::Cnapt => {
                self.talks.iter_mut().for_each(|talk| talk.excused = true);
                self.run += 1;
                self.cnapt = new_cnapt(self.run, world);
                self.turned_away = false;
                self.dials.clear();
                self.hooks = None;
                self.decides = true;
                self.next_network = 0;
                self.open(Side::Cnapt, 0)?;
            }
            Side::Snapt => {
                self.lose_session();
                self.snapt_run += 1;
                self.snapt = new_snapt(self.snapt_run, 0, world);
            }
        }
        Ok(())
    }

    fn lose_session(&mut self) {
        self.session_lost = true;
        self.talks.iter_mut().for_each(|talk| talk.excused = true);
    }

    fn deliver(
        &mut self,
        conduit: ConduitId,
        side: Side,
        world: &Configuration,
    ) -> Result<(), Broken> {
        let Some(connection) = self.connections.get_mut(&conduit) else {
            return Ok(());
        };
        let run = match side {
            Side::Cnapt => connection.snapt_run,
            Side::Snapt => connection.run,
        };
        let greeted = side == Side::Cnapt || connection.greeted;
        let Some(carried) = connection.pipes[side as usize].pop_front() else {
            return Ok(());
        };
        let outcome = match carried {
            Carried::End => {
                self.end(conduit, side);
                return Ok(());
            }
            Carried::Frame(Frame::Hello(hello)) if !greeted => {
                connection.greeted = true;
                if self.snapt.phase() == SnaptPhase::Released {
                    let session = self.snapt_run + 100;
                    self.snapt = new_snapt(self.snapt_run, session, world);
                }
                self.snapt.conduit_arrived(conduit, hello, NOW);
                Ok(())
            }
            Carried::Frame(frame) => {
                if let Frame::SwitchStep1 { conduits, .. } = frame {
                    self.markers = (conduits, [0; 2]);
                } else if let Frame::SwitchStep2(Move {
                    old: OldLink::Draining { conduits },
                    ..
                }) = frame
                {
                    // Markers on other conduits may have been read before it.
                    self.markers.0 = conduits;
                } else if let Frame::LastMessageBeforeRedirection = frame {
                    self.markers.1[side as usize] += 1;
                }
                self.heard(conduit, side);
                self.handle(conduit, side, &frame)
            }
            Carried::Data(stream, offset, bytes) => {
                self.heard(conduit, side);
                let accepted = self.streams(side).accept_data(stream, offset, &bytes, NOW);
                if accepted == Ok(Accepted::Deliverable) {
                    self.serve(side, stream)?;
                }
                accepted.map(|_| ())
            }
        };
        outcome.map_err(|error| format!("{side:?} accuses the other: {error}"))?;
        self.drain(side, Some(run), world)
    }

    fn heard(&mut self, conduit: ConduitId, side: Side) {
        match side {
            Side::Cnapt => self.cnapt.heard(conduit, NOW),
            Side::Snapt => self.snapt.heard(conduit, NOW),
        }
    }

    fn handle(
        &mut self,
        conduit: ConduitId,
        side: Side,
        frame: &Frame,
    ) -> Result<(), PeerMisbehaved> {
        match side {
            Side::Cnapt => self.cnapt.handle_frame(conduit, frame, NOW),
            Side::Snapt => self.snapt.handle_frame(conduit, frame, NOW),
        }
    }

    /// A side hears that a connection is over.
    fn end(&mut self, conduit: ConduitId, side: Side) {
        self.shut(conduit, side);
        match side {
            Side::Cnapt => self.cnapt.conduit_ended(conduit, NOW),
            Side::Snapt => self.snapt.conduit_ended(conduit, NOW),
        }
    }

    fn shut(&mut self, conduit: ConduitId, side: Side) {
        if let Some(connection) = self.connections.get_mut(&conduit) {
            connection.open[side as usize] = false;
            connection.pipes[side as usize].clear();
            if connection.open == [false; 2] {
                self.connections.remove(&conduit);
            }
        }
    }
}

/// What was taken since `before` is a path of the spec's graph.
fn check_trail(before: &StepTrail, now: &StepTrail) -> Result<(), Broken> {
    let (before, now) = (before.steps(), now.steps());
    let goes_on = now.len() >= before.len() && now[..before.len()] == *before;
    let begun = if goes_on { before.len() } else { 0 };
    for index in begun..now.len() {
        let step = now[index].0;
        let last = index.checked_sub(1).map(|last| now[last].0);
        if !last.map_or_else(|| may_begin(step), |last| may_follow(last, step)) {
            return Err(format!("{step} behind {last:?} is no path of the spec"));
        }
    }
    Ok(())
}

/// The order of the timers by their length; none for those that only measure, and for the switch timeout:
/// a session whose CNAPT lives must not need it.
const fn length(timer: Timer) -> Option<u8> {
    match timer {
        Timer::Acknowledge => Some(0),
        Timer::Open => Some(1),
        Timer::ReplyProbe => Some(2),
        Timer::Suspension | Timer::Reply => Some(3),
        Timer::Activity | Timer::Spares => Some(4),
        Timer::Silence => Some(5),
        Timer::Markers | Timer::Renewal | Timer::AllRedirected => Some(6),
        Timer::Ok | Timer::Drain => Some(7),
        Timer::Held => Some(8),
        Timer::Dial => Some(9),
        Timer::OtherNetwork => Some(10),
        Timer::OpenWait => Some(11),
        Timer::Networks => Some(12),
        Timer::FlowIdle => Some(13),
        Timer::SwitchTimeout
        | Timer::Probe
        | Timer::Standby
        | Timer::Stall
        | Timer::Return
        | Timer::Gap => None,
    }
}

/// Whether a timer is a bound that may pass before the answer that is under way.
const fn may_be_early(timer: Timer) -> bool {
    match timer {
        Timer::Open
        | Timer::Reply
        | Timer::Markers
        | Timer::Renewal
        | Timer::AllRedirected
        | Timer::Ok
        | Timer::Drain
        | Timer::Held
        | Timer::Networks
        | Timer::Dial
        | Timer::OtherNetwork
        | Timer::SwitchTimeout
        | Timer::Silence => true,
        Timer::Suspension
        | Timer::ReplyProbe
        | Timer::Acknowledge
        | Timer::Activity
        | Timer::Spares
        | Timer::OpenWait
        | Timer::FlowIdle
        | Timer::Probe
        | Timer::Standby
        | Timer::Stall
        | Timer::Return
        | Timer::Gap => false,
    }
}

/// Whether a timer is the bound of a wait of the spec, which passes only if something struck.
const fn is_bound(timer: Timer) -> bool {
    may_be_early(timer) && !matches!(timer, Timer::Open | Timer::Silence)
}

fn step_index(step: Step) -> usize {
    let mut all = Step::all().chain(Step::ours());
    all.position(|one| one == step).unwrap_or(0)
}

fn pool() -> CreditPool {
    CreditPool::with_initial_limit(POOL, CREDIT)
}

fn bugs(side: Side, world: &Configuration) -> Bugs {
    world
        .bug
        .map_or_else(Bugs::default, |bug| Bugs::of(bug, side))
}

fn new_cnapt(run: u8, world: &Configuration) -> Cnapt {
    let offers = world.client_services > 0;
    let services = offers.then(service).into_iter().collect::<Vec<_>>();
    let mut streams = Streams::new(Side::Cnapt, &services, pool());
    streams.set_bugs(bugs(Side::Cnapt, world));
    Cnapt::new(CNAPT, Instance(100 + u64::from(run)), services, streams)
}

fn new_snapt(run: u8, session: u8, world: &Configuration) -> Snapt {
    let options = SnaptOptions {
        cnapt: CNAPT,
        instance: Instance(200 + u64::from(run)),
        session: 1 + u64::from(session),
        virtual_ip: IpAddr::V4(Ipv4Addr::new(127, 77, 0, 1)),
        services: vec![service()],
        switch_timeout: std::time::Duration::from_secs(24 * 60 * 60),
        flow_idle: handover_proto::flow::DEFAULT_FLOW_IDLE,
    };
    let mut snapt = Snapt::new(options, pool());
    snapt.streams_mut().set_bugs(bugs(Side::Snapt, world));
    snapt
}
