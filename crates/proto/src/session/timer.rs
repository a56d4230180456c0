//! The timers of the session machines, by name.

use std::collections::BTreeMap;

use crate::Instant;

/// Why a machine wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// When the decision task has not said that it is suspended (CNAPT-7).
    Suspension,
    /// When the SNAPT has not answered (CNAPT-11, CNAPT-19).
    Reply,
    /// When half of [`Timer::Reply`] has passed: ask whether the link lives.
    ReplyProbe,
    /// When markers stay away (CNAPT-13, SNAPT-10).
    Markers,
    /// When OK_TO_REDIRECTION stays away (CNAPT-14).
    Ok,
    /// When the CNAPT does not go on (SNAPT-12, SNAPT-16).
    OtherNetwork,
    /// When the shell does not say that networks are closed or opened (CNAPT-22..24, CNAPT-12*).
    Networks,
    /// When no new control channel comes about (CNAPT-28, CNAPT-16*).
    Dial,
    /// When the other's RENEW stays away (CNAPT-30, SNAPT-20, CNAPT-18*, SNAPT-12*).
    Renewal,
    /// When ALL_REDIRECTED stays away (CNAPT-33, CNAPT-21*).
    AllRedirected,
    /// When the old link of an overlapped switch has taken too long to drain (CNAPT-7+, SNAPT-4+).
    Drain,
    /// When something should have come by the link that carries.
    Stall,
    /// When a network that a rescue left may be gone back to.
    Return,
    /// When a link beside the one that carries has to show that it lives, or could not be made.
    Standby,
    /// When the link has to show that it lives.
    Probe,
    /// When an unanswered probe means that the link is dead.
    Silence,
    /// When the gap of the last switch may be known.
    Gap,
    /// When the CNAPT has been away for too long (SNAPT-0*, R13).
    SwitchTimeout,
    /// When a held conduit has waited for its link for too long.
    Held,
    /// Of the streams: when RECEIVED has waited long enough for a frame to ride along with.
    Acknowledge,
    /// Of the streams: when those on which nothing moves leave the load of their conduits.
    Activity,
    /// Of the streams: when spare conduits that ended are replaced.
    Spares,
    /// Of the streams: when an OPEN is repeated.
    Open,
    /// Of the streams: when a connection has waited for a network for too long.
    OpenWait,
    /// Of the flows: when one has been idle for its time.
    FlowIdle,
}

/// Which timers run, and until when.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Timers {
    deadlines: BTreeMap<Timer, Instant>,
}

impl Timers {
    pub(crate) fn set(&mut self, timer: Timer, deadline: Instant) {
        self.deadlines.insert(timer, deadline);
    }

    pub(crate) fn stop(&mut self, timer: Timer) {
        self.deadlines.remove(&timer);
    }

    /// Stops every timer of the switch procedures.
    pub(crate) fn stop_waits(&mut self) {
        self.deadlines
            .retain(|timer, _| matches!(timer, Timer::Gap | Timer::Held));
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.deadlines.values().min().copied()
    }

    /// Takes out one timer that is due, the earliest first, with the time for which it was set.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<(Timer, Instant)> {
        let (timer, deadline) = self
            .deadlines
            .iter()
            .map(|(timer, deadline)| (*timer, *deadline))
            .min_by_key(|(timer, deadline)| (*deadline, *timer))
            .filter(|(_, deadline)| *deadline <= now)?;
        self.deadlines.remove(&timer);
        Some((timer, deadline))
    }

    /// The timers that run.
    pub(crate) fn armed(&self) -> impl Iterator<Item = Timer> + '_ {
        self.deadlines.keys().copied()
    }
}
