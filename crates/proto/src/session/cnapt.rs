//! The CNAPT's session machine: CNAPT-1..34 and CNAPT-1*..23*.
//!
//! It holds at most one link that carries or is being made for it, and some beside it ([`standby`]). The steps stand
//! in the spec's order, each marked in the trail where it is taken; a wait is marked when it begins. The overlapped
//! switch, which is ours, is in [`overlap`]; what the shell does with networks in [`networks`], and whether a link lives
//! in [`probe`].

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

mod networks;
mod overlap;
mod probe;
mod rescue;
mod standby;

use rescue::Rescues;
use standby::{Standby, StandbyDial};

use super::link::Link;
use super::timer::Timers;
use super::{Close, Event, Loss, NetworkId, Output, Procedure, SwitchReport, Timer, bound};
use crate::bug::Bug;
use crate::step::{Step, StepTrail};
use crate::stream::{Conduit, PeerMisbehaved, ServiceKind, Streams};
use crate::wire::{
    Attached, CatalogueEntry, Frame, Hello, Layer, Move, OfferedService, OldLink, RefusedCode,
    Renew, Role, Trail, VERSION,
};
use crate::{CnaptId, ConduitId, Instance, Instant, LinkNumber};

/// What the machine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// No link: for [`Cnapt::attach`] or [`Cnapt::order`].
    Detached,
    /// The session runs.
    Attached,
    /// CNAPT-7, CNAPT-7*: the decision task.
    AwaitSuspension,
    /// CNAPT-11: ACK.
    AwaitAck,
    /// CNAPT-13: the SNAPT's markers.
    AwaitMarkers,
    /// CNAPT-14: OK_TO_REDIRECTION.
    AwaitOk,
    /// CNAPT-19: SERVER_SERVICES_READY_FOR_REDIRECTION.
    AwaitServerServices,
    /// CNAPT-22, CNAPT-12*: the shell closes what the new network has no use for.
    AwaitClosing,
    /// CNAPT-23, CNAPT-12*: the shell opens the new network.
    AwaitOpening,
    /// CNAPT-24, CNAPT-12*: the shell opens the VPN over it.
    AwaitVpn,
    /// CNAPT-28, CNAPT-16*: the new control channel.
    AwaitControl,
    /// CNAPT-30, CNAPT-18*: the SNAPT's RENEW.
    AwaitRenewal,
    /// CNAPT-33, CNAPT-21*: ALL_REDIRECTED.
    AwaitAllRedirected,
    /// CNAPT-3+: the new link, while the old one carries.
    AwaitStandby,
    /// CNAPT-7+: the markers of the old link and ALL_REDIRECTED, while the new one carries.
    AwaitDrained,
    /// Turned away for good.
    Refused,
}

/// What becomes of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ordered {
    /// The session is on that network.
    AlreadyThere,
    /// A switch began; [`Event::Switched`] tells how it ended.
    Began,
    /// Another switch is running: order again after it.
    Busy,
    /// The session was refused.
    Refused,
}

/// The switch that is going on.
#[derive(Clone, Copy, Debug, Hash)]
struct Switch {
    number: u64,
    procedure: Procedure,
    from: Option<NetworkId>,
    to: NetworkId,
    /// The network that was ordered, if the switch is on its way back from it.
    failed: Option<NetworkId>,
    started: Instant,
    /// The old network was left in good order, and can be gone back to.
    left_whole: bool,
    /// Every marker came, both ways, as far as is known.
    complete: bool,
    /// The SNAPT's OK_TO_REDIRECTION came, or in an overlapped switch ALL_REDIRECTED, with its view of `complete`.
    ok: Option<bool>,
    /// The link that an overlapped switch has left, by its control conduit.
    left: Option<ConduitId>,
    /// How often CNAPT-11 or CNAPT-19 was prolonged.
    extensions: u32,
    retries: u32,
    /// The first of this process: not a switch for people.
    first: bool,
    ordered: bool,
}

impl Switch {
    const fn new(
        number: u64,
        procedure: Procedure,
        from: Option<NetworkId>,
        to: NetworkId,
        started: Instant,
    ) -> Self {
        Self {
            number,
            procedure,
            from,
            to,
            failed: None,
            started,
            left_whole: false,
            complete: true,
            ok: None,
            left: None,
            extensions: 0,
            retries: 0,
            first: false,
            ordered: false,
        }
    }

    const fn is_starred(&self) -> bool {
        self.procedure.is_starred()
    }
}

/// The session at the device.
#[derive(Clone, Debug, Hash)]
pub struct Cnapt {
    id: CnaptId,
    instance: Instance,
    services: Vec<CatalogueEntry>,
    /// The SNAPT instance and session that the streams belong to.
    session: Option<(Instance, u64)>,
    phase: Phase,
    streams: Streams,
    /// The link that carries or is about to, by its control conduit.
    link: Option<(ConduitId, Link)>,
    network: Option<NetworkId>,
    dialling: Option<LinkNumber>,
    /// The links beside it, by control conduit.
    standbys: BTreeMap<ConduitId, Standby>,
    standby_dials: BTreeMap<LinkNumber, StandbyDial>,
    rescues: Rescues,
    next_link: u32,
    /// The highest switch number that was given out.
    number: u64,
    /// The last switch whose RENEW was answered.
    renewed: u64,
    /// The last switch that is over.
    settled: u64,
    switch: Option<Switch>,
    lost: Option<(Option<NetworkId>, Instant)>,
    /// How long nothing may pass on an idle link, where it is not as everywhere.
    keepalives: BTreeMap<NetworkId, Duration>,
    began: bool,
    timers: Timers,
    trail: StepTrail,
    /// The SNAPT's steps in the last switch, until ours are complete too.
    peer_trail: Option<Trail>,
}

impl Cnapt {
    /// A session that has no link yet. `instance` is random and new for each process.
    pub fn new(
        id: CnaptId,
        instance: Instance,
        services: Vec<CatalogueEntry>,
        streams: Streams,
    ) -> Self {
        Self {
            id,
            instance,
            services,
            session: None,
            phase: Phase::Detached,
            streams,
            link: None,
            network: None,
            dialling: None,
            standbys: BTreeMap::new(),
            standby_dials: BTreeMap::new(),
            rescues: Rescues::default(),
            next_link: 1,
            number: 0,
            renewed: 0,
            settled: 0,
            switch: None,
            lost: None,
            keepalives: BTreeMap::new(),
            began: false,
            timers: Timers::default(),
            trail: StepTrail::default(),
            peer_trail: None,
        }
    }

