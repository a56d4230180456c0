//! Keeps TCP sessions alive while the device under them changes networks.
//!
//! | file | what it does |
//! |---|---|
//! | `cli` | the command line |
//! | `config` | the configuration files |
//! | `daemon` | `handover server`, `handover client` |
//! | `demo` | `handover demo` |
//! | `query`, `show`, `table` | the commands to a running daemon and how their answers look |
//! | `keygen` | `handover keygen` |
//! | `exit`, `output` | exit statuses, standard output and standard error |

mod cli;
mod config;
mod daemon;
mod demo;
mod exit;
mod keygen;
mod output;
mod query;
mod show;
mod table;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};
use exit::{Exit, Failure};

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::tell(&failure);
            failure.exit.into()
        }
    }
}

fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Keygen { file } => keygen::keygen(&file).map(|()| Exit::Done),
        Command::Server(daemon) => daemon::server(&daemon.config),
        Command::Client(daemon) => daemon::client(&daemon.config),
        Command::Status(query) => query::status(&query),
        Command::Networks(query) => query::networks(&query),
        Command::Services(query) => query::services(&query),
        Command::Switch { network, query } => query::switch(&network, &query),
        Command::Trace(query) => query::trace(&query),
        Command::Demo(demo) => demo::run(&demo),
    }
}
