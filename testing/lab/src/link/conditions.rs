//! What a link does to packets.

use std::time::Duration;

/// How one direction of a link treats packets. Both directions start with the same conditions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// The time from one end to the other, one way.
    pub delay: Duration,
    /// How far the delay wanders to either side. Packets keep their order.
    pub jitter: Duration,
    /// The share of packets that are lost, from 0 to 1.
    pub loss: f64,
    /// Bits per second, or `None` for no limit.
    pub rate: Option<u64>,
    /// How many bytes may wait for the rate; a packet beyond is lost.
    pub queue: usize,
}

/// How long a full queue takes to leave, where nothing else is said: access links hold about this much,
/// and it is the bandwidth-delay product of a path of 100 ms, so that one connection can fill the link.
const QUEUE_TIME: Duration = Duration::from_millis(100);

impl Conditions {
    /// No delay, no loss, no limit.
    pub const PERFECT: Self = Self {
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        loss: 0.0,
        rate: None,
        queue: usize::MAX,
    };

    /// A link of so many Mbit/s and so many milliseconds one way, with a queue of 100 ms.
    pub fn new(megabits: u64, delay_milliseconds: u64) -> Self {
        let rate = megabits * 1_000_000;
        let queue = u128::from(rate) * QUEUE_TIME.as_millis() / 8_000;
        Self {
            delay: Duration::from_millis(delay_milliseconds),
            rate: Some(rate),
            queue: usize::try_from(queue).unwrap_or(usize::MAX),
            ..Self::PERFECT
        }
    }

    /// The same with a delay that wanders by so many milliseconds to either side.
    pub fn with_jitter(self, milliseconds: u64) -> Self {
        Self {
            jitter: Duration::from_millis(milliseconds),
            ..self
        }
    }

    /// The same with this share of packets lost.
    pub fn with_loss(self, loss: f64) -> Self {
        Self { loss, ..self }
    }

    /// The same with a queue of so many bytes.
    pub fn with_queue(self, queue: usize) -> Self {
        Self { queue, ..self }
    }
}
