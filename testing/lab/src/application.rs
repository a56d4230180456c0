//! Client applications of the lab's own: each on a thread, each checking every byte that it gets.
//!
//! Their sockets give up after [`PATIENCE`]: an application that hears nothing for so long has seen an
//! error.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use handover_sandbox::Namespace;
use socket2::SockRef;

use crate::gate::Gate;
use crate::payload::{CHUNK, DIGEST_LENGTH, Payload, Producer, Running, digest_of};
use crate::servers::Source;
use crate::sockets::connect;
use crate::wait::wait_until;

/// How long an application waits for the network: longer than any outage of a scenario.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// So long without a byte taken means that every queue is full.
const STANDSTILL: Duration = Duration::from_millis(500);

/// An application at work.
#[derive(Debug)]
pub struct Application<T = ()> {
    name: String,
    /// None once its result has been taken.
    thread: Option<JoinHandle<Result<T>>>,
}

impl<T: Send + 'static> Application<T> {
    /// Starts `work`.
    pub fn start(name: &str, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<Self> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
        Ok(Self {
            name: name.to_owned(),
            thread: Some(thread.with_context(|| format!("start {name}"))?),
        })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has come to its end.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// An error if it has come to its end: its own, if it had one.
    pub fn ensure_running(&mut self) -> Result<()> {
        if self.is_finished() {
            self.take_result()?;
            bail!("{} is over too early", self.name);
        }
        Ok(())
    }

    /// Waits for its end; its error is the scenario's.
    pub fn finish(mut self, limit: Duration) -> Result<T> {
        wait_until(&format!("the end of {}", self.name), limit, || {
            Ok(self.is_finished())
        })?;
        self.take_result()
    }

    fn take_result(&mut self) -> Result<T> {
        let (name, thread) = (&self.name, self.thread.take());
        let thread = thread.with_context(|| format!("{name} has ended before"))?;
        let result = thread.join().ok();
        result
            .with_context(|| format!("{name} panicked"))?
            .with_context(|| format!("{name} saw an error"))
    }
}

