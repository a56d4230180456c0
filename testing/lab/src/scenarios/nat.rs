//! A device behind two layers of NAT, whose outer address changes in mid-stream, and which forget an established
//! connection in which nothing happens for 5 s. No application notices, whoever speaks first after the silence.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::world::{LIMIT, NETWORKS, Pair, ensure_done};
use crate::application::ensure_end;
use crate::facility::Facility;
use crate::gate::Gate;
use crate::handover::Handover;
use crate::link::Conditions;
use crate::nat;
use crate::scenario::Lab;
use crate::topology::{Medium, Topology};

pub(super) const NEEDS: [Facility; 3] = [Facility::Tun, nat::NEEDS[0], nat::NEEDS[1]];

const MEMORY: Duration = Duration::from_secs(5);

/// The outer router is the second on the way.
const OUTER: usize = 1;

const NEW_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 77);

pub(super) fn run(lab: &Lab) -> Result<()> {
    let mut pair = start(lab, "")?;
    let (mut client, mut server) = pair.connect()?;
    server.set_nodelay(true)?;
    pass(&mut client, &mut server)?;
    ensure_seen_at(&pair, pair.topology.nats(NETWORKS[0])?[OUTER].address())?;

    pair.topology.nats_mut(NETWORKS[0])?[OUTER].change_address(NEW_ADDRESS)?;
    lab.note("the outer address has changed");
    pass(&mut client, &mut server)?;
    ensure_done(&pair.handover.wait_for_switch(1, LIMIT)?, "unexpected")?;
    ensure_seen_at(&pair, NEW_ADDRESS)?;

    forget(lab, &pair)?;
    let spoken = Instant::now();
    pass(&mut server, &mut client)?;
    lab.note(&format!(
        "the server was heard after {:?}",
        spoken.elapsed()
    ));
    forget(lab, &pair)?;
    let spoken = Instant::now();
    pass(&mut client, &mut server)?;
    lab.note(&format!(
        "the client was heard after {:?}",
        spoken.elapsed()
    ));
    drop(server);
    ensure_end(&mut client)
}

/// With a keepalive that is shorter than their memory they forget nothing: who is silent for longer is heard over the
/// same connections.
pub(super) fn run_kept(lab: &Lab) -> Result<()> {
    let pair = start(lab, "keepalive = \"2s\"")?;
    let (mut client, mut server) = pair.connect()?;
    pass(&mut client, &mut server)?;
    Gate::slow(2 * MEMORY).pass();
    pass(&mut server, &mut client)?;
    Gate::slow(2 * MEMORY).pass();
    pass(&mut client, &mut server)?;
    let status = pair.handover.client_status()?;
    ensure!(status["switches"] == json!([]), "it was lost: {status}");
    drop(server);
    ensure_end(&mut client)
}

/// Both daemons over one network behind the routers, with more lines for the network's table.
fn start(lab: &Lab, options: &str) -> Result<Pair> {
    let mut topology = Topology::new(&[])?;
    let link = Medium::Emulated(Conditions::new(100, 5));
    topology.add_network_behind_nats(NETWORKS[0], link)?;
    for nat in topology.nats(NETWORKS[0])? {
        nat.forget_after(MEMORY)?;
    }
    let name = NETWORKS[0];
    let network = format!("[[network]]\nname = \"{name}\"\ninterface = \"{name}\"\n{options}");
    Pair::start_with(topology, |topology, services| {
        Handover::start(lab, topology, services, &[], &network)
    })
}

/// Says something at one end, and waits until it is heard at the other.
fn pass(from: &mut TcpStream, to: &mut TcpStream) -> Result<()> {
    let said = *b"still there?";
    from.write_all(&said)?;
    let mut heard = [0; 12];
    to.read_exact(&mut heard)?;
    ensure!(heard == said, "heard {heard:?}");
    Ok(())
}

/// The NATs know no connection any more, and neither module has noticed. By silence alone they might never come to
/// that: each conduit has a keepalive of its own, and one of them may be in memory at any time.
fn forget(lab: &Lab, pair: &Pair) -> Result<()> {
    for nat in pair.topology.nats(NETWORKS[0])? {
        nat.forget()?;
    }
    lab.note("the NATs have forgotten every connection");
    let status = pair.handover.client_status()?;
    ensure!(status["state"] == "attached", "noticed already: {status}");
    Ok(())
}

/// The server has the client at this address.
fn ensure_seen_at(pair: &Pair, address: Ipv4Addr) -> Result<()> {
    let status = pair.handover.server_status()?;
    let seen = status["clients"][0]["address"]
        .as_str()
        .context("no client")?;
    ensure!(seen == address.to_string(), "{address} expected: {status}");
    Ok(())
}
