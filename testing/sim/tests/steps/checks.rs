//! What holds of a switch in which every step has its effect.

use std::collections::BTreeMap;
use std::time::Duration;

use handover_proto::session::{Event, Phase, Procedure, SnaptPhase, bound};
use handover_proto::step::Step;
use handover_proto::{Instant, Side};

use crate::scenarios::{Moment, Seen};

/// One way over the networks of `World::attached`: the one that is left, and the new one.
const OLD: Duration = Duration::from_millis(10);
const NEW: Duration = Duration::from_millis(30);

/// Says whether it holds.
pub(crate) type Check = fn(&Seen) -> bool;

//= docs/spec/planned.md#cnapt-10
//= docs/spec/planned.md#cnapt-18
//= docs/spec/planned.md#cnapt-28
//= docs/spec/planned.md#cnapt-29
//= docs/spec/planned.md#snapt-01
//= docs/spec/planned.md#snapt-09
//= docs/spec/planned.md#snapt-11
//= docs/spec/planned.md#snapt-15
//= docs/spec/planned.md#snapt-16
//= docs/spec/planned.md#snapt-17
//= docs/spec/planned.md#snapt-19
//= docs/spec/planned.md#snapt-22
//= type=test
pub(crate) fn the_trails_are_the_specs(seen: &Seen) -> bool {
    let first = u8::from(!seen.noticed);
    let (cnapt, snapt): (Vec<Step>, Vec<Step>) = match seen.report.procedure {
        Procedure::Stepwise => (
            (1..=34).map(Step::cnapt).collect(),
            (1..=23).map(Step::snapt).collect(),
        ),
        Procedure::Starred | Procedure::Overlapped | Procedure::Rescue => (
            (1..=23).map(Step::cnapt_star).collect(),
            (first..=16).map(Step::snapt_star).collect(),
        ),
    };
    let steps =
        |trail: &[(Step, Instant)]| -> Vec<Step> { trail.iter().map(|(step, _)| *step).collect() };
    steps(seen.world.cnapt.trail().steps()) == cnapt
        && steps(seen.world.snapt.trail().steps()) == snapt
}

//= docs/spec/planned.md#cnapt-11
//= docs/spec/planned.md#cnapt-14
//= docs/spec/planned.md#cnapt-19
//= docs/spec/planned.md#cnapt-30
//= docs/spec/planned.md#snapt-12
//= docs/spec/unexpected.md#cnapt-star-12
//= docs/spec/unexpected.md#cnapt-star-18
//= type=test
pub(crate) fn no_step_comes_before_its_cause(seen: &Seen) -> bool {
    let causes: &[(Step, Step, Duration)] = match seen.report.procedure {
        Procedure::Stepwise => &PLANNED_CAUSES,
        Procedure::Starred | Procedure::Overlapped | Procedure::Rescue => &UNEXPECTED_CAUSES,
    };
    causes.iter().all(|(effect, cause, way)| {
        let (effect, cause) = (taken(seen, *effect), taken(seen, *cause));
        effect.is_some_and(|effect| cause.is_some_and(|cause| cause + *way <= effect))
    })
}

//= docs/spec/planned.md#cnapt-01
//= docs/spec/unexpected.md#cnapt-star-01
//= type=test
pub(crate) fn no_bound_is_met(seen: &Seen) -> bool {
    seen.report.ended.since(seen.report.started) < seen.limit
}

//= docs/spec/planned.md#cnapt-12
//= docs/spec/planned.md#snapt-08
//= type=test
pub(crate) fn it_is_planned_and_done(seen: &Seen) -> bool {
    seen.report.planned && seen.report.done && seen.report.procedure == Procedure::Stepwise
}

//= docs/spec/unexpected.md#snapt-star-00
//= type=test
pub(crate) fn nothing_is_lost(seen: &Seen) -> bool {
    let lost = |event: &Event| match event {
        Event::Lost { .. } => seen.report.procedure == Procedure::Stepwise,
        Event::Unreachable { .. }
        | Event::SessionLost { .. }
        | Event::Released { .. }
        | Event::Refused { .. }
        | Event::TakenOver { .. } => true,
        Event::Attached { .. }
        | Event::Offered { .. }
        | Event::Switched(_)
        | Event::Began { .. }
        | Event::Settled { .. }
        | Event::Detached
        | Event::Stalled { .. }
        | Event::Recovered { .. }
        | Event::StandsBy { .. }
        | Event::StandbyLost { .. }
        | Event::Redirected { .. } => false,
    };
    !seen.world.events().iter().any(|(_, _, event)| lost(event))
}

