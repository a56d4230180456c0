//! Where a machine can stand: the steps at which it waits, and its resting states.

use std::fmt;
use std::time::Duration;

use handover_proto::Side;
use handover_proto::session::{Phase, Procedure, SnaptPhase, bound};
use handover_proto::step::{Sequence, Step};

use crate::world::World;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// The machine waits at this step.
    At(Step),
    /// The session runs at this side.
    Attached(Side),
    /// The CNAPT has no link: the decision task looks for a network.
    Detached,
    /// The SNAPT knows of no CNAPT yet.
    New,
}

impl Wait {
    /// All of them, the CNAPT's first.
    pub const ALL: [Self; 29] = [
        Self::At(Step::cnapt(7)),
        Self::At(Step::cnapt(11)),
        Self::At(Step::cnapt(13)),
        Self::At(Step::cnapt(14)),
        Self::At(Step::cnapt(19)),
        Self::At(Step::cnapt(22)),
        Self::At(Step::cnapt(23)),
        Self::At(Step::cnapt(24)),
        Self::At(Step::cnapt(28)),
        Self::At(Step::cnapt(30)),
        Self::At(Step::cnapt(33)),
        Self::At(Step::cnapt_star(7)),
        Self::At(Step::cnapt_star(12)),
        Self::At(Step::cnapt_star(16)),
        Self::At(Step::cnapt_star(18)),
        Self::At(Step::cnapt_star(21)),
        Self::At(Step::cnapt_overlapped(3)),
        Self::At(Step::cnapt_overlapped(7)),
        Self::Attached(Side::Cnapt),
        Self::Detached,
        Self::At(Step::snapt(10)),
        Self::At(Step::snapt(12)),
        Self::At(Step::snapt(16)),
        Self::At(Step::snapt(20)),
        Self::At(Step::snapt_star(0)),
        Self::At(Step::snapt_star(12)),
        Self::At(Step::snapt_overlapped(4)),
        Self::Attached(Side::Snapt),
        Self::New,
    ];

    /// Its name where it does not follow whose it is.
    pub fn full_name(self) -> String {
        match self {
            Self::At(step) => step.to_string(),
            Self::Attached(Side::Cnapt) | Self::Detached => format!("the CNAPT {self}"),
            Self::Attached(Side::Snapt) | Self::New => format!("the SNAPT {self}"),
        }
    }

    /// Whose it is.
    pub const fn side(self) -> Side {
        match self {
            Self::At(step) => step.side(),
            Self::Attached(side) => side,
            Self::Detached => Side::Cnapt,
            Self::New => Side::Snapt,
        }
    }

    /// The longest that docs/protocol.md ("Waits") lets a machine stand here, its prolongations
    /// included, where a round trip takes `round_trip` at most; none where the end is another's affair.
    pub(crate) fn longest(self, round_trip: Duration) -> Option<Duration> {
        let Self::At(step) = self else { return None };
        let patience = |least| patience(least, round_trip);
        let times = bound::REPLY_EXTENSIONS + 1;
        // What is under way when the wait begins is progress when it comes.
        let progress = patience(bound::PROGRESS) + 4 * round_trip;
        match (step.sequence(), step.number()) {
            (Sequence::Cnapt | Sequence::CnaptStar, 7) => Some(bound::SUSPENSION),
            (Sequence::Cnapt, 11 | 19) => Some(patience(bound::REPLY) * times),
            (Sequence::Cnapt, 14) => Some((bound::PROGRESS + patience(bound::REPLY)) * times),
            (Sequence::Cnapt, 22..=24) => Some(bound::NETWORKS),
            // Three of them: close, open, open the VPN.
            (Sequence::CnaptStar, 12) => Some(3 * bound::NETWORKS),
            (Sequence::Cnapt, 28) | (Sequence::CnaptStar, 16) => Some(bound::DIAL),
            (Sequence::Snapt, 12 | 16) => Some(bound::OTHER_NETWORK),
            // The end of the other's wait for markers is progress here.
            (Sequence::Cnapt, 13) | (Sequence::Snapt, 10) => Some(2 * progress),
            (Sequence::Cnapt, 30 | 33)
            | (Sequence::CnaptStar, 18 | 21)
            | (Sequence::Snapt, 20)
            | (Sequence::SnaptStar, 12) => Some(progress),
            (Sequence::CnaptOverlapped, 2) => Some(bound::SUSPENSION),
            (Sequence::CnaptOverlapped, 3) => Some(bound::DIAL),
            // The end of the other's wait for markers is progress here.
            (Sequence::CnaptOverlapped, 7) => Some(bound::DRAIN + 2 * progress),
            (Sequence::SnaptOverlapped, 4) => Some(bound::DRAIN),
            // The switch timeout is the administrator's; no other step is waited at.
            (
                Sequence::Cnapt
                | Sequence::Snapt
                | Sequence::CnaptStar
                | Sequence::SnaptStar
                | Sequence::CnaptOverlapped
                | Sequence::SnaptOverlapped,
                _,
            ) => None,
        }
    }
}

