//! What a switch does to the streams: they stop, leave their places, say how far they have come and go on elsewhere.
//!
//! The spec's procedures do it kind by kind, in steps of their own. The overlapped switch does it at once and stops
//! nothing ([`Streams::go_over`]).

use super::Streams;
use crate::bug::Bug;
use crate::stream::conduit::{MAX_CONDUITS, Marker, SPARE_PAUSE};
use crate::stream::lane::{Lane, ServiceKind};
use crate::stream::record::{Opening, Stream};
use crate::stream::{End, PeerMisbehaved};
use crate::wire::{Frame, RENEW_ENTRIES, Renew, RenewEntry};
use crate::{ConduitId, Instant, Side, StreamId};

/// In an overlapped switch a stream with no more than this under way, in bytes, sends it again over the new link:
/// what an interactive application waits for, and what a receiver's first window holds. More is left to the old
/// link, and costs no network anything twice.
const RESENT_AT_ONCE: u64 = 64 * 1024;

impl Streams {
    /// Stops forwarding for one kind of service (CNAPT-2, -3, SNAPT-2, -3): what applications send is
    /// buffered, the frames begun are finished.
    pub(crate) const fn stop_forwarding(&mut self, kind: ServiceKind) {
        self.lanes.of_mut(kind).forwarding = false;
    }

    /// Stops all forwarding, that of the flows too.
    pub(crate) fn stop_all_forwarding(&mut self) {
        self.stop_forwarding(ServiceKind::Server);
        self.stop_forwarding(ServiceKind::Client);
        self.flows.lanes.stop();
    }

    /// Lets `link` carry, under switch number `number`, once forwarding goes on.
    pub(crate) fn carry_on(&mut self, link: ConduitId, number: u64) {
        self.current = Some(link);
        self.number = number;
        self.expecting_since = None;
        self.standbys.remove(&link);
        self.asked = 0;
        self.spares_deadline = None;
    }

    /// Streams of this kind may have a place on `link`.
    pub(crate) const fn give_place(&mut self, kind: ServiceKind, link: ConduitId) {
        self.lanes.of_mut(kind).link = Some(link);
    }

    /// The link on which streams of this kind may have a place, by its control conduit.
    pub const fn place_of(&self, kind: ServiceKind) -> Option<ConduitId> {
        self.lanes.of(kind).link
    }

    /// What the kind of a stream may do.
    pub(crate) fn lane(&self, id: StreamId) -> Lane {
        self.lanes.of(ServiceKind::opened_at(id.opener()))
    }

    /// Whether anything may be sent at all.
    pub(crate) const fn forwards(&self) -> bool {
        self.lanes.any_forwards()
    }

    /// The control channel, while the streams' own control frames may go out on it.
    pub(crate) fn speaking(&self) -> Option<ConduitId> {
        self.current.filter(|_| self.lanes.any_forwards())
    }

    /// Goes back to what the other side's RENEW says, so that all that has not arrived is sent again.
    pub(crate) fn resend(&mut self) {
        for stream in self.streams.values_mut() {
            stream.send.rewind();
        }
    }

    /// Goes on forwarding.
    pub(crate) fn forward(&mut self, now: Instant) {
        for kind in ServiceKind::ALL {
            self.lanes.of_mut(kind).forwarding = true;
        }
        let all: Vec<StreamId> = self.streams.keys().copied().collect();
        for id in all {
            self.queue(id);
            self.look_if_room(id);
        }
        self.arm_open_timer();
        self.forward_datagrams(now);
        self.maintain_spares();
        if let Some(link) = self.current {
            self.wake(link);
        }
    }

    /// Takes every stream off its conduits, which are about to end.
    pub(crate) fn take_off_conduits(&mut self) {
        self.take_off(ServiceKind::Server);
        self.take_off(ServiceKind::Client);
    }