    // === What can be asked ===

    /// What it waits for.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The network that carries, or the last one that did.
    pub const fn network(&self) -> Option<NetworkId> {
        self.network
    }

    /// The control conduit of the link that carries or is about to.
    pub fn control(&self) -> Option<ConduitId> {
        self.link.as_ref().map(|(control, _)| *control)
    }

    /// The streams.
    pub const fn streams(&self) -> &Streams {
        &self.streams
    }

    /// The streams, for conduit and application tasks.
    pub const fn streams_mut(&mut self) -> &mut Streams {
        &mut self.streams
    }

    /// Whether a lost network is being replaced, and nothing has answered yet.
    pub fn is_searching(&self) -> bool {
        let starred = |switch: Switch| switch.procedure == Procedure::Starred && !switch.ordered;
        let nothing_answered = matches!(
            self.phase,
            Phase::AwaitSuspension
                | Phase::AwaitClosing
                | Phase::AwaitOpening
                | Phase::AwaitVpn
                | Phase::AwaitControl
        );
        nothing_answered && self.switch.is_some_and(starred)
    }

    /// Where the switch that is going on leads.
    pub fn target(&self) -> Option<NetworkId> {
        self.switch.map(|switch| switch.failed.unwrap_or(switch.to))
    }

    /// The steps of the last switch.
    pub const fn trail(&self) -> &StepTrail {
        &self.trail
    }

    /// The round trip of the current link, if it was measured.
    pub fn round_trip(&self) -> Option<Duration> {
        self.link
            .as_ref()
            .map(|(_, link)| link.round_trip)
            .filter(|time| !time.is_zero())
    }

