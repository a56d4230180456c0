//! The SNAPT's session machine, one for each CNAPT ID: SNAPT-1..23 and SNAPT-0*..16*.
//!
//! It follows the CNAPT's numbered orders. A link belongs to the instance that its HELLO names; a new
//! instance takes the session over with its first switch message, and until then its conduits are
//! only held.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;

mod overlap;
mod stall;

use super::cnapt::{to_micros, trail_from_start};
use super::link::Link;
use super::timer::Timers;
use super::{Close, Event, Output, Procedure, Timer, bound};
use crate::bug::Bug;
use crate::step::{Step, StepTrail};
use crate::stream::{CreditPool, PeerMisbehaved, STREAMS, ServiceKind, Streams};
use crate::wire::{
    Attach, Attached, CatalogueEntry, Frame, Hello, Layer, Move, OfferedService, OldLink, Purpose,
    RefusedCode, Renew, Role, Trail, VERSION,
};
use crate::{CnaptId, ConduitId, Instance, Instant, LinkNumber, Side};

/// What the machine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SnaptPhase {
    /// The first switch message of its CNAPT.
    New,
    /// The session runs.
    Attached,
    /// SNAPT-10: the CNAPT's markers.
    AwaitMarkers,
    /// SNAPT-12: CLIENT_SERVICES_READY_FOR_REDIRECTION.
    AwaitClientServices,
    /// SNAPT-16: SWITCH_STEP2.
    AwaitStep2,
    /// SNAPT-20, SNAPT-12*: the CNAPT's RENEW.
    AwaitRenewal(Procedure),
    /// SNAPT-0*: SWITCH_UNEXPECTED, at most for the switch timeout.
    AwaitUnexpected,
    /// SNAPT-4+: the CNAPT's markers on the old link, while the new one carries.
    AwaitDrained,
    /// Over: by the switch timeout, or because the CNAPT left.
    Released,
}

/// What a session is made with.
#[derive(Clone, Debug, Hash)]
pub struct SnaptOptions {
    /// The CNAPT that it belongs to.
    pub cnapt: CnaptId,
    /// This process.
    pub instance: Instance,
    /// The session's name.
    pub session: u64,
    /// Where the CNAPT's client services are offered.
    pub virtual_ip: IpAddr,
    /// The server services.
    pub services: Vec<CatalogueEntry>,
    /// How long a silent CNAPT's session is kept (R13).
    pub switch_timeout: Duration,
    /// How long a flow lives on which nothing moves.
    pub flow_idle: Duration,
}

#[derive(Clone, Debug, Hash)]
struct SnaptLink {
    link: Link,
    instance: Instance,
    /// What ATTACH said: the credit that a stream begins with, and how many streams are taken.
    limits: (u32, u32),
    /// How long a flow lives there on which nothing moves.
    flow_idle: Duration,
    /// And the client services.
    services: Vec<CatalogueEntry>,
    /// And that its streams are those of this session; or it has learnt so since.
    knows_session: bool,
    proof: Proof,
}

/// Whether the process behind a link has shown that it lives, before it takes the session from another.
#[derive(Clone, Debug, Hash)]
enum Proof {
    /// Nobody has asked.
    Unasked,
    /// This probe has to be answered; what came in the meantime waits.
    Awaited {
        token: u64,
        waiting: Vec<Frame>,
    },
    Given,
}

#[derive(Clone, Debug, Hash)]
struct Held {
    hello: Hello,
    since: Instant,
}

/// The session of one CNAPT at the server.
#[derive(Clone, Debug, Hash)]
pub struct Snapt {
    options: SnaptOptions,
    /// The CNAPT instance that the streams belong to.
    cnapt: Option<Instance>,
    /// Instances that lost the session to another: what they still send means nothing.
    superseded: VecDeque<Instance>,
    phase: SnaptPhase,
    streams: Streams,
    /// By control conduit.
    links: BTreeMap<ConduitId, SnaptLink>,
    held: BTreeMap<ConduitId, Held>,
    /// The highest switch number that was followed.
    number: u64,
    /// The last switch after which the CNAPT showed that it had our RENEW.
    renewed: u64,
    /// The last switch for which our RENEW was sent.
    renewing: u64,
    /// The link that the current switch message came by.
    moving_to: Option<ConduitId>,
    /// The link that an overlapped switch has left.
    left: Option<ConduitId>,
    /// The CNAPT was told that nothing comes by the link that carries.
    stalled: bool,
    markers: usize,
    markers_expected: usize,
    complete: bool,
    timers: Timers,
    trail: StepTrail,
    /// The CNAPT's steps in the last switch, until ours are complete too.
    peer_trail: Option<Trail>,
    /// The client services that the shell listens for.
    services: Vec<CatalogueEntry>,
    /// What has become of them; none until the shell has said so.
    offered: Option<Vec<OfferedService>>,
}

impl Snapt {
    /// A session that no link has joined yet.
    pub fn new(options: SnaptOptions, pool: CreditPool) -> Self {
        let streams = fresh_streams(&options, &pool);
        Self {
            options,
            cnapt: None,
            superseded: VecDeque::new(),
            phase: SnaptPhase::New,
            streams,
            links: BTreeMap::new(),
            held: BTreeMap::new(),
            number: 0,
            renewed: 0,
            renewing: 0,
            moving_to: None,
            left: None,
            stalled: false,
            markers: 0,
            markers_expected: 0,
            complete: false,
            timers: Timers::default(),
            trail: StepTrail::default(),
            peer_trail: None,
            services: Vec::new(),
            offered: None,
        }
    }

    // === What can be asked ===

    /// What it waits for.
    pub const fn phase(&self) -> SnaptPhase {
        self.phase
    }

