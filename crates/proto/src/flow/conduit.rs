//! How datagrams travel: on one conduit of the link that is theirs alone.
//!
//! The CNAPT numbers it with USE before anything needs it, so that no first datagram waits for a handshake, and
//! numbers another when it is lost. It is marked, counted and ended like every numbered conduit. So a planned
//! switch loses nothing that was handed to it. No stream shares it: a datagram waits behind no bulk transfer, and
//! what the kernel's buffer does not take is dropped by age, here, instead of arriving late.

use bytes::Bytes;

use super::{Association, Flows};
use crate::session::Timer;
use crate::stream::{
    BATCH_BYTES, Conduit, PeerMisbehaved, SPARE_PAUSE, ServiceKind, Streams, Transmit,
};
use crate::wire::{Datagram, Frame, Purpose, Request};
use crate::{ConduitId, FlowId, Instant, Side};

impl Streams {
    /// The flows.
    pub const fn flows(&self) -> &Flows {
        &self.flows
    }

    /// The flows, for what sends nothing.
    pub const fn flows_mut(&mut self) -> &mut Flows {
        &mut self.flows
    }

    /// An application sent a datagram to an emulation socket. Says which flow it belongs to.
    //= docs/spec/planned.md#cnapt-05
    //= docs/spec/planned.md#snapt-05
    //= docs/spec/unexpected.md#cnapt-star-05
    //= docs/spec/unexpected.md#snapt-star-05
    pub fn send_datagram(
        &mut self,
        association: Association,
        request: &Request,
        payload: Bytes,
        now: Instant,
    ) -> FlowId {
        let flow = self.flows.send(association, request, payload, now);
        self.carry_datagrams();
        flow
    }

    /// The application that a flow was made for sent a datagram.
    pub fn answer_datagram(&mut self, flow: FlowId, payload: Bytes, now: Instant) {
        self.flows.answer(flow, payload, now);
        self.carry_datagrams();
    }

    /// A datagram came by `conduit`.
    pub(crate) fn handle_datagram(
        &mut self,
        conduit: ConduitId,
        datagram: &Datagram,
        now: Instant,
    ) -> Result<(), PeerMisbehaved> {
        match self.conduits.get(&conduit).map(|one| one.purpose) {
            Some(Purpose::Datagrams) => self.flows.accept(datagram, now),
            Some(Purpose::Streams) => Err(PeerMisbehaved::NotAllowed(
                "a datagram on a conduit that is not for datagrams",
            )),
            None => Ok(()),
        }
    }

    /// Whether `conduit` is the one for datagrams.
    pub fn is_for_datagrams(&self, conduit: ConduitId) -> bool {
        let state = self.conduits.get(&conduit);
        state.is_some_and(|one| one.purpose == Purpose::Datagrams)
    }

    /// Which flows may send on `conduit` now, if any may: then nobody need look at all that wait.
    fn may_send(&self, conduit: ConduitId) -> Option<impl Fn(FlowId) -> bool + use<>> {
        (self.conduits.get(&conduit)).filter(|one| one.purpose == Purpose::Datagrams)?;
        let may = ServiceKind::ALL.map(|kind| {
            let lane = self.flows.lanes.of(kind);
            lane.forwarding && self.carries(conduit, lane.link)
        });
        (may.contains(&true)).then_some(move |flow: FlowId| may[flow.kind() as usize])
    }

    /// What `conduit` is to send next of the flows, a batch at most.
    pub(crate) fn transmit_datagrams(
        &mut self,
        conduit: ConduitId,
        now: Instant,
        out: &mut Transmit,
    ) {
        let Some(may) = self.may_send(conduit) else {
            return;
        };
        while out.remaining() < BATCH_BYTES
            && let Some(datagram) = self.flows.next(&may, now)
        {
            out.push_datagram(datagram);
        }
    }

