//! Whether the link that carries lives: when it is asked, what its silence means, and when something should have come.

use std::time::Duration;

use super::{Cnapt, Phase};
use crate::Instant;
use crate::session::{Event, NetworkId, Output, Timer, bound};

impl Cnapt {
    /// Whether a link carries traffic now.
    pub const fn serves(&self) -> bool {
        matches!(
            self.phase,
            Phase::Attached | Phase::AwaitStandby | Phase::AwaitDrained
        )
    }

    /// When the current link has to be probed, or judged.
    pub(super) fn probe_deadline(&self) -> Option<Instant> {
        let (_, link) = self.link.as_ref().filter(|_| self.serves())?;
        if let Some(since) = link.unanswered_since {
            let suspect = (!link.suspected).then(|| since + link.answer_to_probe());
            return Some(suspect.map_or(link.judge_at, |at| at.min(link.judge_at)));
        }
        let flows = &self.streams.flows;
        let sent = flows.last_sent().is_some_and(|at| at > link.last_heard);
        let idle = self.streams.active.is_empty() && !sent && !flows.waits();
        let due = if idle {
            link.last_heard + self.keepalive_of(self.network)
        } else {
            let measured_anew = link.asked + bound::MEASURE;
            measured_anew.min(link.last_heard + bound::PROBE_BUSY)
        };
        Some(self.stall_deadline().map_or(due, |at| at.min(due)))
    }

    /// How long nothing may pass on an idle link over this network.
    pub(super) fn keepalive_of(&self, network: Option<NetworkId>) -> Duration {
        let own = network.and_then(|network| self.keepalives.get(&network));
        own.copied().unwrap_or(bound::PROBE_IDLE)
    }

    pub(super) fn probe_due(&mut self, deadline: Instant, now: Instant) {
        let slept = now.since(deadline) > bound::SLEPT;
        let Some((_, link)) = &mut self.link else {
            return;
        };
        if slept {
            link.forgive(now);
        }
        let silence = link.patience(bound::SILENCE);
        match link.unanswered_since {
            Some(since) if since + silence <= now => self.handle_timer(Timer::Silence, now),
            Some(since) if !link.suspected && since + link.answer_to_probe() <= now => {
                self.handle_timer(Timer::Stall, now);
            }
            Some(_) if now < link.judge_at => {}
            Some(_) | None => self.handle_timer(Timer::Probe, now),
        }
    }

    pub(super) fn send_probe(&mut self, now: Instant) {
        if let Some((control, link)) = &mut self.link {
            let (control, probe) = (*control, link.ask(now));
            self.push(control, probe);
        }
    }

    pub(super) fn handle_probe_reply(&mut self, token: u64, now: Instant) {
        if let Some((_, link)) = &mut self.link {
            link.answered(token, now);
            self.streams.set_round_trip(link.round_trip);
        }
    }

    /// A probe is unanswered for longer than the link's round trips explain: the shell is told, once for each silence.
    pub(super) fn suspect(&mut self) {
        if let Some((_, link)) = &mut self.link
            && let Some(network) = self.network
            && !std::mem::replace(&mut link.suspected, true)
        {
            let event = Event::Stalled { network };
            self.streams.outputs.push_back(Output::Event(event));
        }
    }

    /// The SNAPT hears nothing by the link that carries: it is asked now, if it has not been.
    pub(super) fn look_at_link(&mut self, now: Instant) {
        if self.phase == Phase::Attached && !self.is_unanswered() {
            self.send_probe(now);
        }
    }

    /// Whether the link that carries has been asked, and has not been heard since.
    pub(super) fn is_unanswered(&self) -> bool {
        let link = self.link.as_ref();
        link.is_some_and(|(_, link)| link.unanswered_since.is_some())
    }

    /// When to ask whether the link lives, because something should have come by it.
    fn stall_deadline(&self) -> Option<Instant> {
        let (_, link) = self.link.as_ref()?;
        let expected = self
            .streams
            .expecting_since()
            .map(|since| since + link.answer_time());
        [link.flow_stops_at(), expected].into_iter().flatten().min()
    }
}
