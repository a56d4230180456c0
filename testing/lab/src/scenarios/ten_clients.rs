//! Ten clients of one server, each on a device of its own with networks of its own, for two minutes: each has its
//! virtual IP and its own switches at random moments, and none disturbs another (R24).

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use super::conversation::Conversation;
use super::sky::{Disturbance, Sky, count_switches, order_other, random};
use super::world::{NETWORKS, two_networks};
use crate::application::Stop;
use crate::gate::Gate;
use crate::handover::{Client, Daemon, Handover, KNOWN_CLIENTS, START_LIMIT, Service};
use crate::link::Conditions;
use crate::random::Random;
use crate::scenario::Lab;
use crate::servers::Echo;
use crate::topology::{Medium, SERVER, Topology};

const DURATION: Duration = Duration::from_secs(120);

/// The longest time between two switches of a client.
const LONGEST_LULL_MS: u64 = 5000;

/// One device and what is at work on it.
struct Device {
    client: Daemon,
    sky: Sky,
    /// The one with the server's application, and the one that the server's host has begun.
    conversations: [Conversation; 2],
    random: Random,
    /// How many there are to be: this client's own.
    switches: usize,
}

pub(super) fn run(lab: &Lab) -> Result<()> {
    let mut seeds = random(lab)?;
    let topologies = ten_devices()?;
    let first = &topologies[0];
    let echo = Echo::start(&first.server, SERVER.into())?;
    let service = Service::tcp("echo", echo.address(), 7000);
    let mut agents = Vec::new();
    for topology in &topologies {
        let echo = Echo::start(&topology.device, Ipv4Addr::LOCALHOST.into())?;
        agents.push([Service::tcp("agent", echo.address(), 9000)]);
    }
    let client = |number: usize| Client {
        services: &agents[number],
        // Where ten devices share two processors a network may seem silent that is not; but here each switch is to be
        // the only one.
        options: "overlap = false\n",
        ..Client::named(KNOWN_CLIENTS[number], &NETWORKS)
    };
    let handover = Handover::start_with(lab, first, &[service], &client(0), "")?;
    let mut clients = Vec::new();
    for (number, topology) in topologies.iter().enumerate().skip(1) {
        clients.push(handover.start_client(topology, &client(number))?);
    }
    let Handover { server, client, .. } = handover;
    clients.insert(0, client);

    let stop = Stop::default();
    let (mut devices, mut virtual_ips) = (Vec::new(), BTreeSet::new());
    for (mut client, topology) in clients.into_iter().zip(topologies) {
        let status = client.wait_for_status("the first attach", START_LIMIT, |status| {
            status["state"] == "attached"
        })?;
        let virtual_ip = status["virtual_ip"].as_str().context("no virtual IP")?;
        let offered: SocketAddr = format!("{virtual_ip}:9000").parse()?;
        server.wait_for_line(&format!("listening service=agent address={offered}"))?;
        virtual_ips.insert(offered);
        devices.push(Device {
            client,
            conversations: [
                Conversation::start(&topology.device, service.entrance(), &stop)?,
                Conversation::start(&topology.server, offered, &stop)?,
            ],
            sky: Sky::over(topology),
            random: Random::new(seeds.next_u64()),
            switches: 0,
        });
    }
    ensure!(virtual_ips.len() == KNOWN_CLIENTS.len(), "{virtual_ips:?}");
    roam_all(lab, &mut devices)?;

    let total: usize = devices.iter().map(|device| device.switches).sum();
    lab.note(&format!("{total} switches of {} clients", devices.len()));
    stop.stop();
    for device in devices {
        let [one, other] = device.conversations;
        one.finish()?;
        other.finish()?;
    }
    Ok(())
}

fn ten_devices() -> Result<Vec<Topology>> {
    let mut topologies = vec![two_networks()?];
    let link = Medium::Emulated(Conditions::new(100, 5));
    let networks = NETWORKS.map(|name| (name, link));
    for _ in 1..KNOWN_CLIENTS.len() {
        topologies.push(topologies[0].another(&networks)?);
    }
    Ok(topologies)
}

/// All at the same time, each at its own pace.
fn roam_all(lab: &Lab, devices: &mut [Device]) -> Result<()> {
    let end = Instant::now() + DURATION;
    thread::scope(|scope| {
        let roaming: Vec<_> = devices
            .iter_mut()
            .map(|device| scope.spawn(|| device.roam(lab, end)))
            .collect();
        let mut ended = roaming.into_iter().zip(KNOWN_CLIENTS);
        ended.try_for_each(|(thread, name)| {
            let result = thread.join();
            let result = result.unwrap_or_else(|_panic| Err(anyhow!("it panicked")));
            result.with_context(|| format!("the client {name}"))
        })
    })
}

impl Device {
    /// One switch after the other, and each is the only one of this client.
    fn roam(&mut self, lab: &Lab, end: Instant) -> Result<()> {
        while Instant::now() < end {
            let lull = Duration::from_millis(self.random.below(LONGEST_LULL_MS));
            Gate::slow(lull).pass();
            self.switches += 1;
            match Disturbance::draw(&mut self.random) {
                None => order_other(lab, &self.client)?,
                Some(disturbance) => {
                    self.sky
                        .strike_current(lab, &mut self.client, disturbance)?;
                }
            }
            for conversation in &mut self.conversations {
                conversation.wait_for_more()?;
            }
            let status = self.client.status()?;
            let listed = count_switches(&status);
            ensure!(
                listed == self.switches,
                "{} of {listed}: {status}",
                self.switches
            );
        }
        Ok(())
    }
}