    /// If anything waits that may be sent, its conduit is told.
    pub(crate) fn carry_datagrams(&mut self) {
        let has_work =
            |one: &&ConduitId| (self.may_send(**one)).is_some_and(|may| self.flows.has_work(may));
        if let Some(conduit) = self.conduits.keys().find(has_work).copied() {
            self.wake(conduit);
        }
    }

    /// Either side offers a connectionless service.
    pub(crate) fn expect_datagrams(&mut self) {
        self.expects_datagrams = true;
        self.number_for_datagrams();
        self.maintain_spares();
    }

    /// Whether the current link should have a conduit for datagrams, and has none.
    pub(crate) fn lacks_datagram_conduit(&self) -> bool {
        let usable = |(id, one): (&ConduitId, &Conduit)| {
            one.purpose == Purpose::Datagrams && self.carries(*id, self.current)
        };
        self.side == Side::Cnapt
            && self.expects_datagrams
            && self.forwards()
            && !self.conduits.iter().any(usable)
    }

    /// Makes a spare the conduit for datagrams, if there is none and a spare is there.
    pub(crate) fn number_for_datagrams(&mut self) {
        if !self.lacks_datagram_conduit() {
            return;
        }
        let spare = (self.conduits.iter())
            .find(|(id, one)| Some(**id) != self.current && self.is_spare_of(self.current, one));
        let Some(spare) = spare.map(|(id, _)| *id) else {
            return;
        };
        let (number, purpose) = (self.number, Purpose::Datagrams);
        if let Some(conduit) = self.conduits.get_mut(&spare) {
            conduit.number = Some(number);
            conduit.purpose = purpose;
        }
        self.push_frame(spare, Frame::Use { number, purpose });
        self.maintain_spares();
    }

    /// If there is none and none is under way, another attempt follows after a pause: whoever has a datagram, on
    /// either side, waits for it, and asks for nothing.
    pub(crate) fn retry_datagram_conduit(&mut self, now: Instant) {
        let dialling = self.current.map_or(0, |current| self.dialling(current));
        if self.lacks_datagram_conduit() && dialling == 0 {
            self.spares_deadline.get_or_insert(now + SPARE_PAUSE);
        }
    }

    // === The session's side ===

    /// Flows go on (CNAPT-34, SNAPT-23 and their starred kin).
    pub(crate) fn forward_datagrams(&mut self, now: Instant) {
        self.flows.lanes.go_on();
        for kind in ServiceKind::ALL {
            self.flows.begin_idle_times(kind, now);
        }
        self.number_for_datagrams();
        self.carry_datagrams();
    }

    /// The link by which the flows of this kind are sent, by its control conduit.
    pub const fn flow_place_of(&self, kind: ServiceKind) -> Option<ConduitId> {
        self.flows.lanes.of(kind).link
    }

    /// Whether flows may send.
    pub fn flows_forward(&self) -> bool {
        (ServiceKind::ALL.iter()).any(|kind| self.flows.lanes.of(*kind).forwarding)
    }
}

impl Flows {
    /// When a flow has been idle for its time. None expires while it may not be sent.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let expire = |kind: &&ServiceKind| self.lanes.of(**kind).forwarding;
        let deadlines = ServiceKind::ALL.iter().filter(expire);
        deadlines.filter_map(|kind| self.idle_deadline(*kind)).min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while self.next_timeout().is_some_and(|deadline| deadline <= now) {
            self.handle_timer();
        }
    }

    /// The flow that has been idle for its time is over.
    pub(crate) fn handle_timer(&mut self) {
        let expire = |kind: &ServiceKind| self.lanes.of(*kind).forwarding;
        let due = (ServiceKind::ALL.into_iter().filter(expire))
            .filter_map(|kind| Some((self.idle_deadline(kind)?, kind)))
            .min();
        if let Some((_, kind)) = due {
            self.end_idlest(kind);
        }
    }

    pub(crate) fn armed_timer(&self) -> Option<Timer> {
        self.next_timeout().map(|_| Timer::FlowIdle)
    }
}
