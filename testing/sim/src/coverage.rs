//! What trials came across: switches by procedure, and which fault struck where a machine waited.

use std::fmt;
use std::time::Duration;

use handover_proto::Side;
use handover_proto::session::{Event, Procedure};

use crate::fault::Fault;
use crate::wait::Wait;
use crate::world::World;

/// Figures of one trial, or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Trials.
    pub trials: u64,
    /// Virtual time.
    pub time: Duration,
    /// The least virtual time of one trial.
    pub shortest: Option<Duration>,
    /// Conversations.
    pub streams: u64,
    /// The fewest in one trial.
    pub fewest_streams: Option<u64>,
    /// Things that made something worse.
    pub faults: u64,
    /// The fewest in one trial.
    pub fewest_faults: Option<u64>,
    /// Planned switches that were planned to the end.
    pub planned: u64,
    /// Switches that went step by step, but lost a marker on the way.
    pub unmarked: u64,
    /// Switches in which both networks were up, planned to the end.
    pub overlapped: u64,
    /// Switches away from a link that was silent.
    pub rescues: u64,
    /// Switches that were done by the starred steps.
    pub starred: u64,
    /// Switches that failed.
    pub failed: u64,
    /// Links that were lost.
    pub lost: u64,
    /// Sessions that one side forgot.
    pub sessions_lost: u64,
    /// Conversations that something reset.
    pub disturbed: u64,
    /// Bytes that arrived.
    pub bytes: u64,
    strikes: Strikes,
}

/// How often each fault struck while a machine waited at each place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Strikes([[u64; Fault::ALL.len()]; Wait::ALL.len()]);

impl Default for Strikes {
    fn default() -> Self {
        Self([[0; Fault::ALL.len()]; Wait::ALL.len()])
    }
}

impl Coverage {
    /// Notes that a fault struck while both machines stood there.
    pub(crate) fn strike(&mut self, fault: Fault, waits: [Option<Wait>; 2]) {
        self.faults += u64::from(fault.disturbs());
        for wait in waits.into_iter().flatten() {
            if let Some(row) = Wait::ALL.iter().position(|one| *one == wait) {
                self.strikes.0[row][fault as usize] += 1;
            }
        }
    }

    /// How often `fault` struck while a machine waited at `wait`.
    pub fn struck(&self, wait: Wait, fault: Fault) -> u64 {
        let row = Wait::ALL.iter().position(|one| *one == wait);
        row.map_or(0, |row| self.strikes.0[row][fault as usize])
    }

    /// The pairs that did not come about, though they are not rare.
    pub fn missing(&self) -> Vec<(Wait, Fault)> {
        let pairs = Wait::ALL
            .into_iter()
            .flat_map(|wait| Fault::ALL.map(|fault| (wait, fault)));
        pairs
            .filter(|(wait, fault)| {
                self.struck(*wait, *fault) == 0 && fault.rare_at(*wait).is_none()
            })
            .collect()
    }

    /// Adds what another trial, or many, came across.
    pub fn add(&mut self, other: &Self) {
        self.trials += other.trials;
        self.time += other.time;
        self.shortest = least(self.shortest, other.shortest);
        self.streams += other.streams;
        self.fewest_streams = least(self.fewest_streams, other.fewest_streams);
        self.faults += other.faults;
        self.fewest_faults = least(self.fewest_faults, other.fewest_faults);
        self.planned += other.planned;
        self.unmarked += other.unmarked;
        self.overlapped += other.overlapped;
        self.rescues += other.rescues;
        self.starred += other.starred;
        self.failed += other.failed;
        self.lost += other.lost;
        self.sessions_lost += other.sessions_lost;
        self.disturbed += other.disturbed;
        self.bytes += other.bytes;
        let rows = self.strikes.0.iter_mut().zip(&other.strikes.0);
        for (mine, theirs) in rows.flat_map(|(mine, theirs)| mine.iter_mut().zip(theirs)) {
            *mine += theirs;
        }
    }