    /// The session's name at the SNAPT, once there is one.
    pub fn session(&self) -> Option<u64> {
        self.session.map(|(_, session)| session)
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
            self.probe_deadline(),
            self.standby_deadline(),
            self.return_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The timers that run, for a model that fires any of them.
    pub fn armed_timers(&self) -> Vec<Timer> {
        let silence = self.link.as_ref().and_then(|(_, one)| one.unanswered_since);
        let probe = self.probe_deadline().map(|_| match silence {
            Some(_) => Timer::Silence,
            None => Timer::Probe,
        });
        let streams = self.streams.armed_timers();
        let standby = self.standby_deadline().map(|_| Timer::Standby);
        let back = self.return_deadline().map(|_| Timer::Return);
        let links = probe.into_iter().chain(standby).chain(back);
        self.timers.armed().chain(links).chain(streams).collect()
    }

    // === Commands ===

    /// An idle link over this network shows that it lives whenever nothing has passed for `interval`.
    pub fn set_keepalive(&mut self, network: NetworkId, interval: Duration) {
        self.keepalives.insert(network, interval);
    }

    /// The decision task has found a network for a session without link.
    pub fn attach(&mut self, network: NetworkId, now: Instant) {
        if self.phase == Phase::Detached {
            self.begin_starred(network, false, now);
        }
    }

    /// The user orders a switch (R17).
    pub fn order(&mut self, network: NetworkId, now: Instant) -> Ordered {
        match self.phase {
            Phase::Attached if self.network == Some(network) => Ordered::AlreadyThere,
            Phase::Attached => {
                self.begin_stepwise(network, now);
                Ordered::Began
            }
            Phase::Detached => {
                self.begin_starred(network, true, now);
                Ordered::Began
            }
            Phase::Refused => Ordered::Refused,
            Phase::AwaitSuspension
            | Phase::AwaitAck
            | Phase::AwaitMarkers
            | Phase::AwaitOk
            | Phase::AwaitServerServices
            | Phase::AwaitClosing
            | Phase::AwaitOpening
            | Phase::AwaitVpn
            | Phase::AwaitControl
            | Phase::AwaitRenewal
            | Phase::AwaitAllRedirected
            | Phase::AwaitStandby
            | Phase::AwaitDrained => Ordered::Busy,
        }
    }

    /// The CNAPT leaves for good.
    pub fn detach(&mut self) {
        if let Some((control, _)) = &self.link {
            let control = *control;
            self.push(control, Frame::Detach);
            self.close(control, Close::Drain);
        }
        self.link = None;
        self.phase = Phase::Refused;
        self.timers = Timers::default();
        self.close_standbys(Close::Drain);
        self.streams.stop_all_forwarding();
        self.streams.take_off_conduits();
        self.close_all(Close::Reset, |_| true);
    }

    // === The shell's reports ===

    /// The decision task is suspended (CNAPT-7, CNAPT-7*).
    pub fn decision_suspended(&mut self, now: Instant) {
        if self.phase == Phase::AwaitSuspension {
            self.go_on_suspended(now);
        }
    }

    /// The operating system says that this network is gone: link down, address or route lost.
    pub fn network_lost(&mut self, network: NetworkId, now: Instant) {
        if self.network == Some(network) && self.link.is_some() {
            self.lose_link(Loss::NetworkGone, now);
        }
        self.standby_dials.retain(|_, dial| dial.network != network);
        if let Some(control) = self.standby_on(network) {
            self.drop_standby(control, Close::Reset, now);
        }
    }

    /// The control conduit of a link that was asked for is there.
    pub fn control_up(&mut self, link: LinkNumber, control: ConduitId, now: Instant) {
        let beside = self.standby_dials.remove(&link);
        if !self.awaits_control(link, beside.map(|dial| dial.network)) {
            match beside {
                Some(dial) if !self.has_link_over(dial.network) => {
                    self.standby_up(dial, link, control, now);
                }
                Some(_) | None => self.streams.outputs.push_back(Output::Close {
                    conduit: control,
                    how: Close::Reset,
                    rest: Bytes::new(),
                }),
            }
            return;
        }
        if let Some(dialled) = self.dialling.take() {
            self.streams.flows.lanes.bind_instead(dialled, link);
        }
        self.link = Some((control, Link::new(link, now)));
        self.network = self.switch.map(|switch| switch.to);
        self.standby_dials
            .retain(|_, dial| Some(dial.network) != self.network);
        self.attach_link(control, link);
        self.announce_move(control, now);
    }

    /// Whether this link is the one that the switch waits for: what it dialled, or what was being made over its target
    /// already. The first that comes is taken.
    fn awaits_control(&self, link: LinkNumber, beside: Option<NetworkId>) -> bool {
        let target = self.switch.map(|switch| switch.to);
        let wanted = self.dialling == Some(link) || beside.is_some() && beside == target;
        self.phase == Phase::AwaitControl && self.dialling.is_some() && wanted
    }

    /// It could not be made.
    pub fn control_failed(&mut self, link: LinkNumber, now: Instant) {
        if let Some(dial) = self.standby_dials.remove(&link) {
            self.tell_standby_lost(dial.network, now);
        } else if self.dialling == Some(link) && self.phase == Phase::AwaitControl {
            self.dialling = None;
            self.fail_target(now);
        }
    }

    /// A conduit that was asked for is there.
    pub fn conduit_up(&mut self, link: ConduitId, conduit: ConduitId, now: Instant) {
        let Some(number) = self.link_of(link).map(|link| link.number) else {
            self.streams.outputs.push_back(Output::Close {
                conduit,
                how: Close::Reset,
                rest: Bytes::new(),
            });
            return;
        };
        self.streams.dialled(link);
        self.streams.add_conduit(conduit, link);
        self.greet(conduit, number, Role::Conduit);
        self.streams.number_for_datagrams();
        self.streams.number_for_the_other_side();
        self.go_over_if_ready(now);
    }

    /// The link with this control conduit, whether it carries or not.
    fn link_of(&self, control: ConduitId) -> Option<&Link> {
        let carries = self.link.as_ref().filter(|(of, _)| *of == control);
        let carries = carries.map(|(_, link)| link);
        carries.or_else(|| self.standbys.get(&control).map(|one| &one.link))
    }

    /// It could not be made. The next stream that needs one asks again; a missing one for datagrams is tried again.
    pub fn conduit_failed(&mut self, link: ConduitId, now: Instant) {
        if self.link_of(link).is_some() {
            self.streams.dialled(link);
            self.streams.retry_datagram_conduit(now);
            self.go_over_if_ready(now);
        }
    }

    /// A conduit ended, clean or not.
    pub fn conduit_ended(&mut self, conduit: ConduitId, now: Instant) {
        if self
            .link
            .as_ref()
            .is_some_and(|(control, _)| *control == conduit)
        {
            self.lose_link(Loss::ControlLost, now);
            return;
        }
        if self.standbys.contains_key(&conduit) {
            self.drop_standby(conduit, Close::Reset, now);
            return;
        }
        if let Some(switch) = &mut self.switch
            && self
                .streams
                .unmarked_below(switch.number)
                .any(|id| id == conduit)
        {
            switch.complete = false;
        }
        self.streams.lose_conduit(conduit, now);
        self.check_markers(now);
        self.check_drained(now);
    }

    /// Something came by this conduit.
    pub fn heard(&mut self, conduit: ConduitId, now: Instant) {
        let of = self
            .streams
            .conduits
            .get(&conduit)
            .map(|conduit| conduit.link);
        if let Some((control, link)) = &mut self.link
            && of == Some(*control)
        {
            link.heard(now);
            link.suspected = false;
            self.streams.heard(conduit);
            self.streams.answered();
            let (by, attached) = (*control, link.attached);
            let progress = match self.phase {
                Phase::AwaitDrained => return self.drain_progresses(by, now),
                Phase::AwaitMarkers => Timer::Markers,
                // By a link that was attached before the SNAPT may send on as if nothing was.
                Phase::AwaitRenewal if attached => return,
                Phase::AwaitRenewal => Timer::Renewal,
                Phase::AwaitAllRedirected => Timer::AllRedirected,
                Phase::Detached
                | Phase::Attached
                | Phase::AwaitSuspension
                | Phase::AwaitAck
                | Phase::AwaitOk
                | Phase::AwaitServerServices
                | Phase::AwaitClosing
                | Phase::AwaitOpening
                | Phase::AwaitVpn
                | Phase::AwaitControl
                | Phase::AwaitStandby
                | Phase::Refused => return,
            };
            self.await_progress(progress, now);
        } else if let Some(control) = of {
            self.heard_beside(control, now);
            self.streams.heard(conduit);
            if self.phase == Phase::AwaitDrained {
                self.drain_progresses(control, now);
            }
        }
    }

    /// A frame came by this conduit.
    ///
    /// # Errors
    ///
    /// If the SNAPT broke a rule; the shell closes the conduit and reports its end.
    pub fn handle_frame(
        &mut self,
        conduit: ConduitId,
        frame: &Frame,
        now: Instant,
    ) -> Result<(), PeerMisbehaved> {
        let Some(state) = self.streams.conduits.get(&conduit) else {
            return Ok(());
        };
        let (link, control) = (state.link, state.link == conduit);
        match (frame.layer(), frame) {
            (Layer::Stream, _) => self.streams.handle_frame(frame, now),
            (Layer::Flow, Frame::Datagram(datagram)) => {
                self.streams.handle_datagram(conduit, datagram, now)
            }
            (Layer::Conduit, Frame::LastMessageBeforeRedirection) if !control => {
                self.handle_marker(conduit, now);
                Ok(())
            }
            (Layer::Conduit, Frame::Hello(_)) => Ok(()),
            (Layer::Link, Frame::Refused { code }) => {
                let standby = self.standbys.contains_key(&link);
                if standby && *code != RefusedCode::Superseded {
                    self.drop_standby(link, Close::Reset, now);
                } else {
                    self.handle_refused(*code, now);
                }
                Ok(())
            }
            (Layer::Link, _) if control && self.standbys.contains_key(&conduit) => {
                self.handle_standby_control(conduit, frame, now)?;
                self.streams.check_flood(conduit)
            }
            (Layer::Link, _) if control => {
                self.handle_control(conduit, frame, now)?;
                self.streams.check_flood(conduit)
            }
            (Layer::Link | Layer::Conduit | Layer::Flow, _) => Err(PeerMisbehaved::NotAllowed(
                "a frame of a CNAPT, or on the wrong conduit",
            )),
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
        now: Instant,
    ) -> Result<(), PeerMisbehaved> {
        match frame {
            Frame::Attached(attached) => self.handle_attached(attached, now),
            Frame::Renew(renew) => return self.handle_renew(renew, now),
            Frame::Ack { number } => self.handle_ack(*number, now),
            Frame::OkToRedirection { number, complete } => self.handle_ok(*number, *complete, now),
            Frame::ServerServicesReadyForRedirection { number } => {
                self.handle_server_services_ready(*number, now);
            }
            Frame::AllRedirected { number, complete } => {
                self.handle_all_redirected(*number, *complete, now);
            }
            Frame::Dial { conduits } => self.streams.handle_dial(*conduits as usize),
            Frame::Offered { services } => self.handle_offered(services),
            Frame::Probe { token } => self.push(control, Frame::ProbeReply { token: *token }),
            Frame::ProbeReply { token } => self.handle_probe_reply(*token, now),
            Frame::Stalled { number, lost } => self.handle_stalled(*number, *lost, now),
            Frame::Trail(trail) => {
                if trail.number == self.settled {
                    self.peer_trail = Some(trail.clone());
                }
                self.settle_trail(false, now);
            }
            _ => return Err(PeerMisbehaved::NotAllowed("a control frame of a CNAPT")),
        }
        Ok(())
    }

    /// What the SNAPT says on a link that does not carry. Of a switch it speaks on the new link only, and what it
    /// had said on the old one before is the business of that.
    fn handle_standby_control(
        &mut self,
        control: ConduitId,
        frame: &Frame,
        now: Instant,
    ) -> Result<(), PeerMisbehaved> {
        if let Frame::Attached(attached) = frame {
            self.standby_attached(control, (attached.snapt, attached.session), now);
        } else if let Frame::Probe { token } = frame {
            self.push(control, Frame::ProbeReply { token: *token });
        } else if let Frame::ProbeReply { token } = frame {
            if let Some(standby) = self.standbys.get_mut(&control) {
                standby.link.answered(*token, now);
            }
        } else if let Frame::Stalled { number, lost } = frame {
            self.handle_stalled(*number, *lost, now);
        }
        Ok(())
    }

    /// The SNAPT has lost what carries. If it is in the middle of a switch that it cannot follow, that is ordered anew.
    fn handle_stalled(&mut self, number: u64, lost: bool, now: Instant) {
        match self.switch {
            Some(switch)
                if lost && self.phase == Phase::AwaitDrained && number == switch.number =>
            {
                self.order_anew(now);
            }
            None if number == self.settled => self.look_at_link(now),
            Some(_) | None => {}
        }
    }

    // === The planned switch, step by step ===

    fn begin_stepwise(&mut self, to: NetworkId, now: Instant) {
        self.rescues.forget();
        self.trail.clear();
        self.streams.start_gap(now);
        self.switch = Some(Switch {
            ordered: true,
            ..Switch::new(
                self.next_number(),
                Procedure::Stepwise,
                self.network,
                to,
                now,
            )
        });
        self.suspend_and_stop(Step::cnapt, now);
    }

    /// CNAPT-1..7 and their starred kin: the same acts under other names. What an application sends
    /// from now on stays in its stream; a frame begun is finished by its conduit, which is the flush.
    fn suspend_and_stop(&mut self, step: fn(u8) -> Step, now: Instant) {
        //= docs/spec/planned.md#cnapt-01
        //= docs/spec/unexpected.md#cnapt-star-01
        if self.take(step(1), now) {
            self.streams.outputs.push_back(Output::SuspendDecision);
        }
        //= docs/spec/planned.md#cnapt-02
        //= docs/spec/unexpected.md#cnapt-star-02
        if self.take(step(2), now) {
            self.streams.stop_forwarding(ServiceKind::Server);
        }
        //= docs/spec/planned.md#cnapt-03
        //= docs/spec/unexpected.md#cnapt-star-03
        if self.take(step(3), now) {
            self.streams.stop_forwarding(ServiceKind::Client);
        }
        //= docs/spec/planned.md#cnapt-04
        //= docs/spec/unexpected.md#cnapt-star-04
        if self.take(step(4), now) {
            self.streams.flows.lanes.stop();
        }
        for kept in 5..=6 {
            self.mark(step(kept), now);
        }
        self.await_suspension(now);
        //= docs/spec/planned.md#cnapt-07
        //= docs/spec/unexpected.md#cnapt-star-07
        if !self.take(step(7), now) {
            self.go_on_suspended(now);
        }
    }

    fn await_suspension(&mut self, now: Instant) {
        self.phase = Phase::AwaitSuspension;
        self.timers.stop_waits();
        self.timers.set(Timer::Suspension, now + bound::SUSPENSION);
    }

    fn go_on_suspended(&mut self, now: Instant) {
        self.timers.stop(Timer::Suspension);
        match self.switch.map(|switch| switch.procedure) {
            Some(Procedure::Stepwise) => self.send_step1(now),
            Some(Procedure::Starred) => self.destroy_old(now),
            Some(Procedure::Overlapped) => self.await_standby(now),
            Some(Procedure::Rescue) => self.set_aside_old(now),
            None => self.phase = Phase::Detached,
        }
    }

    fn send_step1(&mut self, now: Instant) {
        let Some((control, number)) = self.control_and_number() else {
            return;
        };
        self.mark(Step::cnapt(8), now);
        let conduits = self.streams.numbered_below(number).count();
        //= docs/spec/planned.md#cnapt-09
        let cnapt = if self.take(Step::cnapt(9), now) {
            self.id
        } else {
            CnaptId([0; 32])
        };
        let step1 = Frame::SwitchStep1 {
            number,
            cnapt,
            conduits: u32::try_from(conduits).unwrap_or(u32::MAX),
        };
        //= docs/spec/planned.md#cnapt-10
        if self.take(Step::cnapt(10), now) {
            self.push(control, step1);
        }
        self.phase = Phase::AwaitAck;
        self.await_reply(now);
        //= docs/spec/planned.md#cnapt-11
        if !self.take(Step::cnapt(11), now) {
            self.handle_ack(number, now);
        }
    }

    fn await_reply(&mut self, now: Instant) {
        let patience = self.patience(bound::REPLY);
        if self.streams.bugs.has(Bug::UnboundedWait) {
            return;
        }
        self.timers.set(Timer::Reply, now + patience);
        self.timers.set(Timer::ReplyProbe, now + patience / 2);
    }

    fn handle_ack(&mut self, number: u64, now: Instant) {
        if self.phase != Phase::AwaitAck || !self.is_number(number) {
            return;
        }
        self.timers.stop_waits();
        //= docs/spec/planned.md#cnapt-12
        if self.take(Step::cnapt(12), now) {
            self.streams.mark_conduits(number);
        }
        self.phase = Phase::AwaitMarkers;
        self.await_progress(Timer::Markers, now);
        //= docs/spec/planned.md#cnapt-13
        let waits = self.take(Step::cnapt(13), now);
        if waits && !self.streams.bugs.has(Bug::OldLinkClosedUnread) {
            self.check_markers(now);
        } else {
            self.await_ok(now);
        }
    }

    fn handle_marker(&mut self, conduit: ConduitId, now: Instant) {
        if let Some(state) = self.streams.conduits.get_mut(&conduit) {
            state.marker_arrived = true;
        }
        self.check_markers(now);
        self.check_drained(now);
    }

    fn check_markers(&mut self, now: Instant) {
        let Some(switch) = self.switch.filter(|_| self.phase == Phase::AwaitMarkers) else {
            return;
        };
        if self.all_markers_came(switch.number) {
            self.await_ok(now);
        }
    }

    fn all_markers_came(&self, number: u64) -> bool {
        self.streams.unmarked_below(number).next().is_none()
    }

    fn await_ok(&mut self, now: Instant) {
        self.timers.stop_waits();
        self.phase = Phase::AwaitOk;
        self.await_ok_longer(now);
        //= docs/spec/planned.md#cnapt-14
        let waits = self.take(Step::cnapt(14), now);
        if !waits || self.switch.is_some_and(|switch| switch.ok.is_some()) {
            self.release_client_services(now);
        }
    }

    fn await_ok_longer(&mut self, now: Instant) {
        let patience = bound::PROGRESS + self.patience(bound::REPLY);
        self.timers.set(Timer::Ok, now + patience);
        self.timers.set(Timer::ReplyProbe, now + patience / 2);
    }

    fn handle_ok(&mut self, number: u64, complete: bool, now: Instant) {
        if !self.is_number(number) {
            return;
        }
        if let Some(switch) = &mut self.switch {
            switch.ok = Some(complete);
            switch.complete &= complete;
        }
        if self.phase == Phase::AwaitOk {
            self.release_client_services(now);
        }
    }

    fn release_client_services(&mut self, now: Instant) {
        let Some((control, number)) = self.control_and_number() else {
            return;
        };
        self.timers.stop_waits();
        //= docs/spec/planned.md#cnapt-15
        if self.take(Step::cnapt(15), now) {
            self.streams.flows.lanes.unbind(ServiceKind::Client);
        }
        //= docs/spec/planned.md#cnapt-16
        if self.take(Step::cnapt(16), now) {
            self.streams.take_off(ServiceKind::Client);
        }
        //= docs/spec/planned.md#cnapt-17
        if self.take(Step::cnapt(17), now) {
            self.close_spares(control);
        }
        //= docs/spec/planned.md#cnapt-18
        if self.take(Step::cnapt(18), now) {
            self.push(control, Frame::ClientServicesReadyForRedirection { number });
        }
        self.phase = Phase::AwaitServerServices;
        if let Some(switch) = &mut self.switch {
            switch.extensions = 0;
        }
        self.await_reply(now);
        //= docs/spec/planned.md#cnapt-19
        if !self.take(Step::cnapt(19), now) {
            self.handle_server_services_ready(number, now);
        }
    }

    fn handle_server_services_ready(&mut self, number: u64, now: Instant) {
        if self.phase != Phase::AwaitServerServices || !self.is_number(number) {
            return;
        }
        self.timers.stop_waits();
        //= docs/spec/planned.md#cnapt-20
        if self.take(Step::cnapt(20), now) {
            self.streams.take_off(ServiceKind::Server);
            self.close_conduits(Close::Drain);
        }
        //= docs/spec/planned.md#cnapt-21
        if self.take(Step::cnapt(21), now) {
            self.close_link(Close::Drain);
        }
        if let Some(switch) = &mut self.switch {
            switch.left_whole = true;
        }
        self.close_networks(now);
    }

    // === The unexpected switch ===

    fn begin_starred(&mut self, to: NetworkId, ordered: bool, now: Instant) {
        let (from, started) = self.lost.unwrap_or((self.network, now));
        let broken_off = self.switch;
        self.rescues.forget();
        if broken_off.is_none() {
            self.trail.clear();
            if self.lost.is_none() {
                self.streams.start_gap(now);
            }
        }
        let fresh = Switch {
            complete: false,
            first: !self.began,
            ordered,
            ..Switch::new(self.next_number(), Procedure::Starred, from, to, started)
        };
        self.switch = Some(match broken_off {
            None => fresh,
            Some(old) => Switch {
                from: old.from,
                failed: old.failed,
                started: old.started,
                ordered: old.ordered,
                ..fresh
            },
        });
        self.suspend_and_stop(Step::cnapt_star, now);
    }

    fn destroy_old(&mut self, now: Instant) {
        //= docs/spec/unexpected.md#cnapt-star-08
        if self.take(Step::cnapt_star(8), now) {
            self.streams.flows.lanes.unbind(ServiceKind::Client);
        }
        //= docs/spec/unexpected.md#cnapt-star-09
        if self.take(Step::cnapt_star(9), now) {
            self.streams.take_off(ServiceKind::Client);
        }
        self.mark(Step::cnapt_star(10), now);
        //= docs/spec/unexpected.md#cnapt-star-10
        //= docs/spec/unexpected.md#cnapt-star-11
        if self.take(Step::cnapt_star(11), now) {
            self.streams.take_off(ServiceKind::Server);
            self.close_conduits(Close::Reset);
            self.close_link(Close::Reset);
        }
        self.close_networks(now);
    }

    // === Both: the new link ===

    /// CNAPT-25..28, CNAPT-13*..16*: flows and spare conduits follow the link.
    fn move_sockets(&mut self, network: Option<NetworkId>, now: Instant) {
        let Some(switch) = self.switch else { return };
        self.timers.stop(Timer::Networks);
        let standby = network.and_then(|network| self.standby_on(network));
        let link = standby.and_then(|control| self.link_of(control));
        let link = link.map_or(LinkNumber(self.next_link), |link| link.number);
        //= docs/spec/planned.md#cnapt-25
        //= docs/spec/unexpected.md#cnapt-star-13
        if self.take_by(switch, 25, 13, now) {
            self.streams.flows.lanes.bind(ServiceKind::Server, link);
        }
        //= docs/spec/planned.md#cnapt-26
        //= docs/spec/unexpected.md#cnapt-star-14
        if self.take_by(switch, 26, 14, now) {
            self.streams.flows.lanes.bind(ServiceKind::Client, link);
        }
        self.mark(step_of(switch, 27, 15), now);
        //= docs/spec/planned.md#cnapt-28
        //= docs/spec/unexpected.md#cnapt-star-16
        let step = step_of(switch, 28, 16);
        match standby.and_then(|control| Some((control, self.standbys.remove(&control)?))) {
            Some((control, standby)) => {
                self.mark(step, now);
                self.streams.forget_link(control);
                self.link = Some((control, standby.link));
                self.network = Some(standby.network);
                self.announce_move(control, now);
            }
            None => self.dial(step, network, now),
        }
    }

    fn dial(&mut self, step: Step, network: Option<NetworkId>, now: Instant) {
        let Some(network) = network else { return };
        let link = LinkNumber(self.next_link);
        self.next_link += 1;
        self.dialling = Some(link);
        self.phase = Phase::AwaitControl;
        self.timers.set(Timer::Dial, now + bound::DIAL);
        if self.take(step, now) {
            let dial = Output::DialLink { link, network };
            self.streams.outputs.push_back(dial);
        }
    }

    /// SWITCH_STEP2 or SWITCH_UNEXPECTED and RENEW, behind ATTACH in one flight.
    fn announce_move(&mut self, control: ConduitId, now: Instant) {
        let Some(switch) = self.switch else { return };
        if switch.first && self.streams.bugs.has(Bug::AttachMakesCurrent) {
            self.take_places(switch, control, now);
            return;
        }
        let number = switch.number;
        self.timers.stop_waits();
        let order = Move {
            number,
            cnapt: self.id,
            old: if switch.complete {
                OldLink::Drained
            } else {
                OldLink::Dead
            },
            kept: self.kept_links(),
        };
        let announced = if switch.is_starred() {
            Frame::SwitchUnexpected(order)
        } else {
            Frame::SwitchStep2(order)
        };
        //= docs/spec/planned.md#cnapt-29
        //= docs/spec/unexpected.md#cnapt-star-17
        if self.take_by(switch, 29, 17, now) {
            self.push(control, announced);
            for piece in self.streams.renew(number, self.renewed) {
                self.push(control, piece);
            }
        }
        self.phase = Phase::AwaitRenewal;
        self.await_progress(Timer::Renewal, now);
        //= docs/spec/planned.md#cnapt-30
        //= docs/spec/unexpected.md#cnapt-star-18
        if !self.take_by(switch, 30, 18, now) {
            self.take_places(switch, control, now);
        }
    }

    fn await_progress(&mut self, timer: Timer, now: Instant) {
        if !self.streams.bugs.has(Bug::LateStep2Ignored) {
            self.timers.set(timer, now + self.patience(bound::PROGRESS));
        }
    }

    fn handle_attached(&mut self, attached: &Attached, now: Instant) {
        let Some((_, link)) = &mut self.link else {
            return;
        };
        if !link.attached {
            link.attached = true;
            link.measured(now.since(link.began));
        }
        let session = (attached.snapt, attached.session);
        if self.session.is_some_and(|known| known != session) {
            let streams = self.streams.lose_session();
            self.renewed = 0;
            self.streams
                .outputs
                .push_back(Output::Event(Event::SessionLost { streams }));
        }
        self.session = Some(session);
        self.streams
            .set_peer_limits(attached.initial_limit, attached.streams);
        self.streams.flows.set_peer_idle(attached.flow_idle);
        if (attached.services.iter()).any(CatalogueEntry::is_connectionless) {
            self.streams.expect_datagrams();
        }
        self.streams
            .outputs
            .push_back(Output::Event(Event::Attached {
                virtual_ip: attached.virtual_ip,
                services: attached.services.clone(),
            }));
    }

    fn handle_offered(&mut self, services: &[OfferedService]) {
        let services = services.to_vec();
        let event = Event::Offered { services };
        self.streams.outputs.push_back(Output::Event(event));
    }

    fn handle_renew(&mut self, renew: &Renew, now: Instant) -> Result<(), PeerMisbehaved> {
        if !self.is_number(renew.number) {
            return Ok(());
        }
        self.streams.handle_renew(renew, true)?;
        if self.phase != Phase::AwaitRenewal {
            return Ok(());
        }
        self.await_progress(Timer::Renewal, now);
        if let Some(switch) = self.switch.filter(|_| renew.last)
            && let Some((control, link)) = &self.link
            && link.attached
        {
            self.take_places(switch, *control, now);
        }
        Ok(())
    }

    /// Every stream may have a place on the new link.
    fn take_places(&mut self, switch: Switch, control: ConduitId, now: Instant) {
        self.timers.stop_waits();
        self.streams.carry_on(control, switch.number);
        if let Some((_, link)) = &self.link {
            self.streams.flows.lanes.carry_on(link.number, control);
        }
        //= docs/spec/planned.md#cnapt-31
        //= docs/spec/unexpected.md#cnapt-star-19
        if self.take_by(switch, 31, 19, now) {
            self.streams.give_place(ServiceKind::Client, control);
        }
        //= docs/spec/planned.md#cnapt-32
        //= docs/spec/unexpected.md#cnapt-star-20
        if self.take_by(switch, 32, 20, now) {
            self.streams.give_place(ServiceKind::Server, control);
        }
        self.phase = Phase::AwaitAllRedirected;
        self.await_progress(Timer::AllRedirected, now);
        //= docs/spec/planned.md#cnapt-33
        //= docs/spec/unexpected.md#cnapt-star-21
        if !self.take_by(switch, 33, 21, now) {
            self.handle_all_redirected(switch.number, false, now);
        }
    }

    fn handle_all_redirected(&mut self, number: u64, complete: bool, now: Instant) {
        if self.phase == Phase::AwaitDrained && self.is_number(number) {
            self.timers.stop(Timer::AllRedirected);
            if let Some(switch) = &mut self.switch {
                switch.ok = Some(complete);
            }
            self.check_drained(now);
            return;
        }
        if self.phase != Phase::AwaitAllRedirected || !self.is_number(number) {
            return;
        }
        let (Some(switch), Some((_, link))) = (self.switch, &self.link) else {
            return;
        };
        self.streams.set_round_trip(link.round_trip);
        self.timers.stop_waits();
        //= docs/spec/unexpected.md#cnapt-star-22
        let resends = !switch.is_starred() || self.take(Step::cnapt_star(22), now);
        self.renewed = number;
        self.settled = number;
        self.phase = Phase::Attached;
        self.lost = None;
        self.switch = None;
        if resends {
            self.streams.resend();
        }
        //= docs/spec/planned.md#cnapt-27
        //= docs/spec/planned.md#cnapt-34
        //= docs/spec/unexpected.md#cnapt-star-15
        //= docs/spec/unexpected.md#cnapt-star-23
        if self.take_by(switch, 34, 23, now) {
            self.streams.forward(now);
            self.streams.outputs.push_back(Output::WakeDecision);
        }
        self.streams.end_gap(now);
        self.timers.set(Timer::Gap, now);
        self.report(switch, complete, now);
        self.send_probe(now);
    }

    fn report(&mut self, switch: Switch, complete: bool, now: Instant) {
        let done = switch.failed.is_none();
        let first = switch.first && done;
        self.began |= done;
        let event = if !first {
            Event::Switched(SwitchReport {
                number: switch.number,
                planned: switch.complete && (switch.is_starred() || complete),
                procedure: switch.procedure,
                from: switch.from,
                to: switch.failed.unwrap_or(switch.to),
                started: switch.started,
                ended: now,
                done,
            })
        } else {
            Event::Began { network: switch.to }
        };
        self.streams.outputs.push_back(Output::Event(event));
    }

    // === When something fails ===

    /// The current link is given up.
    fn lose_link(&mut self, reason: Loss, now: Instant) {
        let network = self.network;
        let since = self
            .link
            .as_ref()
            .map_or(now, |(_, link)| link.lost_since(now));
        for (kind, step) in [(ServiceKind::Server, 2), (ServiceKind::Client, 3)] {
            if !self.streams.bugs.has(Bug::NoEffect(Step::cnapt_star(step))) {
                self.streams.stop_forwarding(kind);
            }
        }
        if !self.streams.bugs.has(Bug::NoEffect(Step::cnapt_star(4))) {
            self.streams.flows.lanes.stop();
        }
        self.close_conduits(Close::Reset);
        self.close_link(Close::Reset);
        match self.phase {
            Phase::Attached => {
                self.streams.take_off_conduits();
                self.streams.start_gap(since);
                self.lost = Some((network, since));
                self.phase = Phase::Detached;
                self.timers = Timers::default();
                if let Some(network) = network {
                    self.streams
                        .outputs
                        .push_back(Output::Event(Event::Lost { network, reason }));
                }
            }
            // The old link died under the planned steps: on with the starred ones, to the same place.
            Phase::AwaitSuspension
            | Phase::AwaitAck
            | Phase::AwaitMarkers
            | Phase::AwaitOk
            | Phase::AwaitServerServices
            | Phase::AwaitStandby => self.give_up_planned(now),
            // Nothing of the old link is left, and now the new one died.
            Phase::AwaitClosing
            | Phase::AwaitOpening
            | Phase::AwaitVpn
            | Phase::AwaitControl
            | Phase::AwaitRenewal
            | Phase::AwaitAllRedirected
            | Phase::AwaitDrained => self.fail_target(now),
            Phase::Detached | Phase::Refused => {}
        }
    }

    fn give_up_planned(&mut self, now: Instant) {
        if let Some(switch) = self.switch.filter(|one| !one.is_starred()) {
            let since = self
                .link
                .as_ref()
                .map_or(now, |(_, link)| link.lost_since(now));
            self.streams.gap_began(since);
            self.begin_starred(switch.to, switch.ordered, now);
        }
    }

    /// The network that was to be switched to cannot be reached.
    fn fail_target(&mut self, now: Instant) {
        let Some(switch) = self.switch else { return };
        self.timers.stop_waits();
        self.close_conduits(Close::Reset);
        self.close_link(Close::Reset);
        self.streams.take_off_conduits();
        let back = switch
            .from
            .filter(|from| switch.left_whole && *from != switch.to && switch.failed.is_none());
        if let Some(back) = back {
            self.switch = Some(Switch {
                failed: Some(switch.to),
                ..switch
            });
            self.begin_starred(back, switch.ordered, now);
            return;
        }
        self.switch = None;
        self.phase = Phase::Detached;
        self.lost.get_or_insert((switch.from, switch.started));
        self.streams
            .outputs
            .push_back(Output::Event(Event::Unreachable { network: switch.to }));
        if switch.ordered {
            let failed = Some(switch.failed.unwrap_or(switch.to));
            self.report(Switch { failed, ..switch }, false, now);
        }
        self.streams.outputs.push_back(Output::WakeDecision);
    }

    /// No progress over a link that is not known to be dead: ordered anew, on fresh conduits.
    fn retry(&mut self, now: Instant) {
        let Some((mut switch, (control, _))) = self.switch.zip(self.link.as_ref()) else {
            return;
        };
        let control = *control;
        if switch.retries >= bound::RETRIES {
            self.lose_link(Loss::NoProgress, now);
            return;
        }
        switch.retries += 1;
        switch.number = self.next_number();
        if !switch.is_starred() {
            switch.procedure = Procedure::Starred;
        }
        self.switch = Some(switch);
        self.streams.take_off_conduits();
        self.announce_move(control, now);
    }

    fn handle_refused(&mut self, code: RefusedCode, now: Instant) {
        self.streams
            .outputs
            .push_back(Output::Event(Event::Refused { code }));
        if code != RefusedCode::Superseded {
            self.lose_link(Loss::ControlLost, now);
            return;
        }
        self.streams.lose_session();
        self.close_conduits(Close::Reset);
        self.close_link(Close::Reset);
        self.close_standbys(Close::Reset);
        self.streams.stop_all_forwarding();
        self.timers = Timers::default();
        self.switch = None;
        self.phase = Phase::Refused;
    }

    // === Time ===

    /// Fires every timer that is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((timer, _)) = self.timers.take_due(now) {
            self.handle_timer(timer, now);
        }
        if let Some(deadline) = self.probe_deadline()
            && deadline <= now
        {
            self.probe_due(deadline, now);
        }
        if self
            .return_deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.return_due();
        }
        while let Some(deadline) = self.standby_deadline().filter(|deadline| *deadline <= now) {
            let slept = now.since(deadline) > bound::SLEPT;
            self.standby_due(slept, now);
        }
        self.streams.handle_timeout(now);
    }

    /// The bound named `timer` has passed.
    pub fn handle_timer(&mut self, timer: Timer, now: Instant) {
        self.timers.stop(timer);
        match timer {
            Timer::Suspension => self.go_on_suspended(now),
            Timer::ReplyProbe => self.send_probe(now),
            Timer::Reply => self.reply_overdue(now),
            Timer::Markers | Timer::Drain => self.markers_overdue(now),
            Timer::Ok => self.ok_overdue(now),
            Timer::Dial if self.phase == Phase::AwaitStandby => self.standby_overdue(now),
            Timer::Dial => {
                self.dialling = None;
                self.fail_target(now);
            }
            Timer::AllRedirected if self.phase == Phase::AwaitDrained => self.order_anew(now),
            Timer::Standby => self.standby_due(false, now),
            Timer::Stall => self.suspect(),
            Timer::Return => self.return_due(),
            Timer::Networks => self.networks_overdue(now),
            Timer::Renewal | Timer::AllRedirected => self.retry(now),
            Timer::Gap => self.settle_trail(true, now),
            Timer::Probe => self.send_probe(now),
            Timer::Silence => self.lose_link(Loss::Silent, now),
            Timer::Acknowledge
            | Timer::Activity
            | Timer::Spares
            | Timer::Open
            | Timer::OpenWait
            | Timer::FlowIdle => {
                self.streams.handle_timer(timer, now);
            }
            Timer::OtherNetwork | Timer::SwitchTimeout | Timer::Held => {}
        }
    }

    fn markers_overdue(&mut self, now: Instant) {
        if let Some(switch) = &mut self.switch {
            switch.complete = false;
        }
        if self.phase == Phase::AwaitDrained {
            self.check_drained(now);
        } else {
            self.await_ok(now);
        }
    }

    fn reply_overdue(&mut self, now: Instant) {
        if self.prolong(now) {
            self.await_reply(now);
        } else {
            self.give_up_planned(now);
        }
    }

    /// The SNAPT may still be taking in what this side had under way on a slow network.
    fn ok_overdue(&mut self, now: Instant) {
        if self.prolong(now) {
            self.await_ok_longer(now);
        } else {
            self.give_up_planned(now);
        }
    }

    /// Whether the SNAPT answered the probe, so that its answer to the order may only be late.
    fn prolong(&mut self, now: Instant) -> bool {
        let patience = self.patience(bound::PROGRESS);
        let lives = self.link.as_ref().is_some_and(|(_, link)| {
            link.unanswered_since.is_none() && link.last_heard + patience >= now
        });
        match &mut self.switch {
            Some(switch) if lives && switch.extensions < bound::REPLY_EXTENSIONS => {
                switch.extensions += 1;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Tells the SNAPT, and the user, when the gap of the last switch is known.
    fn settle_trail(&mut self, ask: bool, now: Instant) {
        let Some((control, _)) = self.link.as_ref().filter(|_| self.phase == Phase::Attached)
        else {
            return;
        };
        let control = *control;
        let number = self.settled;
        let Some(gap) = self.streams.settled_gap(now) else {
            if ask {
                self.timers.set(Timer::Gap, now + Duration::from_millis(10));
            }
            return;
        };
        if ask {
            let steps = trail_from_start(&self.trail);
            let gap_micros = gap.map(to_micros);
            self.push(
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

    const fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn is_number(&self, number: u64) -> bool {
        self.switch.is_some_and(|switch| switch.number == number)
    }

    fn control_and_number(&self) -> Option<(ConduitId, u64)> {
        Some((self.link.as_ref()?.0, self.switch?.number))
    }

    fn patience(&self, least: Duration) -> Duration {
        self.link
            .as_ref()
            .map_or(least, |(_, link)| link.patience(least))
    }

    fn mark(&mut self, step: Step, now: Instant) {
        self.trail.mark(step, now);
    }

    /// Marks the step and says that it has its effect: always, but for a check of the checks.
    fn take(&mut self, step: Step, now: Instant) -> bool {
        self.mark(step, now);
        !self.streams.bugs.has(Bug::NoEffect(step))
    }

    fn take_by(&mut self, switch: Switch, planned: u8, starred: u8, now: Instant) -> bool {
        self.take(step_of(switch, planned, starred), now)
    }

    fn greet(&mut self, conduit: ConduitId, link: LinkNumber, role: Role) {
        let hello = Hello {
            oldest: VERSION,
            newest: VERSION,
            role,
            instance: self.instance,
            link,
        };
        self.push(conduit, Frame::Hello(hello));
    }

    fn push(&mut self, conduit: ConduitId, frame: Frame) {
        self.streams.push_frame(conduit, frame);
    }

    fn close(&mut self, conduit: ConduitId, how: Close) {
        self.streams.close_conduit(conduit, how);
    }

    fn close_spares(&mut self, control: ConduitId) {
        let spares: Vec<ConduitId> = self
            .streams
            .conduits
            .iter()
            .filter(|(id, conduit)| {
                **id != control && conduit.link == control && conduit.number.is_none()
            })
            .map(|(id, _)| *id)
            .collect();
        for spare in spares {
            self.close(spare, Close::Drain);
        }
    }

    /// Closes the conduits that the next switch has no use for: all of the current link and all that are in use,
    /// but for the control channels.
    fn close_conduits(&mut self, how: Close) {
        let current = self.link.as_ref().map(|(control, _)| *control);
        self.close_all(how, |one| Some(one.link) == current || one.number.is_some());
    }

    /// Closes those of one link.
    fn close_conduits_of(&mut self, control: ConduitId, how: Close) {
        self.close_all(how, |one| one.link == control);
    }

    fn close_all(&mut self, how: Close, which: impl Fn(&Conduit) -> bool) {
        let conduits = self.streams.conduits.iter();
        let plain = conduits.filter(|(id, one)| one.link != **id && which(one));
        let all: Vec<ConduitId> = plain.map(|(id, _)| *id).collect();
        for conduit in all {
            self.close(conduit, how);
        }
    }

    fn close_link(&mut self, how: Close) {
        if let Some((control, _)) = self.link.take() {
            self.streams.forget_link(control);
            self.close(control, how);
        }
        self.dialling = None;
    }
}

fn step_of(switch: Switch, planned: u8, starred: u8) -> Step {
    if switch.is_starred() {
        Step::cnapt_star(starred)
    } else {
        Step::cnapt(planned)
    }
}

/// The steps with their time since the first.
pub(super) fn trail_from_start(trail: &StepTrail) -> Vec<(Step, u64)> {
    let start = trail
        .steps()
        .first()
        .map_or(Instant::default(), |(_, at)| *at);
    trail
        .steps()
        .iter()
        .map(|(step, at)| (*step, to_micros(at.since(start))))
        .collect()
}

pub(super) fn to_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
