//! Which conduit carries which frame, and what goes out next on each.
//!
//! A busy stream has a conduit to itself while there are enough; then the least loaded is shared. An
//! idle stream holds none. The CNAPT numbers a spare conduit with USE when it first needs it; the
//! SNAPT sends only on conduits that were numbered, under the current number or a higher one, and on
//! the control channel while there is none. Acknowledgements of ends and SETTLED always take the
//! control channel (design rule 5).

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use super::PeerMisbehaved;
use super::lane::Lane;
use super::record::{Acknowledge, Opening, Stream};
use super::table::Streams;
use crate::bug::Bug;
use crate::session::{Close, Output, bound};
use crate::wire::{
    DATA_HEADER_BYTES, DATA_PAYLOAD_BYTES, Datagram, Frame, Purpose, encode, encode_data_header,
};
use crate::{ConduitId, Instant, Side, StreamId};

/// The most conduits of one link for streams, beside the control channel and the one for datagrams. More would help
/// only where that many streams are busy at once, and each costs both sides a TLS connection.
pub const MAX_CONDUITS: usize = 16;

/// Conduits that a link keeps ready beyond those in use, so that the next busy stream waits for no
/// handshake.
pub const SPARE_CONDUITS: usize = 2;

/// A spare conduit that ends unused is replaced after so long: something on the way may close each at once, and would
/// be given the next without a pause. Streams share what there is meanwhile.
pub const SPARE_PAUSE: Duration = Duration::from_secs(1);

/// What one turn of a conduit's writer takes: beyond it, a marker or an urgent frame would wait.
pub(crate) const BATCH_BYTES: usize = 64 * 1024;

/// How much one stream may send before the next one on the same conduit has its turn.
const TURN_BYTES: usize = 16 * 1024 - DATA_HEADER_BYTES;

/// The place of LAST_MESSAGE_BEFORE_REDIRECTION in one direction of a conduit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Marker {
    None,
    Due,
    Sent,
}

#[derive(Clone, Debug, Hash)]
pub(crate) struct Conduit {
    /// The control conduit of its link; its own id if it is that.
    pub(crate) link: ConduitId,
    pub(crate) number: Option<u64>,
    pub(crate) use_due: bool,
    pub(crate) purpose: Purpose,
    /// Frames of the link and the session.
    pub(crate) frames: VecDeque<Frame>,
    pub(crate) ready: VecDeque<StreamId>,
    /// Active streams that have their place here.
    pub(crate) load: usize,
    pub(crate) marker: Marker,
    pub(crate) marker_arrived: bool,
    /// An OPEN went unanswered on it: a NAT may have forgotten it. Others are preferred.
    pub(crate) suspect: bool,
    /// The shell has been told that there is something to send, or has not asked in vain since.
    pub(crate) awake: bool,
}

impl Conduit {
    pub(crate) const fn new(link: ConduitId) -> Self {
        Self {
            link,
            number: None,
            use_due: false,
            purpose: Purpose::Streams,
            frames: VecDeque::new(),
            ready: VecDeque::new(),
            load: 0,
            marker: Marker::None,
            marker_arrived: false,
            suspect: false,
            awake: false,
        }
    }

    /// The USE that comes before the first frame that counts, if it is due.
    fn take_use(&mut self) -> Option<Frame> {
        let due = std::mem::take(&mut self.use_due);
        let number = self.number.filter(|_| due)?;
        Some(Frame::Use {
            number,
            purpose: self.purpose,
        })
    }
}

/// Bytes on their way out of one conduit: frames, and payloads that are not copied.
#[derive(Clone, Debug, Default, Hash)]
pub struct Transmit {
    chunks: VecDeque<Bytes>,
    frames: BytesMut,
    /// Frames that the carrier sends beside the others, where it can.
    datagrams: Option<VecDeque<Bytes>>,
    remaining: usize,
}

impl Transmit {
    /// For a carrier that sends datagrams by themselves.
    pub fn with_datagrams_apart() -> Self {
        Self {
            datagrams: Some(VecDeque::new()),
            ..Self::default()
        }
    }

    pub(crate) fn push_datagram(&mut self, datagram: Datagram) {
        let frame = Frame::Datagram(datagram);
        let Some(datagrams) = &mut self.datagrams else {
            return self.push_frame(&frame);
        };
        let mut encoded = BytesMut::new();
        encode(&mut encoded, &frame);
        self.remaining += encoded.len();
        datagrams.push_back(encoded.freeze());
    }

