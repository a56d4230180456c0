//! A session with one planned and one unexpected switch: every byte is there, and both trails are the
//! spec's.

use std::fs::File;
use std::process::Command;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::application::{Application, Stop, converse, enter};
use crate::gate::Gate;
use crate::handover::{Handover, Service};
use crate::ladder;
use crate::link::Conditions;
use crate::payload::{Payload, digest_of};
use crate::program::Program;
use crate::scenario::Lab;
use crate::servers::{Echo, Http};
use crate::topology::{Medium, SERVER, Topology};
use crate::wait::wait_for;

const LIMIT: Duration = Duration::from_secs(30);

/// Long enough, on these links, for both switches to fall into it.
const FILE: Payload = Payload {
    length: 20_000_000,
    seed: 11,
};

pub(super) fn run(lab: &Lab) -> Result<()> {
    let procedures = ["stepwise", "starred"];
    live_through(
        lab,
        "overlap = false\n",
        procedures,
        |planned, unexpected| {
            ladder::ensure_planned(planned)?;
            ladder::ensure_starred(unexpected)
        },
    )
}

/// The same with both networks at once, which is the default.
pub(super) fn run_overlapped(lab: &Lab) -> Result<()> {
    let procedures = ["overlapped", "rescue"];
    live_through(lab, "", procedures, |planned, unexpected| {
        ladder::ensure_overlapped(planned)?;
        ladder::ensure_starred(unexpected)
    })
}

fn live_through(
    lab: &Lab,
    options: &str,
    [planned_by, unexpected_by]: [&str; 2],
    ensure_steps: impl Fn(&Value, &Value) -> Result<()>,
) -> Result<()> {
    let link = Medium::Emulated(Conditions::new(20, 10));
    let topology = Topology::new(&[("wlan0", link), ("wwan0", link)])?;
    let http = Http::start(&topology.server, SERVER.into(), FILE, Gate::open_already())?;
    let echo = Echo::start(&topology.server, SERVER.into())?;
    let web = Service::tcp("web", http.address(), 8080);
    let talk = Service::tcp("talk", echo.address(), 7000);
    let mut handover = Handover::start(lab, &topology, &[web, talk], &["wlan0", "wwan0"], options)?;

    let file = lab.directory.path().join("file");
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--fail", "--output"])
        .arg(&file);
    command.arg(format!("http://{}/file", web.entrance()));
    let mut curl = Program::start(&lab.log, &topology.device, "curl", command)?;
    let (stop, stream) = (Stop::default(), enter(&topology.device, talk.entrance())?);
    let told = stop.clone();
    let conversation = Application::start("conversation", move || {
        converse(stream, &told, Duration::from_millis(5), &AtomicU64::new(0))
    })?;

    let planned = handover.switch("wwan0")?;
    lab.note(&format!("planned: {planned}"));
    ensure_is(&planned, ["planned", planned_by, "wlan0", "wwan0", "done"])?;
    let planned_trace = whole_trace(&handover)?;

    topology.cut("wwan0")?;
    let unexpected = handover.wait_for_switch(2, LIMIT)?;
    lab.note(&format!("unexpected: {unexpected}"));
    ensure_is(
        &unexpected,
        ["unexpected", unexpected_by, "wwan0", "wlan0", "done"],
    )?;
    ensure_steps(&planned_trace, &whole_trace(&handover)?)?;

    curl.ensure_running()?;
    curl.wait_success(LIMIT)?;
    stop.stop();
    lab.note(&format!(
        "{} questions answered",
        conversation.finish(LIMIT)?
    ));
    let digest = digest_of(&mut File::open(file)?, &Gate::open_already())?;
    ensure!(digest == FILE.digest(), "curl has {digest:?}");
    Ok(())
}

/// The trace with the other module's steps, which come with its report after the switch.
fn whole_trace(handover: &Handover) -> Result<Value> {
    wait_for("both modules' steps", LIMIT, || {
        let trace = handover.trace()?;
        let steps = ladder::steps(&trace)?;
        Ok(steps
            .iter()
            .any(|step| step.starts_with("SNAPT"))
            .then_some(trace))
    })
}

fn ensure_is(entry: &Value, wanted: [&str; 5]) -> Result<()> {
    let found = ["kind", "procedure", "from", "to", "outcome"].map(|field| entry[field].as_str());
    ensure!(found == wanted.map(Some), "{entry} is not {wanted:?}");
    Ok(())
}
