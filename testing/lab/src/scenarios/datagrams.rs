//! Datagrams both ways, small ones and the largest, through planned and unexpected switches: never twice,
//! none lost by a planned one, and the applications that are asked see one address and port from first to last.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use handover_sandbox::Namespace;

use super::client_services::virtual_ip;
use super::world::{LIMIT, NETWORKS, ensure_done, two_networks};
use crate::application::{Application, Stop};
use crate::handover::{Client, Handover, Service};
use crate::scenario::Lab;
use crate::topology::SERVER;
use crate::wait::wait_until;

/// What one packet of IPv4 can hold.
const LARGEST: usize = 65_507;

/// Every so many is one of the largest.
const LARGE: u64 = 40;

/// From one question to the next.
const TICK: Duration = Duration::from_millis(5);

/// How many answers show that datagrams flow.
const SOME: usize = 100;

pub(super) fn run(lab: &Lab) -> Result<()> {
    let topology = two_networks()?;
    let server = Answering::start(&topology.server, SERVER)?;
    let device = Answering::start(&topology.device, Ipv4Addr::LOCALHOST)?;
    let client = Client {
        services: &[Service::udp("agent", device.address, 9000)],
        ..Client::named("client", &NETWORKS)
    };
    let service = Service::udp("answers", server.address, 7000);
    let mut handover = Handover::start_with(lab, &topology, &[service], &client, "")?;
    let agent = SocketAddr::new(virtual_ip(&handover)?, 9000);
    let applications = [
        application(&topology.device, service.entrance())?,
        application(&topology.server, agent)?,
    ];

    let talks = Talks::start(&applications, 0)?;
    for network in ["wwan0", "wlan0", "wwan0", "wlan0"] {
        talks.wait_for_answers()?;
        ensure_done(&handover.switch(network)?, "planned")?;
    }
    talks.wait_for_answers()?;
    let planned = talks.finish()?;
    lab.note(&format!("planned: {planned:?}"));
    ensure!(
        planned.iter().all(|one| one.lost == 0),
        "a planned switch lost datagrams: {planned:?}"
    );

    let talks = Talks::start(&applications, planned[0].asked.max(planned[1].asked))?;
    for (index, network) in ["wlan0", "wwan0", "wlan0"].into_iter().enumerate() {
        talks.wait_for_answers()?;
        topology.cut(network)?;
        let switch = handover.wait_for_switch(5 + index, LIMIT)?;
        ensure_done(&switch, "unexpected")?;
        topology.restore(network)?;
    }
    talks.wait_for_answers()?;
    lab.note(&format!("unexpected: {:?}", talks.finish()?));

    for (name, application) in [("server", server), ("client", device)] {
        application.ensure_steady(name)?;
    }
    ensure_flows(lab, &handover)
}

/// The socket of an application that speaks with `entrance`, a loopback address.
fn application(host: &Namespace, entrance: SocketAddr) -> Result<UdpSocket> {
    let socket = host.run(move || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(entrance)?;
        io::Result::Ok(socket)
    })?;
    Ok(socket)
}

fn ensure_flows(lab: &Lab, handover: &Handover) -> Result<()> {
    let (client, server) = (handover.client_status()?, handover.server_status()?);
    for (name, status) in [("CNAPT", &client), ("SNAPT", &server["clients"][0])] {
        lab.note(&format!("{name} dropped {}", status["datagrams_dropped"]));
        ensure!(status["flows"] == 2, "flows of the {name}: {status}");
    }
    Ok(())
}

/// The talks of both applications.
struct Talks([Talk; 2]);

impl Talks {
    fn start(sockets: &[UdpSocket; 2], first: u64) -> Result<Self> {
        let [one, other] = sockets;
        Ok(Self([Talk::start(one, first)?, Talk::start(other, first)?]))
    }

    fn wait_for_answers(&self) -> Result<()> {
        let before = self.0.each_ref().map(Talk::count);
        wait_until("answers", LIMIT, || {
            let enough = |(talk, before): (&Talk, usize)| {
                talk.application.is_finished() || talk.count() >= before + SOME
            };
            Ok(self.0.iter().zip(before).all(enough))
        })
    }

    fn finish(self) -> Result<[Outcome; 2]> {
        let [one, other] = self.0;
        one.stop.stop();
        other.stop.stop();
        let finish = |talk: Talk| talk.application.finish(2 * LIMIT);
        Ok([finish(one)?, finish(other)?])
    }
}

