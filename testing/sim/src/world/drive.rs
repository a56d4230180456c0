//! What the shells of both modules do: outputs are carried out, applications are served.

use std::time::Duration;

use handover_proto::session::{Event, NetworkId, Output, Phase, SnaptPhase};
use handover_proto::stream::code;
use handover_proto::{Side, StreamId};

use super::hooks::Asked;
use super::watch::name;
use super::{Broken, DECISION, Occurrence, World};
use crate::application::{
    Application, Closing, Conversation, Ended, Key, Plan, content, first_wrong, offered, request,
};
use crate::network::NetworkState;

/// How long the shell waits before it tries again to hold a link beside the one that carries.
const STANDBY_PAUSE: Duration = Duration::from_secs(5);

/// How long a connection waits for a network.
const OPEN_WAIT: Duration = Duration::from_secs(120);

impl World {
    /// Does all that can be done at this instant.
    pub(super) fn settle(&mut self) {
        self.drain(Side::Cnapt);
        self.drain(Side::Snapt);
        if self.unread.is_empty() || self.is_asleep(Side::Snapt) {
            return;
        }
        let ready: Vec<_> = self
            .unread
            .extract_if(.., |conduit| !self.snapt.is_held(*conduit))
            .collect();
        for conduit in ready {
            self.read(conduit, Side::Snapt);
        }
    }

    fn poll(&mut self, side: Side) -> Option<Output> {
        match side {
            Side::Cnapt => self.cnapt.poll_output(),
            Side::Snapt => self.snapt.poll_output(),
        }
    }

    pub(super) fn drain(&mut self, side: Side) {
        while let Some(output) = self.poll(side) {
            match output {
                Output::Wake(conduit) => self.pump(side, conduit),
                Output::Look(stream) => self.run_application(side, stream),
                Output::Reset { stream, code } => self.reset(side, stream, code),
                Output::Connect { stream, .. } => self.connect(side, stream),
                Output::Offer { services } => self.snapt.offered(offered(services)),
                Output::ConnectFlow { flow, .. } => {
                    self.streams(side).flows_mut().connected(flow);
                }
                Output::Deliver { flow, payload } => self.deliver_datagram(side, flow, payload),
                Output::EndFlow(_) => {}
                Output::DialLink { link, network } => self.dial_link(link, network),
                Output::DialConduit { link } => self.dial_conduit(link),
                Output::Close { conduit, how, rest } => self.close(side, conduit, how, &rest),
                Output::SuspendDecision => {
                    if self.decision_answers {
                        self.cnapt.decision_suspended(self.now);
                    }
                }
                Output::CloseNetworks { number, next } => {
                    self.run_hooks(Asked::Close { number, next });
                }
                Output::OpenNetwork { number, network } => {
                    self.run_hooks(Asked::Open { number, network });
                }
                Output::OpenVpn { number, network } => {
                    self.run_hooks(Asked::OpenVpn { number, network });
                }
                Output::WakeDecision => self.schedule(self.now + DECISION, Occurrence::Decide),
                Output::Event(event) => self.note(side, event),
            }
        }
        self.believed = self.cnapt.session();
        self.watch(side);
    }

    fn note(&mut self, side: Side, event: Event) {
        if !matches!(event, Event::Settled { .. }) {
            self.say(name(side), |_| format!("{event:?}"));
        }
        match &event {
            Event::Lost { .. } | Event::Unreachable { .. } => {
                self.schedule(self.now + DECISION, Occurrence::Decide);
            }
            Event::Released { .. } => {
                self.excuse_all();
                self.end_applications_of_snapt();
            }
            Event::Switched(report) => {
                self.attempts = 0;
                self.check_report(report);
                self.schedule(self.now, Occurrence::Standby);
            }
            Event::Began { .. } => {
                self.attempts = 0;
                self.schedule(self.now, Occurrence::Standby);
            }
            Event::StandbyLost { .. } => {
                self.schedule(self.now + STANDBY_PAUSE, Occurrence::Standby)
            }
            Event::Redirected { number, link } => self.check_order(*number, *link),
            Event::Stalled { .. } => self.rescue(),
            Event::Recovered { network } => {
                if self.may_overlap(network.0) {
                    self.cnapt.go_back(*network, self.now);
                }
                self.schedule(self.now, Occurrence::Standby);
            }
            Event::StandsBy { .. } => self.schedule(self.now, Occurrence::Standby),
            Event::Attached { .. }
            | Event::Offered { .. }
            | Event::SessionLost { .. }
            | Event::Settled { .. }
            | Event::Refused { .. }
            | Event::TakenOver { .. }
            | Event::Detached => {}
        }
        self.events.push((self.now, side, event));
    }