    /// The next datagram to be sent by itself.
    pub fn datagram(&self) -> Option<&Bytes> {
        self.datagrams.as_ref()?.front()
    }

    /// [`Self::datagram`] went out.
    pub fn datagram_sent(&mut self) {
        let sent = self.datagrams.as_mut().and_then(VecDeque::pop_front);
        self.remaining -= sent.map_or(0, |datagram| datagram.len());
    }

    pub(crate) fn push_frame(&mut self, frame: &Frame) {
        let before = self.frames.len();
        encode(&mut self.frames, frame);
        self.remaining += self.frames.len() - before;
    }

    fn push_data(&mut self, stream: StreamId, offset: u64, payload: Bytes) {
        let before = self.frames.len();
        encode_data_header(&mut self.frames, stream, offset, payload.len());
        self.remaining += self.frames.len() - before + payload.len();
        self.seal();
        self.chunks.push_back(payload);
    }

    fn seal(&mut self) {
        if !self.frames.is_empty() {
            self.chunks.push_back(self.frames.split().freeze());
        }
    }

    /// What is next, first to last: for a writer that keeps the bytes where they are.
    pub fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        self.chunks.iter()
    }

    /// Fills `slices` with what is next, and says how many it filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(chunk);
            count += 1;
        }
        count
    }

    /// `count` bytes went out.
    pub fn advance(&mut self, count: usize) {
        let mut left = count;
        self.remaining -= count.min(self.remaining);
        while left > 0 {
            let Some(front) = self.chunks.front_mut() else {
                break;
            };
            if front.len() > left {
                front.advance(left);
                break;
            }
            left -= front.len();
            self.chunks.pop_front();
        }
    }

    /// Whether nothing waits.
    pub const fn is_empty(&self) -> bool {
        self.remaining == 0
    }

    /// Bytes that wait.
    pub const fn remaining(&self) -> usize {
        self.remaining
    }
}

impl Streams {
    /// Fills `out` with what `conduit` is to send next, at most about one batch.
    pub fn transmit(&mut self, conduit: ConduitId, now: Instant, out: &mut Transmit) {
        let before = out.remaining();
        self.transmit_frames(conduit, out);
        self.transmit_control(conduit, out);
        while out.remaining() < BATCH_BYTES
            && let Some(id) = self.next_ready(conduit)
        {
            if self.is_usable(conduit, self.lane(id)) {
                self.transmit_stream(conduit, id, now, out);
            }
        }
        self.transmit_datagrams(conduit, now, out);
        out.seal();
        if out.remaining() == before
            && let Some(idle) = self.conduits.get_mut(&conduit)
        {
            idle.awake = false;
        }
    }

    fn transmit_frames(&mut self, conduit: ConduitId, out: &mut Transmit) {
        let Some(state) = self.conduits.get_mut(&conduit) else {
            return;
        };
        while let Some(frame) = state.frames.pop_front() {
            out.push_frame(&frame);
        }
        if state.marker == Marker::Due {
            state.marker = Marker::Sent;
            // Without a number the other side would neither count the marker nor answer it.
            if let Some(first) = state.take_use() {
                out.push_frame(&first);
            }
            out.push_frame(&Frame::LastMessageBeforeRedirection);
        }
    }

    /// What only the control channel carries.
    fn transmit_control(&mut self, conduit: ConduitId, out: &mut Transmit) {
        if self.current != Some(conduit) || !self.forwards() {
            return;
        }
        while let Some(stream) = self.settled_due.pop_first() {
            out.push_frame(&Frame::Settled { stream });
        }
        while let Some((stream, code)) = self.refused_due.pop_first() {
            out.push_frame(&Frame::OpenRefused { stream, code });
        }
        while let Some(id) = self.ends_due.pop_first() {
            if let Some(stream) = self.streams.get_mut(&id) {
                let (arrived, limit) = stream.receive.received();
                stream.acknowledge = Acknowledge::No;
                stream.end_acknowledged = true;
                out.push_frame(&Frame::Received {
                    stream: id,
                    arrived,
                    limit,
                });
            }
            self.forget_if_over(id);
        }
    }

