//! One network knows IPv6 only, the other IPv4 only, and the server is there over both. Sessions move between them;
//! the services, their entrances and the virtual IP are of IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};

use anyhow::{Context, Result, ensure};

use super::sky::{Disturbance, Sky, order_other};
use super::talk::{Answering, Talks, application};
use super::world::{LIMIT, NETWORKS};
use crate::application::{Application, ask, ensure_end, enter};
use crate::handover::{Client, Handover, PORT, Service};
use crate::link::Conditions;
use crate::scenario::Lab;
use crate::servers::{Echo, Manual, echo};
use crate::topology::{Family, Medium, SERVER, SERVER_IPV6, Topology};

/// Virtual IPs of nobody's but this site's (RFC 4193).
const POOL: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 0);
const POOL_LENGTH: u8 = 64;

/// The family that the first network lacks comes first.
const SERVERS: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(SERVER), PORT),
    SocketAddr::new(IpAddr::V6(SERVER_IPV6), PORT),
];

const ENTRANCES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = one_family_each()?;
    let manual = Manual::start(&topology.server, Ipv6Addr::LOCALHOST.into())?;
    let service = Service::tcp("manual", manual.address(), 7000);
    let agent = Echo::start(&topology.device, Ipv6Addr::LOCALHOST.into())?;
    let agent = Service::tcp("agent", agent.address(), 9000);
    let loopback = Ipv6Addr::LOCALHOST.into();
    let (at_server, at_client) = (
        Answering::start(&topology.server, loopback)?,
        Answering::start(&topology.device, loopback)?,
    );
    let answers = Service::udp("answers", at_server.address, 7001);
    let reports = Service::udp("reports", at_client.address, 9001);
    let client = Client {
        services: &[agent, reports],
        servers: &SERVERS,
        bind: &["127.0.0.1", "::1"],
        ..Client::named("client", &NETWORKS)
    };
    let pool = format!("virtual_ips = \"{POOL}/{POOL_LENGTH}\"");
    // An IPv6 address has to be there itself; a local route for its range does not do, as it does with IPv4.
    let mut handover =
        Handover::start_with_administrator(lab, &topology, &[service, answers], &client, &pool)?;
    let status = handover.client_status()?;
    ensure!(
        status["network"] == NETWORKS[0],
        "the first comes first: {status}"
    );
    let virtual_ip = status["virtual_ip"].as_str().context("no virtual IP")?;

    let mut clients = Vec::new();
    for entrance in ENTRANCES {
        let stream = enter(&topology.device, SocketAddr::new(entrance, service.port))?;
        let server = manual.accept(LIMIT)?;
        // On the server's own host the application sees who comes.
        let seen = server.peer_addr()?.ip().to_string();
        ensure!(seen == virtual_ip, "{seen} instead of {virtual_ip}");
        Application::start("echo", move || Ok(echo(server)?))?;
        clients.push(stream);
    }
    let offered = handover.wait_until_offered(&agent)?;
    clients.push(enter(&topology.server, offered)?);
    let entrance = SocketAddr::new(loopback, answers.port);
    let offered = handover.wait_until_offered(&reports)?;
    let talks = Talks::start(
        &[
            application(&topology.device, entrance)?,
            application(&topology.server, offered)?,
        ],
        0,
    )?;
    let mut sky = Sky::over(topology);
    let mut number = 0;
    let mut ask_all = |clients: &mut Vec<_>| {
        number += 1;
        talks.wait_for_answers()?;
        clients.iter_mut().try_for_each(|one| ask(one, number))
    };
    ask_all(&mut clients)?;
    for _ in NETWORKS {
        order_other(lab, &handover.client)?;
        ask_all(&mut clients)?;
    }
    for disturbance in [Disturbance::LinkDown, Disturbance::SilentCut] {
        sky.strike_current(lab, &mut handover.client, disturbance)?;
        ask_all(&mut clients)?;
    }
    for client in &mut clients {
        client.shutdown(Shutdown::Write)?;
        ensure_end(client)?;
    }
    talks.finish()?;
    at_server.ensure_steady("server")?;
    at_client.ensure_steady("client")
}

fn one_family_each() -> Result<Topology> {
    let mut topology = Topology::new(&[])?;
    let link = Medium::Emulated(Conditions::new(100, 5));
    topology.add_network_with(NETWORKS[0], link, &[Family::Ipv6])?;
    topology.add_network_with(NETWORKS[1], link, &[Family::Ipv4])?;
    Ok(topology)
}
