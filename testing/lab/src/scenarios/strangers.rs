//! Whoever has no known key gets nothing, and nobody is fooled by a server with another key; the client
//! that is there already notices nothing of it.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::world::{LIMIT, NETWORKS, Pair};
use crate::application::ensure_end;
use crate::handover::{Client, Daemon};
use crate::scenario::Lab;

pub(super) fn run(lab: &Lab) -> Result<()> {
    let mut pair = Pair::start(lab)?;
    let (mut client, server) = pair.connect()?;
    let stranger = Client {
        bind: &["127.0.0.2"],
        ..Client::named("stranger", &NETWORKS)
    };
    pair.handover.make_stranger(stranger.name)?;
    let mut unknown = pair.handover.start_client(&pair.topology, &stranger)?;
    let refusal = "is not allowed";
    pair.handover
        .server
        .program()
        .wait_for_line(refusal, LIMIT)?;
    ensure_kept_out(lab, &mut unknown)?;
    let fooled = Client {
        name: "second",
        bind: &["127.0.0.3"],
        ..stranger
    };
    let mut fooled = pair
        .handover
        .start_client_of_another_server(&pair.topology, &fooled)?;
    fooled.program().wait_for_line("not reached", LIMIT)?;
    ensure_kept_out(lab, &mut fooled)?;

    let status = pair.handover.server_status()?;
    let clients = status["clients"].as_array().map_or(0, Vec::len);
    ensure!(clients == 1, "the server lists {status}");
    drop(server);
    ensure_end(&mut client)
}

/// It goes on trying, says why in its status, and offers no service.
fn ensure_kept_out(lab: &Lab, daemon: &mut Daemon) -> Result<()> {
    let status = daemon.wait_for_status("an error in the status", LIMIT, |status| {
        !status["error"].is_null()
    })?;
    lab.note(&format!("kept out: {}", status["error"]));
    ensure!(
        status["state"] == "connecting" && status["network"].is_null(),
        "not kept out: {status}"
    );
    ensure!(status["services"] == Value::Array(Vec::new()), "{status}");
    Ok(())
}
