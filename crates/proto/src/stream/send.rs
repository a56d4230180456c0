//! The sending half: what the application wrote, until the other module has it.
//!
//! `arrived <= sent <= written`, and nothing is sent at or beyond `limit`. The bytes from `arrived` to
//! `written` are kept as they were read, in reference-counted chunks; going back to `arrived` costs
//! nothing but the sending.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use super::{End, PeerMisbehaved};
use crate::bug::{Bug, Bugs};

#[derive(Clone, Debug, Hash)]
pub(crate) struct SendHalf {
    /// The bytes from `arrived` to `written`.
    replay: VecDeque<Bytes>,
    arrived: u64,
    sent: u64,
    /// The highest offset ever sent: where an ABORT ends.
    highest: u64,
    written: u64,
    limit: u64,
    /// The chunk that `sent` is in, and how far into it.
    cursor: (usize, usize),
    /// From where to where bytes are sent once more, behind those that are new.
    again: Option<(u64, u64)>,
    end: Option<End>,
    end_sent: bool,
    end_arrived: bool,
    bugs: Bugs,
}

impl SendHalf {
    pub(crate) const fn new(limit: u64, bugs: Bugs) -> Self {
        Self {
            replay: VecDeque::new(),
            arrived: 0,
            sent: 0,
            highest: 0,
            written: 0,
            limit,
            cursor: (0, 0),
            again: None,
            end: None,
            end_sent: false,
            end_arrived: false,
            bugs,
        }
    }

    //= docs/spec/unexpected.md#cnapt-star-06
    //= docs/spec/unexpected.md#snapt-star-06
    pub(crate) fn write(&mut self, bytes: Bytes) {
        // The other side's STOP may have come while the application's task was reading.
        if self.end.is_none() && !bytes.is_empty() {
            self.written += bytes.len() as u64;
            self.replay.push_back(bytes);
        }
    }

    /// How many bytes may be written, with `unsent` as the most that may wait.
    pub(crate) fn room(&self, unsent: u64) -> u64 {
        if self.end.is_some() {
            return 0;
        }
        self.limit
            .min(self.sent + unsent)
            .saturating_sub(self.written)
    }

    /// The application closed its half.
    pub(crate) fn finish(&mut self) {
        self.end.get_or_insert(End::Fin { last: self.written });
    }

    /// The direction is broken off. An end that was there before stands.
    pub(crate) fn abort(&mut self, code: u16) {
        if self.end.is_none() {
            let last = if self.bugs.has(Bug::AbortAtCursor) {
                self.sent
            } else {
                self.highest
            };
            self.drop_replay();
            self.written = last;
            self.sent = last;
            self.end = Some(End::Abort { last, code });
        }
    }

    /// The other side can deliver no more: nothing is sent any more but the end.
    pub(crate) fn stopped(&mut self, code: u16) {
        self.abort(code);
        self.drop_replay();
        self.sent = self.written;
    }

    fn drop_replay(&mut self) {
        self.replay.clear();
        self.cursor = (0, 0);
        self.again = None;
    }

    pub(crate) const fn raise_limit(&mut self, limit: u64) -> bool {
        let raised = limit > self.limit;
        if raised {
            self.limit = limit;
        }
        raised
    }

    /// Takes the other side's `arrived`; says whether anything moved.
    pub(crate) fn acknowledge(&mut self, arrived: u64) -> Result<bool, PeerMisbehaved> {
        if let Some(end) = self.end
            && arrived == end.last() + 1
        {
            let moved = !self.end_arrived;
            self.end_arrived = true;
            self.acknowledge_bytes(end.last());
            return Ok(moved);
        }
        if arrived > self.highest {
            return Err(PeerMisbehaved::AcknowledgedUnsent);
        }
        Ok(self.acknowledge_bytes(arrived))
    }

