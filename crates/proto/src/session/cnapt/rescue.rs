//! Rescue: the starred switch ordered early, away from a link that is silent while something should come by it.
//!
//! A link is suspect when a probe goes unanswered for longer than its own round trips explain, and nothing comes by
//! any of its conduits. What makes the CNAPT probe is data that was flowing and stops, or something sent that is not
//! acknowledged in time; a slow reader is neither. The shell is told, and says where to go; the traffic moves, and
//! the old link is kept until it is proved dead. If it speaks again it was a false alarm: after a pause that doubles
//! with each, the shell is told that it may go back, which is an overlapped switch.
//!
//! The brakes: a rescue by a network that costs something moves a bounded number of bytes; after one comes no other
//! for [`bound::RESCUE_PAUSE`]; and none by the same pair of networks before its pause is over.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Cnapt, Phase, Standby, Switch};
use crate::session::{Close, Event, NetworkId, Output, Procedure, bound};
use crate::step::Step;
use crate::stream::ServiceKind;
use crate::{ConduitId, Instant};

/// What two networks have shown of false alarms.
#[derive(Clone, Copy, Debug, Hash)]
struct Hold {
    /// How long the next way back waits.
    pause: Duration,
    /// No rescue before this.
    until: Instant,
}

/// A network that was left by a rescue and lives.
#[derive(Clone, Copy, Debug, Hash)]
struct Return {
    network: NetworkId,
    at: Instant,
}

/// What is known of rescues.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Rescues {
    /// The network that one goes to as soon as there is a link.
    to: Option<NetworkId>,
    /// When the last one began.
    last: Option<Instant>,
    /// Which network the last switch left for which, if it was one.
    by: Option<(NetworkId, NetworkId)>,
    returning: Option<Return>,
    /// By the network that was left and the one that was gone to.
    holds: BTreeMap<(NetworkId, NetworkId), Hold>,
}

impl Rescues {
    /// A switch begins that is none: what one has left is a network like others.
    pub(super) const fn forget(&mut self) {
        self.by = None;
        self.returning = None;
        self.to = None;
    }

    pub(super) fn forget_way_back(&mut self, network: NetworkId) {
        self.returning.take_if(|one| one.network == network);
    }

    /// Whether none may begin between these networks now.
    fn are_held(&self, from: NetworkId, to: NetworkId, now: Instant) -> bool {
        let hold = self.holds.get(&(from, to));
        let soon = self.last.is_some_and(|at| now < at + bound::RESCUE_PAUSE);
        soon || hold.is_some_and(|hold| now < hold.until)
    }

    /// The last one was a false alarm: the way back waits, the next one for longer.
    fn return_later(&mut self, from: NetworkId, to: NetworkId, now: Instant) {
        let first = Hold {
            pause: bound::RETURN_PAUSE,
            until: now,
        };
        let hold = self.holds.entry((from, to)).or_insert(first);
        let pause = hold.pause;
        hold.pause = bound::LONGEST_RETURN_PAUSE.min(2 * pause);
        hold.until = now + 2 * pause;
        let at = now + pause;
        self.returning = Some(Return { network: from, at });
    }
}

impl Cnapt {
    /// The traffic is to leave the link that carries for one over `network`, which is made if there is none: the
    /// answer to [`Event::Stalled`]. Not if more than `budget` bytes are under way, which would all be sent again,
    /// nor so soon after the last one. Says whether it has begun.
    pub fn rescue(&mut self, network: NetworkId, budget: Option<u64>, now: Instant) -> bool {
        let Some(from) = self
            .network
            .filter(|from| self.phase == Phase::Attached && *from != network)
        else {
            return false;
        };
        let dear = budget.is_some_and(|most| self.streams.unacknowledged() > most);
        if dear || self.rescues.are_held(from, network, now) {
            return false;
        }
        let stands_by = self.has_standby(network);
        if stands_by {
            self.begin_rescue(network, now);
        } else {
            self.rescues.to = Some(network);
            self.hold_standby(network, now);
        }
        stands_by
    }

    /// A link that a rescue waits for is there: it goes on, if the one that carries is silent still.
    pub(super) fn rescue_by(&mut self, network: NetworkId, now: Instant) {
        let awaited = self.rescues.to.take_if(|to| *to == network).is_some();
        if awaited && self.phase == Phase::Attached && self.is_unanswered() {
            self.begin_rescue(network, now);
        }
    }

    fn begin_rescue(&mut self, to: NetworkId, now: Instant) {
        let Some((control, link)) = &self.link else {
            return;
        };
        let (control, since) = (*control, link.lost_since(now));
        self.trail.clear();
        self.streams.start_gap(since);
        self.rescues.last = Some(now);
        self.rescues.by = self.network.map(|from| (from, to));
        self.rescues.returning = None;
        self.switch = Some(Switch {
            complete: false,
            left: Some(control),
            left_whole: true,
            ..Switch::new(
                self.next_number(),
                Procedure::Rescue,
                self.network,
                to,
                since,
            )
        });
        self.suspend_and_stop(Step::cnapt_star, now);
    }

    /// CNAPT-8*..12*, but the old link is kept: its conduits end, its control channel shows whether it lives.
    pub(super) fn set_aside_old(&mut self, now: Instant) {
        for step in 8..=9 {
            self.mark(Step::cnapt_star(step), now);
        }
        self.streams.flows.lanes.unbind(ServiceKind::Client);
        for step in 10..=12 {
            self.mark(Step::cnapt_star(step), now);
        }
        self.streams.take_off_conduits();
        self.close_conduits(Close::Reset);
        self.set_aside();
        self.move_sockets(self.switch.map(|switch| switch.to), now);
    }

    /// A link beside the one that carries was heard. If a rescue left it, that was a false alarm.
    pub(super) fn heard_beside(&mut self, control: ConduitId, now: Instant) {
        let Some(standby) = self.standbys.get_mut(&control) else {
            return;
        };
        standby.link.heard(now);
        if !std::mem::take(&mut standby.link.suspected) {
            return;
        }
        let network = standby.network;
        match self.rescues.by {
            Some((from, to)) if from == network => self.rescues.return_later(from, to, now),
            Some(_) | None => {
                let event = Event::StandsBy { network };
                self.streams.outputs.push_back(Output::Event(event));
            }
        }
    }

    /// Whether a rescue waits for a link over this network, or has left one there of which it is to be seen yet
    /// whether it lives, or to which the session is to go back.
    pub(super) fn needs_for_rescue(&self, network: NetworkId) -> bool {
        let Rescues {
            to, by, returning, ..
        } = &self.rescues;
        let suspected = |one: &Standby| one.network == network && one.link.suspected;
        let left = by.is_some_and(|(from, _)| from == network);
        let undecided = returning.is_some() || self.standbys.values().any(suspected);
        *to == Some(network) || left && undecided
    }

    /// When the shell may be told that a network which a rescue left is good again.
    pub(super) fn return_deadline(&self) -> Option<Instant> {
        let returning = self.rescues.returning;
        let returning = returning.filter(|_| self.phase == Phase::Attached);
        returning.map(|one| one.at)
    }

    pub(super) fn return_due(&mut self) {
        let Some(Return { network, at }) = self.rescues.returning.take() else {
            return;
        };
        let link = self
            .standby_on(network)
            .and_then(|control| self.standbys.get(&control));
        if link.is_some_and(|one| one.link.unanswered_since.is_some()) {
            let at = at + bound::RETURN_PAUSE;
            self.rescues.returning = Some(Return { network, at });
        } else if link.is_some() {
            let event = Event::Recovered { network };
            self.streams.outputs.push_back(Output::Event(event));
        }
    }
}