/// Tells applications that do the same again and again to end.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From now on.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether to end.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Connects as an application does.
pub fn enter(device: &Namespace, entrance: SocketAddr) -> Result<TcpStream> {
    let stream = connect(device, None, entrance, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends `payload` to a [`crate::servers::Sink`] and compares what arrived.
pub fn upload(mut stream: TcpStream, payload: Payload) -> Result<()> {
    payload.write_to(&mut stream).context("upload")?;
    stream.shutdown(Shutdown::Write)?;
    let mut digest = [0; DIGEST_LENGTH];
    stream.read_exact(&mut digest).context("read the digest")?;
    ensure!(digest == payload.digest().to_bytes(), "the upload differs");
    ensure_end(&mut stream)
}

/// Gets `payload` from a [`Source`] at the pace of `gate` and compares it.
pub fn download(mut stream: TcpStream, payload: Payload, gate: &Gate) -> Result<()> {
    Source::request(&mut stream, payload)?;
    receive(stream, payload, gate)
}

/// Sends to a [`crate::servers::Sink`] until `stop`, adding to `tally` what the socket took, and compares
/// what arrived; returns its length.
pub fn upload_until(mut stream: TcpStream, stop: &Stop, tally: &AtomicU64) -> Result<u64> {
    let mut producer = Producer::new(20);
    while !stop.is_stopped() {
        stream.write_all(producer.produce()).context("upload")?;
        tally.fetch_add(CHUNK as u64, Ordering::Relaxed);
    }
    stream.shutdown(Shutdown::Write)?;
    let sent = producer.finish();
    let mut digest = [0; DIGEST_LENGTH];
    stream.read_exact(&mut digest).context("read the digest")?;
    ensure!(
        digest == sent.to_bytes(),
        "the upload differs from {sent:?}"
    );
    ensure_end(&mut stream)?;
    Ok(sent.length)
}

/// Reads from an [`crate::servers::Endless`] until `stop`, then on to its end, and compares; returns the
/// length, and adds to `tally` what has come.
pub fn download_until(mut stream: TcpStream, stop: &Stop, tally: &AtomicU64) -> Result<u64> {
    let (mut seen, mut held) = (Running::default(), Vec::new());
    let mut chunk = vec![0; CHUNK];
    let mut shut = false;
    loop {
        if stop.is_stopped() && !shut {
            shut = true;
            stream.shutdown(Shutdown::Write)?;
        }
        let length = stream.read(&mut chunk).context("download")?;
        if length == 0 {
            break;
        }
        tally.fetch_add(length as u64, Ordering::Relaxed);
        // The last bytes of all are the digest: so many are always held back.
        held.extend_from_slice(&chunk[..length]);
        let ripe = held.len().saturating_sub(DIGEST_LENGTH);
        seen.update(&held[..ripe]);
        held.drain(..ripe);
    }
    let seen = seen.finish();
    ensure!(held == seen.to_bytes(), "the download has {seen:?}");
    Ok(seen.length)
}

/// As [`download`], with nothing more to say: the connection is half-closed all the time.
pub fn download_half_closed(mut stream: TcpStream, payload: Payload, gate: &Gate) -> Result<()> {
    Source::request(&mut stream, payload)?;
    stream.shutdown(Shutdown::Write)?;
    receive(stream, payload, gate)
}

fn receive(mut stream: TcpStream, payload: Payload, gate: &Gate) -> Result<()> {
    let digest = digest_of(&mut stream, gate).context("download")?;
    ensure!(digest == payload.digest(), "the download has {digest:?}");
    Ok(())
}

/// Asks an [`crate::servers::Echo`] one question after the other until `stop`; returns how many were
/// answered, and adds each to `tally`. It waits `pause` between two.
pub fn converse(
    mut stream: TcpStream,
    stop: &Stop,
    pause: Duration,
    tally: &AtomicU64,
) -> Result<u64> {
    let pace = Gate::slow(pause);
    let mut asked: u64 = 0;
    while !stop.is_stopped() {
        ask(&mut stream, asked).with_context(|| format!("question {asked}"))?;
        asked += 1;
        tally.fetch_add(1, Ordering::Relaxed);
        pace.pass();
    }
    stream.shutdown(Shutdown::Write)?;
    ensure_end(&mut stream)?;
    Ok(asked)
}

/// Sends a number to an [`crate::servers::Echo`] and reads it back.
pub fn ask(stream: &mut TcpStream, number: u64) -> Result<()> {
    stream.write_all(&number.to_be_bytes())?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer)?;
    let answer = u64::from_be_bytes(answer);
    ensure!(answer == number, "asked {number}, answered {answer}");
    Ok(())
}

/// Writes to somebody who does not read, until every queue on the way is full.
pub fn fill(stream: &TcpStream) -> Result<()> {
    stream.set_nonblocking(true)?;
    let mut since = Instant::now();
    let mut writer = stream;
    wait_until("every queue to be full", PATIENCE, || {
        while writer.write(&[7; CHUNK]).is_ok() {
            since = Instant::now();
        }
        Ok(since.elapsed() >= STANDSTILL)
    })?;
    Ok(stream.set_nonblocking(false)?)
}

/// Ends a connection as a program does that breaks off: with a reset.
pub fn reset(stream: TcpStream) -> Result<()> {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    Ok(())
}

/// Reads on until the connection is reset; an end in order would be a lie.
pub fn ensure_reset(stream: &mut TcpStream) -> Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => bail!("the connection ended as if all were well"),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error).context("wait for a reset"),
        }
    }
}

/// Fails unless the stream ends here, cleanly.
pub fn ensure_end(stream: &mut TcpStream) -> Result<()> {
    let mut more = [0; 1];
    let read = stream.read(&mut more).context("read the end")?;
    ensure!(read == 0, "more came than was sent");
    Ok(())
}
