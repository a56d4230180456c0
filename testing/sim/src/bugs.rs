//! The check of the checks: every deliberate bug, and how soon the simulator and the model miss the rule.

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use handover_proto::bug::Bug;
use handover_sim::Script;
use handover_sim::model::{Configuration, explore};

/// Leaves out one rule at a time.
#[derive(Debug, clap::Args)]
pub(crate) struct Bugs {
    /// How many seeds the simulator has for each: twice what the rarest needed when this was written.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many states of each of its small worlds the model has for each; 0: the simulator only.
    #[arg(long, default_value_t = 400_000)]
    states: usize,
}

/// Two at a time: the model has its own threads, the simulator has one.
const THREADS: usize = 2;

/// After how many seeds or states a bug was found, and by what it was seen.
type Finding = Option<(u64, String)>;

impl Bugs {
    /// Says whether the simulator found each, and the model each that is of the session.
    pub(crate) fn run(&self) -> anyhow::Result<bool> {
        for world in Configuration::SMALL {
            let whole = explore(&world, usize::MAX);
            anyhow::ensure!(
                whole.is_ok(),
                "a small world breaks with every rule in place: {world:?}"
            );
        }
        let next = AtomicUsize::new(0);
        let rows = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    while let Some(bug) = Bug::RULES.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let row = (*bug, self.simulate(*bug), self.model(*bug));
                        if let Ok(mut rows) = rows.lock() {
                            rows.push(row);
                        }
                    }
                });
            }
        });
        let mut rows = rows.into_inner().ok().context("a worker panicked")?;
        anyhow::ensure!(rows.len() == Bug::RULES.len(), "a worker panicked");
        rows.sort_by_key(|(bug, ..)| *bug);
        self.print(&rows)
    }

    fn simulate(&self, bug: Bug) -> Finding {
        let played = (self.from..self.from.saturating_add(self.seeds)).zip(1..);
        for (seed, count) in played {
            let mut script = Script::of_seed(seed);
            script.bug = Some(bug);
            // A machine that lacks a rule may get into a state that it takes for impossible.
            match std::panic::catch_unwind(|| script.play()) {
                Ok(Ok(_)) => {}
                Ok(Err(broken)) => return Some((count, broken.what)),
                Err(_) => return Some((count, "a panic".to_owned())),
            }
        }
        None
    }

    fn model(&self, bug: Bug) -> Finding {
        let mut before = 0;
        for world in Configuration::SMALL {
            let world = Configuration {
                bug: Some(bug),
                ..world
            };
            match explore(&world, self.states) {
                Ok(explored) => before += explored.states as u64,
                Err(found) => return Some((before + found.states as u64, found.what)),
            }
        }
        None
    }

    fn print(&self, rows: &[(Bug, Finding, Finding)]) -> anyhow::Result<bool> {
        let mut out = std::io::stdout().lock();
        writeln!(
            out,
            "{:<26} {:>8} {:>10}  seen as",
            "without the rule", "seeds", "states"
        )?;
        let mut good = true;
        for (bug, simulated, modelled) in rows {
            let [seeds, states] = [simulated, modelled].map(|found| match found {
                Some((count, _)) => count.to_string(),
                None => "-".to_owned(),
            });
            let seen = simulated.as_ref().or(modelled.as_ref());
            let seen = seen
                .and_then(|(_, what)| what.lines().next())
                .unwrap_or("nothing");
            let name = format!("{bug:?}");
            let seen: String = seen.chars().take(90).collect();
            writeln!(out, "{name:<26} {seeds:>8} {states:>10}  {seen}")?;
            let missed = simulated.is_none()
                || (modelled.is_none() && self.states > 0 && is_of_session(*bug));
            good &= !missed;
        }
        Ok(good)
    }
}

/// Whether the rule is one of the session, which the model has to miss too. The others are of a stream's bytes
/// and ends. The model finds most of them all the same; it has no application that resets, and does not count
/// how often a byte comes.
const fn is_of_session(bug: Bug) -> bool {
    match bug {
        Bug::AttachMakesCurrent
        | Bug::TakeOverKeepsLinks
        | Bug::OpenedAgainAtNewSnapt
        | Bug::LateStep2Ignored
        | Bug::OldLinkClosedUnread
        | Bug::SwitchNumberIgnored
        | Bug::LateConduitUnmarked
        | Bug::LateStepsFollowed
        | Bug::NumbersOutliveInstance
        | Bug::MarkersLost
        | Bug::UnboundedWait
        | Bug::NothingResent
        | Bug::NoEffect(_) => true,
        Bug::ReceivedNotSaidAgain
        | Bug::EndAcknowledgedAnywhere
        | Bug::OverNotAnswered
        | Bug::FramesOvertakeOpen
        | Bug::AbortOvertakesOpen
        | Bug::AbortWaitsForBytes
        | Bug::AbortAtCursor
        | Bug::StopWaitsForBytes
        | Bug::SettledForgetsAtOnce
        | Bug::ResendOffByOne
        | Bug::FinForgotten
        | Bug::ArrivedAheadOfStored
        | Bug::OldLinkDropped
        | Bug::OpenRunsTwice
        | Bug::ResetTakenForFin
        | Bug::CreditNeverRaised
        | Bug::ForgottenTooEarly
        | Bug::ConduitEndsStream => false,
    }
}
