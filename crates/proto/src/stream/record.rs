//! What one side knows of one stream.

use std::time::Duration;

use super::code;
use super::receive::ReceiveHalf;
use super::send::SendHalf;
use crate::bug::{Bug, Bugs};
use crate::wire::{RenewEntry, Request};
use crate::{ConduitId, Instant, StreamId};

/// How far the opener has come in making the stream known. The acceptor's is always `Confirmed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Opening {
    /// OPEN was never sent; the application waits since then.
    NotSent { since: Instant },
    /// OPEN was sent. Until it is answered, frames of the stream go only behind an OPEN on the same
    /// conduit, `on`; none if that is lost.
    Sent {
        on: Option<ConduitId>,
        at: Instant,
        patience: Duration,
    },
    /// A frame of the acceptor came.
    Confirmed,
}

/// What a stream may send at once, in bytes, before anything of it was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct InitialCredit {
    /// To the other side.
    pub(crate) given: u64,
    /// By the other side.
    pub(crate) taken: u64,
}

/// When RECEIVED is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Acknowledge {
    /// Nothing to say.
    No,
    /// With the next frame that goes out anyway, or when the delay is over.
    Lazy,
    /// At once.
    Now,
}

#[derive(Clone, Debug, Hash)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    /// The opener's, until the stream is confirmed; the acceptor's, until the application is connected.
    pub(crate) request: Option<Box<Request>>,
    pub(crate) opening: Opening,
    pub(crate) send: SendHalf,
    pub(crate) receive: ReceiveHalf,
    /// The application's connection is there and bytes can go to it directly.
    pub(crate) connected: bool,
    pub(crate) place: Option<ConduitId>,
    /// It is in the queue of its place.
    pub(crate) queued: bool,
    /// Conduits that may hold bytes of it that were not acknowledged.
    pub(crate) used: Vec<ConduitId>,
    /// Where its latest RECEIVED went.
    pub(crate) acknowledged_on: Option<ConduitId>,
    pub(crate) acknowledge: Acknowledge,
    pub(crate) opened_due: bool,
    pub(crate) stop_due: bool,
    /// The other side said STOP while our end was not FIN.
    pub(crate) stopped: bool,
    /// The acknowledgement of the other side's end has been sent.
    pub(crate) end_acknowledged: bool,
    /// The application's task found no room to read into and waits to be told of some.
    pub(crate) starved: bool,
    /// The switch number under which anything last moved.
    pub(crate) moved: u64,
    /// It counts into the load of its place.
    pub(crate) active: bool,
    /// Something moved since the last look at activity.
    pub(crate) stirred: bool,
    pub(crate) bugs: Bugs,
}

impl Stream {
    pub(crate) fn new(
        id: StreamId,
        request: Option<Request>,
        opening: Opening,
        credit: InitialCredit,
        bugs: Bugs,
        now: Instant,
    ) -> Self {
        Self {
            id,
            request: request.map(Box::new),
            opening,
            send: SendHalf::new(credit.taken, bugs),
            receive: ReceiveHalf::new(credit.given, bugs, now),
            connected: false,
            place: None,
            queued: false,
            used: Vec::new(),
            acknowledged_on: None,
            acknowledge: Acknowledge::No,
            opened_due: false,
            stop_due: false,
            stopped: false,
            end_acknowledged: false,
            starved: false,
            moved: 0,
            active: false,
            stirred: true,
            bugs,
        }
    }

    /// The acceptor was heard.
    pub(crate) fn confirm(&mut self) {
        self.opening = Opening::Confirmed;
        self.request = None;
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        self.opening == Opening::Confirmed
    }

    /// Whether an OPEN on `conduit` waits for its answer: elsewhere everything would have to be said again.
    pub(crate) fn is_opening_on(&self, conduit: ConduitId) -> bool {
        let opening = matches!(self.opening, Opening::Sent { on: Some(on), .. } if on == conduit);
        opening && !self.frames_overtake_open()
    }