/// What had left its module when forwarding stopped is there after one way, or two if it had to wait for
/// room. From then on nothing more comes to an application before the end of the switch.
//= docs/spec/planned.md#cnapt-02
//= docs/spec/planned.md#cnapt-03
//= docs/spec/planned.md#snapt-02
//= docs/spec/planned.md#snapt-03
//= type=test
pub(crate) fn nothing_is_forwarded_in_between(seen: &Seen) -> bool {
    let stops = [
        (Side::Snapt, Step::cnapt(2), Step::cnapt(34)),
        (Side::Cnapt, Step::snapt(2), Step::snapt(23)),
    ];
    stops.into_iter().all(|(reader, stop, end)| {
        let (Some(stop), Some(end)) = (taken(seen, stop), taken(seen, end)) else {
            return false;
        };
        let between = |moment: &&Moment| moment.at > stop + 2 * OLD && moment.at < end + NEW;
        let mut read = (seen.moments.iter().filter(between)).map(|one| one.read[reader as usize]);
        let first = read.next();
        first.is_some() && read.all(|count| Some(count) == first)
    })
}

//= docs/spec/planned.md#cnapt-08
//= docs/spec/planned.md#snapt-07
//= type=test
pub(crate) fn what_was_under_way_arrives_by_the_old_link(seen: &Seen) -> bool {
    let stopped = seen.moments.first();
    let read = seen.first(|one| one.snapt == SnaptPhase::AwaitClientServices);
    let there =
        stopped.is_some_and(|stopped| read.is_some_and(|one| stopped.written[0] <= one.read[1]));
    let stopped = seen.first(|one| one.snapt == SnaptPhase::AwaitMarkers);
    let read =
        seen.first(|one| one.cnapt == Phase::AwaitOk || one.cnapt == Phase::AwaitServerServices);
    let back =
        stopped.is_some_and(|stopped| read.is_some_and(|one| stopped.written[1] <= one.read[0]));
    there && back
}

/// In a switch that is planned from end to end nothing is sent again: what comes of a stream goes on where the last
/// piece ended.
//= docs/spec/planned.md#cnapt-08
//= docs/spec/planned.md#snapt-07
//= docs/spec/planned.md#snapt-20
//= type=test
pub(crate) fn no_byte_comes_twice(seen: &Seen) -> bool {
    let mut next: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let in_order = seen.trace.iter().filter_map(|line| piece_in(line));
    let in_order = in_order.fold(true, |in_order, (reader, stream, offset, count)| {
        let goes_on = next.insert((reader, stream), offset + count);
        in_order && goes_on.is_none_or(|end| end == offset)
    });
    in_order && !next.is_empty()
}

/// Who read how many bytes of which stream, from which offset on, if the line tells of that.
fn piece_in(line: &str) -> Option<(&str, &str, u64, u64)> {
    let (head, piece) = line.split_once(" reads Data { ")?;
    let (stream, range) = piece.strip_suffix(" }")?.split_once(", ")?;
    let (offset, count) = range.split_once(" + ")?;
    let reader = head.split_whitespace().next_back()?;
    Some((reader, stream, offset.parse().ok()?, count.parse().ok()?))
}

//= docs/spec/planned.md#cnapt-07
//= docs/spec/unexpected.md#cnapt-star-07
//= type=test
pub(crate) fn the_decision_task_is_waited_for(seen: &Seen) -> bool {
    let (wait, next) = match seen.report.procedure {
        Procedure::Stepwise => (Step::cnapt(7), Step::cnapt(8)),
        Procedure::Starred | Procedure::Overlapped | Procedure::Rescue => {
            (Step::cnapt_star(7), Step::cnapt_star(8))
        }
    };
    let (wait, next) = (taken(seen, wait), taken(seen, next));
    wait.is_some() && wait.map(|wait| wait + bound::SUSPENSION) == next
}

/// Once client services are said to be ready for redirection, none has a place on the old link.
//= docs/spec/planned.md#cnapt-16
//= docs/spec/planned.md#snapt-13
//= docs/spec/unexpected.md#cnapt-star-09
//= type=test
pub(crate) fn client_services_leave_the_old_link(seen: &Seen) -> bool {
    let left = |side: Side, when: &dyn Fn(&Moment) -> bool| {
        seen.first(when)
            .is_some_and(|one| !one.client_services[side as usize])
    };
    match seen.report.procedure {
        Procedure::Stepwise => {
            left(Side::Cnapt, &|one| one.cnapt == Phase::AwaitServerServices)
                && left(Side::Snapt, &|one| one.snapt == SnaptPhase::AwaitStep2)
        }
        Procedure::Starred | Procedure::Overlapped | Procedure::Rescue => {
            left(Side::Cnapt, &|one| one.cnapt == Phase::AwaitControl)
        }
    }
}

