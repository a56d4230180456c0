//! An order on a network that has silently died: the planned steps are given up after max(1 s, 4 RTT),
//! and the starred ones lead to the same network.

use anyhow::{Context, Result, ensure};

use super::world::{LIMIT, Pair, ensure_done};
use crate::application::ask;
use crate::application::{Application, ensure_end};
use crate::ladder;
use crate::scenario::Lab;
use serde_json::Value;

/// CNAPT-11 waits so long; four round trips of this network are less.
const REPLY_MS: f64 = 1000.0;

/// What the machine's own stalls may add.
const SLACK_MS: f64 = 1500.0;

pub(super) fn run(lab: &Lab) -> Result<()> {
    let pair = Pair::start_so(lab, "overlap = false\n")?;
    let (mut client, server) = pair.connect()?;
    let echo = Application::start("echo", move || {
        crate::servers::echo(server).map_err(Into::into)
    })?;
    ask(&mut client, 1)?;

    pair.topology.cut("wlan0")?;
    let entry = pair.handover.switch("wwan0")?;
    lab.note(&format!("{entry}"));
    ensure_done(&entry, "unexpected")?;
    ensure!(entry["procedure"] == "starred", "{entry}");
    ensure!(entry["to"] == "wwan0", "{entry}");
    ensure_given_up(&pair.handover.trace()?)?;

    ask(&mut client, 2)?;
    client.shutdown(std::net::Shutdown::Write)?;
    ensure_end(&mut client)?;
    echo.finish(LIMIT)
}

/// CNAPT-1..11 came first, and after the bound of CNAPT-11 all of CNAPT-1*..23*.
fn ensure_given_up(trace: &Value) -> Result<()> {
    let steps = trace["steps"].as_array().context("no steps")?;
    let cnapt: Vec<&Value> = steps
        .iter()
        .filter(|step| step["side"] == "cnapt")
        .collect();
    let names: Vec<&str> = cnapt
        .iter()
        .filter_map(|step| step["step"].as_str())
        .collect();
    let planned = (1..=11).map(|number| format!("CNAPT-{number}"));
    let starred = (1..=23).map(|number| format!("CNAPT-{number}*"));
    let expected: Vec<String> = planned.chain(starred).collect();
    ensure!(
        names == expected,
        "the steps were {:?}",
        ladder::steps(trace)?
    );
    let at = |index: usize| cnapt[index]["at_ms"].as_f64().context("no time");
    let waited = at(11)? - at(10)?;
    ensure!(
        (REPLY_MS..REPLY_MS + SLACK_MS).contains(&waited),
        "CNAPT-11 waited {waited} ms"
    );
    Ok(())
}
