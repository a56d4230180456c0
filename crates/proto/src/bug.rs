//! Deliberate bugs: each leaves out one rule, or the effect of one step, to show that the checks see it.
//!
//! A check that never fails proves nothing. So the simulator and the model run the machines with one rule
//! missing at a time, and `handover-sim bugs` says how soon each is found. Only with the feature
//! `deliberate-bugs`, which `handover-sim` alone asks for, can a bug be chosen; without it [`Bugs`] is empty,
//! `Bugs::has` is the constant `false`, and the compiler removes what hangs on it.

#[cfg(feature = "deliberate-bugs")]
use crate::Side;
use crate::step::Step;

/// One thing left out. The numbers are those of the cases in docs/protocol.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bug {
    /// 1: RECEIVED is not said again when the conduit that carried it ends.
    ReceivedNotSaidAgain,
    /// 2: the acknowledgement of an end goes by the stream's own conduit.
    EndAcknowledgedAnywhere,
    /// 3: a frame of a stream that is over is not answered SETTLED.
    OverNotAnswered,
    /// 4: a repeated stream moves to another conduit without an OPEN there.
    FramesOvertakeOpen,
    /// 5: as 4, and an ABORT of an id that was never seen leaves it unseen.
    AbortOvertakesOpen,
    /// 6: ABORT is taken only behind all bytes before it.
    AbortWaitsForBytes,
    /// 6b: ABORT ends where the resend stands.
    AbortAtCursor,
    /// 6c: after STOP the end is acknowledged only behind all bytes before it.
    StopWaitsForBytes,
    /// 7: the first link becomes current by ATTACH, without a numbered switch message.
    AttachMakesCurrent,
    /// 8: a take-over asks for no proof and closes no link of the other instance.
    TakeOverKeepsLinks,
    /// 10: a request whose OPEN was sent is opened again at a new SNAPT.
    OpenedAgainAtNewSnapt,
    /// 11: SNAPT-0* ignores SWITCH_STEP2, and CNAPT-13, -30 and -33 have no bound.
    LateStep2Ignored,
    /// 12: the old link is closed before the SNAPT's markers have come, and called drained.
    OldLinkClosedUnread,
    /// 13: a switch message is followed whatever its number.
    SwitchNumberIgnored,
    /// 14: a conduit that turns up late is not marked.
    LateConduitUnmarked,
    /// 16: messages of a planned switch that was given up are followed.
    LateStepsFollowed,
    /// 17: SETTLED forgets a stream before its application has read.
    SettledForgetsAtOnce,
    /// 18: a new instance has to go on with the old one's switch numbers.
    NumbersOutliveInstance,

    /// A resend begins one byte late.
    ResendOffByOne,
    /// A FIN that was sent once is not sent again.
    FinForgotten,
    /// `arrived` counts bytes behind a hole.
    ArrivedAheadOfStored,
    /// The SNAPT sends no markers.
    MarkersLost,
    /// Bytes that come after forwarding has stopped are dropped.
    OldLinkDropped,
    /// A late duplicate OPEN runs the request again.
    OpenRunsTwice,
    /// The end of input after an application's reset is taken for FIN.
    ResetTakenForFin,
    /// The limit never rises.
    CreditNeverRaised,
    /// A stream is forgotten before its own end was acknowledged.
    ForgottenTooEarly,
    /// The end of a conduit ends the streams on it.
    ConduitEndsStream,
    /// CNAPT-11 has no bound.
    UnboundedWait,
    /// What a lost link had under way is not sent again.
    NothingResent,
    /// RENEW of a CNAPT that has yet to hear of this session is taken to be about its streams.
    RenewOfAnotherSession,

    /// The step is marked in the trail, but its effect is left out.
    NoEffect(Step),
}

impl Bug {
    /// All but [`Self::NoEffect`].
    pub const RULES: [Self; 31] = [
        Self::ReceivedNotSaidAgain,
        Self::EndAcknowledgedAnywhere,
        Self::OverNotAnswered,
        Self::FramesOvertakeOpen,
        Self::AbortOvertakesOpen,
        Self::AbortWaitsForBytes,
        Self::AbortAtCursor,
        Self::StopWaitsForBytes,
        Self::AttachMakesCurrent,
        Self::TakeOverKeepsLinks,
        Self::OpenedAgainAtNewSnapt,
        Self::LateStep2Ignored,
        Self::OldLinkClosedUnread,
        Self::SwitchNumberIgnored,
        Self::LateConduitUnmarked,
        Self::LateStepsFollowed,
        Self::SettledForgetsAtOnce,
        Self::NumbersOutliveInstance,
        Self::ResendOffByOne,
        Self::FinForgotten,
        Self::ArrivedAheadOfStored,
        Self::MarkersLost,
        Self::OldLinkDropped,
        Self::OpenRunsTwice,
        Self::ResetTakenForFin,
        Self::CreditNeverRaised,
        Self::ForgottenTooEarly,
        Self::ConduitEndsStream,
        Self::UnboundedWait,
        Self::NothingResent,
        Self::RenewOfAnotherSession,
    ];
}

/// The bug that a machine has, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bugs {
    #[cfg(feature = "deliberate-bugs")]
    one: Option<Bug>,
}

#[cfg(feature = "deliberate-bugs")]
impl Bugs {
    /// What `side` leaves out: a rule on both sides, a step's effect where it is taken.
    pub fn of(bug: Bug, side: Side) -> Self {
        let elsewhere = matches!(bug, Bug::NoEffect(step) if step.side() != side);
        Self {
            one: (!elsewhere).then_some(bug),
        }
    }

    pub(crate) fn has(self, bug: Bug) -> bool {
        self.one == Some(bug)
    }
}

impl Bugs {
    /// CNAPT-5 and its kin without effect: what applications send in a switch is not kept.
    pub(crate) fn keeps_nothing(self) -> bool {
        [
            Step::cnapt(5),
            Step::snapt(5),
            Step::cnapt_star(5),
            Step::snapt_star(5),
        ]
        .into_iter()
        .any(|step| self.has(Bug::NoEffect(step)))
    }

    /// CNAPT-8 and SNAPT-7 without effect: what comes before the marker is not received.
    pub(crate) fn hears_nothing(self) -> bool {
        self.has(Bug::OldLinkDropped)
            || self.has(Bug::NoEffect(Step::cnapt(8)))
            || self.has(Bug::NoEffect(Step::snapt(7)))
    }

    /// CNAPT-6* and SNAPT-6* without effect: what was being sent is not stored.
    pub(crate) fn stores_nothing(self) -> bool {
        self.has(Bug::NothingResent)
            || self.has(Bug::NoEffect(Step::cnapt_star(6)))
            || self.has(Bug::NoEffect(Step::snapt_star(6)))
    }
}

#[cfg(not(feature = "deliberate-bugs"))]
impl Bugs {
    #[expect(clippy::unused_self, reason = "the signature of the feature's own")]
    pub(crate) const fn has(self, _bug: Bug) -> bool {
        false
    }
}