    fn next_ready(&mut self, conduit: ConduitId) -> Option<StreamId> {
        let state = self.conduits.get_mut(&conduit)?;
        let id = state.ready.pop_front()?;
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.queued = false;
        }
        Some(id)
    }

    fn transmit_stream(
        &mut self,
        conduit: ConduitId,
        id: StreamId,
        now: Instant,
        out: &mut Transmit,
    ) {
        let number = self.number;
        let floor = self.floor();
        let patience = self.open_patience();
        let Some(state) = self.conduits.get_mut(&conduit) else {
            return;
        };
        let Some(stream) = self
            .streams
            .get_mut(&id)
            .filter(|one| one.place == Some(conduit))
        else {
            return;
        };
        let before = out.remaining();
        if let Some(first) = state.take_use() {
            out.push_frame(&first);
        }
        let turn = if state.ready.is_empty() {
            DATA_PAYLOAD_BYTES
        } else {
            TURN_BYTES
        };
        push_opening(stream, conduit, floor, patience, now, out);
        push_state(stream, conduit, out);
        if let Some((offset, payload)) = stream.send.next_data(turn) {
            out.push_data(id, offset, payload);
        }
        if let Some(end) = stream.send.next_end() {
            out.push_frame(&Frame::End { stream: id, end });
        }
        if out.remaining() > before {
            stream.moved = number;
            stream.stirred = true;
            if stream.is_unanswered() {
                self.expecting_since.get_or_insert(now);
                if !stream.used.contains(&conduit) {
                    stream.used.push(conduit);
                }
            }
        }
        let more = stream.has_work();
        let fresh_open = matches!(stream.opening, Opening::Sent { .. });
        if fresh_open {
            self.await_opened(id);
        }
        if more {
            self.queue(id);
        }
        self.look_if_room(id);
        if self.bugs.has(Bug::EndAcknowledgedAnywhere) {
            self.forget_if_over(id);
        }
    }

    /// Puts the stream into the queue of its place, if it has something to send and may.
    pub(crate) fn queue(&mut self, id: StreamId) {
        if !self.lane(id).forwarding {
            return;
        }
        let Some(stream) = self.streams.get(&id) else {
            return;
        };
        if stream.queued || !stream.has_work() {
            return;
        }
        let Some(place) = self.place(id) else { return };
        let Some(conduit) = self.conduits.get_mut(&place) else {
            return;
        };
        conduit.ready.push_back(id);
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.queued = true;
        }
        self.wake(place);
    }

    /// Tells the shell that `conduit` has something to send.
    pub(crate) fn wake(&mut self, conduit: ConduitId) {
        if let Some(state) = self.conduits.get_mut(&conduit)
            && !std::mem::replace(&mut state.awake, true)
        {
            self.outputs.push_back(Output::Wake(conduit));
        }
    }

    /// Whether stream frames of this lane may go out on `conduit` now.
    fn is_usable(&self, conduit: ConduitId, lane: Lane) -> bool {
        let state = self.conduits.get(&conduit);
        lane.forwarding
            && state.is_some_and(|one| one.purpose == Purpose::Streams)
            && self.carries(conduit, lane.link)
    }

    /// Whether `conduit` is one of `link` that may be sent on, by its number and its markers.
    pub(crate) fn carries(&self, conduit: ConduitId, link: Option<ConduitId>) -> bool {
        let Some(state) = self.conduits.get(&conduit) else {
            return false;
        };
        link == Some(state.link)
            && state.marker == Marker::None
            && !state.marker_arrived
            && (state.link == conduit || state.number.is_some_and(|number| number >= self.number))
    }

    /// The conduit for the next frames of a stream: the one it has while that is good enough.
    fn place(&mut self, id: StreamId) -> Option<ConduitId> {
        let stream = self.streams.get(&id)?;
        let lane = self.lane(id);
        let old = stream.place.filter(|place| self.is_usable(*place, lane));
        let active = stream.active;
        if let Some(place) = old
            && (active && lane.link != Some(place) || stream.is_opening_on(place))
        {
            return Some(place);
        }
        let best = self.least_loaded(lane);
        let own = usize::from(active);
        let place = match (old, best) {
            (Some(place), Some(best)) if lane.link != Some(place) => {
                let load = |id| self.conduits.get(&id).map_or(0, |conduit| conduit.load);
                if load(place) - own.min(load(place)) <= load(best) {
                    place
                } else {
                    best
                }
            }
            (old, best) => best.or(old).or(lane.link)?,
        };
        self.move_to(id, place);
        if id.opener() == self.side {
            self.ask_for_conduits(place);
        }
        Some(place)
    }

    fn least_loaded(&self, lane: Lane) -> Option<ConduitId> {
        self.conduits
            .iter()
            .filter(|(id, conduit)| {
                Some(**id) != lane.link
                    && (self.is_usable(**id, lane) || self.is_spare_of(lane.link, conduit))
            })
            .min_by_key(|(id, conduit)| {
                (
                    conduit.suspect,
                    conduit.load,
                    conduit.number.is_none(),
                    **id,
                )
            })
            .map(|(id, _)| *id)
    }

    /// Only the CNAPT may number a conduit.
    pub(crate) fn is_spare_of(&self, link: Option<ConduitId>, conduit: &Conduit) -> bool {
        self.side == Side::Cnapt
            && conduit.number.is_none()
            && conduit.marker == Marker::None
            && link == Some(conduit.link)
    }

    /// Only the CNAPT makes and numbers conduits. The SNAPT, with one more stream of its own on `place`, says
    /// how many it has a use for, if that place is not for the stream alone.
    fn ask_for_conduits(&mut self, place: ConduitId) {
        let Some(control) = self.current.filter(|_| self.side == Side::Snapt) else {
            return;
        };
        let alone =
            (self.conduits.get(&place)).is_some_and(|one| one.link != place && one.load < 2);
        let wanted = self.active.len().min(MAX_CONDUITS);
        if alone || wanted <= self.asked {
            return;
        }
        self.asked = wanted;
        let conduits = u32::try_from(wanted).unwrap_or(u32::MAX);
        self.push_frame(control, Frame::Dial { conduits });
    }

    /// The SNAPT has a use for so many conduits of the current link. They are numbered for it, now or when
    /// they are there.
    pub(crate) fn handle_dial(&mut self, conduits: usize) {
        self.asked = self.asked.max(conduits.min(MAX_CONDUITS));
        self.number_for_the_other_side();
        self.maintain_spares();
    }

    /// The conduits of the link of `control` for streams, spares too, that carry no marker.
    fn stream_conduits(&self, control: ConduitId) -> impl Iterator<Item = (ConduitId, &Conduit)> {
        let of_link = move |(id, one): &(ConduitId, &Conduit)| {
            one.link == control
                && *id != control
                && one.marker == Marker::None
                && one.purpose == Purpose::Streams
        };
        (self.conduits.iter().map(|(id, one)| (*id, one))).filter(of_link)
    }

    /// Numbers spares until the SNAPT has as many conduits as it asked for.
    pub(crate) fn number_for_the_other_side(&mut self) {
        self.number_up_to(self.asked);
    }

    /// Numbers spares until there are so many numbered conduits, on which the SNAPT may send.
    pub(crate) fn number_up_to(&mut self, count: usize) {
        let Some(current) = self.current.filter(|_| self.forwards()) else {
            return;
        };
        let (numbered, spares): (Vec<_>, Vec<_>) = (self.stream_conduits(current))
            .map(|(id, one)| (id, one.number))
            .partition(|(_, number)| number.is_some());
        let missing = count.saturating_sub(numbered.len());
        for (spare, _) in spares.into_iter().take(missing) {
            let number = self.number;
            if let Some(conduit) = self.conduits.get_mut(&spare) {
                conduit.number = Some(number);
            }
            let purpose = Purpose::Streams;
            self.push_frame(spare, Frame::Use { number, purpose });
        }
    }

    fn move_to(&mut self, id: StreamId, place: ConduitId) {
        let number = self.number;
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let old = stream.place.replace(place);
        if stream.active
            && let Some(conduit) = old.and_then(|old| self.conduits.get_mut(&old))
        {
            conduit.load -= 1;
        }
        let Some(conduit) = self.conduits.get_mut(&place) else {
            return;
        };
        if !stream.active {
            stream.active = true;
            self.active.insert(id);
        }
        conduit.load += 1;
        if conduit.number.is_none() && conduit.link != place {
            conduit.number = Some(number);
            conduit.use_due = true;
        }
        self.maintain_spares();
    }

    /// Queues a frame of the link or the session.
    pub(crate) fn push_frame(&mut self, conduit: ConduitId, frame: Frame) {
        let Some(state) = self.conduits.get_mut(&conduit) else {
            return;
        };
        if let Frame::ProbeReply { .. } = frame {
            state
                .frames
                .retain(|queued| !matches!(queued, Frame::ProbeReply { .. }));
        }
        state.frames.push_back(frame);
        self.wake(conduit);
    }

    /// A side that asks and asks without reading the answers is cut off.
    pub(crate) fn check_flood(&self, conduit: ConduitId) -> Result<(), PeerMisbehaved> {
        match self.conduits.get(&conduit) {
            Some(state) if state.frames.len() > bound::QUEUED_FRAMES => {
                Err(PeerMisbehaved::DoesNotRead)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Something came by this conduit: it is not dead.
    pub(crate) fn heard(&mut self, conduit: ConduitId) {
        if let Some(state) = self.conduits.get_mut(&conduit) {
            state.suspect = false;
        }
    }

    /// Takes a conduit out of use; what was queued on it goes along.
    pub(crate) fn close_conduit(&mut self, conduit: ConduitId, how: Close) {
        let mut rest = Transmit::default();
        if how == Close::Drain {
            self.transmit_frames(conduit, &mut rest);
        }
        self.remove_conduit(conduit);
        let rest = rest.frames.freeze();
        self.outputs.push_back(Output::Close { conduit, how, rest });
    }

    /// A conduit ended by itself. If it was kept ready for use, as a spare or for datagrams, the next one has to wait.
    pub(crate) fn lose_conduit(&mut self, conduit: ConduitId, now: Instant) {
        let kept_ready = |one: &Conduit| {
            (self.current == Some(one.link) || self.standbys.contains(&one.link))
                && (one.number.is_none() || one.purpose == Purpose::Datagrams)
        };
        if self.conduits.get(&conduit).is_some_and(kept_ready) {
            self.spares_deadline.get_or_insert(now + SPARE_PAUSE);
        }
        self.remove_conduit(conduit);
    }

    /// Asks the shell for conduits until every link has its spares.
    pub(crate) fn maintain_spares(&mut self) {
        if self.side != Side::Cnapt || self.spares_deadline.is_some() {
            return;
        }
        if let Some(current) = self.current.filter(|_| self.forwards()) {
            let wanted = self.conduits_wanted(current);
            self.dial_up_to(current, wanted);
        }
        for standby in self.standbys.clone() {
            self.dial_up_to(standby, self.spares_of_standby());
        }
    }

    /// Nothing moves on any stream: conduits that a busier time has left are closed, which a device would have to
    /// keep alive. Whatever the other side is sending on one in that moment, it says again.
    pub(crate) fn close_surplus(&mut self) {
        let Some(current) = self
            .current
            .filter(|_| self.side == Side::Cnapt && self.forwards())
        else {
            return;
        };
        let total = self.stream_conduits(current).count();
        let surplus = total.saturating_sub(self.asked + SPARE_CONDUITS);
        let used = (self.stream_conduits(current)).filter(|(_, one)| one.number.is_some());
        let closed: Vec<ConduitId> = used.map(|(id, _)| id).take(surplus).collect();
        for conduit in closed {
            self.close_conduit(conduit, Close::Drain);
        }
    }

    /// How many conduits the link that carries is to have.
    fn conduits_wanted(&self, current: ConduitId) -> usize {
        let total = self.stream_conduits(current).count();
        let busy = (self.stream_conduits(current))
            .filter(|(_, one)| one.load > 0)
            .count();
        let for_datagrams = usize::from(self.lacks_datagram_conduit());
        let wanted = (busy.max(self.asked) + SPARE_CONDUITS).min(MAX_CONDUITS) + for_datagrams;
        // However many streams have used, none of them is for datagrams.
        wanted.max(total + for_datagrams)
    }

    /// What traffic that moves to a standby finds there.
    fn spares_of_standby(&self) -> usize {
        SPARE_CONDUITS + usize::from(self.expects_datagrams)
    }

    fn dial_up_to(&mut self, link: ConduitId, wanted: usize) {
        let total = self.stream_conduits(link).count();
        let dialling = self.dialling(link);
        let missing = wanted.saturating_sub(total + dialling);
        if missing > 0 {
            self.dialling.insert(link, dialling + missing);
        }
        let dial = Output::DialConduit { link };
        self.outputs.extend(std::iter::repeat_n(dial, missing));
    }

    /// A conduit of this link that was asked for is there, or will never be.
    pub(crate) fn dialled(&mut self, link: ConduitId) {
        match self.dialling(link) {
            0 | 1 => drop(self.dialling.remove(&link)),
            more => drop(self.dialling.insert(link, more - 1)),
        }
    }

    /// How many conduits of this link are under way.
    pub(crate) fn dialling(&self, link: ConduitId) -> usize {
        self.dialling.get(&link).copied().unwrap_or_default()
    }

    /// Keeps spares on a link that does not carry.
    pub(crate) fn keep_standby(&mut self, control: ConduitId) {
        self.standbys.insert(control);
        self.maintain_spares();
    }

    /// Whether a standby has its spares, or gets no more.
    pub(crate) fn is_ready(&self, control: ConduitId) -> bool {
        let spares = (self.stream_conduits(control)).filter(|(_, one)| one.number.is_none());
        spares.count() >= self.spares_of_standby() || self.dialling(control) == 0
    }

    /// A link is over.
    pub(crate) fn forget_link(&mut self, control: ConduitId) {
        self.standbys.remove(&control);
        self.dialling.remove(&control);
    }

    /// Takes a stream out of the load of its place when nothing has moved for a while.
    pub(crate) fn deactivate(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut stream.active, false)
            && let Some(conduit) = stream.place.and_then(|place| self.conduits.get_mut(&place))
        {
            conduit.load -= 1;
        }
        self.active.remove(&id);
    }
}

fn push_opening(
    stream: &mut Stream,
    conduit: ConduitId,
    floor: u64,
    patience: Duration,
    now: Instant,
    out: &mut Transmit,
) {
    if stream.frames_overtake_open() {
        return;
    }
    let patience = match stream.opening {
        Opening::Confirmed => return,
        Opening::Sent { on: Some(on), .. } if on == conduit => return,
        Opening::NotSent { .. } => patience,
        Opening::Sent { patience: last, .. } => patience.max(2 * last),
    };
    let Some(request) = stream.request.as_deref().cloned() else {
        return;
    };
    stream.send.rewind();
    stream.opening = Opening::Sent {
        on: Some(conduit),
        at: now,
        patience,
    };
    out.push_frame(&Frame::Open {
        stream: stream.id,
        floor,
        request,
    });
}

/// What the stream's receiving half has to say. It rides along whenever the stream sends anyway.
fn push_state(stream: &mut Stream, conduit: ConduitId, out: &mut Transmit) {
    let id = stream.id;
    if std::mem::take(&mut stream.opened_due) {
        out.push_frame(&Frame::Opened { stream: id });
    }
    let due = stream.acknowledge == Acknowledge::Now || stream.receive.has_news();
    let anywhere = stream.bugs.has(Bug::EndAcknowledgedAnywhere);
    if due && (anywhere || !stream.receive.end_has_arrived()) {
        stream.end_acknowledged |= stream.receive.end_has_arrived();
        let (arrived, limit) = stream.receive.received();
        stream.acknowledged_on = Some(conduit);
        out.push_frame(&Frame::Received {
            stream: id,
            arrived,
            limit,
        });
    }
    stream.acknowledge = Acknowledge::No;
    if std::mem::take(&mut stream.stop_due)
        && let Some(code) = stream.receive.stop_code()
    {
        out.push_frame(&Frame::Stop { stream: id, code });
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;
    use crate::FlowId;
    use crate::wire::{Decoder, Item, Request};

    #[test]
    fn datagrams_apart_are_not_among_the_bytes_of_the_conduit() {
        let datagram = Datagram {
            flow: FlowId(2),
            sequence: 7,
            request: Request {
                service: "answers".into(),
                port: 7000,
                origin: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            },
            payload: Bytes::from_static(b"question"),
        };
        let mut out = Transmit::with_datagrams_apart();
        out.push_datagram(datagram.clone());
        out.push_frame(&Frame::LastMessageBeforeRedirection);
        out.seal();
        let chunks: usize = out.chunks().map(Bytes::len).sum();
        out.advance(chunks);
        assert!(!out.is_empty(), "the datagram waits");
        let apart = out.datagram().cloned().unwrap_or_default();
        let frame = Decoder::default().next(&mut &apart[..]);
        assert_eq!(frame, Ok(Some(Item::Frame(Frame::Datagram(datagram)))));
        out.datagram_sent();
        assert!(out.is_empty() && out.datagram().is_none());
    }
}
