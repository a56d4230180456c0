//! `handover-sim`: plays the trials of many seeds on all cores, says what they came across, and makes a
//! short script of the first that fails. `handover-sim model` explores every order of events in a small
//! world, `handover-sim bugs` leaves out one rule at a time and says how soon each is missed.

mod bugs;

use std::io::Write;
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};
use handover_proto::bug::Bug;
use handover_sim::model::{Configuration, explore};
use handover_sim::{Coverage, Fault, Script, Wait};

/// Plays seeded trials of both machines in virtual time.
///
/// Exit status: 0 if every invariant held, 1 if one broke (or, with --require-coverage, a fault did not
/// meet a wait), 2 for misuse.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    trials: Trials,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Explores everything that can happen to both machines: in four small worlds, or in the one that is
    /// described.
    Model(Model),
    /// Leaves out one rule at a time, and says after how many seeds and states it is missed.
    Bugs(bugs::Bugs),
}

#[derive(Debug, clap::Args)]
struct Model {
    /// Conduits that a link may have beside its control channel.
    #[arg(long, default_value_t = Configuration::WHOLE.conduits)]
    conduits: usize,
    /// Connections that may die, at any step.
    #[arg(long, default_value_t = Configuration::WHOLE.deaths)]
    deaths: u8,
    /// Connections that may die for the CNAPT, while what it has sent may still arrive.
    #[arg(long, default_value_t = Configuration::WHOLE.breaks)]
    breaks: u8,
    /// Switches that the user may order.
    #[arg(long, default_value_t = Configuration::WHOLE.orders)]
    orders: u8,
    /// Modules that may start anew.
    #[arg(long, default_value_t = Configuration::WHOLE.restarts)]
    restarts: u8,
    /// Bounds that may pass while something is still under way.
    #[arg(long, default_value_t = Configuration::WHOLE.early)]
    early: u8,
    /// Connections at the start, the second with a reader that stands still: 1 or 2.
    #[arg(long, default_value_t = Configuration::WHOLE.streams, value_parser = clap::value_parser!(u8).range(1..=2))]
    streams: u8,
    /// Connections that are opened later, at any time.
    #[arg(long, default_value_t = Configuration::WHOLE.late)]
    late: u8,

    /// Requests that server applications make of a client service, at any time.
    #[arg(long, default_value_t = Configuration::WHOLE.client_services)]
    client_services: u8,
    /// Networks are opened and closed by hooks, which fail as connections die.
    #[arg(long)]
    hooks: bool,
    /// Switches that the user orders overlap.
    #[arg(long, conflicts_with = "hooks")]
    overlap: bool,
    /// Leaves out a rule, by its name in `handover-sim bugs`.
    #[arg(long, value_name = "RULE", value_parser = bugs::rule)]
    without: Option<Bug>,
    /// Fails if a step of the spec is in the trail of no path.
    #[arg(long)]
    require_steps: bool,
    /// Gives up beyond so many states.
    #[arg(long, default_value_t = 200_000_000)]
    most: usize,
}

#[derive(Debug, clap::Args)]
struct Trials {
    /// How many seeds to play.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Tells every event of the one seed that is played, a line each.
    #[arg(long)]
    trace: bool,
    /// Leaves out a rule, by its name in `handover-sim bugs`.
    #[arg(long, value_name = "RULE", value_parser = bugs::rule)]
    without: Option<Bug>,
    /// Fails if a fault never struck a machine where it waits, and could have.
    #[arg(long)]
    require_coverage: bool,
}

