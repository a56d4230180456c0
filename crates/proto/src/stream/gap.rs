//! The longest pause between two deliveries to an application that overlaps a switch.
//!
//! Only streams that were flowing count: they delivered within a second before the switch began and
//! again within a second after it ended.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::{Instant, StreamId};

/// How long before and after the switch a stream must have delivered to be counted as flowing.
pub(crate) const FLOWING: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Default)]
pub(crate) struct GapMeter {
    started: Option<Instant>,
    ended: Option<Instant>,
    longest: Option<Duration>,
    /// Streams that were flowing when the switch began and have not delivered since it ended.
    waiting: BTreeSet<StreamId>,
}

/// It measures and decides nothing, so a model need not tell states apart by it.
impl Hash for GapMeter {
    fn hash<H: Hasher>(&self, _state: &mut H) {}
}

impl GapMeter {
    pub(crate) fn start(&mut self, flowing: impl Iterator<Item = StreamId>, now: Instant) {
        *self = Self {
            started: Some(now),
            waiting: flowing.collect(),
            ..Self::default()
        };
    }

    /// What the switch is about began at `at`, if that was earlier.
    pub(crate) fn began(&mut self, at: Instant) {
        self.started = self.started.map(|started| started.min(at));
    }

    /// The switch is over; pauses that it caused may still be going on.
    pub(crate) const fn end(&mut self, now: Instant) {
        self.ended = Some(now);
    }

    pub(crate) fn delivered(&mut self, stream: StreamId, last: Option<Instant>, now: Instant) {
        let (Some(started), Some(last)) = (self.started, last) else {
            return;
        };
        let overlaps = now >= started && self.ended.is_none_or(|ended| last <= ended);
        let flowing = last.as_micros() + to_micros(FLOWING) >= started.as_micros();
        if overlaps && flowing {
            self.longest = self.longest.max(Some(now.since(last)));
        }
        if self.ended.is_some() {
            self.waiting.remove(&stream);
        }
    }

    /// Whether nothing can be added any more.
    pub(crate) fn is_settled(&self, now: Instant) -> bool {
        self.ended
            .is_some_and(|ended| self.waiting.is_empty() || now >= ended + FLOWING)
    }

    pub(crate) const fn longest(&self) -> Option<Duration> {
        self.longest
    }
}

fn to_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