    /// With the session its module's shell lets go of every connection of an application.
    fn end_applications_of_snapt(&mut self) {
        for conversation in self.conversations.values_mut() {
            if let Some(application) = conversation.at_mut(Side::Snapt) {
                application.ended.get_or_insert(Ended::Reset);
                application.gone = true;
            }
        }
    }

    /// The first usable network in order, the one that was lost last. A silent network looks usable, so
    /// each is tried in turn. None: again later.
    pub(super) fn decide(&mut self) {
        if !self.automatic || self.cnapt.phase() != Phase::Detached {
            return;
        }
        let lost = self.cnapt.network();
        let mut usable: Vec<NetworkId> = (0..self.networks.len())
            .filter(|index| self.networks[*index].state != NetworkState::Down)
            .map(NetworkId)
            .collect();
        usable.sort_by_key(|network| Some(*network) == lost);
        match self.attempts.checked_rem(usable.len()) {
            Some(index) => {
                self.attempts += 1;
                self.cnapt.attach(usable[index], self.now);
            }
            None => self.schedule(self.now + DECISION, Occurrence::Decide),
        }
    }

    /// Whether a switch to this network from the one that carries need close neither: both are up, for all that the
    /// device knows, and no hook opens or closes them.
    pub(super) fn may_overlap(&self, network: usize) -> bool {
        let up = |index: usize| {
            let network = self.networks.get(index);
            network.is_some_and(|one| one.hooks.is_none() && one.state != NetworkState::Down)
        };
        let current = self.cnapt.network();
        up(network) && current.is_some_and(|current| up(current.0))
    }

    /// The traffic leaves a link that is silent for the first network that seems up.
    fn rescue(&mut self) {
        let current = self.cnapt.network();
        let other = (0..self.networks.len())
            .find(|index| Some(NetworkId(*index)) != current && self.may_overlap(*index));
        if let Some(other) = other.filter(|_| self.rescues) {
            let budget = self.rescue_budget;
            self.cnapt.rescue(NetworkId(other), budget, self.now);
        }
    }

    /// Links are held beside the one that carries, over every network that may have one; or over none.
    pub(super) fn hold_standbys(&mut self) {
        for index in 0..self.networks.len() {
            let network = NetworkId(index);
            if self.standbys && self.may_overlap(index) {
                self.cnapt.hold_standby(network, self.now);
            } else {
                self.cnapt.release_standby(network);
            }
        }
    }

    // === Applications ===

    pub(super) fn key(&self, side: Side, stream: StreamId) -> Option<Key> {
        if stream.opener() == side {
            let run = self.run_of(side);
            Some(Key { run, stream })
        } else {
            self.serving.get(&stream).copied()
        }
    }

    /// What the streams that a module opens now are named by: its process at the CNAPT, its session at the
    /// SNAPT.
    fn run_of(&self, side: Side) -> usize {
        match side {
            Side::Cnapt => self.run,
            Side::Snapt => usize::try_from(self.session).unwrap_or(usize::MAX),
        }
    }

    pub(super) fn application(&mut self, side: Side, stream: StreamId) -> Option<&mut Application> {
        let key = self.key(side, stream)?;
        self.conversations.get_mut(&key)?.at_mut(side)
    }

    /// The module at `side` runs a request.
    fn connect(&mut self, side: Side, stream: StreamId) {
        let run = self
            .reading
            .and_then(|conduit| self.connections.get(&conduit))
            .map_or(self.run_of(side.other()), |connection| match side {
                Side::Snapt => connection.run,
                Side::Cnapt => usize::try_from(connection.session).unwrap_or(usize::MAX),
            });
        let key = Key { run, stream };
        let Some(conversation) = self.conversations.get_mut(&key) else {
            self.break_with(format!("a request that nobody made: {stream}"));
            return;
        };
        conversation.connects += 1;
        if conversation.connects > 1 {
            self.break_with(format!("a request was run twice: {stream}"));
            return;
        }
        conversation.acceptor = Some(Application::new(conversation.acceptor_plan));
        self.serving.insert(stream, key);
        self.say("app", |_| format!("{stream} is connected at {side:?}"));
        self.streams(side).connected(stream);
    }

