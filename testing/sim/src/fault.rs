//! The kinds of what may strike a machine while it waits, and which seldom meet which wait.

use std::fmt;

use handover_proto::Side;
use handover_proto::step::Step;

use crate::script::Action;
use crate::wait::Wait;

/// A kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A client application connects.
    Open,
    /// The user orders a switch.
    Order,
    /// A network is cut, both ways.
    Cut,
    /// Only what goes to the SNAPT vanishes.
    CutThere,
    /// Only what goes to the CNAPT vanishes.
    CutBack,
    /// A network goes down, and the device knows it.
    Down,
    /// A network is back.
    Restore,
    /// Another address on the same network.
    Readdress,
    /// A network goes and is back with the same address.
    Return,
    /// A NAT forgets.
    Forget,
    /// Delay and jitter change.
    Weather,
    /// What comes to the CNAPT by a conduit is late.
    LateBack,
    /// What comes to the SNAPT by a conduit is late.
    LateThere,
    /// What was late comes.
    Release,
    /// A conduit dies and nobody hears of it.
    Kill,
    /// A conduit dies and the CNAPT hears of it.
    KillCnapt,
    /// A conduit dies and the SNAPT hears of it.
    KillSnapt,
    /// Conduits die one by one.
    OneByOne,
    /// The CNAPT's process ends and begins.
    RestartCnapt,
    /// The SNAPT's process ends and begins.
    RestartSnapt,
    /// The device dies.
    CrashCnapt,
    /// The server dies.
    CrashSnapt,
    /// The device sleeps: its clock jumps.
    SleepCnapt,
    /// The SNAPT's process is stopped: its clock jumps.
    SleepSnapt,
    /// An application resets.
    Reset,
    /// An application closes while bytes come to it.
    Leave,
    /// An application reads otherwise: slowly, not at all, everything.
    Change,
    /// The decision task falls silent, or answers again.
    Silence,
    /// A hook fails.
    HookFails,
    /// A hook hangs until it is killed.
    HookHangs,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 30] = [
        Self::Open,
        Self::Order,
        Self::Cut,
        Self::CutThere,
        Self::CutBack,
        Self::Down,
        Self::Restore,
        Self::Readdress,
        Self::Return,
        Self::Forget,
        Self::Weather,
        Self::LateBack,
        Self::LateThere,
        Self::Release,
        Self::Kill,
        Self::KillCnapt,
        Self::KillSnapt,
        Self::OneByOne,
        Self::RestartCnapt,
        Self::RestartSnapt,
        Self::CrashCnapt,
        Self::CrashSnapt,
        Self::SleepCnapt,
        Self::SleepSnapt,
        Self::Reset,
        Self::Leave,
        Self::Change,
        Self::Silence,
        Self::HookFails,
        Self::HookHangs,
    ];

    /// Which kind an action is.
    pub const fn of(action: &Action) -> Self {
        match action {
            Action::Open { .. } => Self::Open,
            Action::Order(_) => Self::Order,
            Action::Cut(_) => Self::Cut,
            Action::HalfCut(_, Side::Snapt) => Self::CutThere,
            Action::HalfCut(_, Side::Cnapt) => Self::CutBack,
            Action::Down(_) => Self::Down,
            Action::Restore(_) => Self::Restore,
            Action::Readdress(_) => Self::Readdress,
            Action::Return { .. } => Self::Return,
            Action::Forget(_) => Self::Forget,
            Action::Weather { .. } => Self::Weather,
            Action::Hold(_, Side::Cnapt) => Self::LateBack,
            Action::Hold(_, Side::Snapt) => Self::LateThere,
            Action::Release => Self::Release,
            Action::Kill(_, None) => Self::Kill,
            Action::Kill(_, Some(Side::Cnapt)) => Self::KillCnapt,
            Action::Kill(_, Some(Side::Snapt)) => Self::KillSnapt,
            Action::KillOneByOne(..) => Self::OneByOne,
            Action::Restart(Side::Cnapt) => Self::RestartCnapt,
            Action::Restart(Side::Snapt) => Self::RestartSnapt,
            Action::Crash(Side::Cnapt) => Self::CrashCnapt,
            Action::Crash(Side::Snapt) => Self::CrashSnapt,
            Action::Sleep {
                side: Side::Cnapt, ..
            } => Self::SleepCnapt,
            Action::Sleep {
                side: Side::Snapt, ..
            } => Self::SleepSnapt,
            Action::Reset(..) => Self::Reset,
            Action::Leave(..) => Self::Leave,
            Action::Change(..) => Self::Change,
            Action::Silence => Self::Silence,
            Action::FailHooks => Self::HookFails,
            Action::HangHooks => Self::HookHangs,
        }
    }

    /// Whether it makes anything worse: an order, a new connection and a network that is back do not.
    pub const fn disturbs(self) -> bool {
        !matches!(
            self,
            Self::Open | Self::Order | Self::Restore | Self::Release
        )
    }

    /// What can strike only seldom while a machine waits where, and why.
    pub fn rare() -> impl Iterator<Item = (Self, &'static [Wait], &'static str)> {
        RARE.iter().copied()
    }

    /// Why it seldom strikes while a machine waits there, if it does not.
    pub fn rare_at(self, wait: Wait) -> Option<&'static str> {
        let row = RARE
            .iter()
            .find(|(fault, waits, _)| *fault == self && waits.contains(&wait));
        row.map(|(_, _, reason)| *reason)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&format!("{self:?}"))
    }
}

/// Where the CNAPT has closed the old link and has no new one yet.
const WITHOUT_LINK: [Wait; 7] = [
    Wait::At(Step::cnapt(22)),
    Wait::At(Step::cnapt(23)),
    Wait::At(Step::cnapt(24)),
    Wait::At(Step::cnapt_star(12)),
    Wait::At(Step::cnapt(28)),
    Wait::At(Step::cnapt_star(16)),
    Wait::Detached,
];

/// Where the CNAPT has nothing but a control channel: the others of a link are made when it carries.
const WITH_CONTROL_ONLY: [Wait; 4] = [
    Wait::At(Step::cnapt(30)),
    Wait::At(Step::cnapt(33)),
    Wait::At(Step::cnapt_star(18)),
    Wait::At(Step::cnapt_star(21)),
];

/// The pairs that come about only where a link stands by, each with its reason: a run need not come across them.
const RARE: [(Fault, &[Wait], &str); 5] = [
    (
        Fault::KillCnapt,
        &WITHOUT_LINK,
        "of a link that carries the CNAPT has no conduit of which it could hear",
    ),
    (
        Fault::LateBack,
        &WITHOUT_LINK,
        "of a link that carries the CNAPT has no conduit by which anything could come to it",
    ),
    (
        Fault::OneByOne,
        &WITHOUT_LINK,
        "of a link that carries the CNAPT has no conduits that could die",
    ),
    (
        Fault::OneByOne,
        &WITH_CONTROL_ONLY,
        "a new link has no conduit but its control channel yet",
    ),
    (
        Fault::OneByOne,
        &[Wait::At(Step::snapt(20)), Wait::At(Step::snapt_star(12))],
        "the CNAPT has ordered over a new link and has nothing else since",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_faults_is_complete_and_in_order() {
        for (index, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, index);
        }
        assert_eq!(Fault::HookHangs as usize + 1, Fault::ALL.len());
    }
}
