//! A daemon that is killed or ended, and started again with the same key. Connections that it held are
//! reset, with bytes queued or without, and never look complete; new ones work, and nothing is left over.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use super::sky::{order, order_other, random, wait_for_answers};
use super::use_of_machine::Before;
use super::world::{LIMIT, NETWORKS, Pair};
use crate::application::{Application, ensure_end, ensure_reset, fill};
use crate::gate::Gate;
use crate::handover::START_LIMIT;
use crate::payload::{CHUNK, Producer};
use crate::scenario::Lab;
use crate::wait::wait_until;

/// A client that finds no server tries again each second; the rest is for a busy machine.
const RESET_LIMIT: Duration = Duration::from_secs(5);

/// How often a daemon is killed at random.
const ROUNDS: usize = 9;

/// How long the connections live at most before a kill.
const LONGEST_LIFE_MS: u64 = 1000;

/// So long after an order its switch is likely to be under way or just over.
const ORDER_MS: u64 = 100;

/// How many connections carry bytes, in turn one way and the other.
const CONNECTIONS: usize = 6;

/// What the bytes are made of.
const SEED: u64 = 47;

pub(super) fn run_client(lab: &Lab) -> Result<()> {
    let mut pair = Pair::start(lab)?;
    let mut connections = Connections::make(&pair)?;
    pair.handover.client.program().signal(Signal::SIGKILL)?;
    connections.ensure_clients_reset()?;
    lab.note("the client's applications were reset");
    pair.handover.client.restart(&pair.topology.device)?;
    wait_until_attached(&mut pair)?;
    connections.ensure_servers_reset()?;
    let count = format!(
        "connections reset client=client streams={}",
        Connections::COUNT
    );
    pair.handover
        .server
        .program()
        .wait_for_line(&count, LIMIT)?;
    lab.note("the server's applications were reset when the new instance took over");
    ensure_works(&pair)
}

pub(super) fn run_server(lab: &Lab) -> Result<()> {
    let mut pair = Pair::start(lab)?;
    let mut connections = Connections::make(&pair)?;
    let virtual_ip = pair.handover.client_status()?["virtual_ip"].clone();
    pair.handover.server.program().signal(Signal::SIGKILL)?;
    connections.ensure_servers_reset()?;
    lab.note("the server's applications were reset");
    pair.handover.server.restart(&pair.topology.server)?;
    pair.handover.server.wait_until_up()?;
    let up = Instant::now();
    connections.ensure_clients_reset()?;
    let after = up.elapsed();
    lab.note(&format!(
        "the client's applications were reset after {after:?} (at most {RESET_LIMIT:?})"
    ));
    ensure!(after <= RESET_LIMIT, "the resets took {after:?}");
    let count = format!("connections reset streams={}", Connections::COUNT);
    pair.handover
        .client
        .program()
        .wait_for_line(&count, LIMIT)?;
    wait_until_attached(&mut pair)?;
    let status = pair.handover.client_status()?;
    ensure!(
        status["virtual_ip"] == virtual_ip,
        "it was {virtual_ip}: {status}"
    );
    ensure_works(&pair)
}

/// A client that is told to end takes leave: the server's applications are reset at once. A server leaves
/// the resets on the device to its successor, as a killed one does.
pub(super) fn run_ended(lab: &Lab) -> Result<()> {
    let mut pair = Pair::start(lab)?;
    let mut connections = Connections::make(&pair)?;
    pair.handover.client.program().signal(Signal::SIGTERM)?;
    pair.handover.client.program().wait_success(LIMIT)?;
    connections.ensure_clients_reset()?;
    connections.ensure_servers_reset()?;
    let count = Connections::COUNT;
    let told = format!("connections reset client=client streams={count} left=true");
    pair.handover.server.program().wait_for_line(&told, LIMIT)?;
    pair.handover.client.restart(&pair.topology.device)?;
    wait_until_attached(&mut pair)?;

    let mut connections = Connections::make(&pair)?;
    pair.handover.server.program().signal(Signal::SIGTERM)?;
    pair.handover.server.program().wait_success(LIMIT)?;
    connections.ensure_servers_reset()?;
    pair.handover.server.restart(&pair.topology.server)?;
    connections.ensure_clients_reset()?;
    wait_until_attached(&mut pair)?;
    ensure_works(&pair)
}