    pub(super) fn tick(&mut self, key: Key, side: Side) {
        let Some(application) = self
            .conversations
            .get_mut(&key)
            .and_then(|one| one.at_mut(side))
            .filter(|one| !one.is_over())
        else {
            return;
        };
        application.ticking = false;
        application.tick();
        if self.key(side, key.stream) == Some(key) {
            self.run_application(side, key.stream);
        }
    }

    /// An application has used up a part of its interval: the next one begins after it.
    fn use_interval(&mut self, key: Key, side: Side) {
        let one = self.conversations.get_mut(&key);
        let Some(application) = one.and_then(|one| one.at_mut(side)) else {
            return;
        };
        if let Some(interval) = application.interval()
            && !std::mem::replace(&mut application.ticking, true)
        {
            self.schedule(self.now + interval, Occurrence::Tick { key, side });
        }
    }

    /// Bytes for an application: says how many it took.
    pub(super) fn offer(&mut self, side: Side, stream: StreamId, bytes: &[u8]) -> usize {
        let whole = self.random.chance(70);
        let part = self.random.below(bytes.len() as u64 + 1);
        let Some(key) = self.key(side, stream) else {
            return 0;
        };
        let Some(application) = self.application(side, stream) else {
            return 0;
        };
        let most = if whole { bytes.len() as u64 } else { part };
        let count = most.min(application.may_read);
        let at = application.received;
        application.received += count;
        application.may_read -= if application.may_read == u64::MAX {
            0
        } else {
            count
        };
        let ended = application.ended;
        let taken = usize::try_from(count).unwrap_or(0);
        if let Some(wrong) = first_wrong(key, side.other(), at, &bytes[..taken]) {
            self.break_with(format!("wrong byte {wrong} of {stream} at {side:?}"));
        }
        if ended.is_some() && count > 0 {
            self.break_with(format!("bytes of {stream} at {side:?} after {ended:?}"));
        }
        self.use_interval(key, side);
        taken
    }

    /// The application's task: moves what can be moved.
    pub(super) fn run_application(&mut self, side: Side, stream: StreamId) {
        if self.application(side, stream).is_none() {
            return;
        }
        while self.broken.is_none() && self.serve(side, stream) {}
    }

    /// One piece goes to the application. Says whether there was one.
    pub(super) fn deliver(&mut self, side: Side, stream: StreamId) -> bool {
        let now = self.now;
        let Some(piece) = self.streams(side).take(stream) else {
            return false;
        };
        let taken = self.offer(side, stream, &piece);
        self.streams(side).delivered(stream, piece, taken, now);
        true
    }

    fn serve(&mut self, side: Side, stream: StreamId) -> bool {
        let view = self.streams(side).view(stream);
        let Some(application) = self.application(side, stream) else {
            return false;
        };
        let Some(view) = view else {
            application.gone = true;
            let told = application.ended.is_some() || application.broken_off;
            if !told {
                self.break_with(format!(
                    "{stream} is forgotten, and its application at {side:?} not told"
                ));
            }
            return false;
        };
        let (may_read, wanted) = (application.may_read, application.wants_to_write());
        let (written, closing) = (application.written, application.wants_to_close());
        let mut moved = view.bytes && may_read > 0 && self.deliver(side, stream);
        if view.end {
            self.end_application(side, stream);
            moved = true;
        }
        let count = wanted.min(view.room as u64);
        if let Some(key) = self.key(side, stream)
            && count > 0
            && !view.read_over
        {
            if let Some(application) = self.application(side, stream) {
                application.written += count;
                application.may_write -= count.min(application.may_write);
            }
            let bytes = content(key, side, written, count);
            self.streams(side).write(stream, bytes);
            self.use_interval(key, side);
            moved = true;
        }
        if let Some(closing) = closing.filter(|_| count == 0) {
            self.close_application(side, stream, closing);
            moved = true;
        }
        moved
    }

