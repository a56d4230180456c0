//! The flows of one session, by id, and what happens to them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;

use super::Dropped;
use super::lane::FlowLanes;
use super::outgoing::{Outgoing, SESSION_BYTES};
use super::window::Window;
use crate::session::Output;
use crate::stream::{PeerMisbehaved, ServiceKind, ports_of};
use crate::wire::{CatalogueEntry, DATAGRAM_PAYLOAD_BYTES, Datagram, Request, TransportProtocol};
use crate::{FlowId, Instant, Side};

/// How many flows of one opener a session has; each is a descriptor at the acceptor. Beyond it the one that
/// was idle for longest ends.
pub const FLOWS: usize = 4096;

/// How long a flow lives on which nothing moves, if nobody says otherwise: what RFC 4787 REQ-5 demands of a NAT.
pub const DEFAULT_FLOW_IDLE: Duration = Duration::from_secs(120);

/// How much longer than the opener the acceptor keeps a flow: longer than a datagram may wait and travel, so
/// that whatever the opener sends still finds the flow and with it the port that the application knows.
const ACCEPTOR_KEEPS: Duration = Duration::from_secs(30);

/// What may wait for the socket to an application: its first datagrams, and one of the largest among them.
const AWAITING_BYTES: usize = 2 * DATAGRAM_PAYLOAD_BYTES;

/// Whose datagrams a flow carries, as the emulation socket sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Association {
    /// The address of the emulation socket.
    pub entrance: SocketAddr,
    /// The application's.
    pub application: SocketAddr,
}

/// How the application of a flow is reached here.
#[derive(Clone, Debug, Hash)]
enum Reached {
    /// It came by itself.
    By(Association),
    /// The socket to it is being made, and this waits for it.
    Awaited(Vec<Bytes>),
    /// By a socket of the flow's own.
    Connected,
}

#[derive(Clone, Debug, Hash)]
struct Flow {
    request: Request,
    reached: Reached,
    /// Of the next datagram that leaves.
    sequence: u64,
    window: Window,
    last_used: Instant,
}

/// All flows of one session at one side.
#[derive(Clone, Debug, Hash)]
pub struct Flows {
    side: Side,
    /// The ports of the services that the other side may open flows to, by name.
    services: BTreeMap<String, RangeInclusive<u16>>,
    flows: BTreeMap<FlowId, Flow>,
    associations: BTreeMap<Association, FlowId>,
    /// By kind of service and last use.
    by_use: [BTreeSet<(Instant, FlowId)>; 2],
    pub(crate) lanes: FlowLanes,
    outgoing: Outgoing,
    awaiting_bytes: usize,
    next_index: u64,
    /// Above every sequence of a flow that is over: one that the acceptor makes anew begins here, so that the
    /// opener takes nothing of it for late.
    next_sequence: u64,
    idle: Duration,
    peer_idle: Duration,
    last_sent: Option<Instant>,
    pub(crate) outputs: VecDeque<Output>,
    dropped: Dropped,
}

impl Flows {
    /// No flow yet. The other side may open some to those of `services` that are connectionless; `idle` is how
    /// long a flow lives on which nothing moves.
    pub fn new(side: Side, services: &[CatalogueEntry], idle: Duration) -> Self {
        Self {
            side,
            services: ports_of(services, TransportProtocol::Udp),
            flows: BTreeMap::new(),
            associations: BTreeMap::new(),
            by_use: [BTreeSet::new(), BTreeSet::new()],
            lanes: FlowLanes::default(),
            outgoing: Outgoing::default(),
            awaiting_bytes: 0,
            next_index: 0,
            next_sequence: 0,
            idle,
            peer_idle: idle,
            last_sent: None,
            outputs: VecDeque::new(),
            dropped: Dropped::default(),
        }
    }

    /// The other side may open flows to these services from now on; those that are open live on.
    pub(crate) fn set_services(&mut self, services: &[CatalogueEntry]) {
        self.services = ports_of(services, TransportProtocol::Udp);
    }

    // === The application's side ===

