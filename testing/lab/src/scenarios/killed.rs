//! A daemon that is killed, and started again with the same key. Connections that it held are reset,
//! with bytes queued or without, and never look complete; new ones work.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use super::world::Pair;
use crate::application::{ensure_reset, fill};
use crate::handover::START_LIMIT;
use crate::scenario::Lab;

pub(super) fn run_client(lab: &Lab) -> Result<()> {
    let mut pair = Pair::start(lab)?;
    let connections = busy_and_idle(&pair)?;
    pair.handover.client.program().signal(Signal::SIGKILL)?;
    let mut servers = Vec::new();
    for (mut client, server) in connections {
        ensure_reset(&mut client)?;
        servers.push(server);
    }
    lab.note("the client's applications were reset");
    pair.handover.client.restart(&pair.topology.device)?;
    wait_until_attached(&mut pair)?;
    for server in &mut servers {
        ensure_reset(server)?;
    }
    lab.note("the server's applications were reset when the new instance took over");
    ensure_works(&pair)
}

pub(super) fn run_server(lab: &Lab) -> Result<()> {
    let mut pair = Pair::start(lab)?;
    let connections = busy_and_idle(&pair)?;
    pair.handover.server.program().signal(Signal::SIGKILL)?;
    let mut clients = Vec::new();
    for (client, mut server) in connections {
        ensure_reset(&mut server)?;
        clients.push(client);
    }
    lab.note("the server's applications were reset");
    pair.handover.server.restart(&pair.topology.server)?;
    for client in &mut clients {
        ensure_reset(client)?;
    }
    lab.note("the client's applications were reset when the new instance answered");
    wait_until_attached(&mut pair)?;
    ensure_works(&pair)
}

/// One connection at rest, one with every queue full both ways, one that is half-closed.
fn busy_and_idle(pair: &Pair) -> Result<Vec<(TcpStream, TcpStream)>> {
    let idle = pair.connect()?;
    let (client, server) = pair.connect()?;
    fill(&client)?;
    fill(&server)?;
    let half_closed = pair.connect()?;
    half_closed.0.shutdown(Shutdown::Write)?;
    Ok(vec![idle, (client, server), half_closed])
}

fn wait_until_attached(pair: &mut Pair) -> Result<()> {
    let attached = pair
        .handover
        .wait_for_status("the session", START_LIMIT, |status| {
            status["state"] == "attached" && status["services"][0]["error"].is_null()
        });
    attached.map(drop)
}

fn ensure_works(pair: &Pair) -> Result<()> {
    let (mut client, mut server) = pair.connect()?;
    client.write_all(b"new")?;
    client.shutdown(Shutdown::Write)?;
    let mut read = String::new();
    server.read_to_string(&mut read)?;
    ensure!(read == "new", "a new connection brought {read:?}");
    Ok(())
}
