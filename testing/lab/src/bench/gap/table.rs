//! What all runs have shown: one row for each way by which something was lived through.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::event::Leg;
use super::trial::{Outcome, Trial};
use super::way::Way;
use super::world::Condition;
use crate::measure::median;

/// A row is given up after so many runs that came to no end, or to a bad one.
const MOST_FAULTS: usize = 2;

/// All rows, in the order in which they were first met.
#[derive(Debug, Default)]
pub(super) struct Table(Vec<Row>);

#[derive(Debug)]
struct Row {
    condition: Condition,
    leg: Leg,
    way: Way,
    /// Of each direction.
    gaps: [Vec<Duration>; 2],
    /// Runs that the machine spoilt.
    repeated: usize,
    /// What handover's switches were called, and how often.
    procedures: BTreeMap<String, usize>,
    /// Bytes lost, errors seen, switches that should not have been.
    faults: Vec<String>,
    /// Why it is not there.
    missing: Option<String>,
}

/// How a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It is there for comparison.
    None,
    Holds,
    Missed,
    NotAvailable,
}

impl Table {
    /// Whether another run could teach something.
    pub(super) fn wants(&self, trial: &Trial) -> bool {
        let mut rows = self.0.iter().filter(|row| row.is_of(trial));
        rows.all(|row| row.missing.is_none() && row.faults.len() < MOST_FAULTS)
    }

    pub(super) fn add(&mut self, trial: &Trial, outcome: &Outcome, repeated: usize) {
        let fault = trial.event.fault(&outcome.switches);
        for (leg, gap) in &outcome.gaps {
            let row = self.row(trial, *leg);
            row.gaps[trial.direction as usize].push(*gap);
            row.repeated += repeated;
            *row.procedures
                .entry(procedures(&outcome.switches))
                .or_default() += 1;
            row.faults.extend(fault.clone());
        }
    }

    pub(super) fn add_fault(&mut self, trial: &Trial, fault: &str) {
        for leg in trial.event.legs() {
            self.row(trial, *leg).faults.push(fault.to_owned());
        }
    }

    pub(super) fn set_missing(&mut self, trial: &Trial, reason: &str) {
        for leg in trial.event.legs() {
            self.row(trial, *leg).missing = Some(reason.to_owned());
        }
    }

    /// How many rows are not as they must be.
    pub(super) fn count_missed(&self) -> usize {
        let missed = |row: &&Row| row.verdict(self.bounds(row)) == Verdict::Missed;
        self.0.iter().filter(missed).count()
    }

    fn row(&mut self, trial: &Trial, leg: Leg) -> &mut Row {
        let found = self
            .0
            .iter()
            .position(|row| row.is_of(trial) && row.leg == leg);
        let index = found.unwrap_or_else(|| {
            self.0.push(Row::new(trial, leg));
            self.0.len() - 1
        });
        &mut self.0[index]
    }

    /// Of each direction.
    fn bounds(&self, row: &Row) -> [Option<Duration>; 2] {
        let Way::Handover(_, standby) = row.way else {
            return [None; 2];
        };
        if !row.condition.has_bounds() {
            return [None; 2];
        }
        let is_beside = |other: &&Row| {
            other.way == Way::Multipath && other.leg == row.leg && other.condition == row.condition
        };
        let multipath = self.0.iter().find(is_beside).map(Row::medians);
        multipath
            .unwrap_or_default()
            .map(|gap| row.leg.bound(standby, gap))
    }
}

impl Row {
    fn new(trial: &Trial, leg: Leg) -> Self {
        Self {
            condition: trial.condition,
            leg,
            way: trial.way,
            gaps: Default::default(),
            repeated: 0,
            procedures: BTreeMap::new(),
            faults: Vec::new(),
            missing: None,
        }
    }

    fn is_of(&self, trial: &Trial) -> bool {
        self.condition == trial.condition
            && self.way == trial.way
            && trial.event.legs().contains(&self.leg)
    }

    /// What was not there from the beginning has its reason below the table, and no row.
    fn was_measured(&self) -> bool {
        self.missing.is_none() || self.gaps.iter().any(|gaps| !gaps.is_empty())
    }

