//! The streams of one session, by id, and what happens to them.
//!
//! The shell calls in from two ends: conduit tasks bring frames and fetch what is to be sent,
//! application tasks bring bytes and take bytes. Every call may leave something in the queue of
//! outputs, which the shell drains before it lets go of the session.

mod moving;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::conduit::{Conduit, Marker};
use super::gap::{FLOWING, GapMeter};
use super::lane::Lanes;
use super::receive::Accepted;
use super::record::{Acknowledge, InitialCredit, Opening, Stream};
use super::seen::Seen;
use super::{CreditPool, End, PeerMisbehaved, STREAMS, UNSENT_BYTES, code};
use crate::bug::{Bug, Bugs};
use crate::flow::{DEFAULT_FLOW_IDLE, Flows};
use crate::session::{Output, Timer};
use crate::wire::{CatalogueEntry, Frame, Request, TransportProtocol};
use crate::{ConduitId, Instant, Side, StreamId};

/// How long RECEIVED may wait for a frame to ride along with. Below what a person notices and well
/// below the least retransmission timeout of TCP.
pub(crate) const ACKNOWLEDGE_DELAY: Duration = Duration::from_millis(25);

/// OPEN is repeated after three round trips, but not before this: the other side's task may sleep.
const OPEN_PATIENCE: Duration = Duration::from_millis(100);

/// How long a connection waits for a network, like a SYN: about what Linux gives one.
const OPEN_WAIT: Duration = Duration::from_secs(120);

/// How often streams on which nothing moves are taken out of the load of their conduits.
const ACTIVITY_PASS: Duration = Duration::from_secs(1);

/// Ids to be answered SETTLED. More than one side's streams: beyond that the other side makes them
/// up, and what is dropped it asks again.
const SETTLED_BOUND: usize = 2 * STREAMS as usize;

/// Why a stream cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The other side takes no more, or this process has no credit left to give.
    #[error("too many streams")]
    Full,
}

/// What the application's task has to know of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// How many bytes may be read from the application.
    pub room: usize,
    /// There are bytes for the application.
    pub bytes: bool,
    /// All bytes are delivered and the other application closed its half: pass the end on, then call
    /// [`Streams::end_delivered`].
    pub end: bool,
    /// The application's half is closed: nothing is read from it any more.
    pub read_over: bool,
    /// The application has everything that it will ever get.
    pub write_over: bool,
}

/// Memory that the next bytes are stored in, so that a bulk transfer does not ask for each piece anew.
#[derive(Clone, Debug, Default)]
struct Spare(Option<BytesMut>);

/// Nothing is in it.
impl Hash for Spare {
    fn hash<H: Hasher>(&self, _state: &mut H) {}
}

/// All streams of one session at one side.
#[derive(Clone, Debug, Hash)]
pub struct Streams {
    pub(crate) side: Side,
    pub(crate) streams: BTreeMap<StreamId, Stream>,
    pub(crate) conduits: BTreeMap<ConduitId, Conduit>,
    /// The control conduit of the link that carries.
    pub(crate) current: Option<ConduitId>,
    /// The switch number under which conduits are used.
    pub(crate) number: u64,
    lanes: Lanes,
    pub(crate) outputs: VecDeque<Output>,
    /// Streams whose OPEN is not answered, or not sent.
    pub(crate) opening: BTreeSet<StreamId>,
    pub(crate) active: BTreeSet<StreamId>,
    pub(crate) settled_due: BTreeSet<StreamId>,
    pub(crate) refused_due: BTreeMap<StreamId, u16>,
    /// Streams whose end is to be acknowledged.
    pub(crate) ends_due: BTreeSet<StreamId>,
    /// How many conduits of each link are under way.
    pub(super) dialling: BTreeMap<ConduitId, usize>,
    /// CNAPT: links beside the one that carries, by control conduit, which have spares of their own.
    pub(super) standbys: BTreeSet<ConduitId>,
    /// SNAPT: how many conduits it has asked for. CNAPT: how many it was asked for.
    pub(crate) asked: usize,
    pub(crate) flows: Flows,
    /// The link is to have a conduit for datagrams.
    pub(crate) expects_datagrams: bool,
    lazy: BTreeSet<StreamId>,
    lazy_deadline: Option<Instant>,
    pass_deadline: Option<Instant>,
    /// No spare conduits are asked for before this.
    pub(crate) spares_deadline: Option<Instant>,
    open_deadline: Option<Instant>,
    next_index: u64,
    opened_here: usize,
    seen: Seen,
    /// The ports of the services that the other side may open streams to, by name.
    services: BTreeMap<String, RangeInclusive<u16>>,
    begin_with: InitialCredit,
    peer_streams: usize,
    pool: CreditPool,
    round_trip: Duration,
    pub(super) expecting_since: Option<Instant>,
    gap: GapMeter,
    spare: Spare,
    pub(crate) bugs: Bugs,
}

