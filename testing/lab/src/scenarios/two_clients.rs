//! Two clients of one server, each with its own switches: neither disturbs the other (R24).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::world::{LIMIT, NETWORKS, ensure_done, two_networks};
use crate::application::{Application, Stop, converse, enter};
use crate::handover::{Client, Handover, START_LIMIT, Service};
use crate::scenario::Lab;
use crate::servers::Echo;
use crate::topology::{SERVER, Topology};
use crate::wait::wait_until;

const PAUSE: Duration = Duration::from_millis(10);

/// So many more answers show that a conversation goes on.
const SOME: u64 = 20;

struct Conversation {
    application: Application<u64>,
    answers: Arc<AtomicU64>,
}

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
    let one = start(&topology, service.entrance(), &stop)?;
    let two = start(
        &topology,
        SocketAddr::new([127, 0, 0, 2].into(), service.port),
        &stop,
    )?;

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
        let answered = conversation.application.finish(LIMIT)?;
        lab.note(&format!("{answered} questions answered"));
    }
    Ok(())
}

fn start(topology: &Topology, entrance: SocketAddr, stop: &Stop) -> Result<Conversation> {
    let (stream, told) = (enter(&topology.device, entrance)?, stop.clone());
    let answers = Arc::<AtomicU64>::default();
    let tally = Arc::clone(&answers);
    let talk = move || converse(stream, &told, PAUSE, &tally);
    Ok(Conversation {
        application: Application::start("conversation", talk)?,
        answers,
    })
}

impl Conversation {
    fn wait_for_more(&self) -> Result<()> {
        let wanted = self.answers.load(Ordering::Relaxed) + SOME;
        wait_until("more answers", LIMIT, || {
            Ok(self.answers.load(Ordering::Relaxed) >= wanted)
        })
    }
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
