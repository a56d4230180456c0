//! Applications that speak over UDP: one asks at every tick, the other answers with the question, and both know every
//! datagram that came.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io};

use anyhow::{Context, Result, ensure};
use handover_sandbox::Namespace;

use super::world::LIMIT;
use crate::application::{Application, Stop};
use crate::wait::wait_until;

/// What one packet of IPv4 can hold.
const LARGEST: usize = 65_507;

/// Every so many is one of the largest.
const LARGE: u64 = 40;

/// From one question to the next.
const TICK: Duration = Duration::from_millis(5);

/// How many answers show that datagrams flow.
const SOME: usize = 100;

/// The socket of an application that speaks with `entrance`, an address of its own host.
pub(super) fn application(host: &Namespace, entrance: SocketAddr) -> Result<UdpSocket> {
    let any: IpAddr = match entrance {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = host.run(move || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(entrance)?;
        io::Result::Ok(socket)
    })?;
    Ok(socket)
}

/// The talks of both applications.
pub(super) struct Talks([Talk; 2]);

impl Talks {
    pub(super) fn start(sockets: &[UdpSocket; 2], first: u64) -> Result<Self> {
        let [one, other] = sockets;
        Ok(Self([Talk::start(one, first)?, Talk::start(other, first)?]))
    }

    pub(super) fn wait_for_answers(&self) -> Result<()> {
        let before = self.0.each_ref().map(Talk::count);
        wait_until("answers", LIMIT, || {
            let enough = |(talk, before): (&Talk, usize)| {
                talk.application.is_finished() || talk.count() >= before + SOME
            };
            Ok(self.0.iter().zip(before).all(enough))
        })
    }

    /// Lets something strike the network, and the modules get over it; returns, for each talk, the numbers of the
    /// questions that it may have cost: those that were under way when it struck, and those asked until the module
    /// that carries them noticed. That is the client for the first, and it calls what `strike` is given; the server
    /// hears of it with the order to move, when it is nearly over.
    pub(super) fn struck_by(
        &self,
        strike: impl FnOnce(&dyn Fn()) -> Result<()>,
    ) -> Result<[Range<u64>; 2]> {
        let first = self.0.each_ref().map(Talk::first_under_way);
        let next = |talk: usize| self.0[talk].next.load(Ordering::Relaxed);
        let noticed = Cell::new(next(0));
        strike(&|| noticed.set(next(0)))?;
        Ok([first[0]..noticed.get(), first[1]..next(1)])
    }

    pub(super) fn finish(self) -> Result<[Outcome; 2]> {
        let [one, other] = self.0;
        one.stop.stop();
        other.stop.stop();
        let finish = |talk: Talk| talk.application.finish(2 * LIMIT);
        Ok([finish(one)?, finish(other)?])
    }
}

/// What became of the questions of one talk.
pub(super) struct Outcome {
    /// The first number that was not asked.
    pub(super) asked: u64,
    pub(super) lost: Vec<u64>,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} lost, up to question {}", self.lost.len(), self.asked)
    }
}

/// An application that asks at every tick and takes in whatever is answered.
struct Talk {
    application: Application<Outcome>,
    stop: Stop,
    /// The first number that has not been asked.
    next: Arc<AtomicU64>,
    answered: Arc<Mutex<BTreeSet<u64>>>,
}

impl Talk {
    fn start(socket: &UdpSocket, first: u64) -> Result<Self> {
        let (socket, stop) = (socket.try_clone()?, Stop::default());
        let answered = Arc::<Mutex<BTreeSet<u64>>>::default();
        let next = Arc::new(AtomicU64::new(first));
        let (told, asked, tally) = (stop.clone(), Arc::clone(&next), Arc::clone(&answered));
        let work = move || talk(&socket, &asked, &told, &tally);
        Ok(Self {
            application: Application::start("talk", work)?,
            stop,
            next,
            answered,
        })
    }

    fn count(&self) -> usize {
        lock(&self.answered).len()
    }

    /// Answers come in order, but for those that are lost.
    fn first_under_way(&self) -> u64 {
        lock(&self.answered).last().map_or(0, |last| last + 1)
    }
}

fn talk(
    socket: &UdpSocket,
    next: &AtomicU64,
    stop: &Stop,
    answered: &Mutex<BTreeSet<u64>>,
) -> Result<Outcome> {
    let first = next.load(Ordering::Relaxed);
    while !stop.is_stopped() {
        let number = next.fetch_add(1, Ordering::Relaxed);
        socket.send(&question(number)).context("ask")?;
        take_answers(socket, Instant::now() + TICK, answered, || false)?;
    }
    let asked = next.load(Ordering::Relaxed);
    // The last answers are on their way; what is missing then was lost.
    let all = || (first..asked).all(|number| lock(answered).contains(&number));
    take_answers(socket, Instant::now() + LIMIT / 10, answered, all)?;
    let answered = lock(answered);
    ensure!(
        answered.contains(&(asked - 1)),
        "the last question was not answered"
    );
    let lost = (first..asked).filter(|number| !answered.contains(number));
    Ok(Outcome {
        asked,
        lost: lost.collect(),
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
pub(super) struct Answering {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    sources: BTreeSet<SocketAddr>,
    asked: BTreeMap<u64, u32>,
}

impl Answering {
    pub(super) fn start(host: &Namespace, address: IpAddr) -> Result<Self> {
        let socket = host.run(move || UdpSocket::bind((address, 0)))?;
        let (address, seen) = (socket.local_addr()?, Arc::<Mutex<Seen>>::default());
        let shared = Arc::clone(&seen);
        std::thread::Builder::new()
            .name("answering".into())
            .spawn(move || answer(&socket, &shared))?;
        Ok(Self { address, seen })
    }

    /// One address and port has asked it, and nothing twice.
    pub(super) fn ensure_steady(&self, name: &str) -> Result<()> {
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