    /// Takes the streams of one kind off their conduits.
    pub(crate) fn take_off(&mut self, kind: ServiceKind) {
        self.lanes.of_mut(kind).link = None;
        if ServiceKind::ALL
            .iter()
            .all(|kind| self.place_of(*kind).is_none())
        {
            self.current = None;
        }
        let of_kind = |id: StreamId| ServiceKind::opened_at(id.opener()) == kind;
        for conduit in self.conduits.values_mut() {
            conduit.ready.retain(|id| !of_kind(*id));
        }
        let all: Vec<StreamId> = self
            .streams
            .keys()
            .copied()
            .filter(|id| of_kind(*id))
            .collect();
        for id in all {
            self.deactivate(id);
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.place = None;
                stream.queued = false;
                stream.acknowledged_on = None;
                stream.leave_conduits();
            }
        }
    }

    /// Takes every stream off its place, but for what is under way there: conduits that are ended by their
    /// markers bring it to its end.
    pub(crate) fn leave_places(&mut self) {
        for conduit in self.conduits.values_mut() {
            conduit.ready.clear();
        }
        let all: Vec<StreamId> = self.streams.keys().copied().collect();
        for id in all {
            self.deactivate(id);
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.place = None;
                stream.queued = false;
            }
        }
    }

    /// All traffic goes on over another link at once, under a higher switch number. What is under way on the old
    /// one comes there, or is said again when its conduit ends.
    pub(crate) fn go_over(&mut self, link: ConduitId, number: u64, now: Instant) {
        let busy = self.active.len().min(MAX_CONDUITS);
        self.leave_places();
        self.resend_little();
        self.carry_on(link, number);
        // Not in the moment in which everybody wants to go over: handshakes are work.
        self.spares_deadline = (self.side == Side::Cnapt).then(|| now + SPARE_PAUSE);
        for kind in ServiceKind::ALL {
            self.give_place(kind, link);
        }
        self.forward(now);
        if self.side == Side::Cnapt {
            self.number_up_to(busy);
        }
    }

    /// The other side has gone over too. What it acknowledged on the old control channel, which no marker ends, may be
    /// lost with that: ends are told once more, and each earns a fresh answer.
    pub(crate) fn repeat_ends(&mut self) {
        let mut again = Vec::new();
        for stream in self.streams.values_mut() {
            if stream.send.repeat_end() {
                again.push(stream.id);
            }
        }
        for id in again {
            self.queue(id);
        }
    }

    /// Sends what has not arrived of a stream again, if it is little: it overtakes what is queued on the old link.
    pub(crate) fn resend_little(&mut self) {
        for stream in self.streams.values_mut() {
            if stream.send.unacknowledged() <= RESENT_AT_ONCE {
                stream.send.send_again();
            }
        }
    }

    /// Marks every conduit of a number lower than `number` as ending.
    pub(crate) fn mark_conduits(&mut self, number: u64) {
        let ending: Vec<ConduitId> = self.numbered_below(number).collect();
        for id in ending {
            if let Some(conduit) = self.conduits.get_mut(&id)
                && conduit.marker == Marker::None
            {
                conduit.marker = Marker::Due;
                self.wake(id);
            }
        }
    }

    /// Conduits of a number lower than `number`.
    pub(crate) fn numbered_below(&self, number: u64) -> impl Iterator<Item = ConduitId> + '_ {
        self.conduits
            .iter()
            .filter(move |(_, conduit)| conduit.number.is_some_and(|of| of < number))
            .map(|(id, _)| *id)
    }

    /// Those of them on which the other side's marker has come.
    pub(crate) fn marked_below(&self, number: u64) -> Vec<ConduitId> {
        let marked = |id: &ConduitId| self.conduits.get(id).is_some_and(|one| one.marker_arrived);
        self.numbered_below(number).filter(marked).collect()
    }

    /// Those of them on which the other side's marker has not come.
    pub(crate) fn unmarked_below(&self, number: u64) -> impl Iterator<Item = ConduitId> + '_ {
        let below = self.numbered_below(number);
        below.filter(|id| self.conduits.get(id).is_some_and(|one| !one.marker_arrived))
    }

    /// The pieces of RENEW: every stream in which anything moved under switch number `since` or a
    /// later one, those with unarrived bytes first.
    pub(crate) fn renew(&mut self, number: u64, since: u64) -> Vec<Frame> {
        let floor = self.floor();
        let mut streams: Vec<&mut Stream> = self
            .streams
            .values_mut()
            .filter(|stream| stream.moved >= since)
            .filter(|stream| !matches!(stream.opening, Opening::NotSent { .. }))
            .collect();
        streams.sort_by_key(|stream| !stream.has_unarrived());
        let entries: Vec<RenewEntry> = streams
            .into_iter()
            .map(|stream| stream.renew_entry())
            .collect();
        let mut pieces: Vec<Frame> = entries
            .chunks(RENEW_ENTRIES)
            .map(|piece| {
                Frame::Renew(Renew {
                    number,
                    floor,
                    last: false,
                    entries: piece.to_vec(),
                })
            })
            .collect();
        match pieces.last_mut() {
            Some(Frame::Renew(renew)) => renew.last = true,
            _ => pieces.push(Frame::Renew(Renew {
                number,
                floor,
                last: true,
                entries: Vec::new(),
            })),
        }
        pieces
    }

    /// Whoever has yet to learn of this session (`known` is false) speaks of streams that another one
    /// opened, under the same ids as this one's: that is skipped.
    pub(crate) fn handle_renew(
        &mut self,
        renew: &Renew,
        known: bool,
    ) -> Result<(), PeerMisbehaved> {
        self.seen.raise_floor(renew.floor);
        let known = known || self.bugs.has(Bug::RenewOfAnotherSession);
        let side = self.side;
        let ours = |entry: &&RenewEntry| known || entry.stream.opener() != side;
        for entry in renew.entries.iter().filter(ours) {
            let id = entry.stream;
            if let Some(end @ End::Abort { .. }) = entry.end {
                self.handle_end(id, end)?;
            }
            if !self.know(id)? {
                continue;
            }
            self.take_received(id, entry.arrived, entry.limit)?;
            if let Some(end @ End::Fin { .. }) = entry.end {
                self.take_end(id, end)?;
            }
            if let Some(code) = entry.stop {
                self.take_stop(id, code);
            }
            self.look_if_room(id);
            self.forget_if_over(id);
        }
        Ok(())
    }
}
