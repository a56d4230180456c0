//! One direction of an emulated link: packets go in, and come out later, in the same order, or never.
//!
//! The model of a packet's way, in its order:
//!
//! 1. *loss*: with the given probability it is gone;
//! 2. *queue*: it waits until those before it have been sent at the link's rate; if more bytes wait than
//!    the queue holds, it is gone (drop-tail);
//! 3. *delay*: then it travels for the delay and the jitter of the moment. The jitter is drawn anew every
//!    10 ms rather than for each packet: with an order to be kept, the slowest of a thousand packets would
//!    hold back all others, and a busy link would have no jitter at all, only a longer delay.
//!
//! Time and the seed come in as arguments, so the model is tested without a clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Conditions;
use crate::random::Random;

/// The largest packet: the lab's interfaces have an MTU of 1500.
pub(super) const MAX_PACKET: usize = 1500;

/// How long one draw of the jitter holds.
const JITTER_STEP: Duration = Duration::from_millis(10);

/// What may be under way at most, whatever the conditions: 2 s at 300 Mbit/s.
const MAX_BYTES_UNDER_WAY: usize = 75_000_000;

/// One IP packet in a buffer that is used again and again.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) buffer: Box<[u8; MAX_PACKET]>,
    pub(super) length: usize,
}

impl Packet {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

/// What became of a packet that went in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    UnderWay,
    Lost,
    QueueFull,
}

#[derive(Debug)]
pub(super) struct Direction {
    conditions: Conditions,
    random: Random,
    /// In the order of going in, which is that of coming out.
    under_way: VecDeque<(Instant, Packet)>,
    bytes_under_way: usize,
    /// When the last packet will have left the queue.
    sent_at: Instant,
    /// When the last packet will come out.
    last_out: Instant,
    jitter: Jitter,
    /// Buffers to be used again.
    spare: Vec<Packet>,
}

#[derive(Debug)]
struct Jitter {
    drawn_at: Instant,
    /// From -1 to 1.
    value: f64,
}

impl Direction {
    pub(super) fn new(conditions: Conditions, seed: u64, now: Instant) -> Self {
        let mut random = Random::new(seed);
        let value = random.fraction() * 2.0 - 1.0;
        Self {
            conditions,
            random,
            under_way: VecDeque::new(),
            bytes_under_way: 0,
            sent_at: now,
            last_out: now,
            jitter: Jitter {
                drawn_at: now,
                value,
            },
            spare: Vec::new(),
        }
    }