impl Trials {
    fn script(&self, seed: u64) -> Script {
        let mut script = Script::of_seed(seed);
        script.bug = self.without;
        script
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let Arguments { command, trials } = Arguments::parse();
    let good = match command {
        Some(Command::Model(model)) => explore_model(&model)?,
        Some(Command::Bugs(bugs)) => bugs.run()?,
        None => play_or_trace(&trials)?,
    };
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Says whether the whole space was explored, and found good.
fn explore_model(model: &Model) -> anyhow::Result<bool> {
    let world = Configuration {
        conduits: model.conduits,
        deaths: model.deaths,
        breaks: model.breaks,
        orders: model.orders,
        restarts: model.restarts,
        early: model.early,
        streams: model.streams,
        late: model.late,
        client_services: model.client_services,
        hooks: model.hooks,
        overlap: model.overlap,
        bug: model.without,
    };
    let mut out = std::io::stdout().lock();
    let (mut good, mut states) = (true, 0);
    for world in world.with_its_kin() {
        writeln!(out, "{world:?}")?;
        match explore(&world, model.most) {
            Ok(explored) => {
                writeln!(out, "{explored}")?;
                states += explored.states;
                good &= !explored.incomplete;
                good &= explored.missing.is_empty() || !model.require_steps;
            }
            Err(counterexample) => {
                writeln!(out, "{counterexample}")?;
                good = false;
            }
        }
    }
    writeln!(out, "{states} states in all")?;
    Ok(good)
}

fn play_or_trace(trials: &Trials) -> anyhow::Result<bool> {
    if trials.trace && trials.seeds != 1 {
        let message = "--trace is for one seed: add --seeds 1";
        Arguments::command()
            .error(ErrorKind::ArgumentConflict, message)
            .exit();
    }
    if trials.trace {
        trace(trials)
    } else {
        play(trials)
    }
}

fn trace(trials: &Trials) -> anyhow::Result<bool> {
    let seed = trials.from;
    let script = trials.script(seed);
    let (lines, outcome) = script.trace();
    let mut out = std::io::stdout().lock();
    writeln!(out, "seed {seed}\n{script}")?;
    for line in lines {
        writeln!(out, "{line}")?;
    }
    if let Err(broken) = &outcome {
        writeln!(out, "broken {broken}")?;
    }
    Ok(outcome.is_ok())
}

fn play(trials: &Trials) -> anyhow::Result<bool> {
    let began = Instant::now();
    let (coverage, failed) = play_all(trials)?;
    let mut out = std::io::stdout().lock();
    if let Some(seed) = failed {
        return report(trials, seed, &mut out).map(|()| false);
    }
    let count = f64::from(u32::try_from(coverage.trials).unwrap_or(u32::MAX));
    let rate = count / began.elapsed().as_secs_f64();
    writeln!(out, "{count} seeds from {}, {rate:.0} seeds/s", trials.from)?;
    write!(out, "{coverage}")?;
    let missing = coverage.missing();
    write_pairs(&mut out, "never, though it could be", &missing)?;
    for (fault, waits, reason) in Fault::rare() {
        let waits: Vec<String> = waits.iter().map(|wait| wait.full_name()).collect();
        writeln!(
            out,
            "only where a link stands by: {fault} at {}: {reason}",
            waits.join(", ")
        )?;
    }
    Ok(missing.is_empty() || !trials.require_coverage)
}

/// A line for each wait.
fn write_pairs(out: &mut impl Write, what: &str, pairs: &[(Wait, Fault)]) -> anyhow::Result<()> {
    for of_wait in pairs.chunk_by(|one, other| one.0 == other.0) {
        if let Some((wait, _)) = of_wait.first() {
            let faults: Vec<String> = of_wait.iter().map(|(_, fault)| fault.to_string()).collect();
            writeln!(
                out,
                "{what}: at {}: {}",
                wait.full_name(),
                faults.join(", ")
            )?;
        }
    }
    Ok(())
}

/// Plays all seeds on all cores. The lowest seed that fails ends the run, so that it is the same one
/// however many cores there are.
fn play_all(trials: &Trials) -> anyhow::Result<(Coverage, Option<u64>)> {
    let end = trials.from.saturating_add(trials.seeds);
    let next = AtomicU64::new(trials.from);
    let failed = AtomicU64::new(end);
    let work = || {
        let mut coverage = Coverage::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= failed.load(Ordering::Relaxed) {
                return coverage;
            }
            match trials.script(seed).play() {
                Ok(one) => coverage.add(&one),
                Err(_) => {
                    failed.fetch_min(seed, Ordering::Relaxed);
                }
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut coverage = Coverage::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let one = worker.join().ok().context("a worker panicked")?;
            coverage.add(&one);
        }
        anyhow::Ok(())
    })?;
    let lowest = failed.into_inner();
    Ok((coverage, (lowest < end).then_some(lowest)))
}

fn report(trials: &Trials, seed: u64, out: &mut impl Write) -> anyhow::Result<()> {
    let script = trials.script(seed);
    let before = script.entries.len();
    let shrunk = script.shrink().context("it broke once and not again")?;
    let after = shrunk.script.entries.len();
    writeln!(out, "seed {seed} breaks {}", shrunk.broken)?;
    writeln!(
        out,
        "its script, cut down from {before} entries to {after}:"
    )?;
    write!(out, "{}", shrunk.script)?;
    writeln!(out, "see it all: --from {seed} --seeds 1 --trace")?;
    Ok(())
}