    fn end_application(&mut self, side: Side, stream: StreamId) {
        let Some(key) = self.key(side, stream) else {
            return;
        };
        let Some(conversation) = self.conversations.get_mut(&key) else {
            return;
        };
        let other = conversation.at(side.other());
        let (written, closed) = other.map_or((0, None), |other| (other.written, other.closed));
        let Some(application) = conversation.at_mut(side) else {
            return;
        };
        let (left, before) = (application.left, application.ended);
        if !left {
            application.ended = Some(Ended::Clean);
        }
        let received = application.received;
        self.streams(side).end_delivered(stream);
        self.say("app", |_| {
            format!("{stream} ends at {side:?} after {received} bytes")
        });
        if before.is_some() && !left {
            self.break_with(format!("{stream} ends at {side:?} after {before:?}"));
        }
        if closed != Some(Closing::Fin) || received != written {
            self.break_with(format!(
                "untrue end of {stream} at {side:?}: {received} of {written} bytes, {closed:?}"
            ));
        }
    }

    /// An application closes its half or resets its connection.
    pub(super) fn close_application(&mut self, side: Side, stream: StreamId, closing: Closing) {
        let Some(application) = self.application(side, stream) else {
            return;
        };
        application.closed.get_or_insert(closing);
        match closing {
            Closing::Fin => self.streams(side).finish(stream),
            Closing::Reset => {
                application.broken_off = true;
                if let Some(key) = self.key(side, stream)
                    && let Some(conversation) = self.conversations.get_mut(&key)
                {
                    conversation.excused = true;
                }
                self.streams(side).abort(stream, code::RESET);
            }
            Closing::Never => {}
        }
    }

    fn reset(&mut self, side: Side, stream: StreamId, code: u16) {
        let Some(key) = self.key(side, stream) else {
            return;
        };
        let caused = self.is_caused(side, key, code);
        let Some(conversation) = self.conversations.get_mut(&key) else {
            return;
        };
        let Some(application) = conversation.at_mut(side) else {
            return;
        };
        // Its connection is gone already: it reset it, or an ABORT and a STOP come for the same reset.
        let gone = application.is_over();
        application.ended = Some(Ended::Reset);
        if gone {
            return;
        }
        conversation.excused |= caused;
        let text = code::describe(code);
        self.say("app", |_| format!("{stream} is reset at {side:?}: {text}"));
        if !caused {
            self.break_with(format!(
                "{stream} was reset at {side:?} for no reason: {text}"
            ));
        }
    }

    /// Whether what a reset gives as its reason has happened.
    fn is_caused(&self, side: Side, key: Key, code: u16) -> bool {
        let Some(conversation) = self.conversations.get(&key) else {
            return false;
        };
        let other = conversation.at(side.other());
        match code {
            code::RESET => other.is_some_and(|other| other.broken_off),
            code::CANNOT_DELIVER => other.is_some_and(|other| other.left || other.broken_off),
            code::SESSION_LOST if side == Side::Cnapt => {
                self.believed.is_some_and(|session| session != self.session)
            }
            code::SESSION_LOST => {
                conversation.cnapt_run != self.run || self.snapt.phase() == SnaptPhase::Released
            }
            code::TIMED_OUT => {
                let waited = self.now.since(conversation.opened) >= OPEN_WAIT;
                side == conversation.opened_at && waited
            }
            _ => false,
        }
    }

    pub(super) fn excuse_all(&mut self) {
        for conversation in self.conversations.values_mut() {
            conversation.excused = true;
        }
    }

    /// An application connects; no conduit's task has run yet.
    pub(super) fn begin(
        &mut self,
        side: Side,
        opener: Plan,
        acceptor_plan: Plan,
    ) -> Result<Key, Broken> {
        let now = self.now;
        let opened = self.streams(side).open(request(), now);
        let stream = opened.map_err(|error| self.failure(error.to_string()))?;
        let key = Key {
            run: self.run_of(side),
            stream,
        };
        let conversation = Conversation {
            opened_at: side,
            opener: Application::new(opener),
            acceptor: None,
            acceptor_plan,
            cnapt_run: match side {
                Side::Cnapt => self.run,
                Side::Snapt => self.redirected.0,
            },
            opened: now,
            connects: 0,
            excused: false,
        };
        self.conversations.insert(key, conversation);
        self.run_application(side, stream);
        self.streams(side).begin(stream);
        Ok(key)
    }
}