    /// Packets already under way keep the time they were given.
    pub(super) fn set_conditions(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// Puts a packet in. It is taken back as a spare buffer unless it is under way.
    pub(super) fn put(&mut self, packet: Packet, now: Instant) -> Fate {
        let (fate, out) = self.decide(packet.length, now);
        match out {
            Some(out) => {
                self.bytes_under_way += packet.length;
                self.under_way.push_back((out, packet));
            }
            None => self.spare.push(packet),
        }
        fate
    }

    /// When the next packet comes out.
    pub(super) fn next_out(&self) -> Option<Instant> {
        self.under_way.front().map(|(out, _packet)| *out)
    }

    /// The next packet that has arrived at the other end by `now`. Give it back with [`Self::recycle`].
    pub(super) fn take(&mut self, now: Instant) -> Option<Packet> {
        let (_out, packet) = self.under_way.pop_front_if(|(out, _packet)| *out <= now)?;
        self.bytes_under_way -= packet.length;
        Some(packet)
    }

    /// Loses everything under way.
    pub(super) fn clear(&mut self, now: Instant) -> usize {
        let lost = self.under_way.len();
        self.spare
            .extend(self.under_way.drain(..).map(|(_out, packet)| packet));
        self.bytes_under_way = 0;
        self.sent_at = now;
        self.last_out = now;
        lost
    }

    /// A buffer for the next packet.
    pub(super) fn buffer(&mut self) -> Packet {
        self.spare.pop().unwrap_or_else(|| Packet {
            buffer: Box::new([0; MAX_PACKET]),
            length: 0,
        })
    }

    pub(super) fn recycle(&mut self, packet: Packet) {
        self.spare.push(packet);
    }

    fn decide(&mut self, length: usize, now: Instant) -> (Fate, Option<Instant>) {
        if self.random.fraction() < self.conditions.loss {
            return (Fate::Lost, None);
        }
        let free_at = self.sent_at.max(now);
        if !self.has_room(length, free_at - now) {
            return (Fate::QueueFull, None);
        }
        self.sent_at = free_at + self.sending_time(length);
        let out = self.sent_at + self.travel_time(now);
        self.last_out = self.last_out.max(out);
        (Fate::UnderWay, Some(self.last_out))
    }

    /// `backlog` is how long the bytes now in the queue will take.
    fn has_room(&self, length: usize, backlog: Duration) -> bool {
        if self.bytes_under_way + length > MAX_BYTES_UNDER_WAY {
            return false;
        }
        let Some(rate) = self.conditions.rate else {
            return true;
        };
        let waiting = backlog.as_nanos() * u128::from(rate) / 8_000_000_000;
        waiting + length as u128 <= self.conditions.queue as u128
    }

    fn sending_time(&self, length: usize) -> Duration {
        let Some(rate) = self.conditions.rate else {
            return Duration::ZERO;
        };
        Duration::from_nanos(length as u64 * 8_000_000_000 / rate)
    }

    fn travel_time(&mut self, now: Instant) -> Duration {
        if now.saturating_duration_since(self.jitter.drawn_at) >= JITTER_STEP {
            self.jitter = Jitter {
                drawn_at: now,
                value: self.random.fraction() * 2.0 - 1.0,
            };
        }
        let wander = self.conditions.jitter.mul_f64(self.jitter.value.abs());
        if self.jitter.value < 0.0 {
            self.conditions.delay.saturating_sub(wander)
        } else {
            self.conditions.delay + wander
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn packet(direction: &mut Direction, length: usize, mark: u8) -> Packet {
        let mut packet = direction.buffer();
        packet.length = length;
        packet.buffer[0] = mark;
        packet
    }

    fn put(direction: &mut Direction, length: usize, mark: u8, now: Instant) -> Fate {
        let packet = packet(direction, length, mark);
        direction.put(packet, now)
    }

    #[test]
    fn a_packet_comes_out_after_the_delay_and_not_before() {
        let start = Instant::now();
        let conditions = Conditions {
            delay: 10 * MS,
            ..Conditions::PERFECT
        };
        let mut direction = Direction::new(conditions, 1, start);
        assert_eq!(put(&mut direction, 100, 7, start), Fate::UnderWay);
        assert_eq!(direction.next_out(), Some(start + 10 * MS));
        assert!(direction.take(start + 9 * MS).is_none());
        let out = direction.take(start + 10 * MS).expect("it is due");
        assert_eq!(out.bytes()[0], 7);
        assert_eq!(out.bytes().len(), 100);
        assert_eq!(direction.next_out(), None);
    }

    #[test]
    fn the_rate_spaces_packets() {
        let start = Instant::now();
        // 1000 bytes at 8 Mbit/s are 1 ms.
        let mut direction = Direction::new(Conditions::new(8, 5), 1, start);
        for mark in 0..3 {
            assert_eq!(put(&mut direction, 1000, mark, start), Fate::UnderWay);
        }
        for mark in 0..3 {
            let out = start + (6 + u32::from(mark)) * MS;
            assert_eq!(direction.next_out(), Some(out));
            assert_eq!(direction.take(out).expect("it is due").bytes()[0], mark);
        }
    }

    #[test]
    fn a_full_queue_drops_and_takes_again_once_it_has_emptied() {
        let start = Instant::now();
        let conditions = Conditions::new(8, 5).with_queue(2000);
        let mut direction = Direction::new(conditions, 1, start);
        let fates = [0; 4].map(|mark| put(&mut direction, 1000, mark, start));
        assert_eq!(fates[..2], [Fate::UnderWay; 2]);
        assert_eq!(fates[2..], [Fate::QueueFull; 2]);
        assert_eq!(put(&mut direction, 1000, 9, start + MS), Fate::UnderWay);
    }

    #[test]
    fn loss_takes_its_share() {
        let start = Instant::now();
        let conditions = Conditions::PERFECT.with_loss(0.1);
        let mut direction = Direction::new(conditions, 3, start);
        let lost = (0..10_000)
            .filter(|_| put(&mut direction, 10, 0, start) == Fate::Lost)
            .count();
        assert!((900..1100).contains(&lost), "{lost} of 10000");
    }

    #[test]
    fn jitter_stays_in_its_bounds_and_keeps_the_order() {
        let start = Instant::now();
        let conditions = Conditions {
            delay: 10 * MS,
            ..Conditions::PERFECT
        }
        .with_jitter(2);
        let mut direction = Direction::new(conditions, 5, start);
        let mut delays = Vec::new();
        for number in 0..100_u8 {
            let now = start + u32::from(number) * JITTER_STEP;
            put(&mut direction, 10, number, now);
            let out = direction.next_out().expect("it is under way");
            assert_eq!(direction.take(out).expect("it is due").bytes()[0], number);
            delays.push(out - now);
        }
        assert!(
            delays
                .iter()
                .all(|delay| (8 * MS..=12 * MS).contains(delay))
        );
        let (low, high) = (delays.iter().min(), delays.iter().max());
        assert!(
            low < Some(&(9 * MS)) && high > Some(&(11 * MS)),
            "{low:?} {high:?}"
        );
    }

    #[test]
    fn a_cleared_direction_has_lost_everything_and_takes_new_packets() {
        let start = Instant::now();
        let mut direction = Direction::new(Conditions::new(8, 5), 1, start);
        put(&mut direction, 1000, 1, start);
        put(&mut direction, 1000, 2, start);
        assert_eq!(direction.clear(start), 2);
        assert!(direction.take(start + 100 * MS).is_none());
        put(&mut direction, 1000, 3, start);
        assert_eq!(direction.next_out(), Some(start + 6 * MS));
    }
}