    /// The streams.
    pub const fn streams(&self) -> &Streams {
        &self.streams
    }

    /// The streams, for conduit and application tasks.
    pub const fn streams_mut(&mut self) -> &mut Streams {
        &mut self.streams
    }

    /// The steps of the last switch.
    pub const fn trail(&self) -> &StepTrail {
        &self.trail
    }

    /// The control conduit of the link that carries.
    pub const fn current_link(&self) -> Option<ConduitId> {
        self.streams.current
    }

    /// Whether this is the control conduit of a link of the CNAPT.
    pub fn has_link(&self, control: ConduitId) -> bool {
        self.links.contains_key(&control)
    }

    /// Whether nothing is read from this conduit for now: its link has not attached, or its instance
    /// has not taken over.
    pub fn is_held(&self, conduit: ConduitId) -> bool {
        self.held.contains_key(&conduit)
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.streams.poll_output()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Instant> {
        [
            self.timers.next(),
            self.streams.next_timeout(),
            self.stall_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The timers that run, for a model that fires any of them.
    pub fn armed_timers(&self) -> Vec<Timer> {
        let streams = self.streams.armed_timers();
        let stall = self.stall_deadline().map(|_| Timer::Stall);
        self.timers.armed().chain(stall).chain(streams).collect()
    }

    // === What the administrator changes ===

    /// The server services are these from now on. The CNAPT is told at once; streams that are open live
    /// on, those of a service that is gone too.
    pub fn set_services(&mut self, services: Vec<CatalogueEntry>) {
        self.streams.set_services(&services);
        self.options.services = services;
        let attached = self.links.iter().filter(|(_, one)| one.link.attached);
        let attached: Vec<ConduitId> = attached.map(|(control, _)| *control).collect();
        for control in attached {
            let frame = Frame::Attached(self.attached());
            self.streams.push_frame(control, frame);
        }
    }

    /// The session is over. With `refused` the CNAPT is told why, and does not come back at once.
    pub fn end(&mut self, refused: Option<RefusedCode>) {
        if self.phase == SnaptPhase::Released {
            return;
        }
        if let Some(code) = refused {
            for control in self.links.keys() {
                self.streams.push_frame(*control, Frame::Refused { code });
            }
        }
        self.release(false);
    }

    // === The shell's reports ===

    /// A conduit of this CNAPT is there, and its first frame. After the session's end it is closed: the CNAPT
    /// comes again, to the session that follows.
    pub fn conduit_arrived(&mut self, conduit: ConduitId, hello: Hello, now: Instant) {
        if self.phase == SnaptPhase::Released {
            self.drop_held(conduit);
            return;
        }
        if hello.oldest > VERSION || hello.newest < VERSION {
            self.streams.add_conduit(conduit, conduit);
            self.refuse(conduit, RefusedCode::Version);
            return;
        }
        if self.superseded.contains(&hello.instance) {
            self.streams.add_conduit(conduit, conduit);
            self.refuse(conduit, RefusedCode::Superseded);
            return;
        }
        match hello.role {
            Role::Control => {
                self.streams.add_conduit(conduit, conduit);
                let link = Link::new(hello.link, now);
                self.links.insert(
                    conduit,
                    SnaptLink {
                        link,
                        instance: hello.instance,
                        limits: (self.streams.initial_limit(), STREAMS),
                        flow_idle: self.streams.flows.idle(),
                        services: Vec::new(),
                        knows_session: false,
                        proof: Proof::Unasked,
                    },
                );
                self.greet(conduit, hello);
                self.bound_conduits();
            }
            Role::Conduit => {
                self.held.insert(conduit, Held { hello, since: now });
                self.accept_held();
                self.bound_held();
            }
        }
    }

    /// Takes in the held conduits whose link is attached and whose instance has the session.
    fn accept_held(&mut self) {
        let ready: Vec<(ConduitId, ConduitId)> = self
            .held
            .iter()
            .filter_map(|(id, held)| Some((*id, self.link_of(&held.hello)?)))
            .collect();
        for (conduit, link) in ready {
            if let Some(held) = self.held.remove(&conduit) {
                self.streams.add_conduit(conduit, link);
                self.greet(conduit, held.hello);
            }
        }
        self.bound_conduits();
    }

    /// Beyond the bound the oldest goes: of a link that does not carry, else a spare, else any but a control
    /// channel that is needed. So nobody can take the descriptors of all other clients.
    fn bound_conduits(&mut self) {
        while self.streams.conduits.len() > bound::CONDUITS {
            let needed = [self.streams.current, self.moving_to];
            let others = self.streams.conduits.iter();
            let oldest = others
                .filter(|(id, _)| !needed.contains(&Some(**id)))
                .min_by_key(|(id, one)| (needed.contains(&Some(one.link)), one.number, **id))
                .map(|(id, _)| *id);
            let Some(oldest) = oldest else { return };
            if self.links.contains_key(&oldest) {
                self.end_link(oldest, Close::Reset);
            } else {
                self.streams.close_conduit(oldest, Close::Reset);
            }
        }
    }

    fn link_of(&self, hello: &Hello) -> Option<ConduitId> {
        self.links
            .iter()
            .find(|(_, one)| {
                one.link.attached
                    && one.instance == hello.instance
                    && one.link.number == hello.link
                    && self.cnapt == Some(hello.instance)
            })
            .map(|(id, _)| *id)
    }

    fn bound_held(&mut self) {
        if self.held.len() > bound::HELD_CONDUITS {
            self.drop_oldest_held();
        }
        if let Some(since) = self.held.values().map(|held| held.since).min() {
            self.timers.set(Timer::Held, since + bound::HELD);
        }
    }

    fn drop_oldest_held(&mut self) {
        let oldest = self.held.iter().min_by_key(|(_, held)| held.since);
        if let Some(oldest) = oldest.map(|(id, _)| *id) {
            self.drop_held(oldest);
        }
        self.bound_held();
    }

    fn drop_held(&mut self, conduit: ConduitId) {
        self.held.remove(&conduit);
        self.streams.outputs.push_back(Output::Close {
            conduit,
            how: Close::Reset,
            rest: Bytes::new(),
        });
    }

    /// A conduit ended, clean or not.
    pub fn conduit_ended(&mut self, conduit: ConduitId, now: Instant) {
        if self.held.remove(&conduit).is_some() {
            return;
        }
        if self.links.contains_key(&conduit) {
            self.lose_link(conduit, now);
            return;
        }
        if let Some(state) = self.streams.conduits.get(&conduit)
            && matches!(
                self.phase,
                SnaptPhase::AwaitMarkers | SnaptPhase::AwaitDrained
            )
            && state.number.is_some_and(|number| number < self.number)
            && !state.marker_arrived
        {
            self.complete = false;
            self.markers += 1;
        }
        self.streams.remove_conduit(conduit);
        self.check_markers(now);
    }

    /// A link ended by itself. If it is the old one of an overlapped switch, what was under way on it may be lost.
    fn lose_link(&mut self, control: ConduitId, now: Instant) {
        let draining = self.phase == SnaptPhase::AwaitDrained && self.left == Some(control);
        if draining && self.markers < self.markers_expected {
            self.complete = false;
        }
        self.end_link(control, Close::Reset);
        self.streams.remove_conduit(control);
        if draining {
            self.finish_overlapped(now);
        } else {
            self.note_link_lost(control, now);
        }
    }

    /// The link of `control` is gone; what that means depends on what it was for.
    fn note_link_lost(&mut self, control: ConduitId, now: Instant) {
        let carries = self.streams.current == Some(control);
        match self.phase {
            SnaptPhase::Attached
            | SnaptPhase::AwaitMarkers
            | SnaptPhase::AwaitClientServices
            | SnaptPhase::AwaitDrained
                if carries =>
            {
                self.await_unexpected(now);
            }
            SnaptPhase::AwaitRenewal(_) if self.moving_to == Some(control) => {
                self.await_unexpected(now);
            }
            // Nothing of it was ever used, but it may come again and begin.
            SnaptPhase::New if self.links.is_empty() => self
                .timers
                .set(Timer::SwitchTimeout, now + self.options.switch_timeout),
            SnaptPhase::New
            | SnaptPhase::Attached
            | SnaptPhase::AwaitMarkers
            | SnaptPhase::AwaitClientServices
            | SnaptPhase::AwaitStep2
            | SnaptPhase::AwaitRenewal(_)
            | SnaptPhase::AwaitUnexpected
            | SnaptPhase::AwaitDrained
            | SnaptPhase::Released => {}
        }
    }

    /// SNAPT-0*.
    fn await_unexpected(&mut self, now: Instant) {
        if self.phase == SnaptPhase::Attached {
            self.trail.clear();
            self.streams.start_gap(self.last_heard(now));
        }
        self.streams.stop_all_forwarding();
        self.streams.take_off_conduits();
        self.timers.stop_waits();
        self.phase = SnaptPhase::AwaitUnexpected;
        self.timers
            .set(Timer::SwitchTimeout, now + self.options.switch_timeout);
        self.streams
            .outputs
            .push_back(Output::Event(Event::Detached));
        self.tell_stalled();
        //= docs/spec/unexpected.md#snapt-star-00
        if !self.take(Step::snapt_star(0), now) {
            self.release(false);
        }
    }

    /// When the link that carries was heard last: its loss began after that.
    fn last_heard(&self, now: Instant) -> Instant {
        let current = self
            .streams
            .current
            .and_then(|control| self.links.get(&control));
        current.map_or(now, |link| link.link.last_heard)
    }

    /// Something came by this conduit.
    pub fn heard(&mut self, conduit: ConduitId, now: Instant) {
        if let Some(state) = self.streams.conduits.get(&conduit)
            && let Some(link) = self.links.get_mut(&state.link)
        {
            link.link.heard(now);
            let patience = link.link.patience(bound::PROGRESS);
            let of_link = state.link;
            self.streams.heard(conduit);
            if self.streams.current == Some(of_link) {
                self.streams.answered();
                self.stalled = false;
            }
            let progress = match self.phase {
                SnaptPhase::AwaitMarkers if self.streams.current == Some(of_link) => Timer::Markers,
                SnaptPhase::AwaitDrained if self.left == Some(of_link) => Timer::Markers,
                SnaptPhase::AwaitRenewal(_) if self.moving_to == Some(of_link) => Timer::Renewal,
                SnaptPhase::New
                | SnaptPhase::Attached
                | SnaptPhase::AwaitMarkers
                | SnaptPhase::AwaitClientServices
                | SnaptPhase::AwaitStep2
                | SnaptPhase::AwaitRenewal(_)
                | SnaptPhase::AwaitUnexpected
                | SnaptPhase::AwaitDrained
                | SnaptPhase::Released => return,
            };
            self.timers.set(progress, now + patience);
        }
    }

    /// A frame came by this conduit.
    ///
    /// # Errors
    ///
    /// If the CNAPT broke a rule; the shell closes the conduit and reports its end.
    pub fn handle_frame(
        &mut self,
        conduit: ConduitId,
        frame: &Frame,
        now: Instant,
    ) -> Result<(), PeerMisbehaved> {
        let Some(state) = self.streams.conduits.get(&conduit) else {
            return Ok(());
        };
        let link = state.link;
        let of_session = self
            .links
            .get(&link)
            .is_some_and(|one| Some(one.instance) == self.cnapt);
        match (frame.layer(), frame) {
            (Layer::Stream, _) if of_session => self.streams.handle_frame(frame, now),
            (Layer::Flow, Frame::Datagram(datagram)) if of_session => {
                self.streams.handle_datagram(conduit, datagram, now)
            }
            (Layer::Conduit, Frame::Use { number, purpose }) if link != conduit && of_session => {
                self.handle_use(conduit, *number, *purpose);
                Ok(())
            }
            (Layer::Conduit, Frame::LastMessageBeforeRedirection)
                if link != conduit && of_session =>
            {
                self.handle_marker(conduit, now);
                Ok(())
            }
            (Layer::Link, _) if link == conduit => {
                self.handle_control(conduit, frame, of_session, now)?;
                self.streams.check_flood(conduit)
            }
            (Layer::Stream | Layer::Conduit | Layer::Link | Layer::Flow, _) => Err(
                PeerMisbehaved::NotAllowed("a frame of a SNAPT, or on the wrong conduit"),
            ),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "Frame::layer names every frame once"
    )]
    fn handle_control(
        &mut self,
        control: ConduitId,
        frame: &Frame,
        of_session: bool,
        now: Instant,
    ) -> Result<(), PeerMisbehaved> {
        match frame {
            Frame::Attach(attach) => return self.handle_attach(control, attach, now),
            Frame::SwitchStep2(order) | Frame::SwitchUnexpected(order) => {
                self.check_identity(order.cnapt)?;
                if self.awaits_proof(control, frame, now) {
                    return Ok(());
                }
                let step2 = matches!(frame, Frame::SwitchStep2(_));
                return self.handle_move(control, order, step2, now);
            }
            Frame::Probe { token } => {
                // Who probes a link has read its ATTACHED.
                if let Some(link) = self.links.get_mut(&control) {
                    link.knows_session = true;
                }
                self.streams
                    .push_frame(control, Frame::ProbeReply { token: *token });
            }
            Frame::ProbeReply { token } => return self.handle_probe_reply(control, *token, now),
            Frame::Renew(_) if !of_session => self.keep_waiting(control, frame),
            Frame::SwitchStep1 { .. }
            | Frame::ClientServicesReadyForRedirection { .. }
            | Frame::Trail(_)
            | Frame::Detach
                if !of_session => {}
            Frame::SwitchStep1 {
                number,
                cnapt,
                conduits,
            } => {
                self.check_identity(*cnapt)?;
                self.handle_step1(control, *number, *conduits as usize, now);
            }
            Frame::ClientServicesReadyForRedirection { number } => {
                self.handle_client_services_ready(control, *number, now);
            }
            Frame::Renew(renew) => return self.handle_renew(control, renew, now),
            Frame::Trail(trail) if trail.number == self.number => {
                if self.renewing == self.number {
                    self.renewed = self.number;
                }
                self.peer_trail = Some(trail.clone());
                self.settle_trail(false, now);
            }
            Frame::Trail(_) => {}
            Frame::Detach => self.release(true),
            _ => return Err(PeerMisbehaved::NotAllowed("a control frame of a SNAPT")),
        }
        Ok(())
    }

    fn handle_probe_reply(
        &mut self,
        control: ConduitId,
        token: u64,
        now: Instant,
    ) -> Result<(), PeerMisbehaved> {
        let Some(link) = self.links.get_mut(&control) else {
            return Ok(());
        };
        link.link.answered(token, now);
        if self.streams.current == Some(control) {
            self.streams.set_round_trip(link.link.round_trip);
        }
        if !matches!(link.proof, Proof::Awaited { token: asked, .. } if asked == token) {
            return Ok(());
        }
        if let Proof::Awaited { waiting, .. } = std::mem::replace(&mut link.proof, Proof::Given) {
            for frame in waiting {
                self.handle_frame(control, &frame, now)?;
            }
        }
        Ok(())
    }

    /// An order that takes the session from another instance has to come from a process that lives: what
    /// a dead one has sent may arrive long after its successor began. So it is asked, and only then
    /// followed.
    fn awaits_proof(&mut self, control: ConduitId, frame: &Frame, now: Instant) -> bool {
        let cnapt = self.cnapt;
        let Some(link) = self.links.get_mut(&control) else {
            return false;
        };
        let other = cnapt.is_some_and(|cnapt| cnapt != link.instance);
        let believes = self.streams.bugs.has(Bug::TakeOverKeepsLinks);
        if !other || believes || !link.link.attached || matches!(link.proof, Proof::Given) {
            return false;
        }
        if matches!(link.proof, Proof::Unasked) {
            let token = link.link.next_probe(now);
            let waiting = Vec::new();
            link.proof = Proof::Awaited { token, waiting };
            self.streams.push_frame(control, Frame::Probe { token });
        }
        self.keep_waiting(control, frame);
        true
    }

    fn keep_waiting(&mut self, control: ConduitId, frame: &Frame) {
        if let Some(link) = self.links.get_mut(&control)
            && let Proof::Awaited { waiting, .. } = &mut link.proof
            && waiting.len() < bound::WAITING_FRAMES
        {
            waiting.push(frame.clone());
        }
    }

    fn check_identity(&self, cnapt: CnaptId) -> Result<(), PeerMisbehaved> {
        if cnapt == self.options.cnapt {
            Ok(())
        } else {
            Err(PeerMisbehaved::WrongIdentity)
        }
    }

    // === Attaching ===

    fn handle_attach(
        &mut self,
        control: ConduitId,
        attach: &Attach,
        now: Instant,
    ) -> Result<(), PeerMisbehaved> {
        self.check_identity(attach.cnapt)?;
        let Some(link) = self.links.get_mut(&control) else {
            return Ok(());
        };
        link.link.attached = true;
        link.link.heard(now);
        link.limits = (attach.initial_limit, attach.streams);
        link.flow_idle = attach.flow_idle;
        link.services.clone_from(&attach.services);
        link.knows_session =
            (attach.snapt, attach.session) == (self.options.instance, self.options.session);
        let instance = link.instance;
        let attached = Frame::Attached(self.attached());
        self.streams.push_frame(control, attached);
        if self.phase == SnaptPhase::New && self.streams.bugs.has(Bug::AttachMakesCurrent) {
            self.take_over(instance);
            self.number = 1;
            self.finish_switch(control, Procedure::Starred, now);
        }
        self.accept_held();
        Ok(())
    }

    fn attached(&self) -> Attached {
        Attached {
            snapt: self.options.instance,
            session: self.options.session,
            virtual_ip: self.options.virtual_ip,
            initial_limit: self.streams.initial_limit(),
            streams: STREAMS,
            flow_idle: self.streams.flows.idle(),
            services: self.options.services.clone(),
        }
    }

    /// A new instance of the CNAPT has given its first order: everything of the old one ends before
    /// anything more is read.
    fn take_over(&mut self, instance: Instance) {
        self.streams.stop_all_forwarding();
        self.streams.take_off_conduits();
        let loser = self.cnapt.replace(instance);
        let old: Vec<(ConduitId, Instance)> = self
            .links
            .iter()
            .map(|(control, link)| (*control, link.instance))
            .filter(|(_, of)| *of != instance)
            .collect();
        let keeps = self.streams.bugs.has(Bug::TakeOverKeepsLinks);
        for (control, of) in old.into_iter().filter(|_| !keeps) {
            // Another may be younger than `instance`, with its order still under way: it comes again.
            if Some(of) == loser {
                self.streams.push_frame(
                    control,
                    Frame::Refused {
                        code: RefusedCode::Superseded,
                    },
                );
            }
            self.end_link(control, Close::Drain);
        }
        let streams = self.streams.lose_session();
        if let Some(loser) = loser {
            self.streams
                .outputs
                .push_back(Output::Event(Event::TakenOver { streams }));
            self.superseded.push_back(loser);
            if self.superseded.len() > bound::SUPERSEDED {
                self.superseded.pop_front();
            }
        }
        if !self.streams.bugs.has(Bug::NumbersOutliveInstance) {
            self.number = 0;
            self.streams.number = 0;
        }
        self.renewed = 0;
        self.renewing = 0;
        self.timers.stop_waits();
        self.peer_trail = None;
        self.trail.clear();
        self.phase = SnaptPhase::New;
    }

    // === The planned switch, step by step ===

    fn handle_step1(&mut self, control: ConduitId, number: u64, conduits: usize, now: Instant) {
        let current = self.streams.current == Some(control);
        let awaited = number > self.number && self.phase == SnaptPhase::Attached && current;
        if !awaited && !self.streams.bugs.has(Bug::LateStepsFollowed) {
            return;
        }
        self.trail.clear();
        //= docs/spec/planned.md#snapt-01
        if self.take(Step::snapt(1), now) {
            self.number = number;
        }
        self.streams.start_gap(now);
        //= docs/spec/planned.md#snapt-02
        if self.take(Step::snapt(2), now) {
            self.streams.stop_forwarding(ServiceKind::Server);
        }
        //= docs/spec/planned.md#snapt-03
        if self.take(Step::snapt(3), now) {
            self.streams.stop_forwarding(ServiceKind::Client);
        }
        //= docs/spec/planned.md#snapt-04
        if self.take(Step::snapt(4), now) {
            self.streams.flows.lanes.stop();
        }
        for kept in 5..=6 {
            self.mark(Step::snapt(kept), now);
        }
        self.expect_markers(conduits);
        self.mark(Step::snapt(7), now);
        //= docs/spec/planned.md#snapt-08
        if self.take(Step::snapt(8), now) && !self.streams.bugs.has(Bug::MarkersLost) {
            self.streams.mark_conduits(number);
        }
        //= docs/spec/planned.md#snapt-09
        if self.take(Step::snapt(9), now) {
            self.streams.push_frame(control, Frame::Ack { number });
        }
        self.phase = SnaptPhase::AwaitMarkers;
        self.timers.set(
            Timer::Markers,
            now + self.patience(control, bound::PROGRESS),
        );
        //= docs/spec/planned.md#snapt-10
        if self.take(Step::snapt(10), now) {
            self.check_markers(now);
        } else {
            self.allow_redirection(now);
        }
    }

    /// So many conduits of lower numbers are to come to their markers; some have.
    fn expect_markers(&mut self, conduits: usize) {
        self.complete = true;
        self.markers_expected = conduits;
        self.markers = self.streams.marked_below(self.number).len();
    }

    /// A conduit is used from now on. One whose number is over already is answered with its marker.
    fn handle_use(&mut self, conduit: ConduitId, number: u64, purpose: Purpose) {
        if let Some(state) = self.streams.conduits.get_mut(&conduit)
            && state.number.is_none()
        {
            state.number = Some(number);
            state.purpose = purpose;
            self.streams.carry_datagrams();
        }
        if number < self.number && !self.streams.bugs.has(Bug::LateConduitUnmarked) {
            self.streams.mark_conduits(self.number);
        }
    }

    fn handle_marker(&mut self, conduit: ConduitId, now: Instant) {
        let number = self.number;
        let Some(state) = self.streams.conduits.get_mut(&conduit) else {
            return;
        };
        let counts = !state.marker_arrived && state.number.is_some_and(|of| of < number);
        state.marker_arrived = true;
        if counts {
            self.markers += 1;
        }
        self.check_markers(now);
    }

    fn check_markers(&mut self, now: Instant) {
        if self.markers < self.markers_expected {
            return;
        }
        match self.phase {
            SnaptPhase::AwaitMarkers => self.allow_redirection(now),
            SnaptPhase::AwaitDrained => self.finish_overlapped(now),
            SnaptPhase::New
            | SnaptPhase::Attached
            | SnaptPhase::AwaitClientServices
            | SnaptPhase::AwaitStep2
            | SnaptPhase::AwaitRenewal(_)
            | SnaptPhase::AwaitUnexpected
            | SnaptPhase::Released => {}
        }
    }

    fn allow_redirection(&mut self, now: Instant) {
        let Some(control) = self.streams.current else {
            return;
        };
        let (number, complete) = (self.number, self.complete);
        self.timers.stop_waits();
        //= docs/spec/planned.md#snapt-11
        if self.take(Step::snapt(11), now) {
            self.streams
                .push_frame(control, Frame::OkToRedirection { number, complete });
        }
        self.phase = SnaptPhase::AwaitClientServices;
        self.timers
            .set(Timer::OtherNetwork, now + bound::OTHER_NETWORK);
        //= docs/spec/planned.md#snapt-12
        if !self.take(Step::snapt(12), now) {
            self.handle_client_services_ready(control, number, now);
        }
    }

    fn handle_client_services_ready(&mut self, control: ConduitId, number: u64, now: Instant) {
        let awaited = self.phase == SnaptPhase::AwaitClientServices && number == self.number;
        if !awaited && !self.streams.bugs.has(Bug::LateStepsFollowed) {
            return;
        }
        self.timers.stop_waits();
        //= docs/spec/planned.md#snapt-13
        if self.take(Step::snapt(13), now) {
            self.streams.take_off(ServiceKind::Client);
        }
        //= docs/spec/planned.md#snapt-14
        if self.take(Step::snapt(14), now) {
            self.streams.take_off(ServiceKind::Server);
            self.close_conduits_of(control, Close::Drain);
        }
        //= docs/spec/planned.md#snapt-15
        if self.take(Step::snapt(15), now) {
            let ready = Frame::ServerServicesReadyForRedirection { number };
            self.streams.push_frame(control, ready);
        }
        self.phase = SnaptPhase::AwaitStep2;
        self.timers
            .set(Timer::OtherNetwork, now + bound::OTHER_NETWORK);
        //= docs/spec/planned.md#snapt-16
        if !self.take(Step::snapt(16), now) {
            self.await_unexpected(now);
        }
    }

    // === Both: the new link ===

    /// SWITCH_STEP2 or SWITCH_UNEXPECTED. The former is taken as the latter wherever it does not
    /// end the wait of SNAPT-16.
    fn handle_move(
        &mut self,
        control: ConduitId,
        order: &Move,
        step2: bool,
        now: Instant,
    ) -> Result<(), PeerMisbehaved> {
        let number = order.number;
        let Some(link) = self.links.get(&control) else {
            return Ok(());
        };
        if !link.link.attached {
            return Err(PeerMisbehaved::NotAllowed("a switch before ATTACH"));
        }
        let (instance, (initial_limit, streams)) = (link.instance, link.limits);
        let services = link.services.clone();
        let flow_idle = link.flow_idle;
        if self.cnapt != Some(instance) {
            self.take_over(instance);
            self.accept_held();
        }
        self.streams.set_peer_limits(initial_limit, streams);
        self.streams.flows.set_peer_idle(flow_idle);
        self.offer(services);
        let bugs = self.streams.bugs;
        let awaited = step2 && self.phase == SnaptPhase::AwaitStep2 && number == self.number;
        let late = step2 && self.phase == SnaptPhase::AwaitUnexpected && number == self.number;
        let newer = number > self.number || bugs.has(Bug::SwitchNumberIgnored);
        if let OldLink::Draining { conduits } = order.old {
            if newer {
                self.end_links_but(control, &order.kept);
                self.overlap(control, number, conduits as usize, now);
            }
        } else if awaited {
            self.redirect(control, Procedure::Stepwise, &order.kept, now);
        } else if newer || (late && !bugs.has(Bug::LateStep2Ignored)) {
            self.begin_unexpected(number, now);
            self.redirect(control, Procedure::Starred, &order.kept, now);
        }
        Ok(())
    }

    /// The client services of the instance that has the session, if they are others than before.
    fn offer(&mut self, services: Vec<CatalogueEntry>) {
        if services != self.services {
            self.services.clone_from(&services);
            self.offered = None;
            self.streams.outputs.push_back(Output::Offer { services });
        }
    }

    /// What has become of the client services: the answer to [`Output::Offer`].
    pub fn offered(&mut self, services: Vec<OfferedService>) {
        self.offered = Some(services);
        if let Some(control) = self.streams.current {
            self.tell_offered(control);
        }
    }

    /// Told with every link anew: what was said on another may be lost.
    fn tell_offered(&mut self, control: ConduitId) {
        if let Some(services) = self.offered.clone() {
            self.streams
                .push_frame(control, Frame::Offered { services });
        }
    }

    fn begin_unexpected(&mut self, number: u64, now: Instant) {
        let waiting = self.phase == SnaptPhase::AwaitUnexpected;
        if self.phase == SnaptPhase::Attached {
            self.trail.clear();
        }
        if !waiting {
            self.streams.start_gap(self.last_heard(now));
        }
        //= docs/spec/unexpected.md#snapt-star-01
        if self.take(Step::snapt_star(1), now) {
            self.number = number;
        }
        self.complete = false;
        //= docs/spec/unexpected.md#snapt-star-02
        if self.take(Step::snapt_star(2), now) {
            self.streams.stop_forwarding(ServiceKind::Server);
        }
        //= docs/spec/unexpected.md#snapt-star-03
        if self.take(Step::snapt_star(3), now) {
            self.streams.stop_forwarding(ServiceKind::Client);
        }
        //= docs/spec/unexpected.md#snapt-star-04
        if self.take(Step::snapt_star(4), now) {
            self.streams.flows.lanes.stop();
        }
        for kept in 5..=6 {
            self.mark(Step::snapt_star(kept), now);
        }
    }

    /// SNAPT-17..20, SNAPT-7*..12*.
    fn redirect(
        &mut self,
        control: ConduitId,
        procedure: Procedure,
        kept: &[LinkNumber],
        now: Instant,
    ) {
        self.timers.stop_waits();
        if procedure.is_starred() {
            self.mark(Step::snapt_star(7), now);
            //= docs/spec/unexpected.md#snapt-star-07
            //= docs/spec/unexpected.md#snapt-star-08
            if self.take(Step::snapt_star(8), now) {
                self.destroy_old(control, kept);
            }
        } else {
            self.end_links_but(control, kept);
        }
        //= docs/spec/planned.md#snapt-17
        //= docs/spec/unexpected.md#snapt-star-09
        if self.take_by(procedure, 17, 9, now) {
            self.moving_to = Some(control);
        }
        //= docs/spec/planned.md#snapt-18
        //= docs/spec/unexpected.md#snapt-star-10
        if self.take_by(procedure, 18, 10, now) {
            (self.streams.flows.lanes).redirect(ServiceKind::Client, control);
        }
        //= docs/spec/planned.md#snapt-19
        //= docs/spec/unexpected.md#snapt-star-11
        if self.take_by(procedure, 19, 11, now) {
            self.streams.give_place(ServiceKind::Client, control);
            for piece in self.streams.renew(self.number, self.renewed) {
                self.streams.push_frame(control, piece);
            }
        }
        self.renewing = self.number;
        self.phase = SnaptPhase::AwaitRenewal(procedure);
        let patience = self.patience(control, bound::PROGRESS);
        self.timers.set(Timer::Renewal, now + patience);
        //= docs/spec/planned.md#snapt-20
        //= docs/spec/unexpected.md#snapt-star-12
        if !self.take_by(procedure, 20, 12, now) {
            self.finish_switch(control, procedure, now);
        }
    }

    /// Every conduit of a lower number and every link that is not kept end, with what is under way on them.
    fn destroy_old(&mut self, control: ConduitId, kept: &[LinkNumber]) {
        self.streams.take_off_conduits();
        let stale: Vec<ConduitId> = self.streams.numbered_below(self.number).collect();
        for conduit in stale {
            self.streams.close_conduit(conduit, Close::Reset);
        }
        if !self.streams.bugs.has(Bug::LateStepsFollowed) {
            self.end_links_but(control, kept);
        }
    }

    /// Every link ends but the one that traffic moves to and those that the CNAPT says it keeps.
    fn end_links_but(&mut self, control: ConduitId, kept: &[LinkNumber]) {
        let lives = |id: &ConduitId, one: &SnaptLink| {
            let keeps = Some(one.instance) == self.cnapt && kept.contains(&one.link.number);
            *id == control || keeps
        };
        let others = self.links.iter().filter(|(id, one)| !lives(id, one));
        let others: Vec<ConduitId> = others.map(|(id, _)| *id).collect();
        for other in others {
            self.end_link(other, Close::Reset);
        }
    }

    fn handle_renew(
        &mut self,
        control: ConduitId,
        renew: &Renew,
        now: Instant,
    ) -> Result<(), PeerMisbehaved> {
        if renew.number != self.number || self.moving_to != Some(control) {
            return Ok(());
        }
        let known = (self.links.get(&control)).is_some_and(|link| link.knows_session);
        self.streams.handle_renew(renew, known)?;
        if let SnaptPhase::AwaitRenewal(procedure) = self.phase
            && renew.last
        {
            self.finish_switch(control, procedure, now);
        }
        Ok(())
    }

    fn finish_switch(&mut self, control: ConduitId, procedure: Procedure, now: Instant) {
        let (number, complete) = (self.number, self.complete);
        self.streams.carry_on(control, number);
        //= docs/spec/planned.md#snapt-21
        //= docs/spec/unexpected.md#snapt-star-13
        if self.take_by(procedure, 21, 13, now) {
            self.streams.give_place(ServiceKind::Server, control);
            (self.streams.flows.lanes).redirect(ServiceKind::Server, control);
        }
        //= docs/spec/planned.md#snapt-22
        //= docs/spec/unexpected.md#snapt-star-14
        if self.take_by(procedure, 22, 14, now) {
            let done = Frame::AllRedirected { number, complete };
            self.streams.push_frame(control, done);
        }
        self.tell_offered(control);
        //= docs/spec/unexpected.md#snapt-star-15
        let resends = !procedure.is_starred() || self.take(Step::snapt_star(15), now);
        if resends {
            self.streams.resend();
        }
        //= docs/spec/planned.md#snapt-23
        //= docs/spec/unexpected.md#snapt-star-16
        if self.take_by(procedure, 23, 16, now) {
            self.streams.forward(now);
        }
        self.timers.stop_waits();
        self.phase = SnaptPhase::Attached;
        self.streams.end_gap(now);
        self.timers.set(Timer::Gap, now);
        self.tell_redirected(control, now);
    }

    /// The CNAPT's address is another now, and so is the round trip.
    fn tell_redirected(&mut self, control: ConduitId, now: Instant) {
        let number = self.number;
        self.streams
            .outputs
            .push_back(Output::Event(Event::Redirected {
                number,
                link: control,
            }));
        if let Some(link) = self.links.get_mut(&control) {
            let token = link.link.next_probe(now);
            self.streams.push_frame(control, Frame::Probe { token });
        }
    }

    // === Time ===

    /// Fires every timer that is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((timer, _)) = self.timers.take_due(now) {
            self.handle_timer(timer, now);
        }
        if self
            .stall_deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.tell_stalled();
        }
        self.streams.handle_timeout(now);
    }

