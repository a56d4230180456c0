//! The 97 steps of the spec by name, those of our overlapped switch, and the trail that a machine leaves of
//! those it took.
//!
//! A step is its sequence and its number, so that a typo does not compile into a step that the spec
//! does not have: [`Step::new`] is the only way in, and its bounds are checked at compile time in
//! the `const` positions where the machines name steps.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::{Instant, Side};

/// Which of the four sequences of the spec a step belongs to, or which of our two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Sequence {
    /// CNAPT-1..34: the planned switch at the CNAPT.
    Cnapt = 0,
    /// SNAPT-1..23: the planned switch at the SNAPT.
    Snapt = 1,
    /// CNAPT-1*..23*: the unexpected switch at the CNAPT.
    CnaptStar = 2,
    /// SNAPT-0*..16*: the unexpected switch at the SNAPT.
    SnaptStar = 3,
    /// CNAPT-1+..8+: the overlapped switch at the CNAPT, which the spec does not have.
    CnaptOverlapped = 4,
    /// SNAPT-1+..5+: the overlapped switch at the SNAPT.
    SnaptOverlapped = 5,
}

impl Sequence {
    /// First and last number of the sequence.
    pub const fn bounds(self) -> (u8, u8) {
        match self {
            Self::Cnapt => (1, 34),
            Self::Snapt => (1, 23),
            Self::CnaptStar => (1, 23),
            Self::SnaptStar => (0, 16),
            Self::CnaptOverlapped => (1, 8),
            Self::SnaptOverlapped => (1, 5),
        }
    }

    /// The module that takes the steps of this sequence.
    pub const fn side(self) -> Side {
        match self {
            Self::Cnapt | Self::CnaptStar | Self::CnaptOverlapped => Side::Cnapt,
            Self::Snapt | Self::SnaptStar | Self::SnaptOverlapped => Side::Snapt,
        }
    }
}

/// One numbered step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step {
    sequence: Sequence,
    number: u8,
}

impl Step {
    /// The step `number` of `sequence`.
    ///
    /// # Panics
    ///
    /// If there is no such step.
    pub const fn new(sequence: Sequence, number: u8) -> Self {
        let (first, last) = sequence.bounds();
        assert!(first <= number && number <= last, "there is no such step");
        Self { sequence, number }
    }

    /// CNAPT-`number`.
    pub const fn cnapt(number: u8) -> Self {
        Self::new(Sequence::Cnapt, number)
    }

    /// SNAPT-`number`.
    pub const fn snapt(number: u8) -> Self {
        Self::new(Sequence::Snapt, number)
    }

    /// CNAPT-`number`*.
    pub const fn cnapt_star(number: u8) -> Self {
        Self::new(Sequence::CnaptStar, number)
    }

    /// SNAPT-`number`*.
    pub const fn snapt_star(number: u8) -> Self {
        Self::new(Sequence::SnaptStar, number)
    }

    /// CNAPT-`number`+.
    pub const fn cnapt_overlapped(number: u8) -> Self {
        Self::new(Sequence::CnaptOverlapped, number)
    }

    /// SNAPT-`number`+.
    pub const fn snapt_overlapped(number: u8) -> Self {
        Self::new(Sequence::SnaptOverlapped, number)
    }

    /// All 97 of the spec, sequence by sequence.
    pub fn all() -> impl Iterator<Item = Self> {
        let sequences = [
            Sequence::Cnapt,
            Sequence::Snapt,
            Sequence::CnaptStar,
            Sequence::SnaptStar,
        ];
        sequences.into_iter().flat_map(Self::of_sequence)
    }

    /// All 13 of the overlapped switch, which is ours.
    pub fn ours() -> impl Iterator<Item = Self> {
        let sequences = [Sequence::CnaptOverlapped, Sequence::SnaptOverlapped];
        sequences.into_iter().flat_map(Self::of_sequence)
    }

    /// All of a sequence, in its order.
    fn of_sequence(sequence: Sequence) -> impl Iterator<Item = Self> {
        let (first, last) = sequence.bounds();
        (first..=last).map(move |number| Self { sequence, number })
    }

