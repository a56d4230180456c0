//! What a machine knows of a link: its round trip, and whether it lives.

use std::time::Duration;

use super::bound;
use crate::{Instant, LinkNumber};

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
            next_token: 0,
            probe: None,
            asked: now,
            unanswered_since: None,
            judge_at: now,
        }
    }

    pub(crate) const fn heard(&mut self, now: Instant) {
        self.last_heard = now;
        self.unanswered_since = None;
    }

    /// The token of a probe that leaves now.
    pub(crate) fn next_probe(&mut self, now: Instant) -> u64 {
        self.next_token += 1;
        self.probe = Some((self.next_token, now));
        self.asked = now;
        self.unanswered_since.get_or_insert(now);
        self.next_token
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
        self.round_trip = if self.round_trip.is_zero() {
            sample
        } else {
            self.round_trip * 7 / 8 + sample / 8
        };
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
    pub(crate) const fn forgive(&mut self, now: Instant) {
        self.heard(now);
        self.probe = None;
    }
}