/// Kills one of the daemons at a random moment, again and again, while bytes run both ways; at times after
/// an order, so that some kills fall into a switch, at times while a network is silently cut.
pub(super) fn run_at_random(lab: &Lab) -> Result<()> {
    let mut random = random(lab)?;
    let mut pair = Pair::start_for_accounting(lab)?;
    let before = Before::read(&pair.handover)?;
    let mut orders = Vec::new();
    for round in 0..ROUNDS {
        let ends = start_bytes(&pair)?;
        let network = NETWORKS[usize::from(random.below(2) == 1)];
        let longest_life = match round % 3 {
            0 => {
                orders.push(order(&pair.handover, network)?);
                ORDER_MS
            }
            1 => {
                pair.topology.cut(network)?;
                LONGEST_LIFE_MS
            }
            _ => LONGEST_LIFE_MS,
        };
        Gate::slow(Duration::from_millis(random.below(longest_life))).pass();
        let (handover, topology) = (&mut pair.handover, &pair.topology);
        let (name, daemon, host) = match random.below(2) {
            0 => ("client", &mut handover.client, &topology.device),
            _ => ("server", &mut handover.server, &*topology.server),
        };
        lab.note(&format!("round {round} of {ROUNDS}: the {name} is killed"));
        daemon.program().signal(Signal::SIGKILL)?;
        daemon.restart(host)?;
        ends.into_iter().try_for_each(|end| end.finish(LIMIT))?;
        wait_until_attached(&mut pair)?;
        ensure_works(&pair)?;
        pair.topology.restore(network)?;
    }
    wait_for_answers(orders)?;
    // A switch renews all conduits, whatever became of some.
    order_other(lab, &pair.handover.client)?;
    before.ensure_restored(lab, &mut pair.handover)
}

/// Connections of all kinds; each end returns when it is reset and has seen nothing wrong. Only one thread
/// looks at each socket: Linux tells of a reset once, and then reports an end.
fn start_bytes(pair: &Pair) -> Result<Vec<Application>> {
    let mut ends = Vec::new();
    for number in 0..CONNECTIONS {
        let (client, server) = pair.connect()?;
        let (writer, reader) = if number % 2 == 0 {
            (client, server)
        } else {
            (server, client)
        };
        ends.push(Application::start("writer", move || {
            write_until_reset(writer)
        })?);
        ends.push(Application::start("reader", move || {
            read_until_reset(reader)
        })?);
    }
    let (mut client, mut server) = pair.connect()?;
    ends.push(Application::start("idle", move || {
        ensure_reset(&mut client)
    })?);
    ends.push(Application::start("idle", move || {
        ensure_reset(&mut server)
    })?);
    Ok(ends)
}

fn write_until_reset(mut stream: TcpStream) -> Result<()> {
    let mut producer = Producer::new(SEED);
    loop {
        if let Err(error) = stream.write_all(producer.produce()) {
            let kind = error.kind();
            ensure!(kind == ErrorKind::ConnectionReset, "not a reset: {error}");
            return Ok(());
        }
    }
}

fn read_until_reset(mut stream: TcpStream) -> Result<()> {
    let (mut producer, mut expected) = (Producer::new(SEED), Vec::new());
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = match stream.read(&mut chunk) {
            Ok(0) => bail!("the connection ended as if all were well"),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error).context("wait for a reset"),
        };
        if expected.len() < length {
            expected.extend_from_slice(producer.produce());
        }
        ensure!(chunk[..length] == expected[..length], "wrong bytes came");
        expected.drain(..length);
    }
}

/// Connections in every state, with both ends of each.
struct Connections {
    idle: (TcpStream, TcpStream),
    /// Every queue is full, both ways.
    full: (TcpStream, TcpStream),
    /// The client has ended its direction, and the server has seen it.
    half_closed: (TcpStream, TcpStream),
}

impl Connections {
    const COUNT: usize = 3;

    fn make(pair: &Pair) -> Result<Self> {
        let idle = pair.connect()?;
        let full = pair.connect()?;
        fill(&full.0)?;
        fill(&full.1)?;
        let mut half_closed = pair.connect()?;
        half_closed.0.shutdown(Shutdown::Write)?;
        ensure_end(&mut half_closed.1)?;
        Ok(Self {
            idle,
            full,
            half_closed,
        })
    }

    fn ensure_clients_reset(&mut self) -> Result<()> {
        ensure_reset(&mut self.idle.0)?;
        ensure_reset(&mut self.full.0)?;
        ensure_reset(&mut self.half_closed.0)
    }

    /// What was half-closed has its end already: there only writing tells of the reset.
    fn ensure_servers_reset(&mut self) -> Result<()> {
        ensure_reset(&mut self.idle.1)?;
        ensure_reset(&mut self.full.1)?;
        wait_until("the reset of what was half-closed", LIMIT, || {
            Ok(self.half_closed.1.write_all(b"x").is_err())
        })
    }
}

fn wait_until_attached(pair: &mut Pair) -> Result<()> {
    let attached = pair
        .handover
        .wait_for_status("the session", START_LIMIT, |status| {
            status["state"] == "attached" && status["services"][0]["error"].is_null()
        });
    attached.map(drop)
}

fn ensure_works(pair: &Pair) -> Result<()> {
    let (mut client, mut server) = pair.connect()?;
    client.write_all(b"new")?;
    client.shutdown(Shutdown::Write)?;
    let mut read = String::new();
    server.read_to_string(&mut read)?;
    ensure!(read == "new", "a new connection brought {read:?}");
    Ok(())
}
