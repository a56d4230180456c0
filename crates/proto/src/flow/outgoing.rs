//! Datagrams on their way out, while no conduit takes them.
//!
//! Bounded for each flow and for the session, and by age: the oldest goes first, and where the session is full
//! it is one of the flow that holds most, so that a bulk flow pushes out its own and not another's question. In
//! turn, a datagram each, so that nobody waits behind a bulk flow either.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::Dropped;
use crate::{FlowId, Instant};

/// What one flow may have waiting: eight of the largest datagrams, or a second of 4 Mbit/s.
const FLOW_BYTES: usize = 512 * 1024;

/// What all flows of a session may have waiting: sixteen bulk flows with all that each may have.
pub(super) const SESSION_BYTES: usize = 8 * 1024 * 1024;

/// How long a datagram may wait. A resolver has given up by then, and a call has long moved on.
const AGE: Duration = Duration::from_secs(10);

/// What a datagram takes beside its payload, so that empty ones are bounded, too.
const DATAGRAM_BYTES: usize = 64;

/// The datagrams of one session that wait to be sent.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Outgoing {
    queues: BTreeMap<FlowId, Queue>,
    /// Flows that have something, in the order in which their turn comes.
    turns: VecDeque<FlowId>,
    /// The same flows, the one that holds most last.
    by_size: BTreeSet<(usize, FlowId)>,
    bytes: usize,
}

#[derive(Clone, Debug, Default, Hash)]
struct Queue {
    datagrams: VecDeque<(Instant, Bytes)>,
    bytes: usize,
}

impl Outgoing {
    /// `payload` is the newest of `flow`; what has no room any more is dropped.
    pub(super) fn push(
        &mut self,
        flow: FlowId,
        payload: Bytes,
        now: Instant,
        dropped: &mut Dropped,
    ) {
        self.drop_expired(flow, now, dropped);
        let size = size(&payload);
        while self.held_by(flow) + size > FLOW_BYTES {
            self.pop(flow);
            dropped.overflowed += 1;
        }
        while self.bytes + size > SESSION_BYTES
            && let Some((_, fullest)) = self.by_size.last().copied()
        {
            self.pop(fullest);
            dropped.overflowed += 1;
        }
        if !self.queues.contains_key(&flow) {
            self.turns.push_back(flow);
        }
        let queue = self.queues.entry(flow).or_default();
        self.by_size.remove(&(queue.bytes, flow));
        queue.datagrams.push_back((now, payload));
        queue.bytes += size;
        self.by_size.insert((queue.bytes, flow));
        self.bytes += size;
    }

    /// The next datagram of the flows that `may` be sent.
    pub(super) fn next(
        &mut self,
        may: impl Fn(FlowId) -> bool,
        now: Instant,
        dropped: &mut Dropped,
    ) -> Option<(FlowId, Bytes)> {
        loop {
            let at = self.turns.iter().position(|flow| may(*flow))?;
            let flow = self.turns.remove(at)?;
            self.drop_expired(flow, now, dropped);
            let next = self.pop(flow);
            if self.held_by(flow) > 0 {
                self.turns.push_back(flow);
            } else {
                self.queues.remove(&flow);
                self.by_size.remove(&(0, flow));
            }
            if let Some(payload) = next {
                return Some((flow, payload));
            }
        }
    }

    /// Whether a flow that `may` be sent has something.
    pub(super) fn has_work(&self, may: impl Fn(FlowId) -> bool) -> bool {
        self.turns.iter().any(|flow| may(*flow))
    }

    /// The flow is over, and with it what it had waiting.
    pub(super) fn forget(&mut self, flow: FlowId) {
        if let Some(queue) = self.queues.remove(&flow) {
            self.by_size.remove(&(queue.bytes, flow));
            self.bytes -= queue.bytes;
            self.turns.retain(|one| *one != flow);
        }
    }

    /// Bytes that wait.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    fn held_by(&self, flow: FlowId) -> usize {
        self.queues.get(&flow).map_or(0, |queue| queue.bytes)
    }

    fn drop_expired(&mut self, flow: FlowId, now: Instant, dropped: &mut Dropped) {
        while let Some((since, _)) = self
            .queues
            .get(&flow)
            .and_then(|queue| queue.datagrams.front())
            && now.since(*since) > AGE
        {
            self.pop(flow);
            dropped.expired += 1;
        }
    }

    /// Takes the oldest of `flow`, which keeps its turn even if that was all.
    fn pop(&mut self, flow: FlowId) -> Option<Bytes> {
        let queue = self.queues.get_mut(&flow)?;
        let (_, payload) = queue.datagrams.pop_front()?;
        let size = size(&payload);
        self.by_size.remove(&(queue.bytes, flow));
        queue.bytes -= size;
        self.by_size.insert((queue.bytes, flow));
        self.bytes -= size;
        Some(payload)
    }
}

