//! A client that is silent for longer than the switch timeout is released, with its connections; when
//! it comes back it begins anew (R13).

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::world::{LIMIT, NETWORKS, one_network};
use crate::application::{ensure_reset, enter};
use crate::handover::{Client, Handover, Service};
use crate::scenario::Lab;
use crate::servers::Manual;
use crate::topology::SERVER;

/// The server notices a silent network only when TCP gives up, after 30 s; then its timeout begins.
const RELEASE_LIMIT: Duration = Duration::from_secs(90);

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = one_network()?;
    let manual = Manual::start(&topology.server, SERVER.into())?;
    let service = Service::tcp("manual", manual.address(), 7000);
    let client = Client::named("client", &NETWORKS[..1]);
    let timeout = "switch_timeout = \"2s\"";
    let mut handover = Handover::start_with(lab, &topology, &[service], &client, timeout)?;
    let mut application = enter(&topology.device, service.entrance())?;
    let mut server = manual.accept(LIMIT)?;

    topology.cut("wlan0")?;
    // What nobody acknowledges shows the server that the network is away.
    server.write_all(&[5; 1000])?;
    handover
        .server
        .wait_for_status("the release", RELEASE_LIMIT, |status| {
            status["clients"] == serde_json::json!([])
        })?;
    ensure_reset(&mut server)?;
    let told = "released: connections reset client=client streams=1";
    handover.server.program().wait_for_line(told, LIMIT)?;
    topology.restore("wlan0")?;
    ensure_reset(&mut application)?;
    let told = "does not know the session any more: connections reset streams=1";
    handover.client.program().wait_for_line(told, LIMIT)?;
    handover.wait_for_status("the new session", LIMIT, |status| {
        status["state"] == "attached"
    })?;
    let mut again = enter(&topology.device, service.entrance())?;
    again.write_all(b"new")?;
    again.shutdown(Shutdown::Write)?;
    let mut read = String::new();
    manual.accept(LIMIT)?.read_to_string(&mut read)?;
    ensure!(read == "new", "a new connection brought {read:?}");
    Ok(())
}
