//! One daemon of the real binary, and the commands that look at it.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, fs};

use anyhow::{Context, Result, ensure};
use handover_sandbox::Namespace;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::START_LIMIT;
use super::binary::ensure_success;
use crate::log::Log;
use crate::process::Usage;
use crate::program::Program;
use crate::wait::wait_for;

/// A running `handover server` or `handover client`. Dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    program: Program,
    launch: Launch,
}

/// A daemon has ended because it cannot do what its configuration says; this is its reason.
#[derive(Debug, Clone)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Refused {}

/// Its exit status then.
const MISUSE: i32 = 2;

/// How it is started, and started again.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    pub(super) binary: PathBuf,
    pub(super) log: Arc<Log>,
    /// `server` or `client`.
    pub(super) role: &'static str,
    /// Its name; its files are `NAME.toml` and `NAME.sock`.
    pub(super) name: String,
    pub(super) directory: PathBuf,
    pub(super) tunables: Option<&'static str>,
    pub(super) administrator: bool,
}

impl Launch {
    pub(super) fn start(self, namespace: &Namespace, configuration: &str) -> Result<Daemon> {
        fs::write(self.file("toml"), configuration)?;
        Ok(Daemon {
            program: self.run(namespace)?,
            launch: self,
        })
    }

    fn run(&self, namespace: &Namespace) -> Result<Program> {
        let mut command = Command::new(&self.binary);
        command.args([self.role, "--config"]).arg(self.file("toml"));
        command.envs(self.tunables.map(|tunables| ("GLIBC_TUNABLES", tunables)));
        if self.administrator {
            return Program::start_administrator(&self.log, namespace, &self.name, command);
        }
        Program::start(&self.log, namespace, &self.name, command)
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.directory.join(&self.name).with_extension(extension)
    }
}

impl Daemon {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// What its process uses now.
    pub fn usage(&self) -> Result<Usage> {
        Usage::of(self.pid())
    }

    /// The program itself: its lines, signals to it.
    pub const fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// Waits until it has said that it is up.
    pub fn wait_until_up(&self) -> Result<()> {
        self.wait_for_line(&format!("{} up", self.launch.role))
    }

    /// Waits until it has said something that it says soon after its start.
    pub fn wait_for_line(&self, text: &str) -> Result<()> {
        self.program.wait_for_line(text, START_LIMIT).map(drop)
    }

    /// Starts it again with the same configuration and key, after killing it if it still runs. Nobody
    /// waits: see [`Daemon::wait_for_status`].
    pub fn restart(&mut self, namespace: &Namespace) -> Result<()> {
        self.program.kill()?;
        self.program = self.launch.run(namespace)?;
        Ok(())
    }

    /// Changes its configuration and lets it read that again. Nobody waits.
    pub fn reload(&self, change: impl FnOnce(String) -> String) -> Result<()> {
        let file = self.launch.file("toml");
        fs::write(&file, change(fs::read_to_string(&file)?))?;
        self.program.signal(Signal::SIGHUP)
    }

    /// `handover services --json`.
    pub fn services(&self) -> Result<Value> {
        self.json(&["services"])
    }

    /// `handover status --json`.
    pub fn status(&self) -> Result<Value> {
        self.json(&["status"])
    }

    /// `handover networks --json`.
    pub fn networks(&self) -> Result<Value> {
        self.json(&["networks"])
    }

    /// `handover trace --json`.
    pub fn trace(&self) -> Result<Value> {
        self.json(&["trace"])
    }

    /// `handover switch NETWORK --json`: returns the entry when the switch is done.
    pub fn switch(&self, network: &str) -> Result<Value> {
        self.json(&["switch", network])
    }

    /// A command of the binary for this daemon, ready to run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        command(&self.launch.binary, &self.launch.file("sock"), arguments)
    }

    /// Runs a command against this daemon, whatever comes of it.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        let output = self.command(arguments).output();
        output.with_context(|| format!("run handover {arguments:?}"))
    }

    /// Waits until the status is as `wanted`, and returns it. A daemon that ends meanwhile is an error;
    /// one whose control socket is not there yet is not.
    pub fn wait_for_status(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let mut last = None;
        let found = wait_for(what, limit, || {
            self.ensure_running()?;
            last = self.status().ok();
            Ok(last.clone().filter(|status| wanted(status)))
        });
        found.with_context(|| match last {
            Some(status) => format!("the last status was {status}"),
            None => "there was no status".to_owned(),
        })
    }

    /// Waits until a client lists `count` switches, and returns the last.
    pub fn wait_for_switch(&mut self, count: usize, limit: Duration) -> Result<Value> {
        let status = self.wait_for_status(&format!("switch {count}"), limit, |status| {
            status["switches"]
                .as_array()
                .is_some_and(|all| all.len() >= count)
                && status["state"] == "attached"
        })?;
        let last = status["switches"]
            .as_array()
            .and_then(|all| all.get(count - 1));
        last.cloned().context("the switch has gone from the list")
    }

    fn ensure_running(&mut self) -> Result<()> {
        let status = self.program.ended()?;
        if status.and_then(|status| status.code()) == Some(MISUSE) {
            let reason = self.program.last_line(START_LIMIT)?;
            let directory = format!("{}/", self.launch.directory.display());
            return Err(Refused(reason.replace(&directory, "")).into());
        }
        self.program.ensure_running()
    }

    fn json(&self, arguments: &[&str]) -> Result<Value> {
        let arguments = [arguments, &["--json"]].concat();
        let output = self.run(&arguments)?;
        ensure_success(&output, &format!("handover {}", arguments.join(" ")))?;
        ensure!(!output.stdout.is_empty(), "{arguments:?} printed nothing");
        serde_json::from_slice(&output.stdout).context("what it printed is not JSON")
    }
}

fn command(binary: &Path, control: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command.args(arguments).arg("--control").arg(control);
    command
}
