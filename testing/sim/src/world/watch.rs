//! What each machine's trail and waits are held against, step by step.

use std::time::Duration;

use handover_proto::session::bound;
use handover_proto::step::{Step, TRAIL_STEPS};
use handover_proto::{Instant, Side};

use super::World;
use crate::trail::{is_last, may_begin, may_follow};
use crate::wait::{Wait, patience};

/// What has been seen of one machine.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The first step of its trail: another one means that the trail began anew.
    first: Option<(Step, Instant)>,
    /// How many steps were seen.
    steps: usize,
    wait: Option<Wait>,
    since: Instant,
    /// When the machine heard the other last.
    heard: Instant,
}

impl Watch {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            heard: now,
            ..Self::default()
        }
    }

    pub(super) const fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// What it slept through does not count.
    pub(super) fn slept(&mut self, length: Duration, now: Instant) {
        self.since += length;
        self.heard = now;
    }
}

impl World {
    /// A machine was called: which steps has it taken, and where does it stand now?
    pub(super) fn watch(&mut self, side: Side) {
        let trail = match side {
            Side::Cnapt => self.cnapt.trail(),
            Side::Snapt => self.snapt.trail(),
        };
        let steps = trail.steps();
        let watch = &self.watches[side as usize];
        let known = if steps.len() >= watch.steps && watch.first == steps.first().copied() {
            watch.steps
        } else {
            0
        };
        let wait = self.wait(side);
        if known == steps.len() && wait == watch.wait {
            self.watches[side as usize].steps = known;
            return;
        }
        let wrong = first_wrong_step(steps, known);
        let fresh: Vec<Step> = steps[known..].iter().map(|(step, _)| *step).collect();
        let complete = steps.last().is_none_or(|(step, _)| is_last(*step));
        let cut_short = steps.len() >= TRAIL_STEPS;
        let (first, count) = (steps.first().copied(), steps.len());
        for step in &fresh {
            self.say(name(side), |_| format!("{step:<9} {}", step.text()));
        }
        if let Some((last, step)) = wrong {
            let last = last.map_or_else(|| "the beginning".to_owned(), |last| last.to_string());
            self.break_with(format!("{step} behind {last} is no path of the spec"));
        }
        let before = self.watches[side as usize].wait;
        if wait == Some(Wait::Attached(side)) && wait != before && !complete && !cut_short {
            self.break_with(format!("{side:?} is attached in the middle of a procedure"));
        }
        self.watches[side as usize].first = first;
        self.watches[side as usize].steps = count;
        if wait != before || !fresh.is_empty() {
            self.stand(side, wait);
        }
    }

    fn stand(&mut self, side: Side, wait: Option<Wait>) {
        let now = self.now;
        let watch = &mut self.watches[side as usize];
        watch.wait = wait;
        watch.since = now;
        watch.heard = watch.heard.max(now);
        if let Some(wait) = wait {
            self.say(name(side), |_| format!("waits: {wait}"));
        }
    }

    /// Every wait ends, and a link on which nothing comes is found out.
    pub(super) fn check_waits(&mut self, side: Side) {
        let watch = &self.watches[side as usize];
        let Some(wait) = watch.wait.filter(|_| !self.is_asleep(side)) else {
            return;
        };
        let lasted = self.now.since(watch.since);
        if lasted > bound::SUSPENSION
            && let Some(longest) = wait.longest(self.round_trip(side))
            && lasted > longest
        {
            self.break_with(format!("it waits at {} for {lasted:?}", wait.full_name()));
        }
        let silent = self.now.since(self.watches[side as usize].heard);
        if wait == Wait::Attached(Side::Cnapt) && silent > bound::PROBE_IDLE {
            let patience = patience(bound::SILENCE, self.round_trip(side));
            if silent > bound::PROBE_IDLE + patience + bound::PROBE_BUSY {
                self.break_with(format!(
                    "the CNAPT is attached and has heard nothing for {silent:?}"
                ));
            }
        }
    }

    /// The longest that a question of `side` can have waited for its answer until now: each way once
    /// behind a full pipe and once in it. A machine does not know what of it it slept through.
    fn round_trip(&self, side: Side) -> Duration {
        if self.sleeps[side as usize].has_been() {
            return bound::ROUND_TRIP;
        }
        let there = self.slowest[side.other() as usize];
        let back = self.slowest_awake[side as usize];
        2 * (there + back)
    }

    /// Something that was sent then has come to `side`.
    pub(super) fn note_passage(&mut self, side: Side, sent: Instant) {
        let took = self.now.since(sent);
        let slept = self.sleeps[side as usize].within(sent, self.now);
        let index = side as usize;
        self.slowest[index] = self.slowest[index].max(took);
        self.slowest_awake[index] = self.slowest_awake[index].max(took.saturating_sub(slept));
    }
}

/// The first step from `known` on that is no path of the spec, with the one before it.
fn first_wrong_step(steps: &[(Step, Instant)], known: usize) -> Option<(Option<Step>, Step)> {
    (known..steps.len()).find_map(|index| {
        let (step, _) = steps[index];
        let last = index.checked_sub(1).map(|before| steps[before].0);
        let right = last.map_or_else(|| may_begin(step), |last| may_follow(last, step));
        (!right).then_some((last, step))
    })
}

/// How a module is called in a trace.
pub(super) const fn name(side: Side) -> &'static str {
    match side {
        Side::Cnapt => "CNAPT",
        Side::Snapt => "SNAPT",
    }
}
