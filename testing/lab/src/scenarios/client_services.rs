//! Services of the device, reached by the server's applications on the client's virtual IP (R5): across
//! switches, with the ports that cannot be had told and the others served, and gone with the session (R13).

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::world::{LIMIT, NETWORKS, ensure_done, two_networks};
use crate::application::{Application, PATIENCE, Stop, converse, enter};
use crate::handover::{Client, Handover, Service};
use crate::scenario::Lab;
use crate::servers::Echo;
use crate::wait::wait_until;

const PAUSE: Duration = Duration::from_millis(5);

/// So many more answers show that a conversation goes on.
const SOME: u64 = 20;

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = two_networks()?;
    let echo = Echo::start(&topology.device, Ipv4Addr::LOCALHOST.into())?;
    let service = |name, port| Service::tcp(name, echo.address(), port);
    let services = [
        service("agent", 9000),
        service("low", 22),
        service("taken", 9003),
    ];
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9003));
    let other = topology.server.run(move || TcpListener::bind(everywhere));
    let other = other.context("take the port")?;
    let client = Client {
        services: &services,
        ..Client::named("client", &NETWORKS)
    };
    let mut handover = Handover::start_with(lab, &topology, &[], &client, "")?;
    for told in [
        "not offered at the server: the server's configuration does not allow this client port 22",
        "not offered at the server: another program at the server has port 9003",
    ] {
        handover.client.program().wait_for_line(told, LIMIT)?;
    }

    let virtual_ip = virtual_ip(&handover)?;
    let agent = SocketAddr::new(virtual_ip, 9000);
    let (stop, stream) = (Stop::default(), enter(&topology.server, agent)?);
    let answers = Arc::<AtomicU64>::default();
    let (told, tally) = (stop.clone(), Arc::clone(&answers));
    let conversation = Application::start("conversation", move || {
        converse(stream, &told, PAUSE, &tally)
    })?;
    let goes_on = || {
        let wanted = answers.load(Ordering::Relaxed) + SOME;
        wait_until("more answers", LIMIT, || {
            Ok(answers.load(Ordering::Relaxed) >= wanted)
        })
    };
    goes_on()?;
    ensure_done(&handover.switch("wwan0")?, "planned")?;
    goes_on()?;
    topology.set_down("wwan0")?;
    ensure_done(&handover.wait_for_switch(2, PATIENCE)?, "unexpected")?;
    goes_on()?;

    drop(other);
    let taken = SocketAddr::new(virtual_ip, 9003);
    wait_until("the port that was taken", LIMIT, || {
        Ok(topology
            .server
            .run(move || TcpStream::connect(taken))
            .is_ok())
    })?;
    stop.stop();
    lab.note(&format!(
        "{} questions answered",
        conversation.finish(LIMIT)?
    ));

    handover.client.program().signal(Signal::SIGINT)?;
    wait_until("the release", LIMIT, || {
        Ok(topology
            .server
            .run(move || TcpStream::connect(agent))
            .is_err())
    })?;
    let status = handover.server_status()?;
    ensure!(status["clients"] == serde_json::json!([]), "{status}");
    Ok(())
}

pub(super) fn virtual_ip(handover: &Handover) -> Result<IpAddr> {
    let status = handover.client_status()?;
    let text = status["virtual_ip"].as_str().context("no virtual IP")?;
    text.parse().context("a virtual IP")
}