/// What became of the questions of one talk.
#[derive(Debug)]
struct Outcome {
    /// The first number that was not asked.
    asked: u64,
    lost: u64,
}

/// An application that asks at every tick and takes in whatever is answered.
struct Talk {
    application: Application<Outcome>,
    stop: Stop,
    answered: Arc<Mutex<BTreeSet<u64>>>,
}

impl Talk {
    fn start(socket: &UdpSocket, first: u64) -> Result<Self> {
        let (socket, stop) = (socket.try_clone()?, Stop::default());
        let answered = Arc::<Mutex<BTreeSet<u64>>>::default();
        let (told, tally) = (stop.clone(), Arc::clone(&answered));
        let application = Application::start("talk", move || talk(&socket, first, &told, &tally))?;
        Ok(Self {
            application,
            stop,
            answered,
        })
    }

    fn count(&self) -> usize {
        lock(&self.answered).len()
    }
}

fn talk(
    socket: &UdpSocket,
    first: u64,
    stop: &Stop,
    answered: &Mutex<BTreeSet<u64>>,
) -> Result<Outcome> {
    let mut next = first;
    while !stop.is_stopped() {
        socket.send(&question(next)).context("ask")?;
        next += 1;
        take_answers(socket, Instant::now() + TICK, answered, || false)?;
    }
    // The last answers are on their way; what is missing then was lost.
    let all = || (first..next).all(|number| lock(answered).contains(&number));
    let last = || lock(answered).contains(&(next - 1));
    take_answers(socket, Instant::now() + LIMIT / 10, answered, all)?;
    ensure!(last(), "the last question was not answered");
    let known = lock(answered).len() as u64;
    Ok(Outcome {
        asked: next,
        lost: next - first - known,
    })
}

/// Takes in what comes until the deadline, or until it is `enough`.
fn take_answers(
    socket: &UdpSocket,
    deadline: Instant,
    answered: &Mutex<BTreeSet<u64>>,
    enough: impl Fn() -> bool,
) -> Result<()> {
    let mut buffer = vec![0; LARGEST + 1];
    while !enough() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv(&mut buffer) {
            Ok(length) => {
                let number = number_of(&buffer[..length])?;
                ensure!(lock(answered).insert(number), "answer {number} came twice");
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error).context("take an answer"),
        }
    }
    Ok(())
}

fn question(number: u64) -> Vec<u8> {
    let length = if number % LARGE == LARGE - 1 {
        LARGEST
    } else {
        100
    };
    let mut bytes = vec![number as u8; length];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// Fails unless these are the bytes of a question, all of them.
fn number_of(bytes: &[u8]) -> Result<u64> {
    let head = bytes.first_chunk().context("a short datagram")?;
    let number = u64::from_be_bytes(*head);
    ensure!(
        bytes == question(number),
        "other bytes than those of {number}"
    );
    Ok(number)
}

/// An application that answers with the question, and remembers who asked what.
struct Answering {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    sources: BTreeSet<SocketAddr>,
    asked: BTreeMap<u64, u32>,
}

impl Answering {
    fn start(host: &Namespace, address: Ipv4Addr) -> Result<Self> {
        let socket = host.run(move || UdpSocket::bind((address, 0)))?;
        let (address, seen) = (socket.local_addr()?, Arc::<Mutex<Seen>>::default());
        let shared = Arc::clone(&seen);
        std::thread::Builder::new()
            .name("answering".into())
            .spawn(move || answer(&socket, &shared))?;
        Ok(Self { address, seen })
    }

    /// One address and port has asked it, and nothing twice.
    fn ensure_steady(&self, name: &str) -> Result<()> {
        let seen = lock(&self.seen);
        let sources = &seen.sources;
        ensure!(sources.len() == 1, "the {name} application saw {sources:?}");
        let twice = seen.asked.values().filter(|count| **count > 1).count();
        ensure!(
            twice == 0,
            "{twice} datagrams came twice to the {name} application"
        );
        Ok(())
    }
}

fn answer(socket: &UdpSocket, seen: &Mutex<Seen>) -> Result<()> {
    let mut buffer = vec![0; LARGEST + 1];
    loop {
        let (length, source) = socket.recv_from(&mut buffer)?;
        let number = number_of(&buffer[..length])?;
        let mut record = lock(seen);
        record.sources.insert(source);
        *record.asked.entry(number).or_default() += 1;
        drop(record);
        socket.send_to(&buffer[..length], source)?;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