    fn medians(&self) -> [Option<Duration>; 2] {
        self.gaps.each_ref().map(|gaps| median(&mut gaps.clone()))
    }

    fn worsts(&self) -> [Option<Duration>; 2] {
        self.gaps.each_ref().map(|gaps| gaps.iter().max().copied())
    }

    fn verdict(&self, bounds: [Option<Duration>; 2]) -> Verdict {
        if self.missing.is_some() {
            return Verdict::NotAvailable;
        }
        if !self.faults.is_empty() {
            return Verdict::Missed;
        }
        let mut pairs = self.medians().into_iter().zip(bounds);
        if pairs.any(|(gap, bound)| gap.zip(bound).is_some_and(|(gap, bound)| gap > bound)) {
            return Verdict::Missed;
        }
        match self.way {
            Way::Handover(..) if bounds != [None; 2] || self.leg.is_judged_by_bytes() => {
                Verdict::Holds
            }
            Way::Handover(..) | Way::Multipath | Way::Plain(_) => Verdict::None,
        }
    }

    fn remarks(&self) -> String {
        let procedures = self.procedures.iter().filter(|(name, _)| !name.is_empty());
        let procedures = procedures.map(|(name, count)| format!("{count} x {name}"));
        let repeated = (self.repeated > 0).then(|| format!("{} repeated", self.repeated));
        let faults = self.faults.iter().map(|fault| format!("FAULT: {fault}"));
        let remarks: Vec<String> = procedures.chain(repeated).chain(faults).collect();
        remarks.join("; ")
    }
}

/// In Markdown, to be kept as it is.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| condition         | event          | way                    | runs  | down, ms median / worst | up, ms median / worst   | at most, ms     | verdict | remarks |
|-------------------|----------------|------------------------|-------|-------------------------|-------------------------|-----------------|---------|---------|"
        )?;
        for row in self.0.iter().filter(|row| row.was_measured()) {
            let bounds = self.bounds(row);
            let [(down, down_worst), (up, up_worst)] =
                [0, 1].map(|way| (row.medians()[way], row.worsts()[way]));
            writeln!(
                f,
                "| {:<17} | {:<14} | {:<22} | {:<5} | {:>10} / {:>10} | {:>10} / {:>10} | {:<15} | {:<7} | {} |",
                row.condition.name(),
                row.leg.name(),
                row.way.name(),
                format!("{}+{}", row.gaps[0].len(), row.gaps[1].len()),
                milliseconds(down),
                milliseconds(down_worst),
                milliseconds(up),
                milliseconds(up_worst),
                both(bounds),
                row.verdict(bounds),
                row.remarks(),
            )?;
        }
        let reasons = self
            .0
            .iter()
            .filter_map(|row| Some((row.way.name(), row.missing.as_ref()?)));
        let reasons: BTreeSet<_> = reasons.collect();
        if !reasons.is_empty() {
            writeln!(f, "\nNot available:\n")?;
        }
        let mut reasons = reasons.into_iter();
        reasons.try_for_each(|(way, reason)| writeln!(f, "- {way}: {reason}"))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "",
            Self::Holds => "holds",
            Self::Missed => "MISSED",
            Self::NotAvailable => "n/a",
        })
    }
}

fn milliseconds(time: Option<Duration>) -> String {
    time.map_or_else(
        || "-".to_owned(),
        |time| format!("{:.1}", time.as_secs_f64() * 1e3),
    )
}

/// Once, unless they differ.
fn both([down, up]: [Option<Duration>; 2]) -> String {
    match (down, up) {
        (None, None) => String::new(),
        (down, up) if down == up => milliseconds(down),
        (down, up) => format!("{} / {}", milliseconds(down), milliseconds(up)),
    }
}

fn procedures(switches: &[Value]) -> String {
    let name = |entry: &Value| {
        let procedure = entry["procedure"].as_str().unwrap_or("?");
        match entry["outcome"].as_str() {
            Some("done") => procedure.to_owned(),
            _ => format!("{procedure} (failed)"),
        }
    };
    let names: Vec<String> = switches.iter().map(name).collect();
    names.join(", ")
}
