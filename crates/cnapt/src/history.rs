//! The switches so far, and the trail of the last.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use handover_control::{
    Failure, Kind, Outcome, Procedure, Side, SwitchEntry, Timestamp, Trace, TraceStep,
};
use handover_proto::session::{self, SwitchReport};
use handover_proto::step::{Step, merge};
use handover_proto::{Instant, Side as Module};

/// How many switches are remembered.
const SWITCHES: usize = 1000;

/// Where a switch led from and to, in the user's words.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) from_address: Option<IpAddr>,
    pub(crate) to_address: Option<IpAddr>,
}

#[derive(Debug, Default)]
pub(crate) struct History {
    entries: VecDeque<SwitchEntry>,
    /// Both modules' steps of the last switch, with microseconds since each one's first.
    cnapt: Vec<(Step, u64)>,
    snapt: Vec<(Step, u64)>,
}

impl History {
    pub(crate) fn entries(&self) -> Vec<SwitchEntry> {
        self.entries.iter().cloned().collect()
    }

    pub(crate) fn entry(&self, number: u64) -> Option<SwitchEntry> {
        self.entries
            .iter()
            .rev()
            .find(|entry| entry.number == number)
            .cloned()
    }

    /// A switch is over.
    pub(crate) fn add(
        &mut self,
        report: &SwitchReport,
        ends: Ends,
        reason: Option<String>,
        trail: &[(Step, Instant)],
        now: Instant,
    ) {
        if self.entries.len() == SWITCHES {
            self.entries.pop_front();
        }
        let started = SystemTime::now() - now.since(report.started);
        self.entries.push_back(SwitchEntry {
            number: report.number,
            kind: if report.planned {
                Kind::Planned
            } else {
                Kind::Unexpected
            },
            procedure: match report.procedure {
                session::Procedure::Stepwise => Procedure::Stepwise,
                session::Procedure::Starred => Procedure::Starred,
                session::Procedure::Overlapped => Procedure::Overlapped,
                session::Procedure::Rescue => Procedure::Rescue,
            },
            from: ends.from,
            to: ends.to,
            from_address: ends.from_address,
            to_address: ends.to_address,
            started: Timestamp::from(started),
            duration_ms: to_ms(report.ended.since(report.started)),
            gap_ms: None,
            outcome: if report.done {
                Outcome::Done
            } else {
                Outcome::Failed
            },
            reason,
        });
        let first = trail.first().map_or(Instant::default(), |(_, at)| *at);
        self.cnapt = trail
            .iter()
            .map(|(step, at)| (*step, at.as_micros().saturating_sub(first.as_micros())))
            .collect();
        self.snapt.clear();
    }

    /// The longest pause around a switch is known, and the other module's steps.
    pub(crate) fn settle(&mut self, number: u64, gap: Option<Duration>, snapt: Vec<(Step, u64)>) {
        let Some(entry) = self
            .entries
            .back_mut()
            .filter(|entry| entry.number == number)
        else {
            return;
        };
        entry.gap_ms = gap.map(to_ms);
        self.snapt = snapt;
    }

    pub(crate) fn trace(&self) -> Result<Trace, Failure> {
        let entry = self
            .entries
            .back()
            .ok_or_else(|| Failure::failed("there has been no switch yet: nothing to show"))?;
        let steps = merge(&self.cnapt, &self.snapt)
            .into_iter()
            .map(|(step, micros)| TraceStep {
                side: match step.side() {
                    Module::Cnapt => Side::Cnapt,
                    Module::Snapt => Side::Snapt,
                },
                step: step.to_string(),
                at_ms: to_ms(Duration::from_micros(micros)),
                text: step.text().to_owned(),
            })
            .collect();
        Ok(Trace {
            number: entry.number,
            kind: entry.kind,
            procedure: entry.procedure,
            steps,
        })
    }
}

/// Milliseconds to the microsecond.
fn to_ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