    /// An application sent a datagram to an emulation socket. Says which flow it belongs to.
    pub fn send(
        &mut self,
        association: Association,
        request: &Request,
        payload: Bytes,
        now: Instant,
    ) -> FlowId {
        let known = self.associations.get(&association).copied();
        let same = |id: &FlowId| {
            self.flows
                .get(id)
                .is_some_and(|flow| flow.request == *request)
        };
        let id = known
            .filter(same)
            .unwrap_or_else(|| self.open(association, request, now));
        self.push(id, payload, now);
        id
    }

    fn open(&mut self, association: Association, request: &Request, now: Instant) -> FlowId {
        // The port serves another service now.
        if let Some(old) = self.associations.get(&association).copied() {
            self.end(old);
        }
        let id = FlowId::new(self.side, self.next_index);
        self.next_index += 1;
        self.insert(id, request, Reached::By(association), now);
        self.associations.insert(association, id);
        id
    }

    /// The application that a flow was made for sent a datagram.
    pub fn answer(&mut self, id: FlowId, payload: Bytes, now: Instant) {
        if self.flows.contains_key(&id) {
            self.push(id, payload, now);
        }
    }

    fn push(&mut self, id: FlowId, payload: Bytes, now: Instant) {
        self.note_use(id, now);
        // IPv6 packets hold a little more.
        if payload.len() > DATAGRAM_PAYLOAD_BYTES {
            self.dropped.too_large += 1;
            return;
        }
        self.outgoing.push(id, payload, now, &mut self.dropped);
    }

    /// The socket to the application is there.
    pub fn connected(&mut self, id: FlowId) {
        if let Some(flow) = self.flows.get_mut(&id)
            && let Reached::Awaited(waiting) = &mut flow.reached
        {
            let waiting = std::mem::take(waiting);
            flow.reached = Reached::Connected;
            for payload in waiting {
                self.awaiting_bytes -= payload.len();
                self.outputs
                    .push_back(Output::Deliver { flow: id, payload });
            }
        }
    }

    /// Whether the socket to the application that `request` asks for is still to be made for this flow.
    pub fn awaits(&self, id: FlowId, request: &Request) -> bool {
        let awaited = |flow: &&Flow| matches!(flow.reached, Reached::Awaited(_));
        let flow = self.flows.get(&id).filter(awaited);
        flow.is_some_and(|flow| flow.request == *request)
    }

    /// The emulation socket at this address is closed: nothing comes by it any more.
    pub fn close_entrance(&mut self, entrance: SocketAddr) {
        let by_it = self.associations.iter();
        let by_it = by_it.filter(|(association, _)| association.entrance == entrance);
        let over: Vec<FlowId> = by_it.map(|(_, flow)| *flow).collect();
        for flow in over {
            self.end(flow);
        }
    }

    /// It cannot be made: the flow is over. The next datagram tries again.
    pub fn unreachable(&mut self, id: FlowId) {
        self.end(id);
    }

    /// So many datagrams were not taken by their applications' sockets.
    pub const fn undelivered(&mut self, count: u64) {
        self.dropped.undelivered += count;
    }

    // === The conduits' side ===

    /// A datagram came.
    pub(crate) fn accept(
        &mut self,
        datagram: &Datagram,
        now: Instant,
    ) -> Result<(), PeerMisbehaved> {
        let id = datagram.flow;
        if !self.flows.contains_key(&id) && !self.accept_flow(datagram, now)? {
            return Ok(());
        }
        self.note_use(id, now);
        let Some(flow) = self.flows.get_mut(&id) else {
            return Ok(());
        };
        if !flow.window.admit(datagram.sequence) {
            self.dropped.repeated += 1;
            return Ok(());
        }
        let payload = datagram.payload.clone();
        match &mut flow.reached {
            Reached::By(_) | Reached::Connected => self
                .outputs
                .push_back(Output::Deliver { flow: id, payload }),
            Reached::Awaited(waiting) => {
                let held = waiting.iter().map(Bytes::len).sum::<usize>() + payload.len();
                if held > AWAITING_BYTES || self.awaiting_bytes + payload.len() > SESSION_BYTES {
                    self.dropped.undelivered += 1;
                } else {
                    self.awaiting_bytes += payload.len();
                    waiting.push(payload);
                }
            }
        }
        Ok(())
    }

