//! What tests and trials do to the world.

use std::time::Duration;

use bytes::Bytes;
use handover_proto::session::{Close, Event, NetworkId, Ordered, Snapt, SnaptPhase, SwitchReport};
use handover_proto::stream::code;
use handover_proto::wire::Frame;
use handover_proto::{ConduitId, Instant, Side};

use super::watch::Watch;
use super::{BEGINNING, Broken, Occurrence, World, new_cnapt, new_snapt};
use crate::application::{Application, Closing, Conversation, Ended, Key, Plan, Reading};
use crate::network::{KEEPALIVE, NetworkState};

impl World {
    /// The decision task begins its work.
    pub fn start(&mut self) {
        self.schedule(self.now, Occurrence::Decide);
    }

    /// The user orders a switch.
    pub fn order(&mut self, network: usize) -> Ordered {
        let both_up = self.overlaps && self.may_overlap(network);
        let ordered = if both_up {
            self.cnapt.order_overlapped(NetworkId(network), self.now)
        } else {
            self.cnapt.order(NetworkId(network), self.now)
        };
        self.settle();
        ordered
    }

    /// Orders a switch and waits until it is over.
    ///
    /// # Errors
    ///
    /// If an invariant breaks or the switch does not end.
    pub fn switch(&mut self, network: usize) -> Result<SwitchReport, Broken> {
        let before = self.switches().count();
        self.order(network);
        self.run_until(Duration::from_secs(60), "the switch", |world| {
            world.switches().count() > before
        })?;
        let last = self.switches().last().cloned();
        last.ok_or_else(|| self.failure("no switch".to_owned()))
    }

    // === Networks and connections ===

    /// Cuts a network: nothing passes, and nobody is told.
    pub fn cut(&mut self, network: usize) {
        self.set_state(network, NetworkState::Cut);
    }

    /// Cuts what goes to `side` over a network; the other direction passes, and nobody is told.
    pub fn half_cut(&mut self, network: usize, side: Side) {
        self.set_state(network, NetworkState::HalfCut(side));
    }

    /// A network goes down, and the device's operating system says so.
    pub fn link_down(&mut self, network: usize) {
        self.set_state(network, NetworkState::Down);
        self.tell_network_lost(network);
    }

    /// A network goes away and comes back with the same address: connections that nobody gave up in the
    /// meantime live on. `told` says whether the device's operating system notices.
    pub fn go_and_return(&mut self, network: usize, away: Duration, told: bool) {
        if told {
            self.link_down(network);
        } else {
            self.cut(network);
        }
        if let Some(one) = self.networks.get(network) {
            let (network, cuts) = (NetworkId(network), one.cuts);
            self.schedule(self.now + away, Occurrence::Return { network, cuts });
        }
    }

    pub(super) fn come_back(&mut self, network: NetworkId, cuts: u64) {
        if self
            .networks
            .get(network.0)
            .is_some_and(|one| one.cuts == cuts)
        {
            self.restore(network.0);
        }
    }

    fn tell_network_lost(&mut self, network: usize) {
        let network = NetworkId(network);
        if self.is_asleep(Side::Cnapt) {
            self.schedule(self.now, Occurrence::NetworkLost(network));
        } else {
            self.cnapt.network_lost(network, self.now);
        }
        self.settle();
    }

    fn set_state(&mut self, network: usize, state: NetworkState) {
        if let Some(one) = self.networks.get_mut(network) {
            one.state = state;
            one.cuts += 1;
            let cuts = one.cuts;
            self.say("world", |_| format!("network {network} is {state:?}"));
            let network = NetworkId(network);
            self.schedule(
                self.now + KEEPALIVE,
                Occurrence::Keepalive { network, cuts },
            );
        }
    }

    /// A network is back: what was under way on connections that still stand arrives.
    pub fn restore(&mut self, network: usize) {
        if let Some(one) = self.networks.get_mut(network) {
            one.state = NetworkState::Up;
        }
        self.say("world", |_| format!("network {network} is Up"));
        let stalled: Vec<ConduitId> = self
            .connections
            .iter()
            .filter(|(_, one)| one.network == NetworkId(network))
            .map(|(conduit, _)| *conduit)
            .collect();
        for conduit in stalled {
            self.let_arrive(conduit);
        }
    }

    /// The device's address on a network changes: every connection over it is dead for ever.
    pub fn change_address(&mut self, network: usize) {
        let old: Vec<ConduitId> = self
            .connections
            .iter()
            .filter(|(_, one)| one.network == NetworkId(network))
            .map(|(conduit, _)| *conduit)
            .collect();
        for conduit in old {
            self.kill(conduit, &[]);
        }
        self.tell_network_lost(network);
    }

