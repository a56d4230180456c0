//! `handover demo`: the product in front of the user's eyes, without privileges and without a configuration.
//!
//! Both real daemons run, as processes of this same binary, on a [`stage`] with two networks. Three connections of
//! applications go through them: a download, an upload and a ticker that waits for each echo. One switch is ordered, as
//! `handover switch` does it; then the network in use swallows every packet without a word, and the client has to find
//! out. What happened is what the client's `status --json` says; that no byte was lost or changed is what the
//! applications themselves counted and hashed.
//!
//! Exit status 0 says that everything was as it should be, see [`verdict`]. The daemons and the directory with their
//! files are gone afterwards, whatever the end, as long as it is not SIGKILL that ends the demo itself.

mod configuration;
mod daemons;
mod directory;
mod forwarder;
mod hosts;
mod lines;
mod play;
mod stage;
mod tally;
mod traffic;
mod verdict;

use std::io;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use crate::cli::DemoArgs;
use crate::exit::{Exit, Failure};
use crate::output::tell;

use daemons::Daemons;
use directory::TemporaryDirectory;
use lines::Lines;
use play::Observed;
use stage::{Setting, Stage};
use traffic::Listeners;

/// Nobody watches longer; about twice what it takes on a slow machine.
const LONGEST: Duration = Duration::from_secs(28);

/// Runs the demo.
///
/// It must be the first thing that the process does: user namespaces are refused to a process with several threads.
pub(crate) fn run(arguments: &DemoArgs) -> Result<Exit, Failure> {
    let setting = Setting::choose(arguments.loopback).map_err(Failure::failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::failed)?;
    runtime.block_on(perform(setting)).map_err(Failure::failed)
}

async fn perform(setting: Setting) -> anyhow::Result<Exit> {
    let lines = Lines::new();
    lines.say(&setting.introduction())?;
    // Declared in the order in which they are needed, so that they go in the reverse one.
    let directory = TemporaryDirectory::new()?;
    let stage = Stage::build(setting)?;
    let mut daemons = Daemons::new(directory.path());
    let observed = tokio::select! {
        biased;
        told = told_to_end() => {
            daemons.end().await?;
            told.context("cannot wait for signals")?;
            bail!("interrupted")
        }
        observed = observe(&stage, &mut daemons, &lines) => observed,
        () = sleep(LONGEST) => Err(anyhow!("not done after {} s", LONGEST.as_secs())),
    };
    let ended = daemons.end().await;
    match observed.and_then(|observed| ended.map(|()| observed)) {
        Ok(observed) => verdict::announce(&observed, &lines),
        Err(error) => {
            daemons.recent_logs().iter().for_each(tell);
            Err(error)
        }
    }
}

async fn observe(stage: &Stage, daemons: &mut Daemons, lines: &Lines) -> anyhow::Result<Observed> {
    let listeners = Listeners::bind(stage).context("the server applications cannot listen")?;
    lines.event("start", "handover server, handover client")?;
    daemons.start(stage, &listeners.services()).await?;
    let [server, client] = daemons.process_ids();
    lines.event(
        "ready",
        format_args!("the server is process {server}, the client {client}"),
    )?;
    play::play(stage, daemons, listeners, lines).await
}

async fn told_to_end() -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}
