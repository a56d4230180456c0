//! An application that breaks off with bytes still queued: the other side sees a reset, never an end,
//! in both directions, also when the network is away at that moment and a switch comes after it.

use std::net::TcpStream;

use anyhow::Result;

use super::world::{LIMIT, Pair};
use crate::application::{ensure_reset, fill, reset};
use crate::scenario::Lab;
use crate::wait::wait_until;

pub(super) fn run(lab: &Lab) -> Result<()> {
    let mut pair = Pair::start(lab)?;
    let (client, mut server) = pair.connect()?;
    break_off_when_full(client)?;
    ensure_reset(&mut server)?;
    lab.note("the client's reset has arrived");
    let (mut client, server) = pair.connect()?;
    break_off_when_full(server)?;
    ensure_reset(&mut client)?;
    lab.note("the server's reset has arrived");

    // As long as nobody reads there is no credit, and the CNAPT reads nothing either.
    let (client, server) = pair.connect()?;
    break_off_when_full(client)?;
    wait_until("a reset at a server that does not read", LIMIT, || {
        Ok(server.take_error()?.is_some())
    })?;

    let (client, mut server) = pair.connect()?;
    let (mut other_client, other_server) = pair.connect()?;
    fill(&client)?;
    fill(&other_server)?;
    pair.topology.cut("wlan0")?;
    reset(client)?;
    reset(other_server)?;
    pair.handover.wait_for_switch(1, LIMIT)?;
    ensure_reset(&mut server)?;
    ensure_reset(&mut other_client)?;
    lab.note("both have arrived after a switch");
    Ok(())
}

fn break_off_when_full(stream: TcpStream) -> Result<()> {
    fill(&stream)?;
    reset(stream)
}
