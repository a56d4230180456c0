//! Two clients of one server, each with its own switches: neither disturbs the other (R24).

use std::net::SocketAddr;

use anyhow::{Result, ensure};

use super::conversation::Conversation;
use super::world::{NETWORKS, ensure_done, two_networks};
use crate::application::Stop;
use crate::handover::{Client, Handover, START_LIMIT, Service};
use crate::scenario::Lab;
use crate::servers::Echo;
use crate::topology::SERVER;

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = two_networks()?;
    let echo = Echo::start(&topology.server, SERVER.into())?;
    let service = Service::tcp("echo", echo.address(), 7000);
    let handover = Handover::start(lab, &topology, &[service], &NETWORKS, "")?;
    let second = Client {
        bind: &["127.0.0.2"],
        ..Client::named("second", &NETWORKS)
    };
    let mut second = handover.start_client(&topology, &second)?;
    second.wait_for_status("the second client", START_LIMIT, |status| {
        status["state"] == "attached"
    })?;
    let stop = Stop::default();
    let mut one = Conversation::start(&topology.device, service.entrance(), &stop)?;
    let entrance = SocketAddr::new([127, 0, 0, 2].into(), service.port);
    let mut two = Conversation::start(&topology.device, entrance, &stop)?;

    ensure_done(&handover.switch("wwan0")?, "planned")?;
    two.wait_for_more()?;
    let undisturbed = second.status()?;
    ensure!(
        undisturbed["switches"] == serde_json::json!([]),
        "{undisturbed}"
    );
    ensure!(undisturbed["network"] == "wlan0", "{undisturbed}");
    ensure_done(&second.switch("wwan0")?, "planned")?;
    ensure_done(&handover.switch("wlan0")?, "planned")?;
    one.wait_for_more()?;
    two.wait_for_more()?;
    ensure_each_at(&handover, ["10.1.0.2", "10.2.0.2"])?;

    stop.stop();
    for conversation in [one, two] {
        let answered = conversation.finish()?;
        lab.note(&format!("{answered} questions answered"));
    }
    Ok(())
}

/// The server knows where each of its clients is.
fn ensure_each_at(handover: &Handover, addresses: [&str; 2]) -> Result<()> {
    let status = handover.server_status()?;
    for (name, address) in ["client", "second"].into_iter().zip(addresses) {
        let clients = status["clients"].as_array();
        let found = clients.and_then(|all| all.iter().find(|one| one["name"] == name));
        let found = found.map(|one| one["address"].clone());
        ensure!(
            found == Some(address.into()),
            "{name} at {address}: {status}"
        );
    }
    Ok(())
}
