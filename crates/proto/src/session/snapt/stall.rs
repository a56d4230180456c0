//! STALLED: the SNAPT gives no orders, but it hears sooner than the CNAPT that what it sends does not arrive.

use super::{Snapt, SnaptPhase};
use crate::wire::Frame;
use crate::{ConduitId, Instant};

impl Snapt {
    /// When an answer to what was sent is overdue, and there is a link by which the CNAPT can be told.
    pub(super) fn stall_deadline(&self) -> Option<Instant> {
        if self.stalled || self.phase != SnaptPhase::Attached {
            return None;
        }
        let current = self.streams.current?;
        let link = &self.links.get(&current)?.link;
        let since = self.streams.expecting_since()?;
        self.links_beside(current).next()?;
        Some(since + link.answer_time())
    }

    /// Asks for SWITCH_UNEXPECTED by every link beside the one that carries or was to.
    pub(super) fn tell_stalled(&mut self) {
        let lost = self.phase == SnaptPhase::AwaitUnexpected;
        self.stalled = true;
        let number = self.number;
        let carries = self.streams.current.or(self.moving_to);
        let beside: Vec<ConduitId> =
            carries.map_or_else(Vec::new, |carries| self.links_beside(carries).collect());
        for control in beside {
            self.streams
                .push_frame(control, Frame::Stalled { number, lost });
        }
    }

    fn links_beside(&self, current: ConduitId) -> impl Iterator<Item = ConduitId> {
        let beside = self.links.iter().filter(move |(id, one)| {
            **id != current && one.link.attached && Some(one.instance) == self.cnapt
        });
        beside.map(|(id, _)| *id)
    }
}
