//! The overlapped switch at the SNAPT: it goes over at once, and lets the old link come to its end.

use super::{Snapt, SnaptPhase};
use crate::session::{Close, Timer, bound};
use crate::step::Step;
use crate::stream::ServiceKind;
use crate::wire::Frame;
use crate::{ConduitId, Instant};

impl Snapt {
    /// SWITCH_STEP2 over a link beside the one that carries. Where nothing carries, what was under way is lost, and
    /// only RENEW says what: so another order is asked for.
    pub(super) fn overlap(
        &mut self,
        control: ConduitId,
        number: u64,
        conduits: usize,
        now: Instant,
    ) {
        let current = self
            .streams
            .current
            .filter(|_| self.phase == SnaptPhase::Attached);
        let Some(old) = current.filter(|old| *old != control) else {
            let lost = true;
            self.streams
                .push_frame(control, Frame::Stalled { number, lost });
            return;
        };
        self.trail.clear();
        self.mark(Step::snapt_overlapped(1), now);
        self.number = number;
        self.left = Some(old);
        self.moving_to = Some(control);
        self.streams.start_gap(now);
        self.mark(Step::snapt_overlapped(2), now);
        for kind in ServiceKind::ALL {
            self.streams.flows.lanes.redirect(kind, control);
        }
        if let Some(link) = self.links.get(&control) {
            self.streams.set_round_trip(link.link.round_trip);
        }
        self.streams.go_over(control, number, now);
        self.tell_offered(control);
        self.tell_redirected(control, now);
        self.mark(Step::snapt_overlapped(3), now);
        self.expect_markers(conduits);
        self.streams.mark_conduits(number);
        self.mark(Step::snapt_overlapped(4), now);
        self.phase = SnaptPhase::AwaitDrained;
        self.timers.stop_waits();
        let patience = self.patience(old, bound::PROGRESS);
        self.timers.set(Timer::Markers, now + patience);
        self.timers.set(Timer::Drain, now + bound::DRAIN);
        self.check_markers(now);
    }

    /// Every marker has come, or will not.
    pub(super) fn finish_overlapped(&mut self, now: Instant) {
        let (number, complete) = (self.number, self.complete);
        self.timers.stop_waits();
        self.left = None;
        self.mark(Step::snapt_overlapped(5), now);
        if let Some(control) = self.streams.current {
            self.streams
                .push_frame(control, Frame::AllRedirected { number, complete });
        }
        // Else they would be taken for those of the next switch.
        for conduit in self.streams.marked_below(number) {
            self.streams.close_conduit(conduit, Close::Drain);
        }
        self.streams.repeat_ends();
        self.phase = SnaptPhase::Attached;
        self.streams.end_gap(now);
        self.timers.set(Timer::Gap, now);
    }
}