    /// A datagram of a flow that is not here. Says whether it is now.
    fn accept_flow(&mut self, datagram: &Datagram, now: Instant) -> Result<bool, PeerMisbehaved> {
        let (id, request) = (datagram.flow, &datagram.request);
        if id.opener() == self.side {
            if id.index() >= self.next_index {
                return Err(PeerMisbehaved::NeverOpened);
            }
            self.dropped.late += 1;
            return Ok(false);
        }
        let ports = self.services.get(&request.service);
        if ports.is_none_or(|ports| !ports.contains(&request.port)) {
            self.dropped.unknown += 1;
            return Ok(false);
        }
        self.insert(id, request, Reached::Awaited(Vec::new()), now);
        self.outputs.push_back(Output::ConnectFlow {
            flow: id,
            request: request.clone(),
        });
        Ok(true)
    }

    /// The next datagram of the flows that `may` be sent.
    pub(super) fn next(&mut self, may: impl Fn(FlowId) -> bool, now: Instant) -> Option<Datagram> {
        let (id, payload) = self.outgoing.next(may, now, &mut self.dropped)?;
        let flow = self.flows.get_mut(&id)?;
        let sequence = flow.sequence;
        flow.sequence += 1;
        self.last_sent = Some(now);
        Some(Datagram {
            flow: id,
            sequence,
            request: flow.request.clone(),
            payload,
        })
    }

    /// Whether a flow that `may` be sent has something.
    pub(super) fn has_work(&self, may: impl Fn(FlowId) -> bool) -> bool {
        self.outgoing.has_work(may)
    }

    /// Whether something waits to be sent.
    pub(crate) fn waits(&self) -> bool {
        self.has_work(|_| true)
    }

    // === The life of a flow ===

    fn insert(&mut self, id: FlowId, request: &Request, reached: Reached, now: Instant) {
        let kind = id.kind();
        if self.by_use[kind as usize].len() >= FLOWS {
            self.end_idlest(kind);
        }
        self.by_use[kind as usize].insert((now, id));
        let flow = Flow {
            request: request.clone(),
            reached,
            sequence: self.next_sequence,
            window: Window::default(),
            last_used: now,
        };
        self.flows.insert(id, flow);
    }

    fn note_use(&mut self, id: FlowId, now: Instant) {
        if let Some(flow) = self.flows.get_mut(&id) {
            let before = std::mem::replace(&mut flow.last_used, now);
            let by_use = &mut self.by_use[id.kind() as usize];
            by_use.remove(&(before, id));
            by_use.insert((now, id));
        }
    }

    fn end(&mut self, id: FlowId) {
        let Some(flow) = self.flows.remove(&id) else {
            return;
        };
        self.by_use[id.kind() as usize].remove(&(flow.last_used, id));
        self.outgoing.forget(id);
        self.next_sequence = self.next_sequence.max(flow.sequence);
        match flow.reached {
            Reached::By(association) => {
                self.associations.remove(&association);
            }
            Reached::Awaited(waiting) => {
                self.awaiting_bytes -= waiting.iter().map(Bytes::len).sum::<usize>();
            }
            Reached::Connected => {}
        }
        self.outputs.push_back(Output::EndFlow(id));
    }

    /// When the first of the flows of `kind` has been idle for its time.
    pub(super) fn idle_deadline(&self, kind: ServiceKind) -> Option<Instant> {
        let idle = if kind == ServiceKind::opened_at(self.side) {
            self.idle
        } else {
            self.idle.max(self.peer_idle) + ACCEPTOR_KEEPS
        };
        let idlest = self.by_use[kind as usize].first();
        idlest.map(|(used, _)| *used + idle)
    }

    /// The flow of `kind` that was idle for longest is over.
    pub(super) fn end_idlest(&mut self, kind: ServiceKind) {
        if let Some((_, idlest)) = self.by_use[kind as usize].first().copied() {
            self.end(idlest);
        }
    }

