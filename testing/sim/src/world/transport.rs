//! Connections: how they come about, what passes, and how they end.

use std::time::Duration;

use bytes::Bytes;
use handover_proto::bug::Bug;
use handover_proto::session::{Close, NetworkId, SnaptPhase};
use handover_proto::step::Step;
use handover_proto::stream::Accepted;
use handover_proto::wire::{Frame, Item};
use handover_proto::{ConduitId, LinkNumber, Side, StreamId};

use super::watch::{Watch, name};
use super::{CNAPT, Dial, Occurrence, World};
use crate::network::{Connection, Content, NetworkState};

/// How long a handshake may take for the shell.
const HANDSHAKE: Duration = Duration::from_secs(4);

/// The most bytes that one read of a connection gives.
const READ_BYTES: u64 = 20_000;

impl World {
    pub(super) fn dial_link(&mut self, link: LinkNumber, network: NetworkId) {
        self.dial(Dial::Link(link), network);
    }

    pub(super) fn dial_conduit(&mut self, control: ConduitId) {
        if let Some(connection) = self.connections.get(&control) {
            let network = connection.network;
            self.dial(Dial::Conduit(control), network);
        }
    }

    /// Three flights over a network that is up; an error where the device knows that it is down or closed; no
    /// answer at all where it is cut.
    fn dial(&mut self, link: Dial, id: NetworkId) {
        let Some(network) = self.networks.get(id.0).copied() else {
            return;
        };
        match network.state {
            NetworkState::Up if network.open => {
                let conduit = ConduitId(self.next_conduit);
                self.next_conduit += 1;
                let control = matches!(link, Dial::Link(_));
                let mut connection = Connection::new(id, control, self.run, self.now);
                connection.pipe_to(Side::Snapt).held = self.hold_new;
                self.connections.insert(conduit, connection);
                let up = self.now + network.there + network.back;
                self.schedule(up, Occurrence::Dialled { conduit, link });
            }
            NetworkState::Up | NetworkState::Down => {
                let run = self.run;
                self.schedule(self.now, Occurrence::DialFailed { link, run });
            }
            NetworkState::Cut | NetworkState::HalfCut(_) => self.give_up_dial(link),
        }
    }

    /// No answer comes: of a conduit the shell hears that in time, of a link the machine has a bound of its own.
    fn give_up_dial(&mut self, link: Dial) {
        if let Dial::Conduit(_) = link {
            let run = self.run;
            self.schedule(self.now + HANDSHAKE, Occurrence::DialFailed { link, run });
        }
    }

    pub(super) fn dialled(&mut self, conduit: ConduitId, link: Dial) {
        let run = self.run;
        let Some(connection) = self.connections.get_mut(&conduit) else {
            return;
        };
        let up = self
            .networks
            .get(connection.network.0)
            .is_some_and(|network| network.state == NetworkState::Up);
        if !up || connection.run != run || connection.dead {
            let ours = connection.run == run;
            self.connections.remove(&conduit);
            if ours {
                self.give_up_dial(link);
            }
            return;
        }
        connection.end(Side::Cnapt).open = true;
        connection.end(Side::Snapt).open = true;
        self.say("world", |world| {
            let network = world
                .connections
                .get(&conduit)
                .map_or(0, |one| one.network.0);
            format!("conduit {} is up over network {network}", conduit.0)
        });
        match link {
            Dial::Link(number) => self.cnapt.control_up(number, conduit, self.now),
            Dial::Conduit(control) => self.cnapt.conduit_up(control, conduit, self.now),
        }
    }

    pub(super) fn dial_failed(&mut self, link: Dial, run: usize) {
        if run != self.run {
            return;
        }
        match link {
            Dial::Link(number) => self.cnapt.control_failed(number, self.now),
            Dial::Conduit(control) => self.cnapt.conduit_failed(control, self.now),
        }
    }

