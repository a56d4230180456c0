//! An application that breaks off with bytes still queued: the other side sees a reset, never an end,
//! in both directions, also when the network is away at that moment and a switch comes after it.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::world::{LIMIT, Pair};
use crate::application::{ensure_reset, reset};
use crate::payload::CHUNK;
use crate::scenario::Lab;
use crate::wait::wait_until;

/// So long without a byte taken means that every queue is full.
const STANDSTILL: Duration = Duration::from_millis(500);

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

/// Writes until nothing has been taken for a while.
fn fill(stream: &TcpStream) -> Result<()> {
    stream.set_nonblocking(true)?;
    let mut since = Instant::now();
    let mut writer = stream;
    wait_until("every queue to be full", LIMIT, || {
        while writer.write(&[7; CHUNK]).is_ok() {
            since = Instant::now();
        }
        Ok(since.elapsed() >= STANDSTILL)
    })?;
    Ok(stream.set_nonblocking(false)?)
}
