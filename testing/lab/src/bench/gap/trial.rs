//! One run: a way is taken, ticks go in one direction, something happens, and the pauses are looked at.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use super::event::{Event, Leg};
use super::way::Way;
use super::world::{Condition, World};
use crate::bench::ticks::{Arrivals, Ticks};
use crate::scenario::Lab;
use crate::stall::{StallWatch, TRIES};

/// Until the ticks flow as they will: slow start and the growth of credit.
const WARM_UP: Duration = Duration::from_millis(500);

/// For which they are looked at behind an event, and longer if it takes them longer.
const AFTERMATH: Duration = Duration::from_millis(1500);

/// So near to an event a stall of the machine makes a run no evidence.
const STALLS_MATTER: Duration = Duration::from_secs(1);

/// Who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// The server application.
    Down,
    /// The client application.
    Up,
}

impl Direction {
    pub(super) const ALL: [Self; 2] = [Self::Down, Self::Up];
}

/// A run to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trial {
    pub(super) condition: Condition,
    pub(super) event: Event,
    pub(super) way: Way,
    pub(super) direction: Direction,
    /// From 0 to 1: of a short outage.
    pub(super) share: f64,
}

/// What a run has shown.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The longest pause of any connection, for each leg of the event.
    pub(super) gaps: Vec<(Leg, Duration)>,
    /// What handover lists.
    pub(super) switches: Vec<Value>,
    stall: Duration,
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (condition, way) = (self.condition.name(), self.way.name());
        write!(
            f,
            "{:?} {:?}, {condition}, {way}",
            self.event, self.direction
        )
    }
}

impl Trial {
    /// Runs until the machine does not stall near the event; returns how often it did, too.
    pub(super) fn run_undisturbed(self, lab: &Lab, world: &mut World) -> Result<(Outcome, usize)> {
        for repeated in 0..TRIES {
            let outcome = self.run(lab, world)?;
            if outcome.stall.is_zero() {
                return Ok((outcome, repeated));
            }
            lab.note(&format!(
                "once more: the machine stalled for {:?}",
                outcome.stall
            ));
        }
        bail!("the machine stalls too much to measure anything: {TRIES} tries")
    }

    fn run(self, lab: &Lab, world: &mut World) -> Result<Outcome> {
        world.begin(self.condition)?;
        let outcome = self.run_once(lab, world);
        world.heal()?;
        outcome
    }

    fn run_once(self, lab: &Lab, world: &mut World) -> Result<Outcome> {
        let mut way = self.way.start(lab, world)?;
        let (busy, idle) = self.condition.connections();
        let _crowd = way.crowd(world, idle)?;
        let mut connections = Vec::new();
        for _ in 0..busy {
            connections.push(way.connect(world)?);
        }
        let watch = StallWatch::start()?;
        let mut all = Vec::new();
        for (client, server) in connections {
            all.push(match self.direction {
                Direction::Down => Ticks::start(server, client)?,
                Direction::Up => Ticks::start(client, server)?,
            });
        }
        way.wait_until_ready(world, busy)?;
        wait_for(&mut all, WARM_UP)?;
        let mut moments = Vec::new();
        for leg in self.event.legs() {
            moments.push((*leg, Instant::now()));
            leg.strike(world, &mut way, self.share)?;
            wait_for(&mut all, AFTERMATH)?;
        }
        let switches = way.switches()?;
        let arrivals = all
            .into_iter()
            .map(Ticks::finish)
            .collect::<Result<Vec<_>>>()?;
        let stalls = watch.finish()?;
        let near =
            |moment: Instant| stalls.worst_between(moment - STALLS_MATTER, moment + STALLS_MATTER);
        let stall = moments.iter().map(|(_leg, moment)| near(*moment)).max();
        Ok(Outcome {
            gaps: gaps(&moments, &arrivals),
            switches,
            stall: stall.unwrap_or_default(),
        })
    }
}

/// Until those have arrived everywhere that are due within `time` from now.
fn wait_for(all: &mut [Ticks], time: Duration) -> Result<()> {
    let moment = Instant::now() + time;
    all.iter_mut().try_for_each(|ticks| ticks.wait_for(moment))
}

/// Each leg's is the longest until the next begins.
fn gaps(moments: &[(Leg, Instant)], arrivals: &[Arrivals]) -> Vec<(Leg, Duration)> {
    let ends = moments.iter().skip(1).map(|(_leg, moment)| *moment);
    let ends = ends.chain([Instant::now()]);
    let legs = moments.iter().zip(ends);
    legs.map(|((leg, begin), end)| {
        let gaps = arrivals.iter().map(|one| one.longest_pause(*begin, end));
        (*leg, gaps.max().unwrap_or_default())
    })
    .collect()
}
