//! An application that writes a little at a steady pace, and one that looks when it arrives.
//!
//! Each tick is [`TICK_LENGTH`] bytes made of its number, so one that is lost, comes twice or in a wrong place is found
//! by the first byte that differs. What is measured is the pauses between arrivals: the application's view of a switch.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::application::Application;
use crate::random::Random;
use crate::wait::wait_until;

/// The time from one tick to the next.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// The bytes of a tick: 1.6 Mbit/s, as a video call.
pub(super) const TICK_LENGTH: usize = 1000;

/// Until what was written has arrived, whatever happened to the networks.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(60);

/// Ticks on their way from one end of a connection to the other.
#[derive(Debug)]
pub(super) struct Ticks {
    began: Instant,
    arrived: Arc<AtomicU64>,
    stop: mpsc::Sender<()>,
    writer: Application<u64>,
    reader: Application<Arrivals>,
}

/// When each tick had arrived.
#[derive(Debug)]
pub(super) struct Arrivals(Vec<Instant>);

impl Ticks {
    /// Starts both applications.
    pub(super) fn start(from: TcpStream, to: TcpStream) -> Result<Self> {
        // A tick that waits for the acknowledgement of the last one would measure round trips.
        from.set_nodelay(true)?;
        let (stop, stopped) = mpsc::channel();
        let arrived = Arc::new(AtomicU64::new(0));
        let tally = Arc::clone(&arrived);
        let began = Instant::now();
        Ok(Self {
            began,
            arrived,
            stop,
            writer: Application::start("ticks out", move || write(from, began, &stopped))?,
            reader: Application::start("ticks in", move || read(to, &tally))?,
        })
    }

    /// Waits until those have arrived that are due at `moment`, which may be to come.
    pub(super) fn wait_for(&mut self, moment: Instant) -> Result<()> {
        let due = (moment - self.began).as_nanos() / TICK.as_nanos();
        let Self {
            arrived,
            writer,
            reader,
            ..
        } = self;
        wait_until(&format!("tick {due}"), ARRIVAL_LIMIT, || {
            writer.ensure_running()?;
            reader.ensure_running()?;
            Ok(u128::from(arrived.load(Ordering::Relaxed)) >= due)
        })
    }

    /// Ends both applications, once every byte has arrived as it was written.
    pub(super) fn finish(self) -> Result<Arrivals> {
        drop(self.stop);
        let written = self.writer.finish(ARRIVAL_LIMIT)?;
        let arrivals = self.reader.finish(ARRIVAL_LIMIT)?;
        let arrived = arrivals.0.len() as u64;
        ensure!(arrived == written, "{arrived} ticks of {written} arrived");
        Ok(arrivals)
    }
}

impl Arrivals {
    /// The longest pause of which some part lies between the two moments.
    pub(super) fn longest_pause(&self, from: Instant, to: Instant) -> Duration {
        let pauses = self.0.windows(2).map(|pair| (pair[0], pair[1]));
        let overlapping = pauses.filter(|(begin, end)| *end >= from && *begin <= to);
        overlapping
            .map(|(begin, end)| end - begin)
            .max()
            .unwrap_or_default()
    }
}

/// Writes each tick when it is due, or as soon as the socket takes it, until `stopped` ends; returns their number.
fn write(mut stream: TcpStream, began: Instant, stopped: &mpsc::Receiver<()>) -> Result<u64> {
    let mut due = began;
    for number in 0.. {
        stream.write_all(&tick(number)).context("write a tick")?;
        due += TICK;
        let left = due.saturating_duration_since(Instant::now());
        if stopped.recv_timeout(left) == Err(RecvTimeoutError::Disconnected) {
            stream.shutdown(Shutdown::Write)?;
            return Ok(number + 1);
        }
    }
    bail!("no number is left for a tick")
}

fn read(mut stream: TcpStream, tally: &AtomicU64) -> Result<Arrivals> {
    let mut arrivals = Vec::new();
    let mut buffer = [0; TICK_LENGTH];
    loop {
        match read_whole(&mut stream, &mut buffer)? {
            0 => return Ok(Arrivals(arrivals)),
            TICK_LENGTH => arrivals.push(Instant::now()),
            part => bail!("the connection ended {part} bytes behind a tick"),
        }
        let number = tally.fetch_add(1, Ordering::Relaxed);
        ensure!(
            buffer == tick(number),
            "tick {} came where {number} was due",
            number_of(&buffer)
        );
    }
}

/// Fills the buffer, or as much of it as comes before the end.
fn read_whole(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("read a tick"),
        }
    }
    Ok(filled)
}

/// Its number, and behind it bytes that follow from that.
fn tick(number: u64) -> [u8; TICK_LENGTH] {
    let mut bytes = [0; TICK_LENGTH];
    let (head, rest) = bytes.split_at_mut(size_of::<u64>());
    head.copy_from_slice(&number.to_be_bytes());
    Random::new(number).fill(rest);
    bytes
}

fn number_of(tick: &[u8; TICK_LENGTH]) -> u64 {
    let head = tick.first_chunk().copied().unwrap_or_default();
    u64::from_be_bytes(head)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn pair() -> Result<(TcpStream, TcpStream)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        Ok((client, listener.accept()?.0))
    }

    #[test]
    fn all_ticks_arrive_in_order() -> Result<()> {
        let (client, server) = pair()?;
        let mut ticks = Ticks::start(client, server)?;
        ticks.wait_for(Instant::now() + 10 * TICK)?;
        assert!(ticks.finish()?.0.len() >= 10);
        Ok(())
    }

    #[test]
    fn a_tick_that_comes_twice_is_an_error() -> Result<()> {
        let (mut client, server) = pair()?;
        for number in [0, 1, 1] {
            client.write_all(&tick(number))?;
        }
        let error = read(server, &AtomicU64::new(0)).expect_err("it must be seen");
        assert_eq!(error.to_string(), "tick 1 came where 2 was due");
        Ok(())
    }

    #[test]
    fn a_pause_counts_for_the_window_that_it_touches() {
        let start = Instant::now();
        let arrivals = Arrivals([0, 5, 45, 50, 70].map(|at| start + at * MS).to_vec());
        assert_eq!(arrivals.longest_pause(start, start + 100 * MS), 40 * MS);
        assert_eq!(
            arrivals.longest_pause(start + 20 * MS, start + 30 * MS),
            40 * MS
        );
        assert_eq!(
            arrivals.longest_pause(start + 46 * MS, start + 100 * MS),
            20 * MS
        );
        assert_eq!(arrivals.longest_pause(start, start + 4 * MS), 5 * MS);
    }
}