    /// The sequence that it is a step of.
    pub const fn sequence(self) -> Sequence {
        self.sequence
    }

    /// Its number within the sequence.
    pub const fn number(self) -> u8 {
        self.number
    }

    /// The module that takes it.
    pub const fn side(self) -> Side {
        self.sequence.side()
    }

    /// Its two bytes on the wire.
    pub const fn to_bytes(self) -> [u8; 2] {
        [self.sequence as u8, self.number]
    }

    /// The step that two bytes name, if there is one.
    pub fn from_bytes(bytes: [u8; 2]) -> Option<Self> {
        Self::all()
            .chain(Self::ours())
            .find(|step| step.to_bytes() == bytes)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (side, star) = match self.sequence {
            Sequence::Cnapt => ("CNAPT", ""),
            Sequence::Snapt => ("SNAPT", ""),
            Sequence::CnaptStar => ("CNAPT", "*"),
            Sequence::SnaptStar => ("SNAPT", "*"),
            Sequence::CnaptOverlapped => ("CNAPT", "+"),
            Sequence::SnaptOverlapped => ("SNAPT", "+"),
        };
        write!(formatter, "{side}-{}{star}", self.number)
    }
}

/// The most steps one switch may leave: the planned procedure broken off near its end, the way back
/// by the starred one, and that repeated a few times.
pub const TRAIL_STEPS: usize = 160;

/// The steps that a machine took in one switch, each with its time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepTrail {
    steps: Vec<(Step, Instant)>,
}

/// Nothing that a machine does follows from its trail, so a model need not tell states apart by it.
impl Hash for StepTrail {
    fn hash<H: Hasher>(&self, _state: &mut H) {}
}

impl StepTrail {
    /// Notes that `step` is taken now. Beyond [`TRAIL_STEPS`] a step is not recorded.
    pub fn mark(&mut self, step: Step, now: Instant) {
        if self.steps.len() < TRAIL_STEPS {
            self.steps.push((step, now));
        }
    }

    /// Forgets everything: a new switch begins.
    pub fn clear(&mut self) {
        self.steps.clear();
    }

    /// The steps in the order in which they were taken.
    pub fn steps(&self) -> &[(Step, Instant)] {
        &self.steps
    }
}

/// What must have happened on the other side before a step can begin: the cause of each step that
/// waits for a message, as (step, the other side's step that sends the message).
const CAUSES: [(Step, Step); 13] = [
    (Step::snapt_overlapped(1), Step::cnapt_overlapped(4)),
    (Step::cnapt_overlapped(8), Step::snapt_overlapped(5)),
    (Step::snapt(1), Step::cnapt(10)),
    (Step::cnapt(12), Step::snapt(9)),
    (Step::snapt(11), Step::cnapt(12)),
    (Step::cnapt(15), Step::snapt(11)),
    (Step::snapt(13), Step::cnapt(18)),
    (Step::cnapt(20), Step::snapt(15)),
    (Step::snapt(17), Step::cnapt(29)),
    (Step::cnapt(31), Step::snapt(19)),
    (Step::cnapt(34), Step::snapt(22)),
    (Step::snapt_star(1), Step::cnapt_star(17)),
    (Step::cnapt_star(22), Step::snapt_star(14)),
];