    /// Counts what `world` has seen in a trial that is over.
    pub(crate) fn conclude(&mut self, world: &World, time: Duration) {
        for (_, _, event) in world.events() {
            self.count(event);
        }
        for (_, conversation) in world.conversations() {
            self.streams += 1;
            self.disturbed += u64::from(conversation.excused);
            let acceptor = conversation.acceptor.as_ref();
            self.bytes += conversation.opener.received + acceptor.map_or(0, |one| one.received);
        }
        self.trials = 1;
        self.time = time;
        self.shortest = Some(time);
        self.fewest_streams = Some(self.streams);
        self.fewest_faults = Some(self.faults);
    }

    fn count(&mut self, event: &Event) {
        match event {
            Event::Switched(report) if !report.done => self.failed += 1,
            Event::Switched(report) => match report.procedure {
                Procedure::Stepwise if report.planned => self.planned += 1,
                Procedure::Stepwise => self.unmarked += 1,
                Procedure::Overlapped => self.overlapped += 1,
                Procedure::Rescue => self.rescues += 1,
                Procedure::Starred => self.starred += 1,
            },
            Event::Lost { .. } => self.lost += 1,
            Event::SessionLost { .. } | Event::TakenOver { .. } => self.sessions_lost += 1,
            Event::Attached { .. }
            | Event::Offered { .. }
            | Event::Unreachable { .. }
            | Event::Stalled { .. }
            | Event::Recovered { .. }
            | Event::StandsBy { .. }
            | Event::StandbyLost { .. }
            | Event::Began { .. }
            | Event::Settled { .. }
            | Event::Refused { .. }
            | Event::Detached
            | Event::Redirected { .. }
            | Event::Released { .. } => {}
        }
    }

    fn mean(&self, sum: u64) -> u64 {
        sum.checked_div(self.trials).unwrap_or(0)
    }

    fn write_strikes(&self, formatter: &mut fmt::Formatter<'_>, side: Side) -> fmt::Result {
        let columns = || Wait::ALL.into_iter().filter(|wait| wait.side() == side);
        write!(formatter, "{:<13}", format!("{side:?}"))?;
        for wait in columns() {
            write!(formatter, "{wait:>10}")?;
        }
        writeln!(formatter)?;
        for fault in Fault::ALL {
            write!(formatter, "{fault:<13}")?;
            for wait in columns() {
                match (self.struck(wait, fault), fault.rare_at(wait)) {
                    (0, Some(_)) => write!(formatter, "{:>10}", "-")?,
                    (count, _) => write!(formatter, "{count:>10}")?,
                }
            }
            writeln!(formatter)?;
        }
        Ok(())
    }
}

fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    one.into_iter().chain(other).min()
}

impl fmt::Display for Coverage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "switches: {} planned step by step, {} without all markers, {} overlapped, {} rescues, {} starred, {} failed; {} links \
             and {} sessions lost",
            self.planned,
            self.unmarked,
            self.overlapped,
            self.rescues,
            self.starred,
            self.failed,
            self.lost,
            self.sessions_lost
        )?;
        let seconds = self.mean(self.time.as_secs());
        writeln!(
            formatter,
            "of a trial, on average and at least: {} s and {} s of virtual time, {} and {} streams, {} \
             and {} faults",
            seconds,
            self.shortest.unwrap_or_default().as_secs(),
            self.mean(self.streams),
            self.fewest_streams.unwrap_or(0),
            self.mean(self.faults),
            self.fewest_faults.unwrap_or(0),
        )?;
        writeln!(
            formatter,
            "{} of {} streams were reset by somebody; {} bytes arrived",
            self.disturbed, self.streams, self.bytes
        )?;
        for side in [Side::Cnapt, Side::Snapt] {
            writeln!(formatter)?;
            self.write_strikes(formatter, side)?;
        }
        Ok(())
    }
}
