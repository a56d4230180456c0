//! What a machine knows of a link: its round trip, and whether it lives.

use std::time::Duration;

use super::bound;
use crate::stream::ACKNOWLEDGE_DELAY;
use crate::wire::Frame;
use crate::{Instant, LinkNumber};

/// Arrivals further apart than this do not belong to one flow.
const FLOW_PAUSE: Duration = Duration::from_millis(250);

/// So many arrivals close to each other are a flow, whose end is a reason to ask: more than the flights in which a
/// connection begins.
const FLOW_ARRIVALS: u32 = 16;

/// Nobody wonders earlier: a task waits for the processor, a radio for its slot.
const LEAST_PATIENCE: Duration = Duration::from_millis(40);

/// One authenticated attachment; its key is the id of its control conduit.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Link {
    pub(crate) number: LinkNumber,
    pub(crate) attached: bool,
    /// When its control conduit came up.
    pub(crate) began: Instant,
    /// Anything at all came by any of its conduits.
    pub(crate) last_heard: Instant,
    /// Smoothed; zero until measured.
    pub(crate) round_trip: Duration,
    /// How far round trips are from that, smoothed.
    variation: Duration,
    /// The longest of the last pauses between arrivals, while they follow each other closely.
    pace: Duration,
    /// How many have.
    flowing: u32,
    /// The shell was told that it is silent.
    pub(crate) suspected: bool,
    next_token: u64,
    /// The latest probe without answer, and when it left.
    probe: Option<(u64, Instant)>,
    /// When the latest probe left, answered or not.
    pub(crate) asked: Instant,
    /// The first probe after which nothing was heard.
    pub(crate) unanswered_since: Option<Instant>,
    /// When to ask again, or to conclude that it is dead.
    pub(crate) judge_at: Instant,
}

impl Link {
    pub(crate) const fn new(number: LinkNumber, now: Instant) -> Self {
        Self {
            number,
            attached: false,
            began: now,
            last_heard: now,
            round_trip: Duration::ZERO,
            variation: Duration::ZERO,
            pace: Duration::ZERO,
            flowing: 0,
            suspected: false,
            next_token: 0,
            probe: None,
            asked: now,
            unanswered_since: None,
            judge_at: now,
        }
    }

    pub(crate) fn heard(&mut self, now: Instant) {
        let pause = now.since(self.last_heard);
        if pause > FLOW_PAUSE {
            (self.pace, self.flowing) = (Duration::ZERO, 0);
        } else {
            self.pace = pause.max(self.pace * 31 / 32);
            self.flowing = self.flowing.saturating_add(1);
        }
        self.last_heard = now;
        self.unanswered_since = None;
    }

    /// When to wonder why nothing comes any more; never, if nothing was flowing.
    pub(crate) fn flow_stops_at(&self) -> Option<Instant> {
        let longest = LEAST_PATIENCE.max(self.pace + self.pace / 2);
        (self.flowing >= FLOW_ARRIVALS).then(|| self.last_heard + longest)
    }

    /// How long an answer may take, the delay of an acknowledgement included.
    pub(crate) fn answer_time(&self) -> Duration {
        self.answer_to_probe() + ACKNOWLEDGE_DELAY
    }

    /// How long the answer to a probe may take: no shorter than a task or a radio may sleep.
    pub(crate) fn answer_to_probe(&self) -> Duration {
        LEAST_PATIENCE.max(self.round_trip + 4 * self.variation)
    }

    /// The token of a probe that leaves now.
    pub(crate) fn next_probe(&mut self, now: Instant) -> u64 {
        self.next_token += 1;
        self.probe = Some((self.next_token, now));
        self.asked = now;
        self.unanswered_since.get_or_insert(now);
        self.next_token
    }

    /// A probe that leaves now, and by when to look whether it was answered.
    pub(crate) fn ask(&mut self, now: Instant) -> Frame {
        let token = self.next_probe(now);
        let silent_at = self.unanswered_since.unwrap_or(now) + self.patience(bound::SILENCE);
        self.judge_at = (now + bound::PROBE_BUSY).min(silent_at);
        Frame::Probe { token }
    }

    /// An answer came.
    pub(crate) fn answered(&mut self, token: u64, now: Instant) {
        if let Some((sent, at)) = self.probe
            && sent == token
        {
            self.probe = None;
            self.measured(now.since(at));
        }
    }

    /// Smooths as RFC 6298 section 2 does.
    pub(crate) fn measured(&mut self, sample: Duration) {
        let sample = sample.min(bound::ROUND_TRIP);
        if self.round_trip.is_zero() {
            (self.round_trip, self.variation) = (sample, sample / 2);
        } else {
            let off = self.round_trip.abs_diff(sample);
            self.variation = self.variation * 3 / 4 + off / 4;
            self.round_trip = self.round_trip * 7 / 8 + sample / 8;
        }
    }

    /// `least`, or four round trips if that is longer.
    pub(crate) fn patience(&self, least: Duration) -> Duration {
        least.max(4 * self.round_trip)
    }

    /// When the loss that is noticed now began: with the silence, if there was one.
    pub(crate) fn lost_since(&self, now: Instant) -> Instant {
        self.unanswered_since.map_or(now, |_| self.last_heard)
    }

    /// What was concluded from silence is void: the process slept.
    pub(crate) fn forgive(&mut self, now: Instant) {
        self.heard(now);
        self.probe = None;
    }
}