    /// Lets `side` send on a conduit as much as goes into its pipe.
    pub(super) fn pump(&mut self, side: Side, conduit: ConduitId) {
        while !self.is_asleep(side) {
            let now = self.now;
            let drops = self.drops_what_was_begun(side);
            let streams = match side {
                Side::Cnapt => self.cnapt.streams_mut(),
                Side::Snapt => self.snapt.streams_mut(),
            };
            let Some(connection) = self
                .connections
                .get_mut(&conduit)
                .filter(|one| one.is_open(side))
            else {
                return;
            };
            let pending = &mut connection.end(side).pending;
            if drops {
                *pending = Default::default();
            }
            if pending.is_empty() {
                streams.transmit(conduit, now, pending);
            }
            if pending.is_empty() || !self.write_some(side, conduit, false) {
                return;
            }
        }
    }

    /// CNAPT-6 and SNAPT-6 without effect: what was begun when forwarding stopped is not finished.
    fn drops_what_was_begun(&self, side: Side) -> bool {
        let (trail, flush) = match side {
            Side::Cnapt => (self.cnapt.trail(), Step::cnapt(6)),
            Side::Snapt => (self.snapt.trail(), Step::snapt(6)),
        };
        self.bug == Some(Bug::NoEffect(flush))
            && trail.steps().iter().any(|(step, _)| *step == flush)
    }

    /// Writes a part of what is pending; says whether any could be.
    fn write_some(&mut self, side: Side, conduit: ConduitId, whole: bool) -> bool {
        let Some(connection) = self.connections.get_mut(&conduit) else {
            return false;
        };
        let room = connection.pipe_to(side.other()).room();
        let pending = &mut connection.end(side).pending;
        let mut slices = [std::io::IoSlice::new(&[]); 8];
        let filled = pending.slices(&mut slices);
        let mut bytes = Vec::with_capacity(pending.remaining());
        for slice in &slices[..filled] {
            bytes.extend_from_slice(slice);
        }
        if !whole {
            bytes.truncate(room);
        }
        if bytes.is_empty() {
            return false;
        }
        pending.advance(bytes.len());
        if self.random.chance(self.split_percent) {
            let at = self.random.below(bytes.len() as u64);
            let rest = bytes.split_off(usize::try_from(at).unwrap_or(0));
            if !bytes.is_empty() {
                self.put(side, conduit, Content::Bytes(bytes));
            }
            bytes = rest;
        }
        self.put(side, conduit, Content::Bytes(bytes));
        true
    }