/// The same of flows.
//= docs/spec/planned.md#cnapt-15
//= docs/spec/unexpected.md#cnapt-star-08
//= type=test
pub(crate) fn client_flows_leave_the_old_link(seen: &Seen) -> bool {
    let next = match seen.report.procedure {
        Procedure::Stepwise => Phase::AwaitServerServices,
        Procedure::Starred | Procedure::Overlapped | Procedure::Rescue => Phase::AwaitControl,
    };
    seen.first(|one| one.cnapt == next)
        .is_some_and(|one| !one.client_flows[Side::Cnapt as usize])
}

/// From the moment at which flows are stopped until the end of the switch none may be sent.
//= docs/spec/planned.md#cnapt-04
//= docs/spec/planned.md#snapt-04
//= docs/spec/unexpected.md#cnapt-star-04
//= type=test
pub(crate) fn no_flow_may_be_sent_in_between(seen: &Seen) -> bool {
    let cnapt = |one: &Moment| one.cnapt == Phase::Attached || !one.flows_forward[0];
    let snapt = |one: &Moment| one.snapt == SnaptPhase::Attached || !one.flows_forward[1];
    let switches = seen.first(|one| one.cnapt != Phase::Attached).is_some();
    switches && seen.moments.iter().all(|one| cnapt(one) && snapt(one))
}

pub(crate) fn no_datagram_is_lost(seen: &Seen) -> bool {
    seen.datagrams_lost == [0, 0]
}

//= docs/spec/planned.md#cnapt-17
//= type=test
pub(crate) fn no_spare_is_open_when_the_snapt_is_told(seen: &Seen) -> bool {
    seen.first(|one| one.cnapt == Phase::AwaitServerServices)
        .is_some_and(|one| one.old[0].len() == 1)
}

//= docs/spec/planned.md#cnapt-20
//= docs/spec/planned.md#cnapt-21
//= docs/spec/unexpected.md#cnapt-star-10
//= docs/spec/unexpected.md#cnapt-star-11
//= type=test
pub(crate) fn no_old_conduit_is_open_when_the_new_link_is_made(seen: &Seen) -> bool {
    let dials = |one: &Moment| one.cnapt == Phase::AwaitControl;
    seen.first(dials).is_some_and(|one| one.old[0].is_empty())
}

/// But for the control channel, which the CNAPT closes.
//= docs/spec/planned.md#snapt-14
//= docs/spec/unexpected.md#snapt-star-02
//= docs/spec/unexpected.md#snapt-star-07
//= docs/spec/unexpected.md#snapt-star-08
//= type=test
pub(crate) fn the_snapt_closes_its_old_conduits(seen: &Seen) -> bool {
    match seen.report.procedure {
        Procedure::Stepwise => seen
            .first(|one| one.snapt == SnaptPhase::AwaitStep2)
            .is_some_and(|one| one.old[1].len() == 1),
        Procedure::Starred | Procedure::Overlapped | Procedure::Rescue => {
            taken(seen, Step::snapt_star(16)).is_some_and(|end| {
                seen.first(|one| one.at > end)
                    .is_some_and(|one| one.old[1].is_empty())
            })
        }
    }
}

/// When a step was taken, if it was.
fn taken(seen: &Seen, step: Step) -> Option<Instant> {
    let trail = match step.side() {
        Side::Cnapt => seen.world.cnapt.trail(),
        Side::Snapt => seen.world.snapt.trail(),
    };
    let found = trail.steps().iter().find(|(one, _)| *one == step);
    found.map(|(_, at)| *at)
}

/// A step, what has to come before it, and how long a message takes from there.
const PLANNED_CAUSES: [(Step, Step, Duration); 12] = [
    (Step::snapt(1), Step::cnapt(10), OLD),
    (Step::cnapt(12), Step::snapt(9), OLD),
    (Step::cnapt(14), Step::snapt(8), OLD),
    (Step::snapt(11), Step::cnapt(12), OLD),
    (Step::cnapt(15), Step::snapt(11), OLD),
    (Step::snapt(13), Step::cnapt(18), OLD),
    (Step::cnapt(20), Step::snapt(15), OLD),
    (Step::cnapt(29), Step::cnapt(28), Duration::from_millis(60)),
    (Step::snapt(17), Step::cnapt(29), NEW),
    (Step::cnapt(31), Step::snapt(19), NEW),
    (Step::snapt(21), Step::cnapt(29), NEW),
    (Step::cnapt(34), Step::snapt(22), NEW),
];

const UNEXPECTED_CAUSES: [(Step, Step, Duration); 5] = [
    (
        Step::cnapt_star(17),
        Step::cnapt_star(16),
        Duration::from_millis(60),
    ),
    (Step::snapt_star(1), Step::cnapt_star(17), NEW),
    (Step::cnapt_star(19), Step::snapt_star(11), NEW),
    (Step::snapt_star(13), Step::cnapt_star(17), NEW),
    (Step::cnapt_star(22), Step::snapt_star(14), NEW),
];
