//! Links beside the one that carries: attached, probed now and then, with spare conduits, and without traffic.
//!
//! A switch to the network of a standby has nothing to dial. Traffic never comes to it by itself: that takes a
//! numbered switch message (design rule 7).

use super::{Cnapt, Phase};
use crate::session::link::Link;
use crate::session::{Close, Event, NetworkId, Output, bound};
use crate::stream::STREAMS;
use crate::wire::{Attach, Frame, KEPT_LINKS, Role};
use crate::{ConduitId, Instance, Instant, LinkNumber};

/// A link that does not carry.
#[derive(Clone, Debug, Hash)]
pub(super) struct Standby {
    pub(super) network: NetworkId,
    pub(super) link: Link,
    /// The SNAPT instance and session that its ATTACH named.
    pub(super) session: Option<(Instance, u64)>,
}

/// One that is being made.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct StandbyDial {
    pub(super) network: NetworkId,
    since: Instant,
}

impl Cnapt {
    /// Holds a link over this network beside the one that carries; [`Event::StandbyLost`] if there is none, now
    /// or later. At most [`KEPT_LINKS`], and none before the session's first link.
    pub fn hold_standby(&mut self, network: NetworkId, now: Instant) {
        if self.has_standby(network) {
            if let Some(control) = self.attached_standby_on(network) {
                self.streams.keep_standby(control);
            }
            return;
        }
        let carries = self.carries_over(network);
        let known = self.is_dialling_standby(network);
        let room = self.standbys.len() + self.standby_dials.len() < KEPT_LINKS;
        if carries || known || !room || self.session.is_none() || self.phase == Phase::Refused {
            return;
        }
        let link = LinkNumber(self.next_link);
        self.next_link += 1;
        let dial = StandbyDial {
            network,
            since: now,
        };
        self.standby_dials.insert(link, dial);
        let dial = Output::DialLink { link, network };
        self.streams.outputs.push_back(dial);
    }

    /// Holds none over this network any more, unless a switch needs it.
    pub fn release_standby(&mut self, network: NetworkId) {
        let by_switch = self
            .switch
            .is_some_and(|one| one.to == network || one.from == Some(network));
        if by_switch || self.needs_for_rescue(network) {
            return;
        }
        self.standby_dials.retain(|_, dial| dial.network != network);
        if let Some(control) = self.standby_on(network) {
            self.close_standby(control, Close::Drain);
        }
    }

    /// Whether there is a link over this network beside the one that carries, attached or about to be.
    pub fn has_standby(&self, network: NetworkId) -> bool {
        self.standby_on(network).is_some()
    }

    /// Whether it has its spare conduits, too, so that a switch there has nothing to wait for.
    pub fn is_standby_ready(&self, network: NetworkId) -> bool {
        let control = self.attached_standby_on(network);
        control.is_some_and(|control| self.streams.is_ready(control))
    }

    fn carries_over(&self, network: NetworkId) -> bool {
        self.link.is_some() && self.network == Some(network)
    }

    /// Whether there is a link over this network, carrying or not.
    pub(super) fn has_link_over(&self, network: NetworkId) -> bool {
        self.carries_over(network) || self.has_standby(network)
    }

    /// Whether this is the control conduit of a link beside the one that carries.
    pub fn is_standby(&self, control: ConduitId) -> bool {
        self.standbys.contains_key(&control)
    }

    fn is_dialling_standby(&self, network: NetworkId) -> bool {
        self.standby_dials
            .values()
            .any(|dial| dial.network == network)
    }

    /// The control conduit of the link over this network that does not carry.
    pub(super) fn standby_on(&self, network: NetworkId) -> Option<ConduitId> {
        let mut all = self.standbys.iter();
        all.find(|(_, one)| one.network == network)
            .map(|(control, _)| *control)
    }

    /// The same, once the SNAPT has answered on it.
    pub(super) fn attached_standby_on(&self, network: NetworkId) -> Option<ConduitId> {
        let control = self.standby_on(network)?;
        let attached = self.standbys.get(&control)?.link.attached;
        attached.then_some(control)
    }

    /// The link that carries does so no longer, and stands by. Says which it was, by its control conduit.
    pub(super) fn set_aside(&mut self) -> Option<ConduitId> {
        let (network, session) = (self.network?, self.session);
        let (control, link) = self.link.take()?;
        let standby = Standby {
            network,
            link,
            session,
        };
        self.standbys.insert(control, standby);
        Some(control)
    }

    /// The links that live on when the traffic moves to another.
    pub(super) fn kept_links(&self) -> Vec<LinkNumber> {
        self.standbys.values().map(|one| one.link.number).collect()
    }

    /// Its control conduit is there.
    pub(super) fn standby_up(
        &mut self,
        dial: StandbyDial,
        link: LinkNumber,
        control: ConduitId,
        now: Instant,
    ) {
        let standby = Standby {
            network: dial.network,
            link: Link::new(link, now),
            session: self.session,
        };
        self.standbys.insert(control, standby);
        self.attach_link(control, link);
        self.rescue_by(dial.network, now);
    }

