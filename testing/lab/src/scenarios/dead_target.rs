//! An order to a network that looks well and leads nowhere: it fails and says so, the session is back
//! on the network that it left, and the applications notice a pause at most.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::world::{LIMIT, Pair, ensure_done};
use crate::application::{Application, ask};
use crate::scenario::Lab;
use crate::servers::echo;

pub(super) fn run(lab: &Lab) -> Result<()> {
    let mut pair = Pair::start(lab)?;
    let (mut client, server) = pair.connect()?;
    let answering = Application::start("echo", move || Ok(echo(server)?))?;
    ask(&mut client, 1)?;

    pair.topology.cut("wwan0")?;
    let output = pair.handover.client.run(&["switch", "wwan0", "--json"])?;
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(1),
        "{}: {message}",
        output.status
    );
    let entry: Value = serde_json::from_slice(&output.stdout).context("not JSON")?;
    lab.note(&format!("{entry}"));
    ensure!(
        entry["outcome"] == "failed" && entry["to"] == "wwan0",
        "{entry}"
    );
    pair.handover
        .wait_for_status("the way back", LIMIT, |status| {
            status["state"] == "attached" && status["network"] == "wlan0"
        })?;
    ask(&mut client, 2)?;

    pair.topology.restore("wwan0")?;
    ensure_done(&pair.handover.switch("wwan0")?, "planned")?;
    ask(&mut client, 3)?;
    drop(client);
    answering.finish(LIMIT)
}