/// How patient a machine is that has measured at most `round_trip`.
pub(crate) fn patience(least: Duration, round_trip: Duration) -> Duration {
    least.max(4 * round_trip.min(bound::ROUND_TRIP))
}

impl fmt::Display for Wait {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(step) => formatter.pad(&step.to_string()),
            Self::Attached(_) => formatter.pad("attached"),
            Self::Detached => formatter.pad("detached"),
            Self::New => formatter.pad("new"),
        }
    }
}

impl World {
    /// Where the machine at `side` stands; nowhere once it is over.
    pub fn wait(&self, side: Side) -> Option<Wait> {
        match side {
            Side::Cnapt => self.cnapt_wait(),
            Side::Snapt => self.snapt_wait(),
        }
    }

    fn cnapt_wait(&self) -> Option<Wait> {
        let last = self.cnapt.trail().steps().last();
        let sequence = last.map(|(step, _)| step.sequence());
        let starred = sequence == Some(Sequence::CnaptStar);
        let either = |planned, star| {
            Some(Wait::At(if starred {
                Step::cnapt_star(star)
            } else {
                Step::cnapt(planned)
            }))
        };
        match self.cnapt.phase() {
            Phase::Detached => Some(Wait::Detached),
            Phase::Attached => Some(Wait::Attached(Side::Cnapt)),
            Phase::AwaitSuspension if sequence == Some(Sequence::CnaptOverlapped) => {
                Some(Wait::At(Step::cnapt_overlapped(2)))
            }
            Phase::AwaitSuspension => either(7, 7),
            Phase::AwaitAck => Some(Wait::At(Step::cnapt(11))),
            Phase::AwaitMarkers => Some(Wait::At(Step::cnapt(13))),
            Phase::AwaitOk => Some(Wait::At(Step::cnapt(14))),
            Phase::AwaitServerServices => Some(Wait::At(Step::cnapt(19))),
            Phase::AwaitClosing => either(22, 12),
            Phase::AwaitOpening => either(23, 12),
            Phase::AwaitVpn => either(24, 12),
            Phase::AwaitControl => either(28, 16),
            Phase::AwaitRenewal => either(30, 18),
            Phase::AwaitAllRedirected => either(33, 21),
            Phase::AwaitStandby => Some(Wait::At(Step::cnapt_overlapped(3))),
            Phase::AwaitDrained => Some(Wait::At(Step::cnapt_overlapped(7))),
            Phase::Refused => None,
        }
    }

    const fn snapt_wait(&self) -> Option<Wait> {
        match self.snapt.phase() {
            SnaptPhase::New => Some(Wait::New),
            SnaptPhase::Attached => Some(Wait::Attached(Side::Snapt)),
            SnaptPhase::AwaitMarkers => Some(Wait::At(Step::snapt(10))),
            SnaptPhase::AwaitClientServices => Some(Wait::At(Step::snapt(12))),
            SnaptPhase::AwaitStep2 => Some(Wait::At(Step::snapt(16))),
            SnaptPhase::AwaitRenewal(Procedure::Stepwise) => Some(Wait::At(Step::snapt(20))),
            SnaptPhase::AwaitDrained => Some(Wait::At(Step::snapt_overlapped(4))),
            SnaptPhase::AwaitRenewal(
                Procedure::Starred | Procedure::Overlapped | Procedure::Rescue,
            ) => Some(Wait::At(Step::snapt_star(12))),
            SnaptPhase::AwaitUnexpected => Some(Wait::At(Step::snapt_star(0))),
            SnaptPhase::Released => None,
        }
    }
}