/// The place of a step in the spec's own telling of the two procedures; orders what no message orders.
fn rank(step: Step) -> u16 {
    let (block, base) = match (step.sequence, step.number) {
        (Sequence::Cnapt, 1..=11) => (0, 0),
        (Sequence::Snapt, 1..=10) => (1, 0),
        (Sequence::Cnapt, 12..=14) => (2, 0),
        (Sequence::Snapt, 11..=12) => (3, 0),
        (Sequence::Cnapt, 15..=19) => (4, 0),
        (Sequence::Snapt, 13..=16) => (5, 0),
        (Sequence::Cnapt, 20..=30) => (6, 0),
        (Sequence::Snapt, 17..=20) => (7, 0),
        (Sequence::Cnapt, 31..=33) => (8, 0),
        (Sequence::Snapt, 21..=23) => (9, 0),
        (Sequence::Cnapt, _) => (10, 0),
        (Sequence::Snapt, _) => (10, 50),
        (Sequence::CnaptOverlapped, 1..=7) => (0, 0),
        (Sequence::SnaptOverlapped, _) => (1, 0),
        (Sequence::CnaptOverlapped, _) => (2, 0),
        (Sequence::CnaptStar, 1..=18) => (12, 0),
        (Sequence::SnaptStar, 0) => (11, 0),
        (Sequence::SnaptStar, 1..=12) => (13, 0),
        (Sequence::CnaptStar, 19..=21) => (14, 0),
        (Sequence::SnaptStar, _) => (15, 0),
        (Sequence::CnaptStar, _) => (16, 0),
    };
    block * 100 + base + u16::from(step.number)
}

/// Merges both sides' trails into one ladder, by cause and not by clock: the two clocks are not
/// related. Each side's order is kept; a step that waits for a message follows the step that sent
/// it; what is left open follows the spec's telling.
pub fn merge<T: Copy>(cnapt: &[(Step, T)], snapt: &[(Step, T)]) -> Vec<(Step, T)> {
    let mut merged = Vec::with_capacity(cnapt.len() + snapt.len());
    let (mut cnapt, mut snapt) = (cnapt, snapt);
    loop {
        let take_cnapt = match (cnapt.first(), snapt.first()) {
            (None, None) => return merged,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some((left, _)), Some((right, _))) => {
                match (waits_for(*left, snapt), waits_for(*right, cnapt)) {
                    (true, false) => false,
                    (false, true) => true,
                    (true, true) | (false, false) => rank(*left) <= rank(*right),
                }
            }
        };
        let source = if take_cnapt { &mut cnapt } else { &mut snapt };
        if let Some((first, rest)) = source.split_first() {
            merged.push(*first);
            *source = rest;
        }
    }
}

/// Whether the cause of `step` is still to come in the other side's trail.
fn waits_for<T>(step: Step, other: &[(Step, T)]) -> bool {
    CAUSES
        .iter()
        .find(|(effect, _)| *effect == step)
        .is_some_and(|(_, cause)| other.iter().any(|(later, _)| later == cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spec_has_97_steps_and_each_survives_the_wire() {
        let all: Vec<Step> = Step::all().collect();
        assert_eq!(all.len(), 97);
        for step in all {
            assert_eq!(Step::from_bytes(step.to_bytes()), Some(step));
        }
        let ours = Step::cnapt_overlapped(8);
        assert_eq!(Step::from_bytes(ours.to_bytes()), Some(ours));
        assert_eq!(Step::from_bytes([0, 35]), None);
        assert_eq!(Step::from_bytes([6, 1]), None);
    }

    #[test]
    fn names_are_the_specs() {
        assert_eq!(Step::cnapt(12).to_string(), "CNAPT-12");
        assert_eq!(Step::snapt_star(0).to_string(), "SNAPT-0*");
    }

    #[test]
    fn merging_follows_messages_and_then_the_spec() {
        let cnapt: Vec<(Step, ())> = (1..=34).map(|number| (Step::cnapt(number), ())).collect();
        let snapt: Vec<(Step, ())> = (1..=23).map(|number| (Step::snapt(number), ())).collect();
        let merged: Vec<String> = merge(&cnapt, &snapt)
            .iter()
            .map(|(step, ())| step.to_string())
            .collect();
        let at = |name: &str| {
            merged
                .iter()
                .position(|step| step == name)
                .expect("in the ladder")
        };
        assert_eq!(merged.len(), 57);
        assert_eq!(at("SNAPT-1"), at("CNAPT-11") + 1);
        assert_eq!(at("CNAPT-12"), at("SNAPT-10") + 1);
        assert_eq!(at("SNAPT-21"), at("CNAPT-33") + 1);
        assert_eq!(at("CNAPT-34"), 56);
    }
}