    fn acknowledge_bytes(&mut self, arrived: u64) -> bool {
        if arrived <= self.arrived {
            return false;
        }
        let mut left = arrived - self.arrived;
        self.arrived = arrived;
        while left > 0 {
            let Some(front) = self.replay.front_mut() else {
                break;
            };
            let length = front.len() as u64;
            if length > left {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "less than the chunk's length"
                )]
                self.advance_front(left as usize);
                break;
            }
            left -= length;
            self.replay.pop_front();
            self.cursor = match self.cursor {
                (0, _) => (0, 0),
                (index, within) => (index - 1, within),
            };
        }
        if self.sent < arrived {
            self.sent = arrived;
            self.cursor = (0, 0);
        }
        true
    }

    fn advance_front(&mut self, count: usize) {
        if let Some(front) = self.replay.front_mut() {
            front.advance(count);
        }
        if self.cursor.0 == 0 {
            self.cursor.1 = self.cursor.1.saturating_sub(count);
        }
    }

    /// Everything unacknowledged is sent again.
    pub(crate) fn rewind(&mut self) {
        if self.bugs.stores_nothing() {
            return;
        }
        self.cursor = (0, 0);
        self.again = None;
        self.sent = if self.replay_dropped() {
            self.written
        } else {
            self.arrived
        };
        if self.bugs.has(Bug::ResendOffByOne) && self.arrived + 1 < self.highest {
            self.next_data(1);
        }
        self.end_sent &= self.bugs.has(Bug::FinForgotten);
    }

    fn replay_dropped(&self) -> bool {
        self.arrived < self.written && self.replay.is_empty()
    }

    /// What is under way is sent once more, but behind what is new: it may be there already.
    pub(crate) fn send_again(&mut self) {
        if self.arrived < self.sent && !self.replay.is_empty() {
            self.again = Some((self.arrived, self.sent));
        }
        self.end_sent = false;
    }

    /// The next bytes to send, at most `most`, with the offset of the first.
    pub(crate) fn next_data(&mut self, most: usize) -> Option<(u64, Bytes)> {
        self.next_new(most).or_else(|| self.next_again(most))
    }

    fn next_again(&mut self, most: usize) -> Option<(u64, Bytes)> {
        let (from, to) = self.again.take()?;
        let from = from.max(self.arrived);
        let mut at = self.arrived;
        for chunk in &self.replay {
            let after = at + chunk.len() as u64;
            if from < after && from < to {
                let end = after.min(to).min(from + most as u64);
                self.again = Some((end, to));
                #[expect(clippy::cast_possible_truncation, reason = "within the chunk")]
                let bytes = chunk.slice((from - at) as usize..(end - at) as usize);
                return Some((from, bytes));
            }
            at = after;
        }
        None
    }

    fn next_new(&mut self, most: usize) -> Option<(u64, Bytes)> {
        let credit = usize::try_from(self.limit.saturating_sub(self.sent)).unwrap_or(usize::MAX);
        let (index, within) = self.cursor;
        let chunk = self.replay.get(index)?;
        let length = (chunk.len() - within).min(most).min(credit);
        if length == 0 {
            return None;
        }
        let bytes = chunk.slice(within..within + length);
        let offset = self.sent;
        self.cursor = if within + length == chunk.len() {
            (index + 1, 0)
        } else {
            (index, within + length)
        };
        self.sent += length as u64;
        self.highest = self.highest.max(self.sent);
        Some((offset, bytes))
    }

    pub(crate) fn has_data(&self) -> bool {
        let again = self
            .again
            .is_some_and(|(from, to)| from.max(self.arrived) < to);
        again || self.cursor.0 < self.replay.len() && self.sent < self.limit
    }

    /// The end, if it is its turn to be sent.
    pub(crate) fn next_end(&mut self) -> Option<End> {
        let end = self.end.filter(|_| self.end_is_due())?;
        self.end_sent = true;
        Some(end)
    }

    pub(crate) fn end_is_due(&self) -> bool {
        !self.end_sent && !self.end_arrived && self.end.is_some() && self.sent == self.written
    }

    /// Its acknowledgement may be lost: the end is sent once more. Says whether it has to be.
    pub(crate) const fn repeat_end(&mut self) -> bool {
        let again = self.end_sent && !self.end_arrived;
        self.end_sent &= !again;
        again
    }

    pub(crate) const fn end(&self) -> Option<End> {
        self.end
    }

    pub(crate) const fn end_arrived(&self) -> bool {
        self.end_arrived
    }

    /// The other side says that it has the end.
    pub(crate) fn settle(&mut self) {
        if let Some(end) = self.end {
            self.end_arrived = true;
            self.acknowledge_bytes(end.last());
        }
    }

    /// Bytes that were sent and of which no acknowledgement came.
    pub(crate) const fn unacknowledged(&self) -> u64 {
        self.sent.saturating_sub(self.arrived)
    }

    /// Whether something was sent of which no acknowledgement came.
    pub(crate) const fn is_unacknowledged(&self) -> bool {
        self.sent > self.arrived || (self.end_sent && !self.end_arrived)
    }

    /// Whether everything that the application gave has been acknowledged.
    pub(crate) const fn is_quiet(&self) -> bool {
        self.arrived == self.written && (self.end.is_none() || self.end_arrived)
    }

    /// Bytes kept for a resend or not yet sent.
    pub(crate) fn buffered(&self) -> u64 {
        if self.replay.is_empty() {
            0
        } else {
            self.written - self.arrived
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half(limit: u64, text: &'static str) -> SendHalf {
        let mut half = SendHalf::new(limit, Bugs::default());
        half.write(Bytes::from_static(text.as_bytes()));
        half
    }

    #[test]
    fn credit_bounds_what_is_sent_and_what_may_be_written() {
        let mut half = half(4, "abcdef");
        assert_eq!(half.next_data(100), Some((0, Bytes::from_static(b"abcd"))));
        assert_eq!(half.next_data(100), None);
        assert_eq!(half.room(100), 0);
        half.raise_limit(8);
        assert_eq!(half.next_data(1), Some((4, Bytes::from_static(b"e"))));
        assert_eq!(half.room(100), 2);
        assert_eq!(half.room(2), 1, "one byte waits unsent already");
    }

    #[test]
    fn a_rewind_sends_again_from_arrived_across_chunks() {
        let mut half = half(100, "abc");
        half.write(Bytes::from_static(b"def"));
        while half.next_data(2).is_some() {}
        assert_eq!(half.acknowledge(4), Ok(true));
        half.rewind();
        assert_eq!(half.next_data(100), Some((4, Bytes::from_static(b"ef"))));
        assert_eq!(half.acknowledge(7), Err(PeerMisbehaved::AcknowledgedUnsent));
    }

    #[test]
    fn what_is_sent_again_comes_behind_what_is_new_and_without_what_has_arrived() {
        let mut half = half(100, "abcdef");
        half.next_data(4);
        half.send_again();
        assert_eq!(half.next_data(100), Some((4, Bytes::from_static(b"ef"))));
        assert_eq!(half.next_data(1), Some((0, Bytes::from_static(b"a"))));
        assert_eq!(half.acknowledge(2), Ok(true));
        assert!(half.has_data());
        assert_eq!(half.next_data(100), Some((2, Bytes::from_static(b"cd"))));
        assert_eq!(half.next_data(100), None);
        assert!(!half.has_data());
    }

    #[test]
    fn an_acknowledgement_may_overtake_the_cursor_after_a_rewind() {
        let mut half = half(100, "abcdef");
        half.next_data(100);
        half.rewind();
        assert_eq!(half.next_data(1), Some((0, Bytes::from_static(b"a"))));
        assert_eq!(half.acknowledge(5), Ok(true));
        assert_eq!(half.next_data(100), Some((5, Bytes::from_static(b"f"))));
    }

    #[test]
    fn the_end_takes_one_offset_and_needs_no_credit() {
        let mut half = half(3, "abc");
        half.finish();
        assert_eq!(half.next_end(), None, "the bytes come first");
        half.next_data(100);
        assert_eq!(half.next_end(), Some(End::Fin { last: 3 }));
        assert_eq!(half.acknowledge(3), Ok(true));
        assert!(!half.is_quiet());
        assert_eq!(half.acknowledge(4), Ok(true));
        assert!(half.is_quiet());
    }

    #[test]
    fn an_abort_ends_at_the_highest_offset_ever_sent() {
        let mut half = half(100, "abc");
        half.next_data(2);
        half.rewind();
        half.abort(1);
        assert_eq!(half.next_end(), Some(End::Abort { last: 2, code: 1 }));
        assert_eq!(half.buffered(), 0);
    }

    #[test]
    fn a_stop_frees_the_replay_and_keeps_a_fin() {
        let mut half = half(2, "abc");
        half.finish();
        half.next_data(100);
        half.stopped(5);
        assert_eq!(half.next_end(), Some(End::Fin { last: 3 }));
        half.rewind();
        assert_eq!(half.next_data(100), None);
        assert_eq!(half.next_end(), Some(End::Fin { last: 3 }));
    }
}
