//! The overlapped switch: both networks are up, and nobody stops.
//!
//! The new link attaches as a standby and opens its spare conduits while the old one carries. Then SWITCH_STEP2
//! moves the traffic: each sender goes on at once on the new link, and ends each conduit of the old one with
//! LAST_MESSAGE_BEFORE_REDIRECTION behind what it has begun there. The receiver merges by offset. When the markers
//! have come both ways the old conduits are closed, and the old link is a standby, with which the shell does as
//! its policy says.
//!
//! Whatever goes wrong is left to the starred steps: if the old link dies before its markers came, the switch is
//! ordered anew over the new link, and RENEW says what is missing; if the new one dies, they lead back.

use super::{Cnapt, Ordered, Phase, Switch};
use crate::session::{Close, NetworkId, Output, Procedure, Timer, bound};
use crate::step::Step;
use crate::stream::ServiceKind;
use crate::wire::{Frame, Move, OldLink};
use crate::{ConduitId, Instant};

impl Cnapt {
    /// The user orders a switch to a network that is up, as the one that carries is (R17).
    pub fn order_overlapped(&mut self, network: NetworkId, now: Instant) -> Ordered {
        if self.phase == Phase::Attached && self.network != Some(network) {
            self.begin_overlapped(network, true, now);
            return Ordered::Began;
        }
        self.order(network, now)
    }

    /// The decision task goes back to a network that is well again: the answer to
    /// [`Event::Recovered`](crate::session::Event::Recovered).
    pub fn go_back(&mut self, network: NetworkId, now: Instant) {
        if self.phase == Phase::Attached && self.network != Some(network) {
            self.begin_overlapped(network, false, now);
        }
    }

    fn begin_overlapped(&mut self, to: NetworkId, ordered: bool, now: Instant) {
        self.rescues.forget();
        self.trail.clear();
        self.streams.start_gap(now);
        self.switch = Some(Switch {
            ordered,
            ..Switch::new(
                self.next_number(),
                Procedure::Overlapped,
                self.network,
                to,
                now,
            )
        });
        self.mark(Step::cnapt_overlapped(1), now);
        self.streams.outputs.push_back(Output::SuspendDecision);
        self.mark(Step::cnapt_overlapped(2), now);
        self.await_suspension(now);
    }

    pub(super) fn await_standby(&mut self, now: Instant) {
        let Some(switch) = self.switch else { return };
        self.mark(Step::cnapt_overlapped(3), now);
        self.phase = Phase::AwaitStandby;
        self.timers.set(Timer::Dial, now + bound::DIAL);
        self.hold_standby(switch.to, now);
        self.go_over_if_ready(now);
    }

    pub(super) fn go_over_if_ready(&mut self, now: Instant) {
        let Some(control) = self.target_standby() else {
            return;
        };
        if self.streams.is_ready(control) {
            self.go_over(control, now);
        }
    }

    /// The attached standby that a switch waits for.
    fn target_standby(&self) -> Option<ConduitId> {
        let switch = self.switch.filter(|_| self.phase == Phase::AwaitStandby)?;
        self.attached_standby_on(switch.to)
    }

    /// Spares or not, it is time; or there is no link to go to.
    pub(super) fn standby_overdue(&mut self, now: Instant) {
        match self.target_standby() {
            Some(control) => self.go_over(control, now),
            None => self.give_up_overlapped(now),
        }
    }

    /// The link that a switch waits for is none: the session stays where it is.
    pub(super) fn target_standby_lost(&mut self, network: NetworkId, now: Instant) {
        let awaited = self.switch.filter(|_| self.phase == Phase::AwaitStandby);
        if awaited.is_some_and(|switch| switch.to == network) {
            self.give_up_overlapped(now);
        }
    }

    fn give_up_overlapped(&mut self, now: Instant) {
        let Some(switch) = self.switch.take() else {
            return;
        };
        self.timers.stop_waits();
        self.phase = Phase::Attached;
        let failed = Some(switch.to);
        self.report(Switch { failed, ..switch }, false, now);
        self.streams.outputs.push_back(Output::WakeDecision);
    }

    fn go_over(&mut self, control: ConduitId, now: Instant) {
        let (Some(switch), Some(new)) = (self.switch, self.standbys.remove(&control)) else {
            return;
        };
        let conduits = self.streams.numbered_below(switch.number).count();
        let left = self.set_aside();
        let (number, link) = (switch.number, new.link.number);
        self.streams.set_round_trip(new.link.round_trip);
        self.link = Some((control, new.link));
        self.network = Some(switch.to);
        self.switch = Some(Switch {
            left,
            left_whole: true,
            // What ended before has been said again.
            complete: true,
            ..switch
        });
        self.mark(Step::cnapt_overlapped(4), now);
        let order = Move {
            number,
            cnapt: self.id,
            old: OldLink::Draining {
                conduits: u32::try_from(conduits).unwrap_or(u32::MAX),
            },
            kept: self.kept_links(),
        };
        self.push(control, Frame::SwitchStep2(order));
        self.mark(Step::cnapt_overlapped(5), now);
        self.streams.flows.lanes.bind(ServiceKind::Server, link);
        self.streams.flows.lanes.bind(ServiceKind::Client, link);
        self.streams.flows.lanes.carry_on(link, control);
        self.streams.go_over(control, number, now);
        self.mark(Step::cnapt_overlapped(6), now);
        self.streams.mark_conduits(number);
        self.mark(Step::cnapt_overlapped(7), now);
        self.timers.stop_waits();
        self.phase = Phase::AwaitDrained;
        self.timers.set(Timer::Drain, now + bound::DRAIN);
        self.await_progress(Timer::Markers, now);
        self.await_progress(Timer::AllRedirected, now);
        self.check_drained(now);
    }

    /// Something came by a link while the old one drains.
    pub(super) fn drain_progresses(&mut self, by: ConduitId, now: Instant) {
        let left = self.switch.and_then(|switch| switch.left);
        let timer = if left == Some(by) {
            Timer::Markers
        } else {
            Timer::AllRedirected
        };
        self.await_progress(timer, now);
    }

    pub(super) fn check_drained(&mut self, now: Instant) {
        let Some(switch) = self.switch.filter(|_| self.phase == Phase::AwaitDrained) else {
            return;
        };
        if !switch.complete || switch.ok == Some(false) {
            self.order_anew(now);
        } else if self.all_markers_came(switch.number) {
            self.timers.stop(Timer::Markers);
            if switch.ok.is_some() {
                self.finish_overlapped(switch, now);
            }
        }
    }

    /// What was under way on the old link may be lost: RENEW says what.
    pub(super) fn order_anew(&mut self, now: Instant) {
        if let Some(switch) = &mut self.switch {
            switch.complete = false;
        }
        self.streams.stop_all_forwarding();
        self.close_conduits(Close::Reset);
        self.retry(now);
    }

    fn finish_overlapped(&mut self, switch: Switch, now: Instant) {
        self.mark(Step::cnapt_overlapped(8), now);
        let drained: Vec<ConduitId> = self.streams.numbered_below(switch.number).collect();
        for conduit in drained {
            self.close(conduit, Close::Drain);
        }
        self.streams.repeat_ends();
        self.timers.stop_waits();
        self.settled = switch.number;
        self.phase = Phase::Attached;
        self.switch = None;
        self.streams.outputs.push_back(Output::WakeDecision);
        self.streams.end_gap(now);
        self.timers.set(Timer::Gap, now);
        self.report(switch, true, now);
        self.send_probe(now);
    }
}
