//! The same key on two devices, by mistake: the second takes the session over, once. The first stops, says
//! what to do, and stays stopped whatever its networks do; the second is left in peace.

use std::net::{IpAddr, Shutdown};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::world::{LIMIT, NETWORKS, Pair, ensure_done};
use crate::application::{Application, ask, ensure_end, ensure_reset, enter};
use crate::handover::{Client, Daemon, START_LIMIT};
use crate::scenario::Lab;
use crate::servers::echo;

/// What a person has to read, in the log and in the status.
const ADVICE: &str = "give every device a key of its own";

pub(super) fn run(lab: &Lab) -> Result<()> {
    let mut pair = Pair::start(lab)?;
    let (mut old_client, mut old_server) = pair.connect()?;
    let copy = Client {
        bind: &["127.0.0.2"],
        ..Client::named("copy", &NETWORKS)
    };
    pair.handover.copy_key("client", copy.name)?;
    let mut winner = pair.handover.start_client(&pair.topology, &copy)?;
    winner.wait_for_status("the copy's session", START_LIMIT, |status| {
        status["state"] == "attached" && status["services"][0]["error"].is_null()
    })?;
    ensure_reset(&mut old_client)?;
    ensure_reset(&mut old_server)?;
    let entrance = (copy.bind[0].parse::<IpAddr>()?, pair.service.port).into();
    let mut client = enter(&pair.topology.device, entrance)?;
    let server = pair.server.accept(LIMIT)?;
    let echo = Application::start("echo", move || Ok(echo(server)?))?;
    ask(&mut client, 1)?;
    ensure_stopped(lab, &mut pair.handover.client)?;
    ensure!(
        enter(&pair.topology.device, pair.service.entrance()).is_err(),
        "the loser still takes connections"
    );

    // A change of its networks is what wakes a client that has given up for a while.
    pair.topology.set_down("wwan0")?;
    pair.topology.set_up("wwan0")?;
    ensure_done(&winner.switch("wwan0")?, "planned")?;
    pair.topology.set_down("wwan0")?;
    winner.wait_for_status("the switch away", LIMIT, |status| {
        status["network"] == "wlan0"
    })?;
    pair.topology.set_up("wwan0")?;
    ask(&mut client, 2)?;
    ensure_stopped(lab, &mut pair.handover.client)?;
    let lines = pair.handover.server.program().lines();
    let duels = lines.iter().filter(|line| line.contains("taken over"));
    ensure!(duels.count() == 1, "the session went to and fro: {lines:?}");

    client.shutdown(Shutdown::Write)?;
    ensure_end(&mut client)?;
    echo.finish(LIMIT)
}

/// It has no link, says why, offers nothing, and carries out no order.
fn ensure_stopped(lab: &Lab, loser: &mut Daemon) -> Result<()> {
    loser.program().wait_for_line(ADVICE, LIMIT)?;
    let status = loser.status()?;
    lab.note(&format!("the loser: {status}"));
    let advice = status["error"].as_str().unwrap_or_default();
    ensure!(
        status["state"] == "refused"
            && status["network"].is_null()
            && status["services"] == Value::Array(Vec::new())
            && advice.contains(ADVICE),
        "not stopped: {status}"
    );
    let order = loser.run(&["switch", "wlan0"])?;
    let answer = String::from_utf8_lossy(&order.stderr);
    ensure!(
        order.status.code() == Some(1) && answer.contains(ADVICE),
        "an order ended with {}: {answer}",
        order.status
    );
    Ok(())
}