const fn size(payload: &Bytes) -> usize {
    payload.len() + DATAGRAM_BYTES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Side;
    use crate::wire::DATAGRAM_PAYLOAD_BYTES;

    fn flow(index: u64) -> FlowId {
        FlowId::new(Side::Cnapt, index)
    }

    fn filled(byte: u8, length: usize) -> Bytes {
        Bytes::from(vec![byte; length])
    }

    /// Everything that waits, by the first byte of each.
    fn drain(outgoing: &mut Outgoing, now: Instant) -> Vec<(FlowId, u8)> {
        let mut dropped = Dropped::default();
        let next = || outgoing.next(|_| true, now, &mut dropped);
        std::iter::from_fn(next)
            .map(|(flow, payload)| (flow, payload[0]))
            .collect()
    }

    #[test]
    fn a_full_flow_drops_its_oldest() {
        let (mut outgoing, mut dropped) = (Outgoing::default(), Dropped::default());
        let now = Instant::default();
        for byte in 0..10 {
            outgoing.push(
                flow(0),
                filled(byte, DATAGRAM_PAYLOAD_BYTES),
                now,
                &mut dropped,
            );
        }
        assert_eq!(dropped.overflowed, 3, "seven of the largest have room");
        let left: Vec<u8> = drain(&mut outgoing, now).iter().map(|one| one.1).collect();
        assert_eq!(left, [3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(outgoing.bytes(), 0);
    }

    #[test]
    fn in_a_full_session_bulk_flows_push_out_their_own_and_not_an_older_question() {
        let (mut outgoing, mut dropped) = (Outgoing::default(), Dropped::default());
        let now = Instant::default();
        outgoing.push(flow(99), filled(53, 40), now, &mut dropped);
        for turn in 0..8 * 20 {
            outgoing.push(flow(turn % 20), filled(1, 60_000), now, &mut dropped);
        }
        assert!(dropped.overflowed > 0);
        assert!(outgoing.bytes() <= SESSION_BYTES);
        assert!(drain(&mut outgoing, now).contains(&(flow(99), 53)));
    }

    #[test]
    fn a_bulk_flow_lets_the_others_have_their_turn() {
        let (mut outgoing, mut dropped) = (Outgoing::default(), Dropped::default());
        let now = Instant::default();
        for byte in 0..4 {
            outgoing.push(flow(0), filled(byte, 1000), now, &mut dropped);
        }
        outgoing.push(flow(1), filled(53, 40), now, &mut dropped);
        let order = drain(&mut outgoing, now);
        assert_eq!(order[..2], [(flow(0), 0), (flow(1), 53)]);
    }

    #[test]
    fn what_waited_too_long_is_dropped_and_a_held_flow_waits_on() {
        let (mut outgoing, mut dropped) = (Outgoing::default(), Dropped::default());
        let start = Instant::default();
        outgoing.push(flow(0), filled(1, 10), start, &mut dropped);
        outgoing.push(flow(0), filled(2, 10), start + AGE, &mut dropped);
        let later = start + AGE + Duration::from_millis(1);
        assert_eq!(outgoing.next(|_| false, later, &mut dropped), None);
        assert_eq!(drain(&mut outgoing, later), [(flow(0), 2)]);
        assert!(!outgoing.has_work(|_| true));
    }

    proptest! {
        #[test]
        fn the_bounds_and_the_books_hold_whatever_comes(
            acts in proptest::collection::vec((0_u64..30, 0..=DATAGRAM_PAYLOAD_BYTES, 0_u8..10), 1..300),
        ) {
            let (mut outgoing, mut dropped) = (Outgoing::default(), Dropped::default());
            let mut now = Instant::default();
            let (mut pushed, mut sent) = (0, 0);
            for (index, length, act) in acts {
                now += Duration::from_millis(u64::from(act) * 100);
                match act {
                    0 => outgoing.forget(FlowId::new(Side::Snapt, index)),
                    1 | 2 => sent += u64::from(outgoing.next(|_| true, now, &mut dropped).is_some()),
                    _ => {
                        outgoing.push(flow(index), filled(0, length), now, &mut dropped);
                        pushed += 1;
                    }
                }
                prop_assert!(outgoing.bytes() <= SESSION_BYTES);
                prop_assert!(outgoing.by_size.iter().all(|(bytes, _)| *bytes <= FLOW_BYTES));
                prop_assert_eq!(outgoing.by_size.iter().map(|(bytes, _)| *bytes).sum::<usize>(), outgoing.bytes());
                prop_assert_eq!(outgoing.turns.len(), outgoing.queues.len());
            }
            let waiting = outgoing.queues.values().map(|one| one.datagrams.len() as u64).sum::<u64>();
            prop_assert_eq!(pushed, sent + waiting + dropped.overflowed + dropped.expired);
        }
    }
}
