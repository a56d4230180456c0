//! `handover-sim --seeds N [--from S]`: runs trials, and tells the seed of the first that fails.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use handover_sim::{Coverage, trial};

/// Runs seeded trials of both machines in virtual time; exits with 1 at the first broken invariant.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first.
    #[arg(long, default_value_t = 0)]
    from: u64,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut out = std::io::stdout().lock();
    let began = Instant::now();
    let mut coverage = Coverage::default();
    for seed in arguments.from..arguments.from.saturating_add(arguments.seeds) {
        match trial(seed) {
            Ok(one) => coverage.add(one),
            Err(broken) => {
                writeln!(out, "seed {seed} {broken}")?;
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    let elapsed = began.elapsed();
    let rate =
        f64::from(u32::try_from(arguments.seeds).unwrap_or(u32::MAX)) / elapsed.as_secs_f64();
    writeln!(
        out,
        "{} seeds, {rate:.0} seeds/s: {coverage:?}",
        arguments.seeds
    )?;
    Ok(ExitCode::SUCCESS)
}