    /// A network becomes slower, faster or less steady.
    pub fn change_weather(
        &mut self,
        network: usize,
        there: Duration,
        back: Duration,
        jitter: Duration,
    ) {
        if let Some(one) = self.networks.get_mut(network) {
            (one.there, one.back, one.jitter) = (there, back, jitter);
        }
    }

    /// The NAT of a network forgets every connection; says how many.
    pub fn forget_all(&mut self, network: usize) -> usize {
        let known: Vec<ConduitId> = self
            .connections
            .iter()
            .filter(|(_, one)| one.network == NetworkId(network) && !one.dead)
            .map(|(conduit, _)| *conduit)
            .collect();
        for conduit in &known {
            self.forget(*conduit);
        }
        known.len()
    }

    /// The conduits beside the control channels die one after the other with what is under way on them;
    /// says how many. One side hears of each at once, or neither does.
    pub fn kill_one_by_one(&mut self, interval: Duration, told: Option<Side>) -> usize {
        let mut at = self.now;
        let all = self.plain_conduits();
        for conduit in &all {
            let conduit = *conduit;
            self.schedule(at, Occurrence::Kill { conduit, told });
            at += interval;
        }
        all.len()
    }

    /// A connection dies with everything that is under way on it; these sides hear of it now.
    pub fn kill(&mut self, conduit: ConduitId, told: &[Side]) {
        self.say("world", |_| format!("conduit {} dies", conduit.0));
        let Some(connection) = self.connections.get_mut(&conduit) else {
            return;
        };
        connection.dead = true;
        connection.pipe_to(Side::Cnapt).clear();
        connection.pipe_to(Side::Snapt).clear();
        self.schedule(self.now + KEEPALIVE, Occurrence::Abandon { conduit });
        for side in told {
            self.tell_end(conduit, *side);
        }
        self.settle();
    }

    /// Keeps back what comes to `side` by a connection, until [`World::release`].
    pub fn hold(&mut self, conduit: ConduitId, side: Side) {
        if let Some(connection) = self.connections.get_mut(&conduit) {
            connection.pipe_to(side).held = true;
        }
    }

    /// Lets it go.
    pub fn release(&mut self, conduit: ConduitId, side: Side) {
        if let Some(connection) = self.connections.get_mut(&conduit) {
            connection.pipe_to(side).held = false;
        }
        self.let_arrive(conduit);
    }

    /// Lets everything go that is kept back; says on how many connections.
    pub fn release_all(&mut self) -> usize {
        let held: Vec<ConduitId> = self
            .connections
            .iter()
            .filter(|(_, one)| one.is_held())
            .map(|(conduit, _)| *conduit)
            .collect();
        for conduit in &held {
            self.release(*conduit, Side::Cnapt);
            self.release(*conduit, Side::Snapt);
        }
        held.len()
    }

    fn let_arrive(&mut self, conduit: ConduitId) {
        for to in [Side::Cnapt, Side::Snapt] {
            let Some(connection) = self.connections.get_mut(&conduit) else {
                return;
            };
            if let Some(at) = connection.pipe_to(to).next_arrival() {
                self.schedule(at, Occurrence::Arrival { conduit, to });
            }
        }
    }

    /// The connections that are open at `side`.
    pub fn open_conduits(&self, side: Side) -> Vec<ConduitId> {
        self.connections
            .iter()
            .filter(|(_, one)| one.is_open(side))
            .map(|(conduit, _)| *conduit)
            .collect()
    }

