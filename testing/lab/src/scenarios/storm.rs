//! A storm: networks come and go at random, faster than any switch can follow, while the user gives
//! orders. When it is over everything is there.

use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::sky::{Disturbance, Sky, count_switches, order, random, wait_for_answers};
use super::world::{LIMIT, NETWORKS};
use crate::application::{
    Application, Stop, ask, converse, download_until, ensure_end, enter, upload_until,
};
use crate::gate::Gate;
use crate::handover::{Handover, Service};
use crate::link::Conditions;
use crate::random::Random;
use crate::scenario::Lab;
use crate::servers::{Echo, Endless, Sink};
use crate::topology::{Medium, SERVER, Topology};
use crate::wait::wait_until;

/// How long it blows.
const STORM: Duration = Duration::from_secs(25);

/// The longest time between two gusts. Half of the silence after which a link counts as dead: some
/// outages are noticed, some are not.
const LONGEST_LULL_MS: u64 = 1500;

const CONVERSATIONS: usize = 10;

/// So many more answers show that the conversations go on.
const SOME: u64 = 100;

pub(super) fn run(lab: &Lab) -> Result<()> {
    let link = Conditions::new(50, 10).with_jitter(3).with_loss(0.01);
    let topology = Topology::new(&NETWORKS.map(|name| (name, Medium::Emulated(link))))?;
    let (host, address) = (&topology.server, SERVER.into());
    let service = Service::tcp;
    let services = [
        service("echo", Echo::start(host, address)?.address(), 7000),
        service("endless", Endless::start(host, address)?.address(), 7001),
        service(
            "sink",
            Sink::start(host, address, Gate::open_already())?.address(),
            7002,
        ),
    ];
    let mut handover = Handover::start(lab, &topology, &services, &NETWORKS, "")?;
    let (stop, answers) = (Stop::default(), Arc::<AtomicU64>::default());
    let mut applications = start(&topology, &services, &stop, &answers)?;

    let mut sky = Sky::over(topology);
    let entrance = services[0].entrance();
    blow(lab, &mut sky, &handover, entrance, &mut random(lab)?)?;
    let wanted = answers.load(Ordering::Relaxed) + SOME;
    wait_until("the conversations to go on", LIMIT, || {
        applications
            .iter_mut()
            .try_for_each(Application::ensure_running)?;
        Ok(answers.load(Ordering::Relaxed) >= wanted)
    })?;
    stop.stop();
    for application in applications {
        application.finish(LIMIT)?;
    }
    lab.note("every application has ended");
    let status = handover.wait_for_status("no stream left", LIMIT, |status| {
        status["streams"] == 0 && status["state"] == "attached"
    })?;
    let switches = count_switches(&status);
    let answers = answers.load(Ordering::Relaxed);
    lab.note(&format!("{switches} switches, {answers} answers"));
    handover
        .server
        .wait_for_status("no stream left at the server", LIMIT, |status| {
            status["clients"][0]["streams"] == 0
        })?;
    Ok(())
}

fn start(
    topology: &Topology,
    services: &[Service<'_>; 3],
    stop: &Stop,
    answers: &Arc<AtomicU64>,
) -> Result<Vec<Application<u64>>> {
    let [echo, endless, sink] = services;
    let mut all = Vec::new();
    let (stream, told) = (enter(&topology.device, endless.entrance())?, stop.clone());
    all.push(Application::start("download", move || {
        download_until(stream, &told, &AtomicU64::new(0))
    })?);
    let (stream, told) = (enter(&topology.device, sink.entrance())?, stop.clone());
    all.push(Application::start("upload", move || {
        upload_until(stream, &told, &AtomicU64::new(0))
    })?);
    for number in 0..CONVERSATIONS {
        let (stream, told) = (enter(&topology.device, echo.entrance())?, stop.clone());
        let tally = Arc::clone(answers);
        let talk = move || converse(stream, &told, Duration::from_millis(20), &tally);
        all.push(Application::start(&format!("conversation {number}"), talk)?);
    }
    Ok(all)
}

/// One gust after the other, at random times; with each comes a newcomer, who asks one question. It
/// returns when the last order is answered, and every newcomer.
fn blow(
    lab: &Lab,
    sky: &mut Sky,
    handover: &Handover,
    entrance: SocketAddr,
    random: &mut Random,
) -> Result<()> {
    let (began, mut orders, mut newcomers) = (Instant::now(), Vec::new(), Vec::new());
    while began.elapsed() < STORM {
        let index = usize::from(random.below(2) == 1);
        let network = NETWORKS[index];
        match random.below(5) {
            0..=2 if sky.is_ill(index) => sky.heal(index)?,
            0 => sky.strike(Disturbance::SilentCut, index)?,
            1 => sky.strike(Disturbance::LinkDown, index)?,
            2 => sky.strike(Disturbance::AddressChange, index)?,
            _ => orders.push(order(handover, network)?),
        }
        lab.note(&format!("after a gust on {network}"));
        newcomers.push(newcomer(&sky.topology, entrance)?);
        Gate::slow(Duration::from_millis(random.below(LONGEST_LULL_MS))).pass();
    }
    for index in 0..NETWORKS.len() {
        sky.heal(index)?;
    }
    lab.note("the storm is over");
    wait_for_answers(orders)?;
    lab.note("every order is answered");
    newcomers.into_iter().try_for_each(|one| one.finish(LIMIT))
}

/// A new connection, however the networks are: its question is answered when they are better.
fn newcomer(topology: &Topology, entrance: SocketAddr) -> Result<Application> {
    let mut stream = enter(&topology.device, entrance)?;
    Application::start("newcomer", move || {
        ask(&mut stream, 7)?;
        stream.shutdown(Shutdown::Write)?;
        ensure_end(&mut stream)
    })
}