impl Streams {
    /// An empty table for `side`, whose peer may open streams to those of `services` that are
    /// connection-oriented.
    pub fn new(side: Side, services: &[CatalogueEntry], pool: CreditPool) -> Self {
        Self {
            side,
            streams: BTreeMap::new(),
            conduits: BTreeMap::new(),
            current: None,
            number: 0,
            lanes: Lanes::default(),
            outputs: VecDeque::new(),
            opening: BTreeSet::new(),
            active: BTreeSet::new(),
            settled_due: BTreeSet::new(),
            refused_due: BTreeMap::new(),
            ends_due: BTreeSet::new(),
            dialling: BTreeMap::new(),
            standbys: BTreeSet::new(),
            asked: 0,
            flows: Flows::new(side, services, DEFAULT_FLOW_IDLE),
            expects_datagrams: services.iter().any(CatalogueEntry::is_connectionless),
            lazy: BTreeSet::new(),
            lazy_deadline: None,
            pass_deadline: None,
            spares_deadline: None,
            open_deadline: None,
            next_index: 0,
            opened_here: 0,
            seen: Seen::default(),
            services: ports_of(services, TransportProtocol::Tcp),
            begin_with: InitialCredit {
                given: u64::from(pool.initial_limit()),
                taken: u64::from(pool.initial_limit()),
            },
            peer_streams: STREAMS as usize,
            pool,
            round_trip: Duration::ZERO,
            expecting_since: None,
            gap: GapMeter::default(),
            spare: Spare::default(),
            bugs: Bugs::default(),
        }
    }

    /// The peer may open streams and flows to these services from now on; those that are open live on.
    pub(crate) fn set_services(&mut self, services: &[CatalogueEntry]) {
        self.services = ports_of(services, TransportProtocol::Tcp);
        self.flows.set_services(services);
    }

    /// Leaves something out, for a check of the checks; before the first stream.
    pub const fn set_bugs(&mut self, bugs: Bugs) {
        self.bugs = bugs;
    }

    // === The application's side ===

    /// The credit that every stream of the other side begins with, in bytes.
    pub(crate) const fn initial_limit(&self) -> u32 {
        self.pool.initial_limit()
    }

    /// An application connected here: a stream to a service of the other side begins.
    ///
    /// # Errors
    ///
    /// If the other side takes no more streams or no credit is left.
    pub fn open(&mut self, request: Request, now: Instant) -> Result<StreamId, OpenError> {
        if self.opened_here >= self.peer_streams || !self.pool.take(self.begin_with.given) {
            return Err(OpenError::Full);
        }
        let id = StreamId::new(self.side, self.next_index);
        self.next_index += 1;
        let opening = Opening::NotSent { since: now };
        let mut stream = Stream::new(id, Some(request), opening, self.begin_with, self.bugs, now);
        stream.moved = self.number;
        stream.connected = true;
        self.streams.insert(id, stream);
        self.opened_here += 1;
        self.opening.insert(id);
        self.open_deadline.get_or_insert(now + OPEN_WAIT);
        Ok(id)
    }

    /// The application's first bytes, or none, are there, or the time to wait for them is over: OPEN
    /// may leave.
    pub fn begin(&mut self, id: StreamId) {
        self.queue(id);
    }

    /// Whether the application that `request` asks for is still to be connected for this stream. An id alone
    /// does not say so: a process that is new begins with the ids of the one before.
    pub fn awaits(&self, id: StreamId, request: &Request) -> bool {
        let stream = self.streams.get(&id).filter(|one| !one.connected);
        stream.is_some_and(|one| one.request.as_deref() == Some(request))
    }