    /// Whether there is a frame to send on its place.
    pub(crate) fn has_work(&self) -> bool {
        !self.is_confirmed_or_opening()
            || self.send.has_data()
            || self.send.end_is_due()
            || self.acknowledge == Acknowledge::Now
            || self.opened_due
            || self.stop_due
    }

    /// False while the stream still has to be opened on some conduit.
    fn is_confirmed_or_opening(&self) -> bool {
        match self.opening {
            Opening::Sent { .. } if self.frames_overtake_open() => true,
            Opening::NotSent { .. } | Opening::Sent { on: None, .. } => false,
            Opening::Sent { on: Some(_), .. } | Opening::Confirmed => true,
        }
    }

    /// A conduit is gone: what it may have held is said again.
    pub(crate) fn lose_conduit(&mut self, conduit: ConduitId) -> bool {
        let mut concerned = false;
        if self.place == Some(conduit) {
            self.place = None;
            self.queued = false;
            concerned = true;
        }
        if self.used.contains(&conduit) {
            self.say_again();
            concerned = true;
        }
        if self.acknowledged_on == Some(conduit) && !self.bugs.has(Bug::ReceivedNotSaidAgain) {
            self.acknowledged_on = None;
            self.acknowledge = Acknowledge::Now;
            concerned = true;
        }
        concerned
    }

    /// A conduit is gone, and all that was sent on it has arrived.
    pub(crate) fn drain_conduit(&mut self, conduit: ConduitId) {
        if self.place == Some(conduit) {
            self.place = None;
            self.queued = false;
        }
        self.used.retain(|used| *used != conduit);
        self.acknowledged_on.take_if(|on| *on == conduit);
    }

    /// Everything that was not acknowledged, or may not have been heard, is sent again.
    fn say_again(&mut self) {
        self.leave_conduits();
        self.send.rewind();
    }

    /// What is still to be heard of it will be said on other conduits.
    pub(crate) fn leave_conduits(&mut self) {
        self.used.clear();
        if let Opening::Sent { on, patience, .. } = &mut self.opening {
            *on = None;
            *patience = Duration::ZERO;
        }
        self.stop_due = self.receive.stop_code().is_some() && !self.receive.end_has_arrived();
    }

    /// What a module does that sends OPEN on one conduit only.
    pub(crate) fn frames_overtake_open(&self) -> bool {
        let buggy =
            self.bugs.has(Bug::FramesOvertakeOpen) || self.bugs.has(Bug::AbortOvertakesOpen);
        buggy && matches!(self.opening, Opening::Sent { patience, .. } if !patience.is_zero())
    }

    /// Both directions are over, and both sides know it.
    pub(crate) fn is_forgettable(&self) -> bool {
        (self.send.end_arrived() || self.bugs.has(Bug::ForgottenTooEarly))
            && self.receive.end_has_arrived()
            && self.receive.end_is_taken()
            && self.end_acknowledged
    }

    /// Why the application's connection has to be reset, if it has to.
    pub(crate) fn reset_code(&self) -> Option<u16> {
        (self.stopped && self.receive.end_is_taken()).then_some(code::CANNOT_DELIVER)
    }

    pub(crate) fn renew_entry(&mut self) -> RenewEntry {
        let (arrived, limit) = self.receive.received();
        if self.receive.end_has_arrived() {
            self.end_acknowledged = true;
        }
        RenewEntry {
            stream: self.id,
            arrived,
            limit,
            end: self.send.end(),
            stop: self
                .receive
                .stop_code()
                .filter(|_| !self.receive.end_has_arrived()),
        }
    }

    /// Whether a conduit may take something down with it that nobody would repeat: bytes, an end, or a
    /// STOP that no end has answered.
    pub(crate) fn is_unanswered(&self) -> bool {
        let stop = self.receive.stop_code().is_some() && !self.receive.end_has_arrived();
        stop || self.send.is_unacknowledged()
    }

    /// Whether the other side lacks something that was sent.
    pub(crate) fn has_unarrived(&self) -> bool {
        self.send.is_unacknowledged()
    }
}
