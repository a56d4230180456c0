//! The spec's graph: which step may follow which in the trail of one machine.

use handover_proto::step::{Sequence, Step};

/// Where a procedure is broken off, and how it goes on then. Everything else follows its own order.
const TURNS: [(Step, Step); 34] = [
    // The old link died, or did not answer in time: on with the starred steps.
    (Step::cnapt(7), Step::cnapt_star(1)),
    (Step::cnapt(11), Step::cnapt_star(1)),
    (Step::cnapt(13), Step::cnapt_star(1)),
    (Step::cnapt(14), Step::cnapt_star(1)),
    (Step::cnapt(19), Step::cnapt_star(1)),
    // The old network cannot be closed, or the new one or its VPN not be opened: back.
    (Step::cnapt(22), Step::cnapt_star(1)),
    (Step::cnapt(23), Step::cnapt_star(1)),
    (Step::cnapt(24), Step::cnapt_star(1)),
    // The new network cannot be reached: back to the old one, which was left in good order.
    (Step::cnapt(28), Step::cnapt_star(1)),
    (Step::cnapt(30), Step::cnapt_star(1)),
    (Step::cnapt(33), Step::cnapt_star(1)),
    // No progress on the new link: ordered anew there, and after that back as well.
    (Step::cnapt(30), Step::cnapt_star(17)),
    (Step::cnapt(33), Step::cnapt_star(17)),
    (Step::cnapt_star(18), Step::cnapt_star(17)),
    (Step::cnapt_star(21), Step::cnapt_star(17)),
    (Step::cnapt_star(18), Step::cnapt_star(1)),
    (Step::cnapt_star(21), Step::cnapt_star(1)),
    // The old link of an overlapped switch died before the switch, or with something under way on it.
    (Step::cnapt_overlapped(2), Step::cnapt_star(1)),
    (Step::cnapt_overlapped(3), Step::cnapt_star(1)),
    (Step::cnapt_overlapped(7), Step::cnapt_star(17)),
    // A rescue finds no link: back to the one that was kept.
    (Step::cnapt_star(16), Step::cnapt_star(1)),
    // The new one died: back.
    (Step::cnapt_overlapped(7), Step::cnapt_star(1)),
    (Step::snapt_overlapped(4), Step::snapt_star(0)),
    (Step::snapt_overlapped(4), Step::snapt_star(1)),
    // The link ended, or a bound did: the CNAPT is waited for.
    (Step::snapt(10), Step::snapt_star(0)),
    (Step::snapt(12), Step::snapt_star(0)),
    (Step::snapt(16), Step::snapt_star(0)),
    (Step::snapt(20), Step::snapt_star(0)),
    (Step::snapt_star(12), Step::snapt_star(0)),
    // A higher order came before.
    (Step::snapt(10), Step::snapt_star(1)),
    (Step::snapt(12), Step::snapt_star(1)),
    (Step::snapt(16), Step::snapt_star(1)),
    (Step::snapt(20), Step::snapt_star(1)),
    (Step::snapt_star(12), Step::snapt_star(1)),
];

/// Whether a trail may begin with `step`.
pub(crate) fn may_begin(step: Step) -> bool {
    match step.sequence() {
        Sequence::Cnapt
        | Sequence::Snapt
        | Sequence::CnaptStar
        | Sequence::CnaptOverlapped
        | Sequence::SnaptOverlapped => step.number() == 1,
        Sequence::SnaptStar => step.number() <= 1,
    }
}

/// Whether `next` may be the step behind `last`.
pub(crate) fn may_follow(last: Step, next: Step) -> bool {
    let in_order = last.sequence() == next.sequence() && last.number() + 1 == next.number();
    in_order || TURNS.contains(&(last, next))
}

/// Whether `step` is the last of its procedure; or that of an overlapped switch with no link to go to.
pub(crate) fn is_last(step: Step) -> bool {
    step.number() == step.sequence().bounds().1 || step == Step::cnapt_overlapped(3)
}
