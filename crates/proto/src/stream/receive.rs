//! The receiving half: bytes merged by offset, until the application has taken them.
//!
//! What comes in order waits in `ready`, in pieces that are each one write to the application's socket;
//! what comes ahead of a hole in `ahead`. Everything held lies between `taken` and `limit`, so the credit
//! is the bound.
//!
//! Two tasks deliver, one at a time: the conduit's, when it has read what was there, and, from the moment
//! at which the application takes less than it is given, the application's own.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Buf, BytesMut};

use super::{CreditPool, End, PeerMisbehaved, STREAM_CREDIT};
use crate::Instant;
use crate::bug::{Bug, Bugs};

/// The most that one piece holds, and so what is written to an application at once. Less would wake a fast
/// reader for each TLS record.
pub const PIECE_BYTES: usize = 64 * 1024;

/// The highest offset that an end may claim. Leaves room for the virtual offset behind it.
const LAST_OFFSET: u64 = u64::MAX / 2;

/// A window is doubled when half of it is used up within two round trips; this is the least that
/// counts as a round trip, because on a fast network the tasks' own wake-ups take longer.
const LEAST_ROUND_TRIP: Duration = Duration::from_millis(5);

/// RECEIVED is due when so much has arrived that was not said, at most: often enough that the
/// sender's replay buffer stays in its processor's cache.
const ACKNOWLEDGE_BYTES: u64 = 256 * 1024;

/// What became of bytes that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accepted {
    /// They were there already, or nobody wants them any more.
    Duplicate,
    /// They wait for the application's task, or behind a hole.
    Stored,
    /// They wait for the caller: it is to deliver them soon, with [`super::Streams::take`].
    Deliverable,
}

#[derive(Clone, Debug, Hash)]
pub(crate) struct ReceiveHalf {
    /// Taken by the application.
    taken: u64,
    /// In memory without a hole.
    contiguous: u64,
    /// From `taken` to `contiguous`.
    ready: VecDeque<BytesMut>,
    /// Beyond a hole, disjoint and not adjacent.
    ahead: BTreeMap<u64, BytesMut>,
    limit: u64,
    window: u64,
    window_began: (u64, Instant),
    said: (u64, u64),
    end: Option<End>,
    end_arrived: bool,
    end_taken: bool,
    stop: Option<u16>,
    /// Someone is writing to the application's socket outside the lock.
    delivering: bool,
    /// The application took less than it was given: its own task goes on when it takes more.
    blocked: bool,
    pub(crate) last_delivered: Option<Instant>,
    bugs: Bugs,
}

impl ReceiveHalf {
    pub(crate) fn new(initial_limit: u64, bugs: Bugs, now: Instant) -> Self {
        let window = initial_limit;
        Self {
            taken: 0,
            contiguous: 0,
            ready: VecDeque::new(),
            ahead: BTreeMap::new(),
            limit: window,
            window,
            window_began: (0, now),
            said: (0, window),
            end: None,
            end_arrived: false,
            end_taken: false,
            stop: None,
            delivering: false,
            blocked: false,
            last_delivered: None,
            bugs,
        }
    }

    /// Takes a piece of DATA. `connected` says whether there is an application to deliver to, `spare` is
    /// memory to store it in.
    pub(crate) fn accept(
        &mut self,
        offset: u64,
        bytes: &[u8],
        connected: bool,
        spare: &mut Option<BytesMut>,
    ) -> Result<Accepted, PeerMisbehaved> {
        let last = offset + bytes.len() as u64;
        if last > self.limit {
            return Err(PeerMisbehaved::BeyondLimit);
        }
        if self.end.is_some_and(|end| last > end.last()) {
            return Err(PeerMisbehaved::EndMoved);
        }
        if self.is_over() || last <= self.contiguous {
            return Ok(Accepted::Duplicate);
        }
        if offset > self.contiguous {
            self.store_ahead(offset, bytes);
            return Ok(Accepted::Stored);
        }
        let (_, fresh) = bytes.split_at(to_usize(self.contiguous - offset));
        self.append(fresh, spare);
        self.join_ahead(spare);
        self.note_end();
        Ok(if connected && !self.delivering && !self.blocked {
            Accepted::Deliverable
        } else {
            Accepted::Stored
        })
    }

    fn append(&mut self, bytes: &[u8], spare: &mut Option<BytesMut>) {
        self.contiguous += bytes.len() as u64;
        let mut rest = bytes;
        if let Some(tail) = self.ready.back_mut() {
            rest = fill(tail, rest);
        }
        while !rest.is_empty() {
            let mut piece = spare.take().unwrap_or_default();
            rest = fill(&mut piece, rest);
            self.ready.push_back(piece);
        }
    }