    /// The flows of `kind` may be sent again after a time in which none expired: each has its full time anew.
    pub(super) fn begin_idle_times(&mut self, kind: ServiceKind, now: Instant) {
        let by_use = &mut self.by_use[kind as usize];
        by_use.clear();
        for (id, flow) in &mut self.flows {
            if id.kind() == kind {
                flow.last_used = now;
                by_use.insert((now, *id));
            }
        }
    }

    /// How long the other side keeps a flow on which nothing moves.
    pub(crate) const fn set_peer_idle(&mut self, idle: Duration) {
        self.peer_idle = idle;
    }

    /// How long this side does; before the first flow.
    pub const fn set_idle(&mut self, idle: Duration) {
        self.idle = idle;
        self.peer_idle = idle;
    }

    /// How long this side does.
    pub(crate) const fn idle(&self) -> Duration {
        self.idle
    }

    /// The other side knows of no flow any more. Those that it opened end; those that were opened here go on,
    /// and what it numbers from now on is new.
    pub(crate) fn lose_session(&mut self) {
        let accepted = ServiceKind::opened_at(self.side.other());
        while !self.by_use[accepted as usize].is_empty() {
            self.end_idlest(accepted);
        }
        for flow in self.flows.values_mut() {
            flow.window = Window::default();
        }
    }

    // === Figures ===