    /// The bound named `timer` has passed.
    pub fn handle_timer(&mut self, timer: Timer, now: Instant) {
        self.timers.stop(timer);
        match timer {
            Timer::Markers | Timer::Drain if self.phase == SnaptPhase::AwaitDrained => {
                self.complete = false;
                self.finish_overlapped(now);
            }
            Timer::Markers => {
                self.complete = false;
                self.allow_redirection(now);
            }
            Timer::OtherNetwork => self.await_unexpected(now),
            // The CNAPT will order anew.
            Timer::Renewal => self.await_unexpected(now),
            //= docs/spec/unexpected.md#snapt-star-00
            Timer::SwitchTimeout => self.release(false),
            Timer::Gap => self.settle_trail(true, now),
            Timer::Held => self.drop_oldest_held(),
            Timer::Stall => self.tell_stalled(),
            Timer::Acknowledge
            | Timer::Activity
            | Timer::Spares
            | Timer::Open
            | Timer::OpenWait
            | Timer::FlowIdle => {
                self.streams.handle_timer(timer, now);
            }
            Timer::Suspension
            | Timer::Reply
            | Timer::ReplyProbe
            | Timer::Ok
            | Timer::Networks
            | Timer::Dial
            | Timer::AllRedirected
            | Timer::Drain
            | Timer::Standby
            | Timer::Return
            | Timer::Probe
            | Timer::Silence => {}
        }
    }

