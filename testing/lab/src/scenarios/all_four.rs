//! All four kinds of service at once, TCP and UDP in both directions, over two networks with jitter and losses, through
//! ten planned and then ten unexpected switches.
//!
//! TCP loses and doubles no byte. UDP doubles nothing; a planned switch loses only what a full buffer drops, an
//! unexpected one besides that what was under way when the network ended, or was sent until the module noticed. The
//! links' own losses cost UDP nothing over TLS, which repeats them.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use handover_sandbox::Namespace;

use super::sky::{Disturbance, Sky, order_other};
use super::talk::{Answering, Outcome, Talks, application};
use super::world::{LIMIT, NETWORKS, unequal_networks};
use crate::application::{Application, Stop, download_until, enter, upload_until};
use crate::gate::Gate;
use crate::handover::{Client, Handover, Service};
use crate::scenario::Lab;
use crate::servers::{Endless, Sink};
use crate::topology::SERVER;
use crate::wait::wait_until;

/// Of each kind.
const SWITCHES: usize = 10;

/// What a transfer as fast as the network has to move to have gone on.
const BULK: u64 = 100_000;

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = unequal_networks()?;
    let at_server = Side::start(&topology.server, SERVER)?;
    let at_client = Side::start(&topology.device, Ipv4Addr::LOCALHOST)?;
    let (services, offered) = (at_server.services(7000), at_client.services(9000));
    let client = Client {
        services: &offered,
        ..Client::named("client", &NETWORKS)
    };
    let mut handover = Handover::start_with(lab, &topology, &services, &client, "")?;
    let mut agents = Vec::new();
    for service in &offered {
        agents.push(handover.wait_until_offered(service)?);
    }
    let entrances = services.map(|service| service.entrance());
    let stop = Stop::default();
    let mut bulk = start_bulk(&topology.device, &entrances, &stop)?;
    bulk.extend(start_bulk(&topology.server, &agents, &stop)?);
    let sockets = [
        application(&topology.device, entrances[ANSWERS])?,
        application(&topology.server, agents[ANSWERS])?,
    ];

    let mut sky = Sky::over(topology);
    let talks = Talks::start(&sockets, 0)?;
    for _ in 0..SWITCHES {
        go_on(&talks, &mut bulk)?;
        order_other(lab, &handover.client)?;
    }
    go_on(&talks, &mut bulk)?;
    let planned = talks.finish()?;
    let before = dropped(&handover)?;
    lab.note(&format!("planned: {planned:?}; {before} dropped"));
    ensure!(
        planned.iter().all(|one| one.lost.len() as u64 <= before),
        "planned switches lost more datagrams than the {before} that were dropped: {planned:?}"
    );

    let talks = Talks::start(&sockets, planned[0].asked.max(planned[1].asked))?;
    let mut outages = Vec::new();
    for disturbance in Disturbance::ALL.into_iter().cycle().take(SWITCHES) {
        go_on(&talks, &mut bulk)?;
        let client = &mut handover.client;
        outages.push(
            talks.struck_by(|noticed| {
                sky.strike_current_and_tell(lab, client, disturbance, noticed)
            })?,
        );
    }
    go_on(&talks, &mut bulk)?;
    let unexpected = talks.finish()?;
    let dropped = dropped(&handover)? - before;
    lab.note(&format!(
        "unexpected: {unexpected:?}; {dropped} dropped; outages {outages:?}"
    ));
    for (talk, outcome) in unexpected.iter().enumerate() {
        ensure_explained(outcome, outages.iter().map(|outage| &outage[talk]), dropped)?;
    }

    stop.stop();
    for one in bulk {
        let length = one.application.finish(2 * LIMIT)?;
        lab.note(&format!("{length} bytes over TCP, each in its place"));
    }
    at_server.answering.ensure_steady("server")?;
    at_client.answering.ensure_steady("client")
}

/// What was lost was under way in an outage, but for what the modules dropped.
fn ensure_explained<'a>(
    outcome: &Outcome,
    outages: impl Iterator<Item = &'a Range<u64>> + Clone,
    dropped: u64,
) -> Result<()> {
    let in_outage = |lost: u64| outages.clone().any(|outage| outage.contains(&lost));
    let lost = outcome.lost.iter().copied();
    let unexplained: Vec<u64> = lost.filter(|lost| !in_outage(*lost)).collect();
    ensure!(
        unexplained.len() as u64 <= dropped,
        "lost in no outage, and {dropped} dropped: {unexplained:?}"
    );
    Ok(())
}

const SINK: usize = 0;
const ENDLESS: usize = 1;
const ANSWERS: usize = 2;

/// The applications that offer services on one side.
struct Side {
    sink: SocketAddr,
    endless: SocketAddr,
    answering: Answering,
}

impl Side {
    fn start(host: &Namespace, address: Ipv4Addr) -> Result<Self> {
        Ok(Self {
            sink: Sink::start(host, address.into(), Gate::open_already())?.address(),
            endless: Endless::start(host, address.into())?.address(),
            answering: Answering::start(host, address.into())?,
        })
    }

    fn services(&self, port: u16) -> [Service<'static>; 3] {
        [
            Service::tcp("sink", self.sink, port),
            Service::tcp("endless", self.endless, port + 1),
            Service::udp("answers", self.answering.address, port + 2),
        ]
    }
}

/// A transfer as fast as the network, until it is told to end.
struct Bulk {
    application: Application<u64>,
    moved: Arc<AtomicU64>,
}

/// One each way.
fn start_bulk(host: &Namespace, targets: &[SocketAddr], stop: &Stop) -> Result<Vec<Bulk>> {
    let start = |name: &str, target, work: fn(TcpStream, &Stop, &AtomicU64) -> Result<u64>| {
        let (stream, told) = (enter(host, target)?, stop.clone());
        let moved = Arc::<AtomicU64>::default();
        let tally = Arc::clone(&moved);
        let application = Application::start(name, move || work(stream, &told, &tally))?;
        anyhow::Ok(Bulk { application, moved })
    };
    Ok(vec![
        start("upload", targets[SINK], upload_until)?,
        start("download", targets[ENDLESS], download_until)?,
    ])
}

/// Waits until every application has gone on from where it is.
fn go_on(talks: &Talks, bulk: &mut [Bulk]) -> Result<()> {
    talks.wait_for_answers()?;
    for one in bulk {
        let wanted = one.moved.load(Ordering::Relaxed) + BULK;
        wait_until("a transfer to go on", LIMIT, || {
            one.application.ensure_running()?;
            Ok(one.moved.load(Ordering::Relaxed) >= wanted)
        })?;
    }
    Ok(())
}

/// Datagrams for which there was no room, or no network for too long, at either module so far.
fn dropped(handover: &Handover) -> Result<u64> {
    let (client, server) = (handover.client_status()?, handover.server_status()?);
    let sides = [&client, &server["clients"][0]];
    let counts = sides.into_iter().flat_map(|side| {
        let of_reason = |reason| side["datagrams_dropped"][reason].as_u64();
        ["overflowed", "expired"].map(of_reason)
    });
    let sum: Option<u64> = counts.sum();
    sum.context("nobody says how many datagrams were dropped")
}