    /// The newest control channel.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn control(&self) -> Result<ConduitId, Broken> {
        self.connections
            .iter()
            .filter(|(_, one)| one.control)
            .map(|(conduit, _)| *conduit)
            .next_back()
            .ok_or_else(|| self.failure("no control channel".to_owned()))
    }

    /// The conduits beside the control channels that are open at the CNAPT.
    pub fn plain_conduits(&self) -> Vec<ConduitId> {
        self.connections
            .iter()
            .filter(|(_, one)| !one.control && one.is_open(Side::Cnapt))
            .map(|(conduit, _)| *conduit)
            .collect()
    }

    /// Whether nothing is under way on any connection.
    pub fn is_silent(&self) -> bool {
        self.connections.values().all(|one| one.is_silent())
    }

    // === Restarts ===

    /// The CNAPT's process ends and a new one starts: its connections are reset.
    pub fn restart_cnapt(&mut self) {
        self.wake(Side::Cnapt, false);
        self.end_all(Side::Cnapt);
        self.replace_cnapt();
    }

    /// The device dies and starts anew: what it sent may still arrive, and no connection is ended.
    pub fn crash_cnapt(&mut self) {
        self.wake(Side::Cnapt, false);
        self.fall_silent(Side::Cnapt);
        self.replace_cnapt();
    }

    /// All that a host knew of its connections is gone, and nothing tells the other.
    fn fall_silent(&mut self, side: Side) {
        for conduit in self.open_conduits(side) {
            self.shut(side, conduit);
            self.schedule(self.now + KEEPALIVE, Occurrence::Abandon { conduit });
        }
    }

    /// The process at `side` ends and a new one starts.
    pub fn restart(&mut self, side: Side) {
        match side {
            Side::Cnapt => self.restart_cnapt(),
            Side::Snapt => self.restart_snapt(),
        }
    }

    /// The host at `side` dies and starts anew.
    pub fn crash(&mut self, side: Side) {
        match side {
            Side::Cnapt => self.crash_cnapt(),
            Side::Snapt => self.crash_snapt(),
        }
    }

    fn replace_cnapt(&mut self) {
        self.excuse_all();
        self.run += 1;
        self.forget_hooks();
        self.pools[0] = Default::default();
        self.cnapt = new_cnapt(self.run, self.services(), &self.pools);
        self.give_bugs();
        self.watches[Side::Cnapt as usize] = Watch::new(self.now);
        for conversation in self.conversations.values_mut() {
            if let Some(application) = conversation.at_mut(Side::Cnapt) {
                application.ended.get_or_insert(Ended::Reset);
                application.gone = true;
            }
        }
        self.serving
            .retain(|stream, _| stream.opener() == Side::Cnapt);
        self.schedule(self.now, Occurrence::Decide);
    }

    /// The SNAPT's process ends and a new one starts: its connections are reset.
    pub fn restart_snapt(&mut self) {
        self.wake(Side::Snapt, false);
        self.end_all(Side::Snapt);
        self.replace_snapt();
    }

    /// The server dies and starts anew: what it sent may still arrive, and no connection is ended.
    pub fn crash_snapt(&mut self) {
        self.wake(Side::Snapt, false);
        self.fall_silent(Side::Snapt);
        self.replace_snapt();
    }

    fn replace_snapt(&mut self) {
        for conversation in self.conversations.values_mut() {
            if let Some(application) = conversation.at_mut(Side::Snapt) {
                application.ended.get_or_insert(Ended::Reset);
                application.gone = true;
                conversation.excused = true;
            }
        }
        self.snapt_run += 1;
        self.session = 1 + self.snapt_run * 1_000;
        self.pools[1] = Default::default();
        self.serving
            .retain(|stream, _| stream.opener() == Side::Snapt);
        self.unread.clear();
        self.snapt = self.fresh_snapt();
        self.give_bugs();
        self.watches[Side::Snapt as usize] = Watch::new(self.now);
    }

    fn end_all(&mut self, side: Side) {
        for conduit in self.open_conduits(side) {
            self.close(side, conduit, Close::Reset, &Bytes::new());
        }
    }

    /// How long the SNAPT keeps the session of a silent CNAPT: from its next start, and at once in a
    /// world in which nothing has happened yet.
    pub fn set_switch_timeout(&mut self, timeout: Duration) {
        self.switch_timeout = timeout;
        if self.now == BEGINNING {
            self.snapt = self.fresh_snapt();
        }
    }

    pub(super) fn fresh_snapt(&self) -> Snapt {
        new_snapt(
            self.snapt_run,
            self.session,
            self.switch_timeout,
            self.services(),
            &self.pools,
        )
    }

    /// Both machines anew, in a world in which nothing has happened yet.
    pub(super) fn renew_machines(&mut self) {
        self.cnapt = new_cnapt(self.run, self.services(), &self.pools);
        self.snapt = self.fresh_snapt();
        self.give_bugs();
    }

    // === Applications ===

    /// A client application connects and both follow their plans.
    ///
    /// # Errors
    ///
    /// If the CNAPT takes no more.
    pub fn open(&mut self, client: Plan, server: Plan) -> Result<Key, Broken> {
        self.open_at(Side::Cnapt, client, server)
    }

    /// An application beside the module at `side` connects and both follow their plans.
    ///
    /// # Errors
    ///
    /// If the module takes no more.
    pub fn open_at(&mut self, side: Side, opener: Plan, acceptor: Plan) -> Result<Key, Broken> {
        let key = self.begin(side, opener, acceptor)?;
        self.settle();
        Ok(key)
    }

    /// Whether the SNAPT listens for client services.
    pub fn is_listening(&self) -> bool {
        match self.snapt.phase() {
            SnaptPhase::New | SnaptPhase::Released => false,
            SnaptPhase::Attached
            | SnaptPhase::AwaitMarkers
            | SnaptPhase::AwaitClientServices
            | SnaptPhase::AwaitStep2
            | SnaptPhase::AwaitRenewal(_)
            | SnaptPhase::AwaitDrained
            | SnaptPhase::AwaitUnexpected => true,
        }
    }

    /// As [`World::open`], but no conduit's task has run yet.
    ///
    /// # Errors
    ///
    /// If the CNAPT takes no more.
    pub fn open_unpumped(&mut self, client: Plan, server: Plan) -> Result<Key, Broken> {
        self.begin(Side::Cnapt, client, server)
    }

    /// A conversation.
    ///
    /// # Errors
    ///
    /// If there is none of that name.
    pub fn conversation(&self, key: Key) -> Result<&Conversation, Broken> {
        self.conversations
            .get(&key)
            .ok_or_else(|| self.failure("no such conversation".to_owned()))
    }

    /// All of them.
    pub fn conversations(&self) -> impl Iterator<Item = (&Key, &Conversation)> {
        self.conversations.iter()
    }

    /// Bytes that the application at `side` has read.
    pub fn received(&self, key: Key, side: Side) -> u64 {
        let one = self.conversations.get(&key).and_then(|one| one.at(side));
        one.map_or(0, |application| application.received)
    }

    /// Whether both applications are through.
    pub fn is_over(&self, key: Key) -> bool {
        self.conversations
            .get(&key)
            .is_none_or(Conversation::is_over)
    }

    /// An application changes its way of reading and of ending, and writes without pauses.
    pub fn change(&mut self, key: Key, side: Side, reading: Reading, closing: Closing) {
        let Some(conversation) = self.conversations.get_mut(&key) else {
            return;
        };
        if side == Side::Snapt {
            conversation.acceptor_plan = conversation.acceptor_plan.hurried(reading, closing);
        }
        let Some(application) = conversation.at_mut(side) else {
            return;
        };
        application.plan = application.plan.hurried(reading, closing);
        application.tick();
        if self.key(side, key.stream) == Some(key) {
            self.run_application(side, key.stream);
        }
        self.settle();
    }

    /// An application resets its connection now.
    pub fn reset_application(&mut self, key: Key, side: Side) {
        if self.key(side, key.stream) == Some(key) {
            let over = self
                .conversations
                .get(&key)
                .and_then(|one| one.at(side))
                .is_none_or(Application::is_over);
            if !over {
                self.close_application(side, key.stream, Closing::Reset);
            }
        }
        self.settle();
    }

    /// An application closes its connection while bytes are on their way to it: its end is read first,
    /// then writing to it fails.
    pub fn stop_application(&mut self, key: Key, side: Side) {
        let Some(conversation) = self.conversations.get_mut(&key) else {
            return;
        };
        conversation.excused = true;
        let Some(application) = conversation.at_mut(side).filter(|one| !one.is_over()) else {
            return;
        };
        application.left = true;
        application.ended.get_or_insert(Ended::Reset);
        if self.key(side, key.stream) == Some(key) {
            self.close_application(side, key.stream, Closing::Fin);
            self.streams(side).stop(key.stream, code::CANNOT_DELIVER);
        }
        self.settle();
    }

    // === What was seen ===

    /// The events of both modules.
    pub fn events(&self) -> &[(Instant, Side, Event)] {
        &self.events
    }

    /// The switches that the CNAPT reported.
    pub fn switches(&self) -> impl Iterator<Item = &SwitchReport> {
        self.events.iter().filter_map(|(_, _, event)| match event {
            Event::Switched(report) => Some(report),
            Event::Attached { .. }
            | Event::Offered { .. }
            | Event::Lost { .. }
            | Event::Unreachable { .. }
            | Event::Stalled { .. }
            | Event::Recovered { .. }
            | Event::StandsBy { .. }
            | Event::StandbyLost { .. }
            | Event::Began { .. }
            | Event::Settled { .. }
            | Event::SessionLost { .. }
            | Event::Refused { .. }
            | Event::TakenOver { .. }
            | Event::Detached
            | Event::Redirected { .. }
            | Event::Released { .. } => None,
        })
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "one event is looked for, whatever others there are"
    )]
    /// What `side` knows when switch `number` is settled: the gap, and how many steps the other took.
    pub fn settled(&self, side: Side, number: u64) -> Option<(Option<Duration>, usize)> {
        self.events.iter().find_map(|(_, at, event)| match event {
            Event::Settled {
                number: of,
                gap,
                trail,
            } if *at == side && *of == number => Some((*gap, trail.len())),
            _ => None,
        })
    }

    /// How many frames that `matches` came to `side` since recording began.
    pub fn saw(&self, side: Side, matches: impl Fn(&Frame) -> bool) -> usize {
        let to_side = self.frames.iter().filter(|(to, _)| *to == side);
        to_side.filter(|(_, frame)| matches(frame)).count()
    }

    /// Waits until all is over, and checks that all is well.
    ///
    /// # Errors
    ///
    /// If it is not.
    pub fn finish(&mut self, patience: Duration) -> Result<(), Broken> {
        self.run_until(patience, "calm", Self::is_calm)?;
        self.check_calm()
    }
}