    /// R13: the session's resources are released; every application connection is reset.
    fn release(&mut self, left: bool) {
        let streams = self.streams.end_session();
        let links: Vec<ConduitId> = self.links.keys().copied().collect();
        for link in links {
            self.end_link(link, Close::Drain);
        }
        let held: Vec<ConduitId> = self.held.keys().copied().collect();
        for conduit in held {
            self.drop_held(conduit);
        }
        self.timers = Timers::default();
        self.phase = SnaptPhase::Released;
        self.streams
            .outputs
            .push_back(Output::Event(Event::Released { streams, left }));
    }

    fn settle_trail(&mut self, ask: bool, now: Instant) {
        let Some(control) = self
            .streams
            .current
            .filter(|_| self.phase == SnaptPhase::Attached)
        else {
            return;
        };
        let Some(gap) = self.streams.settled_gap(now) else {
            if ask {
                self.timers.set(Timer::Gap, now + Duration::from_millis(10));
            }
            return;
        };
        let number = self.number;
        if ask {
            let steps = trail_from_start(&self.trail);
            let gap_micros = gap.map(to_micros);
            self.streams.push_frame(
                control,
                Frame::Trail(Trail {
                    number,
                    gap_micros,
                    steps,
                }),
            );
        }
        let Some(theirs) = self.peer_trail.take_if(|trail| trail.number == number) else {
            return;
        };
        let gap = gap.max(theirs.gap_micros.map(Duration::from_micros));
        let event = Event::Settled {
            number,
            gap,
            trail: theirs.steps,
        };
        self.streams.outputs.push_back(Output::Event(event));
    }