    /// How many flows there are.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether there is this one.
    pub fn contains(&self, id: FlowId) -> bool {
        self.flows.contains_key(&id)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// When a datagram was last given to a conduit: a link on which nothing comes after it may be dead.
    pub(crate) const fn last_sent(&self) -> Option<Instant> {
        self.last_sent
    }

    /// Bytes that wait, for a conduit or for the socket to an application.
    pub const fn buffered(&self) -> usize {
        self.outgoing.bytes() + self.awaiting_bytes
    }

    /// What came to nothing here.
    pub const fn dropped(&self) -> Dropped {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn local(port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    fn by(port: u16) -> Association {
        Association {
            entrance: local(53),
            application: local(port),
        }
    }

    fn request(port: u16) -> Request {
        Request {
            service: "dns".to_owned(),
            port: 53,
            origin: local(port),
        }
    }

    fn services() -> Vec<CatalogueEntry> {
        vec![CatalogueEntry {
            name: "dns".to_owned(),
            protocol: TransportProtocol::Udp,
            ports: 53..=53,
        }]
    }

    fn cnapt() -> Flows {
        Flows::new(Side::Cnapt, &[], DEFAULT_FLOW_IDLE)
    }

    fn snapt() -> Flows {
        Flows::new(Side::Snapt, &services(), DEFAULT_FLOW_IDLE)
    }

    fn send(flows: &mut Flows, port: u16, payload: &'static [u8], now: Instant) -> FlowId {
        flows.send(by(port), &request(port), Bytes::from_static(payload), now)
    }

    /// Takes all that waits on one side to the other.
    fn carry(from: &mut Flows, to: &mut Flows, now: Instant) {
        while let Some(datagram) = from.next(|_| true, now) {
            to.accept(&datagram, now).expect("no rule was broken");
        }
    }

    /// What the shell would do for the applications, by flow; sockets are made at once.
    fn deliveries(flows: &mut Flows) -> Vec<(FlowId, Bytes)> {
        let mut delivered = Vec::new();
        while let Some(output) = flows.outputs.pop_front() {
            if let Output::ConnectFlow { flow, .. } = output {
                flows.connected(flow);
            } else if let Output::Deliver { flow, payload } = output {
                delivered.push((flow, payload));
            }
        }
        delivered
    }

    #[test]
    fn any_datagram_makes_its_flow_and_answers_come_back_to_it() {
        let (mut client, mut server, now) = (cnapt(), snapt(), Instant::default());
        let flow = send(&mut client, 1000, b"lost", now);
        assert!(client.next(|_| true, now).is_some(), "the network loses it");
        assert_eq!(send(&mut client, 1000, b"asked", now), flow);
        assert_ne!(send(&mut client, 1001, b"another", now), flow);
        carry(&mut client, &mut server, now);
        let there = deliveries(&mut server);
        assert_eq!(there[0], (flow, Bytes::from_static(b"asked")));
        assert_eq!(there.len(), 2);
        server.answer(flow, Bytes::from_static(b"answer"), now);
        carry(&mut server, &mut client, now);
        let here = deliveries(&mut client);
        assert_eq!(here, [(flow, Bytes::from_static(b"answer"))]);
    }

    #[test]
    fn what_comes_twice_is_delivered_once() {
        let (mut client, mut server, now) = (cnapt(), snapt(), Instant::default());
        send(&mut client, 1000, b"once", now);
        let datagram = client.next(|_| true, now).expect("it was sent");
        for _ in 0..3 {
            server.accept(&datagram, now).expect("no rule was broken");
        }
        assert_eq!(deliveries(&mut server).len(), 1);
        assert_eq!(server.dropped().repeated, 2);
    }

    #[test]
    fn a_datagram_for_a_service_or_a_port_that_there_is_not_makes_no_flow() {
        let (mut client, mut server, now) = (cnapt(), snapt(), Instant::default());
        let elsewhere = Request {
            port: 54,
            ..request(1000)
        };
        client.send(by(1000), &elsewhere, Bytes::new(), now);
        carry(&mut client, &mut server, now);
        assert!(server.is_empty());
        assert_eq!(server.dropped().unknown, 1);
        assert!(server.outputs.is_empty());
    }

    #[test]
    fn a_socket_that_was_made_for_another_process_is_not_awaited() {
        let (mut client, mut server, now) = (cnapt(), snapt(), Instant::default());
        let flow = send(&mut client, 1000, b"", now);
        carry(&mut client, &mut server, now);
        server.lose_session();
        let mut restarted = cnapt();
        assert_eq!(send(&mut restarted, 1001, b"", now), flow);
        carry(&mut restarted, &mut server, now);
        assert!(!server.awaits(flow, &request(1000)));
        assert!(server.awaits(flow, &request(1001)));
        server.connected(flow);
        assert!(!server.awaits(flow, &request(1001)));
    }

    #[test]
    fn flows_end_with_the_emulation_socket_that_they_came_by() {
        let (mut client, now) = (cnapt(), Instant::default());
        let flow = send(&mut client, 1000, b"", now);
        let elsewhere = Association {
            entrance: local(54),
            ..by(1000)
        };
        let other = client.send(elsewhere, &request(1000), Bytes::new(), now);
        client.close_entrance(local(53));
        assert!(!client.contains(flow) && client.contains(other));
        let ended = client.outputs.pop_front();
        assert!(matches!(ended, Some(Output::EndFlow(id)) if id == flow));
    }

    #[test]
    fn what_waits_for_a_socket_is_bounded_and_comes_in_order() {
        let (mut client, mut server, now) = (cnapt(), snapt(), Instant::default());
        let large = Bytes::from(vec![1; DATAGRAM_PAYLOAD_BYTES]);
        for _ in 0..3 {
            client.send(by(1000), &request(1000), large.clone(), now);
        }
        carry(&mut client, &mut server, now);
        assert_eq!(server.dropped().undelivered, 1);
        assert_eq!(server.buffered(), AWAITING_BYTES);
        assert_eq!(deliveries(&mut server).len(), 2);
        assert_eq!(server.buffered(), 0);
    }

    #[test]
    fn the_flow_that_was_idle_for_longest_makes_room() {
        let (mut client, start) = (cnapt(), Instant::default());
        let first = send(&mut client, 1, b"", start);
        let second = send(&mut client, 2, b"", start + Duration::from_secs(1));
        send(&mut client, 1, b"", start + Duration::from_secs(2));
        for port in 3..=FLOWS as u16 {
            send(&mut client, port, b"", start + Duration::from_secs(3));
        }
        assert_eq!(client.len(), FLOWS);
        send(&mut client, 60_000, b"", start + Duration::from_secs(4));
        assert_eq!(client.len(), FLOWS);
        assert!(client.flows.contains_key(&first));
        assert!(!client.flows.contains_key(&second));
    }

    #[test]
    fn the_acceptor_keeps_a_flow_for_longer_than_any_opener() {
        let (mut client, mut server, now) = (cnapt(), snapt(), Instant::default());
        let longest = 2 * DEFAULT_FLOW_IDLE;
        client.idle = longest;
        server.set_peer_idle(longest);
        send(&mut client, 1000, b"", now);
        carry(&mut client, &mut server, now);
        let kind = ServiceKind::Server;
        assert_eq!(client.idle_deadline(kind), Some(now + longest));
        assert_eq!(
            server.idle_deadline(kind),
            Some(now + longest + ACCEPTOR_KEEPS)
        );
    }

    #[test]
    fn no_flow_expires_while_it_may_not_be_sent_and_then_each_has_its_full_time() {
        let (mut client, start) = (cnapt(), Instant::default());
        let flow = send(&mut client, 1000, b"", start);
        let much_later = start + 100 * DEFAULT_FLOW_IDLE;
        client.handle_timeout(much_later);
        assert_eq!(send(&mut client, 1000, b"", start), flow);
        client.lanes.go_on();
        client.begin_idle_times(ServiceKind::Server, much_later);
        client.handle_timeout(much_later + DEFAULT_FLOW_IDLE / 2);
        assert_eq!(client.len(), 1);
        client.handle_timeout(much_later + DEFAULT_FLOW_IDLE);
        assert!(client.is_empty());
        assert_eq!(client.buffered(), 0);
    }

    #[test]
    fn the_opener_takes_nothing_for_late_of_a_flow_that_the_acceptor_made_anew() {
        let (mut client, mut server, now) = (cnapt(), snapt(), Instant::default());
        let flow = send(&mut client, 1000, b"", now);
        carry(&mut client, &mut server, now);
        for _ in 0..3 {
            server.answer(flow, Bytes::new(), now);
        }
        carry(&mut server, &mut client, now);
        server.end_idlest(ServiceKind::Server);
        send(&mut client, 1000, b"", now);
        carry(&mut client, &mut server, now);
        server.answer(flow, Bytes::from_static(b"anew"), now);
        carry(&mut server, &mut client, now);
        let last = deliveries(&mut client).pop();
        assert_eq!(last, Some((flow, Bytes::from_static(b"anew"))));
        assert_eq!(client.dropped().repeated, 0);
    }

    #[test]
    fn with_the_session_what_the_other_side_opened_ends_and_the_rest_goes_on() {
        let (mut client, mut server, now) = (cnapt(), snapt(), Instant::default());
        let flow = send(&mut client, 1000, b"", now);
        carry(&mut client, &mut server, now);
        server.answer(flow, Bytes::new(), now);
        carry(&mut server, &mut client, now);
        client.lose_session();
        server.lose_session();
        assert_eq!((client.len(), server.len()), (1, 0));
        let mut fresh = snapt();
        send(&mut client, 1000, b"", now);
        carry(&mut client, &mut fresh, now);
        fresh.answer(flow, Bytes::from_static(b"new"), now);
        carry(&mut fresh, &mut client, now);
        let last = deliveries(&mut client).pop();
        assert_eq!(last, Some((flow, Bytes::from_static(b"new"))));
    }

    #[test]
    fn an_answer_to_a_flow_that_never_was_is_a_breach_and_to_one_that_is_over_is_not() {
        let (mut client, mut server, now) = (cnapt(), snapt(), Instant::default());
        let flow = send(&mut client, 1000, b"", now);
        carry(&mut client, &mut server, now);
        server.answer(flow, Bytes::new(), now);
        let mut answer = server.next(|_| true, now).expect("an answer");
        client.end_idlest(ServiceKind::Server);
        assert_eq!(client.accept(&answer, now), Ok(()));
        assert_eq!(client.dropped().late, 1);
        answer.flow = FlowId::new(Side::Cnapt, 1);
        let breach = Err(PeerMisbehaved::NeverOpened);
        assert_eq!(client.accept(&answer, now), breach);
    }
}