    fn store_ahead(&mut self, offset: u64, bytes: &[u8]) {
        let mut offset = offset;
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let before = self.ahead.range_mut(..=offset).next_back();
            if let Some((start, piece)) = before
                && *start + piece.len() as u64 >= offset
            {
                let known = to_usize(*start + piece.len() as u64 - offset).min(bytes.len());
                bytes = &bytes[known..];
                offset += known as u64;
                let next = self.ahead.range(offset..).next().map(|(start, _)| *start);
                let free =
                    next.map_or(bytes.len(), |next| to_usize(next - offset).min(bytes.len()));
                if let Some((_, piece)) = self.ahead.range_mut(..=offset).next_back() {
                    piece.extend_from_slice(&bytes[..free]);
                }
                bytes = &bytes[free..];
                offset += free as u64;
                self.merge_at(offset);
            } else {
                let next = self.ahead.range(offset..).next().map(|(start, _)| *start);
                let free =
                    next.map_or(bytes.len(), |next| to_usize(next - offset).min(bytes.len()));
                self.ahead.insert(offset, BytesMut::from(&bytes[..free]));
                bytes = &bytes[free..];
                offset += free as u64;
                self.merge_at(offset);
            }
        }
    }

    /// Joins the piece that begins at `offset` to the one that ends there.
    fn merge_at(&mut self, offset: u64) {
        if let Some(following) = self.ahead.remove(&offset) {
            match self.ahead.range_mut(..offset).next_back() {
                Some((start, piece)) if *start + piece.len() as u64 == offset => {
                    piece.extend_from_slice(&following);
                }
                Some(_) | None => {
                    self.ahead.insert(offset, following);
                }
            }
        }
    }

    fn join_ahead(&mut self, spare: &mut Option<BytesMut>) {
        while let Some(entry) = self.ahead.first_entry()
            && *entry.key() <= self.contiguous
        {
            let start = *entry.key();
            let piece = entry.remove();
            let known = to_usize(self.contiguous - start).min(piece.len());
            self.append(&piece[known..], spare);
        }
    }

    /// The other side's end. Says whether the application must be reset.
    pub(crate) fn handle_end(&mut self, end: End) -> Result<bool, PeerMisbehaved> {
        if end.last() > LAST_OFFSET {
            return Err(PeerMisbehaved::EndMoved);
        }
        if let Some(known) = self.end {
            return if known == end {
                Ok(false)
            } else {
                Err(PeerMisbehaved::EndMoved)
            };
        }
        if end.last() < self.contiguous {
            return Err(PeerMisbehaved::EndMoved);
        }
        self.end = Some(end);
        let reset = matches!(end, End::Abort { .. }) && self.stop.is_none();
        self.note_end();
        let waits = self.bugs.has(Bug::AbortWaitsForBytes) && !self.end_arrived;
        Ok(reset && !waits)
    }

    /// Takes the virtual offset of the end when it is its turn: FIN after all bytes before it, ABORT
    /// and anything after our own STOP at once.
    fn note_end(&mut self) {
        let Some(end) = self.end else { return };
        let aborted = matches!(end, End::Abort { .. }) && !self.bugs.has(Bug::AbortWaitsForBytes);
        let stopped = self.stop.is_some() && !self.bugs.has(Bug::StopWaitsForBytes);
        let at_once = aborted || stopped;
        if at_once && !self.end_arrived {
            self.discard();
            self.contiguous = end.last();
            self.taken = end.last();
            self.end_taken = true;
        }
        if self.contiguous == end.last() {
            self.end_arrived = true;
        }
    }

    fn discard(&mut self) {
        self.ready.clear();
        self.ahead.clear();
    }

    /// Our application takes no more.
    pub(crate) fn stop(&mut self, code: u16) {
        if self.stop.is_none() && !self.end_taken {
            self.stop = Some(code);
            self.discard();
            self.taken = self.contiguous;
            if self.end_arrived {
                self.end_taken = true;
            } else {
                self.note_end();
            }
        }
    }

    /// Nothing that comes is wanted any more.
    fn is_over(&self) -> bool {
        self.stop.is_some() || matches!(self.end, Some(End::Abort { .. }))
    }

    /// Bytes for the application; marks the delivery as going on until [`Self::delivered`].
    pub(crate) fn take(&mut self) -> Option<BytesMut> {
        if self.delivering {
            return None;
        }
        let piece = self.ready.pop_front()?;
        self.delivering = true;
        Some(piece)
    }

    /// The application took the first `count` bytes of `piece`, which came from [`Self::take`]. An empty
    /// piece becomes the `spare` one.
    pub(crate) fn delivered(
        &mut self,
        mut piece: BytesMut,
        count: usize,
        now: Instant,
        spare: &mut Option<BytesMut>,
    ) {
        // Not so: the stream of that delivery is gone, and this one has its name.
        if !std::mem::replace(&mut self.delivering, false) || self.is_over() {
            return;
        }
        self.taken += count as u64;
        self.blocked = count < piece.len();
        if self.blocked {
            piece.advance(count);
            self.ready.push_front(piece);
        } else {
            piece.clear();
            spare.get_or_insert(piece);
        }
        if count > 0 {
            self.last_delivered = Some(now);
        }
    }

    /// Whether the application is to be told of the clean end now.
    pub(crate) fn end_is_deliverable(&self) -> bool {
        self.end_arrived && !self.end_taken && !self.delivering && self.taken == self.contiguous
    }

    pub(crate) const fn end_delivered(&mut self) {
        self.end_taken = true;
    }

    pub(crate) fn has_bytes(&self) -> bool {
        !self.ready.is_empty() && !self.delivering
    }

    /// Whether `arrived` includes the virtual offset of the end.
    pub(crate) const fn end_has_arrived(&self) -> bool {
        self.end_arrived
    }

    /// The application has the end, or never will.
    pub(crate) const fn end_is_taken(&self) -> bool {
        self.end_taken
    }

    pub(crate) const fn stop_code(&self) -> Option<u16> {
        self.stop
    }

    /// What RECEIVED says: `arrived`, with the virtual offset of the end, and `limit`.
    pub(crate) fn received(&mut self) -> (u64, u64) {
        self.limit = self.limit.max(self.next_limit());
        self.said = (self.arrived(), self.limit);
        self.said
    }

    /// As [`Self::received`], without saying it.
    pub(crate) fn arrived(&self) -> u64 {
        if self.bugs.has(Bug::ArrivedAheadOfStored)
            && let Some((start, piece)) = self.ahead.last_key_value()
        {
            return start + piece.len() as u64;
        }
        self.contiguous + u64::from(self.end_arrived)
    }

    /// How far the sender may go, now that the application has taken so much.
    fn next_limit(&self) -> u64 {
        if self.bugs.has(Bug::CreditNeverRaised) {
            return self.limit;
        }
        self.taken.saturating_add(self.window)
    }

    /// Whether anything moved that was not said.
    pub(crate) fn has_news(&self) -> bool {
        let limit = self.limit.max(self.next_limit());
        (self.arrived(), limit) != self.said
    }

    /// Whether what moved is so much that the sender should hear of it now.
    pub(crate) fn is_acknowledgement_urgent(&self) -> bool {
        let step = (self.window / 4).min(ACKNOWLEDGE_BYTES);
        let (arrived, limit) = self.said;
        self.contiguous >= arrived + step || self.taken + self.window >= limit + self.window / 4
    }

    /// Lets the window grow where the sender uses it up as fast as the round trip lets it.
    pub(crate) fn grow(&mut self, round_trip: Duration, pool: &CreditPool, now: Instant) {
        let (began, at) = self.window_began;
        if self.taken < began + self.window / 2 {
            return;
        }
        let quick = now.since(at) <= 2 * round_trip.max(LEAST_ROUND_TRIP);
        if quick && self.window < STREAM_CREDIT && pool.take(self.window) {
            self.window *= 2;
        }
        self.window_began = (self.taken, now);
    }

    /// What was taken from the pool, to be given back when the stream is forgotten.
    pub(crate) const fn credit(&self) -> u64 {
        self.window
    }

    /// Bytes that wait for the application or for a hole to be filled.
    pub(crate) fn buffered(&self) -> u64 {
        let ahead: usize = self.ahead.values().map(BytesMut::len).sum();
        (self.contiguous - self.taken) + ahead as u64
    }
}

