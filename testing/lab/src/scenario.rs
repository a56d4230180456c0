//! A scenario: a short program over the lab, with a name, and what it needs of the machine.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use handover_sandbox::{Entered, enter_user_namespace};

use crate::account;
use crate::bench::Selection;
use crate::directory::TemporaryDirectory;
use crate::facility::Facility;
use crate::log::Log;

/// One thing that the lab shows.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// What it is run by.
    pub name: &'static str,
    /// One line: what it shows.
    pub about: &'static str,
    /// Without these it is ignored.
    pub needs: &'static [Facility],
    /// The scenario itself.
    pub run: fn(&Lab) -> Result<()>,
}

/// What a scenario works with, beside the world that it builds for itself.
#[derive(Debug)]
pub struct Lab {
    /// Everything that happens.
    pub log: Arc<Log>,
    /// For configuration files, keys and sockets.
    pub directory: TemporaryDirectory,
    /// What the clients' links run over; none: what they choose.
    pub carrier: Option<Carrier>,
    /// What of a measurement is asked for.
    pub selection: Selection,
}

/// What links run over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Carrier {
    /// TLS over TCP
    Tls,
    /// QUIC over UDP
    Quic,
}

impl Carrier {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tls, Self::Quic];

    /// Its name in the configuration and in the status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Quic => "quic",
        }
    }
}

impl Lab {
    /// The same lab, but that clients' links run over this carrier.
    pub fn over(&self, carrier: Carrier) -> Result<Self> {
        Ok(Self {
            log: Arc::clone(&self.log),
            directory: TemporaryDirectory::new()?,
            carrier: Some(carrier),
            selection: self.selection.clone(),
        })
    }

    /// Fails if a facility is missing that only a part of the scenario needs.
    pub fn require(&self, facility: Facility) -> Result<()> {
        facility
            .missing()
            .map_or(Ok(()), |reason| Err(anyhow!(reason)))
    }

    /// Adds a line of the scenario's own to the log: a measurement, a bound, what comes next.
    pub fn note(&self, text: &str) {
        self.log.line("lab", text);
    }
}

/// Proof that this process is in a sandbox where scenarios may run.
#[derive(Debug, Clone, Copy)]
pub struct Sandboxed(());

/// Enters the sandbox. Call it first in `main`, before any thread is started; the error is the reason
/// why no scenario can run here.
pub fn enter_sandbox() -> Result<Sandboxed> {
    match enter_user_namespace()? {
        Entered::UserNamespace { .. } => account::give_name()?,
        // Root has a name, and a mount of its own could be seen outside.
        Entered::AsRoot => {}
    }
    Ok(Sandboxed(()))
}

impl Scenario {
    /// Why it cannot run on this machine, if it cannot.
    pub fn missing(&self) -> Option<String> {
        self.needs.iter().find_map(|facility| facility.missing())
    }

    /// Runs it. The error of one that fails ends with the log.
    pub fn run(&self, proof: Sandboxed, verbose: bool) -> Result<()> {
        self.run_selected(proof, verbose, Selection::default())
    }

    /// As [`Scenario::run`], of a measurement only what is asked for.
    pub fn run_selected(
        &self,
        _proof: Sandboxed,
        verbose: bool,
        selection: Selection,
    ) -> Result<()> {
        let lab = Lab {
            log: Arc::new(Log::new(verbose)),
            directory: TemporaryDirectory::new()?,
            carrier: selection.only_carrier(),
            selection,
        };
        let result = catch_unwind(AssertUnwindSafe(|| (self.run)(&lab)))
            .unwrap_or_else(|_panic| Err(anyhow!("it panicked: the message is above")))
            .and_then(|()| match lab.log.error() {
                Some(line) => Err(anyhow!("a daemon logged an error: {line}")),
                None => Ok(()),
            });
        if verbose {
            return result;
        }
        result.with_context(|| format!("{}\n\nscenario {} failed", lab.log.text(), self.name))
    }
}