    /// HELLO and ATTACH.
    pub(super) fn attach_link(&mut self, control: ConduitId, link: LinkNumber) {
        self.streams.add_conduit(control, control);
        self.greet(control, link, Role::Control);
        let (snapt, session) = self.session.unwrap_or((Instance(0), 0));
        let attach = Attach {
            cnapt: self.id,
            session,
            snapt,
            initial_limit: self.streams.initial_limit(),
            streams: STREAMS,
            flow_idle: self.streams.flows.idle(),
            services: self.services.clone(),
        };
        self.push(control, Frame::Attach(attach));
    }

    /// The SNAPT's answer on a standby. If it has begun anew, the link that carries is as good as dead, and finds out
    /// by itself; and a link whose ATTACH named another session than this one may not carry it.
    pub(super) fn standby_attached(
        &mut self,
        control: ConduitId,
        session: (Instance, u64),
        now: Instant,
    ) {
        let named = self.standbys.get(&control).and_then(|one| one.session);
        if self.session != Some(session) || named != Some(session) {
            self.drop_standby(control, Close::Reset, now);
            if self.serves() {
                self.send_probe(now);
            }
            return;
        }
        if let Some(standby) = self.standbys.get_mut(&control)
            && !standby.link.attached
        {
            standby.link.attached = true;
            standby.link.measured(now.since(standby.link.began));
            let network = standby.network;
            let event = Event::StandsBy { network };
            self.streams.outputs.push_back(Output::Event(event));
            self.streams.keep_standby(control);
            self.go_over_if_ready(now);
        }
    }

    /// A link beside the one that carries is gone. If it is the old one of an overlapped switch, what was under way
    /// on it may be lost.
    pub(super) fn drop_standby(&mut self, control: ConduitId, how: Close, now: Instant) {
        if let Some(switch) = &mut self.switch
            && switch.left == Some(control)
        {
            let all = self.streams.unmarked_below(switch.number).next().is_none();
            switch.complete &= all;
            switch.left_whole = false;
        }
        if let Some(network) = self.close_standby(control, how) {
            self.rescues.forget_way_back(network);
            self.tell_standby_lost(network, now);
        }
        self.check_drained(now);
    }

    /// There is no link over this network beside the one that carries.
    pub(super) fn tell_standby_lost(&mut self, network: NetworkId, now: Instant) {
        let event = Event::StandbyLost { network };
        self.streams.outputs.push_back(Output::Event(event));
        self.target_standby_lost(network, now);
    }

    fn close_standby(&mut self, control: ConduitId, how: Close) -> Option<NetworkId> {
        let standby = self.standbys.remove(&control)?;
        self.streams.forget_link(control);
        self.close_conduits_of(control, how);
        self.close(control, how);
        Some(standby.network)
    }

    /// All of them.
    pub(super) fn close_standbys(&mut self, how: Close) {
        let all: Vec<ConduitId> = self.standbys.keys().copied().collect();
        for control in all {
            self.close_standby(control, how);
        }
        self.standby_dials.clear();
    }

    /// When a standby has to be probed or judged, or a dial is overdue.
    pub(super) fn standby_deadline(&self) -> Option<Instant> {
        let dials = self
            .standby_dials
            .values()
            .map(|dial| dial.since + bound::DIAL);
        let links = self.standbys.values().map(|one| self.deadline_of(one));
        dials.chain(links).min()
    }

    fn deadline_of(&self, standby: &Standby) -> Instant {
        let Standby { network, link, .. } = standby;
        if !link.attached {
            return link.began + bound::DIAL;
        }
        if link.unanswered_since.is_some() {
            return link.judge_at;
        }
        link.last_heard + self.keepalive_of(Some(*network))
    }

    /// What is due first of the standbys is done.
    pub(super) fn standby_due(&mut self, slept: bool, now: Instant) {
        let overdue = self.standby_dials.iter().min_by_key(|(_, dial)| dial.since);
        let overdue = overdue.map(|(link, dial)| (dial.since + bound::DIAL, *link));
        let link = self
            .standbys
            .iter()
            .map(|(control, one)| (self.deadline_of(one), *control))
            .min();
        match (overdue, link) {
            (Some((dial, number)), judged) if judged.is_none_or(|(at, _)| dial <= at) => {
                if let Some(dial) = self.standby_dials.remove(&number) {
                    self.tell_standby_lost(dial.network, now);
                }
            }
            (_, Some((_, control))) => self.judge_standby(control, slept, now),
            (_, None) => {}
        }
    }

    fn judge_standby(&mut self, control: ConduitId, slept: bool, now: Instant) {
        let Some(Standby { link, .. }) = self.standbys.get_mut(&control) else {
            return;
        };
        if slept {
            link.forgive(now);
        }
        let silence = link.patience(bound::SILENCE);
        let silent = link
            .unanswered_since
            .is_some_and(|since| since + silence <= now);
        if !link.attached || silent {
            self.drop_standby(control, Close::Reset, now);
            return;
        }
        let probe = link.ask(now);
        self.push(control, probe);
    }
}