    pub(super) fn put(&mut self, side: Side, conduit: ConduitId, content: Content) {
        let to = side.other();
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&conduit) else {
            return;
        };
        let Some(network) = self.networks.get(connection.network.0) else {
            return;
        };
        let jitter = u64::try_from(network.jitter.as_micros()).unwrap_or(0);
        let late = Duration::from_micros(self.random.below(jitter));
        let idle = now.since(std::mem::replace(&mut connection.used, now));
        let forgotten = !connection.dead && network.forgets.is_some_and(|most| idle > most);
        let delay = network.delay_to(to) + late;
        let pipe = connection.pipe_to(to);
        let first = pipe.is_empty();
        let arrives = pipe.push(content, now, delay);
        if first {
            self.schedule(arrives, Occurrence::Arrival { conduit, to });
        }
        if forgotten {
            self.forget(conduit);
        }
    }

    /// The NAT on the way has forgotten a connection: what is sent on it vanishes from now on.
    pub(super) fn forget(&mut self, conduit: ConduitId) {
        self.say("world", |_| {
            format!("conduit {} is forgotten by the NAT", conduit.0)
        });
        self.kill(conduit, &[]);
    }

    /// A machine is through with a conduit.
    pub(super) fn close(&mut self, side: Side, conduit: ConduitId, how: Close, rest: &Bytes) {
        let Some(connection) = self
            .connections
            .get_mut(&conduit)
            .filter(|one| one.is_open(side))
        else {
            return;
        };
        let late = self
            .networks
            .get(connection.network.0)
            .is_some_and(|network| network.late_resets);
        if how == Close::Reset {
            if !late {
                connection.pipe_to(side.other()).reset();
            }
        } else {
            while self.write_some(side, conduit, true) {}
            if !rest.is_empty() {
                self.put(side, conduit, Content::Bytes(rest.to_vec()));
            }
        }
        self.put(side, conduit, Content::End);
        self.shut(side, conduit);
    }

    /// One end is closed: nothing that still comes is looked at.
    pub(super) fn shut(&mut self, side: Side, conduit: ConduitId) {
        if let Some(connection) = self.connections.get_mut(&conduit) {
            let end = connection.end(side);
            *end = Default::default();
            if !connection.is_open(side.other()) {
                self.connections.remove(&conduit);
            }
        }
    }

    /// The first thing in a pipe is at its end, if the network lets it through.
    pub(super) fn arrive(&mut self, conduit: ConduitId, to: Side) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&conduit) else {
            return;
        };
        let network = self.networks.get(connection.network.0);
        let passes = network.is_some_and(|network| network.passes_to(to));
        if connection.dead || !passes {
            return;
        }
        let pipe = connection.pipe_to(to);
        let Some((sent, content)) = pipe.pop(now) else {
            return;
        };
        if let Some(next) = pipe.next_arrival() {
            self.schedule(next, Occurrence::Arrival { conduit, to });
        }
        self.note_passage(to, sent);
        match content {
            Content::Bytes(bytes) => {
                self.pump(to.other(), conduit);
                self.receive(conduit, to, &bytes);
            }
            Content::End => self.ended(conduit, to),
        }
    }

    /// `side` hears that a conduit ended, once it is awake.
    pub(super) fn tell_end(&mut self, conduit: ConduitId, side: Side) {
        if self.is_asleep(side) {
            self.schedule(self.now, Occurrence::Ended { conduit, side });
        } else {
            self.ended(conduit, side);
        }
    }

    /// A conduit ended at `side`.
    pub(super) fn ended(&mut self, conduit: ConduitId, side: Side) {
        let open = self
            .connections
            .get(&conduit)
            .is_some_and(|connection| connection.is_open(side));
        if !open {
            return;
        }
        self.say(name(side), |_| format!("conduit {} ended", conduit.0));
        self.shut(side, conduit);
        match side {
            Side::Cnapt => self.cnapt.conduit_ended(conduit, self.now),
            Side::Snapt => self.snapt.conduit_ended(conduit, self.now),
        }
        self.drain(side);
    }

    fn receive(&mut self, conduit: ConduitId, side: Side, bytes: &[u8]) {
        match self.connections.get_mut(&conduit) {
            Some(connection) if connection.is_open(side) => {
                connection.end(side).inbox.extend_from_slice(bytes);
            }
            _ => return,
        }
        self.watches[side as usize].heard(self.now);
        match side {
            Side::Cnapt => self.cnapt.heard(conduit, self.now),
            Side::Snapt => self.snapt.heard(conduit, self.now),
        }
        self.read(conduit, side);
    }

    /// A turn of the conduit's task: what was received goes into the machine, then what applications may
    /// have of it to them.
    pub(super) fn read(&mut self, conduit: ConduitId, side: Side) {
        self.take_in(conduit, side);
        for stream in std::mem::take(&mut self.deliverable) {
            self.deliver(side, stream);
            self.run_application(side, stream);
        }
        self.drain(side);
    }

    /// Looks at what was received, in pieces of any size, unless the machine wants to wait.
    fn take_in(&mut self, conduit: ConduitId, side: Side) {
        loop {
            let Some(connection) = self
                .connections
                .get_mut(&conduit)
                .filter(|one| one.is_open(side))
            else {
                return;
            };
            if side == Side::Snapt && self.snapt.is_held(conduit) {
                self.unread.insert(conduit);
                return;
            }
            let end = connection.end(side);
            let most = 1 + self.random.below(READ_BYTES);
            let count = usize::try_from(most).unwrap_or(1).min(end.inbox.len());
            if count == 0 {
                return;
            }
            let piece: Vec<u8> = end.inbox.drain(..count).collect();
            let mut decoder = std::mem::take(&mut end.decoder);
            let mut input = &piece[..];
            let whole = loop {
                match decoder.next(&mut input) {
                    Ok(Some(item)) => {
                        self.handle_item(conduit, side, item);
                        if side == Side::Snapt && self.snapt.is_held(conduit) {
                            break true;
                        }
                    }
                    Ok(None) => break true,
                    Err(error) => {
                        self.break_with(format!("{side:?} cannot decode: {error}"));
                        break false;
                    }
                }
            };
            let open = self.connections.get_mut(&conduit);
            if let Some(connection) = open.filter(|one| whole && one.is_open(side)) {
                let end = connection.end(side);
                end.decoder = decoder;
                end.inbox.splice(..0, input.iter().copied());
            }
        }
    }

    fn handle_item(&mut self, conduit: ConduitId, side: Side, item: Item<'_>) {
        let open = self.connections.get(&conduit);
        if !open.is_some_and(|connection| connection.is_open(side)) {
            return;
        }
        match item {
            Item::Frame(frame) => self.handle_frame(conduit, side, frame),
            Item::Data {
                stream,
                offset,
                bytes,
            } => self.handle_data(side, stream, offset, bytes),
        }
        self.drain(side);
    }

    fn handle_frame(&mut self, conduit: ConduitId, side: Side, frame: Frame) {
        let now = self.now;
        self.say(name(side), |_| {
            let text = format!("{frame:?}").replace(&format!("{CNAPT:?}"), "ours");
            format!("reads by conduit {}: {text}", conduit.0)
        });
        self.check_frame(side, &frame);
        self.count_marker(side, &frame);
        self.reading = Some(conduit);
        let greeted = self
            .connections
            .get_mut(&conduit)
            .is_some_and(|connection| std::mem::replace(&mut connection.end(side).greeted, true));
        let outcome = match (side, &frame) {
            (Side::Cnapt, frame) => self.cnapt.handle_frame(conduit, frame, now),
            (Side::Snapt, Frame::Hello(hello)) if !greeted => {
                if self.snapt.phase() == SnaptPhase::Released {
                    self.session += 1;
                    self.snapt = self.fresh_snapt();
                    self.give_bugs();
                    self.watches[Side::Snapt as usize] = Watch::new(now);
                }
                if let Some(connection) = self.connections.get_mut(&conduit) {
                    connection.session = self.session;
                }
                self.snapt.conduit_arrived(conduit, *hello, now);
                Ok(())
            }
            (Side::Snapt, frame) => self.snapt.handle_frame(conduit, frame, now),
        };
        if let Err(error) = outcome {
            self.break_with(format!("{side:?} accuses the other: {error}: {frame:?}"));
        }
        if self.recording {
            self.frames.push((side, frame));
        }
    }

    fn handle_data(&mut self, side: Side, stream: StreamId, offset: u64, bytes: &[u8]) {
        let now = self.now;
        self.say(name(side), |_| {
            format!("reads Data {{ {stream}, {offset} + {} }}", bytes.len())
        });
        if let Some(carried) = &mut self.carried {
            carried
                .entry((side, stream))
                .or_default()
                .note(offset, bytes.len() as u64);
        }
        match self.streams(side).accept_data(stream, offset, bytes, now) {
            Ok(Accepted::Deliverable) => self.deliverable.push(stream),
            Ok(Accepted::Stored | Accepted::Duplicate) => {}
            Err(error) => {
                self.break_with(format!(
                    "{side:?} accuses the other: {error}: DATA {stream}"
                ));
            }
        }
    }

    /// The operating system gives up what has been cut for so long.
    pub(super) fn keepalive(&mut self, id: NetworkId, cuts: u64) {
        let still = self
            .networks
            .get(id.0)
            .is_some_and(|network| network.state != NetworkState::Up && network.cuts == cuts);
        if still {
            let over: Vec<ConduitId> = self
                .connections
                .iter()
                .filter(|(_, connection)| connection.network == id)
                .map(|(conduit, _)| *conduit)
                .collect();
            for conduit in over {
                self.abandon(conduit);
            }
        }
    }

    pub(super) fn abandon(&mut self, conduit: ConduitId) {
        if let Some(connection) = self.connections.get_mut(&conduit) {
            connection.dead = true;
        }
        self.tell_end(conduit, Side::Cnapt);
        self.tell_end(conduit, Side::Snapt);
    }
}