    /// The application that the other side asked for accepted the connection.
    pub fn connected(&mut self, id: StreamId) {
        let accepted = id.opener() != self.side;
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.connected = true;
            stream.request.take_if(|_| accepted);
            self.outputs.push_back(Output::Look(id));
        }
    }

    /// Bytes that the application wrote. At most what [`View::room`] allowed.
    //= docs/spec/planned.md#cnapt-05
    //= docs/spec/planned.md#snapt-05
    //= docs/spec/unexpected.md#cnapt-star-05
    //= docs/spec/unexpected.md#snapt-star-05
    pub fn write(&mut self, id: StreamId, bytes: Bytes) {
        if !self.lane(id).forwarding && self.bugs.keeps_nothing() {
            return;
        }
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.send.write(bytes);
            self.queue(id);
        }
    }

    /// The application closed its half.
    pub fn finish(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.send.finish();
            self.queue(id);
        }
    }

    /// The application reset its connection, or could not be reached: ABORT one way, STOP the other.
    pub fn abort(&mut self, id: StreamId, code: u16) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if self.bugs.has(Bug::ResetTakenForFin) {
            stream.send.finish();
        }
        stream.send.abort(code);
        if matches!(stream.opening, Opening::NotSent { .. }) {
            self.forget(id);
            return;
        }
        self.stop(id, code);
    }

    /// The application takes no more bytes.
    pub fn stop(&mut self, id: StreamId, code: u16) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let had_end = stream.receive.end_has_arrived();
        stream.receive.stop(code);
        stream.stop_due = stream.receive.stop_code().is_some() && !stream.receive.end_has_arrived();
        if stream.receive.end_has_arrived() && !had_end {
            self.acknowledge_end(id);
        }
        self.queue(id);
        self.forget_if_over(id);
    }

    /// What the application's task has to do; none once the stream is forgotten.
    pub fn view(&mut self, id: StreamId) -> Option<View> {
        let stream = self.streams.get_mut(&id)?;
        let room = stream.send.room(UNSENT_BYTES);
        let read_over = stream.send.end().is_some();
        stream.starved = room == 0 && !read_over;
        Some(View {
            room: usize::try_from(room).unwrap_or(usize::MAX),
            bytes: stream.receive.has_bytes(),
            end: stream.receive.end_is_deliverable(),
            read_over,
            write_over: stream.receive.end_is_taken() || stream.receive.stop_code().is_some(),
        })
    }

    /// Bytes for the application. Hand back what became of them with [`Self::delivered`].
    pub fn take(&mut self, id: StreamId) -> Option<BytesMut> {
        self.streams.get_mut(&id)?.receive.take()
    }

    /// The application took the first `count` bytes of the piece that [`Self::take`] gave. Says whether
    /// there is more for the application's own task to do.
    pub fn delivered(&mut self, id: StreamId, piece: BytesMut, count: usize, now: Instant) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else {
            return false;
        };
        let receive = &mut stream.receive;
        let last = receive.last_delivered;
        receive.delivered(piece, count, now, &mut self.spare.0);
        if receive.last_delivered == Some(now) {
            self.gap.delivered(id, last, now);
        }
        receive.grow(self.round_trip, &self.pool, now);
        let more = receive.has_bytes() || receive.end_is_deliverable();
        self.note_received(id, now);
        more
    }

    /// The application was told of the end.
    pub fn end_delivered(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.receive.end_delivered();
            self.reset_if_stopped(id);
            self.forget_if_over(id);
        }
    }

    // === The conduits' side ===

    /// A piece of DATA came by `conduit`.
    ///
    /// # Errors
    ///
    /// If the other module broke a rule.
    //= docs/spec/planned.md#cnapt-08
    //= docs/spec/planned.md#snapt-07
    pub fn accept_data(
        &mut self,
        id: StreamId,
        offset: u64,
        bytes: &[u8],
        now: Instant,
    ) -> Result<Accepted, PeerMisbehaved> {
        if !self.know(id)? || (!self.lane(id).forwarding && self.bugs.hears_nothing()) {
            return Ok(Accepted::Duplicate);
        }
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(Accepted::Duplicate);
        };
        let connected = stream.connected;
        let accepted = (stream.receive).accept(offset, bytes, connected, &mut self.spare.0)?;
        stream.moved = self.number;
        stream.stirred = true;
        match accepted {
            Accepted::Duplicate if stream.receive.end_has_arrived() => self.acknowledge_end(id),
            Accepted::Duplicate => self.acknowledge(id, Acknowledge::Now, now),
            Accepted::Stored => {
                self.note_received(id, now);
                self.outputs.push_back(Output::Look(id));
            }
            // Said with the delivery, which raises the limit too.
            Accepted::Deliverable => {}
        }
        Ok(accepted)
    }

    /// A producer that found no room is told when there is some.
    pub(crate) fn look_if_room(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.starved
            && stream.send.room(UNSENT_BYTES) > 0
        {
            stream.starved = false;
            self.outputs.push_back(Output::Look(id));
        }
    }

    /// Something arrived or was taken: decides when to say so.
    fn note_received(&mut self, id: StreamId, now: Instant) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.moved = self.number;
        if stream.receive.end_has_arrived() {
            if !stream.end_acknowledged {
                self.acknowledge_end(id);
            }
        } else if stream.receive.is_acknowledgement_urgent() {
            self.acknowledge(id, Acknowledge::Now, now);
        } else {
            self.acknowledge(id, Acknowledge::Lazy, now);
        }
    }

    fn acknowledge(&mut self, id: StreamId, how: Acknowledge, now: Instant) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if how > stream.acknowledge {
            stream.acknowledge = how;
            if how == Acknowledge::Lazy {
                self.lazy.insert(id);
                self.lazy_deadline.get_or_insert(now + ACKNOWLEDGE_DELAY);
            }
        }
        if how == Acknowledge::Now {
            self.queue(id);
        }
    }

    fn acknowledge_end(&mut self, id: StreamId) {
        if self.bugs.has(Bug::EndAcknowledgedAnywhere) {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.acknowledge = Acknowledge::Now;
            }
            self.queue(id);
            return;
        }
        self.ends_due.insert(id);
        if let Some(control) = self.speaking() {
            self.wake(control);
        }
    }

    /// A stream frame came by `conduit`.
    ///
    /// # Errors
    ///
    /// If the other module broke a rule.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "Frame::layer names every frame once"
    )]
    pub fn handle_frame(&mut self, frame: &Frame, now: Instant) -> Result<(), PeerMisbehaved> {
        match *frame {
            Frame::Open {
                stream,
                floor,
                ref request,
            } => self.handle_open(stream, floor, request, now),
            Frame::Opened { stream } => self.know(stream).map(|_| ()),
            Frame::OpenRefused { stream, code } => self.handle_open_refused(stream, code),
            Frame::Received {
                stream,
                arrived,
                limit,
            } => self.handle_received(stream, arrived, limit),
            Frame::End { stream, end } => self.handle_end(stream, end),
            Frame::Stop { stream, code } => self.handle_stop(stream, code),
            Frame::Settled { stream } => self.handle_settled(stream),
            // Layer::Stream names those above, and no other frame is given to the streams.
            _ => Err(PeerMisbehaved::NotAllowed("not a stream frame")),
        }
    }

    /// Whether there is a record of `id`. A frame of one that is over is answered SETTLED; a frame of
    /// one that never was here waits for its OPEN. Any frame of the acceptor confirms the opening.
    fn know(&mut self, id: StreamId) -> Result<bool, PeerMisbehaved> {
        if let Some(stream) = self.streams.get_mut(&id) {
            if id.opener() == self.side && !stream.is_confirmed() {
                stream.confirm();
                self.opening.remove(&id);
                self.queue(id);
            }
            return Ok(true);
        }
        if id.opener() == self.side {
            if id.index() >= self.next_index {
                return Err(PeerMisbehaved::NeverOpened);
            }
            self.settle(id);
        } else if self.seen.contains(id.index()) {
            self.settle(id);
        }
        Ok(false)
    }

    fn settle(&mut self, id: StreamId) {
        if self.settled_due.len() < SETTLED_BOUND && !self.bugs.has(Bug::OverNotAnswered) {
            self.settled_due.insert(id);
            if let Some(control) = self.speaking() {
                self.wake(control);
            }
        }
    }

    fn handle_open(
        &mut self,
        id: StreamId,
        floor: u64,
        request: &Request,
        now: Instant,
    ) -> Result<(), PeerMisbehaved> {
        if id.opener() == self.side {
            return Err(PeerMisbehaved::NotAllowed("OPEN of the receiver's own id"));
        }
        self.seen.raise_floor(floor.min(id.index()));
        if self.know(id)? {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.opened_due = true;
                self.queue(id);
            }
            return Ok(());
        }
        if self.seen.contains(id.index()) && !self.bugs.has(Bug::OpenRunsTwice) {
            return Ok(());
        }
        self.seen.insert(id.index());
        let theirs = self.streams.len() - self.opened_here;
        let ports = self.services.get(&request.service);
        if ports.is_none_or(|ports| !ports.contains(&request.port)) {
            self.refuse(id, code::UNKNOWN_SERVICE)?;
        } else if theirs >= STREAMS as usize || !self.pool.take(self.begin_with.given) {
            self.refuse(id, code::TOO_MANY)?;
        } else {
            let (opening, credit) = (Opening::Confirmed, self.begin_with);
            let asked = Some(request.clone());
            let mut stream = Stream::new(id, asked, opening, credit, self.bugs, now);
            stream.moved = self.number;
            stream.opened_due = true;
            self.streams.insert(id, stream);
            self.outputs.push_back(Output::Connect {
                stream: id,
                request: request.clone(),
            });
            self.queue(id);
        }
        Ok(())
    }

    /// An opener that keeps to its limit never has more refusals under way than streams.
    fn refuse(&mut self, id: StreamId, code: u16) -> Result<(), PeerMisbehaved> {
        if self.refused_due.len() >= STREAMS as usize {
            return Err(PeerMisbehaved::DoesNotRead);
        }
        self.refused_due.insert(id, code);
        if let Some(control) = self.speaking() {
            self.wake(control);
        }
        Ok(())
    }

    fn handle_open_refused(&mut self, id: StreamId, code: u16) -> Result<(), PeerMisbehaved> {
        if id.opener() != self.side {
            return Err(PeerMisbehaved::NotAllowed("OPEN_REFUSED by the opener"));
        }
        if self.streams.contains_key(&id) {
            self.reset(id, code);
            self.forget(id);
        }
        Ok(())
    }

    fn handle_received(
        &mut self,
        id: StreamId,
        arrived: u64,
        limit: u64,
    ) -> Result<(), PeerMisbehaved> {
        if !self.know(id)? {
            return Ok(());
        }
        self.take_received(id, arrived, limit)?;
        self.queue(id);
        self.look_if_room(id);
        self.forget_if_over(id);
        Ok(())
    }

    fn take_received(
        &mut self,
        id: StreamId,
        arrived: u64,
        limit: u64,
    ) -> Result<(), PeerMisbehaved> {
        let number = self.number;
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        let acknowledged = stream.send.acknowledge(arrived)?;
        if stream.send.raise_limit(limit) || acknowledged {
            stream.moved = number;
            stream.stirred = true;
        }
        if !stream.is_unanswered() {
            stream.used.clear();
        }
        Ok(())
    }

    fn handle_end(&mut self, id: StreamId, end: End) -> Result<(), PeerMisbehaved> {
        let abort = matches!(end, End::Abort { .. });
        let counts = !self.bugs.has(Bug::AbortOvertakesOpen);
        if abort && counts && id.opener() != self.side && !self.seen.contains(id.index()) {
            self.seen.insert(id.index());
        }
        if self.know(id)? {
            self.take_end(id, end)?;
        }
        Ok(())
    }

    fn take_end(&mut self, id: StreamId, end: End) -> Result<(), PeerMisbehaved> {
        let number = self.number;
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        stream.moved = number;
        let reset = stream.receive.handle_end(end)?;
        if stream.receive.end_is_deliverable() {
            self.outputs.push_back(Output::Look(id));
        }
        if stream.receive.end_has_arrived() {
            self.acknowledge_end(id);
        }
        if reset {
            let code = match end {
                End::Abort { code, .. } => code,
                End::Fin { .. } => code::RESET,
            };
            self.reset(id, code);
        }
        self.reset_if_stopped(id);
        self.forget_if_over(id);
        Ok(())
    }

    fn handle_stop(&mut self, id: StreamId, code: u16) -> Result<(), PeerMisbehaved> {
        if self.know(id)? {
            self.take_stop(id, code);
            self.queue(id);
        }
        Ok(())
    }

    fn take_stop(&mut self, id: StreamId, code: u16) {
        let number = self.number;
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.moved = number;
        stream.stopped |= !matches!(stream.send.end(), Some(End::Fin { .. }));
        stream.send.stopped(code);
        self.outputs.push_back(Output::Look(id));
        self.reset_if_stopped(id);
    }

    /// "Your end is acknowledged, I need nothing more."
    fn handle_settled(&mut self, id: StreamId) -> Result<(), PeerMisbehaved> {
        if id.opener() == self.side && id.index() >= self.next_index {
            return Err(PeerMisbehaved::NeverOpened);
        }
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        if stream.receive.end_has_arrived() && !self.bugs.has(Bug::SettledForgetsAtOnce) {
            stream.send.abort(code::SESSION_LOST);
            stream.send.settle();
            stream.end_acknowledged = true;
            stream.confirm();
            self.opening.remove(&id);
            self.forget_if_over(id);
        } else {
            self.reset(id, code::SESSION_LOST);
            self.forget(id);
        }
        Ok(())
    }

    /// The application's connection is reset; the stream may live on until both sides know its ends.
    fn reset(&mut self, id: StreamId, code: u16) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.send.abort(code);
            stream.receive.stop(code);
            self.outputs.push_back(Output::Reset { stream: id, code });
            self.queue(id);
        }
    }

    fn reset_if_stopped(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id)
            && let Some(code) = stream.reset_code()
        {
            stream.stopped = false;
            self.outputs.push_back(Output::Reset { stream: id, code });
        }
    }

    pub(crate) fn forget_if_over(&mut self, id: StreamId) {
        if self.streams.get(&id).is_some_and(Stream::is_forgettable) {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: StreamId) {
        self.deactivate(id);
        self.opening.remove(&id);
        self.ends_due.remove(&id);
        if let Some(stream) = self.streams.remove(&id) {
            self.opened_here -= usize::from(id.opener() == self.side);
            self.pool.give_back(stream.receive.credit());
            self.outputs.push_back(Output::Look(id));
        }
    }

    /// Every id of our own below this index is settled.
    pub(crate) fn floor(&self) -> u64 {
        let own = self.streams.keys().filter(|id| id.opener() == self.side);
        own.map(|id| id.index()).next().unwrap_or(self.next_index)
    }

    pub(crate) fn open_patience(&self) -> Duration {
        OPEN_PATIENCE.max(3 * self.round_trip)
    }

    // === Timers ===

    /// When [`Self::handle_timeout`] wants to be called.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        [
            self.lazy_deadline,
            self.pass_due(),
            self.open_deadline,
            self.flows.next_timeout(),
            self.spares_deadline,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The first look after a rest is due at once and only sets the time of the next.
    fn pass_due(&self) -> Option<Instant> {
        (!self.active.is_empty()).then(|| self.pass_deadline.unwrap_or_default())
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.lazy_deadline.is_some_and(|deadline| deadline <= now) {
            self.handle_timer(Timer::Acknowledge, now);
        }
        if self.pass_deadline.is_none_or(|deadline| deadline <= now) {
            self.handle_timer(Timer::Activity, now);
        }
        if self.open_deadline.is_some_and(|deadline| deadline <= now) {
            self.end_open_waits(|since| since + OPEN_WAIT <= now);
            self.repeat_opens(now, |deadline| deadline <= now);
        }
        if self.spares_deadline.is_some_and(|deadline| deadline <= now) {
            self.handle_timer(Timer::Spares, now);
        }
        self.arm_open_timer();
        self.flows.handle_timeout(now);
    }

    /// The timers that run, for a model that fires any of them.
    pub(crate) fn armed_timers(&self) -> impl Iterator<Item = Timer> {
        let opening = || self.opening.iter().filter_map(|id| self.streams.get(id));
        let waits = opening().any(|one| matches!(one.opening, Opening::NotSent { .. }));
        let asks = opening().any(|one| matches!(one.opening, Opening::Sent { .. }));
        [
            self.lazy_deadline.map(|_| Timer::Acknowledge),
            self.pass_due().map(|_| Timer::Activity),
            (asks && self.lanes.any_forwards()).then_some(Timer::Open),
            waits.then_some(Timer::OpenWait),
            self.flows.armed_timer(),
            self.spares_deadline.map(|_| Timer::Spares),
        ]
        .into_iter()
        .flatten()
    }

    /// One of the streams' timers is due. Others mean nothing here.
    pub(crate) fn handle_timer(&mut self, timer: Timer, now: Instant) {
        match timer {
            Timer::Acknowledge => self.acknowledge_lazy(now),
            Timer::Activity => {
                self.pass_activity();
                self.pass_deadline = (!self.active.is_empty()).then(|| now + ACTIVITY_PASS);
            }
            Timer::Open => self.repeat_opens(now, |_| true),
            Timer::OpenWait => self.end_open_waits(|_| true),
            Timer::FlowIdle => self.flows.handle_timer(),
            Timer::Spares => {
                self.spares_deadline = None;
                self.number_for_datagrams();
                self.maintain_spares();
            }
            Timer::Suspension
            | Timer::Reply
            | Timer::ReplyProbe
            | Timer::Markers
            | Timer::Ok
            | Timer::OtherNetwork
            | Timer::Networks
            | Timer::Dial
            | Timer::Renewal
            | Timer::AllRedirected
            | Timer::Drain
            | Timer::Standby
            | Timer::Stall
            | Timer::Return
            | Timer::Probe
            | Timer::Silence
            | Timer::Gap
            | Timer::SwitchTimeout
            | Timer::Held => {}
        }
    }

    fn acknowledge_lazy(&mut self, now: Instant) {
        self.lazy_deadline = None;
        for id in std::mem::take(&mut self.lazy) {
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            if stream.acknowledge == Acknowledge::Lazy {
                // RENEW may have said it meanwhile; then the next delay begins anew.
                stream.acknowledge = Acknowledge::No;
                if stream.receive.has_news() {
                    self.acknowledge(id, Acknowledge::Now, now);
                }
            }
        }
    }

    fn pass_activity(&mut self) {
        let all: Vec<StreamId> = self.active.iter().copied().collect();
        for id in all {
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            let stirred = std::mem::take(&mut stream.stirred);
            if !stirred && !stream.queued && stream.send.is_quiet() {
                self.deactivate(id);
            }
        }
        if self.active.is_empty() {
            self.close_surplus();
        }
    }

    /// Connections that have waited for a network since a time that is `over` are reset.
    fn end_open_waits(&mut self, over: impl Fn(Instant) -> bool) {
        let all: Vec<StreamId> = self.opening.iter().copied().collect();
        for id in all {
            let opening = self.streams.get(&id).map(|stream| stream.opening);
            if matches!(opening, Some(Opening::NotSent { since }) if over(since)) {
                self.reset(id, code::TIMED_OUT);
                self.forget(id);
            }
        }
    }

    /// OPENs whose deadline is `due` are repeated on other conduits.
    fn repeat_opens(&mut self, now: Instant, due: impl Fn(Instant) -> bool) {
        if !self.lanes.any_forwards() {
            return;
        }
        let least = self.open_patience();
        let all: Vec<StreamId> = self.opening.iter().copied().collect();
        for id in all {
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            if let Opening::Sent { at, patience, .. } = stream.opening
                && due(at + patience.max(least))
            {
                stream.opening = Opening::Sent {
                    on: None,
                    at: now,
                    patience,
                };
                self.deactivate(id);
                self.leave_suspect_place(id);
                self.queue(id);
            }
        }
    }

    fn leave_suspect_place(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.queued = false;
        let place = stream.place.take();
        if let Some(conduit) = place.and_then(|place| self.conduits.get_mut(&place)) {
            conduit.suspect = true;
        }
    }

    /// An OPEN left: its answer is awaited.
    pub(crate) fn await_opened(&mut self, id: StreamId) {
        if let Some(Opening::Sent { at, patience, .. }) =
            self.streams.get(&id).map(|stream| stream.opening)
        {
            let deadline = at + patience;
            self.open_deadline = Some(self.open_deadline.map_or(deadline, |one| one.min(deadline)));
        }
    }

    pub(crate) fn arm_open_timer(&mut self) {
        let forwarding = self.lanes.any_forwards();
        let least = self.open_patience();
        self.open_deadline = self
            .opening
            .iter()
            .filter_map(|id| self.streams.get(id))
            .filter_map(|stream| match stream.opening {
                Opening::NotSent { since } => Some(since + OPEN_WAIT),
                // An OPEN that waits in a full conduit has no patience of its own yet.
                Opening::Sent { at, patience, .. } => forwarding.then(|| at + patience.max(least)),
                Opening::Confirmed => None,
            })
            .min();
    }

    // === The session's side ===

    pub(crate) fn set_peer_limits(&mut self, initial_limit: u32, streams: u32) {
        self.begin_with.taken = u64::from(initial_limit);
        self.peer_streams = streams as usize;
    }

    /// Since when something is on its way for which an answer should come; none once anything came.
    pub(crate) const fn expecting_since(&self) -> Option<Instant> {
        self.expecting_since
    }

    /// Something came by the link that carries.
    pub(crate) const fn answered(&mut self) {
        self.expecting_since = None;
    }

    /// Bytes that were sent and of which no acknowledgement came.
    pub(crate) fn unacknowledged(&self) -> u64 {
        self.streams
            .values()
            .map(|one| one.send.unacknowledged())
            .sum()
    }

    pub(crate) const fn set_round_trip(&mut self, round_trip: Duration) {
        self.round_trip = round_trip;
    }

    pub(crate) fn add_conduit(&mut self, id: ConduitId, link: ConduitId) {
        self.conduits.insert(id, Conduit::new(link));
    }

    /// A conduit is gone, clean or not: no stream ends by that (design rule 5). If both its directions had
    /// come to their markers, nothing of it is lost.
    pub(crate) fn remove_conduit(&mut self, id: ConduitId) {
        let Some(conduit) = self.conduits.remove(&id) else {
            return;
        };
        let drained = conduit.marker == Marker::Sent && conduit.marker_arrived;
        if self.bugs.has(Bug::ConduitEndsStream) {
            self.end_streams_on(id);
        }
        let mut concerned = Vec::new();
        for (stream_id, stream) in &mut self.streams {
            if stream.place == Some(id) && stream.active {
                stream.active = false;
                self.active.remove(stream_id);
            }
            if drained {
                stream.drain_conduit(id);
            } else if stream.lose_conduit(id) {
                concerned.push(*stream_id);
            }
        }
        for stream in concerned {
            self.queue(stream);
        }
        self.number_for_datagrams();
        self.maintain_spares();
    }

    /// What a module does that takes the end of a conduit for the end of its streams.
    fn end_streams_on(&mut self, conduit: ConduitId) {
        let on = |stream: &&Stream| stream.place == Some(conduit);
        let ended: Vec<StreamId> = self.streams.values().filter(on).map(|one| one.id).collect();
        for id in ended {
            self.reset(id, code::RESET);
        }
    }

    /// The next thing to do.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        let first = self.outputs.pop_front();
        first.or_else(|| self.flows.outputs.pop_front())
    }

    /// The other side knows nothing of any stream: those whose OPEN was never sent wait on, all others
    /// are reset. Returns how many were.
    pub(crate) fn lose_session(&mut self) -> usize {
        let opens_again = self.bugs.has(Bug::OpenedAgainAtNewSnapt);
        let lost: Vec<StreamId> = self
            .streams
            .values()
            .filter(|stream| match stream.opening {
                Opening::NotSent { .. } => false,
                Opening::Sent { .. } => !opens_again,
                Opening::Confirmed => true,
            })
            .map(|stream| stream.id)
            .collect();
        for id in &lost {
            self.lose(*id);
        }
        self.flows.lose_session();
        self.seen = Seen::default();
        self.settled_due.clear();
        self.refused_due.clear();
        self.ends_due.clear();
        lost.len()
    }

    /// The session is over: all streams are reset, those that wait for a network too. Returns how many
    /// were.
    pub(crate) fn end_session(&mut self) -> usize {
        let lost = self.lose_session();
        let waiting: Vec<StreamId> = self.streams.keys().copied().collect();
        for id in &waiting {
            self.lose(*id);
        }
        lost + waiting.len()
    }

    fn lose(&mut self, id: StreamId) {
        let code = code::SESSION_LOST;
        self.outputs.push_back(Output::Reset { stream: id, code });
        self.forget(id);
    }

    // === Figures ===

    /// How many streams there are.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Bytes in memory: for a resend, unsent, or waiting for an application.
    pub fn buffered(&self) -> u64 {
        self.streams
            .values()
            .map(|one| one.send.buffered() + one.receive.buffered())
            .sum()
    }

    pub(crate) fn start_gap(&mut self, at: Instant) {
        let flowing = self.streams.values().filter(|stream| {
            stream
                .receive
                .last_delivered
                .is_some_and(|last| last + FLOWING >= at)
        });
        self.gap.start(flowing.map(|stream| stream.id), at);
    }

    /// The loss that the switch is about began before the order.
    pub(crate) fn gap_began(&mut self, at: Instant) {
        self.gap.began(at);
    }

    pub(crate) const fn end_gap(&mut self, now: Instant) {
        self.gap.end(now);
    }

    pub(crate) fn settled_gap(&self, now: Instant) -> Option<Option<Duration>> {
        self.gap.is_settled(now).then(|| self.gap.longest())
    }
}

/// The ports of the services of this protocol, by name.
pub(crate) fn ports_of(
    services: &[CatalogueEntry],
    protocol: TransportProtocol,
) -> BTreeMap<String, RangeInclusive<u16>> {
    services
        .iter()
        .filter(|service| service.protocol == protocol)
        .map(|service| (service.name.clone(), service.ports.clone()))
        .collect()
}
