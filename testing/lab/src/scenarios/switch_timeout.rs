//! A client that is silent for longer than the switch timeout is released: its connections are reset, it is
//! no longer in the list, its services are not listened for any more, and its virtual IP is gone. When it
//! comes back it is told, and begins anew (R13).

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, UdpSocket};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::world::{LIMIT, NETWORKS, one_network};
use crate::application::{ask, ensure_reset, enter};
use crate::handover::{Client, Handover, Service};
use crate::scenario::Lab;
use crate::servers::{Echo, Manual};
use crate::topology::{SERVER, Topology};
use crate::wait::wait_until;

/// The server notices a silent network only when TCP gives up, after 30 s; then its timeout begins.
const RELEASE_LIMIT: Duration = Duration::from_secs(90);

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = one_network()?;
    let manual = Manual::start(&topology.server, SERVER.into())?;
    let service = Service::tcp("manual", manual.address(), 7000);
    let agent = Echo::start(&topology.device, Ipv4Addr::LOCALHOST.into())?;
    let agent = Service::tcp("agent", agent.address(), 9000);
    let client = Client {
        services: &[agent],
        ..Client::named("client", &NETWORKS[..1])
    };
    // Not of 127/8: the server brings the address, and takes it away.
    let options = "switch_timeout = \"2s\"\nvirtual_ips = \"10.77.0.0/24\"";
    let mut handover =
        Handover::start_with_administrator(lab, &topology, &[service], &client, options)?;
    let mut application = enter(&topology.device, service.entrance())?;
    let mut server = manual.accept(LIMIT)?;
    let offered = handover.wait_until_offered(&agent)?;
    ensure!(is_there(&topology, offered.ip()), "no {}", offered.ip());
    let mut user = enter(&topology.server, offered)?;
    ask(&mut user, 1)?;

    topology.cut("wlan0")?;
    // What nobody acknowledges shows the server that the network is away.
    server.write_all(&[5; 1000])?;
    handover
        .server
        .wait_for_status("the release", RELEASE_LIMIT, |status| {
            status["clients"] == serde_json::json!([])
        })?;
    ensure_reset(&mut server)?;
    ensure_reset(&mut user)?;
    let told = "released: connections reset client=client streams=2";
    handover.server.program().wait_for_line(told, LIMIT)?;
    wait_until("the virtual IP to go", LIMIT, || {
        Ok(!is_there(&topology, offered.ip()))
    })?;
    ensure!(
        enter(&topology.server, offered).is_err(),
        "the client's service is listened for"
    );
    topology.restore("wlan0")?;
    ensure_reset(&mut application)?;
    let told = "does not know the session any more: connections reset streams=2";
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
    let offered = handover.wait_until_offered(&agent)?;
    ask(&mut enter(&topology.server, offered)?, 2)
}

/// Whether programs of the server's host can bind to `address`.
fn is_there(topology: &Topology, address: IpAddr) -> bool {
    let bound = topology.server.run(move || UdpSocket::bind((address, 0)));
    bound.is_ok()
}