/// Adds to a piece what it has room for, and gives back the rest.
fn fill<'a>(piece: &mut BytesMut, bytes: &'a [u8]) -> &'a [u8] {
    let room = PIECE_BYTES.saturating_sub(piece.len());
    let (head, rest) = bytes.split_at(room.min(bytes.len()));
    piece.extend_from_slice(head);
    rest
}

/// A distance inside the window.
fn to_usize(distance: u64) -> usize {
    usize::try_from(distance).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::INITIAL_LIMIT;

    fn drain(half: &mut ReceiveHalf) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(bytes) = half.take() {
            all.extend_from_slice(&bytes);
            let count = bytes.len();
            half.delivered(bytes, count, Instant::default(), &mut None);
        }
        all
    }

    fn store(half: &mut ReceiveHalf, offset: u64, bytes: &[u8]) {
        assert!(half.accept(offset, bytes, false, &mut None).is_ok());
    }

    #[test]
    fn pieces_in_any_order_become_the_stream() {
        let mut half = ReceiveHalf::new(
            u64::from(INITIAL_LIMIT),
            Bugs::default(),
            Instant::default(),
        );
        store(&mut half, 6, b"gh");
        store(&mut half, 2, b"cd");
        store(&mut half, 3, b"defg");
        store(&mut half, 1, b"bcdefghi");
        assert_eq!(half.arrived(), 0);
        store(&mut half, 0, b"a");
        assert_eq!(half.arrived(), 9);
        assert_eq!(drain(&mut half), b"abcdefghi");
    }

    #[test]
    fn one_delivers_at_a_time_and_after_a_short_write_the_application_s_task() {
        let mut half = ReceiveHalf::new(
            u64::from(INITIAL_LIMIT),
            Bugs::default(),
            Instant::default(),
        );
        let spare = &mut None;
        let accepted = half.accept(0, b"abc", true, spare);
        assert_eq!(accepted, Ok(Accepted::Deliverable));
        let piece = half.take().expect("bytes");
        let accepted = half.accept(0, b"abcde", true, spare);
        assert_eq!(accepted, Ok(Accepted::Stored), "only one delivers");
        half.delivered(piece, 1, Instant::default(), spare);
        assert_eq!((half.taken, half.contiguous), (1, 5));
        let accepted = half.accept(5, b"f", true, spare);
        assert_eq!(accepted, Ok(Accepted::Stored), "it takes no more for now");
        assert_eq!(drain(&mut half), b"bcdef");
        let accepted = half.accept(6, b"g", true, spare);
        assert_eq!(accepted, Ok(Accepted::Deliverable));
        assert_eq!(half.arrived(), 7);
    }

    #[test]
    fn small_messages_make_one_piece_and_its_memory_serves_again() {
        let mut half = ReceiveHalf::new(
            u64::from(INITIAL_LIMIT),
            Bugs::default(),
            Instant::default(),
        );
        let spare = &mut None;
        for offset in 0..100 {
            assert!(half.accept(offset, b"a", true, spare).is_ok());
        }
        let piece = half.take().expect("bytes");
        let (place, count) = (piece.as_ptr(), piece.len());
        assert_eq!(count, 100);
        half.delivered(piece, count, Instant::default(), spare);
        assert!(half.accept(100, b"a", true, spare).is_ok());
        assert_eq!(half.take().expect("a byte").as_ptr(), place);
    }

    #[test]
    fn a_fin_waits_for_its_bytes_and_an_abort_does_not() {
        let mut half = ReceiveHalf::new(
            u64::from(INITIAL_LIMIT),
            Bugs::default(),
            Instant::default(),
        );
        assert_eq!(half.handle_end(End::Fin { last: 2 }), Ok(false));
        assert_eq!(half.arrived(), 0);
        store(&mut half, 0, b"ab");
        assert_eq!(half.arrived(), 3);
        assert!(!half.end_is_deliverable());
        assert_eq!(drain(&mut half), b"ab");
        assert!(half.end_is_deliverable());

        let mut half = ReceiveHalf::new(
            u64::from(INITIAL_LIMIT),
            Bugs::default(),
            Instant::default(),
        );
        store(&mut half, 0, b"ab");
        assert_eq!(half.handle_end(End::Abort { last: 5, code: 1 }), Ok(true));
        assert_eq!(half.arrived(), 6);
        assert_eq!(drain(&mut half), b"");
    }

    #[test]
    fn after_a_stop_the_end_is_acknowledged_at_once() {
        let mut half = ReceiveHalf::new(
            u64::from(INITIAL_LIMIT),
            Bugs::default(),
            Instant::default(),
        );
        half.stop(5);
        assert_eq!(
            half.accept(0, b"abc", true, &mut None),
            Ok(Accepted::Duplicate)
        );
        assert_eq!(half.handle_end(End::Fin { last: 9 }), Ok(false));
        assert_eq!(half.arrived(), 10);
        assert!(half.end_is_taken());
    }

    #[test]
    fn credit_and_ends_are_held_against_the_sender() {
        let mut half = ReceiveHalf::new(
            u64::from(INITIAL_LIMIT),
            Bugs::default(),
            Instant::default(),
        );
        let most = vec![0; INITIAL_LIMIT as usize];
        assert_eq!(
            half.accept(1, &most, false, &mut None),
            Err(PeerMisbehaved::BeyondLimit)
        );
        store(&mut half, 0, b"abc");
        assert_eq!(
            half.handle_end(End::Fin { last: 2 }),
            Err(PeerMisbehaved::EndMoved)
        );
        assert_eq!(
            half.handle_end(End::Fin { last: u64::MAX }),
            Err(PeerMisbehaved::EndMoved)
        );
        assert_eq!(half.handle_end(End::Fin { last: 3 }), Ok(false));
        assert_eq!(
            half.accept(3, b"d", false, &mut None),
            Err(PeerMisbehaved::EndMoved)
        );
    }
}
