//! Runs scenarios and measurements by name.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use handover_lab::scenario::{Carrier, Scenario, enter_sandbox};
use handover_lab::{bench, scenarios};

/// The laboratory: real kernel, real programs, and networks that fail when told to.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the scenarios
    List,
    /// Run scenarios, all of them if none is named
    Run {
        /// What to run
        names: Vec<String>,
        /// Show what happens while it happens
        #[arg(long, short)]
        verbose: bool,
        /// What the clients' links run over, where the scenario does not say it
        #[arg(long)]
        carrier: Option<Carrier>,
    },
    /// Run measurements and show their figures, all of them if none is named
    Bench {
        /// What to measure
        names: Vec<String>,
        /// What the clients' links run over, where the measurement does not say it
        #[arg(long)]
        carrier: Option<Carrier>,
        #[command(flatten)]
        selection: bench::Selection,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::List => list(),
        Command::Run {
            names,
            verbose,
            carrier,
        } => run(
            scenarios::ALL,
            &names,
            verbose,
            carrier,
            &bench::Selection::default(),
        ),
        Command::Bench {
            names,
            carrier,
            selection,
        } => run(bench::ALL, &names, true, carrier, &selection),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With stderr closed there is nobody to tell; the exit status still does.
            drop(writeln!(std::io::stderr(), "{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn list() -> Result<()> {
    // Who the lab's user is decides what is missing, too.
    let no_sandbox = enter_sandbox().err().map(|error| format!("{error:#}"));
    let mut stdout = std::io::stdout().lock();
    for scenario in scenarios::ALL.iter().chain(bench::ALL) {
        write!(stdout, "{:<28}  {}", scenario.name, scenario.about)?;
        if let Some(reason) = no_sandbox.clone().or_else(|| scenario.missing()) {
            write!(stdout, " (not here: {reason})")?;
        }
        writeln!(stdout)?;
    }
    Ok(())
}

fn run(
    all: &'static [Scenario],
    names: &[String],
    verbose: bool,
    carrier: Option<Carrier>,
    selection: &bench::Selection,
) -> Result<()> {
    let chosen = choose(all, names)?;
    let sandboxed = enter_sandbox()?;
    let mut stdout = std::io::stdout().lock();
    let mut failed = 0;
    for scenario in chosen {
        if let Some(reason) = scenario.missing() {
            writeln!(stdout, "{:<28}  ignored: {reason}", scenario.name)?;
            // Who asks for one by name wants its verdict.
            failed += usize::from(!names.is_empty());
            continue;
        }
        match scenario.run_selected(sandboxed, verbose, carrier, selection.clone()) {
            Ok(()) => writeln!(stdout, "{:<28}  ok", scenario.name)?,
            Err(error) => {
                failed += 1;
                writeln!(stdout, "{:<28}  FAILED\n{error:#}", scenario.name)?;
            }
        }
    }
    if failed > 0 {
        bail!("{failed} failed, or cannot run here");
    }
    Ok(())
}

fn choose(all: &'static [Scenario], names: &[String]) -> Result<Vec<&'static Scenario>> {
    if names.is_empty() {
        return Ok(all.iter().collect());
    }
    let find = |name: &String| {
        let found = all.iter().find(|scenario| scenario.name == name);
        found.with_context(|| format!("there is no {name} here; `list` shows what there is"))
    };
    names.iter().map(find).collect()
}