    // === Small things ===

    fn greet(&mut self, conduit: ConduitId, theirs: Hello) {
        let hello = Hello {
            oldest: VERSION,
            newest: VERSION,
            instance: self.options.instance,
            role: theirs.role,
            link: theirs.link,
        };
        self.streams.push_frame(conduit, Frame::Hello(hello));
    }

    fn refuse(&mut self, conduit: ConduitId, code: RefusedCode) {
        self.streams.push_frame(conduit, Frame::Refused { code });
        self.streams.close_conduit(conduit, Close::Drain);
    }

    fn close_conduits_of(&mut self, link: ConduitId, how: Close) {
        let of_link: Vec<ConduitId> = self
            .streams
            .conduits
            .iter()
            .filter(|(id, conduit)| conduit.link == link && **id != link)
            .map(|(id, _)| *id)
            .collect();
        for conduit in of_link {
            self.streams.close_conduit(conduit, how);
        }
    }

    /// Ends a link with all its conduits.
    fn end_link(&mut self, control: ConduitId, how: Close) {
        self.close_conduits_of(control, how);
        if self.links.remove(&control).is_some() && self.streams.conduits.contains_key(&control) {
            self.streams.close_conduit(control, how);
        }
    }

    fn patience(&self, conduit: ConduitId, least: Duration) -> Duration {
        let link = self
            .streams
            .conduits
            .get(&conduit)
            .and_then(|one| self.links.get(&one.link));
        link.map_or(least, |link| link.link.patience(least))
    }

    fn mark(&mut self, step: Step, now: Instant) {
        self.trail.mark(step, now);
    }

    /// Marks the step and says that it has its effect: always, but for a check of the checks.
    fn take(&mut self, step: Step, now: Instant) -> bool {
        self.mark(step, now);
        !self.streams.bugs.has(Bug::NoEffect(step))
    }

    fn take_by(&mut self, procedure: Procedure, planned: u8, starred: u8, now: Instant) -> bool {
        self.take(step_of(procedure, planned, starred), now)
    }
}

const fn step_of(procedure: Procedure, planned: u8, starred: u8) -> Step {
    if procedure.is_starred() {
        Step::snapt_star(starred)
    } else {
        Step::snapt(planned)
    }
}

fn fresh_streams(options: &SnaptOptions, pool: &CreditPool) -> Streams {
    let mut streams = Streams::new(Side::Snapt, &options.services, pool.clone());
    streams.flows_mut().set_idle(options.flow_idle);
    streams
}
